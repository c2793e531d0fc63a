"""Speed of a classifier's training step against the plain loop of a tutorial, in turn with each other.

The plain loop is torch's defaults: float32, contiguous images and weights, AdamW, the same batch already as
float images, in a process of its own. Ours is the Learner's step from uint8 pixels, with the precision that
`choose_precision` found.

    python -m benchmarks.classifier_step --classifier efficientnet_b0 --size 224 --batch 32 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks.race import count_flops, describe_machine, publish, race, timed
from plenish.datasets.batches import Batch, Images
from plenish.networks.classifier import build_classifier
from plenish.training.classifier import ClassifierLearner
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import choose_precision
from plenish.training.engine import Engine
from plenish.training.learner import Clock

CLASSES = 7


def plain_step(name: str, size: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One step of a plain training loop, in float32 and torch's own memory layout."""
    torch.manual_seed(0)
    network = build_classifier(name, 3, size, CLASSES).train().to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = torch.randn(batch, 3, size, size, device=device)
    targets = torch.arange(batch, device=device) % CLASSES

    def step() -> None:
        optimiser.zero_grad()
        functional.cross_entropy(network(images), targets).backward()
        optimiser.step()

    return step


def serve(pipe: Connection, name: str, size: int, batch: int, threads: int) -> None:
    """Time steps of the plain loop whenever asked, in a process where nothing of ours is set up."""
    torch.set_num_threads(threads)
    engine = Engine(torch.device("cpu"), "float32")
    step = plain_step(name, size, batch, engine.device)
    step()
    with contextlib.suppress(EOFError):  # The other end is closed when all rounds are done.
        while pipe.recv():
            pipe.send(statistics.median(timed(step, engine) for _ in range(2)))


def our_step(config: ClassifierConfig, size: int, engine: Engine) -> Callable[[], None]:
    """One step of a Learner, from the pixels that a reader hands over."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (config.batch, size, size, 3), np.uint8)
    images = Images(pixels.__getitem__, np.arange(config.batch) % CLASSES)
    learner = ClassifierLearner(config, images, images, [str(k) for k in range(CLASSES)], engine)
    batch = Batch(0, config.batch, np.arange(config.batch), pixels, images.y, 0.0)

    def step() -> None:
        learner.step(batch, Clock(0))

    return step


def main() -> None:
    """Parse the options, race, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    config = ClassifierConfig(classifier=asked.classifier, batch=asked.batch, steps=1000).resolved(1000)
    precision = choose_precision(config, 3, asked.size, CLASSES)
    engine = Engine.from_settings(precision)
    if engine.device.type != "cpu":
        raise SystemExit("This comparison is of CPUs; hide the GPU.")
    flops = count_flops(plain_step(asked.classifier, asked.size, asked.batch, engine.device))
    ours = our_step(config, asked.size, engine)
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    given = (theirs, asked.classifier, asked.size, asked.batch, torch.get_num_threads())
    context.Process(target=serve, args=given, daemon=True).start()

    def baseline() -> float:
        pipe.send(True)
        return float(pipe.recv())

    row = race(baseline, ours, flops, asked.batch, engine, asked.rounds)
    about = {"classifier": asked.classifier, "size": asked.size, "batch": asked.batch}
    publish({**describe_machine(engine), **about, **row}, asked.out)


if __name__ == "__main__":
    main()
