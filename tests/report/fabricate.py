"""Small made-up Datasets, Runs, scores and studies in the layouts that the report reads."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.metrics.result_files import VERSION
from plenish.runs import Run


def command(*words: str) -> dict[str, Any]:
    """What a command records of itself."""
    line = shlex.join(["plenish", *words])
    return {"verb": words[0], "argv": None, "options": {}, "repeat": line, "folder": "/work of/mine"}


def make_data(
    out: Path,
    names: tuple[str, ...],
    *,
    n: int = 60,
    size: int = 16,
    images: np.ndarray | None = None,
    codes: np.ndarray | None = None,
    extra: dict[str, Any] | None = None,
    groups: bool = True,
    seed: int = 0,
) -> Dataset:
    """A Dataset with classes `names`, split by group for real ones; `images` N×H×W×3 or noise."""
    rng = np.random.default_rng(seed)
    if images is None:
        images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    n, size = len(images), images.shape[1]
    codes = rng.integers(0, max(len(names), 1), n) if codes is None else codes
    labels = LabelSchema("categorical", names) if names else LabelSchema()
    synthetic = bool((extra or {}).get("generator"))
    group = [f"P{i % 12:02d}" for i in range(n)]
    with DatasetWriter(
        out, name=out.name, size=size, channels=3, labels=labels, config={"seed": seed}, extra=extra
    ) as w:
        rows = [
            {
                "label": names[codes[i]] if names else None,
                "group": group[i] if groups and not synthetic else None,
                "origin": "synthetic" if synthetic else "real",
            }
            for i in range(n)
        ]
        w.add(images, rows)
        if not synthetic:
            w.splits["default"] = [
                ("train", "train", "train", "val", "test", "train")[i % 12 % 6] for i in range(n)
            ]
    return w.dataset


def make_run(out: Path, data: Dataset, *, lines: int = 40, pictures: int = 4, title: str = "dcgan") -> Run:
    """A trained Run with curves and fixed-latent grids."""
    from PIL import Image

    config = {
        "recipe": title,
        "family": "dcgan",
        "network": {"width": 48, "z_dim": 100, "labels": data.labels.to_dict()},
        "adversarial": {"batch": 64, "lr_g": 2e-4, "lr_d": 2e-4, "beta1": 0.5, "smoothing": 0.1},
        "schedule": {"kimg": 50.0, "log_kimg": 1.0},
        "limits": {},
        "precision": "bfloat16",
        "validation": True,
    }
    run = Run.create(out, "generator", config, data=data.provenance("default"), seed=3)
    rng = np.random.default_rng(1)
    for i in range(lines):
        t = (i + 1) / lines
        line: dict[str, Any] = {
            "kimg": 50 * t,
            "loss_g": 1.2 + 1.4 * t + rng.normal(0, 0.15),
            "loss_d": 0.9 - 0.2 * t + rng.normal(0, 0.05),
            "d_accuracy_real": 0.55 + 0.25 * t,
            "d_accuracy_fake": 0.6 + 0.28 * t,
            "images_per_s": 190 + rng.normal(0, 5),
            "grad_g": 3.0 + rng.normal(0, 0.3),
        }
        if i % 8 == 7:
            line["kid_val"] = 0.09 * np.exp(-3 * t) + 0.012
        run.log(**line)
    (out / "samples").mkdir()
    for i in range(pictures):
        kimg = 50 * (i + 1) / pictures
        noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(out / "samples" / f"kimg-{kimg:09.3f}.png")
    run.update_status(
        state="complete",
        kimg=50.0,
        attempt=0,
        seconds=263.4,
        engine={"device": "cpu", "device_name": "CPU", "precision": "bfloat16", "threads": 2},
        best={"checkpoint": "kimg-00040.000", "kid_val": 0.0163},
    )
    return run


def real_record(data: Dataset, phantom: bool = False) -> dict[str, Any]:
    """The `real` entry of a result file."""
    split = data.split()
    parts = split.part_of
    return {
        "path": str(data.path),
        "name": data.name,
        "pixels_hash": data.manifest.pixels_hash,
        "table_hash": data.manifest.table_hash,
        "split": "default",
        "split_hash": split.hash,
        "n_train": int((parts == "train").sum()),
        "n_test": int((parts == "test").sum()),
        "groups_test": 6,
        "phantom": phantom,
    }


def make_score(
    out: Path, data: Dataset, synthetic: Dataset, *, suspects: int = 3, phantom: bool = False
) -> dict[str, Any]:
    """score.json with every field of its layout, and the panel."""
    from PIL import Image

    out.mkdir(parents=True)
    rng = np.random.default_rng(2)
    rows = []
    plan = {
        "FD(domain)": (41.2, 12.1, 3.0, "lower"),
        "KID(domain)": (0.031, 0.0007, 0.004, "lower"),
        "precision": (0.71, 0.93, 0.03, "higher"),
        "recall": (0.44, 0.91, 0.05, "higher"),
        "density": (0.83, 1.0, 0.06, "higher"),
        "coverage": (0.62, 0.95, 0.04, "higher"),
    }
    for name, (value, base, half, better) in plan.items():
        for i, scope in enumerate(["overall", *(f"class:{label}" for label in data.labels.names)]):
            here = value * (1 + 0.12 * i * rng.normal())
            rows.append(
                {
                    "name": name,
                    "scope": scope,
                    "value": here,
                    "low": here - half * (1 + i),
                    "high": here + half * (1 + i),
                    "n_real": 266,
                    "n_synthetic": len(synthetic),
                    "better": better,
                    "real_baseline": base,
                    "n_baseline": len(synthetic),
                    "comparable": None,
                    "excess": {"value": here - base, "low": here - base - half, "high": here - base + half},
                }
            )
    edges = np.linspace(0, 1.2, 31)
    middle = (edges[1:] + edges[:-1]) / 2
    content = {
        "schema": VERSION,
        "kind": "score",
        "command": command("score", str(data.path), str(synthetic.path), str(out)),
        "real": real_record(data, phantom),
        "synthetic": {
            "path": str(synthetic.path),
            "name": synthetic.name,
            "n": len(synthetic),
            "pixels_hash": synthetic.manifest.pixels_hash,
            "origin": "synthetic",
            "generator": synthetic.manifest.extra.get("generator"),
        },
        "extractor": {
            "name": "domain",
            "version": "1",
            "resizer": "none",
            "task": "classes",
            "dim": 128,
            "fitted_on": "train",
            "hash": "3f" * 32,
        },
        "seed": 0,
        "level": 0.95,
        "scores": rows,
        "labels": make_labels(data),
        "told_apart": {
            "by": "linear",
            "told": True,
            "auroc": {"value": 0.71, "low": 0.62, "high": 0.8},
            "baseline": {"value": 0.52, "low": 0.4, "high": 0.64},
            "excess": {"value": 0.19, "low": 0.05, "high": 0.33},
            "n": {"train": 700, "test": 266, "others": len(synthetic)},
            "surest": [{"id": "000001", "score": 3.2}],
            "least_sure": [{"id": "000002", "score": -2.2}],
            "panel": "told_apart.png",
        },
        "copies": {
            "finding": "none",
            "baseline": False,
            "neighbours": 20,
            "level": 0.95,
            "n_twins": 0,
            "n_far": 0,
            "n_groups": 6,
            "n_beyond": 0,
            "n_below": 0,
            "spaces": [],
            "measures": [
                {
                    "space": "features",
                    "name": "C_T",
                    "value": -0.4,
                    "low": -1.3,
                    "high": 0.5,
                    "expected": 0.0,
                    "closer": "lower",
                    "cells": 1,
                },
                {
                    "space": "pixels",
                    "name": "membership AUROC",
                    "value": 0.51,
                    "low": None,
                    "high": None,
                    "expected": 0.5,
                    "closer": "higher",
                    "cells": None,
                },
            ],
            "planted": [
                {"kind": "exact", "planted": 40, "noticed": 40},
                {"kind": "cropped to 90 %", "planted": 40, "noticed": 31},
            ],
            "reidentification": {
                "auroc": {"value": 0.71, "low": 0.66, "high": 0.76},
                "auroc_train": None,
                "n": 900,
                "n_holdout": 67,
                "groups_holdout": 6,
                "groups_train": 20,
                "threshold": 0.8,
                "n_pointing": 55,
                "share": 0.061,
                "low": 0.05,
                "high": 0.08,
                "expected_share": 0.05,
                "finding": "none",
                "expected_share_high": 0.11,
                "seen_of_train": 0.4,
                "most_pointed_at": {"group": "p3", "images": 9},
            },
            "expected_share_high": 0.1,
            "n": len(synthetic),
            "threshold": 0.21,
            "n_suspect": suspects,
            "n_identical": 0,
            "expected_share": 0.05,
            "n_holdout": 67,
            "share_suspect": suspects / len(synthetic),
            "low": 0.0,
            "high": 0.004,
            "median_synthetic": 0.61,
            "median_holdout": 0.55,
            "suspects": [
                {
                    "synthetic_id": f"{7 * i:06d}",
                    "train_id": f"{13 * i:06d}",
                    "distance": 0.15 + 0.02 * i,
                    "percentile": 0.3 * i,
                }
                for i in range(suspects)
            ],
            "panel": "copies.png",
            "histogram": {
                "edges": edges.tolist(),
                "synthetic": (900 * np.exp(-(((middle - 0.62) / 0.14) ** 2))).round().tolist(),
                "holdout": (260 * np.exp(-(((middle - 0.55) / 0.17) ** 2))).round().tolist(),
            },
        },
        "test_reads": 2,
        "caveats": [{"code": "few-groups", "values": {"groups": 6, "intervals": True}}],
        "versions": {"plenish": "0.1.0", "torch": "2.15.0"},
        "seconds": 41.7,
    }
    files.write_record(out / "score.json", content)
    Image.fromarray(rng.integers(0, 256, (60, 240, 3), dtype=np.uint8)).save(out / "told_apart.png")
    Image.fromarray(rng.integers(0, 256, (60, 120, 3), dtype=np.uint8)).save(out / "copies.png")
    return content


def make_labels(data: Dataset) -> dict[str, Any] | None:
    """Agreement with labels that is lower than that of real images."""
    if data.labels.kind != "categorical":
        return None

    def share(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 100}

    sides = {"synthetic": share(0.61), "val": share(0.79), "test": share(0.77)}
    return {
        "against": "val",
        "agreement": sides,
        "classes": [{"name": name, **sides} for name in data.labels.names],
        "difference": {"value": -0.18, "low": -0.26, "high": -0.1},
        "lower": True,
        "cas": {"synthetic": share(0.7), "real": share(0.76), "difference": share(-0.06), "n_train": 40},
        "is": {side: {"value": 1.5, "low": 1.4, "high": 1.6, "n": 100} for side in sides},
    }


def make_study(
    out: Path, data: Dataset, synthetic: Dataset, *, verdict: str = "helps", phantom: bool = False
) -> dict[str, Any]:
    """study.json with every field of its layout; `verdict` is the one of real+synthetic on balanced "
    "accuracy."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(4)
    centre = {
        "real": 0.842,
        "classical": 0.861,
        "oversample": 0.845,
        "real+synthetic": 0.874,
        "synthetic": 0.771,
    }
    seeds, metrics = [0, 1, 2, 3, 4], {"balanced_accuracy": 0.0, "macro_f1": -0.01, "auroc": 0.06}
    cells, summary, differences, verdicts, comparisons = [], [], [], [], []
    for arm, base in centre.items():
        values = {m: np.clip(base + shift + rng.normal(0, 0.012, 5), 0, 1) for m, shift in metrics.items()}
        for k, seed in enumerate(seeds):
            recall = {name: float(np.clip(base + rng.normal(0, 0.03), 0, 1)) for name in data.labels.names}
            cell = {m: float(v[k]) for m, v in values.items()} | {"recall": recall}
            cells.append({"arm": arm, "seed": seed, "metrics": cell, "seconds": 11.2})
        for m, v in values.items():
            mean, half = float(v.mean()), 0.019
            summary.append(
                {
                    "arm": arm,
                    "metric": m,
                    "mean": mean,
                    "low": mean - half,
                    "high": mean + half,
                    "sd": 0.012,
                    "n_seeds": 5,
                }
            )
            if arm == "real":
                continue
            difference = base - centre["real"] + float(rng.normal(0, 0.003))
            low, high = difference - 0.017, difference + 0.017
            word = "helps" if low > 0 else "hurts" if high < 0 else "no evidence"
            if arm == "real+synthetic" and m == "balanced_accuracy":
                word = verdict
            differences.append(
                {
                    "arm": arm,
                    "metric": m,
                    "mean": difference,
                    "low": low,
                    "high": high,
                    "cut": False,
                    "p": 0.012,
                    "n_seeds": 5,
                    "n_groups": 6,
                }
            )
            if arm != "real+synthetic":
                comparisons.append({**differences[-1], "arm": "real+synthetic", "against": arm})
            if m == "balanced_accuracy":
                if arm != "real+synthetic":
                    differences[-1]["p_holm"] = 0.036
                verdicts.append({"arm": arm, "metric": m, "verdict": word})
    content = {
        "schema": VERSION,
        "kind": "study",
        "commands": [command("study", str(data.path), str(out), "--synthetic", str(synthetic.path))],
        "real": real_record(data, phantom),
        "synthetic": {
            "path": str(synthetic.path),
            "name": synthetic.name,
            "n": len(synthetic),
            "pixels_hash": synthetic.manifest.pixels_hash,
            "origin": "synthetic",
            "generator": synthetic.manifest.extra.get("generator"),
        },
        "classifier": "small",
        "steps": 400,
        "batch": 64,
        "seeds": seeds,
        "arms": list(centre),
        "test": {"n": 266, "groups": 6, "per_class": dict.fromkeys(data.labels.names, 133)},
        "cells": cells,
        "summary": summary,
        "differences": differences,
        "verdicts": verdicts,
        "comparisons": comparisons,
        "environment": {"device": "cpu", "threads": 2},
        "verdict": {"arm": "real+synthetic", "real": True, "verdict": verdict},
        "caveats": [{"code": "few-groups", "values": {"groups": 6, "intervals": True}}],
        "level": 0.95,
        "test_reads": 3,
        "versions": {"plenish": "0.1.0", "timm": "1.0.31"},
        "seconds": 187.0,
    }
    files.write_record(out / "study.json", content)
    return content


@dataclasses.dataclass(frozen=True)
class Work:
    """Paths of a whole piece of work."""

    root: Path
    data: Dataset
    synthetic: Dataset
    run: Path
    score: Path
    study: Path


def make_work(root: Path, names: tuple[str, ...] = ("normal", "tumour"), **options: object) -> Work:
    """Data, Run, synthetic images, score and study that belong together."""
    data = make_data(root / "real tiles", names, extra={"phantom": True} if options.get("phantom") else None)
    run = make_run(root / "run", data)
    generator = {"run": str(run.path), "run_id": run.id, "checkpoint": "kimg-00040.000", "seed": 7}
    synthetic = make_data(root / "synthetic", names, n=40, extra={"generator": generator}, seed=1)
    make_score(root / "score", data, synthetic)
    make_study(root / "study", data, synthetic, verdict=str(options.get("verdict", "helps")))
    return Work(root, data, synthetic, run.path, root / "score", root / "study")
