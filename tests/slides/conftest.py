"""Small slides whose every pixel is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.slides.tiling_config import GridOptions, TilingConfig

MakeSlide = Callable[..., Path]
GLASS = 244


def write_slide(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    mpp: float | None = 0.5,
    tile: int = 64,
    compression: str | None = None,
    factors: Sequence[int] = (1, 2, 4),
    marked: bool = True,
) -> Path:
    """Write a pyramidal TIFF; levels are the means of squares of level 0, and are `marked` as such."""
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for factor in factors:
            high, wide = (side // factor for side in pixels.shape[:2])
            whole = pixels[: high * factor, : wide * factor].astype(np.float64)
            level = whole.reshape(high, factor, wide, factor, 3).mean((1, 3)).round().astype(np.uint8)
            scale = {} if mpp is None else {"resolution": (1e4 / mpp / factor,) * 2, "resolutionunit": 3}
            file.write(
                level, tile=(tile, tile), compression=compression, photometric="rgb", metadata=None,
                subfiletype=int(marked and factor > 1), **scale,
            )  # fmt: skip
    return path


def tiling_config(**options: object) -> TilingConfig:
    """A configuration from options of any group; level 0 without a scale."""
    level = None if "mpp" in options else 0
    return TilingConfig(GridOptions(level=0)).changed(**{"level": level} | options)


def cut_off(path: Path, tiles: int) -> None:
    """Have the last tiles of level 0 lie beyond the file's end, as in a copy that stopped too early."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages[0].tags["TileOffsets"]
        tag.overwrite((*tag.value[:-tiles], *[path.stat().st_size] * tiles))


def tissue(height: int, width: int, box: tuple[int, int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Glass with a textured, stained rectangle (left, top, right, bottom)."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), GLASS, np.uint8)
    left, top, right, bottom = box
    shape = (bottom - top, right - left, 1)
    pixels[top:bottom, left:right] = np.clip(np.array([190, 110, 170]) + rng.normal(0, 15, shape), 0, 255)
    return pixels


@pytest.fixture
def make_slide(tmp_path: Path) -> MakeSlide:
    """A maker of slides: name, and what `write_slide` takes; without pixels 512 by 384 with tissue."""

    def make(name: str = "slide.tif", pixels: NDArray[np.uint8] | None = None, **options: object) -> Path:
        if pixels is None:
            pixels = tissue(384, 512, (64, 64, 448, 320), seed=len(name))
        return write_slide(tmp_path / name, pixels, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def noise() -> NDArray[np.uint8]:
    """300 by 420 random pixels: no two regions are alike."""
    return np.random.default_rng(1).integers(0, 256, (300, 420, 3), dtype=np.uint8)
