"""Plain and hardened classifiers, with and without generated images: clean and robust accuracy on test.

    plenish import pcam_subset pcam --size 64
    plenish train generator pcam gan
    plenish generate gan more -n 3000
    python -m benchmarks.hardening pcam WORK --generated more [--out benchmarks/results/hardening.json]

The generator saw the train part of the same split alone. Fixed before any was trained: the arms, the seeds
0, 1, 2, the method (TRADES at eps 4/255, its published steps and weight), as many steps for every arm, a
share of generated images of 0.7. The best checkpoint is chosen on val, of plain classifiers by clean
balanced accuracy and of hardened ones by that against PGD of 10 steps. Test images are then attacked by PGD
of 20 steps and by AutoAttack (whose Square has fewer queries than the 5000 of the publication, --queries).
`worst` is the union of both. Trained classifiers and what was found of each stay in WORK, so that a run
that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from plenish import settings
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.metrics import beside
from plenish.metrics.statistics import hierarchical_bootstrap, wilson_interval
from plenish.robustness.autoattack import auto_attack
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.hardening import train_hardened
from plenish.robustness.hardening_config import HardeningConfig
from plenish.robustness.target import FromUnitRange
from plenish.robustness.visited import misclassified
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier, labelled_images
from plenish.training.engine import Engine, system_field

SHARE = 0.7


class Arm(NamedTuple):
    """What an arm does beside plain training."""

    hardened: bool
    generated: bool


ARMS = {
    "plain": Arm(False, False), "plain, generated": Arm(False, True),
    "hardened": Arm(True, False), "hardened, generated": Arm(True, True),
}  # fmt: skip
DIFFERENCES = (("hardened", "plain"), ("hardened, generated", "hardened"), ("plain, generated", "plain"))
MEASURES = ("clean", "pgd-20", "worst")
Right = NDArray[np.bool_]


def correct(model: Classifier, test: Images, eps: float, seed: int, queries: int) -> dict[str, Right]:
    """Which test images a classifier gets right as they are, against PGD, and against all attacks, N each."""
    engine = Engine.from_settings(model.precision)
    module = FromUnitRange(model.module())
    images = engine.to_images(test.read(np.arange(len(test.y)))).add_(1).div_(2)
    labels = torch.from_numpy(test.y).to(engine.device)
    how: dict[str, Any] = {"seed": seed, "precision": engine.precision}

    def right(changed: torch.Tensor) -> Right:
        found: Right = (~misclassified(module, changed, labels)).cpu().numpy()
        return found

    clean = right(images)
    weak = clean & right(pgd(module, images, labels, eps, steps=20, **how))
    strong = clean & right(auto_attack(module, images, labels, eps, queries=queries, **how))
    return {"clean": clean, "pgd-20": weak, "worst": weak & strong}


def cell(options: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Train and measure one classifier, or read what was found of it."""
    kept = options.work / f"{arm.replace(', ', '-')}-{seed}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    data = Dataset.open(options.data)
    train, val, test = (data.part(part, purpose="score") for part in ("train", "val", "test"))
    images, held, tested = (labelled_images(part) for part in (train, val, test))
    if ARMS[arm].generated:
        images = beside.open_synthetic(options.generated, data, train, "default").behind(images)
    config = ClassifierConfig(
        steps=options.steps, batch=64, evaluations=options.evaluations, augmentation="classical",
        domain=options.domain, share=SHARE if ARMS[arm].generated else None, seed=seed,
    )  # fmt: skip
    how = HardeningConfig("trades" if ARMS[arm].hardened else "none", eps=options.eps)
    begun = time.monotonic()
    model = train_hardened(config, how, images, held, data.labels.names)
    trained = time.monotonic()
    right = correct(model, tested, how.radius, seed, options.queries)
    found = {
        "arm": arm, "seed": seed, "step": model.step, "train_seconds": round(trained - begun, 1),
        "attack_seconds": round(time.monotonic() - trained, 1),
        "val": [line for line in model.history if "val_loss" in line],
        "right": {name: values.astype(int).tolist() for name, values in right.items()},
    }  # fmt: skip
    model.save(kept.with_suffix(""))
    kept.write_text(json.dumps(found), encoding="utf-8")
    print(arm, seed, {name: f"{values.mean():.3f}" for name, values in right.items()}, flush=True)
    return found


def interval(right: NDArray[np.float64], groups: Any) -> list[float | None]:
    """Mean with its 95 % interval over test images (by group) and seeds, from values S×N.

    Of an accuracy that is the same for all seeds, Wilson's over images; of such a difference, none.
    """

    def mean(k: int, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(weights @ right[k] / weights.sum(axis=1))

    found = hierarchical_bootstrap(mean, len(right), right.shape[1], groups)
    if np.isfinite(found.low):
        return [found.mean, found.low, found.high]
    if right.min() < 0:
        return [found.mean, None, None]
    low, high = wilson_interval(right.mean() * right.shape[1], right.shape[1])[1:3]
    return [found.mean, low, high]


def summary(cells: list[dict[str, Any]], groups: Any) -> dict[str, Any]:
    """Accuracies of each arm and paired differences, with intervals."""

    def values(arm: str, measure: str) -> NDArray[np.float64]:
        return np.array([c["right"][measure] for c in cells if c["arm"] == arm], np.float64)

    arms = sorted({c["arm"] for c in cells}, key=list(ARMS).index)
    return {
        "accuracy": {arm: {m: interval(values(arm, m), groups) for m in MEASURES} for arm in arms},
        "differences": {
            f"{one} − {other}": {
                m: interval(values(one, m) - values(other, m), groups) for m in MEASURES
            } for one, other in DIFFERENCES if one in arms and other in arms
        },
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Accuracies in percent, a row an arm or a difference."""
    lines = [f"{'':32s}" + "".join(f"{measure:>24s}" for measure in MEASURES)]
    for rows in (found["accuracy"], found["differences"]):
        for name, row in rows.items():
            texts = [
                f"{100 * v:.1f}" + (f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None else "")
                for v, low, high in row.values()
            ]
            lines.append(f"{name:32s}" + "".join(f"{text:>24s}" for text in texts))
    return "\n".join(lines)


def main() -> None:
    """Train, attack, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a Dataset with classes and the split 'default'")
    parser.add_argument("work", type=Path, help="folder of what was found; kept, and gone on with")
    parser.add_argument("--generated", type=Path, help="synthetic Dataset; without it, two arms are left out")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000, help="of each training")
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--eps", default="4/255")
    parser.add_argument("--domain", default="histology")
    parser.add_argument("--queries", type=int, default=1000, help="of AutoAttack's Square")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    arms = [arm for arm in options.arms if options.generated or not ARMS[arm].generated]
    with settings.use(quiet=True, threads=options.threads):
        cells = [cell(options, arm, seed) for seed in options.seeds for arm in arms]
    data = Dataset.open(options.data)
    groups = data.part("test", purpose="score").groups
    known = None if all(group is None for group in groups) else groups
    found = summary(cells, known)
    print(table(found))
    record = {
        "command": " ".join(["python -m benchmarks.hardening", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} × {system_field('cpuinfo', 'model name')}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, shared",
        "seconds": round(time.monotonic() - begun, 1), "test_images": len(cells[0]["right"]["clean"]),
        "eps": options.eps, "share": SHARE, **found,
        "cells": [{key: value for key, value in c.items() if key != "right"} for c in cells],
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
