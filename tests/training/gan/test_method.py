from __future__ import annotations

import pytest

from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty


@pytest.mark.parametrize(
    ("penalty", "d_steps", "kinds"),
    [
        (Penalty(), 1, [(0, 1.0)]),
        (Penalty(interval=16), 1, [(0, 1.0)]),
        (Penalty(gp=10), 5, [(0, 1.0)]),
        (Penalty(r1=1, interval=16), 1, [(0, 1 / 16), (1, 15 / 16)]),
        (Penalty(path=2, path_interval=4), 1, [(0, 1 / 4), (1, 3 / 4)]),
        (Penalty(r1=1, interval=16, path=2), 1, [(0, 1 / 16), (1, 12 / 16), (4, 3 / 16)]),
        (Penalty(r1=1, interval=4), 2, [(0, 1 / 2), (1, 1 / 2)]),
        (Penalty(r1=1, interval=2), 3, [(0, 1 / 2), (1, 1 / 2)]),
    ],
)
def test_kinds_of_turns_and_how_often_they_come_up(
    penalty: Penalty, d_steps: int, kinds: list[tuple[int, float]]
) -> None:
    found = Method(Adversarial(d_steps=d_steps), penalty).turns()
    assert [(steps[0] // d_steps, share) for steps, share in found] == kinds
    assert all(len(steps) == d_steps for steps, _ in found)
