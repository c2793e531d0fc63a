"""A length in hours becomes kimg by what this machine was seen to do, and checkpoints are spaced to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from plenish import cli, settings
from plenish.commands.train_generator import train_generator
from plenish.errors import InputError
from plenish.progress import plain_duration
from plenish.recipes import auto
from plenish.runs import Run
from plenish.training import budget

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.validate=20"]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A machine that takes 2 s a kimg, and 4 s to score a checkpoint."""
    tried: list[float] = []

    def speed(learner: Any, seconds: float) -> dict[str, float]:
        tried.append(seconds)
        return {"seconds_per_kimg": 2.0}

    monkeypatch.setattr(budget, "speed_of", speed)
    monkeypatch.setattr(budget, "_scoring_seconds", lambda learner: 4.0)
    return tried


@pytest.mark.parametrize(
    ("hours", "kimg", "checkpoints"),
    [
        (1.0, (3600 - 64) / 2, 16),
        (0.1, (360 - 64) / 2, 16),
        (0.01, (36 - 8) / 2, 2),
        (0.05, (180 - 36) / 2, 9),
    ],
)
def test_time_less_scoring_is_spent_on_images(stripes, tmp_path, fixed, hours, kimg, checkpoints) -> None:
    found = train_generator(
        stripes().path, tmp_path / "r", recipe="dcgan", hours=hours, dry_run=True, batch=10, options=TINY
    ).summary()
    assert found["kimg"] == pytest.approx(kimg, rel=0.01)
    assert list(found)[:2] == ["time_for_all", "recipe"]


def test_a_run_of_hours_keeps_its_length_and_scales_with_more(stripes, tmp_path: Path, fixed) -> None:
    data = stripes().path
    how: dict[str, Any] = {"recipe": "dcgan", "batch": 10, "options": TINY}
    run = train_generator(data, tmp_path / "r", hours=0.0025, **how)
    schedule = run.config["config"]["schedule"]
    assert schedule["kimg"] == pytest.approx((9 - 8) / 2)
    assert schedule["checkpoint_kimg"] == pytest.approx(0.25)
    assert len(fixed) == 1
    before = run.status["kimg"]
    assert train_generator(data, tmp_path / "r", hours=0.0025, **how).status["kimg"] == before
    longer = train_generator(data, tmp_path / "r", hours=0.003, **how)
    assert longer.status["kimg"] == pytest.approx(1.2 * before)
    assert len(fixed) == 1, "a Run that is there is not measured again"
    prolonged = train_generator(data, tmp_path / "r", kimg=0.7, **how)
    assert prolonged.status["kimg"] == pytest.approx(0.7, rel=0.05)
    assert Run.open(tmp_path / "r").state == "complete"


def test_what_is_asked_of_the_schedule_holds(stripes, tmp_path: Path, fixed) -> None:
    run = train_generator(
        stripes().path,
        tmp_path / "r",
        recipe="dcgan",
        hours=0.0025,
        checkpoint_kimg=0.4,
        batch=10,
        options=TINY,
    )
    assert run.config["config"]["schedule"]["checkpoint_kimg"] == 0.4


def test_hours_that_cannot_be_are_refused(stripes, tmp_path: Path, fixed, capfd) -> None:
    data = stripes().path
    for how, words in (
        ({"hours": 1.0, "kimg": 2.0}, "give one"),
        ({"hours": 1e-4}, "too short"),
        ({"hours": -1.0}, "above 0"),
    ):
        with pytest.raises(InputError, match=words):
            train_generator(data, tmp_path / "r", recipe="dcgan", batch=10, options=TINY, **how)
    train_generator(data, tmp_path / "old", recipe="dcgan", kimg=0.02, batch=10, options=TINY)
    with pytest.raises(InputError, match="made without --hours"):
        train_generator(data, tmp_path / "old", recipe="dcgan", hours=1.0, batch=10, options=TINY)
    words = [
        "train",
        "gan",
        str(data),
        str(tmp_path / "r"),
        "--hours",
        "0.0001",
        "--recipe",
        "dcgan",
        "--batch",
        "10",
        "--quiet",
    ]
    assert cli.run(words) == 2
    assert "too short" in capfd.readouterr().err
    assert not (tmp_path / "r").exists()


def test_auto_takes_an_hour_unless_told_otherwise(stripes, tmp_path: Path, fixed) -> None:
    data = stripes().path

    def kimg(**how: Any) -> float:
        found = train_generator(
            data, tmp_path / "r", recipe="auto", dry_run=True,
            options=["network.width=16", "network.max_width=16"], **how,
        )  # fmt: skip
        return float(found.summary()["kimg"])

    assert kimg() == pytest.approx((3600 - 64) / 2, rel=0.01)
    assert kimg(kimg=3.0) == 3
    assert kimg(hours=0.5) == pytest.approx((1800 - 64) / 2, rel=0.01)


def test_reasons_name_the_hours() -> None:
    facts = auto.Facts(500, 32, hours=2.0)
    assert any("What this machine does in 2 h" in reason for reason in auto.choose(facts).choice["reasons"])
    facts = dataclasses.replace(facts, hours=None)
    assert any("At most 2,000 kimg" in reason for reason in auto.choose(facts).choice["reasons"])


def test_the_measured_scoring_and_speed_are_of_this_machine(stripes, tmp_path: Path, monkeypatch) -> None:
    with settings.use(quiet=True):
        found = train_generator(
            stripes().path, tmp_path / "r", recipe="dcgan", hours=0.02, dry_run=True, batch=10, options=TINY
        ).summary()
    assert found["kimg"] > 0
    assert found["seconds_per_kimg"] > 0


@pytest.mark.parametrize(("family", "said"), [("progan", "at most"), ("dcgan", "about")])
def test_the_time_of_a_growing_network_is_an_upper_limit(
    family: str, said: str, stripes, tmp_path: Path, fixed, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def stop(*_: object, **__: object) -> None:
        raise InputError("far enough")

    monkeypatch.setattr(Run, "open_or_create", stop)
    with settings.use(quiet=False), pytest.raises(InputError, match="far enough"):
        train_generator(
            stripes().path, tmp_path / "r", family=family, kimg=40, batch=10, validation=False,
            options=[*TINY, "schedule.checkpoint_kimg=20"],
        )  # fmt: skip
    # 40 kimg of 2 s, and two checkpoints of a second.
    assert f"40 kimg take {said} {plain_duration(82)} here" in capsys.readouterr().err
