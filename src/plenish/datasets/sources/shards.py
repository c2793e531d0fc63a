"""Data sets in several files: WebDataset's tar archives in a folder; the parts that files are named for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from plenish.datasets.archives import index_tars, open_archive
from plenish.datasets.sources.container import Container, from_names
from plenish.datasets.sources.listing import Listing, part_of

KIND = "folder of tar archives"
_SUFFIX = ".tar"


def opened(container: Container, scratch: Path) -> Container | None:
    """What the tar archives of a folder hold, or None where a container is something else.

    Args:
        container: a folder without pictures.
        scratch: a folder that lasts as long as the images are read.

    Raises:
        InputError: an archive is damaged, or has members with paths outside it.
    """
    tars = [name for name in container.others if name.lower().endswith(_SUFFIX)]
    if container.kind != "folder" or container.pictures or not tars:
        return None
    index, names, repeated, unreachable = index_tars(
        {name: container.path / name for name in tars}, scratch / "shards"
    )
    with open_archive(index) as archive:
        return from_names(
            container.path, str(index), KIND, names, archive.read_beginning, repeated, unreachable
        )


def take_parts(out: Listing, names: Iterable[str], owner: Callable[[str], str]) -> None:
    """Take parts from files or folders called train, validation and test, where nothing else says them.

    Args:
        out: the images.
        names: of all files.
        owner: the name of the file that an image lies in.
    """
    words = {name: part_of_file(name) for name in names}
    unknown = [name for name, part in words.items() if not part]
    if unknown and len(unknown) < len(words):
        out.doubts.append(
            f"Files such as {unknown[0]} are named for no part of a split, so the parts that others are "
            "named for were not used."
        )
    if out.parts is None and all(words.values()) and len(set(words.values())) > 1:
        out.parts = [words[owner(ref)] for ref in out.refs]
        out.meaning["split"] = "names of the files"


def part_of_file(name: str) -> str:
    """The part that a path is named for in one of its words: `data/train-00000-of-00001`, `my-val-3.tar`."""
    return next((part for word in re.split(r"[/.\-]", name) if (part := part_of(word))), "")


def tar_of(ref: str) -> str:
    """The archive that an image of a folder of tar archives lies in."""
    head, _, _ = ref.partition(f"{_SUFFIX}/")
    return head + _SUFFIX
