"""How the tiles were cut that something was trained on, so that another slide's are cut alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plenish.errors import InputError
from plenish.slides.settings import TilingSettings

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset

_LINKS = 8
"""Datasets made from each other that are followed back at most."""


@dataclasses.dataclass(frozen=True)
class TrainedTiles:
    """What is known of the tiles something was trained on.

    Attributes:
        settings: of the tiling; None where they are not those of `slides tile`.
        mpp: µm per pixel of the tiles; None when nothing says it, or they differ by more than 2 %.
        stain: `extra.stain` of the Dataset; empty where its stain is as scanned.
        dataset: the Dataset, None where it is no longer as it was or not there.
        split: the split it was trained with.
        missing: why nothing is known, half a sentence; empty where something is.
    """

    settings: TilingSettings | None = None
    mpp: float | None = None
    stain: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dataset: Dataset | None = None
    split: str | None = None
    missing: str = ""

    def parts_of(self, slide: str) -> dict[str, int]:
        """How many tiles of a slide are in each part of the split; empty when it has none."""
        if self.dataset is None or self.split is None or "slide" not in self.dataset.table.columns:
            return {}
        mine = np.flatnonzero((self.dataset.table["slide"] == slide).to_numpy())
        parts = self.dataset.split(self.split).part_of.iloc[mine]
        return {str(part): int(count) for part, count in parts.value_counts().items()}

    def like(self, size: int, mpp: float | None, level: int | None, **changes: Any) -> TilingSettings:
        """Settings that cut another slide alike.

        Args:
            size: height and width of a tile, pixels.
            mpp: µm per pixel instead of the trained ones.
            level: or a level taken as it is.
            changes: further settings; None leaves them as they were.

        Raises:
            InputError: the scale is not known, or a setting is impossible.
        """
        if mpp is None and level is None:
            mpp = self.mpp
        if mpp is None and level is None:
            why = self.missing or "the tiles it was trained on have no known scale, or several"
            raise InputError(
                f"How large the Run's tiles are is not known: {why}; give --mpp, the µm per pixel it was "
                "trained at, or --level to take a level of the slide as it is."
            )
        given = {key: value for key, value in changes.items() if value is not None}
        fixed = {"size": size, "stride": None, "mpp": mpp, "level": level, "ambiguous": "keep"}
        if self.settings is None:
            return TilingSettings(**fixed | given)
        return dataclasses.replace(self.settings, **fixed | given)


def trained_tiles(data: Mapping[str, Any]) -> TrainedTiles:
    """What is known of a Run's tiles.

    Args:
        data: provenance of its Dataset, as the Run has it.
    """
    from plenish.datasets.dataset import Dataset

    path = Path(str(data.get("path", "")))
    try:
        dataset = Dataset.open(path)
    except InputError:
        return TrainedTiles(missing=f"its Dataset {path} is not there")
    if any(data.get(key) != dataset.provenance()[key] for key in ("pixels_hash", "table_hash")):
        return TrainedTiles(missing=f"its Dataset {path} is no longer the one it was trained on")
    stain = dataset.manifest.extra.get("stain", {})
    known = {"stain": stain, "dataset": dataset, "split": data.get("split_name")}
    settings = _settings(dataset)
    mpp = settings.mpp if settings is not None and settings.mpp is not None else _one_scale(dataset)
    if settings is None and mpp is None:
        return TrainedTiles(missing=f"its Dataset {path} was not cut from slides", **known)
    return TrainedTiles(settings, mpp, **known)


def _settings(dataset: Dataset) -> TilingSettings | None:
    """Settings of the tiling a Dataset comes from, also over `slides normalise`."""
    from plenish.datasets.dataset import Dataset

    config = dataset.manifest.config
    for _ in range(_LINKS):
        if "slides tile" in (config.get("verb"), config.get("command")):  # As older ones say it.
            try:
                return TilingSettings.from_dict(config["settings"])
            except (KeyError, TypeError, ValueError, InputError):
                return None  # Of another version.
        try:
            config = Dataset.open(Path(config["data"]["path"])).manifest.config
        except (KeyError, TypeError, InputError):
            return None
    return None


def _one_scale(dataset: Dataset) -> float | None:
    """µm per pixel of all tiles, where it is the same."""
    if "mpp" not in dataset.table.columns:
        return None
    values = dataset.table["mpp"].to_numpy(np.float64)
    if not len(values) or not np.isfinite(values).all() or values.max() > 1.02 * values.min():
        return None
    return float(np.median(values))


__all__ = ["TrainedTiles", "trained_tiles"]
