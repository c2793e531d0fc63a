"""The training loop of all GANs: one readable loop around `adversarial.step`.

Progress is counted in real images shown to the discriminator. Everything random derives from (seed, attempt,
images seen), so a Run killed at any moment and started again ends with the weights of one never stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Literal

import torch

from plenish.datasets.batches import training_batches
from plenish.datasets.dataset import Subset
from plenish.errors import CheckFailed, InputError
from plenish.networks import gan as networks
from plenish.progress import progress, say, warn
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.engine import Engine, stable_seed
from plenish.training.gan import memory, samples
from plenish.training.gan import step as adversarial
from plenish.training.gan.health import Failure, Health, Limits
from plenish.training.gan.method import Method
from plenish.training.gan.session import CHANGEABLE, Schedule, Training, Validator, crossed
from plenish.training.gan.state import Players
from plenish.training.logs import Log, Means, sample_grid
from plenish.training.stopping import stop_requests

Outcome = Literal["complete", "interrupted"]


def train(
    run: Run, subset: Subset, family: str, network: networks.NetworkConfig, method: Method,
    schedule: Schedule, limits: Limits, engine: Engine, validator: Validator | None = None,
    retry: bool = False,
) -> Outcome:  # fmt: skip
    """Train a GAN in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        subset: training rows.
        family: name of the network family.
        network: configuration of the networks.
        method: how they are trained.
        schedule: length and intervals.
        limits: when the training counts as failed.
        engine: device and precision.
        validator: uint8 images N×H×W×C and their labels → a score, lower is better; decides which checkpoint
            is best.
        retry: go on after a divergence, with new random draws.

    Returns:
        `complete`, or `interrupted` after Ctrl-C, with a checkpoint written.

    Raises:
        CheckFailed: the training diverged; the Run stands at its last good checkpoint.
    """
    while True:
        torch.manual_seed(stable_seed(run.seed, "weights"))
        players = Players(*networks.build(family, network), method, engine)
        training = Training(run, subset, schedule, limits, engine, players, validator)
        _restore(training, retry)
        try:
            return _session(training, family)
        except CheckFailed as failure:
            if not _may_roll_back(training):
                raise
            warn(f"{failure} Going on from there with other random draws.")
        retry = False
        del players, training  # Before the next ones are built.


def _may_roll_back(training: Training) -> bool:
    """Whether the schedule asks for another attempt after a failure, and one is left."""
    past = int(training.run.status.get("rollbacks", 0))
    return training.schedule.on_failure == "rollback" and past < training.schedule.rollbacks


def _session(training: Training, family: str) -> Outcome:
    run, schedule = training.run, training.schedule
    run.update_status(
        state="running", engine=training.engine.describe(), schedule=dataclasses.asdict(schedule),
        best=training.best, message=None, failed_since=None,
    )  # fmt: skip
    try:
        with contextlib.closing(Log(run, training.nimg)) as log, stop_requests() as stop:
            samples.catch_up(training, log)
            if training.kimg >= schedule.kimg:
                say(f"{run.path} has already been trained for {training.kimg:g} kimg.")
                outcome: Outcome = "complete"
            elif samples.out_of_patience(training):
                say(f"{run.path} has stopped improving; train longer with a larger schedule.patience.")
                outcome = "complete"
            else:
                outcome = _loop(training, log, stop)
        run.update_status(state=outcome)
        return outcome
    except Exception as error:
        if run.status["state"] == "running":
            run.update_status(state="failed", message=str(error).partition("\n")[0])
        if not memory.is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # They hold what the failed step had made.
    raise InputError(memory.batch_that_fits(training.players, family, training.nimg))


def _restore(training: Training, retry: bool) -> None:
    run, players = training.run, training.players
    status = run.status
    training.attempt = int(status.get("attempt", 0))
    folder = run.path / "checkpoints"
    newest = _last_good(run)
    if status.get("state") == "diverged":
        automatic = not retry and _may_roll_back(training)
        if not retry and not automatic:
            at = newest.name if newest else "the start"
            raise CheckFailed(
                f"{run.path} diverged: {status.get('message')}; it stands at {at}. "
                "Use that, change the options in a new Run, or go on with other random draws: --retry."
            )
        # In one write, so that a kill here neither loses nor repeats the attempt.
        training.attempt += 1
        rollbacks = int(status.get("rollbacks", 0)) + automatic
        # First, since what was saved while it failed would be the newest from here on.
        checkpoints.drop_behind(folder, newest)
        run.update_status(state="running", attempt=training.attempt, rollbacks=rollbacks)
    if newest is not None:
        state = checkpoints.restore_checkpoint(newest, players.modules(), players.optimisers())
        training.nimg, training.steps = int(state["nimg"]), int(state["steps"])
        training.last_batch = int(state["last_batch"])
        say(f"Going on at {training.kimg:g} kimg from {newest.name}.")
    players.grow(training.nimg)
    run.cut_metrics(
        training.kimg if newest is not None else -1.0
    )  # Without one, the first look is taken again.
    training.best = samples.best_kept(run)


def _last_good(run: Run) -> Path | None:
    """The newest intact checkpoint; of a training that failed, the newest from before the failure began."""
    status = run.status
    since = float(status.get("failed_since", math.inf)) if status.get("state") == "diverged" else math.inf
    return checkpoints.newest_intact(run.path / "checkpoints", before=since)


def _loop(training: Training, log: Log, stop: threading.Event) -> Outcome:
    schedule, engine, players = training.schedule, training.engine, training.players
    health = Health(training.limits, players.method.adversarial.objective)
    for line in log.past():
        health.feed(line)
    reals = samples.fixed_reals(training)
    if training.nimg == 0:
        sample_grid(reals).save(samples.sample_path(training.run, "reals"))
        _watch(training, log, health, samples.look(training, log, reals))
    means = Means()
    key = (training.run.seed, training.attempt)
    batches = training_batches(
        training.subset,
        lambda nimg: players.stage_at(nimg).batch,
        seed=key[0],
        attempt=key[1],
        start=training.nimg,
    )
    seconds_before = float(training.run.status.get("seconds", 0.0))
    training.meter.restart(training.run.status.get("energy_j", None if seconds_before else 0.0))
    begun = last_save = tick = time.monotonic()
    total, turns = 1000 * schedule.kimg, players.method.adversarial.d_steps
    with (
        contextlib.closing(batches) as feed,
        progress("training", total, "images", done=training.nimg) as bar,
    ):
        for batch in feed:
            x = engine.to_images(batch.pixels)
            y = training.labels(batch.y)
            # Norms of the discriminator and of the generator, which has its turn once in d_steps.
            soon = crossed(training.nimg, training.nimg + len(x) * turns, schedule.log_kimg)
            means.add(adversarial.step(players, x, y, training.nimg, key, training.steps, norms=soon))
            means.count(len(x), batch.waited)
            before, training.nimg = training.nimg, training.nimg + len(x)
            training.steps, training.last_batch = training.steps + 1, len(x)
            players.grow(training.nimg)
            done = training.nimg >= total
            stopped = stop.is_set()
            bar.advance(len(x))

            def due(kimg: float, before: int = before, done: bool = done) -> bool:
                return done or crossed(before, training.nimg, kimg)

            save = stopped or due(schedule.checkpoint_kimg) or time.monotonic() - last_save > 3600
            if save or due(schedule.log_kimg):
                now = time.monotonic()
                training.meter.joules()  # Read often: the counters start anew.
                line = _line(training, means.take(now - tick))
                tick = now
                _watch(training, log, health, line)
                bar.note(" ".join(f"{w} {line[k]:.2f}" for w, k in _NOTES if k in line))
            if due(schedule.sample_kimg):
                _watch(training, log, health, samples.look(training, log, reals))
            if save:
                seconds = seconds_before + time.monotonic() - begun
                _save(training, log, seconds, evaluate=due(schedule.checkpoint_kimg))
                last_save = tick = time.monotonic()
                if samples.out_of_patience(training):
                    say(f"Stopped at {training.kimg:g} kimg: the score on val has not become better lately.")
                    return "complete"
            if done or stopped:
                return "complete" if done else "interrupted"
    raise AssertionError("the feed of batches is endless")


_NOTES = (("G", "loss_g"), ("D", "loss_d"))


def _line(training: Training, means: dict[str, float]) -> dict[str, Any]:
    """A log line: means over the steps since the last one, and where growth stands."""
    players = training.players
    line: dict[str, Any] = {"kimg": training.kimg, **means}
    if len(players.sizes) > 1:
        stage = players.stage_at(training.nimg)
        line |= {"size": players.sizes[stage.number], "alpha": stage.alpha}
    return line


def _watch(training: Training, log: Log, health: Health, line: dict[str, Any]) -> None:
    """Log a line, then judge it: a failure can be read in the log too."""
    failure = health.feed(line)
    log.write(line)
    _fail_if(training, failure)


def _fail_if(training: Training, failure: Failure | None) -> None:
    if failure is None:
        return
    message = f"at {training.kimg:g} kimg {failure.message}"
    training.run.update_status(state="diverged", message=message, failed_since=failure.since)
    newest = _last_good(training.run)
    at = f"stands at its last good checkpoint, {newest.name}" if newest else "has no good checkpoint yet"
    raise CheckFailed(f"Training diverged: {message}. {training.run.path} {at}.")


def _save(training: Training, log: Log, seconds: float, evaluate: bool) -> None:
    run, players = training.run, training.players
    folder = run.path / "checkpoints"
    for name, module in players.modules().items():
        if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
            gone = f"the weights of '{name}' are no longer numbers; lower --lr"
            _fail_if(training, Failure(gone, training.kimg))
    samples.settle(training)
    path = checkpoints.save_checkpoint(
        folder,
        training.nimg,
        players.modules(),
        players.optimisers(),
        {"attempt": training.attempt, "steps": training.steps, "last_batch": training.last_batch},
    )
    if evaluate:
        samples.evaluate(training, log, path.name)
    checkpoints.prune_checkpoints(folder, training.schedule.keep, {str(training.best.get("checkpoint"))})
    run.update_status(
        kimg=training.kimg,
        seconds=round(seconds, 1),
        energy_j=training.meter.joules(),
        best=training.best,
        attempt=training.attempt,
    )


__all__ = ["CHANGEABLE", "Schedule", "Training", "train"]
