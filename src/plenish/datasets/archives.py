"""Zip and tar archives: what files they hold, and the bytes of each.

Files have relative POSIX paths. Members named with backslashes or a leading `./` have the paths that
unpacking would give them.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import posixpath
import shutil
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, ClassVar

from plenish.datasets.archive_links import LinkTree
from plenish.datasets.images import check_length
from plenish.datasets.rejections import Unreadable
from plenish.errors import InputError, first_line

_ZIP, _TAR = (".zip", ".cbz"), (".tar", ".cbt")
_PACKED: dict[str, Any] = {
    ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.bz2": bz2.open, ".tbz2": bz2.open, ".tar.xz": lzma.open,
    ".txz": lzma.open,
}  # fmt: skip
SUFFIXES = (*_ZIP, *_TAR, *_PACKED)
"""Of archives' names."""
PARQUET = ".parquet-files"
"""End of the name of an index of Parquet files with images."""
TARS = ".tar-files"
"""End of the name of an index of tar archives."""
_PIECE = 16 * 2**20
MAX_RATIO = 200
"""Times its size that an archive or a file of one may unpack to, where that is large."""
_SMALL_BYTES = 16 * 2**20
SAFE_BYTES = 256 * 2**20
"""What a file may unpack to whatever its ratio."""
ERRORS: tuple[type[Exception], ...] = (
    OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    tarfile.TarError,
)  # fmt: skip
"""What the libraries raise over damaged files."""


class Archive(contextlib.ExitStack, ABC):
    """An open archive, closed when its `with` block ends: listing a large one takes long.

    Attributes:
        kind: what it is, in words.
        files: length of each file in bytes, by path.
        folders: paths of folders that have an entry of their own.
        repeated: paths that several files have; the last of them counts, as in unpacking.
        unreachable: links that lead outside or to nothing, and files that are stored in no plain way.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, int] = {}
        self.folders: set[str] = set()
        self.repeated: set[str] = set()
        self.unreachable: set[str] = set()

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            Unreadable: there is no such file, or it is empty, too large or damaged.
        """
        if path not in self.files:
            raise Unreadable("no-member")
        check_length(self.files[path])
        try:
            content = self._read(path)
        except ERRORS as error:
            raise Unreadable("cannot-unpack", reason=first_line(error)) from None
        if len(content) < self.files[path]:
            raise Unreadable("cannot-unpack", reason="the archive ends before the file does")
        return content

    def read_beginning(self, path: str, most: int) -> bytes:
        """A file's first bytes; none where they cannot be read."""
        with contextlib.suppress(*ERRORS):
            return self._read(path, most)
        return b""

    @abstractmethod
    def _read(self, path: str, most: int | None = None) -> bytes:
        """At most as many bytes as the archive states for the file, whatever it unpacks to, or `most`."""


class _Zip(Archive):
    kind = "zip archive"

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self._file = self.enter_context(zipfile.ZipFile(path))
        except ERRORS as error:
            raise _damaged(path, error) from None
        infos = self._file.infolist()
        if any(info.flag_bits & 1 for info in infos):
            self.close()
            raise InputError(f"{path} is encrypted; unpack it and give the folder.")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = _inside(info.filename, path)
            if info.is_dir():
                self.folders.add(name)
            else:
                if name in self._infos:
                    self.repeated.add(name)
                self._infos[name] = info
        self.files = {name: info.file_size for name, info in self._infos.items()}

    def _read(self, path: str, most: int | None = None) -> bytes:
        info = self._infos[path]
        ratio = self.files[path] // max(1, info.compress_size)
        if most is None and ratio > MAX_RATIO and self.files[path] > _SMALL_BYTES:
            raise Unreadable("bomb", ratio=ratio)
        with self._file.open(info) as file:
            return file.read(self.files[path] if most is None else most)


class _Tars(Archive):
    """Several tar archives with the members that an index names: `train-0.tar/7.png`."""

    kind = "folder of tar archives"

    def __init__(self, path: Path) -> None:
        super().__init__()
        about: dict[str, tuple[str, dict[str, tuple[int, int]]]] = json.loads(
            path.read_text(encoding="utf-8")
        )
        self._infos = {
            f"{name}/{member}": (file, *where)
            for name, (file, members) in about.items()
            for member, where in members.items()
        }
        self.files = {name: size for name, (_, _, size) in self._infos.items()}
        self._file: tuple[str, IO[bytes]] | None = None

    def _read(self, path: str, most: int | None = None) -> bytes:
        name, offset, size = self._infos[path]
        if self._file is None or self._file[0] != name:
            if self._file is not None:
                self._file[1].close()
            file = Path(name)
            self._file = name, self.enter_context(file.open("rb"))
        self._file[1].seek(offset)
        return self._file[1].read(size if most is None else min(size, most))


