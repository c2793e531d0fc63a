"""Detectors of faces, heads or figures: functions of one picture, found by name; also of other packages.

A package registers one in the entry point group `plenish.detectors`. It takes the pixels of a picture, H×W×3
uint8 (RGB), and returns what it found as M rows of left, top, right, bottom (pixels) and score, in any order;
none, or no rows, for nothing. It is loaded once in each process.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.rejections import Unreadable
from plenish.errors import InputError, first_line, unknown

GROUP = "plenish.detectors"
Box = tuple[int, int, int, int]
Detector = Callable[[NDArray[np.uint8]], Any]
BUILT_IN: Mapping[str, str] = {
    name: f"plenish.datasets.detectors_anime:{name.replace('-', '_')}"
    for name in ("anime-face", "anime-head", "anime-person")
}
"""Detectors for drawings, which need the extra `anime`."""


def names() -> list[str]:
    """The detectors there are."""
    return sorted({*BUILT_IN, *entry_points(group=GROUP).names})


@functools.cache
def load(name: str) -> Detector:
    """A detector by name.

    Raises:
        InputError: there is none of that name, or it cannot be loaded; says what to install.
    """
    own = EntryPoint(name, BUILT_IN[name], GROUP) if name in BUILT_IN else None
    entry = own or next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        raise unknown("detector", name, names())
    if name in BUILT_IN:
        try:
            importlib.import_module("imgutils.detect")
        except ImportError as error:
            raise InputError(
                f"--detector {name} needs dghs-imgutils; install it with pip install 'plenish[anime]'. It "
                "downloads its weights when it is first used."
            ) from error
    try:
        found = entry.load()
    except Exception as error:
        raise _broken(name, entry, error) from error
    if not callable(found):
        raise _broken(name, entry, TypeError("it is no function"))
    detector: Detector = found
    return detector


def detect(name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a detector finds in a picture, by falling score.

    Args:
        name: of the detector.
        pixels: H×W×3 uint8.

    Returns:
        M×5: left, top, right, bottom, pixels within the picture, and score.

    Raises:
        Unreadable: the detector fails on it, or returns something else.
    """
    detector = load(name)
    try:
        answer = detector(pixels)
        rows: Sequence[Any] = [] if answer is None else answer
        found = np.array([[float(value) for value in row] for row in rows], np.float64).reshape(-1, 5)
    except Exception as error:  # Code of another package, which raises whatever it likes.
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise Unreadable("detector", detector=name, reason=reason) from error
    height, width = pixels.shape[:2]
    found = found[np.isfinite(found).all(axis=1)]
    found[:, :4] = found[:, :4].clip(0, [width, height, width, height])
    found = found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]
    return found[np.argsort(-found[:, 4], kind="stable")]


def best_square(name: str, pixels: NDArray[np.uint8], margin: float) -> Box | None:
    """The square around what has the highest score, within the picture; None where nothing is found.

    Args:
        name: of the detector.
        pixels: H×W×3 uint8.
        margin: what is added on each side, as a share of the longer side of what is found.

    Returns:
        Left, top, right and bottom in pixels. The square is moved rather than made smaller where it reaches
        over a side, and no larger than the picture's shorter side.
    """
    found = detect(name, pixels)
    if not len(found):
        return None
    left, top, right, bottom = found[0, :4].tolist()
    height, width = pixels.shape[:2]
    side = max(right - left, bottom - top) * (1 + 2 * margin)
    side = max(1, min(math.ceil(side), height, width))
    x, y = (
        round(min(max(0.0, (low + high - side) / 2), length - side))
        for low, high, length in ((left, right, width), (top, bottom, height))
    )
    return x, y, x + side, y + side


def _broken(name: str, entry: EntryPoint, error: Exception) -> InputError:
    package = entry.dist.name if entry.dist is not None else entry.module
    return InputError(
        f"The detector '{name}' of the package {package} cannot be loaded ({type(error).__name__}: "
        f"{first_line(error)}), so update or uninstall that package."
    )
