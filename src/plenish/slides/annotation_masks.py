"""Annotations as a mask image: 0 is background, every other value a label; scaled to the slide's size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish.datasets.images import MAX_PIXELS
from plenish.errors import InputError
from plenish.slides.directories import refuse_loops
from plenish.slides.geojson import mask_shape
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import LabelRules
from plenish.slides.tissue import box_coverage, resized

_SIDE = 8192
"""Long side of a mask that is held in memory at most; of a pyramid the finest such level is taken."""
_LABELS = 64
"""Values of a mask at most; more are greys of a photograph or of lossy compression."""


class Mask:
    """Annotated areas of one slide that are an image, in pixels of level 0.

    Attributes:
        path: the file they are from.
        labels: names, in the order of priority.
        remarks: none.
        names: the image's values, which are named before renaming.
    """

    def __init__(self, path: Path, rules: LabelRules, size: tuple[int, int]) -> None:
        """Read a PNG or TIFF.

        Args:
            path: the file.
            rules: how its values become labels.
            size: width and height of the slide at level 0, pixels.

        Raises:
            InputError: it cannot be read, is no mask, or has another shape than the slide.
        """
        self._values = _grey(_pixels(path), path)
        height, width = self._values.shape
        # Either side may have been rounded to the next pixel.
        if abs(width * size[1] / size[0] - height) > max(1 + size[1] / size[0], 0.005 * height):
            raise InputError(
                f"The mask {path} has {width}×{height} pixels and the slide {size[0]}×{size[1]}, another "
                "shape; give a mask of the whole slide, at any scale."
            )
        present = [int(value) for value in np.unique(self._values) if value]
        if len(present) > _LABELS:
            raise InputError(
                f"{path} has {len(present)} different values and is not a mask; a mask has 0 for the "
                "background and one value for each label, without lossy compression."
            )
        self._of: dict[str, list[int]] = {}
        for value in present:
            label = rules.label(str(value))
            if label is not None:
                self._of.setdefault(label, []).append(value)
        self._scale = size[0] / width, size[1] / height
        self.path, self.names = path, tuple(map(str, present))
        self.labels, self.remarks = tuple(rules.ordered(self._of)), tuple[Remark, ...]()

    def _map(self, label: str) -> NDArray[np.bool_]:
        return np.isin(self._values, self._of[label])

    def areas(self) -> dict[str, float]:
        """Area of each label, px² of level 0."""
        pixel = self._scale[0] * self._scale[1]
        return {label: float(self._map(label).sum()) * pixel for label in self.labels}

    def shapes(self) -> dict[str, Any]:
        """The area of each label as one of shapely's shapes, with the edges of pixels; of level 0."""
        return {label: mask_shape(self._map(label), self._scale) for label in self.labels}

    def coverage(self, boxes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Share of each box (N×4 left, top, right, bottom) that each label covers, exact for the mask."""
        return {label: box_coverage(self._map(label), boxes, self._scale) for label in self.labels}

    def raster(self, width: int, height: int, downsample: float) -> dict[str, NDArray[np.bool_]]:
        """For each label a height×width map, for pictures; see `Polygons.raster`."""
        shape = height, width
        return {label: resized(self._map(label), self._scale, shape, downsample) for label in self.labels}


def _grey(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """One channel of whole numbers."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., :-1]  # Transparency says nothing about labels.
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2:
        raise InputError(
            f"{path} is a colour picture and not a mask; save it with one channel, 0 for the background and "
            "one value for each label."
        )
    if pixels.dtype.kind not in "biu":
        raise InputError(f"{path} has {pixels.dtype} values; save the mask with whole numbers.")
    return pixels


def _pixels(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise InputError(f"{path} is not there; give a mask image.")
    try:
        return _tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _picture(path)
    except InputError:
        raise
    except Exception as error:  # Decoders raise whatever damaged bytes lead them to.
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"The mask {path} cannot be read ({text}); restore it from a copy.") from None


def _picture(path: Path) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The size is looked at here.
        with Image.open(path) as image:
            _check_size(image.width, image.height, path)
            return np.asarray(image)  # A palette's numbers, not its colours, are the labels.


def _tiff(path: Path) -> NDArray[Any]:
    import tifffile

    refuse_loops(path)
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        levels = list(series.levels)
        if len(levels) == 1:
            levels = [one for one in tiff.series if one.ndim == series.ndim]
        fitting = [one for one in levels if max(one.shape[:2]) <= _SIDE]
        chosen = max(fitting or levels[-1:], key=lambda one: max(one.shape[:2]))
        _check_size(chosen.shape[1], chosen.shape[0], path)
        return np.asarray(chosen.asarray())


def _check_size(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(
            f"The mask {path} has {width}×{height} pixels, more than are held in memory; save it at a "
            f"smaller scale ({_SIDE} pixels for its longer side are enough) or as a pyramid."
        )
