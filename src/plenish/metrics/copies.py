"""Does a generator repeat its training images? A search for copies, calibrated on held-out images.

Every synthetic image is compared with every real training image, in two spaces: as pixels (16×16, mean and
contrast removed, all eight flips and quarter turns) and as features. The nearest sixteen of either are
compared again as crops and shifts of each other (:mod:`plenish.metrics.alignment`), which is the third
space. What counts is the *relative* distance: to the nearest training image over the mean to the nearest
twenty (sixteen in the third space). A copy is close to one image and not to the others, while a bland
picture is close to all alike (the idea of Carlini et al., "Extracting Training Data from Diffusion
Models", USENIX Security 2023, §4). A picture farther from its nearest training image than any held-out one
is unlike all of them and a copy of none.

Held-out real images go through the same search and show which values occur without copying. Two questions
are asked: whether more images are near than chance explains, by an order statistic of the held-out values and
what their groups say of its chance, and whether one, or four of different training images, are nearer than
chance explains, by the lower tail of the held-out *groups* (:mod:`plenish.metrics.tails`). Ten copies in a
thousand images answer the second one alone.

Not found: copies of a small detail, or of a strongly cropped or shifted picture that features do not
recognise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.perceptual_hash import area_weights
from plenish.metrics.alignment import aligned_distances, orientations, window_lengths
from plenish.metrics.fidelity import LEVEL
from plenish.metrics.kernels import Floats, row_pieces
from plenish.metrics.resampling import unit_codes
from plenish.metrics.statistics import wilson_interval
from plenish.metrics.tails import LOW, LowerTail, chance_share, design_effect

ALARMS = ("identical", "close")
"""Findings that say that images are copied."""
SPACES = ("pixels", "features", "aligned pixels")
_PIXELS, _FEATURES, _ALIGNED = range(3)
NEIGHBOURS = 20
SIDE = 16
EXPECTED_SHARE = 0.01
_FLAT = 4.0  # grey levels; contrast below this is not stretched into noise
_IDENTICAL = 0.1  # of the held-out median pixel distance: nothing but the same picture comes this near
_TWIN = 0.02  # relative distance; a held-out image this near is itself a copy and cannot calibrate
_CANDIDATES = 16  # nearest training images of either space that are compared as crops and shifts
_FALSE_ALARM = 0.03  # of honest images, by one or several that come near; for all spaces together
_CHANCE = 0.99  # of the share of suspects among honest images to stay below its bound
_SEVERAL = 4  # images near different training images; of ten copies so many are altered but little
_FAR_BELOW = 0.5  # of the least held-out value; what lies there is never called no sign

Groups = Sequence[Hashable | None] | NDArray[Any] | None
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Views:
    """Images in the two spaces of the search.

    Attributes:
        pixels: n×16×16×C float32 from :func:`thumbnails`.
        features: n×D float32.
    """

    pixels: Vectors
    features: Vectors

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Copies:
    """Result of a :class:`Search`.

    Attributes:
        score: copy score of each synthetic image; 1 is typical of a held-out image, 0 is an exact copy.
        holdout: scores of the held-out images that have no twin in train, ascending.
        neighbour: position of the training image each synthetic image is closest to.
        suspects: positions of the synthetic images whose score is below the threshold, closest first.
        facts: what score.json says of all images together. `finding` is `identical` where there are images
            practically identical to a training image (`n_identical`); `close` where there are more suspects
            than chance explains, or where `n_beyond` images are nearer, in one of the spaces, than one, or
            four of different training images, among so many honest images are but with 3 % probability;
            `unclear` where `n_below` images lie below half of the least held-out value and there are too few
            held-out groups (`n_groups`) to tell whether that may happen by chance; else `none`.
            `expected_share` of suspects is expected without copying; `expected_share_high` is what that stays
            below with 99 % probability, as the threshold comes from a sample of groups. `low` and `high` take
            `design_effect` images as one independent image, as in the held-out groups. `n_twins` held-out
            images were left out, because train holds the same picture. The features of `n_far` synthetic
            images lie farther from every training image than any held-out image's do. `spaces` has, of each
            space, the limits of one and of four images behind `n_beyond` and the least values.
    """

    score: Floats
    holdout: Floats
    neighbour: NDArray[np.int64]
    suspects: NDArray[np.int64]
    facts: Mapping[str, Any]


def thumbnails(images: NDArray[np.uint8]) -> Vectors:
    """Images N×H×W×C uint8 → N×16×16×C float32 with zero mean and unit contrast.

    Downsampling averages whole areas (fractional at their borders), which noise hardly changes.
    """
    n, height, width, channels = images.shape
    rows, columns = area_weights(height, SIDE), area_weights(width, SIDE)
    out = np.empty((n, SIDE, SIDE, channels), np.float32)
    for piece in row_pieces(n, height * width * channels):
        out[piece] = np.einsum(
            "ih,nhwc,jw->nijc", rows, images[piece].astype(np.float32), columns, optimize=True
        )
    out -= out.mean(axis=(1, 2, 3), keepdims=True)
    contrast = out.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray(out / np.maximum(contrast, _FLAT), dtype=np.float32)


def views_of(images: NDArray[np.uint8], extractor: Callable[[NDArray[np.uint8]], Vectors]) -> Views:
    """Thumbnails and features of images n×H×W×C uint8."""
    return Views(thumbnails(images), extractor(images))


def relative_distances(
    queries: list[Vectors], train: Vectors, nearest: int = 1
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Nearest training rows of each query, and the distance of the first over the mean of the nearest twenty.

    Args:
        queries: versions of the same n queries, n×D each; the closest version counts.
        train: N×D, at least two rows.
        nearest: how many of the nearest rows to return, at most those twenty.

    Returns:
        Positions in `train` (n×nearest, closest first), relative distances (n), from 0 (a copy) to 1 (no
        nearer than to others), and plain distances to the nearest (n).
    """
    centre = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train = train - centre
    squares = (train * train).sum(1)
    k = min(NEIGHBOURS, len(train) - 1)
    n = len(queries[0])
    where, relative, plain = np.empty((n, min(nearest, k)), np.int64), np.empty(n), np.empty(n)
    for rows in row_pieces(n, 2 * len(train)):
        d: Vectors | None = None
        for version in queries:
            q = version[rows] - centre
            here = (q @ train.T) * np.float32(-2) + squares
            here += (q * q).sum(1)[:, None]
            d = here if d is None else np.minimum(d, here, out=d)
        assert d is not None
        places = np.argpartition(d, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(d, places, axis=1)
        order = np.argsort(near, axis=1, kind="stable")[:, : where.shape[1]]
        where[rows] = np.take_along_axis(places, order, axis=1)
        roots = np.sqrt(np.maximum(near.astype(np.float64), 0.0))
        plain[rows], relative[rows] = roots.min(1), _over_mean(roots)
    return where, relative, plain


def _over_mean(distances: Floats) -> Floats:
    """The least of n×k distances over their mean; 1 where all are zero."""
    mean = distances.mean(axis=1)
    return np.where(mean > 0, distances.min(axis=1) / np.where(mean > 0, mean, 1.0), 1.0)


@dataclass(frozen=True)
class Distances:
    """How near n images come to training images, in each space (rows of the arrays 3×n, as in `SPACES`).

    Attributes:
        where: position of the nearest training image.
        relative: distance to it over the mean of the nearest.
        plain: distance to it.
    """

    where: NDArray[np.int64]
    relative: Floats
    plain: Floats

    def __getitem__(self, rows: NDArray[Any]) -> Distances:
        """Those of some of the images."""
        return Distances(self.where[:, rows], self.relative[:, rows], self.plain[:, rows])


class Index:
    """The training images, made ready to be compared with others."""

    def __init__(self, train: Views) -> None:
        """Compute what all comparisons share.

        Args:
            train: the real training images, at least three.
        """
        self._train, self._flat = train, train.pixels.reshape(len(train), -1)
        self._lengths = window_lengths(train.pixels)

    def __call__(self, images: Views) -> Distances:
        """The distances of some images."""
        n = len(images)
        turned = [np.ascontiguousarray(v).reshape(n, -1) for v in orientations(images.pixels)]
        near_p, relative_p, plain_p = relative_distances(turned, self._flat, _CANDIDATES)
        near_f, relative_f, plain_f = relative_distances([images.features], self._train.features, _CANDIDATES)
        candidates = np.sort(np.concatenate([near_p, near_f], axis=1), axis=1)
        d = aligned_distances(images.pixels, self._train.pixels, self._lengths, candidates).astype(np.float64)
        d[:, 1:][candidates[:, 1:] == candidates[:, :-1]] = np.inf  # found in both spaces
        best = np.take_along_axis(candidates, d.argmin(axis=1)[:, None], axis=1)[:, 0]
        d = np.sort(d, axis=1)[:, : near_p.shape[1]]
        return Distances(
            np.stack([near_p[:, 0], near_f[:, 0], best]),
            np.stack([relative_p, relative_f, _over_mean(d)]),
            np.stack([plain_p, plain_f, d[:, 0]]),
        )


def search(
    synthetic: Views, holdout: Views, train: Views, groups: Groups = None, *, baseline: bool = False
) -> Copies:
    """Look for copies of training images among synthetic ones, once; see `Search`."""
    return Search(holdout, train, groups)(synthetic, baseline=baseline)


class Search:
    """A search for copies of training images, calibrated once for any number of synthetic sets."""

    def __init__(self, holdout: Views, train: Views, groups: Groups = None) -> None:
        """Calibrate.

        Args:
            holdout: real images that no generator saw (the `val` part).
            train: the real training images.
            groups: groups of the held-out images; None where they are independent of each other.

        Raises:
            ValueError: there are fewer than three of either, or `train` holds all of `holdout`.
        """
        if min(len(holdout), len(train)) < 3:
            raise ValueError("it needs three held-out and three training images")
        self._index = Index(train)
        self._calibration = Calibration(self._index(holdout), unit_codes(groups, len(holdout)))
        self._neighbours = min(NEIGHBOURS, len(train) - 1)

    def __call__(self, synthetic: Views, *, baseline: bool = False) -> Copies:
        """Look for copies.

        Args:
            synthetic: the images under suspicion.
            baseline: these are real ones, which is only a matter of words.

        Raises:
            ValueError: there are none.
        """
        if not len(synthetic):
            raise ValueError("it needs synthetic images")
        found = self._calibration(self._index(synthetic))
        about = {"baseline": baseline, "neighbours": self._neighbours}
        return dataclasses.replace(found, facts={**found.facts, **about})

    def notices(self, copy: Views, n: int) -> NDArray[np.bool_]:
        """Whether each of some images would raise the alarm alone, among n images."""
        return self._calibration.notices(self._index(copy), n)


class Calibration:
    """What distances of held-out images say of others."""

    def __init__(self, held: Distances, units: NDArray[np.int64]) -> None:
        """Leave out held-out images that train holds too, and bring the spaces to one scale.

        Args:
            held: distances of n held-out images.
            units: n numbers of their groups from `resampling.unit_codes`.

        Raises:
            ValueError: each of the images is also a training image.
        """
        alone = (held.relative[[_PIXELS, _ALIGNED]] > _TWIN).all(axis=0)
        if not alone.any():
            raise ValueError("every held-out image is also a training image")
        self._twins = int(np.count_nonzero(~alone))
        self._held = held = held[np.flatnonzero(alone)]
        units = np.unique(units[alone], return_inverse=True)[1]
        self._groups = int(units.max()) + 1
        self._farthest = held.plain.max(axis=1)
        pixels = held.relative[_PIXELS]
        self._identical = min(_IDENTICAL * float(np.median(pixels)), float(pixels.min()) / 2)
        self._tails = [LowerTail.of(values, units) for values in held.relative]
        levelled = np.stack([_levelled(x, x) for x in held.relative])
        self._scores = levelled.min(axis=0)
        self._effect = design_effect(self._scores <= np.quantile(self._scores, LOW), units)
        chance = chance_share(self._scores, units, EXPECTED_SHARE, _CHANCE)
        self._threshold, self._expected, self._chance = chance

    def _limits(self, n: int) -> Floats:
        """Distances 2×3 below which one, or several, of n honest images come seldom; 0 where unknown.

        Several have half the chance of one: images of one new group come together oftener than the limit,
        which takes them as independent, supposes.
        """
        chance = _FALSE_ALARM / len(SPACES) / 2
        kinds = (1, chance), (_SEVERAL, chance / 2)
        limits = [[0.0 if tail is None else tail.limit(n, p, k) for tail in self._tails] for k, p in kinds]
        return np.array(limits)

    def _below(self, made: Distances, limits: Floats) -> NDArray[np.bool_]:
        """3×n: which are nearer than that in each space, and not far from all training images in it."""
        return np.asarray((made.relative < limits[:, None]) & (made.plain <= self._farthest[:, None]))

    def _beyond(self, made: Distances, limits: Floats) -> NDArray[np.bool_]:
        """Which images are nearer than one, or several of different training images, come by chance."""
        found = self._below(made, limits[0])
        for rows, where, below in zip(found, made.where, self._below(made, limits[1]), strict=True):
            if len(np.unique(where[below])) >= _SEVERAL:
                rows |= below
        return np.asarray(found.any(axis=0))

    def notices(self, made: Distances, n: int) -> NDArray[np.bool_]:
        """Whether each of some images would raise the alarm alone, among n images."""
        single = self._below(made, self._limits(n)[0]).any(axis=0)
        return np.asarray(single | (made.relative[_PIXELS] < self._identical))

    def __call__(self, made: Distances) -> Copies:
        """Judge images by their distances."""
        held, n = self._held, made.relative.shape[1]
        # Farther from all training images than any held-out one: no nearer to one of them than is usual.
        far = made.plain > self._farthest[:, None]
        levelled = np.stack([_levelled(x, usual) for x, usual in zip(made.relative, held.relative)])
        levelled = np.where(far, np.maximum(levelled, 1.0), levelled)
        space = levelled.argmin(axis=0)
        score = levelled.min(axis=0)
        order = np.argsort(score, kind="stable")
        suspects = order[score[order] < self._threshold]
        share = wilson_interval(len(suspects) / self._effect, n / self._effect, LEVEL)
        limits = self._limits(n)
        beyond = self._beyond(made, limits)
        below = self._below(made, _FAR_BELOW * held.relative.min(axis=1)).any(axis=0)
        n_identical = int(np.count_nonzero(made.relative[_PIXELS] < self._identical))
        if n_identical:
            finding = "identical"
        elif share.low > self._chance or beyond.any():
            finding = "close"
        else:
            finding = "unclear" if below.any() else "none"
        facts = {
            "finding": finding, "n": n, "n_holdout": len(self._scores), "n_groups": self._groups,
            "threshold": self._threshold, "expected_share": self._expected,
            "expected_share_high": self._chance, "n_suspect": len(suspects), "n_identical": n_identical,
            "n_beyond": int(np.count_nonzero(beyond)), "n_below": int(np.count_nonzero(below)),
            "spaces": [
                {
                    "space": name, "limit": one, "limit_several": several,
                    "closest_holdout": float(usual.min()), "closest": float(x.min()),
                }
                for name, one, several, usual, x in zip(SPACES, *limits, held.relative, made.relative)
            ],
            "n_twins": self._twins, "n_far": int(np.count_nonzero(far[_FEATURES])),
            "design_effect": self._effect, "share_suspect": share.value, "low": share.low,
            "high": share.high, "level": LEVEL,
        }  # fmt: skip
        where = np.take_along_axis(made.where, space[None], axis=0)[0]
        return Copies(score, np.sort(self._scores), where, suspects, facts)


def _levelled(values: Floats, held: Floats) -> Floats:
    """Bring relative distances to one scale: 0 stays 0, the held-out median is 1, its first decile 0.9.

    Central quantiles, unlike extreme ones, leave the order statistics of the scaled values a valid
    calibration.
    """
    middle, low = np.quantile(held, [0.5, 0.1])
    power = float(np.clip(np.log(0.9) / np.log(low / middle), 0.1, 10.0)) if 0 < low < middle else 1.0
    return np.asarray((values / max(float(middle), 1e-6)) ** power, np.float64)


def result(copies: Copies, synthetic_ids: list[str], train_ids: list[str]) -> dict[str, Any]:
    """The `copies` part of score.json.

    Args:
        copies: the search's result.
        synthetic_ids: ids of the synthetic images.
        train_ids: ids of the training images.
    """
    held = copies.holdout
    top = float(max(copies.score.max(), held[-1]))
    edges = np.linspace(0.0, top * (1 + 1e-9) or 1.0, 41)
    suspects = [
        {
            "synthetic_id": synthetic_ids[i],
            "train_id": train_ids[copies.neighbour[i]],
            "distance": float(copies.score[i]),
            "percentile": float(100 * np.searchsorted(held, copies.score[i]) / len(held)),
        }
        for i in copies.suspects[:100]
    ]
    return {
        **copies.facts,
        "median_synthetic": float(np.median(copies.score)),
        "median_holdout": float(np.median(held)),
        "suspects": suspects,
        "panel": "copies.png",
        "histogram": {
            "edges": edges.tolist(),
            "synthetic": np.histogram(copies.score, edges)[0].tolist(),
            "holdout": np.histogram(held, edges)[0].tolist(),
        },
    }
