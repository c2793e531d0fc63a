"""A page of the report: the blocks its sections are made of, and the template that lays them out."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jinja2

from plenish._version import __version__
from plenish.metrics.words import number
from plenish.report.chart_canvas import Chart
from plenish.report.pictures import Picture

INTENDED_USE = (
    "For research and teaching. Nothing in this report is a diagnosis or the output of a medical device, and "
    "no generated image may be used as one or be presented as a patient's."
)


@dataclass(frozen=True)
class Card:
    """One answer of the headline.

    Attributes:
        question: what is asked.
        answer: a few words.
        sentence: what they rest on.
        tone: good, bad or neutral; it chooses colour and sign.
        figures: rows of a small table behind the answer: name, value of these images, value of real ones.
    """

    question: str
    answer: str
    sentence: str
    tone: str = "neutral"
    figures: Sequence[tuple[str, str, str]] = ()


class Block:
    """A part of a section, left out where it is empty.

    Attributes:
        content: the field it shows, after which its template is named; without it there is no block.
    """

    content: ClassVar[str]

    def __bool__(self) -> bool:
        return bool(getattr(self, self.content))


@dataclass(frozen=True)
class Text(Block):
    """A paragraph."""

    content = "text"
    text: str


@dataclass(frozen=True)
class Notes(Block):
    """A bulleted list of remarks under a heading."""

    content = "notes"
    notes: Sequence[str]
    heading: str = ""


@dataclass(frozen=True)
class Facts(Block):
    """Names and values; what is None or empty is left out, `folded` ones open on a click."""

    content = "facts"
    facts: Mapping[str, Any]
    heading: str = ""
    folded: bool = False

    def __bool__(self) -> bool:
        return any(value not in (None, "") for value in self.facts.values())


@dataclass(frozen=True)
class Table(Block):
    """Rows by column; columns after the first are numbers unless in `words`; `folded` opens on a click."""

    content = "rows"
    rows: Sequence[Mapping[str, str | float | None]]
    caption: str = ""
    words: Collection[str] = ()
    last_is_total: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Charts(Block):
    """Charts in columns; `wide` ones are twice as large, those with a `folded` heading open on a click."""

    content = "charts"
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, str]] = ()  # (mark, meaning)
    wide: bool = False
    folded: str = ""


@dataclass(frozen=True)
class Pairs(Block):
    """Real beside others, synthetic or not: (heading, real, others), either may be missing."""

    content = "pairs"
    pairs: Sequence[tuple[str, Picture | None, Picture | None]]
    others: str = "synthetic"


@dataclass(frozen=True)
class Pictures(Block):
    """Pictures in a row that wraps; `wide` ones take the whole width, of `large` ones two do."""

    content = "pictures"
    pictures: Sequence[Picture]
    wide: bool = False
    large: bool = False


@dataclass(frozen=True)
class Code(Block):
    """Commands to repeat the work, each as one entry."""

    content = "lines"
    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A heading with a lead and blocks, left out without any; `key` is its address within the page.

    A `folded` one opens on a click.
    """

    key: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    folded: bool = False

    def __bool__(self) -> bool:
        return bool(self.lead) or any(self.blocks)


def plain(value: Any) -> str:
    """A configuration value in words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "–"
    if isinstance(value, (list, tuple)):
        words = bool(value) and all(isinstance(item, str) for item in value)  # sentences may be among them
        return (" · " if words else ", ").join(map(plain, value)) or "–"
    return str(value)


def cell(value: str | float | None) -> str:
    """A cell of a table: words as they are, counts with separators, other numbers as by `number`."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else number(value)


@functools.cache
def _templates() -> jinja2.Environment:
    """The templates, each compiled once: a study or a sweep writes many pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("plenish.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"plain": plain, "cell": cell}
    return environment


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
    template = _templates().get_template("report.html.j2")
    return template.render(
        title=title,
        subtitle=subtitle,
        sections=list(filter(None, sections)),
        cards=cards,
        phantom=phantom,
        intended_use=INTENDED_USE,
        stated_use=stated_use,
        version=__version__,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
