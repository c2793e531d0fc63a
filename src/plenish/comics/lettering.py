"""Balloons and captions: words broken into lines, a place for them, and the drawing."""

from __future__ import annotations

import dataclasses
import functools
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont, features

from plenish.comics.layout import Box
from plenish.comics.script import Kind, Lettering
from plenish.errors import InputError

Point = tuple[float, float]
_SMOOTH = 3
"""Balloons are drawn so many times as large, and reduced."""
_EXPONENT = 2.6
"""Of the superellipse of a balloon: 2 is an ellipse, more is closer to a rectangle."""
_LINE = 1.25
"""Distance of lines, in sizes of the letters."""
_SHAPES = (1.1, 1.6, 2.2, 3.0, 4.2)
"""Widths of a text over its height that are tried."""
_PLACES = 12
"""Places tried along each side of a panel."""
_SMALLER = 0.9
"""By how much letters become smaller where a text finds no place."""


@dataclasses.dataclass(frozen=True)
class Letters:
    """A font, checked against the texts of a script.

    Attributes:
        path: the font's file.
        capitals: write everything in capitals.
    """

    path: Path
    capitals: bool

    @classmethod
    def of(cls, lettering: Lettering, folder: Path) -> Letters:
        """The font of a script; a file's path is relative to `folder`.

        Raises:
            InputError: it is no font.
        """
        path = (
            folder / lettering.font if lettering.font else Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf")
        )
        letters = cls(path, lettering.capitals)
        try:
            letters.characters()
            letters.sized(10)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"lettering.font {path} is no TrueType or OpenType font that can be read ({error})."
            ) from None
        return letters

    @functools.cache  # noqa: B019 - as long as the comic is made
    def characters(self) -> frozenset[int]:
        """The characters that the font has, as code points."""
        return frozenset(FT2Font(str(self.path)).get_charmap())

    @functools.cache  # noqa: B019
    def sized(self, pixels: int) -> ImageFont.FreeTypeFont:
        """The font at a size."""
        return ImageFont.truetype(self.path, pixels)

    def prepared(self, text: str, where: str) -> str:
        """A text as it is written.

        Args:
            text: any text.
            where: its place in the script, for messages.

        Raises:
            InputError: the font lacks one of its characters, or it cannot be written in its direction.
        """
        text = " ".join(unicodedata.normalize("NFC", text).split())
        text = text.upper() if self.capitals else text
        lacking = sorted({c for c in text if ord(c) not in self.characters() and not c.isspace()})
        if lacking:
            shown = " ".join(lacking[:5])
            raise InputError(
                f"{where}: the font {self.path.name} has no {shown}; give lettering.font, a font file that "
                "has."
            )
        if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) and not features.check("raqm"):
            raise InputError(
                f"{where} is written from right to left, for which this Pillow lacks the library Raqm."
            )
        return text


@dataclasses.dataclass(frozen=True)
class Text:
    """A text in lines.

    Attributes:
        lines: the lines.
        size: height of the letters, pixels.
        width: of the longest line, pixels.
        height: of all lines, pixels.
    """

    lines: tuple[str, ...]
    size: int
    width: int
    height: int


def in_lines(text: str, letters: Letters, size: int, widest: float) -> Text:
    """Break a text into lines no wider than `widest` pixels.

    Words that are wider alone, as in languages without spaces, are broken where they must be.
    """
    font = letters.sized(size)
    lines: list[str] = []
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= widest:
            lines[-1] = joined
            continue
        lines.extend(_pieces(word, font, widest))
    width = max(math.ceil(font.getlength(line)) for line in lines)
    return Text(tuple(lines), size, width, round(size * (1 + _LINE * (len(lines) - 1))))


def _pieces(word: str, font: ImageFont.FreeTypeFont, widest: float) -> Iterator[str]:
    while font.getlength(word) > widest and len(word) > 1:
        fitting = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= widest)
        yield word[:fitting]
        word = word[fitting:]
    yield word


@dataclasses.dataclass(frozen=True)
class Placed:
    """A balloon or caption at its place.

    Attributes:
        text: its lines.
        box: what it covers, without its tail; within the panel, pixels.
        kind: of balloon, or caption.
        tail: where its tail points, or None.
    """

    text: Text
    box: Box
    kind: Kind | str
    tail: Point | None = None

    def record(self) -> dict[str, object]:
        """JSON-able form."""
        return {"kind": self.kind, "lines": list(self.text.lines), "box": list(self.box.corners),
                "letters_px": self.text.size}  # fmt: skip


def place_caption(
    text: str, letters: Letters, sizes: Sequence[int], panel: tuple[int, int], where: str
) -> Placed:
    """A caption along the top of a panel.

    Args:
        text: the words.
        letters: the font.
        sizes: heights of letters to try, pixels, the largest first.
        panel: width and height, pixels.
        where: its place in the script, for messages.

    Raises:
        InputError: it takes more than half of the panel.
    """
    width, height = panel
    for size in sizes:
        pad = round(0.6 * size)
        lines = in_lines(text, letters, size, width - 2 * pad)
        if lines.height + 2 * pad <= height / 2 and lines.width + 2 * pad <= width:
            return Placed(lines, Box(0, 0, width, lines.height + 2 * pad), "caption")
    raise _no_room(where)


