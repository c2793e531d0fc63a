"""The length of a training in hours: what this machine does in them, by a few seconds of trying."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Container
from typing import Any

from plenish import settings
from plenish.errors import InputError
from plenish.progress import plain_duration, say
from plenish.training.footprint import refuse_too_large, throwaway
from plenish.training.generator import GeneratorLearner, GeneratorTask
from plenish.training.learner import Clock
from plenish.training.schedules import END, closer
from plenish.training.trial import speed_of
from plenish.wording import significant

PROBE_SECONDS = 6.0
_CHECKPOINTS = 16
"""Checkpoints in a training of given hours, as long as their scores take no more than this share of it."""
_SHARE = 0.2
TRIAL_SECONDS, _LEAST_KIMG = 3.0, 2.0
"""Seconds of trying where the length is given, and kimg below which nothing is tried."""
TRIAL_SAMPLES = 32
"""Samples whose making is timed."""
_SCORING_FACTOR = 1.5
"""Time of scoring a checkpoint over that of making its samples: features, the search for copies, writing."""


def within(task: GeneratorTask, hours: float, scored: bool, asked: Container[str] = ()) -> GeneratorTask:
    """The task with a schedule that fits into so many hours on this machine; says what that is.

    Checkpoints, previews and log lines are spaced to the length; rates that fall over the whole training fall
    over this one.

    Args:
        task: what is trained.
        hours: of training, with the scores of its checkpoints.
        scored: whether checkpoints are scored.
        asked: dotted keys of the schedule that stay as they are.

    Raises:
        InputError: not even a few steps fit.
    """
    refuse_too_large(task)
    say(f"Trying for {PROBE_SECONDS:g} s how much this machine trains in {plain_duration(3600 * hours)}.")
    with throwaway(task) as learner:
        seconds_per_kimg = speed_of(learner, PROBE_SECONDS)["seconds_per_kimg"]
        scoring = _scoring_seconds(learner) if scored else 1.0
        least = 2 * learner.batch_size(END) / 1000
    budget = 3600 * hours
    checkpoints = max(2, min(_CHECKPOINTS, int(_SHARE * budget / scoring)))
    kimg = significant((budget - checkpoints * scoring) / seconds_per_kimg)
    if kimg < least:
        shortest = 1.1 * (checkpoints * scoring + least * seconds_per_kimg) / 3600
        raise InputError(
            f"--hours {hours:g} is too short: the score of a checkpoint alone takes {scoring:.0f} s here, "
            f"and 1,000 images {seconds_per_kimg:.0f} s; give at least --hours {shortest:.2g}, or --kimg."
        )
    apart = significant(kimg / checkpoints, 2)
    say(
        f"{kimg:g} kimg take {plain_duration(budget)} here, at {seconds_per_kimg:.3g} s a kimg and "
        f"{scoring:.0f} s for each of {checkpoints} checkpoints."
    )
    return with_length(task, kimg, apart, asked)


def with_length(task: GeneratorTask, kimg: float, apart: float, asked: Container[str] = ()) -> GeneratorTask:
    """The task with another length and distance of its checkpoints, in kimg; `asked` as in `within`."""
    fine = min(task.schedule.log_kimg, significant(kimg / 100, 1))
    changes: dict[str, Any] = {"kimg": kimg, "checkpoint_kimg": apart, "sample_kimg": apart, "log_kimg": fine}
    schedule = dataclasses.replace(
        task.schedule, **{name: value for name, value in changes.items() if f"schedule.{name}" not in asked}
    )
    sections = {
        name: dataclasses.replace(section, lr_fall_kimg=kimg)
        if getattr(section, "lr_fall_kimg", 0)
        else section
        for name, section in task.sections.items()
    }
    return dataclasses.replace(task, schedule=schedule, sections=sections)


def spaced(task: GeneratorTask, asked: Container[str] = ()) -> GeneratorTask:
    """The task with checkpoints and previews close enough that one of a short training can be chosen.

    Intervals of the recipe that give fewer than four become quarters of the length; the rest stays.

    Args:
        task: what is trained, with the length asked for.
        asked: dotted keys of the schedule that stay as they are.
    """
    schedule = task.schedule
    changes: dict[str, Any] = {
        name: closer(getattr(schedule, name), schedule.kimg)
        for name in ("checkpoint_kimg", "sample_kimg")
        if f"schedule.{name}" not in asked
    }
    return dataclasses.replace(task, schedule=dataclasses.replace(schedule, **changes))


def say_length(task: GeneratorTask, scored: bool) -> None:
    """Say how long a training takes on this machine, by a few seconds of trying, unless it is short.

    A network that grows is tried at its last stage, the slowest, so that its time is an upper limit.

    Raises:
        InputError: the batch does not fit into memory.
    """
    refuse_too_large(task)
    schedule = task.schedule
    if settings.current().quiet or settings.process()[1] > 1 or schedule.kimg < _LEAST_KIMG:
        return
    with throwaway(task) as learner:
        seconds_per_kimg = speed_of(learner, TRIAL_SECONDS)["seconds_per_kimg"]
        scoring = _scoring_seconds(learner) if scored else 1.0
        about = "at most" if learner.grows else "about"
    seconds = seconds_per_kimg * schedule.kimg + scoring * max(1, schedule.kimg // schedule.checkpoint_kimg)
    hint = "; --hours 1 trains for one" if seconds > 7200 else ""
    each = f"{seconds_per_kimg:.3g} s a kimg"
    say(f"{schedule.kimg:g} kimg take {about} {plain_duration(seconds)} here, at {each}{hint}.")


def _scoring_seconds(learner: GeneratorLearner) -> float:
    """What scoring a checkpoint takes, and a preview."""
    clock = Clock(0, 0, END, 1)
    learner.before_save(clock)
    learner.sample_images(clock, 2)
    start = time.perf_counter()
    learner.sample_images(clock, TRIAL_SAMPLES)
    each = (time.perf_counter() - start) / TRIAL_SAMPLES
    return 1 + _SCORING_FACTOR * each * (learner.task.schedule.validate + 64)
