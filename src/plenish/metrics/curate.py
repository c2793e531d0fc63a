"""The options of `plenish curate`, and what the terminal shows of it; nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plenish.configuration import option


@dataclass(frozen=True)
class CurateConfig:
    """The steps of a curation.

    Attributes:
        where: a condition that images must meet, such as "tags any(1girl, solo) and width >= 256". Of several
            all must be met; conditions come first, wherever they stand.
        drop: what to drop, one or several, in this order: bands:horizontal (or vertical, frame, blank, any;
            then a tolerance in grey levels, as in bands:any:10), duplicates, near-duplicates, blurry, dark,
            bright, low-contrast, wrong-mode, odd-size, odd-aspect, outliers, label-errors, where:CONDITION.
            A threshold may follow, as in blurry:0.3; without one it follows the corpus.
        keep_clusters: keep near-duplicates, with a column near_duplicates that names their cluster; clusters
            that lie in several parts of a split go to train.
        name: name of the new Dataset; by default the old one's.
        seed: seed of the networks that outliers and label-errors fit.
    """

    where: tuple[str, ...] = option((), adds=True)
    drop: tuple[str, ...] = option((), adds=True)
    keep_clusters: bool = False
    name: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Curated:
    """What a curation did.

    Attributes:
        path: the new Dataset.
        name: of the curated one.
        steps: the funnel, a row a step.
        made: whether it was written, or only tried.
    """

    path: Path
    name: str
    steps: Sequence[Mapping[str, Any]]
    made: bool

    def summary(self) -> dict[str, Any]:
        """The funnel; JSON-able."""
        facts: dict[str, Any] = {
            "dataset": self.name, "images": self.steps[0]["after"], "left": self.steps[-1]["after"],
            "funnel": [dict(row) for row in self.steps],
        }  # fmt: skip
        if not self.made:
            return facts | {"dry_run": "nothing was written"}
        return facts | {"out": str(self.path), "report": str(self.path / "curate.html")}

    def shown(self) -> dict[str, Any]:
        """The same with the funnel as people read it."""
        return self.summary() | {"funnel": funnel_rows(self.steps)}


def funnel_rows(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The funnel as rows of text."""
    total = max(1, int(steps[0]["before"]))
    return [
        {
            "step": str(row["step"]), "dropped": f"{row['dropped']:,}", "left": f"{row['after']:,}",
            "of all": f"{row['after'] / total:.1%}", "used": words_of(row["parameters"]),
            "seconds": f"{row['seconds']:.1f}",
        }
        for row in steps
    ]  # fmt: skip


def words_of(parameters: Mapping[str, Any]) -> str:
    """What a step used, in words."""
    return ", ".join(
        f"{key.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for key, value in parameters.items()
        if value is not False and key != "condition"
    )