def place_balloon(
    text: str, kind: Kind, letters: Letters, sizes: Sequence[int], panel: tuple[int, int], *,
    taken: Sequence[Box], faces: Sequence[Box], figures: Sequence[Box], speaker: Box | None,
    before: Box | None, rightwards: bool, where: str,
) -> Placed:  # fmt: skip
    """A balloon where it covers neither faces nor other balloons, and as little of the figures as it can.

    Of all places, one that is read after the balloon before, high in the panel and near the speaker is taken.

    Args:
        text: the words.
        kind: of balloon.
        letters: the font.
        sizes: heights of letters to try, pixels, the largest first.
        panel: width and height, pixels.
        taken: other balloons and the caption.
        faces: what must stay visible.
        figures: what should.
        speaker: the face or figure of who speaks, to which the tail points.
        before: the balloon that is read before.
        rightwards: whether one reads from left to right.
        where: its place in the script, for messages.

    Raises:
        InputError: there is no place even for the smallest letters.
    """
    width, height = panel
    edge = round(0.02 * min(panel))
    for size in sizes:
        best: tuple[float, Box, Text] | None = None
        for lines, across, down in _shapes(text, kind, letters, size, width - 2 * edge, height - 2 * edge):
            for left in np.linspace(edge, width - edge - across, _PLACES):
                for top in np.linspace(edge, height - edge - down, _PLACES):
                    box = Box(round(left), round(top), round(left) + across, round(top) + down)
                    if any(box.overlap(other) for other in (*taken, *faces)):
                        continue
                    cost = _cost(box, panel, figures, speaker, before, rightwards)
                    if best is None or cost < best[0]:
                        best = cost, box, lines
        if best is not None:
            tail = None if speaker is None else _mouth(speaker)
            return Placed(best[2], best[1], kind, tail)
    raise _no_room(where)


def _no_room(where: str) -> InputError:
    return InputError(
        f"{where} finds no room in its panel, even in letters of lettering.smallest; shorten it, or give the "
        "panel more width or height."
    )


def _shapes(
    text: str, kind: Kind, letters: Letters, size: int, widest: int, highest: int
) -> Iterator[tuple[Text, int, int]]:
    """The text in lines of several widths, with width and height of its balloon, pixels."""
    font = letters.sized(size)
    area = font.getlength(text) * size * _LINE
    longest = max(font.getlength(word) for word in text.split(" "))
    grown = 1.45 if kind == "shout" else 2 ** (1 / _EXPONENT)
    seen = set()
    for shape in _SHAPES:
        # No word is broken that fits into the panel.
        lines = in_lines(text, letters, size, max(math.sqrt(area * shape), min(longest, 0.7 * widest)))
        if lines.lines in seen:
            continue
        seen.add(lines.lines)
        across = math.ceil((lines.width + 0.9 * size) * grown)
        down = math.ceil((lines.height + 1.1 * size) * grown)
        if across <= widest and down <= highest:
            yield lines, across, down


def _cost(
    box: Box, panel: tuple[int, int], figures: Sequence[Box], speaker: Box | None, before: Box | None,
    rightwards: bool,
) -> float:  # fmt: skip
    width, height = panel
    middle = (box.left + box.right) / 2
    # The share of the figures that is covered counts most, then the distance to the speaker, and size.
    cost = 6.0 * sum(box.overlap(figure) / max(1, figure.width * figure.height) for figure in figures)
    cost += 2.0 * box.width * box.height / (width * height)
    if speaker is None:
        cost += box.top / height
    else:
        cost += 1.2 * abs(speaker.top - 0.05 * height - box.bottom) / height
        cost += 0.8 * abs(middle - (speaker.left + speaker.right) / 2) / width
        cost += 3.0 * max(0, box.top - speaker.top) / height  # Never below a mouth.
    if speaker is None:
        outer = middle if rightwards else width - middle
        cost += 0.2 * outer / width
    if before is not None:
        ahead = (before.left + before.right) / 2 - middle
        ahead = ahead if rightwards else -ahead
        lower = box.top - before.top
        # Read after: lower, or at most as high and farther along the line.
        cost += 4.0 * max(0, -lower) / height
        if lower < before.height / 2 and ahead > 0:
            cost += 4.0 * ahead / width + 1.0
    return cost


def _mouth(speaker: Box) -> Point:
    return (speaker.left + speaker.right) / 2, speaker.top + 0.35 * speaker.height


def draw(panel: Image.Image, placed: Placed, letters: Letters, line: int) -> None:
    """Draw a balloon or caption on a panel, RGB, in place; `line` is the width of its outline, pixels."""
    if placed.kind == "caption":
        canvas = ImageDraw.Draw(panel)
        box = placed.box
        canvas.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill="#fffbe6")
        canvas.line((box.left, box.bottom - 1, box.right, box.bottom - 1), fill="black", width=max(1, line))
    else:
        _draw_balloon(panel, placed, line)
    font, box = letters.sized(placed.text.size), placed.box
    top = (box.top + box.bottom - placed.text.height) / 2
    canvas = ImageDraw.Draw(panel)
    for i, words in enumerate(placed.text.lines):
        middle = top + placed.text.size * (0.5 + _LINE * i)
        canvas.text(((box.left + box.right) / 2, middle), words, fill="black", font=font, anchor="mm")


