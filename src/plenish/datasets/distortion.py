"""How much an import with --fit stretch distorted the images: what `plenish profile` says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish.datasets.fitting import DISTORTION

EDGES = tuple(round(1 + 0.1 * k, 1) for k in range(21))
"""Edges of the histogram of ratios; the last bin has no end."""


def audit(table: pd.DataFrame, rows: NDArray[np.int64], most: int = 24) -> dict[str, Any] | None:
    """Ratios of the stretched images: longer over shorter side of the originals.

    Args:
        table: of a Dataset.
        rows: rows of which images may be shown.
        most: how many are named.

    Returns:
        `median`, `p95`, `largest`, `counts` (of the bins of `EDGES`) over all images, and `rows`, the most
        distorted ones that may be shown, by falling ratio. None where nothing was stretched.
    """
    if DISTORTION not in table.columns:
        return None
    ratios = pd.to_numeric(table[DISTORTION], errors="coerce").fillna(1.0).clip(lower=1.0).to_numpy(float)
    shown = rows[np.argsort(-ratios[rows], kind="stable")][:most]
    return {
        "median": float(np.median(ratios)), "p95": float(np.quantile(ratios, 0.95)),
        "largest": float(ratios.max()), "images": len(ratios),
        "counts": np.histogram(ratios, [*EDGES, np.inf])[0].tolist(), "edges": list(EDGES),
        "rows": [int(row) for row in shown if ratios[row] > 1],
    }  # fmt: skip
