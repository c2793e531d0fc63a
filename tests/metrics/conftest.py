"""Small pictures of discs, whose class, group and truth are known, and Datasets made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter

Pictures = NDArray[np.uint8]
CLASSES = ("few", "many")
SIDE = 32


def _picture(rng: np.random.Generator, many: bool, tint: NDArray[np.float64], channels: int) -> Pictures:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE, 3), 205.0) + tint
    for _ in range(rng.integers(14, 20) if many else rng.integers(4, 8)):
        y, x = rng.uniform(0, SIDE, 2)
        radius = rng.uniform(1.5, 3) if many else rng.uniform(3, 6)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image[inside] = np.array([95, 60, 140]) + tint + rng.normal(0, 12, 3)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    return image if channels == 3 else image[:, :, :1]


def discs(n: int, seed: int, *, groups: int = 12, channels: int = 3) -> tuple[Pictures, list[dict[str, Any]]]:
    """n pictures N×32×32×C and their rows; every group has a tint of its own."""
    rng = np.random.default_rng(seed)
    tints = np.random.default_rng(99).normal(0, 10, (200, 3))
    rows = [{"label": CLASSES[i % 2], "group": f"g{seed}-{i % groups}"} for i in range(n)]
    tint = [tints[(7 * seed + i % groups) % 200] for i in range(n)]
    return np.stack([_picture(rng, i % 2 == 1, tint[i], channels) for i in range(n)]), rows


def write(
    out: Path, pixels: Pictures, rows: list[dict[str, Any]], labels: LabelSchema, *,
    config: Mapping[str, Any] = {}, **extra: Any,
) -> Dataset:  # fmt: skip
    """A Dataset folder of these pictures."""
    with DatasetWriter(
        out,
        name=out.name,
        size=pixels.shape[1],
        channels=pixels.shape[3],
        labels=labels,
        config=config,
        extra=extra,
    ) as writer:
        writer.add(pixels, rows)
    return writer.dataset


@pytest.fixture(scope="session")
def labels() -> LabelSchema:
    return LabelSchema("categorical", CLASSES)


@pytest.fixture(scope="session")
def make_discs() -> Callable[..., tuple[Pictures, list[dict[str, Any]]]]:
    return discs


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Dataset]:
    return write


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, labels: LabelSchema) -> Dataset:
    """300 train, 120 val and 120 test pictures of different groups."""
    pixels, rows = [], []
    for seed, (part, n) in enumerate([("train", 300), ("val", 120), ("test", 120)]):
        x, r = discs(n, seed, groups=14)
        pixels.append(x)
        rows += [row | {"part": part} for row in r]
    return write(tmp_path_factory.mktemp("discs") / "discs", np.concatenate(pixels), rows, labels)


@pytest.fixture
def as_synthetic(tmp_path: Path, real: Dataset, labels: LabelSchema) -> Callable[..., Dataset]:
    """Write pictures as the output of a generator trained on the train part of `real`."""

    def made(
        pixels: Pictures, rows: list[dict[str, Any]], *, data: Any = None, name: str = "made",
        config: Mapping[str, Any] = {},
    ) -> Dataset:  # fmt: skip
        about = real.provenance("default") | {"part": "train"} if data is None else data
        plain = [{"label": row["label"], "origin": "synthetic"} for row in rows]
        return write(
            tmp_path / name, pixels, plain, labels, config=config, generator={"run": "none", "data": about}
        )

    return made
