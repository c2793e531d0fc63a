"""A file about each image beside it: `0.json`, `0.txt` or `0.cls` next to `0.png`.

A JSON object's values are columns, as those of a table; the text is a column `text`, and WebDataset's `.cls`
a column `label`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.columns import Row
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import Listing, SourceOptions, shown
from plenish.datasets.sources.table import list_rows
from plenish.errors import InputError
from plenish.wording import plural

ACCEPTED = Accepted("A file beside each image", COLUMNS | {"dicom_columns"}, "give a table with --labels")
_SUFFIXES = (".json", ".txt", ".cls")


def find(container: Container, options: SourceOptions) -> Listing | None:
    """The Listing of a container in which every image has files of its own, or None.

    Raises:
        InputError: one of them is damaged, or a label is missing.
    """
    others = _candidates(container)
    if not others:
        return None
    pairs = [(name, list(files_beside(name, others))) for name in container.pictures]
    if not pairs or not all(files for _, files in pairs):
        return None
    ACCEPTED.check(options)
    rows: list[Row] = [{} for _ in pairs]
    owners = [(row, file) for row, (_, files) in zip(rows, pairs) for file in files]
    for (row, file), content in zip(owners, container.read_all(file for _, file in owners)):
        row |= {key: value for key, value in _read(content, file, container).items() if key not in row}
    out = list_rows(container, rows, container.pictures, "", options, "the files beside the images")
    out.kind = f"{container.kind} with a file beside each image"
    numbered = [file for row, file in owners if file.endswith(".cls") and row.get("label") is not None]
    if numbered and any(file.endswith(".json") for _, file in owners) and out.meaning.get("label"):
        out.notes.append("A .json that says the label goes before a .cls beside it.")
    out.described_by = frozenset(file for _, file in owners)
    return out


def doubt(container: Container, used: Collection[str]) -> str:
    """A doubt about files beside some images only; nothing where there are none but those used."""
    others = _candidates(container) - set(used)
    if not others:
        return ""
    found = [name for name in container.pictures if any(files_beside(name, others))]
    if not found or len(found) == len(container.pictures):
        return ""
    lacking = next(name for name in container.pictures if not any(files_beside(name, others)))
    return (
        f"Files beside {plural(len(found), 'image')} ({shown(found, 1)}) were not used, because others, such "
        f"as {lacking}, have none."
    )


def _candidates(container: Container) -> set[str]:
    return {name for name in container.others if name.endswith(_SUFFIXES)}


def files_beside(name: str, others: Collection[str], suffixes: Sequence[str] = _SUFFIXES) -> Iterator[str]:
    """The files about an image: of its name, with another suffix or with one more.

    Args:
        name: the image's relative path.
        others: relative paths of the other files, a set.
        suffixes: of files that count.
    """
    stem = str(PurePosixPath(name).with_suffix(""))
    return (file for suffix in suffixes for file in (stem + suffix, name + suffix) if file in others)


def _read(content: bytes, name: str, container: Container) -> dict[str, Any]:
    try:
        text = content.decode("utf-8-sig")
        if not name.endswith(".json"):
            return {"label" if name.endswith(".cls") else "text": text.strip() or None}
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{container.name(name)} cannot be read ({error}); correct or remove it.") from None
    if not isinstance(found, dict):
        raise InputError(f"{container.name(name)} is not a JSON object; write one for the image beside it.")
    return found
