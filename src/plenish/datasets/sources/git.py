"""Which commit a Git checkout is at, read from its files."""

from __future__ import annotations

import re
from pathlib import Path

_LONGEST = 64 * 2**20
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit_of(folder: Path) -> str:
    """The commit that a checkout is at; nothing where `folder` is none or its state cannot be read."""
    git = folder / ".git"
    try:
        head = _text(git / "HEAD").strip()
        name = head.removeprefix("ref: ")
        if name != head and name.startswith("refs/") and ".." not in name.split("/"):
            if (git / name).is_file():
                head = _text(git / name).strip()
            else:
                refs = (line.partition(" ") for line in _text(git / "packed-refs").splitlines())
                head = next((commit for commit, _, ref in refs if ref == name), "")
    except OSError:
        return ""
    return head if _HASH.fullmatch(head) else ""


def _text(path: Path) -> str:
    """The beginning of a file, as long as any of these is; nothing of a pipe or a device."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_LONGEST).decode("utf-8", errors="replace")
