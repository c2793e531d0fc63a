"""Which tiles of a slide there will be: scale, tissue and annotations, before any tile is read."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError
from plenish.slides import scale
from plenish.slides.grid import Grid, make_grid
from plenish.slides.reader import Slide, UnreadableRegion
from plenish.slides.settings import TilingSettings
from plenish.wording import agree


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A slide, as a worker is told of it.

    Attributes:
        path: the file.
        name: what its tiles are named after.
        mpp: µm per pixel at level 0 by the table, or None.
        annotations: file of its annotations, or None.
        picture: where to save a picture if it has no tissue.
    """

    path: str
    name: str
    mpp: float | None
    annotations: str | None
    picture: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The tiles of one slide, in the order they will be read.

    Attributes:
        about: facts for the summary: scale, counts, areas, remarks.
        grid: where tiles lie.
        rows: N, of the tiles.
        columns: N.
        tissue: N, share of tissue.
        coverage: N×K, share of each annotation's label in the order of `labels`.
        labels: K names.
    """

    about: Mapping[str, Any]
    grid: Grid
    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    tissue: NDArray[np.float64]
    coverage: NDArray[np.float64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: NDArray[np.integer]) -> Plan:
        """Some of the tiles, by index."""
        some = {key: getattr(self, key)[chosen] for key in ("rows", "columns", "tissue", "coverage")}
        return dataclasses.replace(self, **some)

    def classes(self, settings: TilingSettings) -> NDArray[np.int32]:
        """N, the position among `labels` of each tile's annotation; -1 is background.

        Of several that cover enough, the one that covers most; of equals the first.
        """
        if not self.labels:
            return np.full(len(self), -1, np.int32)
        best = self.coverage.argmax(1)
        enough = self.coverage[np.arange(len(self)), best] >= settings.label_threshold - 1e-9
        return np.where(enough, best, -1).astype(np.int32)

    def save(self, path: Path) -> None:
        """Write it as an .npz."""
        file = io.BytesIO()
        about = {
            "about": dict(self.about), "grid": dataclasses.asdict(self.grid), "labels": self.labels,
        }  # fmt: skip
        np.savez(
            file, rows=self.rows, columns=self.columns, tissue=self.tissue, coverage=self.coverage,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        )  # fmt: skip
        files.write_bytes(path, file.getvalue())

    @classmethod
    def load(cls, path: Path) -> Plan:
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as found:
            arrays = {key: found[key] for key in ("rows", "columns", "tissue", "coverage")}
            about = json.loads(found["about"].tobytes())
        return cls(about["about"], Grid(**about["grid"]), labels=tuple(about["labels"]), **arrays)


def plan_slide(
    slide: Slide, wanted: Wanted, settings: TilingSettings, mend: str = scale.TABLE_OR_LEVEL
) -> Plan:
    """Find the tiles of a slide.

    Args:
        slide: the open slide.
        wanted: what is known of it beside its file.
        settings: how it is tiled.
        mend: how the user of this verb can give a scale that is not known.

    Raises:
        InputError: the scale is not known, tiles do not fit, there is no tissue (a picture of it is then
            saved at `wanted.picture`), or the annotations cannot be used.
    """
    found = scale.resolve(slide, wanted.mpp, settings.assume_mpp)
    mpp = scale.require(slide, found, mend) if settings.mpp is not None else found.mpp
    grid = make_grid(
        slide, size=settings.size, stride=settings.stride, mpp=settings.mpp, level=settings.level,
        slide_mpp=mpp, tolerance=settings.tolerance,
    )  # fmt: skip
    rows, columns = (axis.ravel() for axis in np.indices((grid.rows, grid.columns), np.int32))
    about: dict[str, Any] = {
        "width": slide.width, "height": slide.height, "slide_mpp": mpp, "mpp_source": found.source,
        "positions": len(grid), "remarks": [],
    }  # fmt: skip
    tissue = _tissue(slide, wanted, grid, rows, columns, settings, mpp, about)
    kept = np.flatnonzero(tissue >= settings.min_tissue - 1e-9)
    if not len(kept):
        raise InputError(
            f"No tile of {slide.path} is covered by {settings.min_tissue:.0%} of tissue; the most is "
            f"{tissue.max():.0%}: lower --min-tissue or choose a smaller --size."
        )
    rows, columns, tissue = rows[kept], columns[kept], tissue[kept]
    labels, coverage = _coverage(slide, wanted, grid.boxes(rows, columns), settings, about)
    plan = Plan(about, grid, rows, columns, tissue, coverage, labels)
    if labels and settings.ambiguous == "drop":
        clear = (plan.classes(settings) >= 0) | (coverage.max(1) <= 1e-9)
        about["ambiguous"] = int((~clear).sum())
        if not clear.any():
            raise InputError(
                f"Every tile of {slide.path} that has tissue is touched by an annotation and none is covered "
                f"by {settings.label_threshold:.0%} of one: lower --label-threshold or --size, "
                "or give --ambiguous keep."
            )
        plan = plan.take(np.flatnonzero(clear))
    file_tile = slide.tile_size(grid.level)
    order = grid.order(plan.rows, plan.columns, None if file_tile is None else file_tile[1])
    return plan.take(order)


def _tissue(
    slide: Slide, wanted: Wanted, grid: Grid, rows: NDArray[np.int32], columns: NDArray[np.int32],
    settings: TilingSettings, mpp: float | None, about: dict[str, Any],
) -> NDArray[np.float64]:  # fmt: skip
    from plenish.slides.tissue import NoTissue, box_coverage, thumbnail_side, tissue_mask, with_rim

    rgb, downsample = slide.thumbnail(thumbnail_side(slide.width, slide.height, mpp))
    mask = tissue_mask(rgb, settings.tissue(), None if mpp is None else mpp * downsample)
    about["tissue_share"] = round(float(mask.mean()), 6)
    if not mask.any() and settings.min_tissue > 0:
        error = NoTissue(wanted.name, rgb, settings.tissue(), None if mpp is None else mpp * downsample)
        error.save(Path(wanted.picture))
        raise InputError(f"{error} A picture of it is {Path(wanted.picture).name}, beside the output.")
    boxes = grid.boxes(rows, columns)
    tissue = box_coverage(with_rim(mask), boxes, downsample)
    if not slide.unreadable:
        return tissue
    for left, top, right, bottom in slide.unreadable:
        left, top = int(left / downsample), int(top / downsample)
        mask[top : math.ceil(bottom / downsample), left : math.ceil(right / downsample)] = True
    return _unmeasured(
        slide, grid, rows, columns, settings, tissue, box_coverage(with_rim(mask), boxes, downsample), about
    )


def _unmeasured(
    slide: Slide, grid: Grid, rows: NDArray[np.int32], columns: NDArray[np.int32], settings: TilingSettings,
    tissue: NDArray[np.float64], most: NDArray[np.float64], about: dict[str, Any],
) -> NDArray[np.float64]:  # fmt: skip
    """The tiles' share of tissue where a slide is damaged at every level of its thumbnail.

    A tile there that may have enough tissue stays if it is damaged itself, so that it is listed; one that can
    be read is left out, because its tissue is not known.

    Args:
        slide: the open slide.
        grid: of its tiles.
        rows: N, of the tiles.
        columns: N.
        settings: of the tiling.
        tissue: N, share of tissue that was seen.
        most: N, share of tissue if there is some wherever it could not be seen.
        about: gets a remark.
    """
    least = settings.min_tissue - 1e-9
    left_out = 0
    for i in np.flatnonzero((most >= least) & (tissue < least)):
        try:
            grid.read(slide, int(rows[i]), int(columns[i]))
            left_out += 1
        except UnreadableRegion:
            tissue[i] = most[i]
    share = sum((box[2] - box[0]) * (box[3] - box[1]) for box in slide.unreadable)
    remark = f"{share / (slide.width * slide.height):.2%} of the slide cannot be decoded at any level"
    if left_out:
        remark += f", and {agree(left_out, 'tile', 'was', 'were')} left out whose tissue is not known there"
    about["remarks"].append(remark + ".")
    return tissue


def _coverage(
    slide: Slide, wanted: Wanted, boxes: NDArray[np.float64], settings: TilingSettings,
    about: dict[str, Any],
) -> tuple[tuple[str, ...], NDArray[np.float64]]:  # fmt: skip
    """The labels annotated on a slide, and the share of each box they cover, N×K."""
    if wanted.annotations is None:
        return (), np.zeros((len(boxes), 0))
    from plenish.slides.annotations import read_annotations

    annotations = read_annotations(
        Path(wanted.annotations), size=(slide.width, slide.height), holes=settings.holes,
        priority=settings.priority, rename=dict(settings.rename),
    )  # fmt: skip
    about["remarks"] += annotations.remarks
    about["annotation_names"] = list(annotations.names)
    areas = annotations.areas()
    about["annotated_px2"] = {label: float(areas[label]) for label in annotations.labels}
    found = annotations.coverage(boxes)
    labels = annotations.labels
    return labels, np.stack([found[label] for label in labels], 1) if labels else np.zeros((len(boxes), 0))


__all__ = ["Plan", "Wanted", "plan_slide"]
