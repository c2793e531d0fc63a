"""Each failure is planted in a real training at tiny width, which must end with the line that fits it.

The healthy trainings at the end are the same ones without the plant.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from plenish import cli
from plenish.commands.train_gan import train_gan
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
    arguments: dict = {"batch": 10, "checkpoint_kimg": 0.1, "validation": False}
    return train_gan(data.path, run, kimg=kimg, options=[*TINY, *options], **(arguments | more))


def _message(data: Dataset, run: Path, kimg: float, options: list[str], **more: object) -> str:
    """Train what must fail; its message, which status.json must hold too."""
    with pytest.raises(CheckFailed) as failure:
        _train(data, run, kimg, options, **more)
    status = Run.open(run).status
    assert status["state"] == "diverged"
    assert failure.value.exit_code == 3
    assert status["message"] in str(failure.value)
    return str(status["message"])


def test_explosion_through_an_absurd_learning_rate(stripes: Stripes, tmp_path: Path) -> None:
    data = stripes()
    assert "loss exploded" in _message(data, tmp_path / "finite", 2.0, [], lr=10.0)
    assert "no longer a number, the end of an explosion" in _message(data, tmp_path / "nan", 2.0, [], lr=1e38)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ("vanilla", "it gives fakes"),
        ("hinge", "its loss is"),
        ("relativistic", "above fakes"),
    ],
)
def test_a_discriminator_that_wins(stripes: Stripes, tmp_path: Path, objective: str, words: str) -> None:
    options = [*FEEBLE, f"adversarial.objective={objective}"]
    message = _message(stripes(), tmp_path / "run", 4.0, options)
    assert "the discriminator won outright, since" in message
    assert words in message


def test_a_critic_that_is_always_right_is_well(stripes: Stripes, tmp_path: Path) -> None:
    options = [*FEEBLE, "adversarial.objective=wasserstein", "penalty.gp=10"]
    run = _train(stripes(), tmp_path / "run", 1.0, options)
    assert run.status["state"] == "complete"
    assert run.metrics()["d_accuracy_fake"].dropna().tail(10).min() > 0.99


def test_a_saturated_game_vanishes(stripes: Stripes, tmp_path: Path) -> None:
    """In the first game of 2014 the generator gets gradients in proportion to d_fake: soon hardly any."""
    options = [*FEEBLE, "adversarial.objective=vanilla", "limits.d_fake=0.0", "limits.vanishing=3e-3"]
    message = _message(stripes(), tmp_path / "run", 2.0, options)
    assert "the generator's gradients vanished, since" in message


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
    message = _message(stripes(), tmp_path / "run", 2.0, [])
    assert "the generator's gradients vanished in 1 of 3 layers, those near the input, since" in message
    assert "(project: norm" in message


def test_instability_of_a_discriminator_that_overshoots(stripes: Stripes, tmp_path: Path) -> None:
    options = ["adversarial.lr_d=1.0", "adversarial.lr_g=0.01"]
    message = _message(stripes(), tmp_path / "run", 2.0, options)
    assert "the discriminator's loss takes extreme values, since" in message


def test_collapse_of_a_generator_that_heeds_only_the_label(
    stripes: Stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that differ between classes only are as collapsed as images that do not differ."""
    mapping = DCGANGenerator.mapping
    monkeypatch.setattr(DCGANGenerator, "mapping", lambda self, z, y: mapping(self, 0 * z, y))
    message = _message(stripes(), tmp_path / "run", 2.0, [])
    assert "the samples have become nearly alike, since" in message
    assert "of that of real images" in message


def test_rollback_from_the_command_line_and_its_exit_codes(
    stripes: Stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    common = ["train", "gan", str(data.path)]
    short = ["--batch", "10", "--kimg", "1.5", "--checkpoint-kimg", "0.1", "--no-validation", "--quiet"]
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
    assert capsys.readouterr().err.count("Going on from there with other random draws") == 2


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
