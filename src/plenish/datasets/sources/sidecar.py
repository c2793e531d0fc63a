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
from plenish.datasets.sources import npz, shards
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.container import Container, open_container
from plenish.datasets.sources.hugging_face import write_index
from plenish.datasets.sources.listing import Listing, shown
from plenish.datasets.sources.pieces import interleaved
from plenish.errors import InputError
from plenish.wording import plural

NAME = "metadata.parquet"
KEY = b"plenish"
VERSION = 1
ACCEPTED = Accepted(
    "An export of a Plenish Dataset, which keeps its labels, groups and splits,",
    instead=f"remove {NAME} to import it as what it then is",
)
ARCHIVES = {"stylegan-zip": "dataset.zip", "npz": "dataset.npz"}
"""The file that holds the images in formats that have one."""


def find(source: Path, container: Container | None, scratch: Path) -> Listing | None:
    """The Listing of an exported folder or archive of one, or of the file of images in an exported folder.

    Args:
        source: the folder or file.
        container: its files, where it is a folder or an archive.
        scratch: a folder that lasts as long as the images are read.

    Returns:
        None where there is no table of ours.

    Raises:
        InputError: the table is damaged, or does not fit the images beside it.
    """
    if container is not None and NAME in container.others:
        where, content = container.name(NAME), container.read(NAME)
    elif source.is_file() and (source.parent / NAME).is_file():
        where, content = str(source.parent / NAME), (source.parent / NAME).read_bytes()
    else:
        return None
    with files.reading(Path(where)):
        found = (pq.read_schema(pa.BufferReader(content)).metadata or {}).get(KEY)
    if found is None:
        return None
    about: dict[str, Any] = json.loads(found)
    if about.get("version") != VERSION:
        raise InputError(
            f"{where} has version {about.get('version')!r} and this Plenish reads {VERSION}; export again."
        )
    held = ARCHIVES.get(about["format"])
    if source.is_file() and source.name != held and (container is None or NAME not in container.others):
        return None
    inside = held or {"huggingface": "data", "webdataset": "tar archives"}.get(about["format"])
    if inside and container is not None and container.kind != "folder" and NAME in container.others:
        raise InputError(f"{source} holds an export with files of images inside ({inside}); unpack it first.")
    with files.reading(Path(where)):
        table = pq.read_table(pa.BufferReader(content))
    return _restore(source, container, where, table, about, scratch)


def _restore(
    source: Path, container: Container | None, where: str, table: pa.Table, about: dict[str, Any],
    scratch: Path,
) -> Listing:  # fmt: skip
    names = table.column("file_name").to_pylist()
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise InputError(f"{where} names files outside {source}; do not trust it.")
    kind = f"export of a Plenish Dataset ({about['format']})"
    folder = source if source.is_dir() else source.parent
    if about["format"] == "npz":
        pieces = npz.pieces(folder / ARCHIVES["npz"])
        out = Listing(kind, names, blocks=interleaved(pieces, names, Path(where)))
    elif about["format"] == "huggingface":
        held = {name.rpartition("/")[0] for name in names}
        index = write_index({name: folder / f"{name}.parquet" for name in held}, "image", scratch)
        out = Listing(kind, names, root=str(index))
    else:
        if container is None or about["format"] in ARCHIVES:
            container = open_container(folder / ARCHIVES[about["format"]], scratch)
        elif about["format"] == "webdataset":
            container = shards.opened(container, scratch)
            if container is None:
                raise InputError(f"{source} lacks the tar archives of its images; export again.")
        assert container is not None
        out = Listing(kind, names, root=container.root)
        _doubt_others(out, container)
    out.restored = True
    out.size, out.channels = about["size"], about["channels"]
    out.schema = LabelSchema.from_dict(about["labels"])
    _columns(out, table, about)
    out.about = {key: about[key] for key in ("name", "licence", "source", "intended_use", "extra")}
    out.described_by = frozenset([NAME])
    out.notes.append(f"Labels, groups, splits, arrays and columns come from {where}.")
    return out


def _doubt_others(out: Listing, container: Container) -> None:
    known = set(out.refs)
    others = [name for name in container.pictures if name not in known]
    if others:
        out.doubts.append(
            f"{plural(len(others), 'image')} not named by {NAME} left out ({shown(others)}); remove that "
            "file to import the images by their folders."
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
