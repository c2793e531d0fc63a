"""Figures of an attack: accuracy over eps and steps, recall of each class, corruptions, changed images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish.metrics.words import number, percent
from plenish.report import figures
from plenish.report.attack_words import triple, worst_at
from plenish.report.chart_canvas import SERIES, WIDE, Chart, canvas, chart, colour, shorten
from plenish.report.pictures import Picture, sheet
from plenish.robustness.evaluation_config import EXAMPLES, GALLERY
from plenish.robustness.radius import format_eps

Row = Mapping[str, Any]
_MOST_TICKS = 9
_NO_NUMBER = "no number"
"""The answer of a classifier whose largest logit is not finite."""
_LOOKS = [(role, style) for style in ("--", ":", "-.") for role in SERIES]
"""Colour and line of each attack's curve; the worst case is a whole line in ink."""
_TILE = 104
"""Pixels an image of the gallery is about wide."""


def eps_curve(content: Row) -> Chart:
    """Accuracy over eps: the worst case with its interval, and what each attack leaves alone."""
    norm = content["threat"]["norm"]
    unit = 255.0 if norm == "linf" else 1.0
    rows = sorted(content["worst_case"], key=lambda row: float(row["eps"]))
    grid = sorted({float(row["eps"]) for row in rows})
    series = {attack["name"]: _by_eps(attack["results"]) for attack in content["attacks"]}
    with canvas(WIDE, 3.3) as (figure, axes):
        x = np.array([row["eps"] * unit for row in rows])
        worst = np.array([row["accuracy"] for row in rows], float)  # NaN where there is no interval.
        ink = colour("ink")
        axes.fill_between(x, worst[:, 1], worst[:, 2], color=ink, alpha=0.13, linewidth=0)
        for i, (name, (at, share)) in enumerate(series.items()):
            role, style = _LOOKS[i % len(_LOOKS)]
            axes.plot(
                at * unit, share, style, color=colour(role), label=shorten(name, 22),
                linewidth=1.4, marker="os^D"[i // 4 % 4], markersize=3.5,
            )  # fmt: skip
        axes.plot(x, worst[:, 0], "-", color=ink, linewidth=2.3, label="worst case", marker="o", markersize=4)
        chance = 1 / len(content["classifier"]["classes"])
        axes.axhline(chance, color=colour("muted"), linestyle=":", linewidth=1)
        positive = [eps for eps in grid if eps > 0]
        if len(positive) > 2:  # Grids double: 0.5, 1, 2, 4 …; below the first it is straight, down to 0.
            axes.set_xscale("symlog", base=2, linthresh=positive[0] * unit)
            axes.set_xlim(left=-0.1 * positive[0] * unit)  # Its own margin is several radii wide.
        shown = [grid[i] for i in _spread(len(grid), _MOST_TICKS)]
        axes.set_xticks([eps * unit for eps in shown], [f"{eps * unit:.3g}" for eps in shown])
        axes.minorticks_off()
        axes.set(xlabel="eps, in units of 1/255" if norm == "linf" else "eps, Euclidean", ylim=(-0.03, 1.03))
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[-1:] + handles[:-1], labels[-1:] + labels[:-1], loc="outside upper left", ncols=4,
            frameon=False, handlelength=2.2, columnspacing=1.2, borderaxespad=0.1,
        )  # fmt: skip
        said = "; ".join(f"{format_eps(r['eps'], norm)}: {triple(r['accuracy'])}" for r in rows)
        return chart(
            figure, "Right answers over eps", f"worst case {said}",
            "Band: interval of the worst case. Dotted across: guessing among equally frequent classes.",
        )  # fmt: skip


