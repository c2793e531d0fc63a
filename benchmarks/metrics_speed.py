"""Speed and memory of scores on features: against the `prdc` package, and of a large Fréchet distance.

    python -m benchmarks.metrics_speed [--rows 10000] [--dim 512] [--prdc FOLDER] [--out FILE.json]

Each measurement is a process of its own, ours and theirs in turn, and says how much its peak resident memory
grew beyond the features. FOLDER is where `pip install --target FOLDER prdc` put the package; without it ours
alone is measured. The Fréchet distances are of 50,000 rows a side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def features(rows: int, dim: int, seed: int) -> Any:
    """Normal features with a falling spectrum, float32."""
    rng = np.random.default_rng(seed)
    scale = (1.0 / np.sqrt(1 + np.arange(dim))).astype(np.float32)
    return rng.standard_normal((rows, dim), np.float32) * scale + np.float32(0.02 * seed)


def ours(rows: int, dim: int) -> dict[str, float]:
    """Precision, recall, density, coverage of two sides of so many rows."""
    from plenish.metrics.fidelity import neighbourhood_replicates

    x, y = (features(rows, dim, seed) for seed in (0, 1))
    return measured(
        lambda: {k: float(v[0]) for k, v in neighbourhood_replicates(x, y, *[np.ones((1, rows))] * 2).items()}
    )


def theirs(rows: int, dim: int) -> dict[str, float]:
    """The same by prdc, with five neighbours for everything; its time does not depend on their number."""
    from prdc import compute_prdc

    x, y = (features(rows, dim, seed) for seed in (0, 1))
    return measured(lambda: {k: float(v) for k, v in compute_prdc(x, y, nearest_k=5).items()})


def frechet(rows: int, dim: int) -> dict[str, float]:
    """A Fréchet distance."""
    from plenish.metrics.fidelity import frechet_distance, moments

    x, y = (features(rows, dim, seed) for seed in (0, 1))
    return measured(lambda: {"fd": frechet_distance(*moments(x), *moments(y))})


def measured(work: Any) -> dict[str, float]:
    """Seconds, growth of the peak in MB, and what was found."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, start = time.process_time(), time.perf_counter()
    found = work()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "cpu_seconds": used, "grown_mb": grown, **found}


WORK = {"ours": ours, "prdc": theirs, "frechet": frechet}


def _run(what: str, rows: int, dim: int, prdc: Path | None) -> dict[str, Any]:
    """One measurement in a process of its own."""
    paths = [os.environ.get("PYTHONPATH", ""), str(prdc) if prdc else ""]
    command = [sys.executable, "-m", "benchmarks.metrics_speed", "--one", what]
    done = subprocess.run(
        [*command, "--rows", str(rows), "--dim", str(dim)], check=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, paths))},
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prdc", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=WORK)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(WORK[asked.one](asked.rows, asked.dim)))
        return
    names = ["ours", *(["prdc"] if asked.prdc else [])]
    runs = [
        {"work": name, "rows": asked.rows, "dim": asked.dim, **_run(name, asked.rows, asked.dim, asked.prdc)}
        for _ in range(asked.repeats) for name in names
    ]  # fmt: skip
    runs += [
        {"work": "frechet", "rows": 50_000, "dim": dim, **_run("frechet", 50_000, dim, None)}
        for dim in (512, 1024, 2048)
    ]
    content: dict[str, Any] = {
        "threads": os.environ.get("OMP_NUM_THREADS"), "load": os.getloadavg()[0], "runs": runs,
    }  # fmt: skip
    if asked.prdc:
        for unit in ("seconds", "cpu_seconds"):
            of = {n: statistics.median(r[unit] for r in runs if r["work"] == n) for n in names}
            content[f"ratio_{unit}"] = of["prdc"] / of["ours"]
    text = json.dumps(content, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
