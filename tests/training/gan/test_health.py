"""Each failure is planted in the log and must be told; a healthy log must not."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest

from plenish.commands.train_generator import train_gan
from plenish.training import failures
from plenish.training.failures import Failure
from plenish.training.gan.health import Health, Limits
from plenish.training.gan.method import PARTS
from plenish.training.gan.objectives import OBJECTIVES


def _line(kimg: float, **changes: float) -> dict[str, float]:
    healthy = {
        "loss_g": 1.5, "loss_d": 0.9, "grad_g": 2.0, "grad_d": 3.0, "d_real": 0.7, "d_fake": 0.3,
        "score_real": 1.0, "score_fake": -1.0, "d_accuracy_real": 0.8, "d_accuracy_fake": 0.8,
    }  # fmt: skip
    return {"kimg": kimg} | healthy | changes


def _won(kimg: float, **changes: float) -> dict[str, float]:
    return _line(kimg, d_accuracy_real=1.0, d_accuracy_fake=1.0, d_real=1.0, **changes)


def _fed(
    lines: list[dict[str, float]], limits: Limits | None = None, objective: str = "nonsaturating"
) -> Failure | None:
    watch = Health(limits or Limits(), objective)
    for line in lines:
        failure = watch.hear(line)
        if failure:
            assert "{" not in failure.message
            return failure
    return None


def _told(lines: list[dict[str, float]], **more: str) -> tuple[str, object]:
    """Code of the failure in these lines, and the value it is about."""
    failure = _fed(lines, **more)
    assert failure is not None
    return failure.code, failure.values.get("name")


def _noise(k: int, seed: int = 0) -> dict[str, float]:
    """A line as from a training that is noisy but healthy."""
    rng = np.random.default_rng([seed, k])
    return _line(
        k,
        loss_g=rng.uniform(0.3, 12) + rng.normal(0, 0.01),
        loss_d=rng.uniform(0.05, 1.2),
        grad_g=float(np.exp(rng.normal(0, 1.5))),
        grad_d=float(np.exp(rng.normal(0, 1.5))),
        d_fake=rng.uniform(0.001, 0.7),
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_noisy_but_healthy_training_passes(objective: str) -> None:
    assert _fed([_noise(k) for k in range(300)], objective=objective) is None


@pytest.mark.parametrize("name", ["loss_g", "loss_d", "grad_g", "grad_d", "grad_g/project"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number(name: str, value: float) -> None:
    assert _told([_line(0), _line(1, **{name: value})]) == ("not-finite", name)


def test_explosion() -> None:
    lines = [_line(k, loss_g=1.5 + 0.01 * (k % 2)) for k in range(20)]
    assert _told([*lines, _line(20, grad_g=1e5)]) == ("exploded", "grad_g")
    assert _told([*lines, _line(20, grad_d=1e5)]) == ("exploded", "grad_d")
    failure = _fed([*lines, _line(20, loss_d=-1200.0)])
    assert failure is not None
    assert failure.values == {"name": "loss_d", "value": -1200.0, "usual": 0.9}
    assert "-1.2e+03, usually 0.9" in failure.message
    assert _fed([*lines, _line(20, grad_g=100.0, loss_g=100.0)]) is None


def test_an_explosion_is_seen_at_the_first_line() -> None:
    assert _told([_line(0.1, loss_g=2000.0)]) == ("exploded", "loss_g")
    assert _told([_line(0.1, grad_d=2e6)]) == ("exploded", "grad_d")
    assert _fed([_line(0.1, loss_d=-2000.0)], objective="wasserstein") is None  # its scale is free


def test_the_next_mistake_of_a_hinge_discriminator_is_no_explosion() -> None:
    lines = [_noise(k) | {"grad_d": 0.0 if k % 3 else 9.0} for k in range(60)]
    assert _fed(lines, objective="hinge") is None


def test_vanishing_must_last() -> None:
    healthy = [_noise(k) for k in range(20)]
    dead = [_noise(k) | {"grad_g": 1e-8} for k in range(20, 40)]
    assert _fed([*healthy, *dead[:9]]) is None
    assert _fed([*healthy, *dead]) == Failure("gradients-vanished", 20, {"name": "grad_g", "value": 1e-8})


def test_losses_that_no_longer_change_have_no_gradients_behind_them() -> None:
    assert _fed([_line(k + 1) for k in range(20)]) == Failure("losses-constant", 1)
    moving = [_line(k, loss_g=1.5 + 0.001 * (k % 2)) for k in range(40)]
    assert _fed(moving) is None


LAYERS = ("first", "second", "third", "last")


def _layered(k: int, network: str, norms: tuple[float, ...]) -> dict[str, float]:
    return _noise(k) | {f"grad_{network}/{n}": v for n, v in zip(LAYERS, norms, strict=True)}


@pytest.mark.parametrize("network", ["g", "d"])
def test_vanishing_by_layer_is_that_of_the_layers_near_the_input(network: str) -> None:
    healthy = [_layered(k, network, (0.01, 0.1, 0.5, 2.0)) for k in range(20)]
    dead = [_layered(k, network, (1e-12, 1e-9, 0.5, 2.0)) for k in range(20, 40)]
    failure = _fed([*healthy, *dead])
    values = {"layers": ["first", "second"], "of": 4, "value": 1e-9, "last": 2.0}
    assert failure == Failure("layers-vanished", 20, {"name": f"grad_{network}", **values})
    assert "2 of 4 layers" in failure.message
    assert "(first, second: norm 1e-09, last layer 2)" in failure.message
    assert _fed([*healthy, *dead[:9]]) is None


def test_a_layer_behind_a_closed_gate_has_not_vanished() -> None:
    gated = [_layered(k, "g", (0.01, 0.0, 0.0, 2.0)) for k in range(40)]
    assert _fed(gated) is None


def test_a_layer_is_compared_with_the_last_one() -> None:
    failure = _fed([_layered(k, "g", (1e-4, 1, 9, 5e2)) for k in range(40)])
    assert failure is not None
    assert failure.values["layers"] == ["first"]
    assert _fed([_layered(k, "g", (1e-4, 1, 9, 5.0)) for k in range(40)]) is None


def test_discriminator_wins_outright() -> None:
    lines = [_won(k, d_fake=1e-6, loss_g=14.0 + k % 2) for k in range(40)]
    assert _told(lines) == ("discriminator-won", "d_fake")
    assert _fed([line | {"d_accuracy_fake": 0.99} for line in lines]) is None
    assert _fed([_won(k / 10, d_fake=1e-6) for k in range(40)]) is None  # still warming up


def test_a_discriminator_without_an_accuracy_has_not_won() -> None:
    lines = [_won(k, d_fake=1e-6, loss_g=14.0 + k % 2) for k in range(40)]
    for name in ("d_accuracy_real", "d_accuracy_fake"):
        assert _fed([line | {name: float("nan")} for line in lines]) is None
    assert _fed([line | {"d_fake": float("nan")} for line in lines]) is None


def test_scores_are_not_taken_for_probabilities() -> None:
    """Mean scores below 0 say nothing, and always being right is what a critic is for."""
    lines = [_won(k, loss_d=0.3 + k % 2, score_real=8.0, score_fake=-1.0) for k in range(40)]
    for objective in ("wasserstein", "hinge", "relativistic", "lsgan"):
        rows = [{n: v for n, v in line.items() if n not in ("d_real", "d_fake")} for line in lines]
        assert _fed([r | {"loss_d": r["loss_d"] / 5} for r in rows], objective=objective) is None


@pytest.mark.parametrize(
    ("objective", "changes", "name", "value"),
    [
        ("hinge", {"loss_d": 0.0, "grad_d": 0.0}, "loss_d", 0.0),
        ("lsgan", {"loss_d": 1e-4}, "loss_d", 1e-4),
        ("relativistic", {"score_real": 30.0, "score_fake": 18.0}, "margin", 12.0),
    ],
)
def test_what_has_won_depends_on_the_objective(
    objective: str, changes: dict[str, float], name: str, value: float
) -> None:
    lines = [_won(k, loss_g=1.0 + k % 2, **changes) for k in range(40)]
    failure = _fed(lines, objective=objective)
    assert failure is not None
    assert failure.code == "discriminator-won"
    assert failure.values == {"name": name, "value": value}
    critic = _fed(lines, objective="wasserstein")
    assert critic is None or critic.code != "discriminator-won"


def test_instability_is_leaps_again_and_again() -> None:
    calm = [_noise(k) | {"loss_g": 1.0 + 0.1 * (k % 3)} for k in range(40)]
    once = [*calm[:30], _noise(30) | {"loss_g": 30.0}, *calm[31:]]
    assert _fed(once) is None
    often = [line | {"loss_g": 30.0} if k in (31, 34, 37) else line for k, line in enumerate(calm)]
    failure = _fed(often)
    assert failure is not None
    assert (failure.code, failure.since) == ("unstable", 31)
    assert failure.values["name"] == "loss_g"
    assert failure.values["value"] == pytest.approx(30.0)
    assert failure.values["usual"] == pytest.approx(1.1, abs=0.2)


def test_a_loss_that_drifts_is_not_unstable() -> None:
    """The scores of a Wasserstein critic may wander: only their differences mean something."""
    drift = [_noise(k) | {"loss_g": float(k * k), "loss_d": -5.0 - k % 2} for k in range(30)]
    assert _fed(drift, objective="wasserstein") is None


def test_instability_from_the_start_is_compared_with_guessing() -> None:
    wild = [_noise(k) | {"loss_d": 8.0 + 5 * (k % 4)} for k in range(40)]
    failure = _fed(wild)
    assert failure is not None
    assert (failure.code, "guessing" in failure.values) == ("unstable", True)
    assert _fed(wild, objective="wasserstein") is None


def test_lines_of_the_critic_alone_are_judged_too() -> None:
    lines = [{k: v for k, v in _noise(k).items() if not k.endswith("_g")} for k in range(40)]
    assert _fed(lines, objective="wasserstein") is None
    assert _told([*lines, lines[0] | {"loss_d": float("nan")}]) == ("not-finite", "loss_d")
    dead = [line | {"grad_d": 0.0} for line in lines]
    assert _told(dead, objective="wasserstein") == ("gradients-vanished", "grad_d")


def test_every_option_that_is_advised_exists() -> None:
    settings = " ".join((failures.CALMER, failures.GENTLER_D, failures.MORE_SIGNAL, failures.MORE_VARIETY))
    named = re.findall(r"\b(adversarial|penalty|augment)\.(\w+)(?:=([^\s,]+))?", settings)
    assert len(named) > 8
    together: dict[str, dict[str, object]] = {}
    for section, option, value in named:
        fields = {field.name: field for field in dataclasses.fields(PARTS[section])}
        assert option in fields
        if value:
            together.setdefault(section, {})[option] = type(fields[option].default)(value)
    for section, options in together.items():
        PARTS[section](**options)  # Values that are refused raise.
    for option in re.findall(r"--(\w+)", settings):
        assert option in inspect.signature(train_gan).parameters


def _look(variety: float, kimg: float) -> dict[str, float]:
    return {"kimg": kimg, "variety": variety}


def test_collapse_needs_two_looks() -> None:
    assert _fed([_look(0.01, 5)]) is None
    assert _fed([_look(0.01, 5), _look(0.01, 20)]) == Failure("collapsed", 5, {"value": 0.01})
    assert _fed([_look(0.01, 20), _look(0.9, 30), _look(0.02, 40)]) is None


def test_other_lines_do_not_stand_in_the_window() -> None:
    dead = [_noise(k) | {"grad_g": 1e-8} for k in range(20, 40)]
    mixed = [
        line
        for dead_line in dead
        for line in (dead_line, _look(1.0, dead_line["kimg"]), {"kimg": 1, "kid_val": 3})
    ]
    assert _told(mixed) == ("gradients-vanished", "grad_g")


def test_a_failure_tells_when_it_began() -> None:
    """What was saved from there on is not good any more."""
    limits = Limits(window=4, warmup_kimg=0)
    watch = Health(limits)
    healthy = [watch.hear(_noise(k)) for k in range(10)]
    dead = [watch.hear(_noise(10 + k) | {"grad_g": 1e-9}) for k in range(4)]
    assert not any(healthy)
    assert not any(dead[:3])
    assert dead[3] is not None
    assert dead[3].since == 10
    alike = Health(limits)
    looks = [alike.hear({"kimg": k, "variety": v}) for k, v in ((20.0, 0.5), (30.0, 0.01), (40.0, 0.01))]
    assert looks[2] is not None
    assert looks[2].since == 30
    sudden = watch.hear(_line(50, loss_d=float("nan")))
    assert sudden is not None
    assert sudden.since == 50


def test_a_line_without_norms_tells_sudden_failures_only() -> None:
    """As at a checkpoint between two lines of the log, which must not be written of an exploded training."""
    watch = Health(Limits())
    assert watch.hear({"kimg": 1.0, "loss_g": 1.0, "loss_d": 1.0}) is None
    failure = watch.hear({"kimg": 2.0, "loss_g": 4e6, "loss_d": 1.0})
    assert failure is not None
    assert (failure.code, failure.values["name"]) == ("exploded", "loss_g")
