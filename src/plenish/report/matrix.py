"""A square table of numbers as a chart: rows are what images are, columns what they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from plenish.metrics.words import number
from plenish.report.figures import WIDTH, Chart, canvas, chart, colour, shorten

_MOST_NUMBERS = 12


def matrix(
    title: str, names: Sequence[str], values: ArrayLike, *, x_label: str = "", y_label: str = "",
    caption: str = "",
) -> Chart:  # fmt: skip
    """Numbers K×K as shades, each row on a scale of its own, with the numbers where they fit.

    Args:
        title: what is drawn.
        names: K names of rows and columns.
        values: K×K; what is not finite stays empty.
        x_label: what the columns are.
        y_label: what the rows are.
        caption: a sentence under the chart.
    """
    from matplotlib.patches import Rectangle

    numbers = np.asarray(values, float)
    k = len(names)
    whole = bool(np.array_equal(numbers, np.round(numbers)))
    side = min(WIDTH + 0.6, 1.4 + 0.62 * k)
    with canvas(side, side) as (figure, axes):
        low, high = np.nanmin(numbers, axis=1, keepdims=True), np.nanmax(numbers, axis=1, keepdims=True)
        shade = (numbers - low) / np.where(high > low, high - low, 1)
        for t, p in np.argwhere(np.isfinite(numbers)).tolist():
            look: Any = {"color": colour("real"), "alpha": float(0.06 + 0.5 * shade[t, p])}
            axes.add_patch(Rectangle((p - 0.47, t - 0.47), 0.94, 0.94, linewidth=0, **look))
            if k <= _MOST_NUMBERS:
                value = float(numbers[t, p])
                text = f"{value:,.0f}" if whole else number(value, 2 if k > 4 else 3)
                axes.text(
                    p, t, text, ha="center", va="center", color=colour("ink"), fontsize=7 if k > 5 else 9,
                    fontweight="bold" if t == p else "normal",
                )  # fmt: skip
        short = [shorten(name, 9) for name in names]
        axes.set_xticks(range(k), short, rotation=45 if max(map(len, short)) > 5 and k > 3 else 0)
        axes.set_yticks(range(k), short)
        axes.set(xlim=(-0.55, k - 0.45), ylim=(k - 0.45, -0.55), xlabel=x_label, ylabel=y_label)
        axes.grid(visible=False)
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        rows = [
            f"{name}: " + ", ".join(number(float(value)) for value in row)
            for name, row in zip(names, numbers)
        ]
        return chart(figure, title, f"by row, {'; '.join(rows)}", caption)
