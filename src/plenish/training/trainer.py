"""The training loop of every model: feeding, logs, checkpoints, validation, failures, resume.

Progress is counted in images shown. Everything random derives from (seed, attempt, images seen), so a Run
killed at any moment and started again ends with the weights of one never stopped.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from plenish.datasets.batches import Batch, Images
from plenish.errors import CheckFailed, InputError, first_line
from plenish.networks.shared_batch import sharing
from plenish.progress import Bar, progress, say, warn
from plenish.runs import Run, warn_of_other_machine
from plenish.training import checkpoints, ranks
from plenish.training.engine import stable_seed
from plenish.training.failures import Failure
from plenish.training.hardware import warn_of_other_work
from plenish.training.learner import Clock, Learner
from plenish.training.logs import Log, Means
from plenish.training.memory import batch_that_fits, fits, hold, is_out_of_memory
from plenish.training.schedules import Schedule, crossed
from plenish.training.scores import Scores

AnyLearner = TypeVar("AnyLearner", bound=Learner)
_HEARD_AGAIN = 200
"""Log lines that the learner hears again after a resume."""
_LONGEST_UNSAVED = 3600.0
"""Seconds after which a checkpoint is written though none is scheduled."""


class Stopped(KeyboardInterrupt):
    """A training was asked to stop, and has written a checkpoint."""


def train(
    build: Callable[[], AnyLearner], images: Images, schedule: Schedule, run: Run, *,
    retry: bool = False, facts: Mapping[str, Any] = {},
) -> AnyLearner:  # fmt: skip
    """Train a model in a Run, from the start or from its newest intact checkpoint.

    Args:
        build: makes the model and its optimisers; torch's random state is the Run's.
        images: what it is trained on.
        schedule: length and intervals.
        run: the Run; the caller holds its lock.
        retry: resume after a divergence, with other random draws.
        facts: further entries of the Run's status.

    Returns:
        The model as the training ended.

    Raises:
        Stopped: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged; the last good checkpoint is kept.
        InputError: memory does not suffice for a step; says which batch fits.
    """
    with ranks.interrupted_when_lost(run):
        while True:
            torch.manual_seed(stable_seed(run.seed, "weights"))
            trainer = Trainer(learner := build(), images, schedule, seed=run.seed, run=run)
            try:
                ranks.join(trainer.engine)
                trainer.restore(retry)
                trainer.fit(facts)
                ranks.leave(trainer.engine)
                if run.status["state"] == "interrupted":
                    raise Stopped
                return learner
            except CheckFailed as failure:
                # By one process, since the next attempt changes what it is decided by.
                if not ranks.from_main(trainer.engine, trainer.may_roll_back):
                    raise
                warn(f"{failure} Resuming from there with other random draws.")
            except Exception as error:
                if not trainer.in_step or not is_out_of_memory(error):
                    raise
                traceback.clear_frames(error.__traceback__)  # They hold what the failed step had made.
                nimg, batch, world = trainer.nimg, learner.batch_size(trainer.nimg), trainer.engine.world
                way_out = f"use smaller images or {learner.smaller_network}"
                del trainer, learner
                sentence = f"Not even a batch of {2 * world} fits into memory; {way_out}."
                if fitting := batch_that_fits(build, images, nimg, batch, world):
                    sentence = f"A batch of {batch} does not fit into memory; --batch {fitting} does."
                raise InputError(sentence) from None
            retry = False
            del trainer, learner  # Before the next one is built.


class Trainer:
    """One training at work.

    Attributes:
        learner: the model that is trained.
        nimg: images seen.
        steps: steps taken.
        in_step: whether the learner is taking a step, or failed in it.
        scores: what the checkpoints scored on val, and the best of them.
        lines: what was logged, without a Run.
    """

    def __init__(
        self, learner: Learner, images: Images, schedule: Schedule, *, seed: int,
        run: Run | None = None, on_step: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """Prepare a training from the start.

        Args:
            learner: the model.
            images: what it is trained on.
            schedule: length and intervals.
            seed: seed of every random draw.
            run: where logs and checkpoints go; without one nothing is written, the best weights are kept in
                memory and put into the model at the end.
            on_step: called after every step with the number of steps taken.
        """
        self.learner, self.images, self.schedule, self.seed = learner, images, schedule, seed
        self.run, self.on_step, self.engine = run, on_step, learner.engine
        self.nimg = self.steps = self.last_batch = self.attempt = 0
        self.in_step = False
        self.scores = Scores(learner)
        self.lines: list[Mapping[str, Any]] = []
        self._write: Callable[[Mapping[str, Any]], None] = self.lines.append
        self._log: Log | None = None
        self._weights: dict[str, dict[str, Any]] = {}

    @property
    def clock(self) -> Clock:
        """Seed, attempt and progress of the next step."""
        return Clock(self.seed, self.attempt, self.nimg, self.steps, self.engine.rank, self.engine.world)

    @property
    def position(self) -> dict[str, float]:
        """Thousands of images seen, `kimg`, with the learner's own measures of progress."""
        return {"kimg": self.nimg / 1000, **self.learner.position(self.nimg)}

    def _where(self) -> str:
        """The progress, for messages: `kimg 12.8`, `epoch 3`."""
        return f"{self.learner.unit} {self.position[self.learner.unit]:.6g}"

    # Resume and rollback

    def may_roll_back(self) -> bool:
        """Whether the schedule asks for another attempt after a failure, and one is left."""
        assert self.run is not None
        past = int(self.run.status.get("rollbacks", 0))
        return self.schedule.on_failure == "rollback" and past < self.schedule.rollbacks

    def restore(self, retry: bool = False) -> None:
        """Go back to the Run's newest intact checkpoint, or to the start where there is none.

        Raises:
            CheckFailed: the training had diverged, and is neither retried nor rolled back.
        """
        assert self.run is not None
        newest, self.attempt = ranks.from_main(self.engine, lambda: self._choose_start(retry))
        if newest is not None:
            state = checkpoints.restore_checkpoint(newest, self.learner.modules(), self.learner.optimisers())
            self.nimg, self.steps = int(state["nimg"]), int(state.get("steps", 0))
            self.last_batch = int(state.get("last_batch", 0))
            say(f"Resuming at {self._where()} from {newest.name}.")
        self.learner.set_stage(self.nimg)

    def _choose_start(self, retry: bool) -> tuple[Path | None, int]:
        """The checkpoint to resume from (None: the start) and the number of the attempt.

        Removes checkpoints and log lines that are newer.
        """
        assert self.run is not None
        run, status = self.run, self.run.status
        attempt, newest = int(status.get("attempt", 0)), checkpoints.last_good(run)
        saved = checkpoints.list_checkpoints(run.path / "checkpoints")
        if newest is None and saved and not any(map(checkpoints.intact, saved)):
            raise InputError(checkpoints.none_intact(run))
        if status.get("state") == "diverged":
            automatic = not retry and self.may_roll_back()
            if not retry and not automatic:
                raise CheckFailed(
                    f"{run.path} diverged: {status.get('message')}. {checkpoints.last_sentence(newest)} "
                    "Use it, change the options in a new Run, or resume with other random draws: --retry."
                )
            # In one write, so that a kill here neither loses nor repeats the attempt.
            attempt += 1
            rollbacks = int(status.get("rollbacks", 0)) + automatic
            # First, since what was saved while it failed would be the newest from here on.
            checkpoints.drop_behind(run.path / "checkpoints", newest)
            run.update_status(state="running", attempt=attempt, rollbacks=rollbacks)
        # Without a checkpoint, the first preview is made again.
        run.cut_metrics(checkpoints.load_state(newest)["nimg"] / 1000 if newest is not None else -1.0)
        return newest, attempt

    # The loop

    def fit(self, facts: Mapping[str, Any] = {}) -> None:
        """Train to the end of the schedule, until patience ends, or until it is asked to stop.

        Args:
            facts: further entries of the Run's status, whose state becomes `complete` or `interrupted`.
        """
        if self.run is None:
            self._loop(threading.Event())
            for name, weights in self._weights.items():
                self.learner.modules()[name].load_state_dict(weights)
            return
        run, engine = self.run, self.engine.describe()
        warn_of_other_machine(run, engine)
        warn_of_other_work(self.engine)
        run.update_status(
            state="running", engine=engine, message=None, failure=None, failed_since=None, **facts,
        )  # fmt: skip
        try:
            with contextlib.closing(Log(run, self.nimg)) as self._log, ranks.stop_requests() as stop:
                self._write = self._log.write
                past = ranks.from_main(self.engine, lambda: [line for _, line in run.logged()])
                # The log knows of a score as soon as there is one, and is cut back with the checkpoints.
                for line in past:
                    self.scores.add(line, run.path / "checkpoints")
                    self.learner.validated(line)
                due = self.schedule.checkpoint_due(self.nimg - self.last_batch, self.nimg)
                if self.nimg and due and self.nimg not in self.scores:
                    self._validate()  # A kill came between the writing of this checkpoint and its scoring.
                run.update_status(best=self.scores.best)
                for line in past[-_HEARD_AGAIN:]:
                    self.learner.hear(line)
                completed = self._is_done() or self._loop(stop)
            run.update_status(state="complete" if completed else "interrupted")
        except Exception as error:
            if run.status["state"] == "running":
                run.update_status(state="failed", message=first_line(error))
            raise

    def _is_done(self) -> bool:
        assert self.run is not None
        if self.nimg >= self.schedule.images:
            say(f"{self.run.path} has already been trained up to {self._where()}.")
        elif self.scores.out_of_patience(self.schedule.patience):
            say(f"{self.run.path} has stopped improving; train longer with a larger schedule.patience.")
        else:
            return False
        return True

    def _loop(self, stop: threading.Event) -> bool:
        """Train; whether it came to its end, and was not stopped before."""
        schedule, learner, total = self.schedule, self.learner, self.schedule.images
        if self.nimg == 0:
            self._preview()
        before_seconds = float(self.run.status.get("seconds", 0.0)) if self.run else 0.0
        means = Means()
        begun = saved = tick = time.monotonic()
        shown = progress("training", total, done=self.nimg) if self.run else contextlib.nullcontext(Bar())
        with contextlib.closing(self._batches()) as feed, shown as bar:
            for batch in feed:
                self.in_step = True
                with sharing(self.engine.rank, self.engine.world):
                    means.add(learner.step(batch, self.clock), batch.total, batch.waited)
                self.in_step = False
                before, self.nimg, self.steps = self.nimg, self.nimg + batch.total, self.steps + 1
                self.last_batch = batch.total
                learner.set_stage(self.nimg)
                bar.advance(batch.total)
                if self.on_step:
                    self.on_step(self.steps)
                overdue = time.monotonic() - saved > _LONGEST_UNSAVED
                stopped, overdue = ranks.any_of(self.engine, stop.is_set(), overdue)
                done, scheduled = self.nimg >= total, schedule.checkpoint_due(before, self.nimg)
                begins = learner.part(before) != learner.part(self.nimg)
                save = scheduled or stopped or overdue or begins
                if save or crossed(before, self.nimg, schedule.log_kimg):
                    now = time.monotonic()
                    if self.run:
                        self.run.usage()  # Read often: the counters of energy start anew.
                    self._judge(means.take(now - tick), bar)
                    tick = now
                sampled = done or crossed(before, self.nimg, schedule.sample_kimg)
                if sampled:
                    self._preview()
                if save:
                    self._save(before_seconds + time.monotonic() - begun, validate=scheduled, begins=begins)
                    saved = tick = time.monotonic()
                    if not done and self.scores.out_of_patience(schedule.patience):
                        say(f"Stopped at {self._where()}: no better score on val lately.")
                        done = True
                        if not sampled:
                            self._preview()
                if done or stopped:
                    return done
        raise AssertionError("the feed of batches is endless")

    def _batches(self) -> Generator[Batch, None, None]:
        images, device = self.images, self.engine.device
        held = fits(images, device)
        # What is read from memory, as in a study, needs no thread.
        return (hold(images, device) if held else images).batches(
            self.learner.batch_size, seed=self.seed, attempt=self.attempt, start=self.nimg,
            rank=self.engine.rank, world=self.engine.world, ahead=3 if self.run and not held else 0,
        )  # fmt: skip

    # Logs, pictures and failures

    def _judge(self, values: Mapping[str, float], bar: Bar | None = None) -> None:
        """Log values, then judge them: a failure can be read in the log too."""
        line = {**self.position, **ranks.mean_line(self.engine, values)}
        failure = self.learner.hear(line)
        self._write({**line, **self.learner.derived(line)})
        if bar is not None:
            bar.note(" ".join(f"{w} {line[k]:.4g}" for w, k in self.learner.notes if k in line))
        self._fail_if(failure)

    def _preview(self) -> None:
        """Save and log a picture of what the model makes, and judge it."""
        if self.run is None:
            return
        if values := ranks.from_main(self.engine, self._save_preview):
            self._judge(values)

    def _save_preview(self) -> Mapping[str, float]:
        """Save and log a picture of what the model makes; returns what was measured on it."""
        preview = self.learner.preview(self.clock)
        if preview is None or self.run is None or self._log is None:
            return {}
        folder = self.run.path / "samples"
        folder.mkdir(exist_ok=True)
        if preview.reference is not None and not (folder / "reals.png").exists():
            preview.reference.save(folder / "reals.png")
        preview.picture.save(folder / f"{checkpoints.checkpoint_name(self.nimg)}.png")
        pictures = {preview.title: np.asarray(preview.picture), **preview.more}
        for title, picture in pictures.items():
            self._log.image(title, picture, self.nimg)
        return preview.values

    def _fail_if(self, failure: Failure | None) -> None:
        if failure is None:
            return
        message = f"at {self._where()} {failure.message}"
        sentence = f"Training diverged: {message}."
        if self.run is not None:
            self.run.update_status(
                state="diverged", message=message, failed_since=failure.since,
                failure={"code": failure.code, **failure.values},
            )  # fmt: skip
            sentence += f" {checkpoints.last_sentence(checkpoints.last_good(self.run))}"
        raise CheckFailed(sentence)

    # Checkpoints and scores

    def _save(self, seconds: float, validate: bool, begins: bool) -> None:
        """Write a checkpoint, then score it; one with which a part of the training begins is kept."""
        learner, run = self.learner, self.run
        if run is None:
            if validate:
                self._validate()
            return
        for network, module in learner.modules().items():
            if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
                values = {"network": network, "rate": learner.rate_option}
                self._fail_if(Failure("weights-not-finite", self.nimg / 1000, values))
        learner.before_save(self.clock)
        folder = run.path / "checkpoints"
        state = {"attempt": self.attempt, "steps": self.steps, "last_batch": self.last_batch}

        def write() -> None:
            checkpoints.save_checkpoint(folder, self.nimg, learner.modules(), learner.optimisers(), state)

        parts = dict(run.status.get("parts", {}))
        if begins:  # Before the checkpoint: a training that is killed goes on behind it.
            parts[str(learner.part(self.nimg))] = checkpoints.checkpoint_name(self.nimg)
            run.update_status(parts=parts)
        ranks.from_main(self.engine, write)
        if validate:
            self._validate()
        best = self.scores.best
        if self.engine.rank == 0:
            protected = {str(best.get("checkpoint")), *parts.values()}
            checkpoints.prune_checkpoints(folder, self.schedule.keep, protected)
        run.update_status(
            **self.position, seconds=round(seconds, 1), best=best, attempt=self.attempt
        )  # fmt: skip

    def _validate(self) -> None:
        """Score the model on val, and remember the best."""
        values = ranks.from_main(self.engine, lambda: self.learner.validate(self.clock))
        line = {**self.position, **values}
        is_best = self.scores.add(line)
        self.learner.validated(line)
        if is_best is None:
            return
        self._write(line)
        if is_best and self.run is None:
            modules = self.learner.modules()
            self._weights = {name: copy.deepcopy(module.state_dict()) for name, module in modules.items()}
