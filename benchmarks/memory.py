"""Peak resident memory of one shuffled epoch over raw shards, for a small and a large Dataset.

    python benchmarks/memory.py [--images 1000 100000] [--size 64]

Each epoch runs in a process of its own through the batches a training reads. One large memory map would leave
every page it touched in resident memory; positioned reads leave nothing.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter


def write(out: Path, images: int, size: int) -> None:
    """Write a Dataset of noise."""
    rng = np.random.default_rng(0)
    with DatasetWriter(out, name="noise", size=size, channels=3, labels=LabelSchema(), config={}) as writer:
        for start in range(0, images, 1000):
            n = min(1000, images - start)
            writer.add(rng.integers(0, 256, (n, size, size, 3), np.uint8), [{"part": "train"}] * n)


def epoch(path: Path) -> None:
    """Read one shuffled epoch in this process and print its peak resident memory in MB."""
    subset = Dataset.open(path).part("train", purpose="train")
    batches = Images.of(subset).batches(64, seed=0)
    seen = 0
    total = 0
    for batch in batches:
        total += int(batch.pixels[0, 0, 0, 0])
        seen += len(batch.pixels)
        if seen >= len(subset):
            break
    batches.close()
    print(f"{peak():.1f}")


def peak() -> float:
    """Peak resident memory of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with what the process that started this one had.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs=2, default=[1000, 100_000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epoch", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.epoch:
        epoch(asked.epoch)
        return
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for images in asked.images:
            path = Path(folder) / str(images)
            write(path, images, asked.size)
            done = subprocess.run(
                [sys.executable, __file__, "--epoch", str(path)], check=True, capture_output=True, text=True
            )
            peaks.append(float(done.stdout))
            print(f"{images:>9,} images of {asked.size} px: peak RSS {peaks[-1]:.1f} MB")
    print(f"difference {peaks[1] - peaks[0]:.1f} MB")


if __name__ == "__main__":
    main()
