"""Time and memory of `plenish curate` over the number of images.

    python -m benchmarks.curation_scale --work DIR [--images 75000 300000] [--out FILE.json]

Images of 32 px: blobs of colour, drawn at random, with tags; 2 % are mirrored, turned, brighter or cropped
copies. Each size is curated in a process of its own; reported are wall time, processor time (of all its
processes, which other work on the machine changes less) and the peak of their resident memory together,
sampled every 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter

SIDE, BLOCK = 32, 2000
STEPS = (
    "bands:any",
    "duplicates",
    "near-duplicates",
    "blurry",
    "dark",
    "bright",
    "low-contrast",
    "wrong-mode",
)


def blobs(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Six ellipses of colour each, on a coloured ground."""
    images = np.repeat(rng.integers(0, 256, (count, 1, 1, 3)), SIDE, 1).repeat(SIDE, 2)
    grid = np.arange(SIDE)
    for _ in range(6):
        y, x = rng.uniform(4, 28, (2, count, 1, 1))
        a, b = rng.uniform(2, 11, (2, count, 1, 1))
        inside = ((grid[:, None] - y) / a) ** 2 + ((grid - x) / b) ** 2 < 1
        images = np.where(inside[..., None], rng.integers(0, 256, (count, 1, 1, 3)), images)
    noise = rng.integers(-5, 6, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def make(folder: Path, count: int) -> None:
    """The planted corpus as a Dataset."""
    rng = np.random.default_rng(count)
    words = np.array([f"tag_{i}" for i in range(200)])
    writer = DatasetWriter(folder, name="blobs", size=SIDE, channels=3, labels=LabelSchema(), config={})
    with writer:
        for start in range(0, count, BLOCK):
            n = min(BLOCK, count - start)
            images = blobs(n, rng)
            for i in range(n // 50):  # Of an image of the same block each.
                way, of = i % 4, images[n - 1 - i]
                images[i] = (of[:, ::-1], np.rot90(of), np.clip(of.astype(int) + 4, 0, 255), _crop(of))[way]
            tags = [words[rng.integers(0, 200, 20)].tolist() for _ in range(n)]
            writer.add(images, [{"label": None, "tags": one} for one in tags])


def _crop(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Nine tenths of the side, enlarged again."""
    from PIL import Image

    cut = Image.fromarray(image[2:31, 1:30]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(cut)


def resident(pid: int) -> int:
    """Bytes of a process and of its children."""
    total = 0
    try:
        total = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (task / "children").read_text().split())
    except (OSError, ValueError):
        pass
    return total


def measured(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a command: its JSON, and what it took."""
    before, start, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0
    with subprocess.Popen(
        [sys.executable, "-m", "plenish", *words, "--json", "--quiet"], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.2)
        assert process.stdout is not None
        content = json.loads(process.stdout.read())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    took = {"wall_s": round(time.monotonic() - start, 1), "processor_s": round(processor, 1)}
    return content, took | {"peak_mb": round(peak / 1e6)}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="*", default=[75_000, 300_000])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(words)
    results = {}
    for count in asked.images:
        data, out = asked.work / f"blobs-{count}", asked.work / f"curated-{count}"
        if not data.exists():
            make(data, count)
        planted = sum(min(BLOCK, count - i) // 50 for i in range(0, count, BLOCK))
        near = measured(["curate", str(data), str(out), "--drop", "near-duplicates", "--dry-run"])
        every = measured(
            ["curate", str(data), str(out), "--where", "not tags any(tag_7)", "--drop", *STEPS]
        )  # fmt: skip
        results[count] = {
            "near-duplicates": near[1] | {"dropped": near[0]["funnel"][-1]["dropped"]},
            "all steps": every[1] | {"left": every[0]["left"]}, "planted": planted,
        }  # fmt: skip
        print(count, json.dumps(results[count]), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
