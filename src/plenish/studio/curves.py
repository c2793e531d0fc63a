"""Curves of Runs for the studio: drawn once for each state of a log and language, by one thread at a time."""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from plenish.report import figures
from plenish.report.chart_canvas import SERIES, Chart
from plenish.report.training import GROUPS, training_charts
from plenish.runs import Run
from plenish.studio.wordbook import Words

MOST_RUNS = len(SERIES)
_KEPT = 64


class Curves:
    """Charts in memory, shared by all users; matplotlib's settings are global, so one is drawn at a time."""

    def __init__(self) -> None:
        """Start without any."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], list[Chart]] = OrderedDict()

    def of(self, words: Words, runs: Mapping[str, Run]) -> list[Chart]:
        """The curves of one Run, or those of several over each other.

        Args:
            words: the texts.
            runs: Runs by the name they are drawn with, at most `MOST_RUNS`.
        """
        logs = ((name, str(run.path), _size(run.path / "metrics.jsonl")) for name, run in runs.items())
        key = (words.language, *logs)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._draw(words, runs)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]

    def _draw(self, words: Words, runs: Mapping[str, Run]) -> list[Chart]:
        tables = {name: run.metrics() for name, run in runs.items()}
        if len(tables) == 1:
            return training_charts(next(iter(tables.values())), functools.partial(_drawn, words))
        return compared(tables, functools.partial(_drawn, words, names=True))


def _drawn(words: Words, title: str, series: Mapping[str, Any], names: bool = False, **how: Any) -> Chart:
    """A chart in a language; `names` says that its lines are called after Runs."""
    said = {label if names else quantity(words, label): line for label, line in series.items()}
    return figures.curves(
        quantity(words, title), said, x_label=words("curves.kimg"), ends=words("curves.ends"), **how
    )


def quantity(words: Words, text: str) -> str:
    """What the report calls a quantity, in a language; what only a user's own log has stays as it is."""
    texts, (head, colon, tail) = words.section("curves"), text.partition(": ")
    if not colon:
        return texts.get(_key(text), text)
    is_layer = head in ("first", "middle", "last")  # Behind it stands the name of a layer.
    return f"{texts.get(_key(head), head)}: {tail if is_layer else texts.get(_key(tail), tail)}"


def _key(text: str) -> str:
    return "curves." + re.sub(r"\W+", "_", text.lower()).strip("_")


def compared(
    tables: Mapping[str, pd.DataFrame], curves: Callable[..., Chart] = figures.curves
) -> list[Chart]:
    """A chart for each quantity that at least one Run logged twice, with a line for each Run.

    Args:
        tables: metrics.jsonl as a table, by the name of the Run.
        curves: what draws a chart.
    """
    charts = []
    for group in GROUPS:
        for key, label in group.labels.items():
            lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
            for name, table in tables.items():
                if {"kimg", key} <= set(table):
                    line = table[["kimg", key]].apply(pd.to_numeric, errors="coerce").dropna()
                    if len(line) > 1:
                        lines[name] = (line["kimg"].tolist(), line[key].tolist())
            if lines:
                title = group.title if len(group.labels) == 1 else f"{group.title}: {label}"
                limits = (-0.03, 1.03) if group.share else None
                charts.append(curves(title, lines, limits=limits, markers=group.markers))
    return charts


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
