"""Speed of PGD beside ART's and torchattacks', in turn with each other in one process.

All take the same number of steps of the same size from one random start, on the same float32 classifier, and
return the last image. Ours computes gradients in bfloat16 where the processor has it, and in float32; robust
accuracy in float32 is recorded with each.

    python -m benchmarks.robustness_speed --oracles FOLDER --threads 2 --rounds 5 --out FILE
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.race import describe_machine, publish, timed
from benchmarks.robustness_models import find_oracles
from plenish.networks.classifier import Normalised, build_classifier
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.target import FromUnitRange
from plenish.training.engine import Engine, native_bfloat16

STEPS, CLASSES, EPS = 20, 7, 4 / 255
MODELS = (("small", 96), ("resnet18", 64))


def racers(module: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Callable[[], Tensor]]:
    """A call of each library."""
    import torchattacks
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    size = 2.5 * EPS / STEPS
    estimator = PyTorchClassifier(
        module, nn.CrossEntropyLoss(), tuple(images.shape[1:]), CLASSES, clip_values=(0, 1)
    )
    art = ProjectedGradientDescent(
        estimator, eps=EPS, eps_step=size, max_iter=STEPS, num_random_init=1, batch_size=len(images),
        verbose=False,
    )  # fmt: skip
    pixels, vectors = images.numpy(), np.eye(CLASSES, dtype=np.float32)[labels.numpy()]
    theirs = torchattacks.PGD(module, eps=EPS, alpha=size, steps=STEPS)
    ours = functools.partial(pgd, module, images, labels, EPS, steps=STEPS)
    found = {
        "art": lambda: torch.from_numpy(art.generate(pixels, vectors)),
        "torchattacks": lambda: theirs(images, labels),
        "float32": lambda: ours(keep="last"),
        "float32, best of all steps": lambda: ours(keep="best"),
    }
    if native_bfloat16(torch.device("cpu")):
        found["bfloat16"] = lambda: ours(keep="last", precision="bfloat16")
        found["bfloat16, best of all steps"] = lambda: ours(keep="best", precision="bfloat16")
    return found


def compare(name: str, size: int, batch: int, rounds: int, engine: Engine) -> dict[str, Any]:
    """Median seconds of each, and medians over the rounds of the ratios to ART and torchattacks."""
    torch.manual_seed(0)
    network = build_classifier(name, 3, size, CLASSES)
    module = FromUnitRange(Normalised(network, [0.0] * 3, [1.0] * 3)).eval()
    images = torch.rand(batch, 3, size, size)
    with torch.no_grad():
        labels = module(images).argmax(dim=1)
    calls = racers(module, images, labels)
    taken: dict[str, list[float]] = {who: [] for who in calls}
    accuracy = {}
    for who, call in calls.items():  # Also warms up.
        found = call().detach()
        with torch.no_grad():
            accuracy[who] = (module(found).argmax(dim=1) == labels).float().mean().item()
    for _ in range(rounds):
        for who, call in calls.items():
            taken[who].append(timed(call, engine))

    def ratio(peer: str, who: str) -> float:
        return statistics.median(a / b for a, b in zip(taken[peer], taken[who], strict=True))

    return {
        "model": name, "size": size, "batch": batch, "steps": STEPS, "eps": EPS,
        "seconds": {who: statistics.median(values) for who, values in taken.items()},
        "times_art": {who: ratio("art", who) for who in calls},
        "times_torchattacks": {who: ratio("torchattacks", who) for who in calls},
        "robust_accuracy": accuracy,
    }  # fmt: skip


def main() -> None:
    """Parse the options, race, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracles", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=[name for name, _ in MODELS])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    find_oracles(asked.oracles)
    torch.set_num_threads(asked.threads)
    engine = Engine(torch.device("cpu"), "float32")
    rows = [
        compare(name, dict(MODELS).get(name, 64), asked.batch, asked.rounds, engine) for name in asked.models
    ]
    publish({**describe_machine(engine), "rounds": asked.rounds, "models": rows}, asked.out)


if __name__ == "__main__":
    main()
