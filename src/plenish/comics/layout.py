"""Where panels lie on a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from plenish.comics.script import Panel, Paper, Row

_MM_PER_INCH = 25.4


@dataclasses.dataclass(frozen=True)
class Box:
    """A rectangle, pixels; right and bottom lie outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    def overlap(self, other: Box) -> int:
        """Pixels that lie in both."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0, across) * max(0, down)

    def moved(self, right: int, down: int) -> Box:
        """The same somewhere else."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)


def pixels(mm: float, dpi: int) -> int:
    """A length in pixels."""
    return round(mm / _MM_PER_INCH * dpi)


def page_size(paper: Paper) -> tuple[int, int]:
    """Width and height of a page with its bleed, pixels."""
    width, height = (pixels(side + 2 * paper.bleed, paper.dpi) for side in paper.trimmed)
    return width, height


def trim_box(paper: Paper) -> Box:
    """What is left of a page when it is cut."""
    (width, height), edge = page_size(paper), pixels(paper.bleed, paper.dpi)
    return Box(edge, edge, width - edge, height - edge)


def place_panels(rows: Sequence[Row], paper: Paper) -> list[tuple[Panel, Box]]:
    """The panels in the order of reading, each with its place."""
    trim, margin, gutter = trim_box(paper), pixels(paper.margin, paper.dpi), pixels(paper.gutter, paper.dpi)
    top, bottom = trim.top + margin, trim.bottom - margin
    left, right = trim.left + margin, trim.right - margin
    placed = []
    for row, (row_top, row_bottom) in zip(
        rows, _shares(top, bottom, [row.height for row in rows], gutter), strict=True
    ):
        panels = row.panels if paper.reading == "left-to-right" else row.panels[::-1]
        across = _shares(left, right, [panel.width for panel in panels], gutter)
        boxes = [Box(start, row_top, end, row_bottom) for start, end in across]
        pairs = list(zip(panels, boxes, strict=True))
        placed += pairs if paper.reading == "left-to-right" else pairs[::-1]
    return placed


def _shares(start: int, end: int, weights: Sequence[float], gap: int) -> list[tuple[int, int]]:
    """A length divided by weights, with gaps between."""
    room, total = end - start - gap * (len(weights) - 1), sum(weights)
    found, past = [], 0.0
    for i, weight in enumerate(weights):
        first = start + i * gap + round(room * past / total)
        past += weight
        found.append((first, start + i * gap + round(room * past / total)))
    return found
