"""Each failure is planted in a real training at tiny width, which must end with the line that fits it.

The healthy trainings at the end are the same ones without the plant.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from plenish import cli
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed
from plenish.networks.gan.dcgan import DCGANGenerator
from plenish.runs import Run

TINY = [
    "network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.log_kimg=0.05",
    "schedule.sample_kimg=0.2", "limits.warmup_kimg=0.3",
]  # fmt: skip
FEEBLE = ["adversarial.lr_g=1e-6", "adversarial.lr_d=0.01"]
"""A generator that hardly moves against a discriminator that learns fast."""

Stripes = Callable[..., Dataset]


def _train(data: Dataset, run: Path, kimg: float, options: list[str], **more: object) -> Run:
    arguments: dict = {"recipe": "dcgan", "batch": 10, "checkpoint_kimg": 0.1, "validation": False}
    return train_gan(data.path, run, kimg=kimg, options=[*TINY, *options], **(arguments | more))


def _failure(data: Dataset, run: Path, kimg: float, options: list[str], **more: object) -> dict:
    """Train what must fail; the failure, which status.json must hold with its message."""
    with pytest.raises(CheckFailed) as failure:
        _train(data, run, kimg, options, **more)
    status = Run.open(run).status
    assert status["state"] == "diverged"
    assert failure.value.exit_code == 3
    assert status["message"] in str(failure.value)
    return dict(status["failure"])


def test_explosion_through_an_absurd_learning_rate(stripes: Stripes, tmp_path: Path) -> None:
    data = stripes()
    finite = _failure(data, tmp_path / "finite", 2.0, [], lr=10.0)
    assert (finite["code"], finite["name"][:5]) == ("exploded", "loss_")
    assert _failure(data, tmp_path / "nan", 2.0, [], lr=1e38)["code"] == "not-finite"


@pytest.mark.parametrize(
    ("objective", "name"), [("vanilla", "d_fake"), ("hinge", "loss_d"), ("relativistic", "margin")]
)
def test_a_discriminator_that_wins(stripes: Stripes, tmp_path: Path, objective: str, name: str) -> None:
    options = [*FEEBLE, f"adversarial.objective={objective}"]
    failure = _failure(stripes(), tmp_path / "run", 4.0, options)
    assert (failure["code"], failure["name"]) == ("discriminator-won", name)


def test_a_critic_that_is_always_right_is_well(stripes: Stripes, tmp_path: Path) -> None:
    options = [*FEEBLE, "adversarial.objective=wasserstein", "penalty.gp=10"]
    run = _train(stripes(), tmp_path / "run", 1.0, options)
    assert run.status["state"] == "complete"
    assert run.metrics()["d_accuracy_fake"].dropna().tail(10).min() > 0.99


def test_a_saturated_game_vanishes(stripes: Stripes, tmp_path: Path) -> None:
    """In the first game of 2014 the generator gets gradients in proportion to d_fake: soon hardly any."""
    options = [*FEEBLE, "adversarial.objective=vanilla", "limits.d_fake=0.0", "limits.vanishing=3e-3"]
    failure = _failure(stripes(), tmp_path / "run", 2.0, options)
    assert (failure["code"], failure["name"]) == ("gradients-vanished", "grad_g")


def test_vanishing_by_layer(stripes: Stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing flows back into the first layer, and everything into the others."""
    built = DCGANGenerator.__init__

    def cut(self: DCGANGenerator, *arguments: object, **more: object) -> None:
        built(self, *arguments, **more)
        self.project.register_forward_hook(lambda module, inputs, output: _numb(output))

    def _numb(output: Tensor) -> Tensor:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * 1e-12)
        return output

    monkeypatch.setattr(DCGANGenerator, "__init__", cut)
    failure = _failure(stripes(), tmp_path / "run", 2.0, [])
    assert (failure["code"], failure["name"]) == ("layers-vanished", "grad_g")
    assert (failure["layers"], failure["of"]) == (["project"], 3)


def test_instability_of_a_discriminator_that_overshoots(stripes: Stripes, tmp_path: Path) -> None:
    options = ["adversarial.lr_d=1.0", "adversarial.lr_g=0.01"]
    failure = _failure(stripes(), tmp_path / "run", 2.0, options)
    assert (failure["code"], failure["name"]) == ("unstable", "loss_d")
    assert "guessing" in failure


def test_collapse_of_a_generator_that_heeds_only_the_label(
    stripes: Stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that differ between classes only are as collapsed as images that do not differ."""
    mapping = DCGANGenerator.mapping
    monkeypatch.setattr(DCGANGenerator, "mapping", lambda self, z, y: mapping(self, 0 * z, y))
    failure = _failure(stripes(), tmp_path / "run", 2.0, [])
    assert failure["code"] == "collapsed"
    assert 0 <= failure["value"] < 0.05


def test_rollback_from_the_command_line_and_its_exit_codes(
    stripes: Stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    common = ["train", "gan", str(data.path)]
    short = [
        "--recipe",
        "dcgan",
        "--batch",
        "10",
        "--kimg",
        "1.5",
        "--checkpoint-kimg",
        "0.1",
        "--no-validation",
        "--quiet",
    ]
    options = ["--options", *TINY, "adversarial.lr_d=1.0", "adversarial.lr_g=0.01"]
    assert cli.run([*common, str(tmp_path / "stop"), *short, "--on-failure", "stop", *options]) == 3
    assert "rollbacks" not in Run.open(tmp_path / "stop").status
    said = cli.run(
        [
            *common,
            str(tmp_path / "back"),
            *short,
            "--on-failure",
            "rollback",
            *options,
            "schedule.rollbacks=2",
        ]
    )
    status = Run.open(tmp_path / "back").status
    assert said == 3, "what fails at every draw ends all the same"
    assert (status["state"], status["rollbacks"], status["attempt"]) == ("diverged", 2, 2)
    assert capsys.readouterr().err.count("Training diverged") == 2 + 2, "each rollback warns, each end fails"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["adversarial.objective=hinge"],
        [
            "adversarial.objective=wasserstein",
            "penalty.gp=10",
            "adversarial.d_steps=3",
            "adversarial.beta1=0.0",
        ],
        ["adversarial.objective=relativistic", "penalty.r1=1", "penalty.r2=1"],
        ["adversarial.objective=lsgan", "augment.diffaugment='color,translation'"],
    ],
    ids=["nonsaturating", "hinge", "wasserstein", "relativistic", "lsgan"],
)
def test_a_healthy_training_raises_no_alarm(stripes: Stripes, tmp_path: Path, options: list[str]) -> None:
    assert _train(stripes(), tmp_path / "run", 1.5, options).status["state"] == "complete"
