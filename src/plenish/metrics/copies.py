"""Does a generator repeat its training images? A search for copies, calibrated on held-out images.

Every synthetic image is compared with every real training image, in two spaces: as pixels (16×16, mean and
contrast removed, all eight flips and quarter turns) and as features. What counts is the *relative*
distance: to the nearest training image over the mean to the nearest twenty. A copy is close to one image
and not to the others, while a bland picture is close to all alike (the idea of Carlini et al., "Extracting
Training Data from Diffusion Models", USENIX Security 2023, §4). A picture farther from its nearest training
image than any held-out one is unlike all of them and a copy of none. Held-out real images go through the same
search and show which values occur without copying; the threshold is one of their order statistics, so the
share expected by chance is known.

Not found: copies of a small detail, or of a strongly cropped or shifted picture that features do not
recognise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from plenish.datasets.perceptual_hash import area_weights
from plenish.metrics.fidelity import LEVEL
from plenish.metrics.kernels import Floats, row_pieces
from plenish.metrics.statistics import wilson_interval

NEIGHBOURS = 20
SIDE = 16
EXPECTED_SHARE = 0.01
_FLAT = 4.0  # grey levels; contrast below this is not stretched into noise
_IDENTICAL = 0.1  # of the held-out median pixel distance: nothing but the same picture comes this near
_TWIN = 0.02  # relative distance; a held-out image this near is itself a copy and cannot calibrate

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
            practically identical to a training image (`n_identical`), `close` where there are more suspects
            than chance explains, else `none`. `expected_share` of suspects is expected without copying;
            `expected_share_high` is what that stays below with 95 % probability, as the threshold comes from
            a sample. `n_twins` held-out images were left out, because train holds the same picture. The
            features of `n_far` synthetic images lie farther from every training image than any held-out
            image's do.
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


def _turned(pixels: Vectors) -> list[Vectors]:
    """The eight flips and quarter turns, each flattened to n×(16·16·C)."""
    n = len(pixels)
    turns = [np.rot90(pixels, k, axes=(1, 2)) for k in range(4)]
    return [np.ascontiguousarray(v).reshape(n, -1) for t in turns for v in (t, t[:, :, ::-1])]


def relative_distances(queries: list[Vectors], train: Vectors) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Nearest training row of each query, and its distance over the mean of the nearest twenty.

    Args:
        queries: versions of the same n queries, n×D each; the closest version counts.
        train: N×D, at least two rows.

    Returns:
        Positions in `train` (n), relative distances (n), from 0 (a copy) to 1 (no nearer than to others), and
        plain distances to the nearest (n).
    """
    centre = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train = train - centre
    squares = (train * train).sum(1)
    k = min(NEIGHBOURS, len(train) - 1)
    n = len(queries[0])
    nearest, relative, plain = np.empty(n, np.int64), np.empty(n), np.empty(n)
    for rows in row_pieces(n, 2 * len(train)):
        d: Vectors | None = None
        for version in queries:
            q = version[rows] - centre
            here = (q @ train.T) * np.float32(-2) + squares
            here += (q * q).sum(1)[:, None]
            d = here if d is None else np.minimum(d, here, out=d)
        assert d is not None
        nearest[rows] = d.argmin(1)
        near = np.sqrt(np.maximum(np.partition(d, k - 1, axis=1)[:, :k].astype(np.float64), 0.0))
        mean, plain[rows] = near.mean(1), near.min(1)
        relative[rows] = np.where(mean > 0, plain[rows] / np.where(mean > 0, mean, 1.0), 1.0)
    return nearest, relative, plain


def search(synthetic: Views, holdout: Views, train: Views, *, baseline: bool = False) -> Copies:
    """Look for copies of training images among synthetic ones, once; see `Search`."""
    return Search(holdout, train)(synthetic, baseline=baseline)


class Search:
    """A search for copies of training images, calibrated once for any number of synthetic sets."""

    def __init__(self, holdout: Views, train: Views) -> None:
        """Calibrate.

        Args:
            holdout: real images that no generator saw (the `val` part).
            train: the real training images.

        Raises:
            ValueError: there are fewer than three of either, or `train` holds all of `holdout`.
        """
        if min(len(holdout), len(train)) < 3:
            raise ValueError("it needs three held-out and three training images")
        self._train = train
        self._flat = train.pixels.reshape(len(train), -1)
        _, held_p, usual_p = relative_distances(_turned(holdout.pixels), self._flat)
        _, held_f, usual_f = relative_distances([holdout.features], train.features)
        alone = held_p > _TWIN
        if not alone.any():
            raise ValueError("every held-out image is also a training image")
        self._twins = int(np.count_nonzero(~alone))
        self._held = held_p[alone], held_f[alone]
        self._farthest = usual_p.max(), usual_f.max()

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
        (held_p, held_f), train = self._held, self._train
        where_p, made_p, plain_p = relative_distances(_turned(synthetic.pixels), self._flat)
        where_f, made_f, plain_f = relative_distances([synthetic.features], train.features)
        # Farther from all training images than any held-out one.
        far_p, far_f = plain_p > self._farthest[0], plain_f > self._farthest[1]
        score_p, usual_p = _levelled(made_p, held_p, far_p)
        score_f, usual_f = _levelled(made_f, held_f, far_f)
        score, held = np.minimum(score_p, score_f), np.minimum(usual_p, usual_f)
        # Of equally distributed new scores, a share of Beta(k, n + 1 − k) lies below the k-th smallest of n
        # held-out ones: k / (n + 1) on average.
        rank = max(1, int(EXPECTED_SHARE * (len(held) + 1)))
        held = np.sort(held)
        threshold, chance = float(held[rank - 1]), float(betaincinv(rank, len(held) + 1 - rank, 0.95))
        order = np.argsort(score, kind="stable")
        suspects = order[score[order] < threshold]
        share = wilson_interval(len(suspects), len(score), LEVEL)
        identical = min(_IDENTICAL * np.median(held_p), held_p.min() / 2)
        n_identical = int(np.count_nonzero(made_p < identical))
        facts = {
            "finding": "identical" if n_identical else "close" if share.low > chance else "none",
            "baseline": baseline, "neighbours": min(NEIGHBOURS, len(train) - 1), "n": len(score),
            "n_holdout": len(held), "threshold": threshold, "expected_share": rank / (len(held) + 1),
            "expected_share_high": chance, "n_suspect": len(suspects), "n_identical": n_identical,
            "n_twins": self._twins, "n_far": int(np.count_nonzero(far_f)),
            "share_suspect": share.value, "low": share.low, "high": share.high, "level": LEVEL,
        }  # fmt: skip
        return Copies(score, held, np.where(score_p <= score_f, where_p, where_f), suspects, facts)


def _levelled(made: Floats, held: Floats, far: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Bring relative distances to one scale: 0 stays 0, the held-out median is 1, its first decile 0.9.

    Central quantiles, unlike extreme ones, leave the order statistics of the scaled values a valid
    calibration. Images that are far from all training images are no nearer to one of them than is usual.
    """
    middle, low = np.quantile(held, [0.5, 0.1])
    power = float(np.clip(np.log(0.9) / np.log(low / middle), 0.1, 10.0)) if 0 < low < middle else 1.0
    scores, usual = ((x / max(float(middle), 1e-6)) ** power for x in (made, held))
    return np.where(far, np.maximum(scores, 1.0), scores), usual


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
