"""Steps along a direction on which given functions of a point keep their values.

A direction of a latent space is the same everywhere; what changes with it is not. Here each point goes its
own way: of all steps that advance so far along the direction and, to first order, leave the functions as they
were, the shortest is taken, and Newton steps correct what is left over (predictor and corrector of numerical
continuation; Allgower and Georg, Numerical Continuation Methods, 1990).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.latent.interpolation import fitted_direction
from plenish.latent.points import Points

Function = Callable[[Tensor], Tensor]
Binding = Callable[[Tensor], Function]
"""From the images that an edit begins with to a function of images, N×C×H×W in [-1, 1] to N×M."""
Decoder = Callable[[Tensor, Tensor | None], Tensor]
_DAMPING = 1e-4
"""Added to the diagonal of the cosines between the gradients, so that parallel ones make no endless step."""
_LONGEST = 4.0
"""Length of the longest step, in what a step is to advance along the direction."""


@dataclasses.dataclass(frozen=True)
class HeldSteps:
    """Where the steps lead, for each amount that was asked for.

    Attributes:
        points: N×D each.
        drift: how far the functions are from their values at the start, N×M each.
        short: share of the way along the direction that is missing, N each; 0 where the amount is 0.
    """

    points: Sequence[Tensor]
    drift: Sequence[Tensor]
    short: Sequence[Tensor]


def advance(
    f: Function, start: Tensor, direction: Tensor, amounts: Sequence[float], *, step: float = 0.25
) -> HeldSteps:
    """Advance along a direction by given amounts, with functions held.

    Args:
        f: points N×D to values N×M, each row of its own point alone; differentiable.
        start: points N×D.
        direction: N×D; amount 1 is its length.
        amounts: how far, in lengths of the direction; of either sign, in any order.
        step: greatest amount of one step; each is followed by one correction, the last before an amount that
            is asked for by three.
    """
    length = direction.norm(dim=1).clamp_min(1e-12)
    with torch.no_grad():
        first = f(start)
    walk = _Walk(f, start, first, direction / length[:, None], length)
    found = {0.0: start}
    for sign in (1.0, -1.0):
        x, here = start, 0.0
        for there in sorted({abs(amount) for amount in amounts if sign * amount > 0}):
            count = math.ceil((there - here) / step - 1e-9)
            stride = (there - here) / count
            for k in range(1, count + 1):
                for _ in range(4 if k == count else 2):
                    x = walk.step(x, sign * (here + k * stride), stride)
            found[sign * there], here = x, there
    points = [found[float(amount) + 0.0] for amount in amounts]
    with torch.no_grad():
        drift = [f(x) - first for x in points]
    short = [walk.short(x, amount) for x, amount in zip(points, amounts, strict=True)]
    return HeldSteps(points, drift, short)


@dataclasses.dataclass(frozen=True)
class _Walk:
    """N walks at once: from `start`, `along` unit directions, amount 1 of which is `length`."""

    f: Function
    start: Tensor
    first: Tensor
    along: Tensor
    length: Tensor

    def way(self, x: Tensor) -> Tensor:
        return ((x - self.start) * self.along).sum(1)

    def short(self, x: Tensor, amount: float) -> Tensor:
        if not amount:
            return torch.zeros_like(self.length)
        return torch.where(self.length > 1e-9, 1 - self.way(x) / (amount * self.length), 0.0)

    def step(self, x: Tensor, amount: float, stride: float) -> Tensor:
        """The shortest step to where, by their tangents, amount and functions are as asked."""
        values, slopes = values_and_slopes(self.f, x)
        steepness = slopes.norm(dim=2).clamp_min(1e-12)
        rows = torch.cat([self.along[:, None], slopes / steepness[:, :, None]], 1).double()
        ahead = amount * self.length - self.way(x)
        missing = torch.cat([ahead[:, None], (self.first - values) / steepness], 1).double()
        cosines = rows @ rows.transpose(1, 2)
        damping = _DAMPING * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        move = (torch.linalg.solve(cosines + damping, missing)[:, None] @ rows)[:, 0]
        longest = _LONGEST * stride * self.length.double()
        move = move * (longest / move.norm(dim=1).clamp_min(1e-12)).clamp(max=1)[:, None]
        there: Tensor = x + move.to(x.dtype)
        return there


def values_and_slopes(f: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values N×M of functions at points N×D, and their gradients N×M×D."""
    with torch.enable_grad():
        free = x.detach().requires_grad_()
        values = f(free)
        last = values.shape[1] - 1
        slopes = [
            torch.autograd.grad(values[:, i].sum(), free, retain_graph=i < last)[0] for i in range(last + 1)
        ]
    return values.detach(), torch.stack(slopes, 1)


class Moved(NamedTuple):
    """N points moved with functions of their images held.

    Attributes:
        points: the points.
        drift: how far each function is from its value at the start, N×M.
        short: share of the way along the direction that is missing, N.
    """

    points: Points
    drift: NDArray[np.float64]
    short: NDArray[np.float64]


def moved_holding(
    decode: Decoder, points: Points, direction: NDArray[np.floating], strengths: Sequence[float],
    held: Binding, *, step: float, at_once: int, device: torch.device | str,
) -> list[Moved]:  # fmt: skip
    """Points moved along a direction, each on its own way, for each strength.

    Args:
        decode: latents and labels to images N×C×H×W, mostly in [-1, 1]; differentiable.
        points: N of them.
        direction: of the shape of a point, or, for w, of one style, which all layers then get.
        strengths: S factors.
        held: the functions.
        step: greatest strength of one step.
        at_once: points that are moved together.
        device: of the generator.

    Raises:
        InputError: the direction is of another width, or not finite.
    """
    whole = np.broadcast_to(fitted_direction(points, direction), points.values.shape)
    pieces = []
    for first in range(0, len(points), at_once):
        rows = slice(first, first + at_once)
        start = torch.from_numpy(points.values[rows]).to(device)
        y = None if points.y is None else torch.from_numpy(points.y[rows]).to(device)
        way = torch.from_numpy(whole[rows].copy()).to(device).flatten(1)

        def images(flat: Tensor, y: Tensor | None = y, like: Tensor = start) -> Tensor:
            return decode(flat.view_as(like), y).float().clamp(-1, 1)

        with torch.no_grad():
            f = held(images(start.flatten(1)))

        def kept(flat: Tensor, f: Function = f, images: Function = images) -> Tensor:
            return f(images(flat))

        pieces.append(advance(kept, start.flatten(1), way, strengths, step=step))
    found = []
    for k in range(len(strengths)):
        values, drift, short = (
            np.concatenate([side[k].double().cpu().numpy() for side in sides])
            for sides in zip(*((piece.points, piece.drift, piece.short) for piece in pieces), strict=True)
        )
        found.append(Moved(points.replaced(values.reshape(points.values.shape)), drift, short))
    return found
