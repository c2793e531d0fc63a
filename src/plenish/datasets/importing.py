"""`plenish import`: outside images become a Dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plenish import settings, sizes
from plenish.datasets.rejections import Rejection, describe
from plenish.errors import InputError
from plenish.progress import progress, say, warn
from plenish.wording import agree, plural

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.decoding import Result, Shape, Task
    from plenish.datasets.sources.listing import Listing
    from plenish.datasets.writer import DatasetWriter

_DEFAULT_SIZE = 64
_LARGEST_SIZE = 4096
_PER_WORKER = 256
_PROBES = 64


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        dataset: the Dataset.
        kind: what the source was taken for.
        rejected: files that could not be used.
        upscaled: images that were enlarged.
        warnings: what the user should know.
    """

    dataset: Dataset
    kind: str
    rejected: int
    upscaled: int
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first; with --json the warnings too, which are lines of their own else."""
        facts = {
            "source": self.kind, **self.dataset.summary(), "rejected": self.rejected,
            "upscaled": self.upscaled,
        }  # fmt: skip
        return facts | ({"warnings": list(self.warnings)} if settings.current().json else {})


@dataclasses.dataclass
class _Tally:
    """What was met on the way."""

    rejected: list[Rejection] = dataclasses.field(default_factory=list)
    upscaled: int = 0
    coloured: int = 0
    deep: int = 0
    peak: int = 0


def import_dataset(
    source: Path,
    out: Path,
    size: int | None = None,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    channels: Literal[1, 3] | None = None,
    labels: Path | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    label_kind: Literal["auto", "categorical", "multilabel", "continuous"] = "auto",
    missing: Literal["error", "skip"] = "error",
    keep_split: bool = True,
    workers: int | None = None,
    name: str | None = None,
    licence: str = "",
    intended_use: str = "",
) -> Imported:
    """Make a Dataset from outside images.

    The kind of source is recognised: a folder with a folder for each class (also split into train, val and
    test), a flat folder with or without a table, MNIST's idx files, an .npz, a (StyleGAN) zip, or what
    'plenish export' wrote. Files that cannot be read are listed with the reason in OUT/rejected.csv. Killed
    and started again, it goes on.

    Args:
        source: the folder or file to import.
        out: the Dataset's folder to make; must not exist.
        size: height and width of every image, pixels; left out, the source's own where all its images have
            one (npz, idx), else 64.
        fit: how other shapes become square: crop scales the shorter side and keeps the centre, pad scales
            the longer side and fills with white, stretch ignores the aspect ratio.
        channels: 1 (grey) or 3 (RGB); left out, 1 if no image of the source has colours.
        labels: a CSV, TSV, JSON Lines or Parquet table with one row an image; its other columns are kept.
        file_column: the table's column of file names; left out, a usual name is looked for.
        label_column: the table's column of labels; left out, a usual name is looked for.
        group_column: the table's column of groups (patient, lesion, slide) that no split may tear apart.
        split_column: the table's column that says train, val or test.
        label_kind: what a label is: one class, several tags (a list, or parted by |), or numbers.
        missing: what to do about rows of the table without a file or a label: stop, or leave them out.
        keep_split: keep the splits the source has (folders train, val and test, --split-column, an
            export's); without them, 'plenish split' makes one.
        workers: processes that decode; left out, one a core.
        name: what to call the Dataset; left out, OUT's own name, or the one an export brings.
        licence: the images' licence.
        intended_use: what the images may be used for.

    Raises:
        InputError: the source, its labels or OUT cannot be used, or a group lies in several parts of a split
            that is kept.
    """
    from plenish.datasets.decoding import Shape
    from plenish.datasets.sources import TableOptions, recognise
    from plenish.datasets.writer import DatasetWriter

    _refuse_at_once(out, workers)
    options = TableOptions(labels, file_column, label_column, group_column, split_column, label_kind, missing)
    listing = recognise(source, options)
    if keep_split:
        _refuse_torn_groups(listing, source, out)
    else:
        _leave_splits_out(listing)
    if size is None:
        size = listing.size or _DEFAULT_SIZE
    if not 1 <= size <= _LARGEST_SIZE:
        raise InputError(f"--size must be from 1 to {_LARGEST_SIZE} pixels, not {size}.")
    shape = Shape(size, channels or listing.channels or _find_channels(listing), fit)
    known = [*listing.warnings, *_unfit_size(size)]
    _tell(listing.notes, known)  # Before the work, which may take hours.
    writer = DatasetWriter(
        out, size=size, channels=shape.channels, labels=listing.schema, config=_config(source, listing,
        shape), **_about(source, out, listing, name, licence, intended_use),
    )  # fmt: skip
    writer.types = dict(listing.types)
    with writer:
        tally = _copy(listing, shape, writer, _crew(workers, listing, shape))
        found = _remarks(tally, listing, shape, out)
        _finish(listing, writer, tally, shape, known + found)
    found += _shared_pixels(writer.dataset)
    _tell((), found)
    return Imported(writer.dataset, listing.kind, len(tally.rejected), tally.upscaled, (*known, *found))


def _refuse_at_once(out: Path, workers: int | None) -> None:
    """InputError for what can be said before the source is read, which may take a while."""
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be at least 1, not {workers}.")


def _tell(notes: Sequence[str], warnings: Sequence[str]) -> None:
    for text in notes:
        say(text)
    for text in warnings:
        warn(text)


def _unfit_size(size: int) -> list[str]:
    """A warning if no convolutional generator can be trained on images of that size."""
    if sizes.base_and_stages(size) is not None:
        return []
    smaller, larger = sizes.nearest(size)
    return [
        f"A convolutional generator cannot make images of {size} pixels; the nearest sizes it can make are "
        f"{smaller} and {larger}, give one with --size if you want to train on these images."
    ]


def _refuse_torn_groups(listing: Listing, source: Path, out: Path) -> None:
    splits = ({} if listing.parts is None else {"default": listing.parts}) | listing.splits
    for name, parts in splits.items():
        found: dict[str, list[str]] = {}
        for group, part in zip(listing.groups or (), parts):
            if group is not None and part not in (seen := found.setdefault(group, [])):
                seen.append(part)
        torn = [group for group, seen in found.items() if len(seen) > 1]
        if torn:
            raise InputError(
                f"{plural(len(torn), 'group')} of {source} {'lies' if len(torn) == 1 else 'lie'} in several "
                f"parts of its split '{name}' (the first is '{torn[0]}', in "
                f"{' and '.join(found[torn[0]])}), so no score on it would hold; leave the split out with "
                f"--no-keep-split and run 'plenish split {out}'."
            )


def _leave_splits_out(listing: Listing) -> None:
    from plenish.datasets.sources.listing import about_parts

    if listing.parts is not None:
        kept = about_parts(listing.parts)
        listing.notes = [note for note in listing.notes if note != kept]
    listing.parts, listing.splits = None, {}


def _shared_pixels(dataset: Dataset) -> list[str]:
    """A warning for each split with the same pixels in several parts; real collections have such images."""
    texts = []
    for name in dataset.split_names():
        count = dataset.split(name).manifest.get("duplicates_across_parts", 0)
        if count:
            texts.append(
                f"The source's split '{name}' has {plural(count, 'image')} with the same "
                "pixels in several parts, so scores on it are too good; import with "
                "--no-keep-split and run 'plenish split' to have such images in one part."
            )
    return texts


def _config(source: Path, listing: Listing, shape: Shape) -> dict[str, Any]:
    from plenish.datasets.images import RESIZER

    return {
        "command": "import", "source": str(source.resolve()), "kind": listing.kind, "size": shape.size,
        "channels": shape.channels, "fit": shape.fit, "resizer": RESIZER, "listing": listing.fingerprint(),
    }  # fmt: skip


def _about(
    source: Path, out: Path, listing: Listing, name: str | None, licence: str, intended_use: str
) -> dict[str, Any]:
    from plenish.datasets.images import RESIZER
    from plenish.datasets.sources.listing import printable

    kept = dict(listing.about)
    about = {
        "name": name or kept.get("name") or printable(out.resolve().name),
        "licence": licence or kept.get("licence", ""),
        "source": kept.get("source") or printable(str(source.resolve())),
        "intended_use": intended_use or kept.get("intended_use", ""),
    }  # fmt: skip
    return about | {
        "extra": dict(kept.get("extra", {})) | {"import": {"kind": listing.kind, "resizer": RESIZER}}
    }


def _find_channels(listing: Listing) -> int:
    """1 if no image has colours by its header. A few are looked at, and all only if those are grey."""
    probes = list(dict.fromkeys(np.linspace(0, len(listing) - 1, _PROBES).astype(int).tolist()))
    if not all(_grey(listing, probes)):
        return 3
    return 1 if all(_grey(listing, range(len(listing)))) else 3


def _grey(listing: Listing, rows: Any) -> Iterator[bool]:
    from plenish.datasets.decoding import read_refs
    from plenish.datasets.images import is_grey

    for data in read_refs([listing.refs[i] for i in rows], listing.root, listing.zipped):
        if data:
            yield is_grey(data)


def _crew(workers: int | None, listing: Listing, shape: Shape) -> int:
    from plenish.parallel import available_cores

    if workers is not None:
        return workers
    if listing.blocks is not None and listing.size == shape.size:
        return 1  # Nothing to decode and nothing to resize.
    cores = min(available_cores(), settings.current().threads or available_cores())
    return max(1, min(cores, len(listing) // _PER_WORKER))


def _copy(listing: Listing, shape: Shape, writer: DatasetWriter, workers: int) -> _Tally:
    from plenish.datasets.decoding import decode_all

    tally = _Tally(rejected=list(writer.rejections()))
    at = writer.skip
    with progress("import", len(listing), done=at) as bar:
        for task, result in decode_all(listing.tasks(at), shape, workers):
            _take(task, result, listing, at, writer, tally)
            at += len(task.refs)
            bar.advance(len(task.refs))
    return tally


def _take(
    task: Task, result: Result, listing: Listing, at: int, writer: DatasetWriter, tally: _Tally
) -> None:
    """Hand a piece over to the writer, images and rejected files in their order."""
    from plenish.datasets.sources.listing import printable

    rows: list[dict[str, Any]] = []
    start = 0
    for i, item in enumerate(result.items):
        if isinstance(item, Rejection):
            _add(writer, result.pixels[start : start + len(rows)], rows)
            start, rows = start + len(rows), []
            tally.rejected.append(dataclasses.replace(item, source=printable(item.source)))
            writer.reject(tally.rejected[-1])
            continue
        digest, upscaled, coloured, peak = item
        rows.append(listing.row(at + i) | {"sha256": digest})
        tally.upscaled += upscaled
        tally.coloured += coloured
        tally.deep += peak > 0
        tally.peak = max(tally.peak, peak)
    _add(writer, result.pixels[start:], rows)


def _add(writer: DatasetWriter, pixels: NDArray[np.uint8], rows: list[dict[str, Any]]) -> None:
    if rows:
        writer.add(pixels, rows)


def _finish(
    listing: Listing, writer: DatasetWriter, tally: _Tally, shape: Shape, warnings: list[str]
) -> None:
    from plenish.datasets.sources.listing import printable

    lost = {rejection.source for rejection in tally.rejected}
    kept = np.array([printable(ref) not in lost for ref in listing.refs])
    for name, parts in listing.splits.items():
        writer.splits[name] = [part for part, there in zip(parts, kept) if there]
    for name, (array, manifest) in listing.arrays.items():
        writer.array(name, array[kept], manifest)
    writer.split_manifest = {"method": "kept from the source"}
    writer.extra["rejected"] = len(tally.rejected)
    writer.extra["import"] |= {"fit": shape.fit, "upscaled": tally.upscaled, "warnings": warnings}


def _remarks(tally: _Tally, listing: Listing, shape: Shape, out: Path) -> list[str]:
    texts = []
    if tally.rejected:
        first = tally.rejected[0]
        texts.append(
            f"{len(tally.rejected):,} of {plural(len(listing), 'file')} "
            f"{'was' if len(tally.rejected) == 1 else 'were'} rejected, "
            f"see {out / 'rejected.csv'}; the first was {first.source}: {describe(first)}."
        )
    if tally.upscaled:
        texts.append(
            f"{agree(tally.upscaled, 'image', 'was', 'were')} smaller than {shape.size} pixels and "
            "enlarged; a smaller --size "
            "would invent nothing."
        )
    if tally.coloured:
        texts.append(f"{plural(tally.coloured, 'coloured image')} became grey.")
    if tally.deep and tally.peak < 16384:
        texts.append(
            f"The {agree(tally.deep, '16-bit image', 'uses', 'use')} only values up to {tally.peak} of 65535 "
            "and came out dark; stretch them to the whole range and import again."
        )
    if listing.schema.kind == "categorical" and listing.labels is not None and tally.rejected:
        lost = {rejection.source for rejection in tally.rejected}
        left = {label for ref, label in zip(listing.refs, listing.labels) if ref not in lost}
        texts += [
            f"No image of class '{name}' could be read." for name in listing.schema.names if name not in left
        ]
    return texts


__all__ = ["Imported", "import_dataset"]
