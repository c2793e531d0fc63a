"""How the tiles of a trained Run were cut, so that another slide can be cut the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from plenish.configuration import option
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.slides.tiling_config import LARGEST_TILE, GridOptions, TilingConfig

_LINKS = 8
"""Datasets made from each other that are searched at most."""


@dataclasses.dataclass(frozen=True)
class TileOverrides:
    """How tiles of another slide are cut if not like those of training.

    Attributes:
        mpp: µm per pixel of tiles; by default as the Run was trained.
        level: or a level of the slide whose pixels are taken as they are.
        stride: from one tile to the next, pixels of tiles; left out, tiles lie side by side.
        assume_mpp: µm per pixel at level 0 if the slide does not state it.
        label_threshold: share of a tile that an annotation must cover; by default as in training, else 0.5.
        priority: annotation labels; where they overlap, the one named first counts.
        holes: annotation labels that are holes in the others.
        min_tissue: least share of tissue of a tile; by default as in training, else 0.5.
        tissue_saturation: HSV saturation (0 to 1) above which there is tissue; by default as in training.
        tissue_ink: remove what looks like ink of a pen, or keep it as tissue; by default as in training, else
            remove.
    """

    mpp: float | None = option(None, above=0)
    level: int | None = option(None, least=0, most=64)
    stride: int | None = option(None, least=1, most=64 * LARGEST_TILE)
    assume_mpp: float | None = option(None, above=0)
    label_threshold: float | None = option(None, above=0, most=1)
    priority: list[str] | None = None
    holes: list[str] | None = None
    min_tissue: float | None = option(None, least=0, most=1)
    tissue_saturation: float | None = option(None, least=0, most=1)
    tissue_ink: Literal["remove", "keep"] | None = None


@dataclasses.dataclass(frozen=True)
class TrainedTiles:
    """What is known of the tiles a Run was trained on.

    Attributes:
        config: of the tiling; None if they are not from `slides tile`.
        mpp: µm per pixel of the tiles; None if it is not known, or they differ by more than 2 %.
        stain: `extra.stain` of the Dataset; empty if its stain is as scanned.
        dataset: the Dataset; None if it is missing or has changed.
        split: the split it was trained with.
        missing: why nothing is known, half a sentence; else empty.
    """

    config: TilingConfig | None = None
    mpp: float | None = None
    stain: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dataset: Dataset | None = None
    split: str | None = None
    missing: str = ""

    def parts_of(self, slide: str) -> dict[str, int]:
        """How many tiles of a slide are in each part of the split; empty when it has none."""
        if self.dataset is None or self.split is None or "slide" not in self.dataset.table.columns:
            return {}
        mine = (self.dataset.table["slide"] == slide).to_numpy()
        parts = self.dataset.split(self.split).part_of[mine]
        return {str(part): int(count) for part, count in parts.value_counts().items()}

    def config_like(self, size: int, overrides: TileOverrides, level_option: str = "--level") -> TilingConfig:
        """How to cut another slide like these tiles.

        Args:
            size: height and width of a tile, pixels.
            overrides: what differs.
            level_option: how the verb at work calls the option of a level.

        Raises:
            InputError: the scale is not known, or an option is impossible.
        """
        if overrides.mpp is not None and overrides.level is not None:
            raise InputError(
                f"Give either --mpp, the µm per pixel of tiles, or {level_option}, and not both."
            )
        mpp = self.mpp if overrides.mpp is None and overrides.level is None else overrides.mpp
        if mpp is None and overrides.level is None:
            why = self.missing or "the tiles it was trained on have no known scale, or several"
            raise InputError(
                f"The scale of the Run's tiles is not known: {why}; give --mpp, the µm per pixel of "
                f"training, or {level_option} to take a level of the slide."
            )
        given = {key: value for key, value in dataclasses.asdict(overrides).items() if value is not None}
        fixed = {"size": size, "stride": None, "ambiguous": "keep"}
        base = self.config or TilingConfig(GridOptions(level=0))
        return base.changed(**fixed | given | {"mpp": mpp, "level": overrides.level})


def trained_tiles(data: Mapping[str, Any]) -> TrainedTiles:
    """Find how a Run's tiles were cut.

    Args:
        data: provenance of its Dataset, as the Run has it.
    """
    path = Path(str(data.get("path", "")))
    try:
        dataset = Dataset.open(path)
    except InputError:
        return TrainedTiles(missing=f"its Dataset {path} does not exist")
    if any(data.get(key) != dataset.provenance()[key] for key in ("pixels_hash", "table_hash")):
        return TrainedTiles(missing=f"its Dataset {path} is no longer the one it was trained on")
    stain = dataset.manifest.extra.get("stain", {})
    known = {"stain": stain, "dataset": dataset, "split": data.get("split_name")}
    config = _config(dataset)
    mpp = config.grid.mpp if config is not None and config.grid.mpp is not None else _common_mpp(dataset)
    if config is None and mpp is None:
        return TrainedTiles(missing=f"its Dataset {path} was not cut from slides", **known)
    return TrainedTiles(config, mpp, **known)


def _config(dataset: Dataset) -> TilingConfig | None:
    """How the tiles of a Dataset, or of the one it was made from, were cut."""
    config = dataset.manifest.config
    try:
        for _ in range(_LINKS):
            if config.get("verb") == "slides tile":
                return TilingConfig.from_dict(config["settings"])
            config = Dataset.open(Path(config["data"]["path"])).manifest.config
    except (KeyError, TypeError, ValueError, InputError):
        pass  # Of another version, or not cut from slides.
    return None


def _common_mpp(dataset: Dataset) -> float | None:
    """µm per pixel of all tiles, if it is the same."""
    if "mpp" not in dataset.table.columns:
        return None
    values = dataset.table["mpp"].to_numpy(np.float64)
    if not len(values) or not np.isfinite(values).all() or values.max() > 1.02 * values.min():
        return None
    return float(np.median(values))
