"""`plenish demo`: the whole chain in one command, on the phantom or on the user's own images."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

from plenish import files
from plenish.commands.datasets import import_dataset, make_phantom, split_dataset
from plenish.commands.generate import generate
from plenish.commands.profile import profile_dataset
from plenish.commands.report import write_report
from plenish.commands.score import score
from plenish.commands.study import run_study
from plenish.commands.train_generator import train_generator
from plenish.datasets.dataset import Dataset
from plenish.datasets.sources.columns import SUFFIXES as TABLES
from plenish.datasets.sources.listing import AS_FOUND, SourceOptions
from plenish.errors import InputError
from plenish.invocation import command
from plenish.metrics.words import describe_copies
from plenish.progress import say


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        path: the folder with everything in it.
        verdict: the study's answer.
        copies: the copies audit's answer.
        seconds: time of each step that had to be done.
    """

    path: Path
    verdict: str
    copies: str
    seconds: dict[str, float]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "verdict": self.verdict, "copies": self.copies, "report": str(self.path / "report.html"),
            "seconds": self.seconds, "seconds in all": round(sum(self.seconds.values()), 1),
        }  # fmt: skip


@command("demo", positional=("out",))
def demo(
    out: Path = Path("plenish-demo"), *, data: Path | None = None, size: int = 32, patients: int = 40,
    tiles: int = 24, recipe: str = "flow-small", kimg: float = 60.0, seeds: int = 3, seed: int = 0,
    domain: str | None = None, reading: SourceOptions = AS_FOUND,
) -> Demo:  # fmt: skip
    """Run the whole chain: data, split, generator, synthetic images, scores, study, report.

    Without --data it makes a phantom of tissue and takes a few minutes on two cores. Steps already done in
    OUT are not done again, so that an interrupted demo is resumed.

    Args:
        out: folder for everything the demo makes.
        data: your own images, one folder a class or with --labels, instead of the phantom.
        size: image size in pixels.
        patients: patients of the phantom.
        tiles: tiles of each patient.
        recipe: the generator's recipe.
        kimg: length of the generator's training, in thousands of images shown; a first look, not a good
            generator.
        seeds: trainings of each classifier in the study.
        seed: seed of everything.
        domain: kind of images of --data, as for 'plenish import': decides how training may turn, mirror and
            colour them (radiology, …).
        reading: what folders, tables and cells of --data mean, as for 'plenish import'.
    """
    if data is None and (reading != AS_FOUND or domain is not None):
        raise InputError("--labels, --domain and the like say what --data means; give that too.")
    asked = {"data": str(data.resolve()) if data else None, "size": size, "recipe": recipe, "seed": seed,
             "kimg": kimg, "domain": domain, "phantom": None if data else [patients, tiles],
             "reading": json.loads(json.dumps(dataclasses.asdict(reading), default=str))}  # fmt: skip
    _same_as_before(out, asked)
    real, run, synthetic, page = out / "real", out / "generator", out / "synthetic", out / "report.html"
    seconds: dict[str, float] = {}

    def step(name: str, made: Path | None, verb: Any, /, *args: Any, **options: Any) -> Any:
        """Do a step unless `made` is there; training and study (None) know by themselves what is done."""
        if made is not None and made.exists():
            return None
        say(f"— {name}")
        begun = time.monotonic()
        with files.resumable_from(real.exists):
            result = verb(*args, **options)
        seconds[name] = round(time.monotonic() - begun, 1)
        return result

    try:
        if data is None:
            step("phantom", real, make_phantom, real, patients=patients, tiles=tiles, size=size, seed=seed)
        else:
            # The folder is called 'real' in every demo, which would tell a reader of the report nothing.
            name = data.stem if data.is_file() else data.resolve().name
            step("import", real, _import, data, real, size, name, domain, reading)
    except InputError:  # Leave nothing behind of a demo whose data were refused.
        (out / "demo.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            out.rmdir()
        raise
    split = _whole_split(Dataset.open(real))
    chosen = {"seed": seed, "split": split}
    made = real / "splits" / f"{split}.parquet"
    step("split", made, split_dataset, real, seed=seed, name=split)
    step("profile", out / "profile", profile_dataset, real, out / "profile", split=split)
    step("train", None, train_generator, real, run, recipe=recipe, kimg=kimg, **chosen)
    step("generate", synthetic, generate, run, synthetic, like=real, seed=seed)
    step("score", out / "score", score, real, synthetic, out / "score", **chosen)
    result = step("study", None, run_study, real, out / "study", synthetic=synthetic, seeds=seeds, **chosen)
    page.unlink(missing_ok=True)
    parts = {"data": real, "run": run, "synthetic": synthetic, "score": out / "score", "study": out / "study"}
    write_report(page, **parts, split=split)
    copies = files.read_json(out / "score" / "score.json")["copies"]
    return Demo(out, result.verdict, describe_copies(copies), seconds)


def _import(data: Path, real: Path, size: int, name: str, domain: str | None, reading: SourceOptions) -> None:
    """Import, and stop at a table that is not used: it may say who the patients are.

    Raises:
        InputError: as for an import, or there is such a table.
    """
    found = import_dataset(data, real, size=size, name=name, domain=domain, reading=reading).dataset
    tables = set(found.manifest.extra["import"]["unused"]) & set(TABLES)
    if tables and reading.labels is None and not reading.folders:
        shutil.rmtree(real)
        raise InputError(
            f"{data} holds a table ({', '.join(sorted(tables))}) that was not used and may name patients; "
            "give it with '--labels FILE --group-column COLUMN', or say that the folders tell all with "
            "'--folders class'."
        )


def _whole_split(dataset: Dataset) -> str:
    """Name of the split to use: the imported one if it has all three parts, else one of the demo's own.

    Raises:
        InputError: the data have no classes to study.
    """
    if dataset.labels.kind != "categorical" or dataset.labels.width < 2:
        raise InputError(
            f"The demo trains classifiers, and {dataset.path} has {dataset.labels.width} classes; give "
            "--data a folder with a folder of images for each of at least two classes."
        )
    if "default" in dataset.split_names():
        counts = dataset.split("default").manifest["counts"]
        return "default" if all(counts.values()) else "demo"
    return "default"


def _same_as_before(out: Path, asked: dict[str, Any]) -> None:
    """Remember what the demo was asked, and refuse to mix two demos in one folder."""
    note = out / "demo.json"
    if note.exists():
        before = files.read_record(note)
        changed = [key for key in asked if before.get(key) != asked[key]]
        if changed:
            raise InputError(
                f"{out} holds a demo with another {' and '.join(changed)}; give another folder, or remove it."
            )
    else:
        files.create_folder(out, "a demo", {note.name: asked})
