"""`metadata.parquet`, the table that `plenish export` writes next to the images, from which a Dataset is
restored.

One row an image, in the Dataset's own order: its file's name, the columns of samples.parquet, `split.<name>`
for each split and `array.<name>` for each array. The schema's metadata (key `plenish`) hold the label schema,
licence and manifests as JSON. It follows the Hugging Face convention (`file_name`), so that other tools
read the same columns.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files
from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources import archive, npz, tree
from plenish.datasets.sources.listing import Listing, shown
from plenish.datasets.sources.pieces import interleaved
from plenish.datasets.tables import read_parquet
from plenish.errors import InputError
from plenish.wording import plural

NAME = "metadata.parquet"
KEY = b"plenish"
VERSION = 1
ARCHIVES = {"stylegan-zip": "dataset.zip", "npz": "dataset.npz"}
"""The file that holds the images in formats that have one."""


def find(source: Path) -> Listing | None:
    """The Listing of an exported folder, or of the archive inside it, or None where there is no sidecar of
    ours.

    Raises:
        InputError: the sidecar is damaged, or does not fit the images in the same folder.
    """
    folder = source if source.is_dir() else source.parent
    if not (folder / NAME).is_file():
        return None
    with files.reading(folder / NAME):
        found = (pq.read_schema(folder / NAME).metadata or {}).get(KEY)
    if found is None:
        return None
    about: dict[str, Any] = json.loads(found)
    if about.get("version") != VERSION:
        raise InputError(
            f"{folder / NAME} has version {about.get('version')!r} and this Plenish reads {VERSION}; export "
            "again."
        )
    archive = ARCHIVES.get(about["format"])
    if source.is_file() and source.name != archive:
        return None
    if about["format"] == "webdataset":
        raise InputError(
            f"{folder} holds WebDataset shards, which Plenish writes but does not read; export as a folder."
        )
    return _restore(folder, about, archive)


def _restore(folder: Path, about: dict[str, Any], archive: str | None) -> Listing:
    table = read_parquet(folder / NAME)
    names = table.column("file_name").to_pylist()
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise InputError(f"{folder / NAME} names files outside {folder}; do not trust this folder.")
    kind = f"export of a Plenish Dataset ({about['format']})"
    if about["format"] == "npz":
        out = Listing(
            kind, names, blocks=interleaved(npz.pieces(folder / "dataset.npz"), names, folder / NAME)
        )
    else:
        place = folder / archive if archive else folder
        out = Listing(kind, names, root=str(place))
        _warn_of_others(out, place)
    out.size, out.channels = about["size"], about["channels"]
    out.schema = LabelSchema.from_dict(about["labels"])
    _columns(out, table, about)
    out.about = {key: about[key] for key in ("name", "licence", "source", "intended_use", "extra")}
    out.notes.append(f"Labels, groups, splits, arrays and columns come from {folder / NAME}.")
    return out


def _warn_of_others(out: Listing, place: Path) -> None:
    found = archive.pictures(place) if place.is_file() else tree.walk(place)[0]
    known = set(out.refs)
    others = [name for name in found if name not in known]
    if others:
        out.warnings.append(
            f"{plural(len(others), 'image')} not named by {NAME} left out ({shown(others)}); "
            "remove that file to "
            "import the images by their folders."
        )


def _columns(out: Listing, table: pa.Table, about: dict[str, Any]) -> None:
    for name in table.column_names:
        column = table.column(name)
        if name.startswith("array."):
            facts = about["arrays"][name.removeprefix("array.")]
            values = column.combine_chunks()
            flat = np.asarray(values if len(facts["shape"]) == 1 else values.flatten())
            array = flat.reshape(len(table), *facts["shape"][1:]).astype(facts["dtype"])
            out.arrays[name.removeprefix("array.")] = array, facts["manifest"]
        elif name.startswith("split."):
            out.splits[name.removeprefix("split.")] = column.to_pylist()
        elif name == "id":
            out.ids = column.to_pylist()
        elif name == "label":
            out.labels = None if out.schema.kind == "none" else column.to_pylist()
        elif name == "group":
            out.groups = column.to_pylist()
        elif name not in ("file_name", "sha256"):
            out.columns[name], out.types[name] = column.to_pylist(), column.type
