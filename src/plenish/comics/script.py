"""The script of a comic: pages of rows of panels, who is in them and what is said, read from YAML."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from PIL import ImageColor

from plenish.configuration import check_bounds, option
from plenish.errors import InputError, coerce_type, unknown
from plenish.yaml_reader import read_yaml

Made = TypeVar("Made")
Kind = Literal["speech", "thought", "shout", "whisper"]
SIZES = {"A6": (105, 148), "A5": (148, 210), "A4": (210, 297), "letter": (216, 279), "comic": (168, 260)}
"""Width and height of finished pages, mm."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?x ?(\d+(?:\.\d+)?)")
_MOST_PAGES, _MOST_PANELS = 200, 40
_MOST_PIXELS = 200_000_000
"""Of a page: A3 at 1,200 pixels an inch has more."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """The page.

    Attributes:
        size: A6, A5, A4, letter, comic, or WIDTHxHEIGHT, mm; after trimming.
        dpi: pixels an inch.
        margin: between the trimmed edge and the panels, mm.
        gutter: between panels, mm.
        bleed: added on every side, to be cut away, mm; the background reaches into it.
        border: width of the line around a panel, mm; 0 for none.
        background: colour between panels.
        reading: left-to-right or right-to-left, the order of the panels in a row and of their balloons.
    """

    size: str = "A5"
    dpi: int = option(300, least=36, most=1200)
    margin: float = option(10.0, least=0, most=100)
    gutter: float = option(4.0, least=0, most=50)
    bleed: float = option(0.0, least=0, most=20)
    border: float = option(0.5, least=0, most=5)
    background: str = "white"
    reading: str = option("left-to-right", choices=("left-to-right", "right-to-left"))

    @property
    def trimmed(self) -> tuple[float, float]:
        """Width and height of the finished page, mm."""
        if self.size in SIZES:
            return SIZES[self.size]
        found = _SIZE.fullmatch(self.size)
        if found is None or not all(30 <= float(side) <= 1000 for side in found.groups()):
            raise InputError(
                f"page.size is one of {', '.join(SIZES)}, or a width and a height from 30 to 1000 mm such as "
                f"120x180, not '{self.size}'."
            )
        return float(found[1]), float(found[2])


@dataclasses.dataclass(frozen=True)
class Lettering:
    """The letters of captions and balloons.

    Attributes:
        font: a TrueType or OpenType file; by default DejaVu Sans.
        points: size of the letters, points of 1/72 inch.
        smallest: where a text does not fit, its letters become smaller down to this size.
        capitals: write everything in capitals.
    """

    font: str = ""
    points: float = option(9.0, least=3, most=72)
    smallest: float = option(6.0, least=3, most=72)
    capitals: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a picture comes from: a generator, or a file.

    Attributes:
        generator: a generator's Run.
        checkpoint: `best`, `last` or a checkpoint's name.
        label: the label, in words; by default the first class.
        seed: of the latent.
        latents: a .npy or .csv file of latents instead of a seed.
        row: the row of that file.
        concepts: strengths of the Run's concepts, by name.
        image: a picture file instead of all this.
    """

    generator: str = ""
    checkpoint: str = "best"
    label: str = ""
    seed: int = option(0, least=0)
    latents: str = ""
    row: int = option(0, least=0)
    concepts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    image: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """A character in a panel.

    Attributes:
        name: of the character.
        concepts: strengths that are added to the character's own.
        label: another label for the same latent; empty for its own.
        height: of the figure, as a share of the panel's height.
        mirrored: whether it looks the other way.
    """

    name: str
    concepts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    label: str = ""
    height: float = option(0.72, above=0, most=1)
    mirrored: bool = False


