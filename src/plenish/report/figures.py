"""Charts of the report: small multiples, intervals, histograms and matrices, drawn on `chart_canvas`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.metrics.words import interval, number, with_interval
from plenish.report.chart_canvas import (
    SERIES,
    STYLES,
    WIDE,
    WIDTH,
    Chart,
    canvas,
    chart,
    colour,
    shorten,
    tick,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERS = 12  # a side of a matrix, so that they can be read


def _percent(value: float, spec: str) -> str:
    """A share as a tick in percent, or a difference of shares (with a sign) in points."""
    shown = round(100 * value, 6) or 0.0
    text = format(shown, spec if shown else "g").replace("-", "−")
    return text if "+" in spec else f"{text} %"


def thin(x: ArrayLike, y: ArrayLike, points: int = 90) -> tuple[NDArray[Any], ...]:
    """A series as at most `points` bins: mean x, mean y, least and largest y of each (all length n)."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    good = np.flatnonzero(np.isfinite(xs) & np.isfinite(ys))
    order = good[np.argsort(xs[good], kind="stable")]
    bins = [each for each in np.array_split(order, points) if len(each)]
    reduced = ((np.mean, xs), (np.mean, ys), (np.min, ys), (np.max, ys))
    return tuple(np.array([of(values[each]) for each in bins]) for of, values in reduced)


def curves(
    title: str, series: Mapping[str, tuple[ArrayLike, ArrayLike]], *,
    x_label: str = "thousand real images shown (kimg)", limits: tuple[float, float] | None = None,
    level: float | None = None, markers: bool = False, log: bool = False, caption: str = "",
    ends: str = "{label} from {first} to {last}",
) -> Chart:  # fmt: skip
    """Lines over training: each series is (x, y); the pale band is the range within each bin.

    Args:
        title: What is drawn.
        series: Legend label → (x, y), equal lengths; values that are not finite are skipped.
        x_label: Words under the axis.
        limits: Fixed range of y.
        level: A dotted horizontal line, e.g. chance.
        markers: Mark every point (for values measured only now and then).
        log: Logarithmic y, for values of several magnitudes; those of 0 and less are left out.
        caption: A sentence under the chart.
        ends: What is read aloud of each line.
    """
    with canvas(WIDTH, 2.25) as (figure, axes):
        said = []
        for i, (label, (x, y)) in enumerate(series.items()):
            if log:
                x, y = np.asarray(x, float), np.asarray(y, float)
                x, y = x[y > 0], y[y > 0]
            mean_x, mean_y, low, high = thin(x, y)
            if len(mean_x) == 0:
                continue
            role = SERIES[i % len(SERIES)]
            if np.any(high > low):
                axes.fill_between(mean_x, low, high, color=colour(role), alpha=0.16, linewidth=0)
            mark = "o" if markers or len(mean_x) == 1 else ""
            look: Any = {"color": colour(role), "marker": mark, "markersize": 4}
            axes.plot(mean_x, mean_y, STYLES[i % 4], label=shorten(label, 26), **look)
            first, last = (number(float(mean_y[i])) for i in (0, -1))
            said.append(ends.format(label=label, first=first, last=last))
        if level is not None:
            axes.axhline(level, color=colour("muted"), linestyle=":", linewidth=1)
        if limits:
            axes.set_ylim(*limits)
        axes.set_xlabel(x_label)
        if log:
            axes.set_yscale("log")
            axes.locator_params("y", subs=(1.0, 3.0), numticks=7)
            axes.yaxis.set_major_formatter(tick)
            axes.minorticks_off()
        axes.grid(axis="x", visible=False)
        if len(series) > 1:
            _legend(figure, 3 if max(map(len, series)) < 12 else 2)
        return chart(figure, title, "; ".join(said), caption)


def responses(
    title: str, series: Mapping[str, Sequence[Mapping[str, Any]]], *, x_label: str, y_label: str = ""
) -> Chart:
    """Values with their intervals over a dose, joined by a line for each series.

    Args:
        title: What is drawn.
        series: Legend label → rows in rising order with `dose`, `value`, and `low` and `high`, None where
            there is no interval.
        x_label: Words under the axis.
        y_label: Words beside it.
    """
    with canvas(WIDE, 2.6) as (figure, axes):
        said = []
        for i, (label, rows) in enumerate(series.items()):
            shade = colour(SERIES[i % len(SERIES)])
            shift = 1 + 0.015 * (i - (len(series) - 1) / 2)  # So that intervals of one dose stay apart.
            x = [row["dose"] * shift for row in rows]
            line: Any = {"color": shade, "marker": "o", "markersize": 5, "label": shorten(label, 26)}
            axes.plot(x, [row["value"] for row in rows], STYLES[i % 4], **line)
            for at, row in zip(x, rows):
                if row["low"] is not None and row["high"] is not None:
                    axes.plot([at, at], [row["low"], row["high"]], "-", color=shade, linewidth=1.6)
                shown = interval(row)
                said.append(f"{label} at {number(row['dose'])}: {shown}".removeprefix(" at "))
        axes.axhline(0, color=colour("ink"), linewidth=1)
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.set_xlim(left=0)
        if len(series) > 1:
            _legend(figure, 3)
        return chart(figure, title, "; ".join(said))


