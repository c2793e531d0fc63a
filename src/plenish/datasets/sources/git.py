"""Which commit a Git checkout is at, read from its files."""

from __future__ import annotations

import re
from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def commit_of(folder: Path) -> str:
    """The commit that a checkout is at; nothing where `folder` is none or its state cannot be read."""
    git = folder / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8", errors="replace").strip()
        name = head.removeprefix("ref: ")
        if name != head and ".." not in name.split("/"):
            if (git / name).is_file():
                head = (git / name).read_text(encoding="utf-8", errors="replace").strip()
            else:
                packed = (git / "packed-refs").read_text(encoding="utf-8", errors="replace")
                refs = (line.partition(" ") for line in packed.splitlines())
                head = next((commit for commit, _, ref in refs if ref == name), "")
    except OSError:
        return ""
    return head if _HASH.fullmatch(head) else ""
