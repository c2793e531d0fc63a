"""A Dataset in PyTorch's DataLoader and in a notebook."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.show import MOST_ROWS, draw_rows
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError

KINDS: dict[str, tuple[LabelSchema, list[Any]]] = {
    "categorical": (LabelSchema("categorical", ("b", "a")), ["a", "b", "a", "b", "a", "b"] * 2),
    "multilabel": (LabelSchema("multilabel", ("x", "y")), [["x"], ["x", "y"], [], ["y"], ["x"], []] * 2),
    "continuous": (LabelSchema("continuous", ("age",)), [[0.5 * i] for i in range(12)]),
    "none": (LabelSchema(), [None] * 12),
}


def make(out: Path, kind: str = "categorical", channels: int = 3) -> Dataset:
    schema, labels = KINDS[kind]
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4, channels), np.uint8)
    parts = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    rows = [
        {"label": label, "part": part, "scanner": f"s{i % 3}"}
        for i, (label, part) in enumerate(zip(labels, parts))
    ]
    with DatasetWriter(out, name="d", size=4, channels=channels, labels=schema, config={}) as writer:
        writer.add(pixels, rows)
    return writer.dataset


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_image_with_its_label(tmp_path: Path, workers: int) -> None:
    data = make(tmp_path / "d")
    loader = DataLoader(data.torch(), batch_size=3, num_workers=workers)  # type: ignore[arg-type]
    images, labels = (torch.cat(found) for found in zip(*loader))
    expected = data.part("train", purpose="train")
    assert images.dtype == torch.float32
    np.testing.assert_allclose(images.numpy(), expected.images().transpose(0, 3, 1, 2) / 255.0, rtol=1e-6)
    assert labels.tolist() == [data.labels.names.index(label) for label in expected.labels]
    assert data.torch().classes == ["b", "a"]


@pytest.mark.parametrize("kind", ["multilabel", "continuous", "none"])
def test_other_labels_are_rows_of_numbers(tmp_path: Path, kind: str) -> None:
    data = make(tmp_path / "d", kind, channels=1)
    loader: Any = DataLoader(data.torch("val"), batch_size=2)  # type: ignore[arg-type]
    images, y = next(iter(loader))
    assert images.shape == (2, 1, 4, 4)
    assert y.dtype == torch.float32
    np.testing.assert_array_equal(y.numpy(), data.part("val", purpose="select").y())


def test_a_transform_gets_bytes_and_single_images_are_those_of_batches(tmp_path: Path) -> None:
    data = make(tmp_path / "d").torch(transform=lambda image: image.flip(2))
    image, label = data[3]
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.flip(2).permute(1, 2, 0).numpy(), data.pixels.read(np.array([3]))[0])
    assert label == data.targets[3]
    assert torch.equal(data[-1][0], data[7][0])
    assert len(list(data)) == len(data) == 8, "a loop over it ends"  # type: ignore[call-overload]
    copy = pickle.loads(pickle.dumps(make(tmp_path / "e").torch()))
    assert len(copy) == 8


def test_test_images_need_a_purpose_and_are_counted(tmp_path: Path) -> None:
    data = make(tmp_path / "d")
    with pytest.raises(InputError, match="test part"):
        data.torch("test")
    assert data.test_reads() == 0
    assert len(data.torch("test", purpose="score")) == 2
    assert data.test_reads() == 1
    data.show()
    data._repr_html_()
    assert data.test_reads() == 1, "looking at it does not read test images"
    data.show(part="test")
    assert data.test_reads() == 2


def test_only_images_load_torch(tmp_path: Path) -> None:
    make(tmp_path / "d")
    code = (
        "import sys, plenish; d = plenish.Dataset.open(sys.argv[1]); d.torch(); d.show(); d._repr_html_(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "d"], check=False).returncode == 0


def test_a_picture_has_a_row_for_each_value(tmp_path: Path) -> None:
    data = make(tmp_path / "d")
    side = 4 * 24
    one = np.asarray(data.show(3, by=None))
    assert one.shape == (side, 3 * side + 8, 3)
    by_class, by_scanner = np.asarray(data.show(2)), np.asarray(data.show(2, by="scanner"))
    assert by_class.shape[0] < by_scanner.shape[0]
    assert by_class.shape[1] == 2 * side + 4
    shown = np.asarray(data.show(4))[20 : 20 + side : 24, 0 : 4 * (side + 4)]
    b = data.part("train", purpose="train")
    first = b.images()[b.codes == 0][0]
    np.testing.assert_array_equal(shown[:, :side:24], first, "classes come in the Dataset's order")
    with pytest.raises(InputError, match="scaner"):
        data.show(by="scaner")
    with pytest.raises(InputError, match="n must be"):
        data.show(0)


def test_rows_are_drawn_of_every_value_and_tag() -> None:
    rows = np.arange(10, 16)
    chosen = dict(draw_rows([["x"], ["x", "y"], [], ["y"], ["x"], []], rows, 9, 0))
    assert {name: found.tolist() for name, found in chosen.items()} == {"x": [10, 11, 14], "y": [11, 13]}
    many = draw_rows([str(i) for i in range(40)], np.arange(40), 2, 0)
    assert len(many) == MOST_ROWS


def test_rows_are_not_compared_with_every_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [f"tag{i % 500}" for i in range(1000)]
    order = [f"tag{i}" for i in reversed(range(600))]
    sizes: list[int] = []
    for name in ("__eq__", "isin", "eq"):
        compared = getattr(pd.Series, name)
        monkeypatch.setattr(
            pd.Series, name, lambda self, *a, of=compared, **k: sizes.append(len(self)) or of(self, *a, **k)
        )
    chosen = draw_rows(values, np.arange(1000), 9, 0, order)
    assert [name for name, _ in chosen] == order[100 : 100 + MOST_ROWS]
    assert [found.tolist() for _, found in chosen] == [[499 - i, 999 - i] for i in range(MOST_ROWS)]
    assert sum(sizes) <= 10 * len(values)


def test_names_from_outside_are_no_html(tmp_path: Path) -> None:
    schema = LabelSchema("categorical", ("<script>alert(1)</script>", "b"))
    with DatasetWriter(tmp_path / "d", name="<b>", size=4, channels=1, labels=schema, config={}) as writer:
        writer.add(np.zeros((2, 4, 4, 1), np.uint8), [{"label": name} for name in schema.names])
    found = writer.dataset._repr_html_()
    assert "<script>" not in found
    assert "<b>" not in found
    assert "&lt;script&gt;" in found
