"""What a study found, as the terminal shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.metrics.caveats import describe
from plenish.metrics.words import with_interval
from plenish.study.words import METRIC_NAMES, PRIMARY_METRIC, find_row, study_verdict


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        path: its folder.
        content: what study.json holds.
        report: its report, where one was written.
    """

    path: Path
    content: Mapping[str, Any]
    report: Path | None = None

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        return study_verdict(self.content)

    def summary(self) -> dict[str, Any]:
        """The answer, a row per arm, and what limits it."""
        return {
            "verdict": self.verdict, "arms": [self._shown(arm) for arm in self.content["arms"]],
            "caveats": describe(self.content["caveats"]), "study": str(self.path),
            "report": str(self.report) if self.report else None,
        }  # fmt: skip

    def _shown(self, arm: str) -> dict[str, str]:
        """Metrics of an arm with their intervals, and how it compares with `real`."""
        shown = {"arm": arm}
        for metric in METRIC_NAMES:
            row = find_row(self.content["summary"], metric, arm=arm)
            shown[metric] = with_interval(row["mean"], row["low"], row["high"], ".3f")
        row = find_row(self.content["differences"], arm=arm)
        if row:
            shown["against_real"] = with_interval(row["mean"], row["low"], row["high"], "+.3f")
            shown["verdict"] = find_row(self.content["verdicts"], arm=arm)["verdict"]
        return shown

    def __rich__(self) -> Any:
        """The same for a terminal."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        shown = self.summary()
        table = Table(title=METRIC_NAMES[PRIMARY_METRIC], title_justify="left")
        for column in ("arm", "mean and interval", "against real", "verdict"):
            table.add_column(column)
        for row in shown["arms"]:
            cells = (row.get(key, "") for key in ("arm", PRIMARY_METRIC, "against_real", "verdict"))
            table.add_row(*map(escape, cells))
        limits = [f"• {escape(text)}" for text in shown["caveats"]]
        place = f"{self.path}/study.json" + (f" and {self.report}" if self.report else "")
        return Group(escape(self.verdict), table, *limits, escape(place))