def _legend(figure: Figure, columns: int) -> None:
    spacing: Any = {"handlelength": 1.8, "columnspacing": 1.3, "borderaxespad": 0.1}
    figure.legend(loc="outside upper left", ncols=columns, frameon=False, **spacing)


def intervals(
    title: str, rows: Sequence[Mapping[str, Any]], *, x_label: str = "", zero: bool = False,
    limits: tuple[float, float] | None = None, chance: float | None = None, width: float = WIDTH,
    shares: bool = False,
) -> Chart:  # fmt: skip
    """A forest plot: one row per entry with its interval, the points below it and its reference.

    Args:
        title: What is drawn.
        rows: Mappings with `label`, `value` and optionally `low`, `high`, `points` (single runs), `baseline`
            (drawn as a hollow diamond) and `role` (colour and marker of this row), and
            `verdict` where the marker is another.
        x_label: Words under the axis.
        zero: Draw the line of no difference.
        limits: Fixed range of x; without it, that of everything drawn.
        chance: What guessing reaches, as a dotted line.
        width: Inches.
        shares: The values are shares of 1, and the axis is in percent, or in points of their differences.
    """
    shapes = {"helps": "^", "hurts": "v", "equivalent": "s", "neutral": "o"}
    with canvas(width, 0.62 + 0.4 * max(len(rows), 1)) as (figure, axes):
        said = []
        for i, row in enumerate(rows):
            role = row.get("role", "synthetic")
            shade = colour(role)
            points = np.asarray(row.get("points") or [], float)
            if len(points):
                # Below the interval, in their order from the top, so that equal values stay visible.
                spread = np.linspace(0.2, 0.36, len(points)) if len(points) > 1 else np.full(1, 0.28)
                dots: Any = {"alpha": 0.55, "markersize": 4, "markeredgewidth": 0, "clip_on": False}
                axes.plot(points, i + spread, "o", color=shade, **dots)
            if row.get("baseline") is not None:
                hollow: Any = {"color": colour("real"), "markerfacecolor": "none", "clip_on": False}
                axes.plot([row["baseline"]], [i], "D", markersize=6.5, zorder=3, **hollow)
            low, high, value = row.get("low"), row.get("high"), row.get("value")
            if low is not None and high is not None:
                axes.plot([low, high], [i, i], "-", color=shade, linewidth=2.4, clip_on=False)
            if value is not None:
                filled: Any = {"color": shade, "markeredgecolor": colour("paper"), "clip_on": False}
                axes.plot(
                    [value], [i], shapes.get(row.get("verdict", role), "o"), markersize=7, zorder=4, **filled
                )
            said.append(f"{row['label']} {with_interval(value, low, high)}")
        if zero:
            axes.axvline(0, color=colour("ink"), linewidth=1)
        if chance is not None:
            axes.axvline(chance, color=colour("muted"), linestyle=":", linewidth=1.4)
            said.append(f"chance {number(chance)}")
        axes.set_yticks(range(len(rows)), [shorten(row["label"], 19) for row in rows])
        axes.set(ylim=(max(len(rows), 1) - 0.45, -0.55), xlabel=x_label)
        if limits:
            axes.set_xlim(*limits)
        if shares:
            spec = "+.3g" if zero else ".3g"
            axes.locator_params("x", nbins=6)
            axes.xaxis.set_major_formatter(lambda x, _: _percent(x, spec))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        return chart(figure, title, "; ".join(said))


def histogram(
    title: str, edges: ArrayLike, counts: Mapping[str, ArrayLike], *, threshold: float | None = None,
    x_label: str = "", log: bool = False,
) -> Chart:  # fmt: skip
    """Histograms over the same edges, as shares of each (the first in the colour of real).

    Args:
        title: What is drawn.
        edges: n+1 rising edges.
        counts: Legend label → n counts; each is normalised to sum to 1.
        threshold: Where to draw a dashed line.
        x_label: Words under the axis.
        log: Logarithmic x.
    """
    edge = np.asarray(edges, float)
    with canvas(4.9, 2.5) as (figure, axes):
        for i, (label, values) in enumerate(counts.items()):
            share = np.asarray(values, float)
            share = share / max(share.sum(), 1e-12)
            role = SERIES[i % len(SERIES)]
            axes.stairs(share, edge, fill=True, color=colour(role), alpha=0.22)
            line: Any = {"color": colour(role), "linewidth": 1.6, "linestyle": STYLES[i % 4]}
            axes.stairs(share, edge, label=shorten(label, 40), **line)
        if threshold is not None:
            axes.axvline(threshold, color=colour("ink"), linestyle="--", linewidth=1.2, label="threshold")
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(tick)
            axes.minorticks_off()
        axes.set(xlabel=x_label, ylabel="share of images")
        axes.grid(axis="x", visible=False)
        if threshold is not None or len(counts) > 1:
            _legend(figure, 3)
        said = "" if threshold is None else f", threshold {number(threshold)}"
        return chart(figure, title, f"histograms of {', '.join(counts)}{said}")


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
