"""In which precision a classifier is trained on this machine."""

from __future__ import annotations

import time
from typing import Literal

import torch

from plenish import settings
from plenish.networks.classifier import SMALL, build_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.engine import Engine, native_bfloat16

Precision = Literal["float32", "bfloat16"]


def choose_precision(config: ClassifierConfig, channels: int, size: int, num_outputs: int) -> Precision:
    """The faster precision of this network on this machine, by three timed steps of each, interleaved.

    Networks of depthwise convolutions are slower in bfloat16 on CPUs that compute it natively, others faster;
    only a measurement tells. `small` is known (1.6 times as fast) and on CUDA bfloat16 is, so nothing is
    measured there.
    """
    engine = Engine.from_settings()
    decided = settings.current().precision != "auto" or config.classifier == SMALL
    if decided or engine.device.type != "cpu" or not native_bfloat16(engine.device):
        return engine.precision
    with torch.random.fork_rng(devices=[]):
        network = engine.to_module(build_classifier(config.classifier, channels, size, num_outputs))
        images = torch.randn(config.batch, channels, size, size).to(memory_format=torch.channels_last)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            for half in times:
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    loss = network(images).float().square().mean()
                loss.backward()
                times[half].append(time.perf_counter() - start)
    return "bfloat16" if min(times[True]) < min(times[False]) else "float32"
