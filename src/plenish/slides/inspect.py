"""`plenish slides inspect`: what slides are, and whether they can be tiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inspected:
    """What was found of each slide.

    Attributes:
        slides: a mapping a slide.
    """

    slides: tuple[Mapping[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        """JSON-able form; one slide alone is shown by itself."""
        rows = [dict(row) for row in self.slides]
        return rows[0] if len(rows) == 1 else {"slides": rows}


def inspect_slides(slides: list[Path]) -> Inspected:
    """Show what whole-slide images are: size, levels, scale and where that is from, case and sample.

    Files that are no slides are named with the reason; when none is one, the exit code is 2.

    Args:
        slides: slides, folders, .txt lists or tables of slides.

    Raises:
        InputError: there is no slide among them.
    """
    from plenish.slides.listing import list_slides
    from plenish.slides.reader import require_libraries

    require_libraries()
    rows: list[dict[str, Any]] = []
    seen: set[Path] = set()
    for source in slides:
        listed = list_slides(source)
        for entry in listed.entries:
            if (real := entry.path.resolve()) not in seen:
                seen.add(real)
                rows.append(_row(entry.path, entry.name))
    broken = [row for row in rows if "problem" in row]
    if len(broken) == len(rows):
        raise InputError(" ".join(row["problem"] for row in broken[:5]))
    return Inspected(tuple(rows))


def _row(path: Path, name: str) -> dict[str, Any]:
    from plenish.slides.listing import barcode
    from plenish.slides.reader import open_slide

    try:
        with open_slide(path) as slide:
            tiles = [slide.tile_size(i) for i in range(len(slide.levels))]
            case, sample = barcode(name) or (None, None)
            return {
                "slide": name, "file": path.name, "format": slide.vendor,
                "width": slide.width, "height": slide.height,
                "mpp": slide.mpp, "mpp_source": slide.mpp_source,
                "objective": slide.properties.get("openslide.objective-power"),
                "case": case, "sample": sample, **({"damage": damage} if (damage := slide.cut_off()) else {}),
                "levels": [
                    {
                        "level": i, "width": level.width, "height": level.height,
                        "downsample": round(level.downsample, 4),
                        "mpp": slide.mpp and round(slide.mpp * level.downsample, 4),
                        "file_tile": tile and f"{tile[0]}×{tile[1]}",
                    }
                    for i, (level, tile) in enumerate(zip(slide.levels, tiles))
                ],
            }  # fmt: skip
    except InputError as error:
        return {"slide": name, "file": path.name, "problem": str(error)}


__all__ = ["Inspected", "inspect_slides"]
