"""A training as a command: the same one again answers at once, and another trains on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files, settings
from plenish._version import __version__
from plenish.recipes import Recipe
from plenish.runs import Kind, Run

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset


def request_hash(recipe: Recipe, changes: Mapping[str, Any], dataset: Dataset, split: str, *more: Any) -> str:
    """Hash of all that was asked; two commands with the same one ask for the same Run."""
    data = {key: value for key, value in dataset.provenance(split).items() if key not in ("path", "name")}
    return files.config_hash(
        {
            "recipe": recipe.summary(), "changes": dict(changes),
            "data": data, "more": more, "precision": settings.current().precision,
            "deterministic": settings.current().deterministic, "version": __version__,
        }
    )  # fmt: skip


def completed(path: Path, kind: Kind, request: str) -> Run | None:
    """The Run in a folder if it is complete, and the command that completed it asked the same."""
    if not (path / "config.json").exists():
        return None
    run = Run.open(path, kind)
    return run if run.state == "complete" and run.status.get("request") == request else None


@contextlib.contextmanager
def training(run: Run, request: str) -> Iterator[None]:
    """Train in a Run, under its lock.

    The request (`request_hash`) is written last: a complete Run that another request was about to prolong is
    as it was asked before, until that is done.
    """
    with run.lock():
        yield
        run.update_status(request=request)
