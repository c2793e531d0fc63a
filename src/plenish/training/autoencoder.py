"""The training loop of autoencoders.

Progress is counted in images shown; a schedule speaks of epochs, passes over the training images. Data order
and every draw derive from (seed, attempt, images seen), so a Run killed at any moment and started again ends
with the weights of one never stopped. The best weights by the error on val are kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from plenish.datasets.batches import training_batches
from plenish.datasets.dataset import Subset
from plenish.energy import Meter
from plenish.errors import CheckFailed, InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.progress import progress, say
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.logs import Log, Means, paired_grid, stalled
from plenish.training.reconstruction import Learner, Method
from plenish.training.stopping import stop_requests

Outcome = Literal["complete", "interrupted"]
_PAIRS = 16
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look, in epochs: passes over the training images.

    Attributes:
        epochs: length of the training.
        evaluate_epochs: interval of the error on val and of checkpoints; one more is written every hour.
        sample_epochs: interval of pictures of reconstructions.
        patience: end after this many evaluations without a lower error on val; 0 goes on to the end.
        keep: newest checkpoints kept, beside the best.
    """

    epochs: float = 30.0
    evaluate_epochs: float = 1.0
    sample_epochs: float = 5.0
    patience: int = 3
    keep: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluate_epochs", "sample_epochs"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"schedule.{name} must be a number above 0, not {getattr(self, name)}.")
        if self.patience < 0:
            raise InputError(f"--patience must not be negative, and is {self.patience}; 0 never stops early.")
        if self.keep < 1:
            raise InputError(f"At least one checkpoint must be kept; keep is {self.keep}.")


CHANGEABLE = tuple(f"schedule.{field.name}" for field in dataclasses.fields(Schedule))


@dataclasses.dataclass
class _Fitting:
    """One training at work: what the loop's parts share."""

    run: Run
    train: Subset
    val: Subset | None
    schedule: Schedule
    learner: Learner
    nimg: int = 0
    attempt: int = 0
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    meter: Meter = dataclasses.field(default_factory=Meter)

    @property
    def kimg(self) -> float:
        return self.nimg / 1000

    @property
    def epoch(self) -> float:
        return self.nimg / len(self.train)

    @property
    def criterion(self) -> str:
        """What decides which checkpoint is best."""
        return "val_loss" if self.learner.network.config.variational else "val_mse"

    def crossed(self, before: int, epochs: float) -> bool:
        """Whether a multiple of `epochs` lies between `before` images and now."""
        interval = max(1, round(epochs * len(self.train)))
        return before // interval != self.nimg // interval


