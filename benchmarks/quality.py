"""The rule on generators (`metrics/quality.py`) on altered real images and on Runs: the table of the docs.

    python -m benchmarks.quality DATA [RUN …] [-n 420] [--seed 0] [--out FILE.json]

The real images are the half of train that is no reference, as they are and altered; noise is in grey levels
of 0 to 255. A Run is judged at its best checkpoint, on n samples with the labels of training images. Prints
the figures as JSON, and as a table with the shares of what real images reach.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.latent.sampling import decode, draw_latents, load_generator
from plenish.metrics.features import domain_extractor
from plenish.metrics.quality import Quality, QualityScorer, from_record, halves, kimg_of
from plenish.metrics.words import number

Pixels = NDArray[np.uint8]
Labels = NDArray[np.float32]


def noisy(images: Pixels, sd: float, seed: int) -> Pixels:
    """Images with normal noise."""
    return _bytes(images + np.random.default_rng(seed).normal(0, sd, images.shape))


def blurred(images: Pixels, sigma: float) -> Pixels:
    """Images blurred by a Gaussian of so many pixels."""
    return _bytes(gaussian_filter(images.astype(np.float64), (0, sigma, sigma, 0)))


def checkered(images: Pixels, levels: float) -> Pixels:
    """Images with a checkerboard of single pixels, as transposed convolutions leave it."""
    rows, columns = np.indices(images.shape[1:3])
    return _bytes(images + levels * (2.0 * ((rows + columns) % 2) - 1)[..., None])


def shuffled(images: Pixels, side: int, seed: int) -> Pixels:
    """Images whose patches are exchanged, of each image by itself."""
    n, height, width, channels = images.shape
    rng = np.random.default_rng(seed)
    patches = images.reshape(n, height // side, side, width // side, side, channels)
    patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, side, side, channels)
    patches = np.stack([one[rng.permutation(len(one))] for one in patches])
    patches = patches.reshape(n, height // side, width // side, side, side, channels)
    return np.ascontiguousarray(patches.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape))


def partly_noise(images: Pixels, share: float, seed: int) -> Pixels:
    """Images of which a share is nothing but noise."""
    rng = np.random.default_rng(seed)
    out = images.copy()
    bad = rng.permutation(len(out))[: round(share * len(out))]
    out[bad] = rng.integers(0, 256, out[bad].shape)
    return out


def altered(images: Pixels, y: Labels | None, seed: int) -> Iterator[tuple[str, Pixels, Labels | None]]:
    """Name, images and labels of each alteration."""
    yield "real", images, y
    yield "real, noise of 12 grey levels", noisy(images, 12, seed), y
    yield "real, noise of 25 grey levels", noisy(images, 25, seed), y
    yield "real, blurred by 0.7 px", blurred(images, 0.7), y
    yield "real, blurred by 1 px", blurred(images, 1), y
    yield "real, checkerboard of 5 grey levels", checkered(images, 5), y
    if images.shape[1] % 4 == 0:
        yield "real, patches of 4 px exchanged", shuffled(images, 4, seed), y
    yield "real, 17 % of them pure noise", partly_noise(images, 0.17, seed), y
    if y is None:
        yield "10 real images, repeated", images[np.arange(len(images)) % 10], None
        return
    few = np.concatenate([np.flatnonzero(y[:, k])[:5] for k in range(y.shape[1])])
    rows = few[np.arange(len(images)) % len(few)]
    yield f"{len(few)} real images, repeated", images[rows], y[rows]
    yield "real, classes exchanged", images, np.roll(y, 1, axis=1)
    one = y[:, 0] > 0
    yield "real, one class only", images[one], y[one]


def sampled(run: str, train: Subset, n: int, seed: int) -> tuple[str, Pixels, Labels | None]:
    """Name of a Run with its kimg, and n samples of its best checkpoint, with labels of training images."""
    loaded = load_generator(run)
    network = loaded.network
    rows = np.random.default_rng(seed).permutation(len(train))[np.arange(n) % len(train)]
    y = train.y()[rows] if network.labels.width else None
    z = draw_latents(network, seed, 0, n)
    name = f"{loaded.run.config['config']['recipe']}, {kimg_of(loaded.checkpoint.name):g} kimg"
    return name, decode(network, z, y, seed=seed, first=0, space="z"), y


def row_of(name: str, found: Quality) -> dict[str, Any]:
    """A row: figures, and shares of what real images reach."""
    shares = {
        f"{figure}_share": round(found.of_real(figure), 3) for figure in ("precision", "coverage", "recall")
    }
    return {"images": name, **shares, **found.record()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| images | precision | coverage | recall | KID | rule |", "|---|---|---|---|---|---|"]
    for row in rows:
        shares = [f"{row[f'{figure}_share']:.2f}" for figure in ("precision", "coverage", "recall")]
        lines.append(f"| {' | '.join([row['images'], *shares, number(row['kid'], 2), row['level']])} |")
    return "\n".join(lines)


def _bytes(images: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a Dataset with a split")
    parser.add_argument("runs", nargs="*", help="Runs of generators trained on it")
    parser.add_argument("-n", type=int, default=420, help="samples of each Run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = Dataset.open(options.data)
    train = data.part("train", purpose="select")
    labelled = data.labels.kind == "categorical"
    extractor = domain_extractor(data)
    pixels = train.images(np.arange(len(train)))
    y = train.y() if labelled else None
    scorer = QualityScorer(extractor(pixels), y)
    _, order = halves(np.zeros(len(pixels), np.int64) if y is None else y.argmax(1))
    rows = []
    sets = altered(pixels[order], None if y is None else y[order], options.seed)
    for name, images, asked in (
        *sets,
        *(sampled(run, train, options.n, options.seed) for run in options.runs),
    ):
        found = from_record(scorer(extractor(images), asked))
        if found is None:
            raise SystemExit(f"{name}: too few images to measure")
        rows.append(row_of(name, found))
    text = json.dumps({"seed": options.seed, "kid_real": rows[0]["kid_real"], "rows": rows}, indent=2) + "\n"
    print(text)
    print(table(rows))
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
