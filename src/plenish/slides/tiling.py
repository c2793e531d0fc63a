"""`plenish slides tile`: whole-slide images become a Dataset of tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import files
from plenish import settings as common
from plenish.errors import InputError
from plenish.progress import warn
from plenish.slides.drawing import Draw
from plenish.slides.settings import ImageFormat, TilingSettings
from plenish.wording import agree

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.slides.listing import SlideList
    from plenish.slides.planning import Wanted
    from plenish.slides.sheets import Work

_SHOWN = 40
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Tiled:
    """What a tiling made.

    Attributes:
        dataset: the Dataset.
        slides: a row a slide, as in summary.csv.
        warnings: what the user should know.
    """

    dataset: Dataset
    slides: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...]

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
            return facts | {"slides": list(self.slides), "warnings": list(self.warnings)}
        shown = ["slide", "tiles", "rejected", "candidates", "level", "mpp", *["reason"] * bool(rejected)]
        rows = [{key: row[key] for key in shown} for row in self.slides[:_SHOWN]]
        more = len(self.slides) - len(rows)
        return facts | ({"more_slides": f"{more} in summary.csv"} if more else {}) | {"slides": rows}


def tile_slides(
    slides: Path, out: Path, *, size: int = 256, mpp: float | None = None, level: int | None = None,
    stride: int | None = None, assume_mpp: float | None = None, tolerance: float = 0.02,
    metadata: Path | None = None, group_column: str | None = None, label_column: str | None = None,
    annotations: Path | None = None, label_threshold: float = 0.5, background: str = "normal",
    priority: list[str] | None = None, holes: list[str] | None = None, rename: list[str] | None = None,
    ambiguous: Literal["keep", "drop"] = "keep", unannotated: Literal["background", "skip"] = "background",
    min_tissue: float = 0.5, tissue_saturation: float | None = None, tissue_dark: float | None = None,
    tissue_close_um: float | None = None, tissue_speck_um2: float | None = None,
    tissue_hole_um2: float | None = None,
    min_sharpness: float = 0.0, max_pen: float = 1.0, per_class: int | None = None,
    per_slide: int | None = None, seed: int = 0, images: ImageFormat | None = None, quality: int = 90,
    workers: int | None = None, name: str | None = None, licence: str = "", intended_use: str = "",
) -> Tiled:  # fmt: skip
    """Cut whole-slide images into tiles, as a Dataset.

    Each tile's row says which slide, where (x, y in pixels of level 0; row, col of the grid), at which scale,
    and how much tissue and annotation it has. Slides and regions that cannot be read are listed with the
    reason in OUT/rejected.csv, and OUT/summary.csv has a row a slide. Killed and started again, it goes on;
    the result is the same with any number of workers.

    Args:
        slides: a slide, a folder, a .txt list or a .csv table (parted by | or comma) of slides.
        out: the Dataset's folder to make; must not exist.
        size: height and width of a tile, pixels.
        mpp: µm per pixel that tiles shall have; between two levels of a slide, the finer is averaged by area.
        level: or the level whose pixels are taken as they are, 0 the finest.
        stride: from one tile to the next, pixels of tiles; left out, side by side.
        assume_mpp: µm per pixel of level 0 of slides that do not say it; without, they are rejected.
        tolerance: a level whose µm per pixel differ from --mpp by up to this share is taken as it is.
        metadata: a table with a row a slide (slide_id, case_id, …; a column mpp counts before the slide's
            own); its columns are kept with every tile. Where the slides are a table too, both are joined.
        group_column: the table's column of patients, without which a slide is rejected; left out, patient or
            case_id, else the TCGA case, else the slide itself.
        label_column: the table's column that labels whole slides.
        annotations: a folder of ASAP XML, GeoJSON or mask images, named like the slides.
        label_threshold: share of a tile that an annotation must cover to label it.
        background: the label of tiles that no annotation covers that far.
        priority: annotations' labels; where they overlap, the one named first counts.
        holes: annotations' labels that are holes in the others, besides usual names such as Exclusion; none
            leaves those out.
        rename: annotations' labels under new names, as old=new; several may get the same.
        ambiguous: keep or drop tiles that an annotation touches and does not cover far enough.
        unannotated: whether slides without annotations are background, or skipped.
        min_tissue: least share of tissue of a tile; 0 takes the whole slide.
        tissue_saturation: saturation (0 to 1) above which there is tissue; left out, found by Otsu's method.
        tissue_dark: brightness (0 to 1) below which there is none; left out, 0.12.
        tissue_close_um: gaps in tissue of about twice this width are closed, µm; left out, 12.
        tissue_speck_um2: pieces of tissue smaller than this are left out, µm²; left out, 20,000.
        tissue_hole_um2: holes in tissue smaller than this are filled, µm²; left out, 5,000.
        min_sharpness: tiles less sharp than this are rejected as blurred; 0 keeps all, 0.1 rejects
            what a Gaussian of 2 pixels has blurred.
        max_pen: tiles with a greater share of ink are rejected; 1 keeps all.
        per_class: draw at most so many tiles of each class.
        per_slide: draw at most so many tiles of each class from each slide.
        seed: of the draw.
        images: also write the tiles as jpeg or png to OUT/images/<slide>_<row>_<col>.
        quality: of JPEG files.
        workers: processes that read; left out, one a core.
        name: what to call the Dataset; left out, OUT's own name.
        licence: the slides' licence.
        intended_use: what the tiles may be used for.

    Raises:
        InputError: an option, the table or every slide cannot be used.
    """
    from plenish.datasets.schema import LabelSchema
    from plenish.datasets.sources.listing import printable
    from plenish.datasets.writer import DatasetWriter
    from plenish.slides.cutting import cut
    from plenish.slides.listing import list_slides
    from plenish.slides.reader import require_libraries
    from plenish.slides.sheets import Work, crew, refuse_changed
    from plenish.slides.workers import Order

    how = TilingSettings(
        size=size, mpp=mpp, level=level, stride=stride, tolerance=tolerance, assume_mpp=assume_mpp,
        min_tissue=min_tissue, saturation=tissue_saturation, dark=tissue_dark, close_um=tissue_close_um,
        speck_um2=tissue_speck_um2, hole_um2=tissue_hole_um2, label_threshold=label_threshold,
        background=background, priority=tuple(priority or ()),
        holes=None if holes is None else tuple(holes), rename=_renamed(rename or ()), ambiguous=ambiguous,
        min_sharpness=min_sharpness, max_pen=max_pen,
    )  # fmt: skip
    _refuse_at_once(out, workers, per_class, per_slide, quality, annotations, label_column)
    require_libraries()
    listed = list_slides(
        slides, metadata, group_column=group_column, label_column=label_column, leave_out=annotations
    )
    drawing = Draw(per_class, per_slide, seed)
    wanted, refused, remarks = _wanted(listed, annotations, unannotated, label_column, out)
    if group_column is not None:
        for entry in listed.entries:
            if entry.group_from != "table":  # Whatever stood for the patient could tear one apart.
                refused.setdefault(entry.name, f"the table gives it no {group_column}")
    remarks = _of_table(listed) + remarks
    for text in remarks:
        warn(text)
    order = Order(how, images, str(out.with_name(out.name + ".partial") / "images"), quality)
    root = slides if slides.is_dir() else slides.parent
    work = Work(root, listed, wanted, refused, order, drawing, label_column is not None, crew(workers))
    refuse_changed(work, out.with_name(out.name + ".partial") / "plans")
    writer = DatasetWriter(
        out, name=name or printable(out.resolve().name), size=size, channels=3, labels=LabelSchema(),
        config=_config(slides, work), licence=licence, source=printable(str(slides.resolve())),
        intended_use=intended_use,
    )  # fmt: skip
    with writer:
        rows, more = cut(work, writer, out)
        writer.extra["warnings"] = remarks + more
    for text in more:
        warn(text)
    return Tiled(writer.dataset, tuple(rows), (*remarks, *more))


def _renamed(pairs: Sequence[str]) -> tuple[tuple[str, str], ...]:
    for pair in pairs:
        if not all(pair.partition("=")):
            raise InputError(f"--rename takes old=new, such as _0=tumour, not '{pair}'.")
    return tuple((pair.partition("=")[0], pair.partition("=")[2]) for pair in pairs)


def _refuse_at_once(
    out: Path, workers: int | None, per_class: int | None, per_slide: int | None, quality: int,
    annotations: Path | None, label_column: str | None,
) -> None:  # fmt: skip
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    for option, value in (("--workers", workers), ("--per-class", per_class), ("--per-slide", per_slide)):
        if value is not None and value < 1:
            raise InputError(f"{option} must be at least 1, not {value}.")
    if not 1 <= quality <= 100:
        raise InputError(f"--quality must lie between 1 and 100, not {quality}.")
    if annotations is not None and label_column is not None:
        raise InputError("Labels come either from --annotations or from --label-column; leave one out.")
    if annotations is not None and not annotations.exists():
        raise InputError(f"{annotations} is not there; give the folder of annotations.")


def _wanted(
    listed: SlideList, annotations: Path | None, unannotated: str, label_column: str | None, out: Path
) -> tuple[list[Wanted], dict[str, str], list[str]]:
    """The slides with their annotations, those that are refused already, and what is to be said."""
    from plenish.slides.planning import Wanted

    found = {} if annotations is None else _annotation_files(listed, annotations)
    wanted: list[Wanted] = []
    refused: dict[str, str] = {}
    for entry in listed.entries:
        mine = found.get(entry.name)
        picture = out.with_name(f"{out.name}.no-tissue.{entry.name}.png")
        wanted.append(
            Wanted(str(entry.path), entry.name, entry.mpp, str(mine) if mine else None, str(picture))
        )
        if entry.missing:
            refused[entry.name] = entry.missing
        elif label_column is not None and entry.label is None:
            refused[entry.name] = f"the table gives it no {label_column}"
        elif annotations is not None and mine is None and unannotated == "skip":
            refused[entry.name] = f"it has no annotations in {annotations}"
    return wanted, refused, [] if annotations is None else _unmatched(listed, annotations, found, unannotated)


def _annotation_files(listed: SlideList, folder: Path) -> dict[str, Path]:
    """Each slide's file of annotations, where it has one."""
    from plenish.slides.annotations import find_annotations, has_annotations

    if folder.is_file():
        if len(listed.entries) > 1:
            raise InputError(
                f"{folder} is one file of annotations and there are {len(listed.entries)} slides; give the "
                "folder of their annotations."
            )
        return {listed.entries[0].name: folder}
    found: dict[str, Path] = {}
    for entry in listed.entries:
        path = find_annotations(folder, entry.name) or find_annotations(folder, entry.path.stem)
        if path is not None:
            found[entry.name] = path
    # One normal slide among annotations of others has none; several slides of which none has are mistaken.
    if not found and (len(listed.entries) > 1 or not has_annotations(folder)):
        raise InputError(
            f"No slide has annotations in {folder}; they are files named like the slides, such as "
            f"{listed.entries[0].name}.xml."
        )
    return found


