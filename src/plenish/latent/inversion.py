"""Inversion: the latents, and the label, whose image is nearest to a given one.

Several starts, from an encoder and from the prior, go down the error; the better half goes on until one is
left (successive halving; Jamieson and Talwalkar, 2016). All images and starts are computed at once, in
float32, and none touches another.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.coordinates import Coordinates, coordinates
from plenish.latent.inversion_encoder import Encoder, get_encoder
from plenish.latent.inversion_options import RELAX, SEARCH, InversionOptions
from plenish.latent.inversion_search import LBFGS, Adam, Evaluate, Minimiser
from plenish.latent.points import Floats, Points
from plenish.latent.space import AT_ONCE, LatentSpace
from plenish.metrics.features import domain_features as features_of
from plenish.progress import progress, say
from plenish.training.engine import stable_seed, to_uint8

Features = Callable[[Tensor], Tensor]
"""Images N×C×H×W in [-1, 1] → features N×D; differentiable."""
_MOST_CLASSES = 16


@dataclasses.dataclass(frozen=True)
class Inverted:
    """Images as points of a latent space.

    Attributes:
        points: the points, one an image.
        images: what the generator makes of them, uint8 N×H×W×C.
        error: mean squared error of each, pixels in [0, 1], before they are rounded to uint8; N.
        curve: the least error so far after each evaluation, E×N.
        evaluations: of the generator with its gradient for each image, of all starts together; E.
        starts: what the start was that won, one an image.
        encoder: facts of the encoder's training; empty where none was used.
    """

    points: Points
    images: NDArray[np.uint8]
    error: NDArray[np.float64]
    curve: NDArray[np.float64]
    evaluations: int
    starts: tuple[str, ...]
    encoder: dict[str, object]


def invert(
    space: LatentSpace, images: NDArray[np.uint8], how: InversionOptions, y: Floats | None = None, *,
    names: Sequence[str] = (), features: Features | None = None,
) -> Inverted:  # fmt: skip
    """Find latents whose images are the given ones.

    The same images, options and seed give the same points; each image is inverted as if it were alone.

    Args:
        space: the generator.
        images: uint8 N×H×W×C, of the generator's size and channels.
        how: the method.
        y: labels N×K, or 1×K for all, which are kept; by default as `how.label` says, and where that says
            nothing, every class is tried.
        names: of the images; by default 'image 0' and so on.
        features: of the domain network, where `how.features` is not 0; by default that of the generator's
            training data.

    Raises:
        InputError: no images, images of another size or other channels, a label that the generator does not
            have, or w of a generator without styles.
    """
    _check(space, images)
    space = _exact(space)
    where = coordinates(space, how.space)
    if how.features and features is None:
        features = domain_features(space)
    labels = _asked(space, how, y, len(images))
    encoder = None
    if how.encoder and not space.network.stores_z:
        say("No encoder is trained: the latents of this generator are as large as its images.")
    elif how.encoder:
        encoder = get_encoder(space, where, how)
    found = []
    for rows in np.array_split(np.arange(len(images)), -(-len(images) // AT_ONCE)):
        targets, y = space.engine.to_images(images[rows]), None if labels is None else labels[rows]
        search = _Search(space, where, how, targets, y, features if how.features else None, encoder)
        found.append(search.run())
    points = Points(
        np.concatenate([one.latents for one in found]), where.of,
        np.concatenate([one.y for one in found]) if space.labels.width else None,
        tuple(names) or tuple(f"image {i}" for i in range(len(images))),
    )  # fmt: skip
    made, error = _reconstructed(space, points, images)
    curve = np.concatenate([one.curve for one in found], 1)
    starts = tuple(word for one in found for word in one.starts)
    return Inverted(points, made, error, curve, len(curve), starts, encoder.facts if encoder else {})


def domain_features(space: LatentSpace) -> Features:
    """The features of the domain network of a generator's training data.

    Raises:
        InputError: that Dataset is no longer there.
    """
    data = space.loaded.run.config["data"]
    try:
        dataset = Dataset.open(data["path"])
    except (InputError, KeyError):
        raise InputError(
            f"--features needs the Dataset that {space.loaded.run.path} was trained on, {data.get('path')}, "
            "which is no longer there; leave it out."
        ) from None
    return features_of(dataset, data.get("split_name", "default"))


def _exact(space: LatentSpace) -> LatentSpace:
    """The same space, computing in float32."""
    if space.engine.precision == "float32":
        return space
    other = copy.copy(space)
    other.engine = dataclasses.replace(space.engine, precision="float32")
    return other


def _check(space: LatentSpace, images: NDArray[np.uint8]) -> None:
    network = space.network
    wanted = (network.size, network.size, network.channels)
    if not len(images):
        raise InputError("There is no image to invert; give at least one.")
    if images.dtype != np.uint8 or images.shape[1:] != wanted:
        given = "×".join(map(str, images.shape[1:]))
        raise InputError(
            f"{space.loaded.run.path} makes images of {network.size}×{network.size}×{network.channels}, and "
            f"these are {given} {images.dtype}; bring them to that size with --fit, or give uint8 ones of it."
        )


def _asked(space: LatentSpace, how: InversionOptions, y: Floats | None, n: int) -> Floats | None:
    """Labels N×K that are kept; None where there are none, or they are searched."""
    labels = space.labels
    if y is None and how.label not in (None, SEARCH, RELAX):
        y = space.label(str(how.label))
    if not labels.width:
        if y is not None or how.label is not None:
            space.require_labels("--label")
        return None
    if y is None:
        if labels.kind != "categorical":
            raise InputError(
                f"Labels that are {labels.kind} are not searched; give --label, such as {labels.names[0]}=1."
            )
        return None
    if y.ndim != 2 or y.shape[1] != labels.width or len(y) not in (1, n):
        raise ValueError(f"labels of shape {y.shape} for {n} images and {labels.width} labels")
    return np.ascontiguousarray(np.broadcast_to(y, (n, labels.width)), np.float32)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a search found: latents, labels, the curve E×N, and which starts won."""

    latents: Floats
    y: Floats
    curve: NDArray[np.float64]
    starts: tuple[str, ...]


