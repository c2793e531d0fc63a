"""What a section of the report is made of: plain data that the template lays out and escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from plenish.report.figures import Chart
from plenish.report.pictures import Picture


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
    """A table; columns after the first are numbers unless named in `words`; a `folded` one opens on a "
    "click."""

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
