"""Inversion: images of the generator itself, and held-out real images against plain gradient descent on z.

    python -m benchmarks.inversion DATA RUN… [--own 100] [--real 32] [--steps 500]

Fixed before looking: seeds, 100 fresh samples, 500 evaluations of the generator with its gradient (of all
starts together), a mean squared error below 0.001 of pixels in [0, 1] for 95 % of them; on real images of the
test part less than half the error of Adam on z from one start at the same evaluations, with the best of three
learning rates on these very images, which favours Adam. Everything is computed in float32. The encoder's
training is counted apart. Results go to benchmarks/results/inversion.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.latent.coordinates import coordinates
from plenish.latent.inversion import Inverted, invert
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.inversion_search import Adam
from plenish.latent.pivotal import MOST, tune
from plenish.latent.space import LatentSpace
from plenish.training.engine import stable_seed

RESULTS = Path(__file__).parent / "results" / "inversion.json"
OWN_SEED, REAL_SEED, SEED = 7_000, 11, 0
ENOUGH, SHARE, HALF = 1e-3, 0.95, 0.5
RATES = (0.01, 0.05, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--own", type=int, default=100)
    parser.add_argument("--real", type=int, default=32)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--encoder-steps", type=int, default=1000, help="0 leaves the encoder out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    test = Dataset.open(asked.data).part("test", "default", purpose="score")
    chosen = np.sort(np.random.default_rng(REAL_SEED).permutation(len(test))[: asked.real])
    real = test.where(chosen)
    rows = []
    with settings.use(precision="float32"):
        for run in asked.runs:
            rows.append(measured(run, np.concatenate(list(real.batches())), real.y(), asked))
            print(json.dumps(rows[-1], indent=1), flush=True)
            words = [Path(word).name for word in sys.argv[1:]]
            content = {
                "command": ["python", "-m", "benchmarks.inversion", *words],
                "machine": {
                    "processor": platform.processor() or platform.machine(), "torch": torch.__version__,
                    "threads": torch.get_num_threads(),
                },
                "unit": "mean squared error, pixels in [0, 1]", "precision": "float32", "runs": rows,
            }  # fmt: skip
            asked.out.parent.mkdir(exist_ok=True)
            asked.out.write_text(json.dumps(content, indent=1) + "\n")


def measured(run: Path, real: Any, y: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """Both measurements of one generator."""
    space = LatentSpace(run)
    bare = InversionOptions(steps=asked.steps, encoder=False, seed=SEED)
    how = dataclasses.replace(bare, encoder=True, encoder_steps=asked.encoder_steps or bare.encoder_steps)
    own = space.draw(range(OWN_SEED, OWN_SEED + asked.own))
    pixels = space.images(own)
    row: dict[str, Any] = {"family": space.family, "checkpoint": space.loaded.checkpoint.name}
    ways = {"without encoder": bare} | ({"with encoder": how} if asked.encoder_steps else {})
    row["own"] = {name: facts(pixels, options, space) for name, options in ways.items()}
    for found in row["own"].values():
        found["share_below_0.001"] = found["below"] / asked.own
        found["passes"] = found["share_below_0.001"] >= SHARE
    plain = {str(rate): descent(space, real, y, rate, asked.steps) for rate in RATES}
    best = min(plain.values())
    row["real"] = {"plain Adam on z, mean by rate": plain, "images": len(real)}
    spaces = ("z", "w", "w+") if space.has_styles else ("z",)
    for where in spaces:
        for name, options in ways.items():
            found = facts(real, dataclasses.replace(options, space=where), space, y)
            found["of_plain"] = found["mean"] / best
            found["passes"] = found["of_plain"] < HALF
            row["real"][f"{where}, {name}"] = found
    half = dataclasses.replace(bare, steps=asked.steps // 2)
    found = invert(space, real[:MOST], half, y[:MOST])
    tuned = tune(space, found.points, real[:MOST], asked.steps - half.steps)
    row["real"][f"z, first {MOST}, half of the steps pivotal tuning"] = {
        "mean": float(tuned.error.mean()), "median": float(np.median(tuned.error)),
        "images": len(tuned.error), "of_plain": float(tuned.error.mean()) / best,
        "passes": bool(float(tuned.error.mean()) < HALF * best),
    }  # fmt: skip
    return row


def facts(pixels: Any, how: InversionOptions, space: LatentSpace, y: Any = None) -> dict[str, Any]:
    """Errors and time of an inversion; labels are searched where none are given."""
    begun = time.monotonic()
    found: Inverted = invert(space, pixels, how, y)
    spent = time.monotonic() - begun
    encoder = {
        key: found.encoder[key]
        for key in ("steps", "seconds", "explained", "accuracy")
        if key in found.encoder
    }
    return {
        "median": float(np.median(found.error)), "mean": float(found.error.mean()),
        "largest": float(found.error.max()), "below": int((found.error < ENOUGH).sum()),
        "evaluations": found.evaluations, "seconds_with_encoder_training": round(spent, 1),
        "encoder": encoder,
    }  # fmt: skip


def descent(space: LatentSpace, pixels: Any, y: Any, rate: float, steps: int) -> float:
    """The mean error of plain gradient descent: Adam on z from one draw of the prior, the label known."""
    targets, where = space.engine.to_images(pixels), coordinates(space, "z")
    labels = torch.from_numpy(np.asarray(y, np.float32))
    labelled = bool(space.labels.width)

    def evaluate(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        moved = x.detach().requires_grad_()
        z = moved.reshape(len(x), *space.network.z_shape)
        made = space.sample(z, labels[rows] if labelled else None).float()
        error = (made - targets[rows]).square().mean((1, 2, 3)) / 4
        return error.detach(), torch.autograd.grad(error.sum(), moved)[0]

    rng = torch.Generator().manual_seed(stable_seed(SEED, "inversion", 0))
    z = space.network.sample_prior(1, rng).expand(len(pixels), *space.network.z_shape).flatten(1)
    assert z.shape[1] == where.width
    adam = Adam(evaluate, z, torch.arange(len(pixels)), rate)
    for _ in range(steps):
        adam.step()
    return float(adam.value.mean())


if __name__ == "__main__":
    main()
