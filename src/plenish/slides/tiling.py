"""Whole-slide images become a Dataset of tiles: list slides, plan each, draw, read the tiles, summarise."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

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
from plenish.slides.annotations import find_annotations, has_annotations, unmatched_files
from plenish.slides.planning import Plan
from plenish.slides.reader import require_libraries
from plenish.slides.remarks import Remark
from plenish.slides.slide_list import SlideList, list_slides
from plenish.slides.slide_plans import (
    PlannedSlide,
    Tiling,
    annotated_labels,
    draw_tiles,
    plan_slides,
    refuse_changed,
)
from plenish.slides.tile_jobs import JobContext, TileJob, TileResult, TileWorker, map_tiles, tile_jobs
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
    files.refuse_existing(out)
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
    )  # fmt: skip
    context = JobContext(config, output.images, tiling.partial / "images", output.quality)
    with writer, executor(workers, TileWorker, (context,)) as pool:
        planned = plan_slides(tiling, pool, retry=not writer.skip)
        classes = tiling.classes(planned)
        writer.labels = LabelSchema("categorical", classes) if classes else LabelSchema()
        writer.types = _column_types(tiling, planned)
        if not draw.keeps_all:
            draw_tiles(tiling, planned, classes, pool)
        if not writer.skip:  # A resumed tiling is not thrown away for lack of space.
            files.require_space(out, sum(slide.count for slide in planned) * grid.size**2 * 3)
        if output.images:
            context.folder.mkdir(exist_ok=True)
        _read_tiles(tiling, planned, pool, writer)
        rows, more = summarise(tiling, planned, classes, writer)
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
    unmatched = unmatched_files(folder, [entry.path for entry in entries]) if folder.is_dir() else []
    if unmatched:
        remarks.append(Remark("unmatched-annotations", {"names": unmatched, "folder": str(folder)}))
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
        "verb": "slides tile", "slides": str(source.resolve()), "settings": tiling.config.to_dict(),
        "draw": dataclasses.asdict(tiling.draw), "labelled_by_table": tiling.labelled,
        "images": output.images, "quality": output.quality if output.images == "jpeg" else None,
        "listing": files.config_hash({"slides": listing}),
    }  # fmt: skip


def _column_types(tiling: Tiling, slides: Sequence[PlannedSlide]) -> dict[str, Any]:
    """The types of a tile's columns, so that an empty one has the same on every slide."""
    import pyarrow as pa

    coverage = (f"coverage_{label}" for label in annotated_labels(slides))
    types = dict.fromkeys(("x", "y", "side", "mpp", "tissue", *coverage, "sharpness", "pen"), pa.float64())
    types |= dict.fromkeys(("row", "col", "level"), pa.int64())
    types |= dict.fromkeys(("slide", "case", "sample"), pa.string())
    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    return types | {column: kinds[kind] for column, kind in tiling.listed.columns.items()}


def _read_tiles(
    tiling: Tiling, slides: Sequence[PlannedSlide], pool: Executor[TileWorker], writer: DatasetWriter
) -> None:
    """Read all tiles that the Dataset has not yet, and write them and all rejections in order."""
    todo, first = _unfinished(slides, writer.skip)
    started: collections.deque[tuple[PlannedSlide, Plan]] = collections.deque()
    rejected = collections.deque(
        (number, slide.rejection) for number, slide in enumerate(todo) if slide.rejection is not None
    )
    numbers = {slide.entry.name: number for number, slide in enumerate(todo)}

    def jobs() -> Iterator[TileJob]:
        for slide in todo:
            if slide.rejection is None:
                plan = slide.tiles()
                for job in tile_jobs(slide.entry, plan, first if slide is todo[0] else 0):
                    started.append((slide, plan))
                    yield job

    def reject_before(number: int) -> None:
        while rejected and rejected[0][0] < number:
            writer.reject(rejected.popleft()[1])

    coverage = annotated_labels(slides)
    total = sum(slide.count for slide in slides)
    with progress("tile", total, "tiles", done=total - sum(slide.count for slide in todo) + first) as bar:
        for job, result in map_tiles(pool, jobs(), tiling.config.grid.size):
            slide, plan = started.popleft()
            reject_before(numbers[slide.entry.name])
            _write(writer, result, _rows(tiling, slide, plan, job, coverage))
            bar.advance(len(job.tiles))
        reject_before(len(todo))


def _unfinished(slides: Sequence[PlannedSlide], skip: int) -> tuple[list[PlannedSlide], int]:
    """The slides that are not finished, and how many tiles of the first are."""
    for i, slide in enumerate(slides):
        if skip < slide.items:
            return list(slides[i:]), skip
        skip -= slide.items
    return [], 0


def _write(writer: DatasetWriter, result: TileResult, rows: Sequence[dict[str, Any]]) -> None:
    """Write a job's tiles and rejections in their order."""
    start = 0
    for is_rejected, group in itertools.groupby(
        zip(result.tiles, rows, strict=True), key=lambda pair: isinstance(pair[0], Rejection)
    ):
        ready = []
        for tile, row in group:
            if isinstance(tile, Rejection):
                writer.reject(tile)
            else:
                ready.append(row | {key: value for key, value in tile._asdict().items() if value is not None})
        if not is_rejected:
            writer.add(result.pixels[start : start + len(ready)], ready)
            start += len(ready)


def _rows(
    tiling: Tiling, slide: PlannedSlide, plan: Plan, job: TileJob, coverage: Sequence[str]
) -> list[dict[str, Any]]:
    """The table's rows of a job's tiles, without what only their pixels tell."""
    part = slice(job.start, job.start + len(job.tiles))
    entry, grid = slide.entry, plan.grid
    boxes = grid.boxes(plan.rows[part], plan.columns[part])
    shares = {label: plan.coverage[part, k].round(6) for k, label in enumerate(plan.labels)}
    codes = plan.classes(tiling.config.labels)[part]
    rows = []
    for i, (row, column) in enumerate(job.tiles):
        rows.append(
            {
                "id": job.tile_name(row, column), "label": tiling.label(slide, codes[i]),
                "group": entry.group, "origin": "real", "sha256": None, "source": entry.source,
                "slide": entry.name, "x": float(boxes[i, 0]), "y": float(boxes[i, 1]), "row": row,
                "col": column, "side": grid.side, "mpp": grid.mpp, "level": grid.level,
                "tissue": round(float(plan.tissue[part.start + i]), 6),
                **{f"coverage_{one}": float(shares[one][i]) if one in shares else 0.0 for one in coverage},
                "case": entry.case, "sample": entry.sample, **entry.metadata,
            }
        )  # fmt: skip
    return rows