class _Search:
    """The search over starts for a batch of images.

    Rows are the starts of all images, those of one image behind each other. Parameters of a row are its
    coordinates and, while labels are relaxed, K logits.
    """

    def __init__(
        self, space: LatentSpace, where: Coordinates, how: InversionOptions, targets: Tensor,
        y: Floats | None, features: Features | None, encoder: Encoder | None,
    ) -> None:  # fmt: skip
        """Prepare the starts.

        Args:
            space: the generator.
            where: the coordinates that are searched.
            how: the method.
            targets: N images.
            y: their labels, or None to search them.
            features: whose distance is part of the error; or None.
            encoder: for the first starts; or None.
        """
        self.space, self.where, self.how, self.targets, self.features = space, where, how, targets, features
        self.wanted = None if features is None else _in_pieces(features, targets)
        self.starts, self.labels, self.words = self._starts(y, encoder)
        n, each = len(targets), len(self.words)
        self.image = torch.arange(n, device=targets.device).repeat_interleave(each)
        self.mse = torch.zeros(n * each, device=targets.device)
        self.relaxed = self.how.label == RELAX and y is None and self.labels is not None

    def run(self) -> _Found:
        """Search the points of the targets."""
        n, each, x = len(self.targets), len(self.words), self.starts
        if self.relaxed and self.labels is not None:
            x = torch.cat([x, 2 * self.labels], 1)
        parts = rounds(self.how.steps, each, 2 if self.relaxed else 1)
        minimiser = self._minimiser(x, torch.arange(len(x), device=x.device), parts)
        best = torch.full((n,), math.inf, device=x.device)
        curve: list[Tensor] = []
        with progress("inverting", self.how.steps * n, "evaluations") as bar:
            for number, (alive, steps) in enumerate(parts):
                if number:
                    minimiser.keep(_better(minimiser.value, len(minimiser.rows) // n, alive))
                if number == len(parts) - 1 and self.relaxed:
                    minimiser = self._snap(minimiser, parts)
                for _ in range(steps):
                    if not minimiser.fresh:  # A new L-BFGS has evaluated its beginning.
                        minimiser.step()
                    minimiser.fresh = False
                    # The value of the best so far, in pixels alone.
                    best = torch.minimum(best, self.mse[minimiser.rows].view(n, alive).amin(1))
                    curve += [best] * alive
                    bar.advance(alive * n)
        rows = minimiser.rows
        u, y_found = self._parted(minimiser.best, rows)
        latents = self.where.latents(u).detach().cpu().numpy().astype(np.float32)
        labels_found = np.zeros((n, 0), np.float32) if y_found is None else y_found.detach().cpu().numpy()
        won = tuple(self.words[int(row) % each] for row in rows)
        return _Found(latents, labels_found, torch.stack(curve).double().cpu().numpy(), won)

    def _minimiser(self, x: Tensor, rows: Tensor, parts: Sequence[tuple[int, int]]) -> Minimiser:
        evaluate: Evaluate = self.evaluate
        if self.how.method == "adam":
            return Adam(evaluate, x, rows, self.how.rate, sum(steps for _, steps in parts))
        return LBFGS(evaluate, x, rows)

    def _snap(self, minimiser: Minimiser, parts: Sequence[tuple[int, int]]) -> Minimiser:
        """Go on with the nearest class in place of the soft label."""
        u, y = self._parted(minimiser.best, minimiser.rows)
        assert y is not None
        assert self.labels is not None
        self.labels[minimiser.rows] = torch.eye(y.shape[1], device=y.device)[y.argmax(1)]
        self.relaxed = False
        return self._minimiser(u.detach(), minimiser.rows, parts[-1:])

    def _parted(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Parameters as coordinates and labels."""
        if self.labels is None:
            return x, None
        if self.relaxed:
            return x[:, : self.where.width], x[:, self.where.width :].softmax(1)
        return x, self.labels[rows]

    def evaluate(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Losses R of parameters R×P, and their gradients."""
        values, gradients = [], []
        for part, row in zip(x.split(AT_ONCE), rows.split(AT_ONCE)):
            moved = part.detach().requires_grad_()
            u, y = self._parted(moved, row)
            image = self.image[row]
            made = self.space.sample(self.where.latents(u), y, self.where.of).float()
            mse = (made - self.targets[image]).square().mean((1, 2, 3)) / 4
            loss = mse
            if self.how.prior:
                loss = loss + self.how.prior * self.where.penalty(u)
            if self.features is not None and self.wanted is not None:
                off = self.features(made) - self.wanted[image]
                loss = loss + self.how.features * off.square().mean(1)
            (gradient,) = torch.autograd.grad(loss.sum(), moved)
            self.mse[row] = mse.detach()
            values.append(loss.detach())
            gradients.append(gradient)
        return torch.cat(values), torch.cat(gradients)

    def _starts(
        self, y: Floats | None, encoder: Encoder | None
    ) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
        """Coordinates of all starts, N·S×P, their labels, and what the S of an image are.

        They depend on the image alone: every image has the same draws of the prior.
        """
        n, device, width = len(self.targets), self.targets.device, self.space.labels.width
        number = self.how.starts
        searched = width > 0 and y is None
        if searched and self.how.label != RELAX:
            number = max(number, min(width, _MOST_CLASSES, self.how.steps // 4))
        coded, logits = (None, None) if encoder is None else encoder(self.targets)
        order = torch.arange(width, device=device).expand(n, -1)
        if searched and logits is not None:
            order = logits.argsort(dim=1, descending=True, stable=True)
        from_encoder = 0 if coded is None else -(-number // 2)
        given = None if y is None or not width else torch.from_numpy(y).to(device)
        columns, labels, words = [], [], []
        for start in range(number):
            known = start < from_encoder
            if given is None and width:
                code = order[:, (start if known else start - from_encoder) % width]
                if not known and number >= width:  # Every class is tried once before one is tried again.
                    code = order[:, start % width]
                asked = torch.eye(width, device=device)[code]
            else:
                asked = given if given is not None else torch.zeros(n, 0, device=device)
            if known and coded is not None:  # For w+, one style for all layers.
                columns.append(coded.repeat(1, self.where.width // coded.shape[1]))
            else:
                columns.append(self._drawn(start, asked))
            labels.append(asked)
            words.append("encoder" if known else f"prior {start}")
        starts = torch.stack(columns, 1).flatten(0, 1)
        return starts, torch.stack(labels, 1).flatten(0, 1) if width else None, tuple(words)

    def _drawn(self, start: int, asked: Tensor) -> Tensor:
        """Coordinates of a draw from the prior, N×P."""
        rng = torch.Generator().manual_seed(stable_seed(self.how.seed, "inversion", start))
        network = self.space.network
        z = network.sample_prior(1, rng).to(asked.device).expand(len(asked), *network.z_shape)
        if self.where.space == "z":
            return self.where.of_latents(z)
        with torch.no_grad():
            mapping = self.space.require_styles("--space w").mapping
            return self.where.of_latents(mapping(z, asked if asked.shape[1] else None).float())


def rounds(steps: int, starts: int, least: int = 1) -> list[tuple[int, int]]:
    """Starts that are alive, and how many steps each of them takes, in each round.

    Half of the starts go on after each round; rounds cost the same evaluations, the last, of one start, the
    rest.

    Args:
        steps: of all together.
        starts: at the beginning.
        least: rounds that there are at least, of one start where it is the only one.
    """
    alive = [starts]
    while alive[-1] > 1 or len(alive) < least:
        alive.append(-(-alive[-1] // 2))
    share = steps / (len(alive) + (starts > 1))
    parts = [(each, max(1, int(share / each))) for each in alive[:-1]]
    return [*parts, (1, max(1, steps - sum(each * n for each, n in parts)))]


def _better(value: Tensor, before: int, after: int) -> Tensor:
    """Places of the better rows of each image, in their order."""
    table = value.nan_to_num(math.inf).view(-1, before)
    kept = table.argsort(dim=1, stable=True)[:, :after].sort(1).values
    return (kept + before * torch.arange(len(table), device=value.device)[:, None]).flatten()


def _in_pieces(features: Features, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([features(part) for part in images.split(AT_ONCE)])


def _reconstructed(
    space: LatentSpace, points: Points, wanted: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """What the generator makes of points, and its mean squared errors."""
    made, errors, device = [], [], space.engine.device
    with torch.no_grad():
        for start in range(0, len(points), AT_ONCE):
            part = points[start : start + AT_ONCE]
            y = None if part.y is None else torch.from_numpy(part.y).to(device)
            images = space.sample(torch.from_numpy(part.values).to(device), y, points.space).float()
            made.append(to_uint8(images))
            off = images - space.engine.to_images(wanted[start : start + AT_ONCE])
            errors.append(off.square().mean((1, 2, 3)).double().cpu().numpy() / 4)
    return np.concatenate(made), np.concatenate(errors)
