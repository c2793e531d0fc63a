"""Whole-slide images become a Dataset of tiles: list slides, plan each, draw, read the tiles, summarise."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files
from plenish import settings as common
from plenish.configuration import check_bounds
from plenish.datasets.dataset import Dataset
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.parallel import Executor, executor
from plenish.progress import progress, warn
from plenish.slides.annotations import find_annotations, has_annotations, unmatched_remarks
from plenish.slides.reader import require_libraries
from plenish.slides.remarks import Remark
from plenish.slides.slide_list import SlideList, list_slides
from plenish.slides.slide_plans import PlannedSlide, Tiling, draw_tiles, plan_slides, refuse_changed
from plenish.slides.tile_jobs import TileJob, TileResult, TileWorker, map_tiles, tile_jobs
from plenish.slides.tiling_config import (
    DrawOptions,
    FilterOptions,
    GridOptions,
    LabelRules,
    OutputOptions,
    TableOptions,
    TileLabelOptions,
    TilingConfig,
)
from plenish.slides.tiling_summary import summarise
from plenish.slides.tissue import TissueOptions

_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class TiledSlides:
    """What a tiling made.

    Attributes:
        dataset: the Dataset.
        slides: a row a slide, as in summary.csv.
        remarks: what the user should know.
    """

    dataset: Dataset
    slides: tuple[Mapping[str, Any], ...]
    remarks: tuple[Remark, ...]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first, and a row a slide."""
        rejected = sum(row["status"] == "rejected" for row in self.slides)
        # The Dataset's own count is of slides and tiles together.
        about = {key: value for key, value in self.dataset.summary().items() if key != "rejected"}
        facts = {
            **about, "slides_tiled": len(self.slides) - rejected,
            "slides_rejected": rejected, "tiles_rejected": sum(row["rejected"] for row in self.slides),
        }  # fmt: skip
        if common.current().json:
            return facts | {"slides": list(self.slides), "warnings": [str(remark) for remark in self.remarks]}
        shown = ["slide", "tiles", "rejected", "candidates", "level", "mpp", *["reason"] * bool(rejected)]
        rows = [{key: row[key] for key in shown} for row in self.slides[:_SHOWN]]
        more = len(self.slides) - len(rows)
        return facts | ({"more_slides": f"{more} in summary.csv"} if more else {}) | {"slides": rows}


def tile_slides(
    slides: Path, out: Path, *, annotations: Path | None = None, grid: GridOptions, tissue: TissueOptions,
    rules: LabelRules, labels: TileLabelOptions, filters: FilterOptions, table: TableOptions,
    draw: DrawOptions, output: OutputOptions, workers: int | None = None,
) -> TiledSlides:  # fmt: skip
    """Cut whole-slide images into tiles, as a Dataset.

    Each tile's row says which slide, where (x, y in pixels of level 0; row, col of the grid), at which scale,
    and how much tissue and annotation it has. Slides and regions that cannot be read are listed with the
    reason in OUT/rejected.csv, and OUT/summary.csv has a row a slide. A tiling that was killed resumes when
    started again; the result is the same with any number of workers.

    Args:
        slides: a slide, a folder, a .txt list or a .csv table (columns separated by | or comma) of slides.
        out: the Dataset's folder to make; must not exist.
        annotations: a folder of ASAP XML, GeoJSON or mask images, named like the slides.
        grid: size, scale and spacing of tiles.
        tissue: where there is tissue, and how much a tile needs.
        rules: how labels in files of annotations become labels.
        labels: how annotations label tiles.
        filters: which tiles are rejected by their pixels.
        table: what a table says of the slides.
        draw: how many tiles are kept.
        output: what is written besides the Dataset.
        workers: processes that read; left out, one a core.

    Raises:
        InputError: an option, the table or every slide cannot be used.
    """
    config = TilingConfig(grid, tissue, rules, labels, filters)
    files.refuse_existing(out, unless_made=True)
    check_bounds("--workers", workers, {"least": 1})
    if annotations is not None and table.label_column is not None:
        raise InputError("Labels come either from --annotations or from --label-column; leave one out.")
    if annotations is not None and not annotations.exists():
        raise InputError(f"{annotations} does not exist; give the folder of annotations.")
    require_libraries()
    listed = list_slides(slides, table, annotations)
    remarks = _table_remarks(listed)
    if annotations is not None:
        listed, more = _with_annotations(listed, annotations, labels.unannotated == "skip")
        remarks += more
    for remark in remarks:
        warn(str(remark))
    tiling = Tiling(out, listed, config, draw, table.label_column is not None)
    refuse_changed(tiling)
    writer = DatasetWriter(
        out, name=output.name or files.printable(out.resolve().name), size=grid.size, channels=3,
        labels=LabelSchema(), config=_config(slides, tiling, output), licence=output.licence,
        source=files.printable(str(slides.resolve())), intended_use=output.intended_use,
        extra={"domain": "histology"},
    )  # fmt: skip
    with writer, executor(workers, TileWorker, (config, out, output)) as pool:
        plan_slides(tiling, pool, retry=not writer.skip)
        writer.labels = LabelSchema("categorical", tiling.classes) if tiling.classes else LabelSchema()
        writer.types = _column_types(tiling)
        if draw.per_class or draw.per_slide:
            draw_tiles(tiling, pool)
        if not writer.skip:  # A resumed tiling is not thrown away for lack of space.
            files.require_space(out, sum(slide.count for slide in tiling.slides) * grid.size**2 * 3)
        if output.images:
            (tiling.partial / "images").mkdir(exist_ok=True)
        _read_tiles(tiling, pool, writer)
        rows, more = summarise(tiling, writer)
        writer.extra["warnings"] = [dataclasses.asdict(remark) for remark in remarks + more]
        shutil.rmtree(tiling.folder)
    for remark in more:
        warn(str(remark))
    return TiledSlides(writer.dataset, tuple(rows), (*remarks, *more))


