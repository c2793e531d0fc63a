"""How the images of a Dataset look: sizes of the files, colours, values, bands, and which to show of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish.datasets.bands import KINDS, bands, kinds
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.datasets.tables import read_parquet
from plenish.progress import progress

Ints = NDArray[np.int64]
_BYTES = 16 * 2**20
_BINS = 32
_GREY = 8
"""Grey levels that the channels of a grey image may differ by on average."""
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_RATIOS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 1.03, 1.11, 1.25, 1.43, 1.67, 2.0, 2.5)
_COMMON = 8
_SHOWN, _SETS, _MEMBERS = 12, 12, 8


def study_sizes(dataset: Dataset, rows: Ints) -> dict[str, Any] | None:
    """Widths, heights and aspect ratios of the files that the images were made of; None where not known."""
    names = ["width", "height"]
    if not {*names} <= {*_columns(dataset)}:
        return None
    table = read_parquet(dataset.path / "samples.parquet", names).to_pandas().iloc[rows]
    table = table.apply(pd.to_numeric, errors="coerce").dropna()
    table = table[(table > 0).all(axis=1)].astype(int)
    if table.empty:
        return None
    width, height = table["width"].to_numpy(), table["height"].to_numpy()
    longest = int(max(width.max(), height.max()))
    edges = np.unique(np.rint(np.geomspace(max(1, min(width.min(), height.min())), longest + 1, 17)))
    if len(edges) < 2:
        edges = np.array([longest, longest + 1.0])
    ratio = np.r_[0, _RATIOS, max(100.0, float((width / height).max()) + 1)]
    common = table.value_counts().head(_COMMON)
    return {
        "images": len(table),
        "width": _quantiles(width), "height": _quantiles(height), "aspect": _quantiles(width / height),
        "square": float((width == height).mean()),
        "smaller": int((np.minimum(width, height) < dataset.size).sum()),
        "common": [
            {"size": f"{w}×{h}", "images": int(n)} for (w, h), n in common.items()
        ],
        "side_edges": edges.tolist(),
        "widths": np.histogram(width, edges)[0].tolist(), "heights": np.histogram(height, edges)[0].tolist(),
        "aspect_edges": ratio.tolist(), "aspects": np.histogram(width / height, ratio)[0].tolist(),
    }  # fmt: skip


def _columns(dataset: Dataset) -> list[str]:
    """Names of the columns of samples.parquet, without reading it."""
    return [str(name) for name in pq.read_schema(dataset.path / "samples.parquet").names]


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    least, median, most = np.quantile(values, (0, 0.5, 1))
    return {"least": float(least), "median": float(median), "largest": float(most)}


def study_pixels(dataset: Dataset, rows: Ints) -> dict[str, Any]:
    """Colours, values and bands over all pixels of `rows`, in one reading of flat memory.

    Returns:
        `colours` (histograms of each channel over 32 classes, and over the images of mean brightness, of
        contrast and of saturation, how many are grey), `values` (the lowest and highest, shares of 0 and of
        255), and `bands` (images of each kind, median width in percent of the side, rows to show of each).
    """
    channels = dataset.channels
    counts = np.zeros((channels, 256), np.int64)
    facts: dict[str, list[NDArray[Any]]] = {"brightness": [], "contrast": [], "saturation": [], "grey": []}
    widths: list[Ints] = []
    pieces = list(chunks(len(rows), max(1, _BYTES // (dataset.size**2 * channels * 8))))
    with progress("colours and bands", len(rows)) as bar:
        for piece in pieces:
            images = dataset.pixels.read(rows[piece])
            for c in range(channels):
                counts[c] += np.bincount(images[..., c].reshape(-1), minlength=256)
            grey = images[..., 0].astype(np.float32) if channels == 1 else images @ _LUMINANCE
            facts["brightness"].append(grey.mean(axis=(1, 2)))
            facts["contrast"].append(grey.std(axis=(1, 2)))
            spread = images.max(axis=3).astype(np.float32) - images.min(axis=3)
            facts["saturation"].append(spread.mean(axis=(1, 2)))
            facts["grey"].append(spread.mean(axis=(1, 2)) <= _GREY)
            widths.append(bands(images))
            bar.advance(len(piece))
    joined = {name: np.concatenate(found) for name, found in facts.items()}
    total = max(1, int(counts[0].sum()))
    there = np.flatnonzero(counts.sum(axis=0))
    return {
        "colours": {
            "channels": counts.reshape(channels, _BINS, -1).sum(axis=2).tolist(),
            **{name: _histogram(joined[name]) for name in ("brightness", "contrast", "saturation")},
            "grey_images": int(joined["grey"].sum()),
        },
        "values": {
            "lowest": int(there[0]) if len(there) else 0, "highest": int(there[-1]) if len(there) else 0,
            "black": float(counts[:, 0].sum() / (channels * total)),
            "white": float(counts[:, 255].sum() / (channels * total)),
            "source_depth": dict(dataset.manifest.extra.get("import", {}).get("source_depth", {})),
        },
        "bands": _bands(np.concatenate(widths), dataset.size, rows),
    }  # fmt: skip


def _histogram(values: NDArray[Any]) -> dict[str, Any]:
    found, edges = np.histogram(values, np.linspace(0, 256, _BINS + 1))
    return {"edges": edges.tolist(), "counts": found.tolist(), "median": float(np.median(values))}


def _bands(widths: Ints, size: int, rows: Ints) -> dict[str, Any]:
    found = kinds(widths, size)
    broad = widths.max(axis=1)
    out: dict[str, Any] = {"images": {}, "median_width": {}, "rows": {}}
    for kind in KINDS:
        mine = np.flatnonzero(found == kind)
        out["images"][kind] = len(mine)
        if kind == "none" or not len(mine):
            continue
        if kind != "blank":
            out["median_width"][kind] = float(np.median(broad[mine]) / size)
        out["rows"][kind] = rows[
            mine[np.linspace(0, len(mine) - 1, min(_SHOWN, len(mine))).astype(int)]
        ].tolist()
    return out


def cluster_rows(cluster: Ints, rows: Ints) -> list[list[int]]:
    """Rows of the largest clusters with several of `rows`, at most 8 of each, to show.

    Args:
        cluster: of every image of the Dataset.
        rows: those that may be shown.
    """
    mine = cluster[rows]
    order = np.argsort(mine, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(mine[order]) > 0]) if len(order) else np.zeros(0, int)
    sizes = np.diff(np.r_[starts, len(order)])
    several = np.flatnonzero(sizes > 1)
    largest = several[np.argsort(-sizes[several], kind="stable")][:_SETS]
    return [rows[order[starts[k] : starts[k] + min(sizes[k], _MEMBERS)]].tolist() for k in largest]
