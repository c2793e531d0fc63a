"""Symbolic links in an archive, followed as in the folder that unpacking gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from plenish.errors import InputError

_MOST_HOPS = 40
"""Links behind each other, as Linux has it."""
_MOST_VISITS = 10_000_000
"""Files and folders that links may multiply an archive to."""


class LinkTree:
    """The folders of an archive with links.

    Args:
        files: paths of its files.
        folders: paths of folders that have an entry of their own.
        links: what each link says, by the link's path.
    """

    def __init__(self, files: Collection[str], folders: Collection[str], links: Mapping[str, str]) -> None:
        self._files, self._links = set(files), links
        self._inside: dict[str, set[str]] = {"": set()}
        for path in (*files, *folders, *links):
            self._add(path)

    def _add(self, path: str) -> None:
        while path not in ("", "."):
            folder, _, name = path.rpartition("/")
            self._inside.setdefault(folder, set()).add(name)
            path = folder

    def target(self, path: str) -> str | None:
        """The file or folder that a path leads to; None outside the archive, for nothing, or in a loop."""
        done: list[str] = []
        left = path.split("/")[::-1]
        hops = 0
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not done:
                    return None
                done.pop()
                continue
            said = self._links.get("/".join((*done, name)))
            if said is None:
                done.append(name)
                continue
            hops += 1
            if said.startswith("/") or hops > _MOST_HOPS:
                return None
            left += said.split("/")[::-1]
        found = "/".join(done)
        return found if found in self._files or found in self._inside else None

    def files(self, archive: Path) -> dict[str, str]:
        """What each path leads to, of all paths to files; a folder met again inside itself is passed over.

        Raises:
            InputError: links multiply the files beyond measure.
        """
        found: dict[str, str] = {}
        for visits, (path, real) in enumerate(self._walk("", "", frozenset([""]))):
            if visits > _MOST_VISITS:
                raise InputError(f"The links in {archive} lead to too many files; pack it without links.")
            if real in self._files:
                found[path] = real
        return found

    def _walk(self, folder: str, shown: str, above: frozenset[str]) -> Iterator[tuple[str, str]]:
        for name in sorted(self._inside[folder]):
            real, path = self.target(f"{folder}/{name}"), f"{shown}/{name}".removeprefix("/")
            if real is None:
                continue
            yield path, real
            if real in self._inside and real not in self._files and real not in above:
                yield from self._walk(real, path, above | {real})
