"""What `plenish predict` is asked, without torch, so that a command's help need not load it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from plenish.configuration import check_bounds, option, option_name
from plenish.datasets.schema import Part
from plenish.errors import InputError
from plenish.slides.tiling_config import LARGEST_TILE
from plenish.slides.trained_tiles import TileOverrides


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """How images are classified.

    Attributes:
        part: of a Dataset: train, val or test; left out, all images of one that no Run was trained on.
        split: the split that has the part; by default the Runs' own of the Dataset that they were trained on,
            'default' of another.
        tta: look at each image in all orientations that suit the Runs' domain, and take the mean.
        calibrate: make probabilities mean what they say, by a temperature found on val.
        coverage: abstain from the least sure images, so that this share of val is answered.
        risk: abstain, so that at most this share of the answers on val is wrong.
        explain: draw where the classifier looks (Grad-CAM), in the report.
        report: write report.html too.
        table: csv or parquet.
        level: level of the intervals, where labels are known.
        resamples: bootstrap resamples of the groups.
        seed: seed of the resamples.
    """

    part: Part | None = None
    split: str = ""
    tta: bool = False
    calibrate: bool = True
    coverage: float | None = option(above=0, most=1)
    risk: float | None = option(least=0, below=1)
    explain: bool = False
    report: bool = False
    table: Literal["csv", "parquet"] = "csv"
    level: float = option(0.95, least=0.5, below=1)
    resamples: int = option(1000, least=100)
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)
        if self.coverage is not None and self.risk is not None:
            raise InputError("--coverage and --risk both choose the threshold; give one of them.")
        if not self.calibrate and (self.coverage is not None or self.risk is not None):
            raise InputError("--coverage and --risk need calibrated probabilities; leave out --no-calibrate.")


@dataclasses.dataclass(frozen=True)
class SlideOptions:
    """How slides are cut into tiles and drawn.

    Attributes:
        mpp: of slides: µm per pixel of tiles; by default as the Runs were trained.
        tile_level: of slides: or a level whose pixels are taken as they are.
        stride: of slides: from one tile to the next, pixels of tiles; left out, tiles lie side by side.
        assume_mpp: of slides: µm per pixel at level 0 if a slide does not state it.
        min_tissue: of slides: least share of tissue of a tile; by default as in training, else 0.5.
        stain: give tiles of slides the stain of the Runs' Dataset, if that was normalised.
        side: longer side of a slide's heatmaps, pixels.
        workers: processes that read tiles of slides; left out, one a core.
    """

    mpp: float | None = option(None, above=0)
    tile_level: int | None = option(None, least=0, most=64)
    stride: int | None = option(None, least=1, most=64 * LARGEST_TILE)
    assume_mpp: float | None = option(None, above=0)
    min_tissue: float | None = option(None, least=0, most=1)
    stain: bool = True
    side: int = option(1200, least=200, most=10_000)
    workers: int | None = option(None, least=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)

    @property
    def overrides(self) -> TileOverrides:
        """What of the tiles' cut differs from that of the training."""
        return TileOverrides(
            mpp=self.mpp, level=self.tile_level, stride=self.stride, assume_mpp=self.assume_mpp,
            min_tissue=self.min_tissue,
        )  # fmt: skip

    @property
    def given(self) -> list[str]:
        """Options that are not their defaults, as they are typed."""
        return [
            option_name(field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
