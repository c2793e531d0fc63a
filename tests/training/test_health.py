"""Each failure is planted in the log and must be told; a healthy log must not."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.training.health import Health, Limits


def _line(kimg: float, **changes: float) -> dict[str, float]:
    return {"kimg": kimg, "loss_g": 1.5, "loss_d": 0.9, "grad_g": 2.0, "grad_d": 3.0, "d_fake": 0.3} | changes


def _fed(lines: list[dict[str, float]], limits: Limits | None = None) -> str | None:
    health = Health(limits or Limits())
    for line in lines:
        failure = health.feed(line)
        if failure:
            return failure
    return None


def test_a_noisy_but_healthy_training_passes() -> None:
    rng = np.random.default_rng(0)
    lines = [
        _line(
            k,
            loss_g=rng.uniform(0.3, 12),
            grad_g=float(np.exp(rng.normal(0, 1.5))),
            d_fake=rng.uniform(0.001, 0.7),
        )
        for k in range(300)
    ]
    assert _fed(lines) is None


@pytest.mark.parametrize("name", ["loss_g", "loss_d", "grad_g", "grad_d"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number(name: str, value: float) -> None:
    assert "no longer a number" in str(_fed([_line(0), _line(1, **{name: value})]))


def test_explosion() -> None:
    lines = [_line(k) for k in range(20)]
    assert "generator's gradients exploded" in str(_fed([*lines, _line(20, grad_g=1e5)]))
    assert "discriminator's gradients exploded" in str(_fed([*lines, _line(20, grad_d=1e5)]))
    assert _fed([*lines, _line(20, grad_g=100.0)]) is None


def test_vanishing_must_last() -> None:
    healthy, dead = [_line(k) for k in range(20)], [_line(k, grad_g=1e-8) for k in range(20, 40)]
    assert _fed([*healthy, *dead[:9]]) is None
    assert "vanished" in str(_fed([*healthy, *dead]))


def test_discriminator_wins_outright() -> None:
    lines = [_line(k, d_fake=1e-6, loss_g=14.0) for k in range(40)]
    assert "won outright" in str(_fed(lines))
    assert _fed([_line(k / 10, d_fake=1e-6) for k in range(40)]) is None  # still warming up


def _look(variety: float, kimg: float) -> dict[str, float]:
    return {"kimg": kimg, "variety": variety}


def test_collapse_needs_two_looks() -> None:
    assert _fed([_look(0.01, 5)]) is None
    assert "nearly alike" in str(_fed([_look(0.01, 5), _look(0.01, 20)]))
    assert _fed([_look(0.01, 20), _look(0.9, 30), _look(0.02, 40)]) is None


def test_other_lines_do_not_stand_in_the_window() -> None:
    dead = [_line(k, grad_g=1e-8) for k in range(20, 40)]
    mixed = [
        line
        for dead_line in dead
        for line in (dead_line, _look(1.0, dead_line["kimg"]), {"kimg": 1, "kid_val": 3})
    ]
    assert "vanished" in str(_fed(mixed))
