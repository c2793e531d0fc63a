"""SHA-256 of every file of a folder that is given away, and whether they are still the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files

NAME = "provenance.json"
"""The file that holds the hashes, and is not hashed itself: it has a checksum of its own."""
_OWN = (NAME, *files.MARKERS)


@dataclasses.dataclass(frozen=True)
class Differences:
    """How a folder differs from its hashes: relative paths, sorted."""

    altered: list[str]
    missing: list[str]
    added: list[str]

    def __bool__(self) -> bool:
        return bool(self.altered or self.missing or self.added)


def hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative path → `sha256` and `bytes` of each file below a folder, sorted."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in _OWN:
            found[name] = {"sha256": files.sha256_file(path), "bytes": path.stat().st_size}
    return found


def differences(folder: Path, expected: Mapping[str, Mapping[str, Any]]) -> Differences:
    """Compare the files of a folder with their hashes.

    Args:
        folder: the folder.
        expected: as `hashes` gave them.
    """
    found = hashes(folder)
    return Differences(
        sorted(name for name in found.keys() & expected.keys() if found[name] != expected[name]),
        sorted(expected.keys() - found.keys()),
        sorted(found.keys() - expected.keys()),
    )