def train(
    run: Run, subset: Subset, val: Subset | None, network: AutoencoderConfig, method: Method,
    schedule: Schedule, engine: Engine, retry: bool = False,
) -> Outcome:  # fmt: skip
    """Train an autoencoder in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        subset: training rows.
        val: rows that decide which checkpoint is best and when to stop; None takes the newest.
        network: its shape.
        method: how it is trained.
        schedule: length and intervals.
        engine: device and precision.
        retry: go on after a divergence, with other random draws.

    Returns:
        `complete`, or `interrupted` after Ctrl-C, with a checkpoint written.

    Raises:
        CheckFailed: the training diverged; the Run stands at its last checkpoint.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed(run.seed, "weights"))
        learner = Learner(Autoencoder(network), method, engine)
    fitting = _Fitting(run, subset, val, schedule, learner)
    _restore(fitting, retry)
    run.update_status(
        state="running", message=None, engine=engine.describe(), schedule=dataclasses.asdict(schedule),
        parameters=sum(p.numel() for p in learner.network.parameters()), encoding=network.encoding_size,
    )  # fmt: skip
    try:
        with contextlib.closing(Log(run, fitting.nimg)) as log, stop_requests() as stop:
            outcome = _loop(fitting, log, stop) if not _is_done(fitting) else "complete"
        run.update_status(state=outcome)
        return outcome
    except Exception as error:
        if run.status["state"] == "running":
            run.update_status(state="failed", message=str(error).partition("\n")[0])
        raise


def _restore(fitting: _Fitting, retry: bool) -> None:
    run, learner = fitting.run, fitting.learner
    status = run.status
    newest = checkpoints.newest_intact(run.path / "checkpoints")
    fitting.attempt = int(status.get("attempt", 0))
    if status.get("state") == "diverged":
        if not retry:
            raise CheckFailed(
                f"{run.path} diverged: {status.get('message')}; it stands at "
                f"{newest.name if newest else 'the start'}. Use that, change the options in a new Run, or go "
                "on with other random draws: --retry."
            )
        fitting.attempt += 1
        run.update_status(state="running", attempt=fitting.attempt)
    if newest is not None:
        state = checkpoints.restore_checkpoint(newest, learner.modules(), learner.optimisers())
        fitting.nimg, fitting.best = int(state["nimg"]), dict(state["best"])
        say(f"Going on at epoch {fitting.epoch:.4g} from {newest.name}.")
    best = fitting.best.get("checkpoint")
    if best and not (run.path / "checkpoints" / best).is_dir():
        fitting.best = {}
    run.cut_metrics(fitting.kimg)


def _is_done(fitting: _Fitting) -> bool:
    run, schedule = fitting.run, fitting.schedule
    if fitting.epoch >= schedule.epochs:
        say(f"{run.path} has already been trained for {fitting.epoch:.4g} epochs.")
        return True
    if fitting.nimg and _out_of_patience(fitting):
        say(f"{run.path} has stopped improving; train longer with a larger --patience.")
        return True
    return False


def _out_of_patience(fitting: _Fitting) -> bool:
    table = fitting.run.metrics()
    if fitting.criterion not in table:
        return False
    return stalled(table[fitting.criterion].dropna().to_numpy(), fitting.schedule.patience)


def _loop(fitting: _Fitting, log: Log, stop: threading.Event) -> Outcome:
    schedule, learner, run = fitting.schedule, fitting.learner, fitting.run
    key = (run.seed, fitting.attempt)
    total = math.ceil(schedule.epochs * len(fitting.train))
    batches = training_batches(
        fitting.train, learner.method.batch, seed=key[0], attempt=key[1], start=fitting.nimg
    )
    before_seconds = float(run.status.get("seconds", 0.0))
    fitting.meter.restart(run.status.get("energy_j", None if before_seconds else 0.0))
    means, shown = Means(), _examples(fitting)
    begun = last_save = tick = time.monotonic()
    learner.network.train()
    with (
        contextlib.closing(batches) as feed,
        progress("training", total, "images", done=fitting.nimg) as bar,
    ):
        for batch in feed:
            means.add(learner.step(learner.blocks(batch.pixels), (*key, fitting.nimg)))
            means.count(len(batch.pixels), batch.waited)
            before, fitting.nimg = fitting.nimg, fitting.nimg + len(batch.pixels)
            bar.advance(len(batch.pixels))
            done, stopped = fitting.nimg >= total, stop.is_set()
            evaluate = done or fitting.crossed(before, schedule.evaluate_epochs)
            if done or fitting.crossed(before, schedule.sample_epochs):
                _look(fitting, log, shown)
            if evaluate or stopped or time.monotonic() - last_save > 3600:
                now = time.monotonic()
                line = {"kimg": fitting.kimg, "epoch": fitting.epoch, **means.take(now - tick)}
                _fail_if_not_finite(fitting, line)
                if evaluate and fitting.val is not None:
                    line |= _validate(fitting, fitting.val)
                log.write(line)
                bar.note(" ".join(f"{k} {line[k]:.4g}" for k in ("mse", "val_mse") if k in line))
                _save(fitting, before_seconds + now - begun, line)
                last_save = tick = time.monotonic()
                if evaluate and not done and _out_of_patience(fitting):
                    say(f"Stopped at epoch {fitting.epoch:.4g}: the error on val has not fallen lately.")
                    _look(fitting, log, shown)
                    return "complete"
            if done or stopped:
                return "complete" if done else "interrupted"
    raise AssertionError("the feed of batches is endless")


def _fail_if_not_finite(fitting: _Fitting, line: dict[str, Any]) -> None:
    weights = fitting.learner.network.parameters()
    if math.isfinite(line["loss"]) and all(bool(torch.isfinite(p).all()) for p in weights):
        return
    message = "the error is no longer a number; lower --lr"
    fitting.run.update_status(state="diverged", message=message)
    newest = checkpoints.newest_intact(fitting.run.path / "checkpoints")
    at = f"stands at {newest.name}" if newest else "has no checkpoint yet"
    raise CheckFailed(f"Training diverged: at epoch {fitting.epoch:.4g} {message}. {fitting.run.path} {at}.")


@torch.no_grad()
def _validate(fitting: _Fitting, val: Subset) -> dict[str, float]:
    """Means over the val images of what the loss is made of, without noise."""
    learner = fitting.learner
    learner.network.eval()
    sums: dict[str, float] = {}
    for pixels in val.batches(_AT_ONCE):
        for name, value in learner.losses(learner.blocks(pixels), draw=False).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(pixels)
    learner.network.train()
    means = {f"val_{name}": total / len(val) for name, total in sums.items()}
    if not learner.network.config.variational:
        means.pop("val_loss")  # The same as val_mse.
    return means


def _save(fitting: _Fitting, seconds: float, line: dict[str, Any]) -> None:
    run, learner = fitting.run, fitting.learner
    folder, name = run.path / "checkpoints", checkpoints.checkpoint_name(fitting.nimg)
    found = line.get(fitting.criterion, math.nan)
    if math.isfinite(found) and not found >= fitting.best.get(fitting.criterion, math.inf):
        fitting.best = {"checkpoint": name, "epoch": fitting.epoch, fitting.criterion: found}
    # The best is part of the checkpoint: a kill between the two writes cannot lose it.
    state = {"attempt": fitting.attempt, "best": fitting.best}
    checkpoints.save_checkpoint(folder, fitting.nimg, learner.modules(), learner.optimisers(), state)
    checkpoints.prune_checkpoints(folder, fitting.schedule.keep, {str(fitting.best.get("checkpoint"))})
    run.update_status(
        kimg=fitting.kimg, epoch=fitting.epoch, seconds=round(seconds, 1), energy_j=fitting.meter.joules(),
        best=fitting.best, attempt=fitting.attempt,
    )  # fmt: skip


def _examples(fitting: _Fitting) -> NDArray[np.uint8]:
    """Images that reconstructions are shown of, the same each time: of val where there is one."""
    subset = fitting.val or fitting.train
    order = np.random.default_rng(fitting.run.seed).permutation(len(subset))
    return subset.images(np.sort(order[:_PAIRS]))


@torch.no_grad()
def _look(fitting: _Fitting, log: Log, images: NDArray[np.uint8]) -> None:
    """Save and log originals with their reconstructions below them."""
    learner = fitting.learner
    learner.network.eval()
    with learner.engine.autocast():
        made = learner.network.decode(learner.network.encode(learner.blocks(images)).mean)
    pixels = to_uint8(learner.network.to_images(made.float()))
    learner.network.train()
    grid = paired_grid(images, pixels)
    folder = fitting.run.path / "samples"
    folder.mkdir(exist_ok=True)
    grid.save(folder / f"{checkpoints.checkpoint_name(fitting.nimg)}.png")
    log.image("reconstructions", np.asarray(grid), fitting.nimg)


__all__ = ["CHANGEABLE", "Outcome", "Schedule", "train"]
