"""Unrestricted adversarial examples: latents of a generator whose images a classifier gets wrong.

Song et al. (NeurIPS 2018, arXiv 1805.07894) search the latents of a class-conditional generator by a penalty
for leaving the neighbourhood of a draw. Here the neighbourhood is a hard limit, and so is that of the prior;
steps have a fixed length along the gradient and stop at the first success, which is thus near the draw it
began with. That the class is still shown is not decided by the search but by a judge, see
`latent_attack_dataset`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from plenish.robustness.latent_attack_options import LatentAttackOptions
from plenish.training.engine import stable_seed

Lead = Callable[[Tensor, Tensor], Tensor]
"""Changes n×D and the numbers n of their points → by how many logits the wrong classes are ahead, n."""
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Region:
    """Where each of N latents may go; all in standard deviations of the prior, from its centre.

    Attributes:
        start: where they begin, N×D.
        distance: greatest root mean square of a change.
        radius: greatest norm of a latent; one that begins farther out may stay as far out.
        bound: greatest absolute value of a coordinate; inf where the prior has none.
    """

    start: Tensor
    distance: float
    radius: float
    bound: float = math.inf

    def nearest(self, change: Tensor, rows: Tensor) -> Tensor:
        """Changes n×D of the points `rows`, brought into the region.

        Each limit is a convex set that holds the start, so that projecting on the next one takes no change
        out of the one before: longer changes are scaled, then latents too far out, then coordinates clipped.
        """
        start = self.start[rows]
        most = self.distance * math.sqrt(start.shape[1])
        change = change * (most / change.norm(dim=1, keepdim=True).clamp_min(_TINY)).clamp(max=1)
        there = start + change
        limit = start.norm(dim=1, keepdim=True).clamp_min(self.radius)
        there = there * (limit / there.norm(dim=1, keepdim=True).clamp_min(_TINY)).clamp(max=1)
        found: Tensor = there.clamp(-self.bound, self.bound) - start
        return found


@dataclasses.dataclass(frozen=True)
class LatentSearchResult:
    """Where a search ended.

    Attributes:
        change: N×D.
        iterations: steps to the first success; -1 where there was none.
    """

    change: Tensor
    iterations: Tensor


def search(lead: Lead, region: Region, how: LatentAttackOptions) -> LatentSearchResult:
    """Raise the lead of the wrong classes until it exceeds `how.confidence`.

    Args:
        lead: differentiable; each value depends on its own point alone.
        region: where latents may go.
        how: steps, their length and momentum.
    """
    n, dim = region.start.shape
    change, way = torch.zeros_like(region.start), torch.zeros_like(region.start)
    iterations = torch.full((n,), -1, device=change.device)
    rows = torch.arange(n, device=change.device)
    for step in range(how.iterations + 1):
        at = change[rows].requires_grad_(True)
        with torch.enable_grad():
            ahead = lead(at, rows)
        there = ahead.detach() > how.confidence
        iterations[rows[there]] = step
        if step == how.iterations or bool(there.all()):
            break
        (gradient,) = torch.autograd.grad(ahead.sum(), at)
        rows, gradient = rows[~there], gradient[~there]
        way[rows] = how.momentum * way[rows] + _unit(gradient)
        moved = change[rows] + how.step_length * math.sqrt(dim) * _unit(way[rows])
        change[rows] = region.nearest(moved, rows)
    return LatentSearchResult(change, iterations)


def random_latent_changes(region: Region, lengths: Tensor, seed: int, first: int = 0) -> Tensor:
    """Changes N×D of given lengths in random directions: what a search is compared with.

    Args:
        region: where latents may go.
        lengths: N.
        seed: of the directions.
        first: number of the first point; its direction depends on the seed and that number alone.
    """
    n, dim = region.start.shape
    drawn = [
        torch.randn(
            dim, generator=torch.Generator().manual_seed(stable_seed(seed, "random change", first + i))
        )
        for i in range(n)
    ]
    change = _unit(torch.stack(drawn).to(region.start)) * lengths[:, None]
    return region.nearest(change, torch.arange(n, device=change.device))


def _unit(vectors: Tensor) -> Tensor:
    found: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return found
