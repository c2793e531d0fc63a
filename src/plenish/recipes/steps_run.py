"""The steps of a recipe done, each by a process of its own, and a table of its classifiers."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from plenish import files, invocation
from plenish._version import __version__
from plenish.errors import CheckFailed, InputError, PlenishError
from plenish.metrics.words import with_interval
from plenish.progress import plain_duration, say
from plenish.recipes.steps import Step
from plenish.study.ways import side_by_side, table_of_studies
from plenish.training.queue import wait_for

STEPS, TABLE = "steps.json", "table.csv"


@dataclasses.dataclass(frozen=True)
class Steps:
    """Steps that were done, or would be.

    Attributes:
        path: the folder of what they make.
        rows: of each step, its command, whether it is done, and seconds taken or expected.
        table: what the classifiers reach (`study.rows.table_of`; of studies that test on generated images
            `study.ways.table_of_studies`); empty before all are there.
        dry: whether nothing was done.
    """

    path: Path
    rows: Sequence[Mapping[str, Any]]
    table: Sequence[dict[str, Any]] = ()
    dry: bool = False

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        known = [row["seconds"] for row in self.rows if row["seconds"] is not None]
        what = "seconds_expected" if self.dry else "seconds"
        facts = {"out": str(self.path), what: round(sum(known), 1), "steps": list(self.rows)}
        return facts | ({"table": list(self.table)} if self.table else {})

    def shown(self) -> dict[str, Any]:
        """The same for a terminal."""
        known = [row["seconds"] for row in self.rows if row["seconds"] is not None]
        least = "at least " * (len(known) < len(self.rows))
        time_for_all = f"{least}{plain_duration(sum(known))}" if known else "unknown"
        rows = [_together(list(own)) for _, own in itertools.groupby(self.rows, lambda row: row["name"])]
        facts = {"out": str(self.path), "time for all" if self.dry else "time": time_for_all, "steps": rows}
        if not self.table:
            return facts
        title = "balanced accuracy" if "tested_on" in self.table[0] else "test images, mean over seeds"
        return {**facts, "table": str(self.path / TABLE), title: _cells(self.table)}


def _together(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The seeds of a step as one row of a terminal's table."""
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    return {
        "step": rows[0]["name"], "done": f"{sum(row['done'] for row in rows)} of {len(rows)}",
        "time": plain_duration(sum(known)) if known else "–", "command": rows[0]["command"],
    }  # fmt: skip


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table for a terminal."""
    if "tested_on" in rows[0]:
        return [_on_both(pair) for pair in side_by_side(rows)]
    return [
        {
            "row": row["row"], "seeds": row["seeds"],
            "macro F1": with_interval(row["macro_f1"], row["macro_f1_low"], row["macro_f1_high"], ".3f"),
            "balanced acc.": f"{row['balanced_accuracy']:.3f}", "accuracy": f"{row['accuracy']:.3f}",
            "macro F1 against the first": with_interval(
                row["against"], row["against_low"], row["against_high"], "+.3f"
            ) if "against" in row else "–",
        }
        for row in rows
    ]  # fmt: skip


def _on_both(pair: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A training of a study for a terminal: balanced accuracy on real and on generated images."""
    row = pair["real"]
    shown = {
        f"on {tested_on}": with_interval(one["balanced_accuracy"], one["low"], one["high"], ".3f")
        for tested_on, one in pair.items()
    }
    return {"row": row["row"], "trained on": row["trained_on"], "images": row["images"], **shown}


def claim(out: Path, about: Mapping[str, Any]) -> None:
    """Make the folder, or refuse one of something else."""
    mark = out / STEPS
    if not mark.is_file():
        files.create_folder(out, "a folder of steps", {STEPS: {**about, "done": {}}})
        return
    before = files.read_record(mark)
    if any(before.get(key) != value for key, value in about.items()):
        raise InputError(
            f"{out} holds steps of the recipe {before.get('recipe')}, or of other data or another split; "
            "give those, or another folder."
        )


def done_steps(out: Path) -> dict[str, Any]:
    """What is kept of the steps that are done, by their keys."""
    return dict(files.read_record(out / STEPS)["done"])