def _table_remarks(listed: SlideList) -> list[Remark]:
    """What table and slides do not have in common, and groups from different sources."""
    remarks = []
    if listed.rows_without_slide:
        remarks.append(Remark("rows-without-slide", {"names": list(listed.rows_without_slide)}))
    if listed.slides_without_row:
        remarks.append(Remark("slides-without-row", {"names": list(listed.slides_without_row)}))
    sources: dict[str, list[str]] = {}
    for entry in listed.entries:
        sources.setdefault(entry.group_from, []).append(entry.name)
    if len(sources) > 1:
        remarks.append(Remark("mixed-groups", {"names": sources}))
    return remarks


def _with_annotations(listed: SlideList, folder: Path, skip: bool) -> tuple[SlideList, list[Remark]]:
    """The slides with their files of annotations; those without are rejected with `skip`."""
    if folder.is_file() and len(listed.entries) > 1:
        raise InputError(
            f"{folder} is one file of annotations and there are {len(listed.entries)} slides; give the "
            "folder of their annotations."
        )
    entries = []
    for entry in listed.entries:
        file = find_annotations(folder, entry.name, entry.path.stem)
        rejection = entry.rejected("unannotated", folder=str(folder)) if skip and file is None else None
        entries.append(dataclasses.replace(entry, annotations=file, rejection=entry.rejection or rejection))
    # One normal slide among annotations of others has none; of several slides, some should have.
    bare = [entry.name for entry in entries if entry.annotations is None]
    if len(bare) == len(entries) and (len(entries) > 1 or not has_annotations(folder)):
        raise InputError(
            f"No slide has annotations in {folder}; they are files named like the slides, such as "
            f"{entries[0].name}.xml."
        )
    remarks = []
    if bare:
        treatment = "skipped" if skip else "background"
        values = {"names": bare, "folder": str(folder), "treatment": treatment}
        remarks.append(Remark("unannotated", values))
    remarks += unmatched_remarks(folder, entries)
    return dataclasses.replace(listed, entries=tuple(entries)), remarks


