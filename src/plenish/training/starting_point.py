"""A training that starts from a checkpoint of another Run: after all its training, or where a stage began."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files, settings
from plenish.differences import differences, listed
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training.checkpoints import checkpoint_name, find_checkpoint, load_state
from plenish.training.generator import GeneratorTask, Schedule, learner_class


@dataclasses.dataclass(frozen=True)
class StartingPoint:
    """The checkpoint that a training starts from.

    Attributes:
        run: the Run that it is of.
        checkpoint: its folder.
        stage: the stage of growth that begins there, its size in pixels; None where it is the newest.
        nimg: images that the training starts after, by its own schedule.
    """

    run: Run
    checkpoint: Path
    stage: int | None
    nimg: int

    def record(self) -> dict[str, Any]:
        """What the new Run keeps of it."""
        return {
            "run": str(self.run.path.resolve()), "run_id": self.run.id, "checkpoint": self.checkpoint.name,
            "stage": self.stage, "kimg": self.nimg / 1000,
        }  # fmt: skip

    def check_length(self, schedule: Schedule) -> None:
        """Refuse a training that ends before it starts.

        Raises:
            InputError: it does.
        """
        if self.nimg >= schedule.images:
            raise InputError(
                f"The training would start at {self.nimg / 1000:g} kimg and end at {schedule.kimg:g}; give a "
                "larger --kimg."
            )

    def parent(self) -> dict[str, Any]:
        """The same as provenance."""
        return {"run": str(self.run.path.resolve()), "id": self.run.id, "kind": self.run.kind}


def starting_point(
    source: Path, stage: int | None, task: GeneratorTask, data: Mapping[str, Any]
) -> StartingPoint:
    """Find the checkpoint to start from.

    Where a stage begins, its images seen follow from the new schedule, so that the stages before may have
    been of another length.

    Args:
        source: a generator's Run.
        stage: the stage to begin with, as the size of its images in pixels; None goes on from the newest
            checkpoint.
        task: what is to be trained.
        data: provenance of its training rows.

    Raises:
        InputError: other networks or training rows, or a stage without a checkpoint.
    """
    run = Run.open(source, "generator")
    config = run.config["config"]
    if config["family"] != task.family:
        raise InputError(
            f"{source} is of the family {config['family']}, and the recipe of the family {task.family}; "
            "--from needs the same networks."
        )
    if found := differences(config["network"], task.network.to_dict(), "network."):
        raise InputError(f"--from needs the networks of {source}: {', '.join(listed(found, {}))}.")
    hashes = ("pixels_hash", "table_hash", "split_hash")
    if any(run.config["data"].get(key) != data.get(key) for key in hashes):
        raise InputError(
            f"{source} was trained on other data, {run.config['data'].get('path')} with the split "
            f"'{run.config['data'].get('split_name')}'; --from needs the same, since its networks know them."
        )
    if stage is None:
        checkpoint = find_checkpoint(run, "last")
        nimg = int(load_state(checkpoint)["nimg"])
    else:
        checkpoint, nimg = _where_begins(run, str(stage), task)
    return StartingPoint(run, checkpoint, stage, nimg)


def _where_begins(run: Run, stage: str, task: GeneratorTask) -> tuple[Path, int]:
    """The checkpoint with which a stage begins, and images seen there by the new schedule."""
    parts = learner_class(task.family).parts(task)
    if not parts:
        raise InputError(f"--stage is for networks that grow, and {task.family} does not; leave it out.")
    folder = run.path / "checkpoints"
    saved = {name: folder / place for name, place in run.status.get("parts", {}).items()}
    saved = {name: path for name, path in saved.items() if path.is_dir()}
    if stage not in saved:
        there = f"those of {', '.join(saved)} px do" if saved else "no other does"
        raise InputError(f"No checkpoint of {run.path} is the beginning of the stage of {stage} px; {there}.")
    if stage not in parts:
        raise InputError(
            f"This training has no beginning of the stage of {stage} px; its stages begin at "
            f"{', '.join(parts)} px."
        )
    return find_checkpoint(run, saved[stage].name), parts[stage]


def begin(run: Run, start: StartingPoint | None) -> None:
    """Give a new Run the checkpoint that it starts from; does nothing where it has checkpoints.

    Args:
        run: the Run; the caller holds its lock.
        start: where it starts; None where it starts anew.
    """
    folder = run.path / "checkpoints"
    if start is None or run.has_begun or not settings.is_first_process():
        return
    final = folder / checkpoint_name(start.nimg)
    partial = final.with_name(final.name + ".partial")
    with files.reporting_disk(partial):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(start.checkpoint, partial)
        state = {**load_state(partial), "nimg": start.nimg, "attempt": 0}
        files.write_record(partial / "state.json", state)
        manifest = files.read_record(partial / "manifest.json")
        manifest["state.json"] = files.sha256_file(partial / "state.json")
        files.write_record(partial / "manifest.json", manifest)
        partial.rename(final)
        files.flush_folder(folder)
