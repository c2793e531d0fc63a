"""The training loop of all GANs: one readable loop around `adversarial.step`.

Progress is counted in real images shown to the discriminator. Everything random derives from (seed, attempt,
images seen), so a Run killed at any moment and started again ends with the weights of one never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.batches import training_batches
from plenish.datasets.dataset import Subset
from plenish.errors import InputError, NegativeAnswer
from plenish.networks import gan as networks
from plenish.progress import progress, say
from plenish.runs import Run
from plenish.training import adversarial, checkpoints
from plenish.training.engine import Engine, to_uint8
from plenish.training.health import Health, Limits
from plenish.training.logs import Log, Means, sample_grid, spread

Validator = Callable[[NDArray[np.uint8]], float]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look; all in kimg, thousands of real images shown.

    Attributes:
        kimg: length of the training.
        log_kimg: interval of metrics.jsonl lines.
        sample_kimg: interval of sample grids.
        checkpoint_kimg: interval of checkpoints and of their score on val; one more is written every hour.
        keep: newest checkpoints kept, beside the best.
        validate: synthetic images scored against val at each checkpoint.
    """

    kimg: float = 200.0
    log_kimg: float = 1.0
    sample_kimg: float = 10.0
    checkpoint_kimg: float = 20.0
    keep: int = 3
    validate: int = 500

    def __post_init__(self) -> None:
        for name in ("kimg", "log_kimg", "sample_kimg", "checkpoint_kimg"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"schedule.{name} must be a number above 0, not {getattr(self, name)}.")
        if self.validate < 2:
            raise InputError(f"schedule.validate must be at least 2 images, not {self.validate}.")
        if self.keep < 1:
            raise InputError(f"At least one checkpoint must be kept; keep is {self.keep}.")


CHANGEABLE = tuple(f"schedule.{field.name}" for field in dataclasses.fields(Schedule))


@dataclasses.dataclass
class Training:
    """One GAN training at work: what the loop's parts share."""

    run: Run
    subset: Subset
    rules: adversarial.Adversarial
    schedule: Schedule
    limits: Limits
    engine: Engine
    players: adversarial.Players
    validator: Validator | None
    nimg: int = 0
    attempt: int = 0
    best: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.nimg / 1000

    @property
    def labelled(self) -> bool:
        """Whether the networks take labels."""
        return self.players.g.labels.width > 0

    def labels(self, y: NDArray[np.float32]) -> Tensor | None:
        """y for the networks, on the device."""
        return torch.from_numpy(y).to(self.engine.device) if self.labelled else None


Outcome = Literal["complete", "interrupted"]


def train(
    run: Run, subset: Subset, family: str, network: networks.NetworkConfig, rules: adversarial.Adversarial,
    schedule: Schedule, limits: Limits, engine: Engine, validator: Validator | None = None,
    retry: bool = False,
) -> Outcome:  # fmt: skip
    """Train a GAN in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        subset: training rows.
        family: name of the network family.
        network: configuration of the networks.
        rules: how they are played against each other.
        schedule: length and intervals.
        limits: when the training counts as failed.
        engine: device and precision.
        validator: uint8 images N×H×W×C → a score, lower is better; decides which checkpoint is best.
        retry: go on after a divergence, with new random draws.

    Returns:
        `complete`, or `interrupted` after Ctrl-C, with a checkpoint written.

    Raises:
        NegativeAnswer: the training diverged; the Run stands at its last good checkpoint.
    """
    torch.manual_seed(adversarial_seed(run.seed))
    generator, discriminator = networks.build(family, network)
    players = adversarial.Players(generator, discriminator, rules, engine)
    training = Training(run, subset, rules, schedule, limits, engine, players, validator)
    _restore(training, retry)
    if training.kimg >= schedule.kimg:
        say(f"{run.path} has already been trained for {training.kimg:g} kimg.")
        return "complete"
    run.update_status(state="running", engine=engine.describe(), schedule=dataclasses.asdict(schedule))
    try:
        with contextlib.closing(Log(run, training.nimg)) as log, _stop_requests() as stop:
            outcome = _loop(training, log, stop)
    except Exception as error:
        if run.status["state"] == "running":
            run.update_status(state="failed", message=str(error).partition("\n")[0])
        if is_out_of_memory(error):
            raise InputError(_batch_that_fits(training, family)) from error
        raise
    run.update_status(state=outcome)
    return outcome


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def _batch_that_fits(training: Training, family: str) -> str:
    """Try smaller batches on fresh networks, and say which fits."""
    network, engine = training.players.g.config, training.engine
    del training.players
    batch = training.rules.batch // 2
    while batch >= 2:
        try:
            rules = dataclasses.replace(training.rules, batch=batch)
            players = adversarial.Players(*networks.build(family, network), rules, engine)
            x = torch.zeros(batch, network.channels, network.size, network.size, device=engine.device)
            y = (
                torch.zeros(batch, network.labels.width, device=engine.device)
                if network.labels.width
                else None
            )
            adversarial.step(players, x.contiguous(memory_format=torch.channels_last), y, 0, (0, 0))
            return f"A batch of {training.rules.batch} does not fit into memory; --batch {batch} does."
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        batch //= 2
    return "Not even a batch of 2 fits into memory; use smaller images or a smaller --width."


