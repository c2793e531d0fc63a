"""Divide units (groups of images) into parts of given shares, as evenly in every class as the units allow.

Pure and deterministic: no Dataset, no files. Units with the same counts of every class are assigned in
proportion, the others one by one, large before small, each to the part whose cost it raises least; moves of
one unit and swaps of two then lower the cost until none does. The best of several seeded tries is taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4
_MOVES = 400
_SWAPS = 40
_PAIRS = 4096


class _Target:
    """What each part should hold; the cost is Σ ((got − wanted) / total)² / share."""

    def __init__(self, counts: NDArray[np.float64], shares: NDArray[np.float64]) -> None:
        self.counts = counts
        self.unit = counts / np.maximum(counts.sum(axis=0), 1.0)  # each column sums to 1
        weight = np.ones(counts.shape[1])
        weight[0] = max(1.0, counts.shape[1] - 1)  # the size of a part weighs as much as all classes together
        self.root = np.sqrt(weight)
        self.unit = self.unit * self.root
        self.wanted = shares[:, None] * (counts.sum(axis=0) > 0) * self.root
        self.value = 1.0 / shares

    def sums(self, part: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each part holds (P×K), weighted, of the units already assigned (part ≥ 0)."""
        return np.stack([self.unit[part == p].sum(axis=0) for p in range(len(self.value))])

    def cost(self, part: NDArray[np.int64]) -> float:
        return float((((self.sums(part) - self.wanted) ** 2).sum(axis=1) * self.value).sum())


def partition(
    counts: NDArray[np.float64], shares: NDArray[np.float64], seed: int, required: int = 0
) -> NDArray[np.int64] | None:
    """Assign each unit to a part.

    Args:
        counts: U×K; column 0 is the number of images of a unit, the others what to stratify on (images of
            each class).
        shares: P shares wanted, positive, summing to 1.
        seed: Seed of ties and tries.
        required: Columns 1…required must be present in every part (and no part may be empty).

    Returns:
        U part numbers, or None when no assignment was found that satisfies `required`.
    """
    target = _Target(counts, shares)
    tries = 48 if len(counts) <= 30 else 12 if len(counts) <= 3000 else 2
    best, least = None, np.inf
    for k in range(tries):
        rng = np.random.default_rng([seed, k, 0x5B117])
        # With few units the greedy start ends in local optima: every other try starts at random.
        part = _assign(target, shares, required, rng, greedy=len(counts) > 200 or k % 2 == 0)
        if part is None:
            continue
        part = _improve(target, part, required, rng)
        cost = target.cost(part)
        if cost < least - 1e-12:
            best, least = part, cost
    return best


def _assign(
    target: _Target, shares: NDArray[np.float64], required: int, rng: np.random.Generator, greedy: bool
) -> NDArray[np.int64] | None:
    part = np.full(len(target.counts), -1, dtype=np.int64)
    if not _reserve(target.counts[:, : required + 1] > 0, len(shares), part, target.counts[:, 0], rng):
        return None
    if not greedy:
        rest = part < 0
        part[rest] = rng.choice(len(shares), int(rest.sum()), p=shares)
        return part
    _assign_equal(target.counts, shares, part, rng)
    sums = target.sums(part)
    rest = rng.permutation(np.flatnonzero(part < 0))
    rest = rest[np.argsort(-target.unit[rest].max(axis=1), kind="stable")]
    for unit in rest:
        row = target.unit[unit]
        # Growth of the cost when the unit joins each part.
        growth = target.value * ((row**2).sum() + 2 * ((sums - target.wanted) @ row))
        part[unit] = int(np.argmin(growth))
        sums[part[unit]] += row
    return part


def _reserve(
    present: NDArray[np.bool_],
    parts: int,
    part: NDArray[np.int64],
    size: NDArray[np.float64],
    rng: np.random.Generator,
) -> bool:
    """Give every part a unit of every required column, rarest column first; False when units run out."""
    missing = np.ones((parts, present.shape[1]), dtype=bool)
    for column in np.argsort(present.sum(axis=0), kind="stable"):
        for p in rng.permutation(parts):
            if not missing[p, column]:
                continue
            free = np.flatnonzero((part < 0) & present[:, column])
            if not len(free):
                return False
            # Small units first: they leave the most room; random factors make the tries differ.
            order = (
                size[free] * rng.uniform(1.0, 1.5, len(free)) / (1 + present[free][:, missing[p]].sum(axis=1))
            )
            chosen = free[np.argmin(order)]
            part[chosen] = p
            missing[p] &= ~present[chosen]
    return True


