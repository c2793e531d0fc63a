"""Plan a slide: which tiles it will give, from its scale, tissue and annotations, before any tile is read."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError
from plenish.slides import scale
from plenish.slides.annotations import read_annotations
from plenish.slides.grid import TABLE_OR_LEVEL, Grid, make_grid
from plenish.slides.names import SlideEntry
from plenish.slides.native import SlideError, UnreadableRegion
from plenish.slides.reader import Slide
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import TileLabelOptions, TilingConfig
from plenish.slides.tissue import box_coverage, no_tissue, slide_tissue, with_rim

_ARRAYS = ("rows", "columns", "tissue", "coverage")
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tiles of one slide, in the order they will be read.

    Attributes:
        facts: for the summary: scale, counts, areas; JSON-able.
        remarks: what the user should know of the slide.
        grid: where tiles lie.
        rows: N, of the tiles.
        columns: N.
        tissue: N, share of tissue.
        coverage: N×K, share of each annotation label, in the order of `labels`.
        labels: K names.
    """

    facts: Mapping[str, Any]
    remarks: Sequence[Remark]
    grid: Grid
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    tissue: NDArray[np.float64]
    coverage: NDArray[np.float64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tiles(self) -> list[tuple[int, int]]:
        """Row and column of each."""
        return list(zip(self.rows.tolist(), self.columns.tolist()))

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Where they lie, N×4 (left, top, right, bottom), pixels of level 0."""
        return self.grid.boxes(self.rows, self.columns)

    def take(self, chosen: NDArray[np.integer] | slice) -> Plan:
        """Some of the tiles, by index."""
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})

    def classes(self, options: TileLabelOptions) -> NDArray[np.int32]:
        """N, the position among `labels` of each tile's annotation; -1 is background.

        Of several that cover enough, the one that covers most; of equals the first.
        """
        if not self.labels:
            return np.full(len(self), -1, np.int32)
        best = self.coverage.argmax(1)
        enough = self.coverage[np.arange(len(self)), best] >= options.label_threshold - _ROUNDING
        return np.where(enough, best, -1).astype(np.int32)

    def save(self, path: Path) -> None:
        """Write it as an .npz."""
        about = {
            "facts": dict(self.facts), "remarks": [dataclasses.asdict(remark) for remark in self.remarks],
            "grid": dataclasses.asdict(self.grid), "labels": self.labels,
        }  # fmt: skip
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with files.atomic_file(path) as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in _ARRAYS}
            about = json.loads(found["about"].tobytes())
        remarks = [Remark(**remark) for remark in about["remarks"]]
        return cls(about["facts"], remarks, Grid(**about["grid"]), labels=tuple(about["labels"]), **arrays)


def plan_slide(
    slide: Slide, entry: SlideEntry, config: TilingConfig, picture: Path | None, remedy: str = TABLE_OR_LEVEL
) -> Plan:
    """Find the tiles of a slide.

    Args:
        slide: the open slide.
        entry: its name, scale by the table and annotations.
        config: how it is tiled.
        picture: where to save a picture if it has no tissue; None for nowhere.
        remedy: how the user of this verb can give a scale that is not known.

    Raises:
        InputError: the scale is not known, tiles do not fit, there is no tissue, or the annotations cannot be
            used.
    """
    found = scale.resolve(slide.scale, entry.mpp, config.grid.assume_mpp)
    mpp, grid = found.mpp, make_grid(slide, config.grid, found, remedy)
    rows, columns = (axis.ravel() for axis in np.indices((grid.rows, grid.columns), np.int32))
    none = Plan({}, [], grid, rows, columns, np.empty(0), np.zeros((len(rows), 0)), ())
    tissue, share, remarks = _tissue(slide, entry, none, config, mpp, picture)
    kept = np.flatnonzero(tissue >= config.tissue.min_tissue - _ROUNDING)
    if not len(kept):
        if slide.unreadable:
            raise _not_read(slide)
        raise InputError(
            f"No tile of {slide.path} is covered by {config.tissue.min_tissue:.0%} of tissue; the most is "
            f"{tissue.max():.0%}: lower --min-tissue or choose a smaller --size."
        )
    facts: dict[str, Any] = {
        "width": slide.width, "height": slide.height, "slide_mpp": mpp, "mpp_source": found.source,
        "positions": len(grid), "tissue_share": share,
    }  # fmt: skip
    plan = dataclasses.replace(none, facts=facts, remarks=remarks, tissue=tissue).take(kept)
    if entry.annotations is not None:
        plan = _annotated(slide, plan, entry.annotations, config, mpp)
    file_tile = slide.tile_size(grid.level)
    order = grid.order(plan.rows, plan.columns, None if file_tile is None else file_tile[1])
    return plan.take(order)


def _tissue(
    slide: Slide, entry: SlideEntry, plan: Plan, config: TilingConfig, mpp: float | None, picture: Path | None
) -> tuple[NDArray[np.float64], float, list[Remark]]:
    """The tiles' shares of tissue, the slide's share, and what is unknown because of damage."""
    mask, rgb, downsample = slide_tissue(slide, config.tissue, mpp)
    if not mask.any() and config.tissue.min_tissue > 0:
        if slide.unreadable:
            raise _not_read(slide)
        um_per_pixel = None if mpp is None else mpp * downsample
        raise no_tissue(entry.name, rgb, config.tissue, um_per_pixel, picture)
    share = round(float(mask.mean()), 6)
    boxes = plan.boxes
    tissue = box_coverage(with_rim(mask), boxes, downsample)
    if not slide.unreadable:
        return tissue, share, []
    for left, top, right, bottom in slide.unreadable:
        left, top = int(left / downsample), int(top / downsample)
        mask[top : math.ceil(bottom / downsample), left : math.ceil(right / downsample)] = True
    most = box_coverage(with_rim(mask), boxes, downsample)
    # Where the thumbnail is damaged, a tile's share of tissue is between `tissue` and `most`. A tile that may
    # have enough stays if it is damaged itself, so that it is listed as rejected; if it can be read, it is
    # left out, because its tissue is not known.
    least = config.tissue.min_tissue - _ROUNDING
    left_out = 0
    for i in np.flatnonzero((most >= least) & (tissue < least)):
        try:
            plan.grid.read(slide, int(plan.rows[i]), int(plan.columns[i]))
            left_out += 1
        except UnreadableRegion:
            tissue[i] = most[i]
    return (
        tissue,
        share,
        [Remark("unreadable-area", {"share": _unreadable(slide), "left_out": left_out}, entry.name)],
    )


def _unreadable(slide: Slide) -> float:
    """Share of a slide's area that no level shows."""
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in slide.unreadable)
    return area / (slide.width * slide.height)


