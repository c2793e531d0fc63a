"""A made-up result of `plenish attack`, in the layout that its page and its SARIF log read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fabricate import command

from plenish import files

CLASSES = ("benign", "<b>odd</b> & rare")
GRID = (0.0, 1 / 255, 4 / 255, 16 / 255)
LEFT = {"noise": (80, 80, 78, 75), "fgsm": (80, 50, 20, 15), "pgd": (80, 40, 8, 0), "square": (80, 60, 30, 5)}
"""Right answers that each attack leaves of 100, by eps."""


def content(**changes: Any) -> dict[str, Any]:
    """What attack.json holds: 100 images, 80 right without an attack, 40, 8 and 0 under one."""
    value = lambda right: [right / 100, max(0.0, right / 100 - 0.05), min(1.0, right / 100 + 0.05)]  # noqa: E731
    attacks = [
        {
            "name": name, "kind": {"noise": "control", "square": "black-box"}.get(name, "white-box"),
            "on": "left" if name == "square" else "all", "parameters": {"steps": 20, "step_size": 0.25},
            "results": [
                {"eps": eps, "accuracy": n / 100, "low": n / 100, "high": n / 100, "attacked": 80,
                 "seconds": 1.5}
                for eps, n in zip(GRID, left, strict=True)
            ],
        }
        for name, left in LEFT.items()
    ]  # fmt: skip
    worst = [
        {
            "eps": eps, "accuracy": value(right), "balanced_accuracy": value(right),
            "per_class": {CLASSES[0]: value(right), CLASSES[1]: [right / 100, None, None]},
            "found_by": {"pgd": 80 - right, "square": 0},
        }
        for eps, right in zip(GRID, LEFT["pgd"], strict=True)
    ]  # fmt: skip
    flags = [
        {"name": "iterative-beats-single-step", "status": "passed", "values": {"fgsm": 0.2, "pgd": 0.08}},
        {"name": "noise-is-harmless", "status": "failed", "values": {"lost": 0.05}},
        {"name": "softmax", "status": "unknown", "values": {}},
    ]
    corruptions = [
        {"name": name, "severity": severity, "accuracy": value(80 - 8 * severity)}
        for name in ("gaussian-noise", "jpeg") for severity in range(1, 6)
    ]  # fmt: skip
    return {
        "format": 1, "classifier": {
            "name": "cnn", "path": "cnn", "classes": list(CLASSES), "size": 16, "channels": 3,
        },
        "data": {
            "path": "tiles", "name": "tiles", "part": "val", "split": "default", "images": 100, "groups": 20,
        },
        "threat": {"norm": "linf", "eps": list(GRID)}, "seed": 0, "precision": "float32", "batch": 64,
        "device": "cpu", "seconds": 75.0, "attacks": attacks,
        "clean": {"accuracy": value(80), "balanced_accuracy": value(80)}, "worst_case": worst,
        "convergence": {"eps": 4 / 255, "iterations": [1, 5, 20], "accuracy": [0.2, 0.1, 0.08],
                        "loss": [1.0, 2.0, 2.5]},
        "corruptions": corruptions, "flags": flags, "caveats": [],
        "command": command("attack", "cnn", "tiles", "--images", "100"),
    } | changes  # fmt: skip


def write(folder: Path, kept: dict[str, Any] | None = None, *, shown: int = 3) -> dict[str, Any]:
    """Write a folder as `plenish attack` does, without its page; returns what attack.json holds."""
    kept = content() if kept is None else kept
    folder.mkdir(parents=True, exist_ok=True)
    files.write_record(folder / "attack.json", kept)
    n, rng = kept["data"]["images"], np.random.default_rng(0)
    pd.DataFrame(
        {
            "id": [f"{i:07}" for i in range(n)], "group": [f"g{i // 5}" for i in range(n)],
            "label": [CLASSES[i % 2] for i in range(n)], "prediction": [CLASSES[i % 2] for i in range(n)],
            "eps": np.where(np.arange(n) < 80, 1 / 255, np.nan), "attack": ["pgd"] * n,
            "adversarial_prediction": [CLASSES[1 - i % 2] for i in range(n)],
        }
    ).to_parquet(folder / "examples.parquet")  # fmt: skip
    originals = rng.integers(0, 256, (shown, 16, 16, 3), dtype=np.uint8)
    step = rng.choice([-1.0, 1.0], originals.shape) / 255
    np.savez(
        folder / "gallery.npz", originals=originals, rows=np.arange(shown),
        adversarial=np.clip(originals / 255 + step, 0, 1).astype(np.float32), eps=np.full(shown, 1 / 255),
        attack=np.array(["pgd"] * shown),
    )  # fmt: skip
    return kept
