from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.reader_study import Answer, accuracy, answers_of, draw, keep, readings


def make(out: Path, origin: str, n: int = 80, size: int = 8, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    extra = (
        {"generator": {"name": "made up", "version": "1", "training_set": "real", "data": {}}}
        if origin == "synthetic"
        else None
    )
    labels = LabelSchema("categorical", ("a", "b"))
    with DatasetWriter(
        out, name=origin, size=size, channels=3, labels=labels, config={}, extra=extra
    ) as writer:
        images = rng.integers(0, 256, (n, size, size, 3), np.uint8)
        writer.add(images, [{"label": "aab"[i % 3], "origin": origin} for i in range(n)])
        if origin == "real":
            writer.splits["default"] = ["test" if i % 4 == 0 else "train" for i in range(n)]
    return writer.dataset


def test_half_are_real_of_the_same_classes_and_none_of_the_test_part(tmp_path: Path) -> None:
    real, synthetic = make(tmp_path / "r", "real"), make(tmp_path / "s", "synthetic")
    items = draw(real, synthetic, 40, seed=3)
    assert Counter(origin for origin, _ in items) == {"real": 20, "synthetic": 20}
    assert len(set(items)) == 40
    labels = {
        origin: Counter(data.column("label")[row] for o, row in items if o == origin)
        for origin, data in (("real", real), ("synthetic", synthetic))
    }
    assert labels["real"] == labels["synthetic"]
    assert all(row % 4 for origin, row in items if origin == "real")
    assert draw(real, synthetic, 40, seed=3) == items
    assert draw(real, synthetic, 40, seed=4) != items


def test_the_order_tells_nothing(tmp_path: Path) -> None:
    real, synthetic = make(tmp_path / "r", "real"), make(tmp_path / "s", "synthetic")
    first = [draw(real, synthetic, 10, seed)[0][0] for seed in range(48)]
    assert binomtest(first.count("real"), 48).pvalue > 1e-3


def test_images_that_their_size_would_give_away_are_refused(tmp_path: Path) -> None:
    real, synthetic = make(tmp_path / "r", "real"), make(tmp_path / "s", "synthetic", size=16)
    with pytest.raises(InputError):
        draw(real, synthetic, 10, seed=0)
    with pytest.raises(InputError):
        draw(real, make(tmp_path / "few", "synthetic", n=4), 10, seed=0)


def test_accuracy_has_wilsons_interval() -> None:
    answers = [Answer(str(i), "real", "real" if i < 15 else "synthetic", 1.0) for i in range(20)]
    answers += [Answer(str(i), "synthetic", "synthetic" if i < 9 else "real", 1.0) for i in range(20)]
    for of, right, n in ((None, 24, 40), ("real", 15, 20), ("synthetic", 9, 20)):
        expected = binomtest(right, n).proportion_ci(0.95, "wilson")
        found = accuracy(answers, of)  # type: ignore[arg-type]
        assert found == pytest.approx((right / n, expected.low, expected.high), abs=1e-9)


def test_readings_are_kept_beside_the_synthetic_images(tmp_path: Path) -> None:
    real, synthetic = make(tmp_path / "r", "real"), make(tmp_path / "s", "synthetic")
    answers = [Answer("1", "real", "real", 0.5), Answer("2", "synthetic", "real", 1.5)]
    path = keep(real, synthetic.path, synthetic.provenance(), "ana", 7, answers)
    keep(real, synthetic.path, synthetic.provenance(), "ana", 8, answers[:1])
    found = readings(synthetic)
    assert [content["seed"] for content in found] == [7, 8]
    assert answers_of(found[0]) == answers
    content = json.loads(path.read_text())
    content["answers"][1]["answer"] = "synthetic"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError):
        readings(synthetic)
    for name in ("", "../x", "a b"):
        with pytest.raises(InputError):
            keep(real, synthetic.path, synthetic.provenance(), name, 0, answers)
