"""The files of a source, whether a folder or an archive holds them.

Everything that reads meaning into names, tables and manifests does it on a Container, so that the same tree
gives the same Dataset whatever it is packed in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from plenish.datasets.archives import Archive, is_archive, open_archive, unpacked
from plenish.datasets.formats import DICOM, EXTRAS, is_dicom, is_picture, may_be_dicom, suffix_of
from plenish.datasets.images import read_beginning
from plenish.datasets.rejections import Unreadable
from plenish.datasets.sources.listing import natural
from plenish.errors import InputError
from plenish.wording import agree

_PREAMBLE = 132
"""Bytes by which DICOM is known."""
_LARGEST_TEXT = 512 * 2**20
_SYSTEM = (
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "__pycache__",
    "__macosx",
    "system volume information",
)
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclasses.dataclass
class Container:
    """Where a source's files lie, and what they are called there.

    Attributes:
        path: the folder or archive, as the user gave it.
        root: what holds the files: the same, but for a compressed tar archive its uncompressed copy.
        kind: `folder`, `zip archive` or `tar archive`.
        pictures: relative paths of picture files, in natural order.
        empty: relative paths of folders without any picture file in them, in natural order.
        others: relative paths of the other files, in natural order.
        dicom: those of pictures and others that are DICOM, by their suffix or their first bytes.
        repeated: paths that an archive has several files of, in natural order.
        unreachable: members of an archive that cannot be read, such as links that lead outside, in natural
            order.
        outside: files of a folder that are links, or lie in linked folders, which lead outside it.
    """

    path: Path
    root: str
    kind: str
    pictures: list[str]
    empty: list[str]
    others: list[str]
    dicom: frozenset[str] = frozenset()
    repeated: list[str] = dataclasses.field(default_factory=list)
    unreachable: list[str] = dataclasses.field(default_factory=list)
    outside: list[str] = dataclasses.field(default_factory=list)

    def read_all(self, names: Iterable[str]) -> Iterator[bytes]:
        """The bytes of files that hold text or a table, such as manifests.

        Raises:
            InputError: one is damaged, or too large for what it should be.
        """
        with contextlib.ExitStack() as stack:
            archive = None if self.kind == "folder" else stack.enter_context(open_archive(Path(self.root)))
            for name in names:
                try:
                    size = archive.files[name] if archive else (self.path / name).stat().st_size
                    if size > _LARGEST_TEXT:
                        raise InputError(
                            f"{self.name(name)} has {size / 2**20:,.0f} MiB, too much for such a file; "
                            "remove it."
                        )
                    yield archive.read(name) if archive else (self.path / name).read_bytes()
                except OSError as error:
                    raise InputError(
                        f"{self.name(name)} cannot be read: {error.strerror or error}."
                    ) from None
                except Unreadable as error:
                    raise InputError(f"{self.name(name)}: {error}.") from None

    def read(self, name: str) -> bytes:
        """The bytes of one file; see `read_all`."""
        return next(self.read_all([name]))

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a file, which in a folder may be larger than memory.

        Raises:
            InputError: it is damaged.
        """
        if self.kind != "folder":
            yield from self.read(name).splitlines()
            return
        try:
            with (self.path / name).open("rb") as file:
                yield from file
        except OSError as error:
            raise InputError(f"{self.name(name)} cannot be read: {error.strerror or error}.") from None

    def read_json(self, name: str) -> Any:
        """What a JSON file says; None if it is no JSON."""
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError):
            return None

    def name(self, name: str) -> str:
        """What to call a file in a sentence."""
        return str(self.path / name) if self.kind == "folder" else f"{name} in {self.path}"


def lacking(container: Container) -> str:
    """How pictures can be read that need a package which is not installed; nothing without such."""
    extras = [
        (name, DICOM if name in container.dicom else EXTRAS.get(suffix_of(name))) for name in container.others
    ]
    counts = Counter(extra for _, extra in extras if extra is not None and not extra.installed)
    return " ".join(
        f"{agree(count, f'{extra.name} file', 'needs', 'need')} a package: {extra.command}."
        for extra, count in counts.items()
    )


