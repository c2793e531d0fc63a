"""What slides are, and whether they can be tiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.slides.names import SlideEntry
from plenish.slides.reader import open_slide, require_libraries
from plenish.slides.remarks import Remark
from plenish.slides.slide_list import list_slides


def inspect_slides(slides: list[Path]) -> dict[str, Any]:
    """Show what whole-slide images are: size, levels, scale and its source, case and sample.

    Files that are not slides are named with the reason; if none is a slide, the exit code is 2.

    Args:
        slides: slides, folders, .txt lists or tables of slides.

    Returns:
        The facts of a single slide, or those of each under `slides`; JSON-able.

    Raises:
        InputError: there is no slide among them.
    """
    require_libraries()
    entries: dict[Path, SlideEntry] = {}
    for source in slides:
        for entry in list_slides(source).entries:
            entries.setdefault(entry.path.resolve(), entry)
    rows = [_row(entry) for entry in entries.values()]
    broken = [row for row in rows if "problem" in row]
    if len(broken) == len(rows):
        raise InputError(" ".join(row["problem"] for row in broken[:5]))
    return rows[0] if len(rows) == 1 else {"slides": rows}


def _row(entry: SlideEntry) -> dict[str, Any]:
    try:
        with open_slide(entry.path) as slide:
            tiles = [slide.tile_size(i) for i in range(len(slide.levels))]
            lost, mpp = slide.missing_tiles(), slide.scale.mpp
            return {
                "slide": entry.name, "file": entry.path.name, "format": slide.vendor,
                "width": slide.width, "height": slide.height,
                "mpp": mpp, "mpp_source": slide.scale.source,
                "objective": slide.properties.get("openslide.objective-power"),
                "case": entry.case, "sample": entry.sample,
                **({"damage": str(Remark("file-truncated", {"tiles": lost}))} if lost else {}),
                "levels": [
                    {
                        "level": i, "width": level.width, "height": level.height,
                        "downsample": round(level.downsample, 4),
                        "mpp": mpp and round(mpp * level.downsample, 4),
                        "file_tile": tile and f"{tile[0]}×{tile[1]}",
                    }
                    for i, (level, tile) in enumerate(zip(slide.levels, tiles))
                ],
            }  # fmt: skip
    except InputError as error:
        return {"slide": entry.name, "file": entry.path.name, "problem": str(error)}
