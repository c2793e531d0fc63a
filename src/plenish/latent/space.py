"""A trained generator as a space of points, each of which is an image with a label.

Everything here works on the Sampler contract. Images are made with the family's deterministic options
(constant noise), so that two points differ in their latents and labels alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError, unknown_id
from plenish.latent import arithmetic, interpolation, mixing
from plenish.latent.held_steps import Binding, Moved, moved_holding
from plenish.latent.interpolation import LabelPath
from plenish.latent.paths import Loop, PathKind
from plenish.latent.points import Floats, Points, Space
from plenish.latent.sampling import Loaded, checked_latents, checked_options, load_generator
from plenish.networks.gan.contract import Generator
from plenish.networks.sampler import Sampler
from plenish.networks.weights import read_with_digest
from plenish.progress import warn
from plenish.training.engine import Engine, stable_seed, to_uint8

AT_ONCE = 64
"""Images that are made at once."""
_STYLES = "The space w"


def _with_weights(loaded: Loaded, path: Path) -> Loaded:
    """A generator with other weights, and their checksum in its provenance."""
    state, digest = read_with_digest(path)
    try:
        loaded.network.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"{path} holds weights of another network than {loaded.run.path}; give those that 'edit invert "
            "--tune' made with it."
        ) from None
    return dataclasses.replace(loaded, weights_sha256=digest)


class LatentSpace:
    """A trained generator as a space to edit in.

    Attributes:
        loaded: the generator with its provenance.
        network: the generator, in evaluation mode.
        options: of the family's `sample`; constant noise unless asked otherwise.
        engine: device and precision.
    """

    def __init__(
        self, run: Path | str, checkpoint: str = "best", *, options: Mapping[str, Any] = {},
        weights: Path | None = None,
    ) -> None:  # fmt: skip
        """Load a trained generator of any family.

        Args:
            run: a generator's Run.
            checkpoint: `best` on the val part, `last`, or a checkpoint's name.
            options: of the family's `sample`, such as truncation.
            weights: of the same network, in place of the checkpoint's: those of pivotal tuning.

        Raises:
            InputError: no such Run, checkpoint or option, or weights of another network.
        """
        self.loaded = load_generator(run, checkpoint)
        if weights is not None:
            self.loaded = _with_weights(self.loaded, weights)
        self.network: Sampler = self.loaded.network
        known = {**self.network.sample_options, **self.network.deterministic_options}
        self.options: dict[str, Any] = known | checked_options(self.network, options)
        self.engine = Engine.from_settings()

    @property
    def labels(self) -> LabelSchema:
        """The generator's label schema."""
        return self.network.labels

    @property
    def family(self) -> str:
        """Name of its family, such as dcgan."""
        return str(self.loaded.run.config["config"]["family"])

    @property
    def has_styles(self) -> bool:
        """Whether it has w that is more than z, with a style for each layer."""
        return isinstance(self.network, Generator) and self.network.has_styles

    def require_styles(self, what: str) -> Generator:
        """The network as one that has styles w.

        Args:
            what: what needs them, as the beginning of a sentence: 'Style mixing'.

        Raises:
            InputError: the family has none.
        """
        if not isinstance(self.network, Generator) or not self.network.has_styles:
            raise InputError(
                f"{what} needs a generator with styles w, such as StyleGAN2; {self.loaded.run.path} is a "
                f"{self.family} generator, which has z alone."
            )
        return self.network

    def require_labels(self, what: str, *kinds: str) -> LabelSchema:
        """The label schema, where it is of a kind that is needed.

        Args:
            what: what needs labels, as the beginning of a sentence: 'Turning the class of an image'.
            kinds: of labels that will do; by default all.

        Raises:
            InputError: the generator was trained without labels, or with others.
        """
        if not self.labels.width:
            raise InputError(
                f"{what} needs a generator with labels, and {self.loaded.run.path} was trained without; "
                "train one on labelled data."
            )
        if kinds and self.labels.kind not in kinds:
            raise InputError(
                f"{what} needs {' or '.join(kinds)} labels, and {self.loaded.run.path} has "
                f"{self.labels.kind} ones."
            )
        return self.labels

    # Points

    def draw(self, seeds: Sequence[int], y: Floats | None = None) -> Points:
        """A point of the prior for each seed, which depends on that seed alone.

        Args:
            seeds: one for each point.
            y: labels N×K, or 1×K for all; by default the classes in turn. Labels of other kinds must be
                given, see `label`.

        Raises:
            InputError: labels that cannot be taken in turn are missing.
        """
        drawn = [
            self.network.sample_prior(1, torch.Generator().manual_seed(stable_seed(seed, "point")))
            for seed in seeds
        ]
        names = tuple(f"seed {seed}" for seed in seeds)
        values = torch.cat(drawn).numpy().astype(np.float32)
        return Points(values, "z", self._labels(len(names), y), names)

    def given(
        self, values: NDArray[Any], space: Space = "z", y: Floats | None = None, *, option: str = "--latents"
    ) -> Points:
        """Points of latents as numbers.

        Args:
            values: z, N×z_shape, or w, N×w_dim or N×num_ws×w_dim; rows may be flat.
            space: which of them.
            y: labels N×K, or 1×K for all; by default the classes in turn.
            option: the option that gave them, for messages.

        Raises:
            InputError: they are not finite numbers of a width the generator takes.
        """
        rows = checked_latents(self.network, values, space, option)
        if space == "w":
            network = self.require_styles(_STYLES)
            rows = rows.reshape(len(rows), -1, network.w_dim)
            rows = np.broadcast_to(rows, (len(rows), network.num_ws, network.w_dim)).copy()
        return Points(rows, space, self._labels(len(rows), y), tuple(f"latent {i}" for i in range(len(rows))))

    def of_samples(self, data: Path | str, ids: Sequence[str]) -> Points:
        """The points that generated images of a Dataset were made of.

        Args:
            data: a Dataset that this generator made.
            ids: of its images; empty for all.

        Raises:
            InputError: another generator made it, it keeps no latents, or it has no such images.
        """
        dataset = Dataset.open(data)
        made_by = dict(dataset.manifest.extra.get("generator") or {})
        if made_by.get("weights_sha256") != self.loaded.weights_sha256:
            who = f"{made_by.get('run_id')}, {made_by.get('checkpoint')}" if made_by else "no generator"
            raise InputError(
                f"The images of {data} were made by {who}, not by {self.loaded.checkpoint} of "
                f"{self.loaded.run.path}; give that Run and --checkpoint, or invert the images."
            )
        space: Space | None = next((name for name in ("z", "w") if name in dataset.array_names()), None)
        if space is None:
            raise InputError(
                f"{data} keeps no latents, because they are as large as its images; give --seeds."
            )
        place = {name: i for i, name in enumerate(dataset.table["id"])}
        wrong = [name for name in ids if name not in place]
        if wrong:
            raise unknown_id(wrong[0], place, str(data))
        rows = [place[name] for name in ids] if ids else list(range(len(dataset)))
        self._tell_other_options(data, made_by)
        y = np.asarray(dataset.array("y")[rows], np.float32) if self.labels.width else None
        points = self.given(np.asarray(dataset.array(space)[rows]), space, y)
        return points.replaced(names=[str(dataset.table["id"].iloc[row]) for row in rows])

    def _tell_other_options(self, data: Path | str, made_by: Mapping[str, Any]) -> None:
        """Warn of options that a Dataset's images were made with, and those of this space are not; of noise,
        which is constant here, nothing is said."""
        other = [
            f"{name}={made_by[name]}"
            for name, value in self.options.items()
            if name not in self.network.deterministic_options and made_by.get(name, value) != value
        ]
        if other:
            warn(
                f"the images of {data} were made with {', '.join(other)}, and without it the same latents "
                f"make other ones; give --options {' '.join(other)}."
            )

    def in_space(self, points: Points, where: Space | None, what: str = "This") -> Points:
        """The points as z or w, or as they are.

        Args:
            points: the points.
            where: which; None leaves them.
            what: what needs them, as the beginning of a sentence: '--within z'.

        Raises:
            InputError: w is asked for and the family has none, or z of points that are w.
        """
        if where == "z" and points.space == "w":
            raise InputError(
                f"{what} is of z, and these points are styles w, from which z cannot be had; give seeds, or "
                "latents of z."
            )
        return self.to_w(points) if where == "w" else points

    def label(self, text: str) -> Floats:
        """A label in words as y, 1×K.

        Args:
            text: a name, names with weights such as 'benign=0.3,tumour=0.7', or names alone with 1 each.

        Raises:
            InputError: an unknown name, a weight that is no number, or classes that do not sum to 1.
        """
        labels = self.require_labels("--label")
        if text in labels.names:
            return np.eye(labels.width, dtype=np.float32)[[labels.code(text)]]
        y = np.zeros((1, labels.width), np.float32)
        for word in text.split(","):
            name, equals, weight = (part.strip() for part in word.rpartition("=" if "=" in word else "\0"))
            name, weight = (name, weight) if equals else (weight, "1")
            try:
                y[0, labels.code(name)] = float(weight)
            except ValueError:
                raise InputError(f"'{weight}' of '{word}' in --label is no number.") from None
        if labels.kind == "categorical" and (abs(y.sum() - 1) > 1e-3 or (y < 0).any()):
            wrong = f"{y.min():g} is below 0" if (y < 0).any() else f"they sum to {y.sum():g}"
            raise InputError(
                f"The weights of the classes in --label '{text}' must be at least 0 and sum to 1; {wrong}."
            )
        if not np.isfinite(y).all():
            raise InputError(f"--label '{text}' holds values that are not finite.")
        return y

    def _labels(self, n: int, y: Floats | None) -> Floats | None:
        if not self.labels.width:
            if y is not None:
                raise InputError("This generator has no labels, so none can be asked of it.")
            return None
        if y is not None:
            if y.ndim != 2 or y.shape[1] != self.labels.width or len(y) not in (1, n):
                raise ValueError(f"labels of shape {y.shape} for {n} points of {self.labels.width}")
            return np.broadcast_to(y, (n, self.labels.width)).astype(np.float32)
        if self.labels.kind != "categorical":
            names = ", ".join(f"{name}=…" for name in self.labels.names[:4])
            raise InputError(f"For {self.labels.kind} labels say which to make: --label {names}")
        return np.eye(self.labels.width, dtype=np.float32)[np.arange(n) % self.labels.width]

    # Paths and sums of points

    @property
    def uniform(self) -> bool:
        """Whether the prior is U(-1, 1); else it is N(0, 1)."""
        return self.network.prior_name.startswith("U")

    def usual_path(self, points: Points) -> PathKind:
        """Straight in w and for a uniform prior, along great circles for a normal one (White 2016)."""
        return "linear" if points.space == "w" or self.uniform else "slerp"

    def interpolate(
        self, points: Points, frames: int = 60, kind: PathKind | None = None, *, loop: Loop = "open",
        labels: LabelPath = "soft",
    ) -> Points:  # fmt: skip
        """Points on a path through points; see `interpolation.interpolate`.

        Args:
            points: where it goes through, at least two.
            frames: frames of each leg, both ends counted.
            kind: straight or along great circles; by default `usual_path`.
            loop: `open`, `ping-pong` or `closed`.
            labels: whether labels move softly, or are those of the point that a leg leaves.
        """
        return interpolation.interpolate(points, frames, kind or self.usual_path(points), loop, labels)

    def grid(self, points: Points, side: int = 7, kind: PathKind | None = None) -> Points:
        """The square between four points, row by row; see `interpolation.grid`."""
        return interpolation.grid(points, side, kind or self.usual_path(points))

    def walk(self, frames: int = 120, seed: int = 0, bends: int = 2, y: Floats | None = None) -> Points:
        """A random smooth closed path, each point of which has the distribution of the prior.

        Args:
            frames: number of points; the one behind the last is the first.
            seed: of the path.
            bends: how often it turns at most.
            y: the label, 1×K; by default the first class.
        """
        rng = np.random.default_rng(stable_seed(seed, "walk"))
        values = interpolation.random_loop(self.network.z_shape, self.uniform, frames, bends, rng)
        if y is None and self.labels.kind == "categorical":
            y = np.eye(self.labels.width, dtype=np.float32)[:1]
        return Points(values, "z", self._labels(frames, y), tuple(f"walk {seed}, {i}" for i in range(frames)))

    def move(
        self, points: Points, direction: NDArray[np.floating], strengths: Sequence[float]
    ) -> list[Points]:
        """The points with so many times a direction added, for each strength; see `interpolation.moved`."""
        return interpolation.moved(points, direction, np.asarray(strengths))

    def move_holding(
        self, points: Points, direction: NDArray[np.floating], strengths: Sequence[float], held: Binding,
        *, step: float = 0.25,
    ) -> list[Moved]:  # fmt: skip
        """Like `move`, each point on its own way on which functions of its image keep their values.

        Args:
            points: where it begins.
            direction: see `move`.
            strengths: see `move`.
            held: from the images that it begins with to a function of images N×C×H×W in [-1, 1] to N×M,
                differentiable, each row of its own image alone.
            step: greatest strength that is added at once.

        Returns:
            For each strength the points, and how well the functions were held.
        """
        return moved_holding(
            lambda values, y: self.sample(values, y, points.space), points, direction, strengths, held,
            step=step, at_once=AT_ONCE, device=self.engine.device,
        )  # fmt: skip

    def flip(self, points: Points, to: str | None = None) -> Points:
        """The same latents with another class: `to`, or by default the next one of the list."""
        labels = self.require_labels("Changing the class", "categorical")
        return interpolation.class_way(points, labels, to, 2)[-1]

    def mix(self, base: Points, style: Points, layers: str = "coarse") -> Points:
        """Every point of `base` with some layers of every point of `style`; see `mixing.mixed`.

        Args:
            base: N points.
            style: M points, whose layers are taken.
            layers: coarse, middle, fine, or numbers such as 0-3.

        Raises:
            InputError: the family has no styles, or not these layers.
        """
        network = self.require_styles("Style mixing")
        return mixing.mixed(self.to_w(base), self.to_w(style), mixing.layer_range(layers, network.num_ws))

    def arithmetic(
        self, equation: str, sets: Mapping[str, Points | NDArray[np.floating]], y: Floats | None = None
    ) -> Points:
        """The results of an equation over sets of points, such as 'a - b + c'; see `arithmetic.solve`.

        Args:
            equation: names of sets with + - * / and parentheses.
            sets: points of one space, or directions, by name.
            y: labels of the results, 1×K; by default those of the last set that is added.

        Returns:
            A point for each column, and that of the means at the end.
        """
        return arithmetic.solve(arithmetic.parse_equation(equation), sets, y).results

    # Images

    def to_w(self, points: Points) -> Points:
        """The points as styles w, N×num_ws×w_dim.

        Raises:
            InputError: the family has none.
        """
        network = self.require_styles(_STYLES)
        if points.space == "w":
            return points
        with torch.no_grad():
            found = [network.mapping(z, y).float().cpu().numpy() for z, y in self._batches(points)]
        return points.replaced(np.concatenate(found), space="w")

    def images(self, points: Points) -> NDArray[np.uint8]:
        """Images of points, uint8 N×H×W×C."""
        with torch.no_grad(), self.engine.autocast():
            made = [to_uint8(self.sample(values, y, points.space)) for values, y in self._batches(points)]
        return np.concatenate(made)

    def sample(self, values: Tensor, y: Tensor | None, space: Space = "z") -> Tensor:
        """Images N×C×H×W in [-1, 1] of tensors on the engine's device; may be differentiated.

        Args:
            values: z, N×z_shape, or w, N×num_ws×w_dim.
            y: labels N×K, or None.
            space: which of them the values are.
        """
        make: Callable[..., Tensor] = self.network.sample
        if space == "w":
            make = self.require_styles(_STYLES).sample_w
        return make(values, y, seed=0, **self.options)

    def _batches(self, points: Points) -> Iterable[tuple[Tensor, Tensor | None]]:
        device = self.engine.device
        for start in range(0, len(points), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            values = torch.from_numpy(points.values[rows]).to(device)
            yield values, None if points.y is None else torch.from_numpy(points.y[rows]).to(device)


__all__ = ["AT_ONCE", "Floats", "LatentSpace", "Points", "Space"]
