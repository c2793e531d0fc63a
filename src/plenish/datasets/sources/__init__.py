"""Outside formats: one file for each, and `recognise`, which identifies them.

Every format becomes a `Listing`: what images there are, in a fixed order, with labels, groups, parts and
columns, before any pixel is read; and what was taken for what, what was not used, and what is doubtful.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.datasets.archives import SUFFIXES as ARCHIVES
from plenish.datasets.formats import EXTRAS, PLAIN
from plenish.datasets.sources import (
    beside,
    coco,
    columns,
    dicom,
    hugging_face,
    idx,
    npz,
    opt_out,
    presets,
    shards,
    sidecar,
    stylegan,
    table,
    tree,
)
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.container import Container, open_container
from plenish.datasets.sources.labels import renamed
from plenish.datasets.sources.listing import Listing, SourceOptions
from plenish.datasets.sources.unused import tell_unused
from plenish.errors import InputError

__all__ = ["Listing", "SourceOptions", "recognise"]

_OF_LABELS = frozenset({"label_kind", "label_separator", "missing", "missing_words"})
_IDX = ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")


def recognise(source: Path, options: SourceOptions, scratch: Path) -> Listing:
    """Find out what `source` is and list its images.

    Args:
        source: a folder, a zip or tar archive, an `.npz` or an idx file.
        options: what its folders, tables and cells mean.
        scratch: an empty folder that lasts as long as the images are read: compressed tar archives are
            unpacked there.

    Raises:
        InputError: it is missing, of no known kind, empty, or its labels do not fit its images; or, with
            `strict`, it is doubtful what it means.
    """
    if options.split_map and not options.split_column:
        raise InputError("--split-map says what words of --split-column mean; give that too.")
    if options.label_column and options.label_columns:
        raise InputError("--label-column and --label-columns both say where labels are; give one of them.")
    if not source.exists():
        raise InputError(
            f"{source} does not exist; give a folder of images, a .zip or .tar, an .npz or idx files."
        )
    if (source / "dataset.json").is_file() and (source / "samples.parquet").is_file():
        raise InputError(f"{source} is a Plenish Dataset already, which needs no import; use it as it is.")
    try:
        found = _listed(source, options, scratch)
    except PermissionError as error:
        raise InputError(f"{error.filename or source} may not be read; change its permissions.") from None
    if options.opt_out is not None:
        opt_out.leave_out(found, options.opt_out)
    if options.class_names:
        _rename(found, options)
    if options.strict and found.doubts:
        raise InputError(
            f"It is doubtful what {source} means: {' '.join(found.doubts)} Correct it, say with options what "
            "is meant, or leave out --strict."
        )
    return found


def _listed(source: Path, options: SourceOptions, scratch: Path) -> Listing:
    if options.preset:
        return presets.find(source, options, scratch)
    options = options.completed()
    if source.is_file():
        found = _arrays(source, options, scratch)
        if found is not None:
            return found
    container = open_container(source, scratch)
    ours = None if container is None or options.labels else sidecar.find(source, container, scratch)
    if ours is not None:
        sidecar.ACCEPTED.check(options)
        return ours
    sharded = None if container is None else shards.opened(container, scratch)
    if sharded is not None:
        container, options = sharded, dataclasses.replace(options, folders=options.folders or (tree.IGNORE,))
    bare = container is None or not container.pictures
    if bare and (inside := hugging_face.find(source, scratch, options)) is not None:
        return inside
    if container is None:
        raise _unknown(source)
    tables = {} if options.labels else table.convention(container)
    headers = dicom.read(container, options)
    of_coco, without = headers.taking(options, labels=False)
    if not (options.labels or tables):
        headers, options = headers.taking(options)
    if not tables and (annotated := coco.find(container, without)) is not None:
        headers, found = of_coco, annotated
    elif options.labels or tables:
        table.ACCEPTED.check(options)
        found = table.listing(container, options, tables)
    elif (labelled := stylegan.find(container)) is not None:
        _with_attributes(stylegan.ACCEPTED, headers).check(options)
        found = labelled
    elif source.is_dir() and idx.find(source):
        idx.ACCEPTED.check(options)
        return _of_arrays(idx.listing(source))
    elif (described := beside.find(container, options)) is not None:
        found = described
    else:
        found = _of_folders(container, options, headers)
    headers.fill(found)
    if sharded is not None:
        shards.take_parts(found, {shards.tar_of(ref): None for ref in found.refs}, shards.tar_of)
    tell_unused(found, container)
    return found


def _of_folders(container: Container, options: SourceOptions, headers: dicom.Headers) -> Listing:
    headers.refuse_absent(options)
    _with_attributes(tree.ACCEPTED, headers).check(options)
    return tree.listing(container, options)


def _arrays(source: Path, options: SourceOptions, scratch: Path) -> Listing | None:
    name = source.name.lower()
    readers = ((".npz", npz.listing, npz.ACCEPTED), (_IDX, idx.listing, idx.ACCEPTED))
    for suffixes, listing, accepted in readers:
        if name.endswith(suffixes):
            ours = sidecar.find(source, None, scratch)
            (accepted if ours is None else sidecar.ACCEPTED).check(options)
            return ours or _of_arrays(listing(source))
    return None


def _with_attributes(accepted: Accepted, headers: dicom.Headers) -> Accepted:
    """Also what labels out of a DICOM attribute accept, where they are taken from one."""
    return accepted._replace(options=accepted.options | _OF_LABELS) if headers.label else accepted


def _of_arrays(found: Listing) -> Listing:
    if found.labels is not None:
        found.meaning["label"] = "the array of labels"
    if found.parts is not None:
        found.meaning["split"] = "names of the arrays"
    return found


def _rename(found: Listing, options: SourceOptions) -> None:
    if found.schema.kind not in ("categorical", "multilabel") or found.labels is None:
        raise InputError("--class-names goes with classes or tags, and these images have none; leave it out.")
    names = renamed(found.schema, options.class_names)
    found.schema = type(found.schema)(found.schema.kind, tuple(names[name] for name in found.schema.names))
    several = found.schema.kind == "multilabel"
    found.labels = [[names[tag] for tag in x] if several else names[x] for x in found.labels]


def _unknown(source: Path) -> InputError:
    if source.suffix.lower() in (*PLAIN, *EXTRAS):
        return InputError(f"{source} is a single image; give the folder that holds the images.")
    if source.suffix.lower() in columns.SUFFIXES:
        return InputError(
            f"{source} is a table, not images; give the folder of the images first: "
            f"'plenish import FOLDER OUT --labels {source}'."
        )
    return InputError(
        f"{source} is not a source Plenish knows; give a folder of images, an archive of one "
        f"({', '.join(ARCHIVES)}), an .npz or idx files (-ubyte)."
    )
