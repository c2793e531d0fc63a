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


class _Division:
    """An assignment in the making; its cost is Σ ((got − wanted) / total)² / share.

    Attributes:
        part: the part of each unit, -1 while it has none.
        unit: what each unit adds to the weighted sums of its part, U×K; each column sums to its weight.
        wanted: what each part should hold of that, P×K.
        value: weight of each part in the cost, P.
        present: which of the required columns each unit has, U×(1+required).
        holders: units with each required column in each part, P×(1+required).
    """

    def __init__(
        self,
        counts: NDArray[np.float64],
        shares: NDArray[np.float64],
        required: int,
        rng: np.random.Generator,
    ) -> None:
        self.counts, self.shares, self.rng = counts, shares, rng
        self.part = np.full(len(counts), -1, dtype=np.int64)
        self.present = counts[:, : required + 1] > 0
        weight = np.ones(counts.shape[1])
        weight[0] = max(1.0, counts.shape[1] - 1)  # the size of a part weighs as much as all classes together
        root = np.sqrt(weight)
        self.unit = counts / np.maximum(counts.sum(axis=0), 1.0) * root
        self.wanted = shares[:, None] * (counts.sum(axis=0) > 0) * root
        self.value = 1.0 / shares

    def sums(self) -> NDArray[np.float64]:
        """What each part holds (P×K), weighted, of the units already assigned (part ≥ 0)."""
        return np.stack([self.unit[self.part == p].sum(axis=0) for p in range(len(self.value))])

    def cost(self) -> float:
        """The cost of the units already assigned."""
        return float((((self.sums() - self.wanted) ** 2).sum(axis=1) * self.value).sum())

    def assign(self, *, greedy: bool) -> bool:
        """Give every unit a part; False when a part lacks a required column."""
        if not self._reserve():
            return False
        if not greedy:
            rest = self.part < 0
            self.part[rest] = self.rng.choice(len(self.shares), int(rest.sum()), p=self.shares)
            return True
        self._assign_equal()
        sums = self.sums()
        rest = self.rng.permutation(np.flatnonzero(self.part < 0))
        rest = rest[np.argsort(-self.unit[rest].max(axis=1), kind="stable")]
        for unit in rest:
            row = self.unit[unit]
            # Growth of the cost when the unit joins each part.
            growth = self.value * ((row**2).sum() + 2 * ((sums - self.wanted) @ row))
            self.part[unit] = int(np.argmin(growth))
            sums[self.part[unit]] += row
        return True

    def _reserve(self) -> bool:
        """Give every part a unit of every required column, rarest column first; False when units run out."""
        present, size = self.present, self.counts[:, 0]
        missing = np.ones((len(self.shares), present.shape[1]), dtype=bool)
        for column in np.argsort(present.sum(axis=0), kind="stable"):
            for p in self.rng.permutation(len(self.shares)):
                if not missing[p, column]:
                    continue
                free = np.flatnonzero((self.part < 0) & present[:, column])
                if not len(free):
                    return False
                # Small units first: they leave the most room; random factors make the tries differ.
                order = size[free] * self.rng.uniform(1.0, 1.5, len(free))
                chosen = free[np.argmin(order / (1 + present[free][:, missing[p]].sum(axis=1)))]
                self.part[chosen] = p
                missing[p] &= ~present[chosen]
        return True

    def _assign_equal(self) -> None:
        """Assign units with equal counts in proportion; remainders (a few of each kind) stay unassigned."""
        free = np.flatnonzero(self.part < 0)
        if not len(free):
            return
        _, kind = np.unique(self.counts[free], axis=0, return_inverse=True)
        kind = kind.reshape(-1)
        order = np.lexsort((self.rng.random(len(free)), kind))
        start = 0
        for n in np.bincount(kind):
            equal = free[order[start : start + n]]
            whole = np.floor(n * self.shares + 1e-9).astype(int)
            self.part[equal[: whole.sum()]] = np.repeat(np.arange(len(self.shares)), whole)
            start += n

    def improve(self) -> None:
        """Move single units and swap pairs, in turn, while the cost falls."""
        self.holders = np.zeros((len(self.value), self.present.shape[1]), dtype=np.int64)
        np.add.at(self.holders, self.part, self.present.astype(np.int64))
        for _ in range(_ROUNDS):
            before = self.cost()
            self._move()
            self._swap()
            if not self.cost() < before - 1e-12:
                break

    def _move(self) -> None:
        """Make the best single move repeatedly."""
        part, present, holders = self.part, self.present, self.holders
        units = np.arange(len(part))
        square = (self.unit**2).sum(axis=1)
        for _ in range(_MOVES):
            excess = self.sums() - self.wanted
            gradient = self.unit @ (excess * self.value[:, None]).T
            change = square[:, None] * (self.value[part][:, None] + self.value[None]) + 2 * (
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

    def _swap(self) -> None:
        """Swap the best of many random pairs of units until three draws in a row do not lower the cost."""
        part, present, holders = self.part, self.present, self.holders
        failures = 0
        for _ in range(_SWAPS):
            a, b = self.rng.integers(0, len(part), (2, min(_PAIRS, 4 * len(part) ** 2)))
            a, b = a[part[a] != part[b]], b[part[a] != part[b]]
            if not len(a):
                return
            excess = self.sums() - self.wanted
            f = self.unit[a] - self.unit[b]  # leaves part[a], joins part[b]
            va, vb = self.value[part[a]], self.value[part[b]]
            change = (f**2).sum(axis=1) * (va + vb) + 2 * (
                vb * (f * excess[part[b]]).sum(axis=1) - va * (f * excess[part[a]]).sum(axis=1)
            )
            gain = present[b].astype(np.int64) - present[a]
            lacking = (holders[part[a]] + gain < 1) | (holders[part[b]] - gain < 1)
            change[np.any(lacking, axis=1)] = np.inf
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
    tries = 48 if len(counts) <= 30 else 12 if len(counts) <= 3000 else 2
    best, least = None, np.inf
    for k in range(tries):
        division = _Division(counts, shares, required, np.random.default_rng([seed, k, 0x5B117]))
        # With few units the greedy start ends in local optima: every other try starts at random.
        if not division.assign(greedy=len(counts) > 200 or k % 2 == 0):
            continue
        division.improve()
        cost = division.cost()
        if cost < least - 1e-12:
            best, least = division.part, cost
    return best


def connected_units(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units of rows that must stay together: they share a key, or are linked through others (union-find).

    Args:
        keys: N numbers each, 0 and up, such as those of groups, of distinct pixels and of clusters.

    Returns:
        N unit numbers, 0 … U-1.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, *others = keys
    starts = np.cumsum([int(key.max()) + 1 for key in keys])
    rows = np.tile(first, len(others))
    columns = np.concatenate([key + start for key, start in zip(others, starts)])
    size = int(starts[-1])
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    _, unit = np.unique(component[first], return_inverse=True)
    return np.asarray(unit.reshape(-1), dtype=np.int64)
