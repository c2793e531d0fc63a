"""How well a classifier tells real images from others: a classifier two-sample test.

(Lopez-Paz & Oquab, ICLR 2017.) A classifier is trained to tell images of the real train part from one half
of the others, and scores images that it has not seen: the test part, whose groups are not in train, and the
other half. The same is done for the other half. The measure is the AUROC, averaged over the two: 0.5 where
nothing tells them apart, 1 where everything does.

The baseline is the same with real images in place of the others: the groups of train are parted in three, of
which one stands for the real images and two for the halves of the others. It is of one draw of these parts
and shows how far so few groups scatter. On average over the three choices of the part that stands for the
real images it is 0.5, since a linear classifier of two parts is the opposite of that of the same parts
exchanged; so it is chance that an AUROC is held against.

There are two classifiers. A linear one on features of the extractor and, by itself, on residual statistics:
it is the default, because from a few hundred images it learns to see more than the other, in a second. And a
small network on pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from plenish.domains import SYMMETRIES, Symmetry
from plenish.metrics.kernels import Floats, Ints
from plenish.metrics.linear import fit_linear
from plenish.metrics.resampling import all_weights, student, unit_codes
from plenish.metrics.statistics import Interval
from plenish.networks.classifier import SmallClassifier
from plenish.training.engine import Engine, stable_seed
from plenish.training.roc import auroc_binary

STEPS = 200
_RATE, _DECAY, _BATCH = 2e-3, 1e-2, 32
MOST = 4_000
"""Images of a side; of more some are drawn."""
SIDE = 64
"""Larger images are reduced to this for the network."""
SHOWN = 12
"""Images in each row of the panel."""
_THIRDS = 3

Fit = Callable[[NDArray[Any], NDArray[Any], Sequence[NDArray[Any]]], list[Floats]]
"""Trains on real and other inputs; returns scores, higher for others, of the inputs in each of a list."""


@dataclass(frozen=True)
class Inputs:
    """What a classifier sees of the images of one side: pixels N×H×W×C uint8, or features N×D.

    Attributes:
        values: of each image.
        groups: of each; None where they are independent.
    """

    values: NDArray[Any]
    groups: Sequence[Any] | NDArray[Any] | None = None

    @property
    def units(self) -> Ints:
        """Number of the group of each."""
        return unit_codes(self.groups, len(self.values))

    def parts(self, number: int, seed: int) -> list[Ints]:
        """Rows in so many parts of about the same size; a group is in one of them."""
        units = self.units
        order = np.random.default_rng([seed, 0x2A]).permutation(int(units.max()) + 1)
        return [np.flatnonzero(np.isin(units, order[i::number])) for i in range(number)]


def trainings(train: Inputs) -> int:
    """How many trainings a test takes: two, and two for the baseline where there is one."""
    return 4 if _has_baseline(train) else 2


def _has_baseline(train: Inputs) -> bool:
    return int(train.units.max()) + 1 >= 2 * _THIRDS


@dataclass(frozen=True)
class TwoSample:
    """How well others are told from real ones, and which.

    Attributes:
        auroc: mean of the two halves; bounds are nan where there is no interval.
        baseline: the same for real images in place of the others; None where train has too few groups.
        excess: auroc − max(baseline, 0.5), on the same resampled groups of test.
        scores: of each of the others, by the classifier that did not see it; 0 and 1 are the mean and the
            mean plus a standard deviation of the test images.
    """

    auroc: Interval
    baseline: Interval | None
    excess: Interval
    scores: Floats

    @property
    def is_told(self) -> bool:
        """Whether they are told from real ones: whether the interval of the AUROC lies above chance.

        An ideal generator repeats the groups of train, so chance, 0.5, is what it has on average. Other
        images of the train groups were told in 0 to 5 % of 60 simulations with two fifths of the variance
        between groups, of 6 to 20 in test and as many to five times as many in train. The interval counts
        which groups are in test, not which are in train: with 12 in train and 20 in test it was 9 % of 120;
        with four fifths of the variance between groups and 12 in train, 7 % at 6 and 12 in test and 13 % at
        20.
        """
        return bool(self.auroc.low > 0.5)


def two_sample_test(
    fit: Fit, train: Inputs, test: Inputs, others: Inputs, *, resamples: int = 200, seed: int = 0
) -> TwoSample:
    """Test whether others are told from real images.

    Args:
        fit: trains a classifier; see `network_fit` and `linear_fit`.
        train: real images that classifiers are trained on.
        test: real images of other groups, which are only scored.
        others: at least two; without groups, chance decides the halves.
        resamples: of the bootstrap, of test by group and of the others; 0 for no intervals.
        seed: of the halves and the resamples.
    """
    weights = all_weights(test.units, resamples, seed)
    values, scores = _cross_fitted(fit, train.values, test, others, weights, resamples, seed)
    floor = None
    if _has_baseline(train):
        first, *rest = train.parts(_THIRDS, seed)
        stand_in = np.concatenate(rest)
        groups = np.repeat([0, 1], [len(rows) for rows in rest])  # Its halves are the other two thirds.
        inside = train.units[stand_in]
        floor, _ = _cross_fitted(
            fit, train.values[first], test, Inputs(train.values[stand_in], inside), weights, resamples, seed,
            halves=[np.flatnonzero(groups == i) for i in (0, 1)],
        )  # fmt: skip
    t = student(int(test.units.max()) + 1, resamples)
    gap = values - (0.5 if floor is None else np.maximum(floor, 0.5))
    base = None if floor is None else _interval(floor, t)
    return TwoSample(_interval(values, t), base, _interval(gap, t, least=-1.0), scores)


def _cross_fitted(
    fit: Fit, real: NDArray[Any], test: Inputs, others: Inputs, weights: Floats, resamples: int, seed: int,
    halves: Sequence[Ints] | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """AUROC under R+1 weightings, and the score of each of the others."""
    halves = others.parts(2, seed) if halves is None else halves
    of_others = all_weights(others.units, resamples, seed + 1)
    aurocs, scores = [], np.zeros(len(others.values))
    for seen, unseen in (halves, halves[::-1]):
        real_scores, found = fit(real, others.values[seen], [test.values, others.values[unseen]])
        positive = np.repeat([False, True], [len(real_scores), len(found)])
        both = np.concatenate([weights, of_others[:, unseen]], axis=1)
        aurocs.append(auroc_binary(positive, np.concatenate([real_scores, found]), both))
        spread = float(np.std(real_scores))
        scores[unseen] = (found - np.mean(real_scores)) / (spread if spread > 0 else 1.0)
    return np.mean(aurocs, axis=0), scores


def _interval(values: Floats, t: float, least: float = 0.0) -> Interval:
    """The first value ± t × the spread of the others."""
    spread = float(np.nanstd(values[1:], ddof=1)) if len(values) > 2 else np.nan
    low, high = (float(np.clip(values[0] + sign * t * spread, least, 1.0)) for sign in (-1, 1))
    return Interval(float(values[0]), low, high)


def linear_fit(*blocks: slice) -> Fit:
    """A linear classifier on each block of features; their logits are added.

    Each has its own, because many features that tell nothing hide the few that tell all.

    Args:
        blocks: columns of the features.
    """

    def fit(real: NDArray[Any], others: NDArray[Any], scored: Sequence[NDArray[Any]]) -> list[Floats]:
        codes = np.repeat([0, 1], [len(real), len(others)])
        both = np.concatenate([real, others])
        classifiers = [(block, fit_linear(both[:, block], codes, 2)) for block in blocks]
        return [
            np.sum([np.diff(one.logits(x[:, block]))[:, 0] for block, one in classifiers], axis=0)
            for x in scored
        ]

    return fit


def network_fit(engine: Engine, symmetry: Symmetry, advance: Callable[[int], None], seed: int = 0) -> Fit:
    """The small classifier on pixels, trained for `STEPS` steps of as many images of both sides.

    Args:
        engine: device and precision.
        symmetry: orientations that count as one image.
        advance: is told of steps done.
        seed: of weights, order and flips.
    """

    def fit(
        real: NDArray[np.uint8], others: NDArray[np.uint8], scored: Sequence[NDArray[np.uint8]]
    ) -> list[Floats]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stable_seed("two-sample", seed))
            network = SmallClassifier(real.shape[3], real.shape[1], 1)
            engine.to_module(network.train())
            optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=STEPS)
            rng = np.random.default_rng([seed, 0x25A])
            y = torch.tensor([0.0, 1.0], device=engine.device).repeat_interleave(_BATCH)
            for _ in range(STEPS):
                drawn = [side[rng.integers(0, len(side), _BATCH)] for side in (real, others)]
                x = engine.to_images(np.concatenate(drawn))
                for axis in (3, 2)[: SYMMETRIES.index(symmetry)]:
                    x = x.flip(axis) if rng.random() < 0.5 else x
                with engine.autocast():
                    logits = network(x)[:, 0]
                loss = functional.binary_cross_entropy_with_logits(logits.float(), y)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
                advance(1)
        network.eval()
        with torch.no_grad():
            return [
                np.concatenate(
                    [
                        network(engine.to_images(images[i : i + 256]))[:, 0].float().cpu().numpy()
                        for i in range(0, len(images), 256)
                    ]
                ).astype(np.float64)
                for images in scored
            ]

    return fit
