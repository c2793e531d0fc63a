"""What the report's charts are drawn on: figures of matplotlib, as inline SVG that follows the page's theme.

Every chart is about 340 CSS pixels wide so that the page can lay them side by side on a desk and one below
the other on a phone with the text still readable. Colours are given by *role*; each role is drawn in a
sentinel colour which is then replaced by a CSS variable, so that one picture serves the light page, the dark
page and the printer. The palette is Okabe and Ito's (2008), told apart by people with the common
colour-vision deficiencies; shapes and line styles repeat what the colours say.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import markupsafe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# role -> (sentinel drawn by matplotlib, colour outside the page); the page's own colours are in style.css.j2
ROLES: dict[str, tuple[str, str]] = {
    "ink": ("#010a01", "#1c2733"),
    "muted": ("#010a02", "#5b6875"),
    "grid": ("#010a03", "#dfe4e8"),
    "paper": ("#010a04", "#ffffff"),
    "real": ("#010a05", "#0072b2"),
    "synthetic": ("#010a06", "#d55e00"),
    "third": ("#010a07", "#009e73"),
    "fourth": ("#010a08", "#a8578a"),
    "helps": ("#010a09", "#00785a"),
    "hurts": ("#010a0a", "#c04d00"),
    "neutral": ("#010a0b", "#6a7783"),
}
SERIES = ("real", "synthetic", "third", "fourth")
STYLES = ("-", "--", "-.", ":")
WIDTH = 3.55  # inches at 96 pixels an inch
WIDE = 5.6
"""Of a chart that has the width to itself; still readable on a phone."""


@dataclass(frozen=True)
class Chart:
    """A picture with its words: `title` and `caption` go beside it, `alt` is read aloud, `svg` is markup."""

    title: str
    svg: str
    alt: str
    caption: str = ""


def colour(role: str) -> str:
    """The sentinel colour in which matplotlib draws a role."""
    return ROLES[role][0]


def shorten(text: str, length: int = 22) -> str:
    """`text` on one line, cut in the middle to at most `length` characters: both ends stay readable."""
    text = " ".join(str(text).split())
    if len(text) <= length:
        return text
    head = length // 2
    return text[:head] + "…" + text[len(text) - (length - 1 - head) :]


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure in the report's style: no settings of the user's matplotlib, and no mathtext in their labels.

    Axes have few ticks with labels by `tick`, where matplotlib's own would use an offset or mathtext.
    """
    import matplotlib.style
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "axes.labelsize": 9.5,
        "xtick.labelsize": 9.0,
        "ytick.labelsize": 9.0,
        "legend.fontsize": 9.0,
        "text.color": colour("ink"),
        "axes.labelcolor": colour("muted"),
        "axes.edgecolor": colour("grid"),
        "xtick.color": colour("muted"),
        "ytick.color": colour("ink"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": colour("grid"),
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.7,
        "lines.solid_capstyle": "round",
        "figure.dpi": 96,
    }
    # Glyphs that the measuring font lacks, which it warns of, are drawn by the browser's fonts.
    with matplotlib.style.context(style, after_reset=True), warnings.catch_warnings(action="ignore"):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.tick_params(length=0)
        axes.locator_params("x", nbins=4)
        axes.locator_params("y", nbins=5)
        axes.xaxis.set_major_formatter(tick)
        axes.yaxis.set_major_formatter(tick)
        yield figure, axes


def chart(figure: Figure, title: str, shown: str, caption: str = "") -> Chart:
    """A drawn figure as an `<svg>` element: roles become CSS variables, fonts the page's, ids unique.

    Args:
        figure: a `canvas`, which is still open.
        title: what is drawn.
        shown: what it shows, for `alt`.
        caption: a sentence under the chart.
    """
    import matplotlib

    alt = f"{title}: {shown}."
    matplotlib.rcParams["svg.hashsalt"] = sha256(alt.encode()).hexdigest()[:12]
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = re.sub(r'<g id="[^"]*"', "<g", buffer.getvalue())  # never referred to, the same in every figure
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    for role, (sentinel, fallback) in ROLES.items():
        svg = svg.replace(sentinel, f"var(--{role}, {fallback})")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    rest = svg.split("<svg", 1)[1].split(">", 1)[1]
    svg = f'<svg {spaces} {box[0]} role="img" aria-label="{markupsafe.escape(alt)}">{rest}'
    return Chart(title, svg, alt, caption)


def tick(value: float, _position: float = 0) -> str:
    """A number under an axis."""
    return f"{value:,.6g}".replace("-", "−")
