"""A page of the report: the blocks its sections are made of, and the template that lays them out."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jinja2

from plenish._version import __version__
from plenish.report.figures import Chart
from plenish.report.pictures import Picture

INTENDED_USE = (
    "For research and teaching. Nothing in this report is a diagnosis or the output of a medical device, and "
    "no generated image may be used as one or be presented as a patient's."
)


@dataclass(frozen=True)
class Card:
    """One answer of the headline. `tone` is good, bad or neutral; it chooses colour and sign."""

    question: str
    answer: str
    sentence: str
    tone: str = "neutral"


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Notes:
    """A bulleted list of remarks under a heading."""

    kind: ClassVar[str] = "notes"
    heading: str
    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Name and value pairs; `folded` ones open on a click."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]
    heading: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Table:
    """A table; columns after the first are numbers unless named in `words`; `folded` opens on a click."""

    kind: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: frozenset[int] = field(default_factory=frozenset)
    last_is_total: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Charts:
    """Charts in columns; `wide` ones take the whole width."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, str]] = ()  # (mark, meaning)
    wide: bool = False


@dataclass(frozen=True)
class Pairs:
    """Real beside others, synthetic or not: (heading, real, others), either may be missing."""

    kind: ClassVar[str] = "pairs"
    pairs: Sequence[tuple[str, Picture | None, Picture | None]]
    others: str = "synthetic"


@dataclass(frozen=True)
class Pictures:
    """Pictures in a row that wraps; `wide` ones take the whole width."""

    kind: ClassVar[str] = "pictures"
    pictures: Sequence[Picture]
    wide: bool = False


@dataclass(frozen=True)
class Code:
    """Commands to repeat the work, each as one entry."""

    kind: ClassVar[str] = "code"
    lines: Sequence[str]


Block = Text | Notes | Facts | Table | Charts | Pairs | Pictures | Code


@dataclass(frozen=True)
class Section:
    """A heading with blocks; `key` is its address within the page."""

    key: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


def render_page(
    title: str, subtitle: str, sections: Sequence[Section], cards: Sequence[Card], *, phantom: bool,
    stated_use: str = "",
) -> str:  # fmt: skip
    """A whole HTML page. Every text from outside is escaped; only our own SVG goes in as markup.

    Args:
        title: heading of the page.
        subtitle: a line below it.
        sections: what it says, in reading order.
        cards: the answers at its top.
        phantom: whether its images were drawn by a program; a banner then says so.
        stated_use: what the Dataset says it may be used for.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("plenish.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        cards=cards,
        phantom=phantom,
        intended_use=INTENDED_USE,
        stated_use=stated_use,
        version=__version__,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
