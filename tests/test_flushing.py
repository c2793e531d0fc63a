"""What is written is on the disk before it gets its name, and so is the name before the writer goes on."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.training.checkpoints import save_checkpoint

Event = tuple[str, int, int | None]
"""What was done to which inode; of a file that is flushed, its size."""


def _size(path: Path) -> int | None:
    """Bytes of a file, None of a folder."""
    return path.stat().st_size if path.is_file() else None


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Flushes and renames, in their order."""
    found: list[Event] = []

    def flush(number: int) -> None:
        state = os.fstat(number)
        size = None if stat.S_ISDIR(state.st_mode) else state.st_size
        found.append(("flush", state.st_ino, size))

    monkeypatch.setattr(os, "fsync", flush)
    for name in ("replace", "rename"):
        original = getattr(os, name)

        def renamed(source: Path, target: Path, *, original: Any = original) -> None:
            found.append(("rename", Path(source).stat().st_ino, None))
            original(source, target)

        monkeypatch.setattr(os, name, renamed)
    return found


def _flushed(path: Path) -> Event:
    return "flush", path.stat().st_ino, _size(path)


def _renamed(path: Path) -> Event:
    return "rename", path.stat().st_ino, None


def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, events: list[Event]
) -> None:
    path = tmp_path / "file"
    files.write_bytes(path, b"content")
    assert events == [_flushed(path), _renamed(path), _flushed(tmp_path)]


def test_a_checkpoint_gets_its_name_when_all_its_files_are_flushed(
    tmp_path: Path, events: list[Event]
) -> None:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    made = save_checkpoint(tmp_path, 1000, {"g": network}, {"adam": optimiser}, {"more": 1})
    named = events.index(_renamed(made))
    assert events[named + 1 :] == [_flushed(tmp_path)]
    written = list(made.iterdir())
    assert len(written) == 4
    for path in written:
        assert events.index(_flushed(path)) < events.index(_renamed(path)) < named
    assert events[named - 1] == _flushed(made)


def test_a_dataset_gets_its_name_when_all_its_files_are_flushed(
    tmp_path: Path, events: list[Event], stripes: Callable[..., Dataset]
) -> None:
    made = stripes().path
    named = events.index(_renamed(made))
    assert events[named + 1] == _flushed(tmp_path)
    written = [path for path in made.rglob("*") if _size(path)]  # An empty log of readings has no content.
    assert [path.name for path in written if _flushed(path) not in events[:named]] == []
