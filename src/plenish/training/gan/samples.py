"""Looking at a generator while it trains: sample grids, and the score that chooses the best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.ema import batch_norms, renewed_statistics
from plenish.training.engine import to_uint8
from plenish.training.gan.session import Training, crossed
from plenish.training.logs import Log, sample_grid, spread, stalled

_SETTLING = 512
"""Images whose statistics batch norm is given: enough that more change nothing one can see."""


def evaluate(training: Training, log: Log, checkpoint: str) -> None:
    """Score a checkpoint's samples against val, and remember the best."""
    if training.validator is None:
        return
    n = training.schedule.validate
    y = training.subset.y()[_fixed_rows(training, n)] if training.labelled else None
    score = training.validator(sample_images(training, n), y)
    if not math.isfinite(score):
        return
    log.write({"kimg": training.kimg, "kid_val": score})
    if not training.best or score < training.best["kid_val"]:
        training.best = {"checkpoint": checkpoint, "kid_val": score}


def sample_images(training: Training, n: int, *key: Any) -> NDArray[np.uint8]:
    """Fixed samples of the moving average, uint8 n×H×W×C; labels follow the training rows."""
    network = training.players.ema
    made = np.empty((n, network.config.size, network.config.size, network.config.channels), np.uint8)
    batch = min(64, training.players.stage_at(training.nimg).batch)  # No more memory than a step takes.
    for number, images in enumerate(_synthesised(training, n, batch, "samples", *key)):
        made[number * batch : (number + 1) * batch] = to_uint8(network.full_size(images))
    return made


def settle(training: Training) -> None:
    """Give the moving average batch-norm statistics of its own, once for each state it is looked at or saved.

    They depend on its weights and the Run's seed alone, so a resumed Run ends with the same.
    """
    norms = batch_norms(training.players.ema)
    if not norms or training.settled == training.nimg:
        return
    batch = training.players.stage_at(training.nimg).batch
    batches = max(2, math.ceil(_SETTLING / batch))
    with renewed_statistics(norms):
        for _ in _synthesised(training, batches * batch, batch, "statistics"):
            pass
    training.settled = training.nimg


@torch.no_grad()
def _synthesised(training: Training, n: int, batch: int, *key: Any) -> Iterator[torch.Tensor]:
    """Fixed images of the moving average, batch by batch; labels follow the training rows."""
    engine, network = training.engine, training.players.ema
    y = training.subset.y()
    order = _fixed_rows(training, n)
    z = network.sample_prior(n, engine.generator(training.run.seed, *key))
    for start in range(0, n, batch):
        piece = slice(start, start + batch)
        asked = training.labels(y[order[piece]])
        engine.seed_everything(training.run.seed, *key, start)
        with engine.autocast():
            images = network.synthesis(network.mapping(z[piece], asked), asked, noise="random")
        yield images


def best_kept(run: Run) -> dict[str, Any]:
    """The checkpoint with the best score among those that are still there; empty where none was scored.

    Told by the log, which knows of a score as soon as there is one and is cut back with the checkpoints.
    """
    best: dict[str, Any] = {}
    for _, line in run.metrics().iterrows():
        score, name = line.get("kid_val", math.nan), checkpoints.checkpoint_name(round(1000 * line["kimg"]))
        better = not math.isnan(score) and score < best.get("kid_val", math.inf)
        if better and (run.path / "checkpoints" / name).is_dir():
            best = {"checkpoint": name, "kid_val": float(score)}
    return best


def catch_up(training: Training, log: Log) -> None:
    """Score the checkpoint gone on from, if a kill came between its writing and its scoring."""
    due = training.kimg >= training.schedule.kimg or crossed(
        training.nimg - training.last_batch, training.nimg, training.schedule.checkpoint_kimg
    )
    scored = any(line["kimg"] == training.kimg and "kid_val" in line for line in log.past())
    if training.nimg and due and not scored:
        evaluate(training, log, checkpoints.checkpoint_name(training.nimg))
        training.run.update_status(best=training.best)


def fixed_reals(training: Training, n: int = 25) -> NDArray[np.uint8]:
    """Real images of the train part, the same each time, uint8 n×H×W×C."""
    return training.subset.images(_fixed_rows(training, n))


def _fixed_rows(training: Training, n: int) -> NDArray[np.int64]:
    """Training rows whose labels fixed samples are made with."""
    order = np.random.default_rng(training.run.seed).permutation(len(training.subset))
    return order[np.arange(n) % len(order)]


def look(training: Training, log: Log, reals: NDArray[np.uint8]) -> dict[str, float]:
    """Save and log a grid of samples; returns a log line with their spread beside that of reals."""
    settle(training)
    samples = sample_images(training, len(reals))
    grid = sample_grid(samples)
    grid.save(sample_path(training.run, checkpoints.checkpoint_name(training.nimg)))
    y = training.subset.y()[_fixed_rows(training, len(reals))] if training.labelled else None
    variety = spread(samples, y) / max(spread(reals, y), 1e-9)
    log.image("samples", np.asarray(grid), training.nimg)
    log.confusion(training.nimg)
    return {"kimg": training.kimg, "variety": variety}


def sample_path(run: Run, name: str) -> Path:
    """Where a sample grid lies."""
    (run.path / "samples").mkdir(exist_ok=True)
    return run.path / "samples" / f"{name}.png"


def out_of_patience(training: Training) -> bool:
    """Whether as many checkpoints as the schedule's patience were scored behind the best one."""
    patience, table = training.schedule.patience, training.run.metrics()
    if not patience or "kid_val" not in table:
        return False
    return stalled(table["kid_val"].dropna().to_numpy(), patience)