def _unmatched(listed: SlideList, folder: Path, found: Mapping[str, Path], unannotated: str) -> list[str]:
    from plenish.slides.annotations import strangers

    texts = []
    bare = [entry.name for entry in listed.entries if entry.name not in found]
    if bare:
        then = "skipped" if unannotated == "skip" else "taken as background"
        texts.append(
            f"{agree(len(bare), 'slide', 'has', 'have')} no annotations in {folder} and "
            f"{'is' if len(bare) == 1 else 'are'} {then}: {_some(bare)}."
        )
    if folder.is_dir():
        idle = strangers(folder, [entry.path for entry in listed.entries])
        if idle:
            texts.append(
                f"{agree(len(idle), 'file', 'belongs', 'belong')} to no slide in {folder}: {_some(idle)}."
            )
    return texts


def _of_table(listed: SlideList) -> list[str]:
    """What in the table and among the slides does not go together."""
    texts = []
    if listed.rows_without_slide:
        names = listed.rows_without_slide
        texts.append(f"{agree(len(names), 'row', 'names', 'name')} no slide that is there: {_some(names)}.")
    if listed.slides_without_row:
        names = listed.slides_without_row
        texts.append(f"{agree(len(names), 'slide', 'has', 'have')} no row in the table: {_some(names)}.")
    return texts + _of_groups(listed)