@dataclasses.dataclass(frozen=True)
class Balloon:
    """Something that is said.

    Attributes:
        text: what.
        by: the character who says it, or nobody who is seen.
        kind: speech, thought, shout or whisper.
    """

    text: str
    by: str = ""
    kind: str = option("speech", choices=("speech", "thought", "shout", "whisper"))


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        width: in proportion to the others of its row.
        scene: a picture that fills it; or None.
        background: colour where there is no scene, or where the scene does not reach.
        characters: who is in it, from left to right.
        caption: the narrator's words, at its top.
        balloons: what is said, in the order of reading.
    """

    width: float = option(1.0, above=0, most=100)
    scene: Source | None = None
    background: str = "white"
    characters: tuple[Part, ...] = ()
    caption: str = ""
    balloons: tuple[Balloon, ...] = ()


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of panels.

    Attributes:
        height: in proportion to the other rows of its page.
        panels: from left to right, or from right to left where the page is read so.
    """

    height: float = option(1.0, above=0, most=100)
    panels: tuple[Panel, ...] = ()


@dataclasses.dataclass(frozen=True)
class Script:
    """A comic.

    Attributes:
        title: kept in the file.
        page: the paper.
        lettering: the letters.
        characters: pictures by name, which keep their latent from panel to panel.
        pages: rows of panels.
        folder: paths of the script are relative to it.
    """

    title: str
    page: Paper
    lettering: Lettering
    characters: Mapping[str, Source]
    pages: tuple[tuple[Row, ...], ...]
    folder: Path


def read_script(path: Path) -> Script:
    """Read and check a script.

    Raises:
        InputError: it cannot be read, or says what is not known, with the place in it.
    """
    content = _mapping(read_yaml(path, "script"), f"{path}")
    allowed = ("title", "page", "lettering", "characters", "pages")
    for key in content:
        if key not in allowed:
            raise unknown(f"entry of {path}", str(key), allowed)
    characters = {
        str(name): _source(value, f"characters.{name}")
        for name, value in _mapping(content.get("characters", {}), "characters").items()
    }
    pages = tuple(
        tuple(
            _row(row, f"pages[{i}].rows[{j}]", characters) for j, row in enumerate(_rows(page, f"pages[{i}]"))
        )
        for i, page in enumerate(_sequence(content.get("pages", []), "pages"))
    )
    if not pages:
        raise InputError(f"{path} has no pages; write a list of them under 'pages'.")
    if len(pages) > _MOST_PAGES:
        raise InputError(f"{path} has {len(pages)} pages, and at most {_MOST_PAGES} are made at once.")
    paper = _build(Paper, content.get("page", {}), "page")
    _colour(paper.background, "page.background")
    width, height = paper.trimmed
    if min(width, height) <= 2 * paper.margin + 10:
        raise InputError(f"page.margin of {paper.margin:g} mm leaves no room on {width:g}×{height:g} mm.")
    if (count := math.prod(side / 25.4 * paper.dpi for side in (width, height))) > _MOST_PIXELS:
        raise InputError(
            f"A page of {width:g}×{height:g} mm at {paper.dpi} dpi has {count / 1e6:,.0f} million pixels; "
            f"at most {_MOST_PIXELS // 10**6} are made, so give less page.dpi."
        )
    lettering = _build(Lettering, content.get("lettering", {}), "lettering")
    if lettering.smallest > lettering.points:
        raise InputError("lettering.smallest is more than lettering.points; give less.")
    title = str(content.get("title", path.stem))
    return Script(title, paper, lettering, characters, pages, path.resolve().parent)


def _rows(page: Any, where: str) -> Sequence[Any]:
    found = _mapping(page, where)
    if list(found) != ["rows"]:
        raise InputError(f"{where} holds 'rows', a list of rows of panels, and nothing else.")
    return _sequence(found["rows"], f"{where}.rows", least=1)


