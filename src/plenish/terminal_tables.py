"""What a command found, as tables that fit the terminal: facts in two columns, rows below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from plenish.terminal import clean
from plenish.wording import Sentences

_MOST_COLUMNS = 9
"""Columns of a table; of one with more, a row is below the other."""
_SHORT, _LONG = 12, 24
"""Letters of a cell that stays in one line, and of a word that may be broken."""


def as_text(content: Any) -> str:
    """Text for a terminal of the width that there is: tables of a mapping, and anything else as it is."""
    console = Console(markup=False, highlight=False)  # What a name holds is not markup.
    with console.capture() as captured:
        if isinstance(content, Mapping):
            console.print(*_tables(content, console.width), sep="\n")
        else:
            console.print(clean(str(content)), soft_wrap=True)
    return captured.get().rstrip("\n")


def _tables(content: Mapping[str, Any], width: int) -> Iterator[Table]:
    """Facts in two columns, and below them a table for each list of rows.

    A table that is too wide for the terminal has no lines; one too wide even then, a row below the other.
    Nothing is cut off: what has no room in a line goes on in the next.
    """
    facts, below = Table.grid(padding=(0, 2)), list[Table]()
    for _ in range(2):
        facts.add_column(overflow="fold")
    for key, value in content.items():
        title = clean(key.replace("_", " "))
        if not (isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value)):
            facts.add_row(title, _text(value))
            continue
        names = list(dict.fromkeys(column for row in value for column in row))
        if not names:
            continue
        columns = [
            [clean(name.replace("_", " ")), *(_text(row.get(name)) for row in value)] for name in names
        ]
        least = [max(map(_unbroken, column)) for column in columns]
        between = 3 * len(columns) + 1
        if is_plain := sum(least) + between > width:
            between = 2 * len(columns)
        if len(columns) > _MOST_COLUMNS or sum(least) + between > width:
            for number, row in enumerate(value, 1):
                tables = list(_tables(row, width))
                for first in tables[:1]:
                    first.title, first.title_justify = f"{title} {number}", "left"
                below += tables
            continue
        table = Table(title=title, title_justify="left")
        if is_plain:
            table.box, table.padding = None, (0, 1)
        most = [max(map(_widest_line, column)) for column in columns]
        for (head, *_), room in zip(columns, _widths(least, most, width - between), strict=True):
            table.add_column(head, overflow="fold", width=room)
        for row in zip(*(cells for _, *cells in columns), strict=True):
            table.add_row(*row)
        below.append(table)
    if facts.row_count:
        yield facts
    yield from below


def _widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths of columns that share some room, each from its least to its most; those first that want little.

    rich itself lets columns that have a least width grow beyond the terminal, which cuts the last ones off.
    """
    found, room = list(least), room - sum(least)
    by_want = sorted(range(len(least)), key=lambda i: most[i] - least[i])
    for left, i in zip(range(len(least), 0, -1), by_want):
        more = min(most[i] - least[i], room // left)
        found[i], room = found[i] + more, room - more
    return found


def _unbroken(text: str) -> int:
    """How wide a column must be for a cell: short cells in one line, and of others no word apart."""
    whole = cell_len(text)
    return whole if whole <= _SHORT else min(_LONG, max(map(cell_len, text.split()), default=0))


def _widest_line(text: str) -> int:
    return max(map(cell_len, text.splitlines()), default=0)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(str(key))} {_text(item)}" for key, item in value.items()) or "–"
    if isinstance(value, Sentences):
        return "\n".join(f"• {clean(text)}" for text in value) or "–"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "–"
    return clean(str(value))
