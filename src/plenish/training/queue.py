"""Variants of an autoencoder, trained one after another, with a table of them.

Each variant is trained by a process of its own, so that whatever ends one (memory, an internal error, a
divergence) leaves the others alone.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from plenish import files, invocation, settings
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.progress import warn
from plenish.runs import Run
from plenish.terminal import note
from plenish.wording import Sentences

RESULTS, FAILURES = "results.csv", "failures.json"
_COLUMNS = (
    "variant", "state", "epoch", "best_epoch", "val_mse", "val_ssim", "test_mse", "test_ssim", "parameters",
    "encoding", "images_per_s", "seconds", "message",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Queue:
    """Variants that were trained, or tried.

    Attributes:
        path: the folder with a Run for each.
        rows: one a variant, as in results.csv.
    """

    path: Path
    rows: list[dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "queue": str(self.path), "table": str(self.path / RESULTS),
            "failed": [row["variant"] for row in self.rows if row["state"] != "complete"],
            "variants": self.rows,
        }  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """The same for a terminal, which has room for some columns."""
        left_out = {"epoch", "val_ssim", "parameters", "images_per_s", "message"}
        rows = [{key: row[key] for key in _COLUMNS if key not in left_out} for row in self.rows]
        messages = Sentences(f"{row['variant']}: {row['message']}" for row in self.rows if row["message"])
        shown = {"variants, by their error on val": rows, "table": str(self.path / RESULTS)}
        return shown | ({"messages": messages} if messages else {})


def claim(out: Path, dataset: Dataset, split: str) -> None:
    """Make the folder, or refuse one that holds something else or a queue on other data."""
    mark = out / "queue.json"
    about = {key: v for key, v in dataset.provenance(split).items() if key not in ("path", "name")}
    if mark.is_file():
        if files.read_record(mark) != about:
            raise InputError(
                f"{out} holds a queue on other data or another split; give those, or another folder."
            )
        return
    files.create_folder(out, "a queue", {mark.name: about})


def run_variant(out: Path, name: str, variant: Mapping[str, Any], data: Path, split: str) -> None:
    """Train one variant in a process of its own; what it says of its end is kept in `failures.json`."""
    recipe = out / "recipes" / f"{name}.yaml"
    with files.reporting_disk(out):
        recipe.parent.mkdir(exist_ok=True)
        files.write_text(recipe, yaml.safe_dump(variant["recipe"], sort_keys=False))
    command = [
        sys.executable, "-m", "plenish", "train", "autoencoder", str(data), str(out / name), "--recipe",
        str(recipe), "--split", split, "--json", *invocation.setting_words("json"),
    ]  # fmt: skip
    command += ["--seed", str(variant["seed"])] if "seed" in variant else []
    command += ["--only", *map(str, variant["only"])] if variant.get("only") else []
    _, message = wait_for(command)
    told = _failures(out) | {name: message}
    if message:
        warn(f"variant {name}: {message}")
    files.write_record(out / FAILURES, {name: message for name, message in told.items() if message})


def wait_for(command: list[str]) -> tuple[int, str]:
    """Run a command; returns its exit code, and why it failed or nothing.

    A request to stop is passed on and waited for.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        last = ""
        try:
            for line in process.stderr:
                if not settings.current().quiet:
                    note(line.rstrip("\n"))
                last = line.strip() or last
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # It writes a checkpoint first; Ctrl-C at a terminal has told it already.
            process.wait()
            raise KeyboardInterrupt(files.RESUME_HINT) from None
    if code == 130:
        raise KeyboardInterrupt(files.RESUME_HINT)
    if code == 0:
        return 0, ""
    return code, last.removeprefix("plenish: ") or f"ended with exit code {code}"


def write_results(out: Path, variants: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write results.csv and results.json from the Runs there are, best on val first; returns the rows."""
    told = _failures(out)
    rows = [_row(out, name, told.get(name)) for name in variants]
    rows.sort(key=lambda row: (row["val_mse"] is None, row["val_mse"] or 0.0))
    table = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
    files.write_text(out / RESULTS, table.to_csv(index=False, lineterminator="\r\n"))
    files.write_json(out / "results.json", {"command": invocation.record(), "variants": rows})
    return rows


def _failures(out: Path) -> dict[str, str]:
    """Why variants failed, by name."""
    path = out / FAILURES
    return files.read_record(path) if path.exists() else {}


def _row(out: Path, name: str, message: str | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row |= {"variant": name, "state": "failed" if message else "waiting", "message": message}
    if not (out / name / "config.json").is_file():
        return row
    run = Run.open(out / name, "autoencoder")
    status = run.status
    row["state"] = row["state"] if message else run.state
    row |= {key: status.get(key) for key in ("epoch", "seconds", "parameters", "encoding")}
    row["best_epoch"] = status.get("best", {}).get("epoch")
    for entry in status.get("errors", []):
        for measure in ("mse", "ssim"):
            row[f"{entry['part']}_{measure}"] = entry.get(measure)
    table = run.metrics()
    if "images_per_s" in table:
        row["images_per_s"] = float(table["images_per_s"].median())
    return row
