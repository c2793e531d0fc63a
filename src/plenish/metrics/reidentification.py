"""Do synthetic images point at one training patient? What the features of the search can tell of patients.

First the yardstick: how well distances tell another picture of the same patient from one of somebody else, on
real images. Then, for each synthetic image, whether one training patient is nearer than all others: its
distance to the nearest patient over that to the next. Held-out images, whose patients are not among the
training ones, show how often that happens by chance; training images, compared with all others, how often a
real picture of a training patient would be noticed.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.kernels import Floats, row_pieces, squared_distances
from plenish.metrics.resampling import Ints, bootstrap_weights, student, unit_codes
from plenish.metrics.statistics import Interval, wilson_interval
from plenish.metrics.tails import chance_share

MOST = 2_000
"""Images of a part that are compared with others, at most; of large parts a draw."""
PICTURES = 3
"""Nearest pictures of a patient whose mean distance is that to the patient."""
EXPECTED_SHARE = 0.05

Groups = Sequence[Hashable | None] | NDArray[Any]


def same_group_auroc(
    vectors: NDArray[np.float32], groups: Groups, *, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> Interval | None:
    """Probability that two pictures of one group are nearer to each other than pictures of two groups.

    Each image with another of its group is the first picture of both pairs; ties count half; every group that
    is compared with another counts the same. The interval resamples groups (t × standard error).

    Args:
        vectors: n×D.
        groups: n groups; an image without one is left out.
        level: confidence level.
        resamples: bootstrap resamples; 0 for no interval.
        seed: seed of the draws.

    Returns:
        The AUROC; None with fewer than two groups or without a group of two images.
    """
    known = np.array([group is not None and group == group for group in groups], dtype=bool)
    x = np.asarray(vectors, dtype=np.float64)[known]
    codes = unit_codes([group for group, keep in zip(groups, known) if keep], len(x))
    count = int(codes.max()) + 1 if len(codes) else 0
    sizes = np.bincount(codes, minlength=count)
    if count < 2 or sizes.max() < 2:
        return None
    x = x - x.mean(axis=0)
    wins = np.zeros((count, count))  # by group of the anchor and group of the other picture
    anchors = np.flatnonzero(sizes[codes] > 1)
    for piece in row_pieces(len(anchors), len(x)):
        rows = anchors[piece]
        for row, d in zip(rows, squared_distances(x[rows], x)):
            mine = codes == codes[row]
            mine[row] = False
            own = np.sort(d[mine])
            below, upto = (np.searchsorted(own, d, side) for side in ("left", "right"))
            wins[codes[row]] += np.bincount(codes, (below + upto) / (2 * len(own)), minlength=count)
    use = sizes > 1
    shares = wins[use] / (sizes[use, None] * sizes[None, :])
    pairs = np.ones_like(shares)
    pairs[np.arange(len(shares)), np.flatnonzero(use)] = 0.0
    shares *= pairs

    def auroc(weights: Floats) -> Floats:
        first = weights[:, use]
        total = np.einsum("ra,ab,rb->r", first, pairs, weights)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.einsum("ra,ab,rb->r", first, shares, weights) / total, np.float64)

    value = float(auroc(np.ones((1, count)))[0])
    if not resamples or count < 3:
        return Interval(value, np.nan, np.nan)
    draws = np.concatenate(list(bootstrap_weights(np.arange(count), resamples, seed))).astype(np.float64)
    half = student(count, resamples, level) * float(np.nanstd(auroc(draws), ddof=1))
    return Interval(value, float(max(0.0, value - half)), float(min(1.0, value + half)))


def nearest_group(
    vectors: NDArray[np.float32], train: NDArray[np.float32], codes: Ints, skip: Ints | None = None
) -> tuple[Ints, Floats]:
    """The nearest group of training images, and the distance to it over that to the next.

    Args:
        vectors: n×D.
        train: N×D.
        codes: N numbers of groups, of at least two.
        skip: n rows of `train` that are these very images, which are not compared with themselves.

    Returns:
        Numbers of groups (n) and ratios (n): 1 where two groups are equally near, 0 at a copy.
    """
    count = int(codes.max()) + 1
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(count + 1))
    centre = train.mean(axis=0)
    x, reference = vectors - centre, (train - centre)[order]
    place = np.argsort(order)
    where, ratio = np.empty(len(x), np.int64), np.empty(len(x))
    for rows in row_pieces(len(x), len(reference)):
        d = squared_distances(x[rows], reference)
        if skip is not None:
            d[np.arange(len(d)), place[skip[rows]]] = np.inf
        np.sqrt(d, out=d)
        to = np.full((len(d), count), np.inf)
        for group, (start, end) in enumerate(itertools.pairwise(bounds)):
            near = np.partition(d[:, start:end], min(PICTURES, end - start) - 1, axis=1)[:, :PICTURES]
            finite = np.isfinite(near)
            total = np.where(finite, near, 0.0).sum(axis=1)
            to[:, group] = np.where(finite.any(axis=1), total / np.maximum(finite.sum(axis=1), 1), np.inf)
        two = np.partition(to, 1, axis=1)[:, :2]
        where[rows] = to.argmin(axis=1)
        ratio[rows] = np.where(two[:, 1] > 0, two[:, 0] / np.where(two[:, 1] > 0, two[:, 1], 1.0), 1.0)
    return where, ratio


@dataclass(frozen=True)
class Part:
    """Vectors n×D of images and their groups."""

    vectors: NDArray[np.float32]
    groups: Groups

    def drawn(self, rng: np.random.Generator) -> tuple[Part, Ints]:
        """At most 2,000 of them, in order, and their rows."""
        rows = np.sort(rng.permutation(len(self.vectors))[:MOST])
        return Part(self.vectors[rows], [self.groups[row] for row in rows]), rows


def reidentification(
    synthetic: NDArray[np.float32],
    held: Part,
    train: Part,
    *,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Any] | None:
    """What score.json says of synthetic images that point at a training group.

    Args:
        synthetic: m×D.
        held: real images that no generator saw.
        train: the training images.
        level: confidence level.
        resamples: bootstrap resamples; 0 for no interval of the AUROCs.
        seed: seed of resamples, and of the draw of very many images.

    Returns:
        The record; None where either has fewer than two groups, or images without one.
    """
    if any(group is None or group != group for side in (held, train) for group in side.groups):
        return None
    codes, held_codes = (unit_codes(side.groups, len(side.vectors)) for side in (train, held))
    if min(codes.max(), held_codes.max()) < 1:
        return None
    rng = np.random.default_rng([seed, 0x1D])
    (some, _), (known, rows) = held.drawn(rng), train.drawn(rng)
    how: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    aurocs = [same_group_auroc(side.vectors, side.groups, **how) for side in (some, known)]
    made_at, made = nearest_group(synthetic, train.vectors, codes)
    _, usual = nearest_group(held.vectors, train.vectors, codes)
    own_at, own = nearest_group(known.vectors, train.vectors, codes, skip=rows)
    threshold, expected, chance = chance_share(usual, held_codes, EXPECTED_SHARE)
    pointing = made < threshold
    share = wilson_interval(int(pointing.sum()), len(made), level)
    found = np.bincount(made_at[pointing], minlength=int(codes.max()) + 1)
    names = dict(zip(codes.tolist(), train.groups))
    top = int(found.argmax())
    return {
        "auroc": _interval(aurocs[0]), "auroc_train": _interval(aurocs[1]), "n": len(made),
        "n_holdout": len(usual), "groups_holdout": int(held_codes.max()) + 1,
        "groups_train": int(codes.max()) + 1, "threshold": threshold, "n_pointing": int(pointing.sum()),
        "share": share.value, "low": share.low, "high": share.high, "expected_share": expected,
        "expected_share_high": chance, "finding": "more" if share.low > chance else "none",
        "seen_of_train": float(np.mean((own < threshold) & (own_at == codes[rows]))),
        "most_pointed_at": {"group": str(names[top]), "images": int(found[top])} if found[top] else None,
    }  # fmt: skip


def _interval(found: Interval | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    low, high = (None if np.isnan(bound) else float(bound) for bound in found[1:])
    return {"value": found.value, "low": low, "high": high}
