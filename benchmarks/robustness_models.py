"""Small classifiers to attack in benchmarks, and the packages that ours are compared with.

The packages are looked for in a folder that the command line names; they are no requirement of Plenish.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.errors import InputError
from plenish.networks.classifier import Normalised, build_classifier
from plenish.robustness.gradients import untouched, value_and_gradient
from plenish.robustness.losses import cross_entropy
from plenish.robustness.target import FromUnitRange

TRAINED = ("plain", "hardened")
EPOCHS, BATCH, RATE = 8, 100, 3e-3


@dataclasses.dataclass(frozen=True)
class Attacked:
    """A classifier, and images N×C×H×W in [0, 1] of the test part that it classifies correctly."""

    name: str
    module: nn.Module
    images: Tensor
    labels: Tensor
    clean: float


def find_oracles(folder: Path) -> None:
    """Make the packages in a folder importable."""
    if not (folder / "adv_lib").is_dir():
        raise InputError(
            f"{folder} has no adv_lib; fill it with: pip install --target {folder} --no-deps adv-lib foolbox "
            "eagerpy GitPython gitdb smmap adversarial-robustness-toolbox torchattacks."
        )
    sys.path.append(str(folder))
    # adv-lib imports its plotting client, which none of the attacks needs.
    stub = types.ModuleType("visdom")
    vars(stub)["Visdom"] = object
    sys.modules.setdefault("visdom", stub)


def attacked(data: Path, count: int, eps: float, kept: Path | None, threads: int) -> list[Attacked]:
    """A plain classifier and one trained against a single random-start gradient step of size eps.

    Args:
        data: an NPZ file with x_train, y_train, x_test and y_test: uint8 N×H×W or N×H×W×C, and classes.
        count: images to attack.
        eps: what the second one is trained against, in the L∞ norm.
        kept: folder for the trained weights, which are used again.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    arrays = np.load(data)
    x, y = _images(arrays["x_train"]), torch.from_numpy(arrays["y_train"]).long()
    tests, truth = _images(arrays["x_test"]), torch.from_numpy(arrays["y_test"]).long()
    found = []
    for name, radius in zip(TRAINED, (0.0, eps), strict=True):
        module = _network(x.shape[1], x.shape[2], int(y.max()) + 1)
        weights = kept / f"{data.stem}-{radius:.4f}.pt" if kept else None
        if weights and weights.exists():
            module.load_state_dict(torch.load(weights))
        else:
            _train(module, x, y, radius)
            if weights:
                weights.parent.mkdir(parents=True, exist_ok=True)
                torch.save(module.state_dict(), weights)
        module.eval()
        with torch.inference_mode():
            right = torch.cat([module(part).argmax(dim=1) for part in tests.split(200)]) == truth
        rows = right.nonzero()[:count, 0]
        found.append(Attacked(name, module, tests[rows], truth[rows], right.float().mean().item()))
    return found


def _images(pixels: np.ndarray) -> Tensor:
    found = torch.from_numpy(pixels).float().div(255)
    return found[:, None] if found.ndim == 3 else found.permute(0, 3, 1, 2).contiguous()


def _network(channels: int, size: int, classes: int) -> nn.Module:
    torch.manual_seed(0)
    network = build_classifier("small", channels, size, classes)
    return FromUnitRange(Normalised(network, [0.0] * channels, [1.0] * channels))


def _train(module: nn.Module, x: Tensor, y: Tensor, eps: float) -> None:
    """E. Wong et al., "Fast is better than free", 2020, where eps is above 0."""
    module.train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=RATE)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for step in range(steps):
        if step % (len(x) // BATCH) == 0:
            order = torch.randperm(len(x))
        rows = order[step * BATCH % len(x) :][:BATCH]
        images, labels = x[rows], y[rows]
        if eps:
            with untouched(module):
                start = (images + eps * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
                gradient = value_and_gradient(module, start, labels, cross_entropy)[2]
            changed = start + 1.25 * eps * gradient.sign()
            images = changed.clamp(images - eps, images + eps).clamp(0, 1)
        optimiser.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        optimiser.step()
        schedule.step()
