"""A training that starts where a stage of another one began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from plenish import cli
from plenish.commands.train_generator import train_generator
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training import budget, checkpoints

SMALL = ["network.width=4", "network.max_width=8", "network.min_width=4", "schedule.log_kimg=0.05"]
GROWING = [*SMALL, "growth.start=4", "growth.fade_kimg=0.04", "growth.stable_kimg=0.04"]
HOW = {
    "recipe": "comic-progan-body", "batch": 4, "validation": False, "checkpoint_kimg": 0.03, "keep": 1,
    "seed": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def split_phantom(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Tiles of 16 px with a split."""
    data = tmp_path_factory.mktemp("data") / "phantom"
    assert cli.run(["phantom", str(data), "--patients", "8", "--tiles", "8", "--size", "16"]) == 0
    assert cli.run(["split", str(data)]) == 0
    return Dataset.open(data)


@pytest.fixture(scope="module")
def grown(split_phantom: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A Run of three stages, 4, 8 and 16 px, of which one checkpoint a stage is kept."""
    folder = tmp_path_factory.mktemp("grown") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PROBE_SECONDS", "TRIAL_SECONDS"):
            patch.setattr(budget, name, 0.2)
        return train_generator(split_phantom.path, folder, kimg=0.24, options=GROWING, **HOW)  # type: ignore[return-value]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "kimg-00000.240" / "ema.safetensors")


def test_the_beginning_of_every_stage_is_kept(grown: Run) -> None:
    assert grown.status["parts"] == {"8": "kimg-00000.040", "16": "kimg-00000.120"}
    kept = {path.name for path in (grown.path / "checkpoints").iterdir()}
    assert kept == {"kimg-00000.040", "kimg-00000.120", "kimg-00000.240"}
    assert cli.run(["runs", "prune", str(grown.path), "--yes"]) == 0
    assert {path.name for path in (grown.path / "checkpoints").iterdir()} == kept


@pytest.mark.slow
def test_a_training_killed_as_a_stage_begins_still_knows_where(
    split_phantom: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = checkpoints.save_checkpoint

    def killed(folder: Path, nimg: int, *words: object) -> None:
        save(folder, nimg, *words)  # type: ignore[arg-type]
        if nimg == 40:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_checkpoint", killed)
        with pytest.raises(SystemExit):
            train_generator(split_phantom.path, tmp_path / "run", kimg=0.06, options=GROWING, **HOW)
    run = train_generator(split_phantom.path, tmp_path / "run", kimg=0.06, options=GROWING, **HOW)
    assert run.status["parts"] == {"8": "kimg-00000.040"}  # type: ignore[attr-defined]
    assert (tmp_path / "run/checkpoints/kimg-00000.040").is_dir()


def test_a_stage_trained_again_ends_the_same(split_phantom: Dataset, grown: Run, tmp_path: Path) -> None:
    run = tmp_path / "again"
    for _ in range(2):  # The second one answers without training, and without the Run it started from.
        train_generator(
            split_phantom.path, run, kimg=0.24, start_from=grown.path, stage=16, options=GROWING, **HOW
        )
    first, second = _weights(grown.path), _weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    config = json.loads((run / "config.json").read_text())
    assert config["parents"] == [{"run": str(grown.path.resolve()), "id": grown.id, "kind": "generator"}]
    assert config["config"]["from"]["checkpoint"] == "kimg-00000.120"
    assert next(line["kimg"] for _, line in Run.open(run).logged()) > 0.12
    assert (run / "samples" / "reals.png").is_file()


def test_a_stage_begins_where_the_new_schedule_has_it(
    split_phantom: Dataset, grown: Run, tmp_path: Path
) -> None:
    longer = [*SMALL, "growth.start=4", "growth.fade_kimg=0.08", "growth.stable_kimg=0.04"]
    run = train_generator(
        split_phantom.path,
        tmp_path / "longer",
        kimg=0.2,
        start_from=grown.path,
        stage=16,
        options=longer,
        **HOW,
    )
    assert isinstance(run, Run)
    sizes = {line["kimg"]: line["alpha"] for _, line in run.logged() if "alpha" in line}
    assert run.config["config"]["from"]["kimg"] == pytest.approx(0.16)
    # Half of the fade from 0.2 to 1 is over after 0.04 of 0.08 kimg.
    assert sizes[0.2] == pytest.approx(0.6)


def test_the_newest_checkpoint_is_trained_on_in_another_run(
    split_phantom: Dataset, grown: Run, tmp_path: Path
) -> None:
    on = tmp_path / "on"
    run = train_generator(split_phantom.path, on, kimg=0.26, start_from=grown.path, options=GROWING, **HOW)
    assert isinstance(run, Run)
    assert run.config["config"]["from"]["kimg"] == pytest.approx(0.24)
    assert run.status["kimg"] == pytest.approx(0.26)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"stage": 32}, "No checkpoint of .* the stage of 32 px; those of 8, 16 px do."),
        ({"stage": 4}, "stage of 4 px"),
        ({"stage": 16, "recipe": "dcgan-small", "options": []}, "progan, and the recipe of the family dcgan"),
        ({"stage": 16, "kimg": 0.1}, "would start at 0.12 kimg and end at 0.1; give a larger --kimg"),
        ({"stage": 16, "options": [*GROWING, "network.width=8"]}, "network.width was 4 and is now 8"),
        ({"start_from": None, "stage": 16}, "give that too"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_from_is_refused(
    split_phantom: Dataset, grown: Run, tmp_path: Path, how: dict[str, object], said: str
) -> None:
    asked = {**HOW, "kimg": 0.3, "start_from": grown.path, "options": GROWING, **how}
    with pytest.raises(InputError, match=said):
        train_generator(split_phantom.path, tmp_path / "run", **asked)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_other_data_are_refused(grown: Run, split_phantom: Dataset, tmp_path: Path) -> None:
    assert cli.run(["phantom", str(tmp_path / "p"), "--patients", "6", "--tiles", "6", "--size", "16"]) == 0
    assert cli.run(["split", str(tmp_path / "p")]) == 0
    with pytest.raises(InputError, match="was trained on other data"):
        train_generator(
            tmp_path / "p", tmp_path / "run", kimg=0.3, start_from=grown.path, options=GROWING, **HOW
        )