_SAID_BY = {
    "table": "the table", "barcode": "a TCGA barcode", "name": "CAMELYON17's names",
    "slide": "nothing but the slide's own name",
}  # fmt: skip


def _of_groups(listed: SlideList) -> list[str]:
    """That a patient may have several groups because not all groups are from one source."""
    found: dict[str, list[str]] = {}
    for entry in listed.entries:
        found.setdefault(entry.group_from, []).append(entry.name)
    if len(found) < 2:
        return []
    told = "; ".join(f"{_SAID_BY[key]} for {len(found[key])} ({_some(found[key])})" for key in found)
    return [f"Not all groups (patients) are from one source, so one patient may have two: {told}."]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _config(source: Path, work: Work) -> dict[str, Any]:
    """Everything that decides the tiles; a tiling goes on only with the same."""
    listing = [
        {
            "slide": entry.name, "bytes": entry.path.stat().st_size if not entry.missing else None,
            "group": entry.group, "label": entry.label, "case": entry.case, "sample": entry.sample,
            "metadata": dict(entry.metadata), "mpp": entry.mpp,
            "annotations": wanted.annotations and files.sha256_file(Path(wanted.annotations)),
        }
        for entry, wanted in zip(work.listed.entries, work.wanted)
    ]  # fmt: skip
    return {
        "verb": "slides tile", "slides": str(source.resolve()), "settings": work.order.settings.to_dict(),
        "draw": dataclasses.asdict(work.drawing), "labelled_by_table": work.labelled,
        "refused": dict(work.refused), "images": work.order.images,
        "quality": work.order.quality if work.order.images == "jpeg" else None,
        "listing": files.config_hash({"slides": listing}),
    }  # fmt: skip


__all__ = ["Tiled", "tile_slides"]