def _not_read(slide: Slide) -> InputError:
    """The error of a damaged slide whose readable part has no tissue for a tile."""
    share = _unreadable(slide)
    beyond = slide.missing_tiles()
    cut = f" ({beyond:,} of the file's tiles lie beyond its end)" if beyond else ""
    rest = "" if share > 0.9995 else ", and the rest shows no tissue for a tile"
    return SlideError(
        slide.path,
        f"could not be read: {share:.0%} of its area cannot be decoded at any level{cut}{rest}; restore it "
        "from a copy",
    )


def _annotated(slide: Slide, plan: Plan, file: Path, config: TilingConfig, mpp: float | None) -> Plan:
    """The plan with the share of each tile that each label covers, and without ambiguous tiles."""
    found = read_annotations(file, (slide.width, slide.height), config.rules)
    areas = found.areas()
    facts = {**plan.facts, "annotation_names": list(found.names), "annotated_px2": areas}
    if mpp is not None:
        facts["annotated_mm2"] = {label: round(area * mpp**2 / 1e6, 6) for label, area in areas.items()}
    shares = list(found.coverage(plan.boxes).values())
    coverage = np.array(shares).reshape(len(found.labels), len(plan)).T
    remarks = [*plan.remarks, *(dataclasses.replace(remark, slide=slide.name) for remark in found.remarks)]
    plan = dataclasses.replace(plan, facts=facts, remarks=remarks, coverage=coverage, labels=found.labels)
    if not found.labels or config.labels.ambiguous != "drop":
        return plan
    clear = (plan.classes(config.labels) >= 0) | (coverage.max(1) <= _ROUNDING)
    if not clear.any():
        raise InputError(
            f"Every tile of {slide.path} that has tissue is touched by an annotation and none is covered by "
            f"{config.labels.label_threshold:.0%} of one: lower --label-threshold or --size, or give "
            "--ambiguous keep."
        )
    return plan.take(np.flatnonzero(clear))
