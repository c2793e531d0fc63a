"""The record of how often a split's test part was read: one line a reading, in a file next to the split's."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from plenish.progress import warn


def _file(data: Path, split: str) -> Path:
    return data / "splits" / f"{split}.test-reads.jsonl"


def record(data: Path, split: str, split_hash: str, purpose: str) -> None:
    """Add one reading; a Dataset that cannot be written to only causes a warning.

    Args:
        data: folder of the Dataset.
        split: name of the split.
        split_hash: its hash.
        purpose: what the test part is read for.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line = json.dumps({"time": now, "purpose": purpose, "split": split_hash}) + "\n"
    try:
        with _file(data, split).open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        warn(f"the reading of the test part could not be recorded in {data} ({error.strerror}).")


def count(data: Path, split: str) -> int:
    """How often the test part of a split was read so far."""
    path = _file(data, split)
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