def adversarial_seed(seed: int) -> int:
    """Seed of the networks' initial weights."""
    from plenish.training.engine import stable_seed

    return stable_seed(seed, "weights")


def _restore(training: Training, retry: bool) -> None:
    run, players = training.run, training.players
    status = run.status
    training.attempt = int(status.get("attempt", 0))
    training.best = dict(status.get("best", {}))
    folder = run.path / "checkpoints"
    newest = checkpoints.newest_intact(folder)
    if status.get("state") == "diverged":
        if not retry:
            at = newest.name if newest else "the start"
            raise NegativeAnswer(
                f"{run.path} diverged: {status.get('message')}; it stands at {at}. "
                "Use that, change the options in a new Run, or go on with other random draws: --retry."
            )
        training.attempt += 1
        run.update_status(attempt=training.attempt)
    if newest is not None:
        state = checkpoints.restore_checkpoint(newest, players.modules(), players.optimisers())
        training.nimg = int(state["nimg"])
        say(f"Going on at {training.kimg:g} kimg from {newest.name}.")
    if training.best and not (folder / str(training.best.get("checkpoint"))).is_dir():
        training.best = {}
    run.cut_metrics(training.kimg)


def _loop(training: Training, log: Log, stop: threading.Event) -> Outcome:
    schedule, engine, players = training.schedule, training.engine, training.players
    health = Health(training.limits)
    for line in log.past():
        health.feed(line)
    reals = _fixed_reals(training)
    _catch_up(training, log)
    if training.nimg == 0:
        sample_grid(reals).save(_sample_path(training.run, "reals"))
        _look(training, log, health, reals)
    means = Means()
    key = (training.run.seed, training.attempt)
    batches = training_batches(
        training.subset, training.rules.batch, seed=key[0], attempt=key[1], start=training.nimg
    )
    seconds_before = float(training.run.status.get("seconds", 0.0))
    begun = last_save = tick = time.monotonic()
    total = 1000 * schedule.kimg
    with (
        contextlib.closing(batches) as feed,
        progress("training", total, "images", done=training.nimg) as bar,
    ):
        for batch in feed:
            x = engine.to_images(batch.pixels)
            means.add(adversarial.step(players, x, training.labels(batch.y), training.nimg, key))
            means.count(len(x), batch.waited)
            before, training.nimg = training.nimg, training.nimg + len(x)
            done = training.nimg >= total
            stopped = stop.is_set()
            bar.advance(len(x))

            def due(kimg: float, before: int = before, done: bool = done) -> bool:
                step = max(1, round(1000 * kimg))
                return done or before // step != training.nimg // step

            save = stopped or due(schedule.checkpoint_kimg) or time.monotonic() - last_save > 3600
            if save or due(schedule.log_kimg):
                now = time.monotonic()
                line = {
                    "kimg": training.kimg,
                    **means.take(now - tick),
                    **adversarial.gradient_norms(players),
                }
                tick = now
                _watch(training, log, health, line)
                bar.note(f"G {line['loss_g']:.2f} D {line['loss_d']:.2f}")
            if due(schedule.sample_kimg):
                _look(training, log, health, reals)
            if save:
                seconds = seconds_before + time.monotonic() - begun
                _save(training, log, seconds, evaluate=due(schedule.checkpoint_kimg))
                last_save = tick = time.monotonic()
            if done or stopped:
                return "complete" if done else "interrupted"
    raise AssertionError("the feed of batches is endless")


