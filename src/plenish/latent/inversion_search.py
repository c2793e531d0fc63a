"""Minimisation of many independent functions at once, one row each; every step evaluates each row once.

Rows never touch each other: a row ends alike whatever the others are, up to rounding of batched products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Parameters R×P and numbers of the rows R → values R and gradients R×P."""
_LONGEST = 0.5
"""Of a first step, as the root mean square of the change of a parameter."""


class Minimiser(Protocol):
    """What goes down the rows' functions.

    Attributes:
        rows: numbers of the rows that are left.
        best: the best parameters of each so far, R×P.
        value: their values, R.
        fresh: whether the beginning was evaluated already; whoever steps sets it to False.
    """

    fresh: bool
    rows: Tensor
    best: Tensor
    value: Tensor

    def step(self) -> None:
        """Evaluate each row once, and move."""

    def keep(self, kept: Tensor) -> None:
        """Leave out all rows but these, by their places."""


class LBFGS:
    """Limited-memory BFGS with backtracking (Nocedal and Wright, Numerical Optimization, 2006, §7.2).

    A step is one trial: where a row's value has decreased enough (Armijo) it moves and gets a new direction;
    elsewhere its step is shortened and tried again, while the other rows go on.

    Attributes:
        rows: numbers of the rows that are left.
        best: the best parameters of each so far, R×P.
        value: their values, R.
        fresh: see `Minimiser`.
    """

    def __init__(self, evaluate: Evaluate, x: Tensor, rows: Tensor, memory: int = 20) -> None:
        """Evaluate the beginning."""
        self.evaluate, self.rows, self.fresh = evaluate, rows, True
        self.best = x.clone()
        self.value, self._gradient = evaluate(x, rows)
        n, p = x.shape
        self._s, self._y = x.new_zeros(memory, n, p), x.new_zeros(memory, n, p)
        self._rho, self._gamma = x.new_zeros(memory, n), x.new_zeros(n)
        self._length = x.new_ones(n)
        self._direction = self._descend()

    def _descend(self) -> Tensor:
        """New directions, by the two loops over the pairs; of steepest descent where there are none yet."""
        q, alphas = -self._gradient, []
        for s, y, rho in zip(self._s, self._y, self._rho):  # The latest pair first.
            alpha = rho * (s * q).sum(1)
            q = q - alpha[:, None] * y
            alphas.append(alpha)
        root = q.square().mean(1).sqrt().clamp_min(1e-30)
        scale = torch.where(self._gamma > 0, self._gamma, 0.1 / root)
        q = scale[:, None] * q
        for s, y, rho, alpha in zip(self._s.flip(0), self._y.flip(0), self._rho.flip(0), reversed(alphas)):
            q = q + (alpha - rho * (y * q).sum(1))[:, None] * s
        too_long = (q.square().mean(1).sqrt() / _LONGEST).clamp_min(1)
        return q / too_long[:, None]

    def step(self) -> None:
        """Evaluate each row once, and move those whose value decreased enough."""
        tried = self.best + self._length[:, None] * self._direction
        value, gradient = self.evaluate(tried, self.rows)
        slope = (self._gradient * self._direction).sum(1)
        good = torch.isfinite(value) & (value <= self.value + 1e-4 * self._length * slope)
        self._remember(good, tried - self.best, gradient - self._gradient)
        # The minimum of the parabola through value, slope and the trial, for those that went too far.
        curved = 2 * (value - self.value - self._length * slope)
        shorter = torch.where(curved > 0, -slope * self._length / curved, 0.1).nan_to_num(0.1).clamp(0.1, 0.5)
        self.best = torch.where(good[:, None], tried, self.best)
        self._gradient = torch.where(good[:, None], gradient, self._gradient)
        self.value = torch.where(good, value, self.value)
        self._length = torch.where(good, 1.0, self._length * shorter)
        lost = self._length < 1e-4  # The pairs lead nowhere: begin anew.
        self._rho, self._gamma = self._rho * ~lost, self._gamma * ~lost
        self._length = torch.where(lost, 1.0, self._length)
        fresh = self._descend()
        self._direction = torch.where((good | lost)[:, None], fresh, self._direction)

    def _remember(self, good: Tensor, s: Tensor, y: Tensor) -> None:
        """Put a pair before the others in the rows that moved, where it has positive curvature."""
        product = (s * y).sum(1)
        new = good & (product > 1e-10 * (s.norm(dim=1) * y.norm(dim=1)).clamp_min(1e-30))
        for held, pair in ((self._s, s), (self._y, y)):
            held.copy_(torch.where(new[:, None], torch.cat([pair[None], held[:-1]]), held))
        safe = torch.where(new, product, 1.0)
        self._rho.copy_(torch.where(new, torch.cat([(1 / safe)[None], self._rho[:-1]]), self._rho))
        self._gamma = torch.where(new, safe / y.square().sum(1).clamp_min(1e-30), self._gamma)

    def keep(self, kept: Tensor) -> None:
        """Leave out all rows but these, by their places."""
        for name in ("rows", "best", "value", "_gradient", "_gamma", "_length", "_direction"):
            setattr(self, name, getattr(self, name)[kept])
        for name in ("_s", "_y", "_rho"):
            setattr(self, name, getattr(self, name)[:, kept].contiguous())


class Adam:
    """Adam (Kingma and Ba, 2015) of each row, at a constant rate or one that falls to 0 as a cosine.

    Attributes:
        rows: numbers of the rows that are left.
        best: the best parameters of each so far, R×P.
        value: their values, R.
        fresh: see `Minimiser`.
    """

    def __init__(
        self, evaluate: Evaluate, x: Tensor, rows: Tensor, rate: float, total: int | None = None
    ) -> None:
        """Begin at x.

        Args:
            evaluate: the functions.
            x: the beginning, R×P.
            rows: numbers of the rows.
            rate: the learning rate.
            total: steps after which it is 0; by default it is constant.
        """
        self.evaluate, self.rows, self.rate, self.total, self.fresh = evaluate, rows, rate, total, False
        self.best, self.value = x.clone(), x.new_full((len(x),), float("inf"))
        self._x, self._mean, self._square, self._t = x.clone(), torch.zeros_like(x), torch.zeros_like(x), 0

    def step(self) -> None:
        """Evaluate each row once, and move."""
        value, gradient = self.evaluate(self._x, self.rows)
        better = value < self.value
        self.best = torch.where(better[:, None], self._x, self.best)
        self.value = torch.where(better, value, self.value)
        share = 1.0
        if self.total is not None:
            phase = torch.tensor(min(1.0, self._t / self.total) * torch.pi)
            share = 0.5 + 0.5 * float(torch.cos(phase))
        self._t += 1
        self._mean = self._mean.lerp(gradient, 0.1)
        self._square = self._square.lerp(gradient.square(), 0.001)
        mean, square = self._mean / (1 - 0.9**self._t), self._square / (1 - 0.999**self._t)
        self._x = self._x - self.rate * share * mean / (square.sqrt() + 1e-8)

    def keep(self, kept: Tensor) -> None:
        """Leave out all rows but these, by their places."""
        for name in ("rows", "best", "value", "_x", "_mean", "_square"):
            setattr(self, name, getattr(self, name)[kept])
