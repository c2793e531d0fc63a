"""Does a generator repeat its training images? A search for copies, calibrated on held-out images.

Every synthetic image is compared with every real training image, in two spaces: as pixels (16×16, mean and
contrast removed, all eight flips and quarter turns) and as features. What counts is the *relative*
distance: to the nearest training image over the mean to the nearest twenty. A copy is close to one image
and not to the others, while a bland picture is close to all alike (the idea of Carlini et al., "Extracting
Training Data from Diffusion Models", USENIX Security 2023, §4). Held-out real images go through the same
mill and show which values occur without copying; the threshold is one of their order statistics, so the
share expected by chance is known.

Not found: copies of a small detail, or of a strongly cropped or shifted picture that features do not
recognise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.kernels import Floats, row_pieces
from plenish.metrics.statistics import Interval, wilson_interval

METRIC = (
    "distance to the nearest training image over the mean distance to the nearest {k}, in units of the "
    "held-out median; the smaller of pixels (16×16, contrast-normalised, 8 flips and turns) and {extractor} "
    "features"
)
NEIGHBOURS = 20
SIDE = 16
EXPECTED_SHARE = 0.01
_FLAT = 4.0  # grey levels; contrast below this is not stretched into noise
_IDENTICAL = 0.1  # of the held-out median: nothing but the same picture comes this near

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
    """Result of :func:`search`.

    Attributes:
        score: copy score of each synthetic image; 1 is typical of a held-out image, 0 is an exact copy.
        holdout: scores of the held-out images.
        neighbour: position of the training image each synthetic image is closest to.
        threshold: scores below it are suspect.
        expected: share of suspects expected without copying.
        share: share of suspects with its Wilson interval.
        n_identical: synthetic images practically identical to a training image.
    """

    score: Floats
    holdout: Floats
    neighbour: NDArray[np.int64]
    threshold: float
    expected: float
    share: Interval
    n_identical: int

    @property
    def suspects(self) -> NDArray[np.int64]:
        """Positions of suspect synthetic images, closest first."""
        order = np.argsort(self.score, kind="stable")
        return order[self.score[order] < self.threshold]

    @property
    def alarm(self) -> bool:
        """Whether there are more suspects than chance explains, or practically identical pictures."""
        return self.n_identical > 0 or self.share.low > self.expected

    def sentence(self) -> str:
        """The result in words."""
        n, k = len(self.score), len(self.suspects)
        counted = (
            f"{k} of {n} synthetic images ({100 * self.share.value:.1f} %, {100 * self.share.level:.0f} % "
            f"interval {100 * self.share.low:.1f} to {100 * self.share.high:.1f} %) are suspiciously close "
            f"to one training image, where chance gives about {100 * self.expected:.1f} %"
        )
        if self.n_identical:
            are = "is" if self.n_identical == 1 else "are"
            return f"{counted}, and {self.n_identical} {are} the same picture: training images leak."
        if self.alarm:
            return f"{counted}: training images seem to leak; look at the closest pairs before sharing."
        return f"{counted}: no sign of copying."


def thumbnails(images: NDArray[np.uint8]) -> Vectors:
    """Images N×H×W×C uint8 → N×16×16×C float32 with zero mean and unit contrast.

    Downsampling averages whole areas (fractional at their borders), which noise hardly changes.
    """
    n, height, width, channels = images.shape
    rows, columns = _area_weights(height), _area_weights(width)
    out = np.empty((n, SIDE, SIDE, channels), np.float32)
    for piece in row_pieces(n, height * width * channels):
        out[piece] = np.einsum(
            "ih,nhwc,jw->nijc", rows, images[piece].astype(np.float32), columns, optimize=True
        )
    out -= out.mean(axis=(1, 2, 3), keepdims=True)
    contrast = out.std(axis=(1, 2, 3), keepdims=True)
    return np.asarray(out / np.maximum(contrast, _FLAT), dtype=np.float32)


def _area_weights(size: int) -> Vectors:
    """16×size matrix of area averaging; each row sums to 1."""
    edges = np.linspace(0, size, SIDE + 1)
    pixel = np.arange(size)
    low = np.maximum(edges[:-1, None], pixel)
    high = np.minimum(edges[1:, None], pixel + 1)
    share = np.maximum(high - low, 0)
    return np.asarray(share / share.sum(1, keepdims=True), dtype=np.float32)


def _turned(pixels: Vectors) -> list[Vectors]:
    """The eight flips and quarter turns, each flattened to n×(16·16·C)."""
    n = len(pixels)
    turns = [np.rot90(pixels, k, axes=(1, 2)) for k in range(4)]
    return [np.ascontiguousarray(v).reshape(n, -1) for t in turns for v in (t, t[:, :, ::-1])]


def relative_distances(queries: list[Vectors], train: Vectors) -> tuple[NDArray[np.int64], Floats]:
    """Nearest training row of each query, and its distance over the mean of the nearest twenty.

    Args:
        queries: versions of the same n queries, n×D each; the closest version counts.
        train: N×D, at least two rows.

    Returns:
        Positions in `train` (n) and relative distances (n), from 0 (a copy) to 1 (no nearer than to others).
    """
    centre = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    train = train - centre
    squares = (train * train).sum(1)
    k = min(NEIGHBOURS, len(train) - 1)
    n = len(queries[0])
    nearest, relative = np.empty(n, np.int64), np.empty(n)
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
        mean = near.mean(1)
        relative[rows] = np.where(mean > 0, near.min(1) / np.where(mean > 0, mean, 1.0), 1.0)
    return nearest, relative


def search(synthetic: Views, holdout: Views, train: Views, *, level: float = 0.95) -> Copies:
    """Look for copies of training images among synthetic ones.

    Args:
        synthetic: the images under suspicion.
        holdout: real images that no generator saw (the `val` part).
        train: the real training images.
        level: confidence level of the share's interval.

    Raises:
        ValueError: if a side is empty or `train` has fewer than three images.
    """
    if len(train) < 3 or not len(holdout) or not len(synthetic):
        raise ValueError(
            "the search for copies needs synthetic and held-out images and three training images"
        )
    scores = []
    for name in ("pixels", "features"):
        spaces = [_versions(getattr(views, name)) for views in (synthetic, holdout)]
        flat = getattr(train, name).reshape(len(train), -1)
        (where, ours), (_, held) = (relative_distances(space, flat) for space in spaces)
        unit = max(float(np.median(held)), 1e-6)
        scores.append((where, ours / unit, held / unit))
    (where_p, ours_p, held_p), (where_f, ours_f, held_f) = scores
    identical = min(_IDENTICAL, float(held_p.min()) / 2)  # held-out images may have twins in train themselves
    score, held = np.minimum(ours_p, ours_f), np.minimum(held_p, held_f)
    # The k-th smallest of n held-out scores has k / (n + 1) of equally distributed new ones below it.
    rank = max(1, int(EXPECTED_SHARE * (len(held) + 1)))
    threshold = float(np.sort(held)[rank - 1])
    suspects = int(np.count_nonzero(score < threshold))
    return Copies(
        score=score,
        holdout=held,
        neighbour=np.where(ours_p <= ours_f, where_p, where_f),
        threshold=threshold,
        expected=rank / (len(held) + 1),
        share=wilson_interval(suspects, len(score), level),
        n_identical=int(np.count_nonzero(ours_p < identical)),
    )


def _versions(vectors: Vectors) -> list[Vectors]:
    return _turned(vectors) if vectors.ndim == 4 else [vectors]


def result(copies: Copies, synthetic_ids: list[str], train_ids: list[str], extractor: str) -> dict[str, Any]:
    """The `copies` part of score.json.

    Args:
        copies: the search's result.
        synthetic_ids: ids of the synthetic images.
        train_ids: ids of the training images.
        extractor: name of the features' extractor.
    """
    k = min(NEIGHBOURS, len(train_ids) - 1)
    held = np.sort(copies.holdout)
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
        "metric": METRIC.format(k=k, extractor=extractor),
        "n": len(copies.score),
        "n_holdout": len(held),
        "threshold": copies.threshold,
        "expected_share": copies.expected,
        "n_suspect": len(copies.suspects),
        "n_identical": copies.n_identical,
        "share_suspect": copies.share.value,
        "low": copies.share.low,
        "high": copies.share.high,
        "alarm": copies.alarm,
        "median_synthetic": float(np.median(copies.score)),
        "median_holdout": float(np.median(copies.holdout)),
        "sentence": copies.sentence(),
        "suspects": suspects,
        "panel": "copies.png",
        "histogram": {
            "edges": edges.tolist(),
            "synthetic": np.histogram(copies.score, edges)[0].tolist(),
            "holdout": np.histogram(copies.holdout, edges)[0].tolist(),
        },
    }