def _watch(training: Training, log: Log, health: Health, line: dict[str, Any]) -> None:
    """Log a line, then judge it: a failure can be read in the log too."""
    failure = health.feed(line)
    log.write(line)
    _fail_if(training, failure)


def _fail_if(training: Training, failure: str | None) -> None:
    if failure is None:
        return
    message = f"at {training.kimg:g} kimg {failure}"
    newest = checkpoints.newest_intact(training.run.path / "checkpoints")
    training.run.update_status(state="diverged", message=message)
    at = f"stands at its last good checkpoint, {newest.name}" if newest else "has no good checkpoint yet"
    raise NegativeAnswer(f"Training diverged: {message}. {training.run.path} {at}.")


def _save(training: Training, log: Log, seconds: float, evaluate: bool) -> None:
    run, players = training.run, training.players
    folder = run.path / "checkpoints"
    for name, module in players.modules().items():
        if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
            _fail_if(training, f"the weights of '{name}' are no longer numbers; lower --lr")
    path = checkpoints.save_checkpoint(
        folder, training.nimg, players.modules(), players.optimisers(), {"attempt": training.attempt}
    )
    if evaluate:
        _evaluate(training, log, path.name)
    checkpoints.prune_checkpoints(folder, training.schedule.keep, {str(training.best.get("checkpoint"))})
    run.update_status(
        kimg=training.kimg, seconds=round(seconds, 1), best=training.best, attempt=training.attempt
    )


def _evaluate(training: Training, log: Log, checkpoint: str) -> None:
    """Score a checkpoint's samples against val, and remember the best."""
    if training.validator is None:
        return
    score = training.validator(sample_images(training, training.schedule.validate))
    log.write({"kimg": training.kimg, "kid_val": score})
    if not training.best or score < training.best["kid_val"]:
        training.best = {"checkpoint": checkpoint, "kid_val": score}


@torch.no_grad()
def sample_images(training: Training, n: int, *key: Any) -> NDArray[np.uint8]:
    """Fixed samples of the moving average, uint8 n×H×W×C; labels follow the training rows."""
    engine, network = training.engine, training.players.ema
    y = training.subset.y()
    order = np.random.default_rng(training.run.seed).permutation(len(y))[np.arange(n) % len(y)]
    z = network.sample_prior(n, engine.generator(training.run.seed, "samples", *key))
    made = []
    for start in range(0, n, 64):
        piece = slice(start, start + 64)
        with engine.autocast():
            made.append(to_uint8(network(z[piece], training.labels(y[order[piece]]))))
    return np.concatenate(made)


def _catch_up(training: Training, log: Log) -> None:
    """Score the checkpoint gone on from, if a kill came between its writing and its scoring."""
    interval = round(1000 * training.schedule.checkpoint_kimg)
    crossed = training.nimg // interval != (training.nimg - training.rules.batch) // interval
    scored = any(line["kimg"] == training.kimg and "kid_val" in line for line in log.past())
    if training.nimg and crossed and not scored:
        _evaluate(training, log, checkpoints.checkpoint_name(training.nimg))
        training.run.update_status(best=training.best)


def _fixed_reals(training: Training, n: int = 25) -> NDArray[np.uint8]:
    order = np.random.default_rng(training.run.seed).permutation(len(training.subset))
    return training.subset.images(order[np.arange(n) % len(order)])


def _look(training: Training, log: Log, health: Health, reals: NDArray[np.uint8]) -> None:
    samples = sample_images(training, len(reals))
    grid = sample_grid(samples)
    grid.save(_sample_path(training.run, checkpoints.checkpoint_name(training.nimg)))
    variety = spread(samples) / max(spread(reals), 1e-9)
    log.image("samples", np.asarray(grid), training.nimg)
    _watch(training, log, health, {"kimg": training.kimg, "variety": variety})


def _sample_path(run: Run, name: str) -> Path:
    (run.path / "samples").mkdir(exist_ok=True)
    return run.path / "samples" / f"{name}.png"


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to stop behind the current step; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        say("Stopping after this step; a checkpoint is being written.")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


__all__ = ["CHANGEABLE", "Schedule", "Training", "sample_images", "train"]