def open_container(path: Path, scratch: Path) -> Container | None:
    """List the files of a folder or archive; None for any other file.

    Hidden files and what systems put into folders (thumbnails, recycle bins) are passed over, links are
    followed, and a folder met again inside itself (a loop of links) is entered once.

    Args:
        path: the folder or file.
        scratch: a folder that lasts as long as the Container, for what must be unpacked.

    Raises:
        InputError: the archive cannot be used.
    """
    if path.is_dir():
        links: list[str] = []
        names = _walk(path, "", (), links)
        found = from_names(
            path, str(path), "folder", names, lambda name, most: read_beginning(path / name, most)
        )
        found.outside = _leading_outside(found, links)
        return found
    if not is_archive(path):
        return None
    plain = unpacked(path, scratch)
    with open_archive(plain) as archive:
        members = _members(archive)
        return from_names(
            path, str(plain), archive.kind, members, archive.read_beginning, archive.repeated,
            archive.unreachable,
        )  # fmt: skip


def from_names(
    path: Path, root: str, kind: str, found: Iterable[str], beginning: Callable[[str, int], bytes],
    repeated: Collection[str] = (), unreachable: Collection[str] = (),
) -> Container:  # fmt: skip
    """A Container of paths, those of folders with a slash at their end.

    Args:
        path: as `Container`.
        root: as `Container`.
        kind: as `Container`.
        found: the paths.
        beginning: gives the first bytes of a file, at most so many.
        repeated: those that several files have.
        unreachable: further ones that cannot be read.
    """
    found = [name for name in found if all(map(_visible, name.rstrip("/").split("/")))]
    folders = {name.rstrip("/") for name in found if name.endswith("/")}
    files = sorted((name for name in found if not name.endswith("/")), key=natural)
    dicom = {
        name
        for name in files
        if suffix_of(name) in DICOM.suffixes or (may_be_dicom(name) and is_dicom(beginning(name, _PREAMBLE)))
    }
    readable = dicom if DICOM.installed else set[str]()
    pictures = [name for name in files if name in readable or is_picture(name)]
    filled, chosen = _folders(pictures), set(pictures)
    others = [name for name in files if name not in chosen]
    empty = sorted(folders - filled, key=natural)
    twice = [name for name in files if name in repeated]
    lost = sorted((name for name in unreachable if all(map(_visible, name.split("/")))), key=natural)
    return Container(path, root, kind, pictures, empty, others, frozenset(dicom), twice, lost)


def _leading_outside(container: Container, links: Sequence[str]) -> list[str]:
    """The files that links (of folders with a slash at their end) take from outside the folder."""
    root = container.path.resolve()
    wrong = [name for name in links if not (container.path / name).resolve().is_relative_to(root)]
    if not wrong:
        return []
    folders = tuple(name for name in wrong if name.endswith("/"))
    single = set(wrong)
    names = (*container.pictures, *container.others)
    return [name for name in names if name in single or (folders and name.startswith(folders))]


def _walk(root: Path, prefix: str, above: tuple[tuple[int, int], ...], links: list[str]) -> Iterator[str]:
    """Paths of the files and folders below a folder; those that are links are added to `links`."""
    facts = (root / prefix).stat()
    identity = facts.st_dev, facts.st_ino
    if identity in above:
        return
    inner = []
    with os.scandir(root / prefix) as entries:
        for entry in entries:
            if not _visible(entry.name):
                continue
            name = f"{prefix}{entry.name}/" if entry.is_dir() else prefix + entry.name
            if entry.is_symlink():
                links.append(name)
            if name.endswith("/"):
                inner.append(name)
            else:
                yield name
    for folder in inner:
        yield folder
        yield from _walk(root, folder, (*above, identity), links)


def _members(archive: Archive) -> Iterator[str]:
    for name in (archive.folders | _folders(archive.files)) - {"."}:
        yield f"{name}/"
    yield from archive.files


def _folders(files: Iterable[str]) -> set[str]:
    """All folders that files lie in."""
    direct = {name.rpartition("/")[0] for name in files} - {""}
    return direct | {str(above) for name in direct for above in PurePosixPath(name).parents} - {"."}


def _visible(name: str) -> bool:
    """Whether a file or folder is the user's data, not the system's own business."""
    return not name.startswith(".") and name.lower() not in (*_SYSTEM, *_SYSTEM_FILES)
