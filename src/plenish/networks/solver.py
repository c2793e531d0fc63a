"""Solvers of dx = v(x, t) dt from t = 0 to 1, there and back, which an exported graph holds as one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from plenish.errors import InputError, unknown

SOLVERS = ("heun", "euler")

Velocity = Callable[[Tensor, float | Tensor], Tensor]
"""Points N×… and their time → velocities N×…."""
Step = Callable[[Tensor, float | Tensor], Tensor]
"""Points N×… and their time → the points a step later."""


def integrate(velocity: Velocity, z: Tensor, steps: int, solver: str = "heun") -> Tensor:
    """Solve dx = v(x, t) dt from z at t = 0 to t = 1, in equal steps.

    Args:
        velocity: v.
        z: N×….
        steps: how many.
        solver: `heun`, with two velocities a step but the last, or `euler`.

    Raises:
        InputError: fewer than one step, or an unknown solver.
    """
    check_solver(steps, solver)

    def step(x: Tensor, t: float | Tensor) -> Tensor:
        return _step(velocity, x, t, 1 / steps, solver == "heun")

    times = [number / steps for number in range(steps)]
    return _step(velocity, _repeat(step, z, times[:-1]), times[-1], 1 / steps, second_order=False)


def check_solver(steps: int, solver: str, known: Sequence[str] = SOLVERS) -> None:
    """Refuse fewer than one step, or an unknown solver; InputError."""
    if steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}.", code="out-of-bounds")
    if solver not in known:
        raise unknown("solver", solver, known)


def _repeat(step: Step, x: Tensor, times: Sequence[float]) -> Tensor:
    """Take a step at each time; in an exported graph one loop in place of a copy of the network a step."""
    if times and torch.compiler.is_exporting():
        # What is handed on may be no input of the graph; what is kept of each step, one number, is not used.
        end, _ = scan(lambda x, t: (step(x, t), x.new_zeros(1)), x.clone(), torch.tensor(times))
        made: Tensor = end
        return made
    for t in times:
        x = step(x, t)
    return x


def integrate_back(velocity: Velocity, x: Tensor, steps: int, corrections: int = 2) -> Tensor:
    """The z that `integrate` takes to x by Heun's steps; see `Flow.invert`."""
    check_solver(steps, "heun")
    for number in reversed(range(steps)):
        second = number < steps - 1
        start = _step(velocity, x, (number + 1) / steps, -1 / steps, second)
        for _ in range(corrections):
            start = start + (x - _step(velocity, start, number / steps, 1 / steps, second))
        x = start
    return x


def _step(velocity: Velocity, x: Tensor, t: float | Tensor, step: float, second_order: bool) -> Tensor:
    """A step of Euler's method, or of Heun's."""
    v = velocity(x, t)
    there = x + step * v
    return x + step / 2 * (v + velocity(there, t + step)) if second_order else there
