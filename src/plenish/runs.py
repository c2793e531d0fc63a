"""Run: a folder that holds what one piece of work was asked, how it went and what it left.

`config.json` is frozen when the Run is made; `status.json` changes; `metrics.jsonl` grows; `checkpoints/`,
`samples/` and `report.html` follow. One process works on a Run at a time. `plenish runs` lists, shows,
removes and prunes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from plenish import files
from plenish._version import __version__
from plenish.differences import differences, listed
from plenish.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_FROZEN = {"kind", "created", "seed", "data", "parents", "config", "versions"}
Kind = Literal["gan", "autoencoder", "classifier", "study"]
State = Literal["new", "running", "interrupted", "diverged", "failed", "complete"]


class Run:
    """An opened Run folder."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        """Use `Run.create`, `Run.open` or `Run.open_or_create`."""
        self.path, self.config = path, config

    @classmethod
    def create(
        cls, path: Path, kind: Kind, config: Mapping[str, Any], *,
        data: Mapping[str, Any] | None = None, parents: Sequence[Mapping[str, Any]] = (), seed: int = 0,
    ) -> Run:  # fmt: skip
        """Make a Run folder with its frozen configuration.

        Args:
            path: the folder; must not exist, or be empty.
            kind: what work it holds.
            config: the resolved configuration, JSON-able.
            data: provenance of the Dataset it reads (`Dataset.provenance`).
            parents: provenance of the Runs it builds on.
            seed: the seed of every random draw.

        Raises:
            InputError: the folder is in use or cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(
                f"{path} already exists and is not a Plenish Run; choose another name or remove it."
            )
        inside = next((p for p in path.absolute().parents if (p / "dataset.json").is_file()), None)
        if inside is not None:
            raise InputError(
                f"{path} lies inside the Dataset {inside}, which stays as it is; put it elsewhere."
            )
        frozen = {
            "kind": kind, "created": _now(), "seed": seed, "data": dict(data or {}), "parents": list(parents),
            "config": dict(config), "versions": versions(),
        }  # fmt: skip
        with files.reporting_disk(path):
            path.mkdir(parents=True, exist_ok=True)
            files.write_json(path / "status.json", {"state": "new", "attempt": 0})
            files.write_json(path / "config.json", frozen)
        return cls(path, files.read_json(path / "config.json"))

    @classmethod
    def open(cls, path: Path | str, kind: Kind | None = None) -> Run:
        """Open a Run folder.

        Raises:
            InputError: there is none, or it is of another kind.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            problem = (
                "does not exist" if not path.exists() else "is not a Plenish Run (it has no config.json)"
            )
            raise InputError(f"{path} {problem}; 'plenish runs list FOLDER' shows the Runs in a folder.")
        config = files.read_json(path / "config.json")
        whole = isinstance(config, dict) and not _FROZEN.difference(config)
        if not whole or not (path / "status.json").is_file():
            raise InputError(f"{path} is not a Plenish Run (its config.json is another program's).")
        run = cls(path, config)
        if kind is not None and run.kind != kind:
            raise InputError(f"{path} is a {run.kind} Run where a {kind} Run is needed.")
        return run

    @classmethod
    def open_or_create(
        cls, path: Path, kind: Kind, config: Mapping[str, Any], *,
        data: Mapping[str, Any] | None = None, parents: Sequence[Mapping[str, Any]] = (), seed: int = 0,
        may_change: Sequence[str] = (), typed: Mapping[str, str] = {},
    ) -> Run:  # fmt: skip
        """Open a Run to go on with it, or create it.

        A Run that exists must have been asked the same: every difference in configuration, seed or Dataset is
        listed and refused, except in the dotted configuration keys of `may_change` (length, logging,
        checkpoint intervals). `typed` says what the user knows a dotted key by: the option that sets it.

        Raises:
            InputError: the Run has another configuration.
        """
        if not (path / "config.json").is_file():
            return cls.create(path, kind, config, data=data, parents=parents, seed=seed)
        run = cls.open(path, kind)
        asked = json.loads(json.dumps({"config": config, "seed": seed}, default=str))
        found = differences({"config": run.config["config"], "seed": run.seed}, asked)
        if kind == "gan" and differences(_hashes(run.config["data"]), _hashes(data or {})):
            before = run.config["data"]
            raise InputError(
                f"{path} was started on other data, {before.get('path')} with the split "
                f"'{before.get('split_name')}' as they were then; {run._way_out('give')}."
            )
        found += differences(_hashes(run.config["data"]), _hashes(data or {}), "data.")
        refused = [d for d in found if d.key.removeprefix("config.") not in may_change]
        if refused:
            clauses = ", ".join(listed(refused, typed))
            raise InputError(
                f"{path} was started with another configuration: {clauses}; {run._way_out('use')}."
            )
        return cls(path, {**run.config, "config": dict(asked["config"])})

    def _way_out(self, verb: str) -> str:
        """What to do when a Run was asked something else before."""
        if self.kind == "gan" and not self.has_begun:
            return (
                "nothing has been trained in it yet, so remove it with "
                f"'plenish runs rm {self.path} --yes' or take another folder"
            )
        return f"{verb} those or another folder"

    @property
    def kind(self) -> str:
        """gan, autoencoder, classifier or study."""
        return str(self.config["kind"])

    @property
    def seed(self) -> int:
        """The seed of every random draw."""
        return int(self.config["seed"])

    @property
    def id(self) -> str:
        """Short hash of config.json; names the Run in the provenance of what it makes."""
        return files.sha256_file(self.path / "config.json")[:16]

    @property
    def status(self) -> dict[str, Any]:
        """status.json as it is now."""
        content: dict[str, Any] = files.read_json(self.path / "status.json")
        return content

    @property
    def state(self) -> str:
        """How it stands; a Run whose process died without a word is interrupted, not running."""
        state = str(self.status.get("state"))
        return "interrupted" if state == "running" and not self._held() else state

    @property
    def has_begun(self) -> bool:
        """Whether it holds work to go on from: a checkpoint, also of a model in it, or a study's cell."""
        checkpoint = "checkpoints/kimg-*/manifest.json"
        return any(
            next(self.path.glob(pattern), None) is not None
            for pattern in (checkpoint, f"models/*/{checkpoint}", "cells/*.json")
        )

    def _held(self) -> bool:
        """Whether a process holds the lock, which the system frees however a process ends."""
        try:
            with (self.path / ".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        except OSError:
            return True  # A file system without locks cannot tell.
        return False

    def update_status(self, **changes: Any) -> None:
        """Change fields of status.json."""
        files.write_json(self.path / "status.json", self.status | changes | {"updated": _now()})

    def log(self, **values: Any) -> None:
        """Append one line to metrics.jsonl."""
        line = json.dumps(values, default=float)
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def cut_metrics(self, beyond: float, key: str = "kimg") -> None:
        """Drop the lines of metrics.jsonl past a checkpoint, and a line that a kill left half-written."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line).get(key, 0) <= beyond:
                    kept.append(line)
            except json.JSONDecodeError:
                continue
        files.write_bytes(path, "".join(line + "\n" for line in kept).encode())

    def metrics(self) -> pd.DataFrame:
        """metrics.jsonl as a table; empty when nothing was logged."""
        import pandas as pd

        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):
                rows.append(json.loads(line))
        return pd.DataFrame(rows)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the Run for this process.

        Raises:
            InputError: another process works on it.
        """
        with files.reporting_disk(self.path), (self.path / ".lock").open("a+") as file:
            try:
                _take(file)
            except OSError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise InputError(
                    f"{self.path} is being worked on by {owner}; wait for it or stop it."
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            with files.resumable_from(lambda: self.has_begun, "nothing has been trained yet"):
                yield

    def summary(self) -> dict[str, Any]:
        """What a person wants to know of it."""
        status = self.status
        return {
            "run": str(self.path), "id": self.id, "kind": self.kind, "state": self.state,
            "recipe": self.config["config"].get("recipe"), "data": self.config["data"].get("name"),
            "created": self.config["created"], "seed": self.seed,
            **{
                key: status[key]
                for key in ("kimg", "attempt", "seconds", "message")
                if status.get(key) is not None
            },
            **({"energy": _energy(status["energy_j"])} if "energy_j" in status else {}),
            "checkpoints": sorted(p.name for p in (self.path / "checkpoints").glob("kimg-*") if p.is_dir()),
            "bytes": sum(p.stat().st_size for p in self.path.rglob("*") if p.is_file()),
        }  # fmt: skip


def _energy(joules: float | None) -> str:
    return "not measured" if joules is None else f"{joules / 3600:,.1f} Wh of the processor"


def _take(file: IO[str]) -> None:
    """Lock a file for this process; a glance at the lock by `plenish runs` is waited for."""
    for patience in (0.02, 0.05, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not patience:
                raise
            time.sleep(patience)


def _hashes(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key.endswith("_hash")}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Plenish and of the libraries that decide its numbers, found without importing them."""
    import importlib.metadata
    import platform

    found = {"plenish": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pillow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A Run as the verb that trained it returns it.

    Attributes:
        run: the Run.
    """

    run: Run

    @property
    def path(self) -> Path:
        """The Run's folder."""
        return self.run.path


@dataclasses.dataclass(frozen=True)
class Listing:
    """Rows for the terminal, and the folder that was looked through."""

    rows: list[dict[str, Any]]
    folder: Path = Path()

    @property
    def nothing(self) -> str:
        """What a person is told where there are no rows."""
        return (
            ""
            if self.rows
            else f"no Runs in {self.folder.resolve() if not self.folder.name else self.folder}"
        )

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"runs": self.rows}


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


def show_run(run: Path) -> Run:
    """Show one Run: its configuration, state and checkpoints.

    Args:
        run: the Run's folder.
    """
    return Run.open(run)


def remove_run(run: Path, *, yes: bool = False) -> Pruned:
    """Remove a Run folder for good.

    Args:
        run: the Run's folder.
        yes: do not ask; needed where nobody can answer.
    """
    opened = Run.open(run)
    if not yes:
        raise InputError(f"Removing {run} cannot be undone; say it again with --yes.")
    size = opened.summary()["bytes"]
    with opened.lock():
        shutil.rmtree(run)
    return Pruned([str(run)], size)


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What a pruning removed."""

    removed: list[str]
    freed_bytes: int

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self)


def prune_runs(folder: Path, *, keep: int = 1) -> Pruned:
    """Remove old checkpoints of all Runs in a folder; the newest and the best of each stay.

    Args:
        folder: a Run, or a folder of Runs.
        keep: how many of the newest checkpoints to keep beside the best.
    """
    from plenish.training.checkpoints import prune_checkpoints

    if keep < 1:
        raise InputError(
            f"--keep must be at least 1, not {keep}; a Run without a checkpoint could not be used."
        )
    removed: list[str] = []
    freed = 0
    for row in list_runs(folder).rows:
        run = Run.open(row["run"])
        best = run.status.get("best", {}).get("checkpoint")
        with run.lock():
            before = run.summary()["bytes"]
            removed += map(str, prune_checkpoints(run.path / "checkpoints", keep, {str(best)}))
            freed += before - run.summary()["bytes"]
    return Pruned(removed, freed)
