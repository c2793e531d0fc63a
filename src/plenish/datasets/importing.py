"""`plenish import`: outside images become a Dataset."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files, settings
from plenish.configuration import check_bounds
from plenish.datasets.dataset import Dataset
from plenish.datasets.decoding import Decoded, Source, decode_all
from plenish.datasets.fitting import DISTORTED, DISTORTION, PLAIN, Fit, Fitting
from plenish.datasets.images import FULL_WINDOW, MAX_PIXELS, RESIZER, Shape, Window
from plenish.datasets.import_words import account, shared_pixels, size_warning, warnings_of
from plenish.datasets.rejections import Rejection
from plenish.datasets.sources import SourceOptions, recognise
from plenish.datasets.sources.listing import AS_FOUND, Listing
from plenish.datasets.synthetic import METHOD, generator_of, take_as_synthetic
from plenish.datasets.writer import FACTS, DatasetWriter
from plenish.domains import kept_domain
from plenish.errors import InputError
from plenish.parallel import default_workers
from plenish.progress import progress, say, warn
from plenish.wording import agree

_DEFAULT_SIZE = 64
_LARGEST_SIZE = 4096
_PER_WORKER = 256
_PERCENTILES = 0.5, 99.5
_DARK = 16384
"""A 16-bit image whose values all lie below this has less than 64 grey levels left of 256."""
_PROBES = 64
_FARTHEST = 2.0**32
"""Largest value that --window may name; those of DICOM may be negative."""


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
        if left := self.dataset.manifest.extra.get("opt_out"):
            facts["opted out"] = left["images"]
        return facts | ({"warnings": list(self.warnings)} if settings.current().json else {})


def import_dataset(
    source: Path, out: Path, size: int | None = None, *, fit: Fit = "crop", fitting: Fitting = PLAIN,
    channels: Literal[1, 3] | None = None, bits: int | None = None, window: tuple[str, ...] = (),
    max_pixels: int = MAX_PIXELS, reading: SourceOptions = AS_FOUND, keep_split: bool = True,
    synthetic: bool = False, generator: str = "", workers: int | None = None, name: str | None = None,
    licence: str = "", intended_use: str = "", domain: str | None = None,
) -> Imported:  # fmt: skip
    """Make a Dataset from outside images.

    The kind of source is recognised: a folder with a folder for each class (also split into train, val and
    test), a flat folder with or without a table or with files beside the images, a zip or tar archive of
    such a folder, COCO's JSON, StyleGAN's dataset.json, the hub's Parquet or Arrow files, WebDataset's tar
    shards, MNIST's idx files, an .npz, or what 'plenish export' wrote. --preset names a public data set. What
    was taken for what, and what was not used, is said before the work. Files that cannot be read are listed
    with the reason in OUT/rejected.csv. The same command resumes an import that was killed.

    Args:
        source: the folder or file to import.
        out: the Dataset's folder to make; must not exist.
        size: height and width of every image, pixels; by default the source's own where all its images have
            one (npz, idx), else 64.
        fit: how other shapes become square: crop scales the shorter side and keeps the centre, pad scales
            the longer side and fills with white, stretch ignores the aspect ratio.
        fitting: which square is kept, what fills, and what is cut off before.
        channels: 1 (grey) or 3 (RGB); by default 1 if no image of the source has colours.
        bits: how many bits of 16-bit images are used, such as 12; their largest value becomes white.
        window: instead, the values of 16-bit images that become black and white, as LOW HIGH, or
            'percentile' for the 0.5th and 99.5th percentile of each image. Of DICOM images it replaces the
            file's own window; values are those after rescaling, such as Hounsfield units.
        max_pixels: pixels of the largest image that is decoded; larger ones may be decompression bombs.
        reading: what folders, tables and cells mean, where their names do not say it.
        keep_split: keep the splits the source has (folders train, val and test, --split-column, an
            export's); without them, 'plenish split' makes one.
        synthetic: the images were generated by another program: they belong to train, have no groups, and
            their labels are what was asked for.
        generator: what generated them, as 'name, version, training set'.
        workers: processes that decode; by default one a core.
        name: the Dataset's name; by default OUT's own, or the one an export brings.
        licence: the images' licence.
        intended_use: what the images may be used for.
        domain: kind of images, kept: it decides how training may turn, mirror and colour them (radiology, …);
            by default as a preset says, or radiology where the Modality of all DICOM files does.

    Raises:
        InputError: the source, its labels or OUT cannot be used, or a group lies in several parts of a split
            that is kept.
    """
    about = _check(source, out, max_pixels, workers, name, domain, fit, fitting)
    with tempfile.TemporaryDirectory(prefix="plenish-") as scratch:
        listing = recognise(source, reading, Path(scratch))
        if synthetic or generator:
            take_as_synthetic(listing, generator, stated=synthetic)
        elif keep_split:
            _refuse_split_groups(listing, source, out)
        else:
            listing.parts, listing.splits = None, {}
        chosen = size if size is not None else listing.size or _DEFAULT_SIZE
        check_bounds("--size", chosen, {"least": 1, "most": _LARGEST_SIZE})
        if listing.blocks is not None and (bits is not None or window):
            raise InputError(
                f"--bits and --window are for image files, and {source} holds arrays; scale them to uint8."
            )
        depth = channels or listing.channels or _find_channels(listing, max_pixels)
        shape = Shape(chosen, depth, fit, _window(bits, window), max_pixels, fitting)
        early = [*listing.doubts, *listing.caveats, *size_warning(chosen)]
        for text in account(listing, domain):  # Before the work, which may take hours.
            say(text)
        for text in early:
            warn(text)
        with _writer(source, out, listing, shape, name, licence, intended_use, about) as writer:
            _copy(listing, shape, writer, _default_workers(listing, shape) if workers is None else workers)
            counts, late = _complete(writer, listing, shape, out)
            writer.extra["import"]["warnings"] = early + late
    late += shared_pixels(writer.dataset)
    for text in late:
        warn(text)
    rejected = writer.extra["rejected"]
    return Imported(writer.dataset, listing.kind, rejected, counts["upscaled"], (*early, *late))


def _check(
    source: Path, out: Path, max_pixels: int, workers: int | None, name: str | None, domain: str | None,
    fit: Fit, fitting: Fitting,
) -> dict[str, str]:  # fmt: skip
    """Refuse impossible options; returns what is kept of them with the Dataset."""
    files.refuse_existing(out, unless_made=True)
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise InputError(
            f"{out} lies inside {source}, which the next import would read too; choose another place."
        )
    if name is not None and not name.strip():
        raise InputError("--name is empty; give the Dataset a name, or leave it out.")
    check_bounds("--max-pixels", max_pixels, {"least": 1})
    check_bounds("--workers", workers, {"least": 1})
    fitting.check(fit)
    return kept_domain({"domain": domain})


def _complete(
    writer: DatasetWriter, listing: Listing, shape: Shape, out: Path
) -> tuple[Counter[str], list[str]]:
    """Write what is known when all images are written; counts, and the warnings this gives rise to."""
    writer.flush()
    counts = writer.facts()
    every = list(writer.rejections())
    rejected = every[: len(every) - len(listing.rejections)]
    lost = {rejection.source for rejection in rejected}
    kept = [files.printable(ref) not in lost for ref in listing.refs]
    for split, parts in listing.splits.items():
        writer.splits[split] = list(itertools.compress(parts, kept))
    for array, (values, manifest) in listing.arrays.items():
        writer.arrays[array] = values[kept], manifest
    writer.split_manifest = {"method": METHOD if generator_of(writer.extra) else "kept from the source"}
    writer.extra["rejected"] = len(every)
    writer.extra["import"] |= {
        "fit": shape.fit, "upscaled": counts["upscaled"], "meaning": listing.meaning,
        "notes": listing.notes, "unused": listing.unused, "window": dataclasses.asdict(shape.window),
        **({"preset": listing.preset} if listing.preset else {}),
        **{name: counts[name] for name in ("trimmed", "undetected") if counts[name]},
        **_changed(shape.fitting),
        "source_depth": {name: counts[name] for name in ("8 bits or fewer", "16 bits") if counts[name]},
    }  # fmt: skip
    return counts, warnings_of(rejected, kept, counts, listing, shape, out)


def _refuse_split_groups(listing: Listing, source: Path, out: Path) -> None:
    groups = pd.Series(list(listing.groups or ()), dtype=object)
    splits = ({} if listing.parts is None else {"default": listing.parts}) | listing.splits
    for name, parts in splits.items():
        found = pd.Series(parts).groupby(groups, sort=False).unique()
        several = found[found.map(len) > 1]
        if len(several):
            raise InputError(
                f"{agree(len(several), 'group', 'is', 'are')} in several parts of the split '{name}' of "
                f"{source} (the first is '{several.index[0]}', in {' and '.join(several.iloc[0])}), so "
                "scores on it would not be valid; leave it out with --no-keep-split and run "
                f"'plenish split {out}'."
            )


def _writer(
    source: Path, out: Path, listing: Listing, shape: Shape, name: str | None, licence: str,
    intended_use: str, extra: Mapping[str, str],
) -> DatasetWriter:  # fmt: skip
    config = {
        "command": "import", "source": str(source.resolve()), "kind": listing.kind, "size": shape.size,
        "channels": shape.channels, "fit": shape.fit, "resizer": RESIZER, "listing": listing.fingerprint(),
        "window": dataclasses.asdict(shape.window), "max_pixels": shape.max_pixels,
        **_changed(shape.fitting),
    }  # fmt: skip
    kept = listing.about
    if made := generator_of(kept.get("extra", {})):
        config["generator"] = dict(made)
    writer = DatasetWriter(
        out, size=shape.size, channels=shape.channels, labels=listing.schema, config=config,
        inputs=files.tree_hash(source),
        name=name or kept.get("name") or files.printable(out.resolve().name),
        licence=licence or kept.get("licence", ""),
        source=kept.get("source") or files.printable(str(source.resolve())),
        intended_use=intended_use or kept.get("intended_use", ""),
        extra=kept.get("extra", {})
        | {"import": {"kind": listing.kind, "resizer": RESIZER}}
        | extra,
    )  # fmt: skip
    writer.types = listing.types
    return writer


def _changed(fitting: Fitting) -> dict[str, Any]:
    """What is kept of a fitting other than the plain one, of which nothing is."""
    return {"fitting": changed} if (changed := fitting.changed()) else {}


def _window(bits: int | None, window: Sequence[str]) -> Window:
    """The values of 16-bit images that become black and white.

    Raises:
        InputError: impossible values, or both options.
    """
    if bits is not None and window:
        raise InputError("--bits and --window say the same in two ways; give one.")
    if bits is not None:
        if not 1 <= bits <= 16:
            raise InputError(f"--bits must be from 1 to 16, not {bits}.")
        return Window(0, 2**bits - 1)
    if not window:
        return FULL_WINDOW
    if tuple(window) == ("percentile",):
        return Window(*_PERCENTILES, percentile=True)
    try:
        low, high = map(float, window)
    except ValueError:
        low = high = math.nan
    if not -_FARTHEST <= low < high <= _FARTHEST:
        raise InputError(f"--window takes LOW HIGH, LOW below HIGH, or percentile, not '{' '.join(window)}'.")
    return Window(low, high)


def _find_channels(listing: Listing, max_pixels: int) -> int:
    """1 if no image has colours. A few are looked at first: most sources have colours."""
    probes = np.linspace(0, len(listing) - 1, min(_PROBES, len(listing))).astype(int)
    with Source(listing.root) as source:
        rows = itertools.chain(probes, range(len(listing)))
        return 1 if all(source.is_grey(listing.refs[i], max_pixels) for i in rows) else 3


def _default_workers(listing: Listing, shape: Shape) -> int:
    if listing.blocks is not None and listing.size == shape.size:
        return 1  # Nothing to decode and nothing to resize.
    return max(1, min(default_workers(), len(listing) // _PER_WORKER))


def _copy(listing: Listing, shape: Shape, writer: DatasetWriter, workers: int) -> None:
    """Write all images and rejections, in their order."""
    at = writer.skip
    new = () if listing.restored else ("width", "height")
    measured = [name for name in new if name not in listing.columns]
    with progress("import", len(listing), done=at) as bar:
        for task, result in decode_all(listing.tasks(at), listing.root, shape, workers):
            pixels: NDArray[np.uint8] = result.pixels
            rows: list[dict[str, Any]] = []
            for i, item in enumerate(result.items, at):
                if isinstance(item, Rejection):
                    writer.add(pixels[: len(rows)], rows)
                    pixels, rows = pixels[len(rows) :], []
                    writer.reject(dataclasses.replace(item, source=files.printable(item.source)))
                    continue
                row = listing.row(i) | {"sha256": item.digest, FACTS: _facts(item, i + 1)}
                if shape.fit == "stretch":
                    row[DISTORTION] = item.distortion
                rows.append(row | {name: getattr(item, name) for name in measured})
            writer.add(pixels, rows)
            at += len(task.refs)
            bar.advance(len(task.refs))
    for rejection in listing.rejections[max(0, at - len(listing)) :]:
        writer.reject(rejection)


def _facts(item: Decoded, number: int) -> dict[str, int]:
    """What is counted of an image, the `number`th of its source from 1."""
    facts = {"16 bits" if item.peak else "8 bits or fewer": 1}
    if item.upscaled:
        facts["upscaled"] = 1
    if item.coloured:
        facts["coloured"] = 1
    for name in ("trimmed", "undetected"):
        if getattr(item, name):
            facts[name] = 1
    if item.distortion >= DISTORTED:
        facts["distorted"] = 1
    if item.narrow:
        facts |= {"narrow": 1, "first narrow": number}
    if 0 < item.peak < _DARK:
        facts |= {"dark": 1, "largest dark peak": item.peak, "first dark": number}
    return facts