class _Tar(Archive):
    """Links inside it are followed, to files and to folders.

    Attributes:
        members: where each file's bytes begin, and how many they are.
    """

    kind = "tar archive"

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self._file = self.enter_context(path.open("rb"))
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                infos = archive.getmembers()
        except ERRORS as error:
            raise _damaged(path, error) from None
        self.members: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        for info in infos:
            name = _inside(info.name, path)
            if info.isdir():
                self.folders.add(name)
                continue
            if name in self.members or name in links:
                self.repeated.add(name)
                self.members.pop(name, None)
                links.pop(name, None)
            target = posixpath.normpath(info.linkname)
            if info.issym():
                links[name] = info.linkname
            elif info.islnk() and target in links:
                links[name] = links[target]
            elif info.islnk() and target in self.members:
                self.members[name] = self.members[target]
            elif info.isreg() and not info.issparse():
                self.members[name] = info.offset_data, info.size
            elif info.islnk() or info.isreg():
                self.unreachable.add(name)
        if links:
            tree = LinkTree(self.members, self.folders, links)
            found = tree.files(path)
            self.unreachable |= {name for name in links if tree.target(name) is None}
            self.unreachable |= set(self.members) - set(found.values())
            self.members = {name: self.members[real] for name, real in found.items()}
        self.files = {name: size for name, (_, size) in self.members.items()}

    def _read(self, path: str, most: int | None = None) -> bytes:
        offset, size = self.members[path]
        self._file.seek(offset)
        return self._file.read(size if most is None else min(size, most))


def is_archive(path: Path) -> bool:
    """Whether a name ends like a zip or tar archive's."""
    return path.name.lower().endswith(SUFFIXES)


def open_archive(path: Path) -> Archive:
    """Open a zip archive, an uncompressed tar archive, or an index of tar archives or of Parquet files.

    Raises:
        InputError: it is damaged, encrypted, or has members with paths outside it.
    """
    if path.name.endswith(PARQUET):
        # Late, since every worker of an import would load pyarrow else.
        from plenish.datasets.parquet_images import ParquetImages

        return ParquetImages(path)
    if path.name.endswith(TARS):
        return _Tars(path)
    return _Tar(path) if path.name.lower().endswith(_TAR) else _Zip(path)


def index_tars(found: Mapping[str, Path], out: Path) -> tuple[Path, list[str], set[str], set[str]]:
    """Write an index of tar archives, by which `open_archive` reads them as one.

    Args:
        found: the archives by their names.
        out: the index to write, without its suffix.

    Returns:
        The index, the names of all members, those that an archive has twice, and those that cannot be
        reached.

    Raises:
        InputError: an archive is damaged, or has members with paths outside it.
    """
    about: dict[str, Any] = {}
    repeated: set[str] = set()
    unreachable: set[str] = set()
    for name, path in found.items():
        with _Tar(path) as archive:
            about[name] = str(path.resolve()), archive.members
            repeated |= {f"{name}/{member}" for member in archive.repeated}
            unreachable |= {f"{name}/{member}" for member in archive.unreachable}
    index = out.with_name(out.name + TARS)
    index.write_text(json.dumps(about), encoding="utf-8")
    names = [f"{name}/{member}" for name, (_, members) in about.items() for member in members]
    return index, names, repeated, unreachable


def unpacked(path: Path, folder: Path) -> Path:
    """The archive, or an uncompressed copy of a compressed tar archive, since only that is read in any order.

    Args:
        path: the archive.
        folder: where the copy may lie.

    Raises:
        InputError: it is damaged, or larger than what the disk has left.
    """
    opener = next((o for suffix, o in _PACKED.items() if path.name.lower().endswith(suffix)), None)
    if opener is None:
        return path
    out = folder / "source.tar"
    most = max(SAFE_BYTES, MAX_RATIO * path.stat().st_size)
    try:
        with opener(path) as packed, out.open("wb") as file:
            while piece := packed.read(_PIECE):
                if file.tell() + len(piece) > most:
                    raise InputError(
                        f"{path} unpacks to more than {most / 2**20:,.0f} MiB, {MAX_RATIO} times its size, "
                        "which images do not; if you trust it, unpack it yourself and give the folder."
                    )
                if shutil.disk_usage(folder).free < 2 * len(piece):
                    raise InputError(
                        f"{path} unpacks to more than {folder} has room for; set TMPDIR to a folder on a "
                        "larger disk."
                    )
                file.write(piece)
    except ERRORS as error:
        raise _damaged(path, error) from None
    return out


def _inside(name: str, path: Path) -> str:
    """A member's path, normalised."""
    slashes = name.replace("\\", "/")
    found = posixpath.normpath(slashes)
    if found.startswith(("/", "../")) or found == ".." or found.split("/")[0].endswith(":"):
        raise InputError(f"{path} has a member with a path outside it ({name!r}); do not use this archive.")
    return found


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a readable archive ({first_line(error)}); fetch or pack it again.")
