"""Whether the verdicts of `plenish study` can be trusted: studies whose truth is known, counted.

    python -m benchmarks.evidence simulate [--studies 400] [--out benchmarks/results/evidence-simulated.json]
    python -m benchmarks.evidence train WORK [--studies 12] [--out FILE.json]

`simulate` draws test results from a model of groups, seeds, their interaction and single images, and decides
them by the code of the study: how often "helps" is said without a gain, how often the interval holds the true
gain, and how often a gain as large as the study announced is found. `train` trains real classifiers on
phantoms, see `benchmarks/evidence_training.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.resampling import Floats, Ints
from plenish.metrics.statistics import Difference, hierarchical_bootstrap
from plenish.study.analysis import decisive
from plenish.study.config import StudyConfig
from plenish.study.power import (
    TYPICAL,
    Noise,
    StudySize,
    observed_noise,
    row_shares,
    typical_noise,
    unit_sums,
)
from plenish.study.verdicts import verdict_on

GROUPS, SEEDS = (4, 6, 12, 24, 48), (3, 5, 10)
CONFIG = StudyConfig(resamples=300)
_FIRST = 1000
"""Number of the first study: the rules were chosen on earlier ones."""
IMAGES = 20
"""Mean number of test images of a group."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """Noise of a simulated difference between two arms; the fields are those of `power.TYPICAL`.

    Attributes:
        groups: standard deviation of a group's own difference.
        seeds: standard deviation between seeds.
        images: share of images that one of the two trainings alone gets right.
        lasting: the part of it that is the same for all seeds.
    """

    groups: float
    seeds: float
    images: float
    lasting: float


NOISES = {
    "typical": Truth(**TYPICAL),
    "same procedure": Truth(0.0, 0.025, 0.12, 0.0),
    "mostly groups": Truth(0.10, 0.01, 0.12, 0.02),
    "mostly seeds": Truth(0.02, 0.05, 0.12, 0.02),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """A test part.

    Attributes:
        codes: N class numbers.
        units: N group numbers.
        pure: whether each group has images of one class alone.
    """

    codes: Ints
    units: Ints
    pure: bool

    @classmethod
    def drawn(cls, groups: int, pure: bool, rng: np.random.Generator) -> Layout:
        """Two classes, groups of unequal sizes; of pure ones, a quarter (of few: half) are of the rarer."""
        sizes = rng.poisson(IMAGES - 4, groups) + 4
        units = np.repeat(np.arange(groups), sizes)
        if pure:
            rarer = groups // 4 if groups >= 12 else groups // 2
            return cls((units < rarer).astype(np.int64), units, True)
        return cls((np.arange(len(units)) % 2).astype(np.int64), units, False)


def draw(layout: Layout, seeds: int, truth: Truth, gain: float, seed: Sequence[int]) -> NDArray[np.float64]:
    """What two arms differ by on every test image, K×N: 1, 0 or −1 right classifications.

    The difference of a group at a seed is the gain plus normal parts of group, seed and both; its images
    differ by that on average, and otherwise at random in both directions.
    """
    rng = np.random.default_rng(seed)
    n, groups = len(layout.codes), int(layout.units.max()) + 1
    by_group = truth.groups * rng.standard_normal(groups)
    by_seed = truth.seeds * rng.standard_normal((seeds, 1))
    lasting = np.sqrt(truth.lasting) * rng.standard_normal(n)
    uniform = rng.random((seeds, n))
    mean = gain + by_group[layout.units] + by_seed
    fresh = truth.images - truth.lasting
    # A lasting part of one image is ±1 or 0 itself; beyond [-1, 1] nothing is possible.
    mean = np.clip(mean + np.sign(lasting) * (np.abs(lasting) > _cut(truth.lasting)), -0.98, 0.98)
    share = np.maximum(fresh, np.abs(mean))
    return np.where(uniform < (share + mean) / 2, 1.0, np.where(uniform > 1 - (share - mean) / 2, -1.0, 0.0))


def _cut(lasting: float) -> float:
    """Threshold above which a normal value of variance `lasting` is one of the share `lasting`."""
    from scipy.special import ndtri

    return float(np.sqrt(lasting) * ndtri(1 - lasting / 2)) if lasting > 0 else np.inf


def compared(layout: Layout, right: Floats) -> tuple[Difference, Floats]:
    """The difference as a study finds it, and what each group adds; rows of a group and class are summed."""
    cells = layout.units * 2 + layout.codes
    used, numbers = np.unique(cells, return_inverse=True)
    counts = np.bincount(numbers).astype(np.float64)
    sums = unit_sums(right, numbers)
    side = np.eye(2)[used % 2]

    def statistic(k: int, weights: Ints) -> Floats:
        w = weights.astype(np.float64)
        below = w @ (counts[:, None] * side)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((w @ (sums[k][:, None] * side) / below).mean(axis=1))

    found = hierarchical_bootstrap(
        statistic, len(right), len(used), used // 2, level=CONFIG.level, resamples=CONFIG.resamples,
        strata=used % 2 if layout.pure else None,
    )  # fmt: skip
    return found, unit_sums(right.mean(axis=0) * row_shares(layout.codes), layout.units)


def verdict(layout: Layout, right: Floats) -> tuple[str, Difference]:
    """The verdict of a study with one arm against `real`."""
    found, added = compared(layout, right)
    row: dict[str, Any] = {"low": found.low, "high": found.high}
    return verdict_on(row | decisive(found, added, CONFIG), CONFIG.level, CONFIG.margin), found


def cell(studies: int, case: tuple[str, bool, int, int, str]) -> dict[str, Any]:
    """All studies of a case: noise, one class a group, numbers of groups and seeds, what is planted."""
    kind, pure, groups, seeds, planted = case
    words: dict[str, int] = {}
    covered = above = 0
    gains = []
    for study in range(_FIRST, _FIRST + studies):
        key = (study, groups, seeds, int(pure), sorted(NOISES).index(kind))
        layout = Layout.drawn(groups, pure, np.random.default_rng((*key, 1)))
        gain = 0.0
        if planted != "nothing":
            noise: Noise = typical_noise(layout.codes, layout.units)
            if planted != "typical":  # the noise that was observed, in two seeds or all
                trained = draw(layout, seeds, NOISES[kind], 0.0, (*key, 2))
                used = trained[:2] if planted == "two seeds" else trained
                noise = observed_noise(layout.codes, layout.units, used)
            gain = StudySize(noise, seeds, CONFIG.level).gain()
        word, found = verdict(layout, draw(layout, seeds, NOISES[kind], gain, (*key, 2)))
        words[word] = words.get(word, 0) + 1
        covered += found.low <= gain <= found.high
        above += found.low > 0
        gains.append(gain)
    return {
        "noise": kind, "one_class_groups": pure, "groups": groups, "seeds": seeds, "planted": planted,
        "gain": float(np.mean(gains)), "studies": studies, "covered": int(covered),
        "interval_above_0": int(above), "verdicts": words,
    }  # fmt: skip


def simulate(studies: int, processes: int) -> list[dict[str, Any]]:
    """Every case, in order."""
    sizes = list(itertools.product(GROUPS, SEEDS))
    cases = [
        (kind, pure, groups, seeds, "nothing")
        for kind in NOISES for pure in (False, True) for groups, seeds in sizes
    ]  # fmt: skip
    cases += [("typical", pure, *size, "typical") for pure in (False, True) for size in sizes]
    cases += [
        (kind, False, *size, planted)
        for planted in ("two seeds", "all seeds") for kind in NOISES for size in sizes
    ]  # fmt: skip
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(functools.partial(cell, studies), cases))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Shares by case: of `helps` and `hurts`, and of intervals that hold the truth."""
    lines = ["noise            planted   groups    n×seeds   gain  helps  hurts   equ.  covered"]
    for row in rows:
        share = {
            word: 100 * row["verdicts"].get(word, 0) / row["studies"]
            for word in ("helps", "hurts", "equivalent")
        }
        groups = "one class" if row["one_class_groups"] else "mixed"
        lines.append(
            f"{row['noise']:16s} {row['planted']:9s} {groups:9s} "
            f"{row['groups']:2d} × {row['seeds']:2d} {100 * row['gain']:6.1f} {share['helps']:6.1f} "
            f"{share['hurts']:6.1f} {share['equivalent']:6.1f} {100 * row['covered'] / row['studies']:7.1f}"
        )
    return "\n".join(lines)


def _processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def main() -> None:
    """Simulate or train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["simulate", "train"])
    parser.add_argument("work", type=Path, nargs="?", help="folder of the trainings; kept and resumed")
    parser.add_argument("--studies", type=int, help="of each case; by default 400 simulated, 12 trained")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150, help="of each training")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    begun = time.monotonic()
    if options.what == "simulate":
        rows = simulate(options.studies or 400, options.processes)
        print(table(rows))
    else:
        from benchmarks.evidence_training import table as trained_table
        from benchmarks.evidence_training import train

        if options.work is None:
            parser.error("train needs a folder WORK")
        rows = train(options.work, options.studies or 12, options.steps)
        print(trained_table(rows))
    record = {
        "command": " ".join(["python -m benchmarks.evidence", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} × {_processor()}, Python {platform.python_version()}, shared",
        "seconds": round(time.monotonic() - begun, 1), "rows": rows,
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
