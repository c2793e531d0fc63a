"""Sections of a report as Markdown, for cards that hubs and code hosts show: text, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from plenish.report.page import Block, Code, Facts, Notes, Section, Table, Text, cell, plain

_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def escaped(text: str) -> str:
    """A text from outside, on one line and without what Markdown or HTML would take for markup."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("\\<", "&lt;").replace("\\>", "&gt;")


def markdown(sections: Sequence[Section]) -> str:
    """The sections with their headings; pictures and charts are left out."""
    lines: list[str] = []
    for section in filter(None, sections):
        blocks = [text for block in section.blocks if block and (text := "\n".join(_block(block)))]
        lead = [escaped(section.lead)] if section.lead else []
        if lead or blocks:
            lines += [f"## {escaped(section.title)}", *lead, *blocks]
    return "\n\n".join(lines) + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield escaped(block.text)
    elif isinstance(block, Notes):
        yield from (f"**{escaped(block.heading)}**", "") if block.heading else ()
        yield from (f"- {escaped(note)}" for note in block.notes)
    elif isinstance(block, Facts):
        yield from (f"**{escaped(block.heading)}**", "") if block.heading else ()
        for name, value in block.facts.items():
            if value not in (None, ""):
                yield f"- {escaped(name)}: {escaped(plain(value))}"
    elif isinstance(block, Code):
        yield from ("```sh", *block.lines, "```")
    elif isinstance(block, Table):
        columns = list(dict.fromkeys(key for row in block.rows for key in row))
        yield from (f"**{escaped(block.caption)}**", "") if block.caption else ()
        yield "| " + " | ".join(map(escaped, columns)) + " |"
        yield "|" + " --- |" * len(columns)
        for row in block.rows:
            yield "| " + " | ".join(escaped(cell(row.get(column))) for column in columns) + " |"