def _row(value: Any, where: str, characters: Mapping[str, Source]) -> Row:
    given = dict(_mapping(value, where))
    panels = _sequence(given.pop("panels", []), f"{where}.panels", least=1)
    if len(panels) > _MOST_PANELS:
        raise InputError(f"{where} has {len(panels)} panels, and at most {_MOST_PANELS} fit into a row.")
    made = tuple(_panel(panel, f"{where}.panels[{i}]", characters) for i, panel in enumerate(panels))
    return dataclasses.replace(_build(Row, given, where), panels=made)


def _panel(value: Any, where: str, characters: Mapping[str, Source]) -> Panel:
    given = dict(_mapping(value, where))
    scene = given.pop("scene", None)
    parts = tuple(
        _part(part, f"{where}.characters[{i}]", characters)
        for i, part in enumerate(_sequence(given.pop("characters", []), f"{where}.characters"))
    )
    present = {part.name for part in parts}
    balloons = tuple(
        _balloon(one, f"{where}.balloons[{i}]", present)
        for i, one in enumerate(_sequence(given.pop("balloons", []), f"{where}.balloons"))
    )
    panel = _build(Panel, given, where)
    _colour(panel.background, f"{where}.background")
    return dataclasses.replace(
        panel, scene=None if scene is None else _source(scene, f"{where}.scene"), characters=parts,
        balloons=balloons,
    )  # fmt: skip


def _source(value: Any, where: str) -> Source:
    source = _build(Source, value, where)
    if bool(source.generator) == bool(source.image):
        raise InputError(f"{where} needs either 'generator', a Run, or 'image', a picture file.")
    _strengths(source.concepts, f"{where}.concepts")
    return source


def _part(value: Any, where: str, characters: Mapping[str, Source]) -> Part:
    given = {"name": value} if isinstance(value, str) else dict(_mapping(value, where))
    part: Part = _build(Part, given, where, needs=("name",))
    if part.name not in characters:
        raise unknown(f"character in {where}", str(part.name), characters)
    _strengths(part.concepts, f"{where}.concepts")
    if characters[part.name].image and (part.concepts or part.label):
        raise InputError(f"{where}: {part.name} is a picture file, which has neither concepts nor a label.")
    return part


def _balloon(value: Any, where: str, present: set[str]) -> Balloon:
    given = {"text": value} if isinstance(value, str) else dict(_mapping(value, where))
    balloon: Balloon = _build(Balloon, given, where, needs=("text",))
    if balloon.by and balloon.by not in present:
        raise unknown(f"character of this panel in {where}.by", balloon.by, sorted(present))
    if not str(balloon.text).strip():
        raise InputError(f"{where}.text is empty; write what is said.")
    return balloon


def _build(kind: Callable[..., Made], value: Any, where: str, needs: Sequence[str] = ()) -> Made:
    """A dataclass of checked values; the place in the script is part of every message."""
    given = _mapping(value, where)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    made = {}
    for name, item in given.items():
        if name not in fields:
            raise unknown(f"entry of {where}", str(name), fields)
        default = fields[name].default
        if isinstance(default, (str, int, float, bool)):
            item = coerce_type(f"{where}.{name}", item, default)
            check_bounds(f"{where}.{name}", item, fields[name].metadata)
            choices = fields[name].metadata.get("choices")
            if choices and item not in choices:
                raise unknown(f"{where}.{name}", str(item), choices)
        made[str(name)] = item
    for name in needs:
        if name not in made:
            raise InputError(f"{where} lacks '{name}'.")
    return kind(**made)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a mapping of names to values.")
    return value


def _sequence(value: Any, where: str, least: int = 0) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) < least:
        raise InputError(f"{where} must be a list{' that is not empty' if least else ''}.")
    return value


def _strengths(value: Any, where: str) -> None:
    for name, strength in _mapping(value, where).items():
        if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not abs(strength) <= 100:
            raise InputError(f"{where}.{name} must be a strength, a number from -100 to 100.")


def _colour(value: str, where: str) -> None:
    try:
        ImageColor.getrgb(value)
    except ValueError:
        raise InputError(f"{where} must be a colour such as white or '#cde6f5', not '{value}'.") from None
