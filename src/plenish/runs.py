"""Run: a folder that holds what one piece of work was asked, how it went and what it left.

`config.json` is frozen when the Run is made; `status.json` changes; `metrics.jsonl` grows; `checkpoints/`,
`samples/` and `report.html` follow. One job at a time works on a Run.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from plenish import files, invocation, settings
from plenish._version import __version__
from plenish.differences import differences, listed
from plenish.energy import Footprint, Meter
from plenish.errors import InputError
from plenish.notebook import page
from plenish.progress import warn

if TYPE_CHECKING:
    import pandas as pd

LAYOUT = 3
"""Version of the folder's layout; raised with every change that another version of Plenish cannot read."""
FIRST_PROCESS_SECONDS = 600.0
"""Longest wait of the other processes of a job for the Run that the first one makes."""
_USES = "uses.jsonl"
_FROZEN = {"kind", "created", "seed", "data", "parents", "config", "versions"}
_PROGRESS = (
    "kimg", "epoch", "step", "best", "attempt", "seconds", "message", "classes", "errors", "held_out",
    "fooling", "results", "test_reads",
)  # fmt: skip
_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pillow")
Kind = Literal[
    "generator", "autoencoder", "classifier", "study", "autoencoder-study", "translation", "perturber"
]


class Run:
    """An opened Run folder.

    Attributes:
        path: the folder.
        config: config.json.
        remarks: further entries of its summary, from what judges it.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        """Use `Run.create`, `Run.open` or `Run.open_or_create`."""
        self.path, self.config = path, config
        self.remarks: dict[str, Any] = {}
        self._meter: Meter | None = None  # While this process works on it.
        self._goes_on = False  # Whether a command goes on with it, which is kept once it holds the lock.

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
        inside = next((p for p in path.absolute().parents if (p / "dataset.json").is_file()), None)
        if inside is not None:
            raise InputError(
                f"{path} is inside the Dataset {inside}, which is immutable; choose a folder outside it."
            )
        frozen = {
            "layout": LAYOUT, "kind": kind, "created": _now(), "seed": seed, "data": dict(data or {}),
            "parents": list(parents), "config": dict(config), "command": invocation.record(),
            "versions": versions(),
        }  # fmt: skip
        status = {"state": "new", "attempt": 0}
        files.create_folder(path, "a Plenish Run", {"status.json": status, "config.json": frozen})
        return cls(path, files.read_record(path / "config.json"))

    @classmethod
    def open(cls, path: Path | str, *kinds: Kind) -> Run:
        """Open a Run folder.

        Args:
            path: the folder.
            kinds: those that it may be of; by default any.

        Raises:
            InputError: there is none, or it is of another kind or layout.
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
        if (layout := config.get("layout", 1)) != LAYOUT:
            raise InputError(
                f"{path} is a Run of layout version {layout}, and this Plenish reads {LAYOUT}; make it "
                "again, or use the release that made it."
            )
        run = cls(path, files.verified(config, path / "config.json"))
        if kinds and run.kind not in kinds:
            wanted = " or ".join(map(_a, kinds))
            raise InputError(f"{path} is {_a(run.kind)} Run where {wanted} Run is needed.")
        return run

    @classmethod
    def open_or_create(
        cls, path: Path, kind: Kind, config: Mapping[str, Any], *,
        data: Mapping[str, Any] | None = None, parents: Sequence[Mapping[str, Any]] = (), seed: int = 0,
        may_change: Sequence[str] = (), typed: Mapping[str, str] = {},
    ) -> Run:  # fmt: skip
        """Open a Run to continue it, or create it.

        An existing Run must have the same configuration, seed and Dataset: every difference is listed and
        refused, except in the dotted configuration keys of `may_change` (length, logging, checkpoint
        intervals). `typed` maps a dotted key to the option that sets it, for messages.

        Raises:
            InputError: the Run has another configuration, or the first process of the job made none.
        """
        if settings.current().deterministic:
            config = {**config, "deterministic": True}
        if not settings.is_first_process():
            _wait_for_first_process(path / "config.json")
        if not (path / "config.json").is_file():
            return cls.create(path, kind, config, data=data, parents=parents, seed=seed)
        run = cls.open(path, kind)
        asked = json.loads(json.dumps({"config": config, "seed": seed}, default=str))
        before = run.config["data"]
        if differences(_hashes(before), _hashes(data or {})):
            raise InputError(
                f"{path} was started on other data, {before.get('path')} with the split "
                f"'{before.get('split_name')}' as they were then; {run._way_out('give')}."
            )
        found = differences({"config": run.config["config"], "seed": run.seed}, asked)
        refused = [d for d in found if d.key.removeprefix("config.") not in may_change]
        if refused:
            clauses = ", ".join(listed(refused, typed))
            raise InputError(
                f"{path} was started with another configuration: {clauses}; {run._way_out('use')}."
            )
        opened = cls(path, {**run.config, "config": dict(asked["config"])})
        opened._goes_on = True
        return opened

    @staticmethod
    def check_place(path: Path) -> None:
        """Refuse a folder that is no Run and in which none can be made, before any work is done for it.

        Raises:
            InputError: it holds something else, or cannot be written.
        """
        if (path / "config.json").is_file():
            return
        try:
            files.refuse_occupied(path, "a Plenish Run")
        except InputError:
            # The first process of a job makes the folder, perhaps while another one looks.
            if not (path / "config.json").is_file():
                raise

    @property
    def commands(self) -> list[dict[str, Any]]:
        """The commands that made it, in order: the first one, and those that went on with other options."""
        first = self.config.get("command")
        return ([first] if first else []) + list(self.status.get("commands", []))

    def _note_command(self) -> None:
        """Keep a command that goes on with other options than those before it."""
        asked, before = invocation.record(), self.commands
        if asked and self._goes_on and asked["repeat"] not in [command["repeat"] for command in before]:
            self.update_status(commands=[*self.status.get("commands", []), asked])

    def _way_out(self, verb: str) -> str:
        """What to do when a Run was started with something else."""
        if self.has_begun or self.state == "complete":
            return f"{verb} those or another folder"
        remove = f"remove it with 'plenish runs rm {self.path} --yes'"
        return f"nothing has been trained in it yet, so {remove} or use another folder"

    @property
    def kind(self) -> str:
        """What work it holds, one of `Kind`."""
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
        return files.read_record(self.path / "status.json")

    @property
    def state(self) -> str:
        """new, running, interrupted (also when its process was killed), diverged, failed or complete."""
        state = str(self.status.get("state"))
        return "interrupted" if state == "running" and not self._held() else state

    @property
    def has_begun(self) -> bool:
        """Whether it holds work to continue: a checkpoint, also of a model in it, or a study's cell."""
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
        """Change fields of status.json; of several processes only the first one does."""
        if settings.is_first_process():
            changes = self.usage() | changes | {"updated": _now()}
            files.write_record(self.path / "status.json", self.status | changes)

    def usage(self) -> dict[str, float | None]:
        """Energy and busy seconds of all work on it, while this process holds its lock; else nothing."""
        return self._meter.usage(settings.process()[1]) if self._meter is not None else {}

    def log(self, **values: Any) -> None:
        """Append one line to metrics.jsonl; of several processes only the first one does."""
        if not settings.is_first_process():
            return
        line = json.dumps(values, default=float)
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def cut_metrics(self, beyond: float) -> None:
        """Drop the lines of metrics.jsonl past a checkpoint, and a line that a kill left incomplete."""
        if (path := self.path / "metrics.jsonl").exists():
            kept = [line + "\n" for line, values in self.logged() if values.get("kimg", 0) <= beyond]
            files.write_bytes(path, "".join(kept).encode())

    def metrics(self) -> pd.DataFrame:
        """metrics.jsonl as a table; empty when nothing was logged."""
        import pandas as pd

        return pd.DataFrame([values for _, values in self.logged()])

    def logged(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Complete lines of metrics.jsonl, as text and as values."""
        yield from _objects(self.path / "metrics.jsonl")

    def note_use(self, checkpoint: str, dataset: Path) -> None:
        """Remember that a Dataset was made from a checkpoint, which is then not pruned while it is there."""
        line = json.dumps({"checkpoint": checkpoint, "dataset": str(dataset.resolve())})
        # Appended, since a training may write the status meanwhile; a Run that is read only stays as it is.
        with contextlib.suppress(OSError), (self.path / _USES).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def used_checkpoints(self) -> set[str]:
        """Names of the checkpoints that Datasets which are still there were made from."""
        uses = [use for _, use in _objects(self.path / _USES)]
        return {str(use.get("checkpoint")) for use in uses if Path(str(use.get("dataset"))).exists()}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the Run for this process, or for the processes of a job, of which the first one holds it.

        Raises:
            InputError: another process works on it.
        """
        if not settings.is_first_process():
            yield
            return
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
            self._note_command()
            self._start_meter()
            with files.resumable_from(lambda: self.has_begun, "nothing has been trained yet"):
                try:
                    yield
                except (OSError, InputError):
                    if self.path.is_dir():
                        raise
                    raise InputError(
                        f"{self.path} was renamed or removed while it was worked on; give it that name "
                        "again, and the same command continues it."
                    ) from None
                finally:
                    self._meter = None

    def _start_meter(self) -> None:
        """Count on top of what was counted; energy is unknown where some of the work was not measured."""
        status, self._meter = self.status, Meter()
        self._meter.restart(
            status.get("energy_j", None if "busy_s" in status else 0.0), status.get("busy_s", 0.0)
        )

    def __repr__(self) -> str:
        kimg = self.status.get("kimg")
        progress = "" if kimg is None else f", {kimg:g} kimg"
        return f"Run({str(self.path)!r}, {self.kind}, {self.state}{progress})"

    def _repr_html_(self) -> str:
        """What a notebook shows of it: its facts, and the last images that it made."""
        facts = {key: value for key, value in self.summary().items() if not isinstance(value, list)}
        last = max((self.path / "samples").glob("kimg-*.png"), default=None)
        return page(f"Run {self.path.name}", facts, last.read_bytes() if last else None)

    def summary(self) -> dict[str, Any]:
        """JSON-able form: configuration, state, results, checkpoints, size."""
        status, config = self.status, self.config["config"]
        return {
            "run": str(self.path), "id": self.id, "kind": self.kind, "state": self.state,
            **{key: config.get(key) for key in ("family", "recipe") if key == "recipe" or key in config},
            "data": self.config["data"].get("name"),
            "created": self.config["created"], "seed": self.seed,
            **{key: status[key] for key in _PROGRESS if status.get(key) not in (None, {})},
            **(footprint.words() if (footprint := Footprint.of(status)) is not None else {}),
            **self.remarks,
            "checkpoints": sorted(p.name for p in (self.path / "checkpoints").glob("kimg-*") if p.is_dir()),
            "bytes": sum(p.stat().st_size for p in self.path.rglob("*") if p.is_file()),
        }  # fmt: skip


def warn_of_other_machine(run: Run, engine: Mapping[str, Any]) -> None:
    """Say when a Run goes on on another device or with other threads."""
    before = run.status.get("engine")
    changed = [k for k in ("device", "threads") if before and before.get(k) != engine.get(k)]
    if changed:
        what = " and ".join(f"{k} (was {before[k]}, is {engine[k]})" for k in changed)  # type: ignore[index]
        warn(f"the Run goes on with another {what}; its weights will differ in the last bits.")


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Complete lines of JSON objects in a file that may not be there, as text and as values."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, RecursionError):
            values = json.loads(line)
            if isinstance(values, dict):
                yield line, values


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _take(file: IO[str]) -> None:
    """Lock a file for this process; retried, since `plenish runs` takes the lock for a moment."""
    for wait in (0.02, 0.05, 0.0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not wait:
                raise
            time.sleep(wait)


def _wait_for_first_process(path: Path) -> None:
    """Wait for a file that the first process of the job makes, unless it refuses to."""
    deadline = time.monotonic() + FIRST_PROCESS_SECONDS
    while not path.is_file():
        if time.monotonic() > deadline:
            raise InputError(
                f"The first process of this job made no {path} within {FIRST_PROCESS_SECONDS:g} s; its "
                "message says why."
            )
        time.sleep(0.05)


def _hashes(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key.endswith("_hash")}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions(packages: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Versions of Plenish, Python and of packages that are installed, found without importing them.

    By default, of the libraries that decide Plenish's numbers.
    """
    import importlib.metadata
    import platform

    found = {"plenish": __version__, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
