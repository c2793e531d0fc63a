"""How long classifiers take to train on this machine, by a few seconds of trying, said before it starts."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from plenish import settings
from plenish.datasets.batches import Images
from plenish.progress import plain_duration, say
from plenish.training.classifier import ClassifierLearner
from plenish.training.classifier_columns import NO_COLUMNS, Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import Precision
from plenish.training.engine import Engine
from plenish.training.learner import Clock
from plenish.wording import plural

TRIAL_SECONDS = 3.0
_FEWEST, _MOST_VALIDATED = 3, 256
_LEAST_STEPS = 64
"""Steps in all below which nothing is tried, as they take no longer than trying."""


def say_duration(
    config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], *,
    precision: Precision | None, trainings: int = 1, tested: int = 0, times: float = 1.0,
    columns: Columns = NO_COLUMNS, build: Callable[..., ClassifierLearner] = ClassifierLearner,
) -> None:  # fmt: skip
    """Say how long trainings take in all; nothing when quiet, where nothing would be seen of it.

    Args:
        config: how each is trained, resolved.
        train: training images.
        val: validation images.
        names: the classes.
        precision: the network's measured preference.
        trainings: how many there are.
        tested: images classified after each.
        times: how many times as long as a step of `config` their steps take on average.
        columns: what the inputs of the images are.
        build: makes the Learner, of the same arguments as `ClassifierLearner`.
    """
    assert config.steps is not None
    steps = trainings * config.steps
    if settings.current().quiet or steps < _LEAST_STEPS:
        return
    step, image = measure(config, train, val, names, precision, columns, build)
    seconds = steps * step * times + trainings * image * (config.evaluations * len(val.y) + tested)
    what = f"{config.steps:,} steps"
    in_all = "" if trainings == 1 else " in all"
    what = what if trainings == 1 else f"{plural(trainings, 'training')} of {what}"
    each = f"{1000 * step * times:.3g} ms a step" + (" on average" if times != 1 else "")
    say(f"{what} take about {plain_duration(seconds)}{in_all} here, at {each}.")


def measure(
    config: ClassifierConfig, train: Images, val: Images, names: Sequence[str],
    precision: Precision | None, columns: Columns = NO_COLUMNS,
    build: Callable[..., ClassifierLearner] = ClassifierLearner,
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a step, and of validating with an image; random states and the data's order are left alone.

    Args:
        config: how it is trained, resolved.
        train: training images.
        val: validation images.
        names: the classes.
        precision: the network's measured preference.
        columns: what is given beside the images.
        build: makes the Learner, of the same arguments as `ClassifierLearner`.
    """
    engine = Engine.from_settings(precision)
    devices = [engine.device] if engine.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        inputs = None if val.inputs is None else val.inputs[:_MOST_VALIDATED]
        some = Images(val.read, val.y[:_MOST_VALIDATED], inputs=inputs)
        learner = build(config, train, some, names, engine, columns)
        times: list[float] = []
        begun = time.perf_counter()
        with contextlib.closing(train.batches(config.batch, seed=0, ahead=0)) as feed:
            while len(times) < _FEWEST or time.perf_counter() - begun < TRIAL_SECONDS:
                batch = next(feed)
                start = time.perf_counter()
                learner.step(batch, Clock(0, 0, len(times) * config.batch, len(times)))
                engine.synchronize()
                times.append(time.perf_counter() - start)
        start = time.perf_counter()
        learner.classify_val(0)
        each = (time.perf_counter() - start) / len(some.y)
    return statistics.median(times[1:]), each