def _draw_balloon(panel: Image.Image, placed: Placed, line: int) -> None:
    parts = [_outline(placed), *_tail(placed)]
    xs, ys = zip(*(point for part in parts for point in part), strict=True)
    left, top = math.floor(min(xs)) - 2 * line - 2, math.floor(min(ys)) - 2 * line - 2
    size = math.ceil(max(xs)) + 2 * line + 2 - left, math.ceil(max(ys)) + 2 * line + 2 - top
    ink, paper = (Image.new("L", (size[0] * _SMOOTH, size[1] * _SMOOTH)) for _ in range(2))
    wide = max(1, line * _SMOOTH)
    for part in parts:
        points = [((x - left) * _SMOOTH, (y - top) * _SMOOTH) for x, y in part]
        ImageDraw.Draw(paper).polygon(points, fill=255)
        ImageDraw.Draw(ink).line([*points, points[0], points[1]], fill=255, width=2 * wide, joint="curve")
    if placed.kind == "whisper":
        _dash(ink, parts[0], (left, top), wide)
    for mask, colour in ((ink, "black"), (paper, "white")):
        panel.paste(colour, (left, top), mask.resize(size, Image.Resampling.LANCZOS))


def _dash(ink: Image.Image, outline: Sequence[Point], corner: Point, wide: int) -> None:
    """Take gaps out of an outline."""
    canvas, step = ImageDraw.Draw(ink), 6
    for i in range(0, len(outline), 2 * step):
        gap = [((x - corner[0]) * _SMOOTH, (y - corner[1]) * _SMOOTH) for x, y in outline[i : i + step]]
        if len(gap) > 1:
            canvas.line(gap, fill=0, width=3 * wide)


def _outline(placed: Placed) -> list[Point]:
    """The outline of a balloon: a superellipse, or a star of many rays."""
    box = placed.box
    x, y, a, b = (box.left + box.right) / 2, (box.top + box.bottom) / 2, box.width / 2, box.height / 2
    if placed.kind == "shout":
        rays = 22
        angles = np.arange(2 * rays) * math.pi / rays
        radius = np.where(np.arange(2 * rays) % 2 == 0, 1.0, 0.82)
        return [
            (x + a * r * math.cos(t), y + b * r * math.sin(t)) for t, r in zip(angles, radius, strict=True)
        ]
    angles = np.linspace(0, 2 * math.pi, 144, endpoint=False)
    cos, sin = np.cos(angles), np.sin(angles)
    xs = x + a * np.sign(cos) * np.abs(cos) ** (2 / _EXPONENT)
    ys = y + b * np.sign(sin) * np.abs(sin) ** (2 / _EXPONENT)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _tail(placed: Placed) -> list[list[Point]]:
    """A wedge towards the speaker, or bubbles of a thought; nothing where the mouth is covered."""
    if placed.tail is None:
        return []
    box, (to_x, to_y) = placed.box, placed.tail
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    along_x, along_y = to_x - x, to_y - y
    length = math.hypot(along_x, along_y)
    # Where the line to the mouth leaves the balloon.
    leaves = 1 / max(2 * abs(along_x) / box.width, 2 * abs(along_y) / box.height, 1e-9)
    if length < 1 or leaves >= 0.95:
        return []
    tip = min(leaves + 0.6 * (1 - leaves), leaves + 1.1 * min(box.width, box.height) / length)
    end = x + tip * along_x, y + tip * along_y
    if placed.kind == "thought":
        return [_bubble(x, y, along_x, along_y, leaves + share * (tip - leaves), 0.07 * box.height * size)
                for share, size in ((0.35, 1.6), (0.75, 1.0), (1.1, 0.65))]  # fmt: skip
    half = 0.11 * min(box.width, box.height) + 0.02 * box.width
    across = (-along_y / length * half, along_x / length * half)
    inner = max(0.0, leaves * 0.55)
    root = x + inner * along_x, y + inner * along_y
    return [[(root[0] + across[0], root[1] + across[1]), end, (root[0] - across[0], root[1] - across[1])]]


def _bubble(x: float, y: float, along_x: float, along_y: float, share: float, radius: float) -> list[Point]:
    at_x, at_y = x + share * along_x, y + share * along_y
    angles = np.linspace(0, 2 * math.pi, 36, endpoint=False)
    return [(at_x + 1.3 * radius * math.cos(t), at_y + radius * math.sin(t)) for t in angles]


def letter_sizes(lettering: Lettering, dpi: int) -> list[int]:
    """Heights of letters to try, pixels, the largest first."""
    sizes, points = [], lettering.points
    while points > lettering.smallest:
        sizes.append(points)
        points *= _SMALLER
    return [max(1, round(size / 72 * dpi)) for size in (*sizes, lettering.smallest)]
