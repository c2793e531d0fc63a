"""Images a second of `plenish import`: 96 px PNG files, at size 96 and 64.

    python benchmarks/importing.py --images 20000 --workers 2

The pictures are noise over smooth colour, which deflate packs about as well as stained tissue. Figures are
medians over the rounds; sizes take turns, so that a slow minute hits all. Images per second of processor time
(all processes together) tell what quiet cores would do where others use the machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from plenish import settings
from plenish.datasets.importing import import_dataset


def make(folder: Path, count: int, edge: int, distinct: int = 500) -> int:
    """Write `count` files in two class folders and return the bytes of one, on average."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 2 * np.pi, edge)
    total = 0
    for name in "ab":
        (folder / name).mkdir(parents=True)
    for i in range(min(distinct, count)):
        waves = np.stack(
            [np.add.outer(np.sin(x * rng.uniform(1, 4)), np.cos(x * rng.uniform(1, 4))) for _ in "rgb"], 2
        )
        noise = rng.normal(0, 12, waves.shape)
        path = folder / "ab"[i % 2] / f"{i}.png"
        Image.fromarray((160 + 30 * waves + noise).clip(0, 255).astype(np.uint8)).save(path)
        total += path.stat().st_size
    for i in range(distinct, count):
        source = folder / "ab"[i % distinct % 2] / f"{i % distinct}.png"
        shutil.copyfile(source, folder / "ab"[i % 2] / f"{i}.png")
    return total // min(distinct, count)


def processor_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def medians(values: dict[int, list[float]]) -> dict[int, int]:
    return {size: round(statistics.median(of_size)) for size, of_size in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--edge", type=int, default=96, help="pixels of the files")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 64])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[int, list[float]] = {size: [] for size in options.sizes}
    work: dict[int, list[float]] = {size: [] for size in options.sizes}
    with tempfile.TemporaryDirectory() as place, settings.use(quiet=True):
        source = Path(place) / "in"
        average = make(source, options.images, options.edge)
        for _ in range(options.rounds):
            for size in options.sizes:
                out = Path(place) / "out"
                start, busy = time.perf_counter(), processor_seconds()
                import_dataset(source, out, size, workers=options.workers)
                rates[size].append(options.images / (time.perf_counter() - start))
                work[size].append(options.images / (processor_seconds() - busy))
                shutil.rmtree(out)
    report = {
        "images": options.images, "edge": options.edge, "bytes_per_file": average, "workers": options.workers,
        "cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2),
        "images_per_second": medians(rates),
        "images_per_processor_second": medians(work),
        "all": {size: [round(value) for value in values] for size, values in rates.items()},
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