def _config(source: Path, tiling: Tiling, output: OutputOptions) -> dict[str, Any]:
    """Everything that decides the tiles; a tiling is resumed only with the same."""
    listing = [
        {
            "slide": entry.name, "bytes": entry.path.stat().st_size if entry.path.is_file() else None,
            "group": entry.group, "label": entry.label, "case": entry.case, "sample": entry.sample,
            "metadata": dict(entry.metadata), "mpp": entry.mpp,
            "annotations": entry.annotations and files.sha256_file(entry.annotations),
            "rejection": entry.rejection and dataclasses.asdict(entry.rejection),
        }
        for entry in tiling.listed.entries
    ]  # fmt: skip
    return {
        "verb": "slides tile", "slides": str(source.resolve()), "settings": dataclasses.asdict(tiling.config),
        "draw": dataclasses.asdict(tiling.draw), "labelled_by_table": tiling.labelled,
        "images": output.images, "quality": output.quality if output.images == "jpeg" else None,
        "listing": files.config_hash({"slides": listing}),
    }  # fmt: skip


def _column_types(tiling: Tiling) -> dict[str, Any]:
    """The types of a tile's columns, so that an empty one has the same on every slide."""
    import pyarrow as pa

    coverage = (f"coverage_{label}" for label in tiling.annotated_labels)
    types = dict.fromkeys(("x", "y", "side", "mpp", "tissue", *coverage, "sharpness", "pen"), pa.float64())
    types |= dict.fromkeys(("row", "col", "level"), pa.int64())
    types |= dict.fromkeys(("slide", "case", "sample"), pa.string())
    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    return types | {column: kinds[kind] for column, kind in tiling.listed.columns.items()}


def _read_tiles(tiling: Tiling, pool: Executor[TileWorker], writer: DatasetWriter) -> None:
    """Read all tiles that the Dataset has not yet, and write them and all rejections in order."""
    total, done, skip = sum(slide.count for slide in tiling.slides), 0, writer.skip
    todo: list[tuple[PlannedSlide, int]] = []  # The slides that are not finished, and how many tiles are.
    for slide in tiling.slides:
        items = slide.count if slide.rejection is None else 1
        if skip < items:
            todo.append((slide, skip))
        done += min(skip, slide.count)
        skip -= min(skip, items)
    jobs = (
        job
        for slide, start in todo
        if slide.rejection is None
        for job in tile_jobs(slide.entry, slide.tiles(), start)
    )
    results = map_tiles(pool, jobs, tiling.config.grid.size)
    with progress("tile", total, "tiles", done=done) as bar:
        for slide, start in todo:
            if slide.rejection is not None:
                writer.reject(slide.rejection)
            while start < slide.count:
                job, result = next(results)
                _write(writer, result, _rows(tiling, slide, job))
                start += len(job.plan)
                bar.advance(len(job.plan))


def _write(writer: DatasetWriter, result: TileResult, rows: Sequence[dict[str, Any]]) -> None:
    """Write a job's tiles and rejections in their order."""
    start, ready = 0, list[dict[str, Any]]()
    for tile, row in zip(result.tiles, rows, strict=True):
        if not isinstance(tile, Rejection):
            ready.append(row | tile)
            continue
        writer.add(result.pixels[start : start + len(ready)], ready)
        start, ready = start + len(ready), []
        writer.reject(tile)
    writer.add(result.pixels[start:], ready)


def _rows(tiling: Tiling, slide: PlannedSlide, job: TileJob) -> list[dict[str, Any]]:
    """The table's rows of a job's tiles, without what only their pixels tell."""
    entry, plan, grid = slide.entry, job.plan, job.plan.grid
    shares = dict(zip(plan.labels, plan.coverage.T.round(6)))
    nowhere = np.zeros(len(plan))
    coverage = {f"coverage_{label}": shares.get(label, nowhere) for label in tiling.annotated_labels}
    columns = zip(plan.tiles, plan.boxes, plan.tissue, plan.classes(tiling.config.labels))
    return [
        {
            "id": job.tile_name(row, column), "label": tiling.label(slide, code),
            "group": entry.group, "origin": "real", "sha256": None, "source": entry.source,
            "slide": entry.name, "x": float(box[0]), "y": float(box[1]), "row": row, "col": column,
            "side": grid.side, "mpp": grid.mpp, "level": grid.level, "tissue": round(float(tissue), 6),
            **{name: float(share[i]) for name, share in coverage.items()},
            "case": entry.case, "sample": entry.sample, **entry.metadata,
        }
        for i, ((row, column), box, tissue, code) in enumerate(columns)
    ]  # fmt: skip
