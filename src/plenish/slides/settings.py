"""What a tiling does, as one frozen configuration that workers are handed as JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from plenish.errors import InputError

ImageFormat = Literal["jpeg", "png"]
LARGEST_TILE = 4096


@dataclasses.dataclass(frozen=True)
class TilingSettings:
    """How slides are cut into tiles; everything that decides a tile, beside the slides themselves.

    Attributes:
        size: height and width of a tile, pixels.
        mpp: µm per pixel of tiles; or None with a level.
        level: level of the slide whose pixels are taken as they are; or None with a scale.
        stride: from one tile to the next, pixels of tiles; None sets them side by side.
        tolerance: a level whose scale differs by no more than that share is taken as it is.
        assume_mpp: µm per pixel at level 0 of slides that do not say; None refuses them.
        min_tissue: least share of tissue a tile must have, 0 to 1; at 0 the whole slide is tiled.
        saturation: HSV saturation above which a pixel is tissue; None finds it by Otsu's method.
        dark: HSV value below which a pixel is no tissue; here and below, None is `TissueSettings`' own.
        close_um: gaps of tissue of about twice this width are closed, µm.
        speck_um2: pieces of tissue smaller than this are dust, µm².
        hole_um2: holes in tissue smaller than this are filled, µm².
        label_threshold: share of a tile that an annotation must cover to be its label, above 0 up to 1.
        background: label of tiles that no annotation covers that far.
        priority: annotations' labels, the one that counts where they overlap first.
        holes: annotations' labels that cut holes into the others, besides the usual ones; `none` leaves
            those out.
        rename: pairs of a label in the annotations' files and its new name.
        ambiguous: what to do with tiles of the background that an annotation touches.
        min_sharpness: least sharpness of a tile (see `filters.sharpness`); 0 keeps all.
        max_pen: greatest share of ink of a tile, 0 to 1; 1 keeps all.
    """

    size: int = 256
    mpp: float | None = None
    level: int | None = None
    stride: int | None = None
    tolerance: float = 0.02
    assume_mpp: float | None = None
    min_tissue: float = 0.5
    saturation: float | None = None
    dark: float | None = None
    close_um: float | None = None
    speck_um2: float | None = None
    hole_um2: float | None = None
    label_threshold: float = 0.5
    background: str = "normal"
    priority: tuple[str, ...] = ()
    holes: tuple[str, ...] | None = None
    rename: tuple[tuple[str, str], ...] = ()
    ambiguous: Literal["keep", "drop"] = "keep"
    min_sharpness: float = 0.0
    max_pen: float = 1.0

    def __post_init__(self) -> None:
        if self.mpp is None and self.level is None:
            raise InputError(
                "Neither --mpp nor --level was given; give one: the µm per pixel of tiles, or the level "
                "whose pixels are taken as they are."
            )
        if self.mpp is not None and self.level is not None:
            raise InputError("Both --mpp and --level were given; leave one out.")
        _within("--size", self.size, 16, LARGEST_TILE, "pixels")
        if self.stride is not None:
            _within("--stride", self.stride, 1, 64 * LARGEST_TILE, "pixels")
        if self.level is not None:
            _within("--level", self.level, 0, 64, "levels")
        for option, value in (("--mpp", self.mpp), ("--assume-mpp", self.assume_mpp)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{option} must be a number above 0, not {value:g}.")
        _within("--tolerance", self.tolerance, 0, 0.5, "")
        _within("--min-tissue", self.min_tissue, 0, 1, "")
        _within("--max-pen", self.max_pen, 0, 1, "")
        _within("--min-sharpness", self.min_sharpness, 0, 100, "")
        if not 0 < self.label_threshold <= 1:
            raise InputError(f"--label-threshold must lie above 0 up to 1, not {self.label_threshold:g}.")
        if not self.background:
            raise InputError("--background must not be empty; it names the class of what is not annotated.")
        both = set(self.priority) & set(self.holes or ())
        if both:
            raise InputError(f"'{min(both)}' cannot be a label of --priority and one of --holes; choose one.")
        self.tissue()

    def tissue(self) -> Any:
        """The settings of the search for tissue, a `TissueSettings`."""
        from plenish.slides.tissue import TissueSettings

        names = ("saturation", "dark", "close_um", "speck_um2", "hole_um2")
        given = {name: getattr(self, name) for name in names}
        return TissueSettings(**{name: value for name, value in given.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TilingSettings:
        """The inverse of `to_dict`, also after JSON."""
        holes = None if content["holes"] is None else tuple(content["holes"])
        rename = tuple((old, new) for old, new in content["rename"])
        return cls(**content | {"priority": tuple(content["priority"]), "holes": holes, "rename": rename})


def _within(option: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise InputError(
            f"{option} must lie between {least:g} and {most:g}{' ' * bool(unit)}{unit}, not {value:g}."
        )


__all__ = ["LARGEST_TILE", "ImageFormat", "TilingSettings"]