def is_done(out: Path, step: Step) -> bool:
    """Whether a step was done by the same command, and what it made is there."""
    known = done_steps(out).get(step.key)
    return bool(known and known["words"] == list(step.words) and step.out.exists())


def do_step(out: Path, step: Step) -> None:
    """Do a step, and note it.

    Raises:
        PlenishError: it failed; of the kind, and so with the exit code, that it ended with.
    """
    begun = time.monotonic()
    words = [sys.executable, "-m", "plenish", *step.words, *invocation.setting_words("json", "quiet")]
    code, message = wait_for([*words, "--json"])
    if code:
        kind = {error.exit_code: error for error in (InputError, CheckFailed)}.get(code, PlenishError)
        raise kind(f"The step {step.key} failed: {message} The same command goes on with it.")
    record = files.read_record(out / STEPS)
    record.pop("checksum", None)
    seconds = time.monotonic() - begun
    made = {"words": list(step.words), "seconds": round(seconds, 1), "version": __version__}
    record["done"] = {**record["done"], step.key: made}
    files.write_record(out / STEPS, record)


def row_of(step: Step, done: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
    """A step as `Steps` shows it."""
    return {
        "name": step.name, "seed": step.seed, "done": step.key in done, "seconds": seconds,
        "command": step.line,
    }  # fmt: skip


def expected_seconds(steps: Sequence[Step]) -> dict[str, float | None]:
    """Seconds that each step takes, by its own dry run, once for all seeds; None where it has none."""
    found: dict[str, float | None] = {}
    times: dict[str, float | None] = {}
    for step in steps:
        if step.name not in found:
            say(f"Trying {step.name}: {step.line}")
            found[step.name] = _tried(step)
        times[step.key] = found[step.name]
    return times


def _tried(step: Step) -> float | None:
    if step.words[0] not in ("train", "recipe", "study"):
        return None
    words = without_missing(step.words)
    done = subprocess.run(
        [sys.executable, "-m", "plenish", *words, "--dry-run", "--json", "--quiet",
         *invocation.setting_words("json", "quiet")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        say(f"  {done.stderr.strip().removeprefix('plenish: ')}")
        return None
    with contextlib.suppress(ValueError, KeyError):
        facts = json.loads(done.stdout)
        if "seconds" in facts:
            return float(facts["seconds"])
        return float(facts["seconds_per_kimg"] * facts["kimg"])
    return None


def without_missing(words: Sequence[str]) -> list[str]:
    """The words without --synthetic and --pretrained of what an earlier step has yet to make."""
    kept, following = list[str](), iter(words)
    for word in following:
        option, attached, value = word.partition("=")
        if option == "--synthetic" and not attached:
            value = next(following, "")
        yet = option in ("--synthetic", "--pretrained") and value not in ("", "true", "false")
        if yet and not Path(value).exists():
            continue
        kept += [word] if attached or option != "--synthetic" else [word, value]
    return kept


def _table(rows: Mapping[str, Sequence[Path]], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each row of classifiers, or several for each study."""
    studies = {row: runs[0] for row, runs in rows.items() if (runs[0] / "study.json").is_file()}
    if studies and len(studies) < len(rows):
        other = next(row for row in rows if row not in studies)
        raise InputError(
            f"The rows {next(iter(studies))} and {other} are a study and a classifier; name rows of one kind."
        )
    if studies:
        return table_of_studies(studies)
    from plenish.study.rows import table_of  # Loads torch.

    return table_of(rows, names)


def write_table(out: Path, steps: Sequence[Step], names: Sequence[str]) -> list[dict[str, Any]]:
    """The table of all rows whose classifiers are there, written as CSV too."""
    rows: dict[str, list[Path]] = {}
    done = done_steps(out)
    for step in steps:
        if step.row and step.key in done:
            rows.setdefault(step.row, []).append(step.out)
    if not rows:
        return []
    table = _table(rows, names)
    files.write_text(out / TABLE, pd.DataFrame(table).to_csv(index=False, lineterminator="\r\n"))
    return table
