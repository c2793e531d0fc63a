"""`plenish runs`: list, show, remove and prune Runs."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any

from plenish.configuration import check_bounds
from plenish.errors import InputError
from plenish.invocation import command
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
    rows = []
    for config in sorted(folder.rglob("config.json")):
        with contextlib.suppress(InputError, KeyError):
            found = Run.open(config.parent).summary()
            rows.append(
                {key: found.get(key) for key in ("run", "kind", "state", "recipe", "data", "kimg", "bytes")}
            )
    return Listing(rows, folder)


@command("runs show")
def show_run(run: Path) -> Run:
    """Show one Run: its configuration, state and checkpoints.

    Args:
        run: the Run's folder.
    """
    return Run.open(run)


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
def prune_runs(folder: Path, *, keep: int = 1) -> dict[str, Any]:
    """Remove old checkpoints of all Runs in a folder; the newest and the best of each stay.

    Args:
        folder: a Run, or a folder of Runs.
        keep: how many of the newest checkpoints to keep beside the best.
    """
    check_bounds("--keep", keep, {"least": 1})  # A Run without a checkpoint could not be used.
    from plenish.training.checkpoints import prune_checkpoints

    removed: list[str] = []
    freed = 0
    for row in list_runs(folder).rows:
        run = Run.open(row["run"])
        best = run.status.get("best", {}).get("checkpoint")
        with run.lock():
            before = run.summary()["bytes"]
            removed += map(str, prune_checkpoints(run.path / "checkpoints", keep, {str(best)}))
            freed += before - run.summary()["bytes"]
    return {"removed": removed, "freed_bytes": freed}