def _by_eps(results: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = sorted(results, key=lambda row: float(row["eps"]))
    return np.array([r["eps"] for r in rows], float), np.array([r["accuracy"] for r in rows], float)


def _spread(n: int, most: int) -> list[int]:
    """At most `most` of n places, the last among them, evenly apart."""
    step = -(-n // most)
    return list(range(n - 1, -1, -step))[::-1]


def convergence_charts(found: Row) -> list[Chart]:
    """What a longer PGD still finds: accuracy and loss over steps."""
    steps = found["iterations"]
    how: dict[str, Any] = {"x_label": "steps of PGD", "markers": len(steps) < 30}
    made = [
        figures.curves(
            "Right answers by number of steps", {"PGD": (steps, found["accuracy"])}, limits=(-0.03, 1.03),
            **how,
        )
    ]  # fmt: skip
    if found.get("loss"):
        made.append(figures.curves("Loss by number of steps", {"PGD": (steps, found["loss"])}, **how))
    return made


def recall_chart(content: Row, eps: float) -> Chart:
    """Recall of each class under the worst case at an eps, and without an attack where the grid has eps 0."""
    clean = worst_at(content, 0.0)
    before = clean["per_class"] if clean["eps"] == 0 else {}
    rows = [
        {
            "label": name, "value": value, "low": low, "high": high, "role": "synthetic",
            "baseline": before.get(name, [None])[0],
        }
        for name, (value, low, high) in worst_at(content, eps)["per_class"].items()
    ]  # fmt: skip
    at = format_eps(eps, content["threat"]["norm"])
    made = figures.intervals(
        f"Share of each class still found at eps {at}", rows, limits=(-0.02, 1.02), width=WIDE,
        shares=True,
    )  # fmt: skip
    return dataclasses.replace(
        made, caption="Hollow: without an attack. Dots: the worst case over all attacks, with its interval."
    )


def corruption_chart(content: Row) -> Chart:
    """Accuracy under each corruption: the middle severity with its interval, all of them as points."""
    kinds: dict[str, dict[int, Sequence[float]]] = {}
    for row in content["corruptions"]:
        kinds.setdefault(row["name"], {})[row["severity"]] = row["accuracy"]
    clean = content["clean"]["accuracy"][0]
    rows = []
    for name, by in kinds.items():
        middle = sorted(by)[len(by) // 2]
        value, low, high = by[middle]
        rows.append(
            {
                "label": name.replace("-", " "), "value": value, "low": low, "high": high, "baseline": clean,
                "points": [by[severity][0] for severity in sorted(by)],
            }
        )  # fmt: skip
    made = figures.intervals(
        "Right answers under corruptions", rows, limits=(-0.02, 1.02), width=WIDE, shares=True
    )
    caption = "Hollow: without. Dots: the middle severity, with its interval; small ones: each severity."
    return dataclasses.replace(made, caption=caption)


def gallery(folder: Path, content: Row, most: int = 12) -> list[Picture]:
    """Originals, their adversarial images and the amplified difference, side by side.

    The difference is scaled so that a change by eps (in the L2 norm, the largest change of the image) is
    black or white, and no change is grey.

    Args:
        folder: made by the attack, with gallery.npz and examples.parquet.
        content: its attack.json.
        most: images to show.
    """
    if not (folder / GALLERY).is_file():
        return []
    table = pd.read_parquet(folder / EXAMPLES)
    norm = content["threat"]["norm"]
    made = []
    with np.load(folder / GALLERY) as kept:
        parts = [kept[name] for name in ("originals", "adversarial", "rows", "eps", "attack")]
    for original, changed, row, eps, attack in list(zip(*parts, strict=True))[:most]:
        before = original.astype(np.float64) / 255
        change = changed.astype(np.float64) - before
        scale = float(eps) if norm == "linf" else float(np.abs(change).max())
        shown = np.clip(0.5 + change / (2 * max(scale, 1e-9)), 0, 1)
        three = [original, *(np.rint(255 * x).astype(np.uint8) for x in (np.clip(changed, 0, 1), shown))]
        example = table.iloc[int(row)]
        before_and_after = (example["prediction"], example["adversarial_prediction"])
        words = " → ".join(_NO_NUMBER if name is None else str(name) for name in before_and_after)
        at = f"eps {format_eps(float(eps), norm)}, {attack}"
        # How far the image itself moved, beside how far it might have.
        largest = percent(float(np.abs(change).max()), ".2g")
        made.append(
            sheet(
                np.stack(three), f"{example['id']}: original, adversarial, difference; {words}; {at}",
                columns=3, tile=_TILE,
                caption=f"{words} · {at} · largest change {largest} · difference × "
                f"{number(0.5 / max(scale, 1e-9), 2)}",
            )
        )  # fmt: skip
    return made
