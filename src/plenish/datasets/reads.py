"""The record of who read which part of a Dataset, so that readings of the test part are counted.

`reads.jsonl` has a line for each reading; each names the SHA-256 of the line before it. `reads.json` holds
how many lines there are and the SHA-256 of the last. A line that was changed or removed, and a file that is
missing, are therefore noticed, and remain so: the next reading adds a line that says it. Not noticed is an
earlier state of both files put back together, or a record made up by hand.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plenish import files, settings
from plenish.errors import InputError

LOG, HEAD = "reads.jsonl", "reads.json"
_LOST = "lost"
_unrecorded: contextvars.ContextVar[bool] = contextvars.ContextVar("plenish_unrecorded", default=False)


@dataclass(frozen=True)
class Reads:
    """What the record says.

    Attributes:
        entries: of each reading `split`, `hash` of the split, `part` ("all" for every row) and `purpose`.
        intact: whether nothing is known to be missing.
    """

    entries: Sequence[Mapping[str, Any]]
    intact: bool


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Record no use of train and val inside the block, which keeps nothing of what it does with them."""
    with settings.holding(_unrecorded, True):
        yield


def is_recorded(part: str) -> bool:
    """Whether a use of a part is recorded here."""
    return part not in ("train", "val") or not _unrecorded.get()


def start(folder: Path) -> None:
    """Begin the record of a Dataset's folder that has none."""
    if not (folder / HEAD).exists() and not _lines(folder):  # A kill may have come between the two.
        (folder / LOG).touch()
        _write_head(folder, [])


def load(folder: Path, *, expected: bool) -> Reads:
    """What the record says.

    Args:
        folder: the Dataset's.
        expected: whether there must be a record.
    """
    lines = _lines(folder)
    found: list[Mapping[str, Any]] = []
    chained, previous = True, ""
    for line in lines:
        entry: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
        if isinstance(entry, dict):
            found.append(entry)
        chained &= isinstance(entry, dict) and entry.get("previous") == previous
        previous = _digest(line)
    lost = any(entry.get("purpose") == _LOST for entry in found)
    intact = chained and not lost and _fits(folder, lines, expected)
    return Reads([entry for entry in found if entry.get("purpose") != _LOST], intact)


def append(folder: Path, entry: Mapping[str, Any], *, expected: bool) -> None:
    """Add a reading, whatever the record's state; processes wait for each other.

    Args:
        folder: the Dataset's.
        entry: what `Reads.entries` says.
        expected: whether there must have been a record.

    Raises:
        OSError: it cannot be written.
    """
    missing = expected and not (folder / LOG).exists()
    with (folder / LOG).open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = _lines(folder)
        known = any(f'"{_LOST}"'.encode() in line for line in lines)
        broken = missing or not load(folder, expected=expected).intact
        entries = [{"purpose": _LOST}] if broken and not known else []
        if lines and not file.seek(0) and not file.read().endswith(b"\n"):
            file.write(b"\n")  # The last line was cut by a kill.
        for one in (*entries, entry):
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            previous = _digest(lines[-1]) if lines else ""
            lines.append(json.dumps({"time": now, **one, "previous": previous}).encode())
            file.write(lines[-1] + b"\n")
        file.flush()
        os.fsync(file.fileno())
        _write_head(folder, lines)


def _fits(folder: Path, lines: Sequence[bytes], expected: bool) -> bool:
    """Whether the record of the last line fits; a kill may have come between a line and that record."""
    if not (folder / HEAD).exists():
        return not lines and not expected
    try:
        head = files.read_record(folder / HEAD)
        count, last = int(head["count"]), str(head["last"])
    except (InputError, KeyError, TypeError, ValueError, OSError):
        return False
    if not (folder / LOG).exists() or len(lines) < count:
        return False
    return (_digest(lines[count - 1]) if count > 0 else "") == last


def _lines(folder: Path) -> list[bytes]:
    try:
        return [line for line in (folder / LOG).read_bytes().split(b"\n") if line]
    except OSError:
        return []


def _write_head(folder: Path, lines: Sequence[bytes]) -> None:
    files.write_record(folder / HEAD, {"count": len(lines), "last": _digest(lines[-1]) if lines else ""})


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
