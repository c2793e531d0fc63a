"""How a Run's tiles were cut is found from its Dataset, and refused where it is not known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.slides.tiling_config import TilingConfig
from plenish.slides.trained_tiles import TileOverrides, TrainedTiles, trained_tiles

from .conftest import tiling_config


def dataset(path: Path, config: dict[str, Any], columns: list[dict[str, Any]], **extra: Any) -> Dataset:
    writer = DatasetWriter(
        path, name="t", size=16, channels=3, config=config, labels=LabelSchema(), extra=extra
    )  # fmt: skip
    with writer:
        pixels = np.arange(len(columns), dtype=np.uint8)[:, None, None, None]
        rows = [
            {"group": f"g{i}", "part": ("train", "val", "test")[i % 3]} | c for i, c in enumerate(columns)
        ]
        writer.add(np.broadcast_to(pixels, (len(columns), 16, 16, 3)).copy(), rows)
    return writer.dataset


def tiled(config: TilingConfig) -> dict[str, Any]:
    return {"verb": "slides tile", "settings": dataclasses.asdict(config)}


SLIDES = [{"slide": name, "mpp": 0.5} for name in "aabbcc"]


def test_all_settings_of_the_tiling_hold_except_what_must_not(tmp_path: Path) -> None:
    how = tiling_config(
        size=16, mpp=0.75, stride=40, min_tissue=0.3, rename=["_0=x"], ambiguous="drop", max_pen=0.1
    )
    trained = trained_tiles(dataset(tmp_path / "d", tiled(how), SLIDES).provenance("default"))
    found = trained.config_like(16, TileOverrides(label_threshold=0.9))
    assert (found.grid.mpp, found.tissue.min_tissue, found.filters.max_pen) == (0.75, 0.3, 0.1)
    assert (found.grid.stride, found.labels.ambiguous, found.labels.label_threshold) == (None, "keep", 0.9)
    assert found.rules.renamed == {"_0": "x"}
    assert trained.config_like(16, TileOverrides(mpp=2.0)).grid.mpp == 2.0
    at_level = trained.config_like(16, TileOverrides(level=1))
    assert (at_level.grid.mpp, at_level.grid.level) == (None, 1)
    assert trained.parts_of("a") == {"train": 1, "val": 1}
    assert trained.parts_of("z") == {}


def test_tiles_of_a_level_have_the_scale_that_their_slides_share(tmp_path: Path) -> None:
    how = tiled(tiling_config(size=16, level=1))
    one = trained_tiles(dataset(tmp_path / "a", how, SLIDES).provenance())
    assert one.config_like(16, TileOverrides()).grid.mpp == 0.5
    mixed = [{"slide": "a", "mpp": mpp} for mpp in (0.5, 0.25, 0.5)]
    unknown = [{"slide": "a", "mpp": None} for _ in range(3)]
    for name, columns in (("b", mixed), ("c", unknown)):
        trained = trained_tiles(dataset(tmp_path / name, how, columns).provenance())
        with pytest.raises(InputError, match="no known scale, or several; give --mpp"):
            trained.config_like(16, TileOverrides())
        assert trained.config_like(16, TileOverrides(level=1)).grid.level == 1


def test_a_normalised_dataset_is_followed_back(tmp_path: Path) -> None:
    first = dataset(tmp_path / "a", tiled(tiling_config(size=16, mpp=1.0, min_tissue=0.2)), SLIDES)
    config = {"verb": "slides normalise", "data": first.provenance("default")}
    second = dataset(tmp_path / "b", config, SLIDES, stain={"method": "macenko"})
    trained = trained_tiles(second.provenance("default"))
    assert trained.config_like(16, TileOverrides()).tissue.min_tissue == 0.2
    assert trained.stain == {"method": "macenko"}


@pytest.mark.parametrize("config", [{}, {"verb": "slides tile", "settings": {"size": 16}}])
def test_what_was_not_cut_from_slides_needs_a_scale(tmp_path: Path, config: dict) -> None:
    made = dataset(tmp_path / "d", config, [{"number": i} for i in range(3)])
    trained = trained_tiles(made.provenance())
    with pytest.raises(InputError, match="not cut from slides; give --mpp"):
        trained.config_like(16, TileOverrides())
    assert trained.config_like(16, TileOverrides(mpp=0.5)) == tiling_config(size=16, mpp=0.5)


def test_a_dataset_that_is_gone_or_another_is_told(tmp_path: Path) -> None:
    made = dataset(tmp_path / "d", {}, SLIDES)
    with pytest.raises(InputError, match=f"{tmp_path / 'no'}.*--mpp"):
        trained_tiles({"path": str(tmp_path / "no")}).config_like(16, TileOverrides())
    with pytest.raises(InputError, match="no longer the one"):
        trained_tiles(made.provenance() | {"pixels_hash": "0"}).config_like(16, TileOverrides())
    assert TrainedTiles().parts_of("a") == {}
