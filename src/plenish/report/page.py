"""The page all reports share: its template, filled in."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import jinja2

from plenish._version import __version__
from plenish.report.blocks import Card, Section

INTENDED_USE = (
    "For research and teaching. Nothing in this report is a diagnosis or the output of a medical device, and "
    "no generated image may be used as one or be presented as a patient's."
)


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
