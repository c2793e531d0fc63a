"""`plenish runs`: list, show, remove and prune Runs."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plenish.configuration import check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.lineage import Node, lineage, lines
from plenish.metrics.advice import remarks
from plenish.robustness.hardened_run import hardened
from plenish.runs import Run


@dataclasses.dataclass(frozen=True)
class Listing:
    """Rows for the terminal, and the folder that was looked through."""

    rows: list[dict[str, Any]]
    folder: Path = Path()

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"runs": self.rows}

    def shown(self) -> dict[str, Any] | str:
        """The same for a terminal."""
        folder = self.folder if self.folder.name else self.folder.resolve()
        return self.summary() if self.rows else f"no Runs in {folder}"


@command("runs list", positional=("folder",))
def list_runs(folder: Path = Path()) -> Listing:
    """List the Runs in a folder and below it.

    Args:
        folder: where to look.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds your Runs.")
    return Listing([_row(path) for path in _runs_in(folder)], folder)


@dataclasses.dataclass(frozen=True)
class Lineage:
    """Trees of Runs, and the folder that was looked through."""

    roots: Sequence[Node]
    folder: Path = Path()
    skipped: Sequence[str] = ()

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        skipped = {"skipped": list(self.skipped)} if self.skipped else {}
        return {"runs": [root.summary() for root in self.roots], **skipped}

    def shown(self) -> dict[str, Any] | str:
        """The same for a terminal."""
        skipped = [f"not read: {sentence}" for sentence in self.skipped]
        return "\n".join([*lines(self.roots), *skipped]) or f"no Runs in {self.folder.resolve()}"


@command("runs tree", positional=("folder",))
def tree_of_runs(folder: Path = Path()) -> Lineage:
    """Show which Run was made from which in a folder and below it, and what was changed.

    Args:
        folder: where to look.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds your Runs.")
    runs, skipped = [], []
    for path in _runs_in(folder):
        try:
            runs.append(Run.open(path))
        except InputError as error:
            skipped.append(str(error))
    return Lineage(lineage(runs), folder, skipped)


def _runs_in(folder: Path) -> list[Path]:
    """Folders that are Runs, sound or not, in a folder and below it; links are not followed."""
    configs = sorted(folder.rglob("config.json"))
    return [config.parent for config in configs if (config.parent / "status.json").is_file()]


def _row(path: Path) -> dict[str, Any]:
    """What the list says of a Run; of a damaged one, that and why."""
    try:
        found = Run.open(path).summary()
    except (InputError, KeyError, TypeError, AttributeError, ValueError) as error:
        return {"run": str(path), "state": f"unreadable: {error}"}
    return {key: found.get(key) for key in ("run", "kind", "state", "recipe", "data", "kimg", "bytes")}


@command("runs show")
def show_run(run: Path) -> Run:
    """Show one Run: its configuration, state and checkpoints.

    Args:
        run: the Run's folder.
    """
    opened = Run.open(run)
    opened.remarks = remarks(opened) | hardened(opened)
    return opened


@command("runs rm")
def remove_run(run: Path, *, yes: bool = False) -> dict[str, Any]:
    """Remove a Run folder for good.

    Args:
        run: the Run's folder.
        yes: confirms the removal; without it nothing is removed.
    """
    opened = Run.open(run)
    if not yes:
        raise InputError(f"Removing {run} cannot be undone; repeat the command with --yes.")
    size = opened.summary()["bytes"]
    with opened.lock():
        shutil.rmtree(run)
    return {"removed": [str(run)], "freed_bytes": size}


@command("runs prune")
def prune_runs(folder: Path, *, keep: int = 1, yes: bool = False) -> dict[str, Any]:
    """Remove old checkpoints of all Runs in a folder.

    The newest and the best of each Run stay, those with which a stage of growth begins, and those that a
    synthetic Dataset which is still there was made from.

    Args:
        folder: a Run, or a folder of Runs.
        keep: how many of the newest checkpoints to keep beside the best.
        yes: confirms the removal; without it nothing is removed, and what would be is listed.
    """
    check_bounds("--keep", keep, {"least": 1})  # A Run without a checkpoint could not be used.
    from plenish.training.checkpoints import prune_checkpoints, superfluous

    listed: list[str] = []
    skipped: list[str] = []
    freed = 0
    for path in _runs_in(folder):
        try:
            run = Run.open(path)
            best = (run.status.get("best") or {}).get("checkpoint")
            parts = run.status.get("parts", {}).values()
        except InputError as error:
            skipped.append(str(error))
            continue
        protected = {str(best), *parts, *run.used_checkpoints()}
        place = run.path / "checkpoints"
        found = superfluous(place, keep, protected)
        freed += sum(file.stat().st_size for one in found for file in one.rglob("*") if file.is_file())
        listed += map(str, found)
        if yes:
            with run.lock():
                prune_checkpoints(place, keep, protected)
    more = {"skipped": skipped} if skipped else {}
    if yes:
        return {"removed": listed, "freed_bytes": freed, **more}
    return {"would_remove": listed, "would_free_bytes": freed, "to_do_it": "--yes", **more}
