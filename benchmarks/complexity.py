"""The reference figures of `plenish profile`: how variable known sets of images are.

    python benchmarks/complexity.py FOLDER…

Each FOLDER is imported by `plenish import --fit pad`. Beside them: tissue phantoms, the figures of
benchmarks/corpus.py, and drawn faces, aligned as portraits are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish import settings
from plenish.commands.datasets import make_phantom
from plenish.datasets.complexity import complexity, measure
from plenish.datasets.importing import import_dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.corpus import draw

EDGE = 32


def faces(rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    """Aligned faces N×32×32×3: eyes, nose and mouth at nearly fixed places, skin, hair and light vary."""
    y, x = np.mgrid[0:EDGE, 0:EDGE].astype(np.float32)[:, None] / EDGE

    def of(middle: float, spread: float) -> NDArray[np.float32]:
        return (middle + rng.normal(0, spread, (n, 1, 1))).astype(np.float32)

    out = np.broadcast_to(rng.uniform(30, 220, (n, 1, 1, 3)), (n, EDGE, EDGE, 3)).astype(np.float32).copy()
    shift_x, shift_y = of(0.5, 0.015), of(0.0, 0.015)

    def paint(mask: NDArray[np.bool_], colours: NDArray[np.float64]) -> None:
        out[:] = np.where(mask[..., None], colours, out)

    dark, skin = (
        rng.uniform(20, 110, (n, 1, 1, 3)),
        np.array([230, 180, 150]) * rng.uniform(0.4, 1, (n, 1, 1, 1)),
    )
    paint(((x - shift_x) / of(0.34, 0.02)) ** 2 + ((y - 0.45 - shift_y) / of(0.42, 0.02)) ** 2 < 1, dark)
    paint(((x - shift_x) / of(0.27, 0.02)) ** 2 + ((y - 0.52 - shift_y) / of(0.36, 0.02)) ** 2 < 1, skin)
    for side in (-1, 1):
        eye_x = shift_x + side * of(0.11, 0.006)
        paint(((x - eye_x) / 0.05) ** 2 + ((y - 0.46 - shift_y) / of(0.03, 0.004)) ** 2 < 1, 0.3 * dark)
    paint(((x - shift_x) / of(0.1, 0.02)) ** 2 + ((y - 0.72 - shift_y) / of(0.03, 0.008)) ** 2 < 1,
          np.array([170, 60, 70]) * np.ones((n, 1, 1, 1)))  # fmt: skip
    light = 1 + of(0, 0.25) * (x - 0.5) + of(0, 0.15) * (y - 0.5)
    return (out * light[..., None] + rng.normal(0, 3, out.shape)).clip(0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path)
    found = {}
    with tempfile.TemporaryDirectory() as place, settings.use(quiet=True):
        for folder in parser.parse_args().folders:
            arrays = sorted(folder.glob("*.npz"))
            out = Path(place) / folder.name
            data = import_dataset(arrays[0] if arrays else folder, out, fit="pad", workers=1).dataset
            found[folder.name] = complexity(data, np.arange(len(data)))
        phantom = make_phantom(Path(place) / "tissue", patients=40, tiles=30, size=64)
        found["tissue phantoms"] = complexity(phantom, np.arange(len(phantom)))
        found["drawn figures"] = measure(draw(np.random.default_rng(0), 2000)[0])
        found["drawn aligned faces"] = measure(faces(np.random.default_rng(0), 2000))
    rounded = {
        name: {k: v if k == "images" else float(f"{v:.3g}") for k, v in of.items()}
        for name, of in found.items()
    }
    print(json.dumps(rounded, indent=1))


if __name__ == "__main__":
    main()
