"""The training loop where processes end, decide together or run out of memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plenish import cli
from plenish.datasets.batches import Batch, Images
from plenish.errors import CheckFailed, InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.networks.shared_batch import ProcessLost
from plenish.runs import Run
from plenish.training import ranks, trainer
from plenish.training.autoencoder import AutoencoderLearner
from plenish.training.classifier import ClassifierLearner
from plenish.training.engine import Engine
from plenish.training.failures import Failure
from plenish.training.learner import Clock, Learner
from plenish.training.memory import batch_that_fits
from plenish.training.reconstruction import Method
from plenish.training.schedules import Schedule

IMAGES = Images(lambda index: np.zeros((len(index), 8, 8, 1), np.uint8), np.zeros(20, np.int64))


class Point(Learner):
    """One weight, which fails in the attempts given."""

    def __init__(self, fails: int = 0) -> None:
        self.engine = Engine(torch.device("cpu"), "float32")
        self.module = nn.Linear(1, 1)
        self.adam = torch.optim.Adam(self.module.parameters())
        self.fails, self.attempt = fails, 0

    def modules(self) -> dict[str, nn.Module]:
        return {"point": self.module}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def batch_size(self, nimg: int) -> int:
        return 10

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        self.attempt = clock.attempt
        return {"loss": torch.zeros(())}

    def hear(self, line: Mapping[str, float]) -> Failure | None:
        return Failure("loss-not-finite", line["kimg"]) if self.attempt < self.fails else None


SCHEDULE = Schedule(kimg=0.1, log_kimg=0.05, on_failure="rollback", rollbacks=1)


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_as_many_rollbacks_as_the_schedule_allows(tmp_path: Path, fails: int) -> None:
    run = Run.create(tmp_path / "run", "generator", {})
    if fails > SCHEDULE.rollbacks:
        with pytest.raises(CheckFailed):
            trainer.train(lambda: Point(fails), IMAGES, SCHEDULE, run)
        assert run.state == "diverged"
    else:
        trainer.train(lambda: Point(fails), IMAGES, SCHEDULE, run)
        assert run.state == "complete"
    assert run.status.get("rollbacks", 0) == min(fails, SCHEDULE.rollbacks)


def test_the_first_process_decides_on_a_rollback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_main(engine: Engine, make: Callable[[], Any]) -> Any:
        return False if getattr(make, "__name__", "") == "may_roll_back" else make()

    monkeypatch.setattr(ranks, "from_main", from_main)
    run = Run.create(tmp_path / "run", "generator", {})
    with pytest.raises(CheckFailed):
        trainer.train(lambda: Point(fails=1), IMAGES, SCHEDULE, run)
    assert run.state == "diverged"


@pytest.mark.parametrize("place", ["join", "from_main", "any_of"])
def test_a_training_that_loses_a_process_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def lose(*_: Any) -> Any:
        raise ProcessLost("connection closed by peer")

    monkeypatch.setattr(ranks, place, lose)
    run = Run.create(tmp_path / "run", "generator", {})
    with pytest.raises(KeyboardInterrupt):
        trainer.train(Point, IMAGES, SCHEDULE, run)
    assert run.state == "interrupted"
    assert run.status["message"] == "connection closed by peer"


@pytest.mark.parametrize(
    ("words", "world", "value"),
    [
        (["gan", "--batch", "10"], "3", "batch of 10"),
        (
            ["gan", "--recipe", "small-stylegan2", "--batch", "12", "--options", "penalty.path=2"],
            "4",
            "6 images",
        ),
        (["autoencoder", "--batch", "10"], "3", "batch of 10"),
        (["classifier", "--batch", "10"], "3", "batch of 10"),
    ],
)
def test_unequal_slices_are_refused_before_a_run_is_made(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], world: str, value: str,
) -> None:  # fmt: skip
    data = stripes()
    monkeypatch.setenv("WORLD_SIZE", world)
    model, *options = words
    assert cli.run(["train", model, str(data.path), str(tmp_path / "run"), *options]) == 2
    assert value in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_that_does_not_fit_ends_the_run_with_one_that_does(tmp_path: Path) -> None:
    class Large(Point):
        def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
            if batch.total > 4:
                raise MemoryError
            return super().step(batch, clock)

    run = Run.create(tmp_path / "run", "generator", {})
    with pytest.raises(InputError, match=r"batch of 10 .* --batch 2 "):
        trainer.train(Large, IMAGES, SCHEDULE, run)
    assert run.state == "failed"


def test_memory_is_tried_with_the_share_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    update = AutoencoderLearner.update

    def limited(self: AutoencoderLearner, blocks: Tensor, key: Any) -> dict[str, Tensor]:
        tried.append(len(blocks))
        if len(blocks) > 4:
            raise MemoryError
        return update(self, blocks, key)

    monkeypatch.setattr(AutoencoderLearner, "update", limited)
    config = AutoencoderConfig(size=8, channels=1, filters=(4, 4), latent_features=4)
    for world, shares, batch in ((1, [32, 16, 8, 4], 4), (4, [8, 4], 16)):
        tried.clear()
        engine = Engine(torch.device("cpu"), "float32", 0, world)
        build = functools.partial(AutoencoderLearner, Autoencoder(config), Method(batch=64), engine)
        assert batch_that_fits(build, IMAGES, 0, 64, world) == batch
        assert tried == shares


@pytest.mark.parametrize(
    ("learner", "option"), [(ClassifierLearner, "--classifier"), (AutoencoderLearner, "--filters")]
)
def test_where_no_batch_fits_the_advice_is_an_option_of_the_model(
    tmp_path: Path, learner: type[Learner], option: str
) -> None:
    class Full(Point):
        smaller_network = learner.smaller_network

        def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
            raise MemoryError

    with pytest.raises(InputError, match=f"batch of 2 .* {option}"):
        trainer.train(Full, IMAGES, SCHEDULE, Run.create(tmp_path / "run", "generator", {}))


@pytest.mark.parametrize("place", ["preview", "validate", "set_stage"])
def test_smaller_batches_are_tried_only_where_a_step_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Point, place, full)
    monkeypatch.setattr(trainer, "batch_that_fits", lambda *_: pytest.fail("a smaller batch was tried"))
    run = Run.create(tmp_path / "run", "generator", {})
    with pytest.raises(MemoryError):
        trainer.train(Point, IMAGES, SCHEDULE, run)
