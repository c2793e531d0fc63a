"""The size of a pixel: from the slide, its TIFF tags, a table or an option; never guessed."""

from __future__ import annotations

import dataclasses
import html
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tifffile

SMALLEST_MPP, LARGEST_MPP = 0.01, 20.0
"""µm per pixel that a scanned slide can have. Resolutions of screens and printers, which many programs write
by default (72, 96, 300 and 600 dpi are 353, 265, 85 and 42 µm), lie far above."""
_MICRONS = {2: 25400.0, 3: 10000.0}
"""Micrometres in TIFF's ResolutionUnit: 2 is inch, 3 is centimetre."""
_OME_UNITS = {
    "pm": 1e-6, "Å": 1e-4, "nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "\ufffdm": 1.0, "mm": 1e3, "cm": 1e4,
    "m": 1e6, "in": 25400.0,
}  # fmt: skip
"""Micrometres in OME's units of length; \\ufffd is a µ that was not UTF-8."""
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(["'])(.*?)\2""")


@dataclasses.dataclass(frozen=True)
class Scale:
    """A slide's scale and where it is from.

    Attributes:
        mpp: µm per pixel at level 0; None when it is not known.
        source: where it is from, or why it is not known.
    """

    mpp: float | None
    source: str


def from_properties(properties: Mapping[str, str]) -> Scale:
    """The scale that OpenSlide reports; of a plain TIFF what OME-XML in its description says comes first.

    Pixels whose sides differ by up to 5 % have the geometric mean; others no scale.
    """
    texts = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    try:
        x, y = (float(text) if text is not None else math.nan for text in texts)
    except ValueError:
        return Scale(None, f"its mpp property '{texts[0]}' is not a number")
    if properties.get("openslide.vendor") != "generic-tiff":
        return _plausible(x, y, "the slide")
    stated = _from_ome(properties.get("tiff.ImageDescription") or "")
    if stated is not None and stated.mpp is not None:
        return stated
    tags = _plausible(x, y, "the TIFF's resolution tags")
    return tags if stated is None or tags.mpp is not None else stated


def from_tags(page: tifffile.TiffPage, ome: str | None = None) -> Scale:
    """The scale that a TIFF's own tags state: OME-XML's PhysicalSize, else XResolution and YResolution."""
    stated = _from_ome(ome or "")
    if stated is not None and stated.mpp is not None:
        return stated
    unit = page.tags.get("ResolutionUnit")
    values = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or int(unit.value) not in _MICRONS or None in values:
        return stated or Scale(None, "its tags state no resolution")
    x, y = (_MICRONS[int(unit.value)] / max(_ratio(tag.value), 1e-9) for tag in values if tag is not None)
    return _plausible(x, y, "the TIFF's resolution tags")


def _from_ome(xml: str) -> Scale | None:
    """The scale of the first image that OME-XML describes; None where there is none in a unit of length."""
    found = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", xml)
    if found is None or "PhysicalSize" not in found[1]:
        return None
    attributes = {name: html.unescape(text) for name, _, text in _ATTRIBUTE.findall(found[1])}
    sides = []
    for axis in "XY":
        unit = attributes.get(f"PhysicalSize{axis}Unit", "µm").strip()
        try:
            sides.append(float(attributes[f"PhysicalSize{axis}"]) * _OME_UNITS[unit])
        except (KeyError, ValueError):
            return None
    return _plausible(sides[0], sides[1], "the OME-XML")


def resolve(stated: Scale, override: float | None = None, assumed: float | None = None) -> Scale:
    """A slide's scale: a table's if it has one, else the slide's own, else the assumed.

    Args:
        stated: by the slide.
        override: µm per pixel of level 0 by the user's table.
        assumed: µm per pixel of level 0 of slides that do not state it.
    """
    if override is not None:
        return Scale(override, "the table")
    return stated if stated.mpp is not None or assumed is None else Scale(assumed, "--assume-mpp")


def _plausible(x: float, y: float, source: str) -> Scale:
    if math.isnan(x) or math.isnan(y):
        return Scale(None, "neither the slide nor its tags state it")
    if not (SMALLEST_MPP <= x <= LARGEST_MPP and SMALLEST_MPP <= y <= LARGEST_MPP):
        return Scale(
            None, f"{source} state{'s' * (source[-1] != 's')} {x:.4g} µm, which no slide scanner has"
        )
    if max(x, y) / min(x, y) > 1.05:
        return Scale(None, f"by {source} pixels are {x:.4g} by {y:.4g} µm, not square")
    return Scale(x if x == y else math.sqrt(x * y), source)


def _ratio(value: Any) -> float:
    return value[0] / value[1] if value[1] else 0.0
