"""Counterfactuals: the smallest change of a latent, and of its label, that turns a classifier."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish.errors import InputError, unknown
from plenish.latent.boundary import Box, smallest_change
from plenish.latent.counterfactual_options import CounterfactualOptions
from plenish.latent.judges import Pixels, probabilities
from plenish.latent.points import Points
from plenish.latent.prior import Prior, prior_of
from plenish.latent.space import AT_ONCE, LatentSpace
from plenish.metrics.extractor import resized
from plenish.progress import progress
from plenish.training.classifier_model import Classifier, orientations
from plenish.training.engine import stable_seed

Floats = NDArray[np.float64]
_SLACK = 0.1
"""Log-odds beyond those asked for: what rounding an image to whole grey levels may take away."""


@dataclasses.dataclass(frozen=True)
class Counterfactuals:
    """What was found for N images.

    Attributes:
        before: where it began.
        after: the changed points; those for which nothing was found are as before.
        images: of both, uint8 N×H×W×C, as they are written.
        to: number of the class asked for, in the classifier's order, N.
        chances: probability of that class before and after, N each, of those images.
        already: images that were of this class with the confidence asked for, N; they are not changed.
        turned: whether the class has that confidence afterwards and had not before, N.
        change: how far the latent was moved, in standard deviations of the prior (Euclidean), N.
        label_change: which part of the way to the class the label went, N; None where it was kept.
        typical: share of the prior's draws that lie farther out, before and after, N each.
        evaluations: of the generator, for each image.
    """

    before: Points
    after: Points
    images: tuple[Pixels, Pixels]
    to: NDArray[np.int64]
    chances: tuple[Floats, Floats]
    already: NDArray[np.bool_]
    turned: NDArray[np.bool_]
    change: Floats
    label_change: Floats | None
    typical: tuple[Floats, Floats]
    evaluations: int

    def __getitem__(self, rows: NDArray[Any]) -> Counterfactuals:
        """Those of some of the images."""
        rows = np.arange(len(self.to))[rows]
        return Counterfactuals(
            self.before[rows], self.after[rows], (self.images[0][rows], self.images[1][rows]), self.to[rows],
            (self.chances[0][rows], self.chances[1][rows]), self.already[rows], self.turned[rows],
            self.change[rows], None if self.label_change is None else self.label_change[rows],
            (self.typical[0][rows], self.typical[1][rows]), self.evaluations,
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[Counterfactuals]) -> Counterfactuals:
        """Those of several searches behind each other."""

        def both(name: str) -> Any:
            return tuple(np.concatenate([getattr(part, name)[k] for part in parts]) for k in (0, 1))

        labels = [part.label_change for part in parts if part.label_change is not None]
        one = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("to", "already", "turned", "change")
        }
        return Counterfactuals(
            Points.joined([part.before for part in parts]), Points.joined([part.after for part in parts]),
            both("images"), one["to"], both("chances"), one["already"], one["turned"], one["change"],
            np.concatenate(labels) if len(labels) == len(parts) else None, both("typical"),
            max(part.evaluations for part in parts),
        )  # fmt: skip


def find_counterfactuals(
    space: LatentSpace, points: Points, model: Classifier, how: CounterfactualOptions
) -> Counterfactuals:
    """Find for each point the smallest change that turns a classifier.

    Args:
        space: the generator.
        points: where it begins.
        model: the classifier.
        how: the class, the confidence, and the search.

    Raises:
        InputError: the classifier has no such class, or none is given and it has more than two, or the label
            is to change and the generator does not know the class.
    """
    first = space.images(points)
    found = probabilities(model, first)
    to = _aims(model, found, how.to)
    rows = np.arange(len(points))
    already = found[rows, to] >= how.confidence
    ends = _label_ends(space, model, to, how)
    values, y = points.values.copy(), None if points.y is None else points.y.copy()
    moved, labels = np.zeros(len(points)), np.zeros(len(points))
    asked = np.flatnonzero(~already)
    prior, evaluations = prior_of(space, points.space), 0
    with progress("counterfactuals", len(asked), "images") as bar:
        for start in range(0, len(asked), AT_ONCE):
            piece = asked[start : start + AT_ONCE]
            aims = None if ends is None else ends[piece]
            search = _Search(space, points[piece], model, to[piece], how, prior, aims)
            values[piece], changed, moved[piece], labels[piece], evaluations = search.run(start)
            if y is not None and changed is not None:
                y[piece] = changed
            bar.advance(len(piece))
    after = points.replaced(values, y)
    last = space.images(after)
    chances = found[rows, to], probabilities(model, last)[rows, to]
    turned = ~already & (chances[1] >= how.confidence)
    typical = prior.share_farther(points.values), prior.share_farther(after.values)
    return Counterfactuals(
        points, after, (first, last), to, chances, already, turned, moved,
        None if ends is None else labels, typical, evaluations,
    )  # fmt: skip


def _aims(model: Classifier, found: Floats, to: str | None) -> NDArray[np.int64]:
    """The class that each image is to become."""
    if to is not None:
        if to not in model.names:
            raise unknown("class of the classifier in --to", to, model.names)
        return np.full(len(found), model.names.index(to))
    if model.kind != "categorical" or len(model.names) != 2:
        raise InputError(
            f"Say which class to turn to with --to; the classifier knows {', '.join(model.names[:20])}."
        )
    return np.asarray(1 - found.argmax(1))


def _label_ends(
    space: LatentSpace, model: Classifier, to: NDArray[np.int64], how: CounterfactualOptions
) -> NDArray[np.float32] | None:
    """The labels N×K that the class asked for has in the generator; None where labels are kept."""
    if how.change_label == "kept":
        return None
    labels, wanted = space.labels, [model.names[k] for k in np.unique(to)]
    known = labels.kind == "categorical" and all(name in labels.names for name in wanted)
    if known:
        codes = [labels.code(model.names[k]) for k in to]
        return np.eye(labels.width, dtype=np.float32)[codes]
    if how.change_label == "free":
        classes = ", ".join(labels.names[:20]) if labels.kind == "categorical" else f"{labels.kind} labels"
        raise InputError(
            f"The label cannot change to {' or '.join(wanted)}, a class of the classifier that the generator "
            f"does not know; it has {classes.replace('none labels', 'no labels')}. Leave out --change-label."
        )
    return None


class _Search:
    """The search for some points at once, in deviations of the prior from where each begins."""

    def __init__(
        self, space: LatentSpace, points: Points, model: Classifier, to: NDArray[np.int64],
        how: CounterfactualOptions, prior: Prior, ends: NDArray[np.float32] | None,
    ) -> None:  # fmt: skip
        self.space, self.points, self.how = space, points, how
        self.size, self.kind = model.size, model.kind
        device = space.engine.device
        self.module: nn.Module = model.module().requires_grad_(False)
        self.to = torch.from_numpy(to).to(device)
        self.start = torch.from_numpy(points.values).to(device)
        self.scale = torch.from_numpy(prior.scale).to(device)
        self.at = torch.from_numpy(prior.standardised(points.values)).to(device)
        self.limit = self.at.norm(dim=1).clamp_min(prior.radius)
        self.y = None if points.y is None else torch.from_numpy(points.y).to(device)
        self.ends = None if ends is None else torch.from_numpy(ends).to(device)
        self.dim = self.at.shape[1]
        self.box = self._box(prior.bound)

    def _box(self, bound: float) -> Box:
        low = torch.minimum(-bound - self.at, torch.zeros_like(self.at))
        high = torch.maximum(bound - self.at, torch.zeros_like(self.at))
        if self.ends is not None:
            none = torch.zeros_like(self.at[:, :1])
            low, high = torch.cat([low, none], 1), torch.cat([high, none + self.how.label_cost], 1)
        return Box(low, high, self._within)

    def _within(self, u: Tensor) -> Tensor:
        """Changes that end no farther from the prior's middle than is allowed."""
        there = self.at + u[:, : self.dim]
        there = there * (self.limit / there.norm(dim=1).clamp_min(1e-12)).clamp(max=1)[:, None]
        return torch.cat([there - self.at, u[:, self.dim :]], 1)

    def decoded(self, u: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents and labels of changes."""
        values = self.start + (u[:, : self.dim] * self.scale).view_as(self.start)
        if self.ends is None or self.y is None:
            return values, self.y
        way = u[:, self.dim :] / self.how.label_cost
        return values, self.y + way * (self.ends - self.y)

    def beyond(self, u: Tensor) -> Tensor:
        """Log-odds of the class asked for over those of the confidence, N: those of the image as it is, or
        the mean over its orientations and under noise, whichever is less."""
        values, y = self.decoded(u)
        made = resized(self.space.sample(values, y, self.points.space).clamp(-1, 1).float(), self.size)
        found, noise = self._log_odds(made), self.how.noise
        if self.how.orientations != "none" or noise:
            views = enumerate(orientations(made, self.how.orientations))
            each = [found if k == 0 and not noise else self._log_odds(self._noisy(x, k)) for k, x in views]
            found = torch.minimum(found, torch.stack(each).mean(0))
        return found - math.log(self.how.confidence / (1 - self.how.confidence)) - _SLACK

    def _noisy(self, view: Tensor, k: int) -> Tensor:
        """With noise that is the same for all images and steps, so that f is a fixed function."""
        if not self.how.noise:
            return view
        draws = torch.Generator(view.device).manual_seed(
            stable_seed("counterfactual-noise", self.how.seed, k)
        )
        drawn = torch.randn(view.shape[1:], generator=draws, device=view.device)
        return view + drawn * (self.how.noise / 127.5)

    def _log_odds(self, images: Tensor) -> Tensor:
        logits: Tensor = self.module(images)
        mine = logits.gather(1, self.to[:, None])[:, 0]
        if self.kind == "categorical":
            others = logits.scatter(1, self.to[:, None], -torch.inf)
            mine = mine - others.logsumexp(1)
        return mine

    def run(self, first: int) -> tuple[Any, NDArray[np.float32] | None, Floats, Floats, int]:
        """Changed latents, changed labels, lengths of the changes, parts of the labels' way, evaluations."""
        device = self.space.engine.device
        draws = torch.Generator(device).manual_seed(stable_seed("counterfactual", self.how.seed, first))
        found = smallest_change(
            self.beyond, self.box, steps=self.how.steps, starts=self.how.starts, draws=draws
        )
        with torch.no_grad():
            values, y = self.decoded(found.offset)
        moved = found.offset[:, : self.dim].norm(dim=1).double().cpu().numpy()
        way = np.zeros(len(moved))
        if self.ends is not None:
            way = (found.offset[:, self.dim] / self.how.label_cost).double().cpu().numpy()
        changed = None if y is None else y.float().cpu().numpy()
        return values.float().cpu().numpy(), changed, moved, way, found.evaluations


def path_between(before: Points, after: Points, frames: int) -> Iterator[Points]:
    """Points on the straight way from some points to others, labels with them, both ends included."""
    for t in np.linspace(0, 1, frames, dtype=np.float32):
        y = None if before.y is None or after.y is None else (1 - t) * before.y + t * after.y
        yield before.replaced((1 - t) * before.values + t * after.values, y)