def _assign_equal(
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    part: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Assign units with equal counts in proportion; remainders (a few of each kind) stay unassigned."""
    free = np.flatnonzero(part < 0)
    if not len(free):
        return
    _, kind = np.unique(counts[free], axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    order = np.lexsort((rng.random(len(free)), kind))
    start = 0
    for n in np.bincount(kind):
        equal = free[order[start : start + n]]
        whole = np.floor(n * shares + 1e-9).astype(int)
        part[equal[: whole.sum()]] = np.repeat(np.arange(len(shares)), whole)
        start += n


def _improve(
    target: _Target, part: NDArray[np.int64], required: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Move single units and swap pairs, in turn, while the cost falls."""
    present = target.counts[:, : required + 1] > 0
    holders = np.zeros((len(target.value), required + 1), dtype=np.int64)
    np.add.at(holders, part, present.astype(np.int64))
    for _ in range(_ROUNDS):
        before = target.cost(part)
        _move(target, part, present, holders)
        _swap(target, part, present, holders, rng)
        if not target.cost(part) < before - 1e-12:
            break
    return part


def _move(
    target: _Target, part: NDArray[np.int64], present: NDArray[np.bool_], holders: NDArray[np.int64]
) -> None:
    """Make the best single move repeatedly, in place."""
    units = np.arange(len(part))
    square = (target.unit**2).sum(axis=1)
    for _ in range(_MOVES):
        excess = target.sums(part) - target.wanted
        gradient = target.unit @ (excess * target.value[:, None]).T
        change = square[:, None] * (target.value[part][:, None] + target.value[None]) + 2 * (
            gradient - gradient[units, part][:, None]
        )
        change[units, part] = np.inf
        # A unit that is the last of a required class in its part stays.
        change[np.any(present & (holders[part] <= 1), axis=1)] = np.inf
        unit, to = np.unravel_index(int(np.argmin(change)), change.shape)
        if not change[unit, to] < -1e-12:
            return
        holders[part[unit]] -= present[unit]
        holders[to] += present[unit]
        part[unit] = to


def _swap(
    target: _Target,
    part: NDArray[np.int64],
    present: NDArray[np.bool_],
    holders: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """Swap the best of many random pairs of units until three draws in a row do not lower the cost."""
    failures = 0
    for _ in range(_SWAPS):
        a, b = rng.integers(0, len(part), (2, min(_PAIRS, 4 * len(part) ** 2)))
        a, b = a[part[a] != part[b]], b[part[a] != part[b]]
        if not len(a):
            return
        excess = target.sums(part) - target.wanted
        f = target.unit[a] - target.unit[b]  # leaves part[a], joins part[b]
        va, vb = target.value[part[a]], target.value[part[b]]
        change = (f**2).sum(axis=1) * (va + vb) + 2 * (
            vb * (f * excess[part[b]]).sum(axis=1) - va * (f * excess[part[a]]).sum(axis=1)
        )
        gain = present[b].astype(np.int64) - present[a]
        change[np.any(holders[part[a]] + gain < 1, axis=1) | np.any(holders[part[b]] - gain < 1, axis=1)] = (
            np.inf
        )
        i = int(np.argmin(change))
        if not change[i] < -1e-12:
            failures += 1
            if failures == 3:
                return
            continue
        failures = 0
        u, w = a[i], b[i]
        holders[part[u]] += gain[i]
        holders[part[w]] -= gain[i]
        part[u], part[w] = part[w], part[u]


def connected_units(groups: NDArray[np.int64], hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units of rows that must stay together: same group, same pixels, or linked through others (union-find).

    Args:
        groups: N group numbers, 0 … G-1.
        hashes: N numbers of distinct pixel hashes.

    Returns:
        N unit numbers, 0 … U-1.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    g, h = int(groups.max()) + 1, int(hashes.max()) + 1
    graph = coo_matrix((np.ones(len(groups), dtype=np.int8), (groups, hashes + g)), shape=(g + h, g + h))
    _, component = connected_components(graph, directed=False)
    _, unit = np.unique(component[groups], return_inverse=True)
    return np.asarray(unit.reshape(-1), dtype=np.int64)
