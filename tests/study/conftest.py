"""Small planted experiments: faint bars in noise, whose direction is the class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter

NAMES = ("flat", "upright")
SIZE = 16


def bars(n: int, seed: int, contrast: float = 80) -> tuple[NDArray[np.uint8], list[str]]:
    """n images, half of each class."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    pixels = rng.normal(120, 40, (n, SIZE, SIZE, 1)).repeat(3, 3)
    for i, code in enumerate(codes):
        at = rng.integers(1, SIZE - 3)
        strip = pixels[i, at : at + 2] if code == 0 else pixels[i, :, at : at + 2]
        strip += contrast * rng.choice((-1, 1))
    return pixels.clip(0, 255).astype(np.uint8), [NAMES[c] for c in codes]


MakeReal = Callable[..., Path]
MakeSynthetic = Callable[..., Path]


@pytest.fixture
def make_real(tmp_path: Path) -> MakeReal:
    """A maker of real Datasets with a split; groups are runs of `group` images."""

    def make(
        name: str = "real", train: int = 60, val: int = 60, test: int = 120, *, group: int = 0,
        labels: Any = None, parts: Any = None, names: tuple[str, ...] = NAMES, seed: int = 0,
    ) -> Path:  # fmt: skip
        n = train + val + test
        pixels, own = bars(n, seed)
        own = labels if labels is not None else own
        part = parts or ["train"] * train + ["val"] * val + ["test"] * test
        rows = [
            {"label": own[i], "part": part[i], "group": f"g{part[i]}{i // group}" if group else None}
            for i in range(n)
        ]
        schema = LabelSchema("categorical", names) if own[0] is not None else LabelSchema()
        writer = DatasetWriter(
            tmp_path / name, name=name, size=SIZE, channels=3, labels=schema, config={"n": n}
        )
        with writer:
            writer.add(pixels, rows)
        return tmp_path / name

    return make


@pytest.fixture
def make_synthetic(tmp_path: Path) -> MakeSynthetic:
    """A maker of Datasets that say a generator trained on `real` made them."""

    def make(
        name: str, real: Path | None, n: int = 60, *, noise: bool = False, size: int = SIZE,
        names: tuple[str, ...] = NAMES, data: Any = "default", pixels: Any = None, seed: int = 99,
        generator: Any = None, draw: int | None = None,
    ) -> Path:  # fmt: skip
        images, labels = bars(n, seed)
        if noise:
            rng = np.random.default_rng(seed)
            images, labels = rng.integers(0, 256, images.shape, dtype=np.uint8), list(rng.permutation(labels))
        images = images if pixels is None else pixels
        if data == "default":
            assert real is not None
            data = Dataset.open(real).provenance("default") | {"part": "train"}
        rows = [{"label": names[NAMES.index(label)], "origin": "synthetic"} for label in labels]
        rows = rows if draw is None else [{**row, "seed": draw} for row in rows]
        writer = DatasetWriter(
            tmp_path / name, name=name, size=size, channels=3, labels=LabelSchema("categorical", names),
            config={},
            extra={"generator": generator or {"run": "planted", "data": data}},
        )  # fmt: skip
        with writer:
            writer.add(images[:, :size, :size], rows)
        return tmp_path / name

    return make
