"""What became of every slide and tile: counted while a tiling runs, also over an interrupt, and summed up."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish import files
from plenish.slides.workers import BLURRED, PEN

COLUMNS = (
    "slide", "status", "tiles", "rejected", "blurred", "pen", "corrupt", "candidates", "positions", "level",
    "mpp", "slide_mpp", "mpp_source", "width", "height", "tissue_share", "reason",
)  # fmt: skip


@dataclasses.dataclass
class Ledger:
    """Counts by slide.

    Attributes:
        tiles: written, by slide and label.
        lost: rejected, by slide and kind (blurred, pen, corrupt).
        slides: rejected as a whole, with the reason.
        first: the first tile that could not be decoded, with the reason.
    """

    tiles: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    lost: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    slides: dict[str, str] = dataclasses.field(default_factory=dict)
    first: tuple[str, str] | None = None

    def tile(self, slide: str, label: str | None) -> None:
        """Count a written tile."""
        self.tiles.setdefault(slide, Counter())[label or ""] += 1

    def reject_tile(self, slide: str, source: str, reason: str) -> None:
        """Count a rejected one."""
        kind = "blurred" if reason.startswith(BLURRED) else "pen" if reason.startswith(PEN) else "corrupt"
        self.lost.setdefault(slide, Counter())[kind] += 1
        if kind == "corrupt" and self.first is None:
            self.first = source, reason

    def reject_slide(self, slide: str, reason: str) -> None:
        """Note a slide that could not be tiled."""
        self.slides[slide] = reason

    def take_up(self, partial: Path, sources: Mapping[str, str]) -> None:
        """Count what an earlier, interrupted try has finished.

        Args:
            partial: the unfinished Dataset.
            sources: slide by what rejected.csv calls it.
        """
        import pyarrow.parquet as pq

        for path in sorted((partial / "rows").glob("*.parquet")):
            table = pq.read_table(path, columns=["slide", "label"])
            for slide, label in zip(table.column("slide").to_pylist(), table.column("label").to_pylist()):
                self.tile(slide, label)
        for path in sorted((partial / "rows").glob("*.json")):
            for rejection in files.read_json(path)["rejections"]:
                source, reason = rejection["source"], rejection["detail"]["reason"]
                if source in sources:
                    self.reject_slide(sources[source], reason)
                else:
                    self.reject_tile(sources[source.rpartition("#")[0]], source, reason)

    def total(self, kind: str) -> int:
        """Rejected tiles of a kind, of all slides."""
        return sum(counts[kind] for counts in self.lost.values())

    def written(self) -> int:
        """Tiles written."""
        return sum(counts.total() for counts in self.tiles.values())

    def rows(
        self, plans: Sequence[tuple[str, Mapping[str, Any]]], labels: Sequence[str]
    ) -> list[dict[str, Any]]:
        """A row a slide, for the summary.

        Args:
            plans: name and facts of each slide, in order.
            labels: classes, each with a column of its own.
        """
        result = []
        for name, about in plans:
            lost = self.lost.get(name, Counter())
            written = self.tiles.get(name, Counter())
            row: dict[str, Any] = {column: about.get(column) for column in COLUMNS}
            row |= {
                "slide": name, "status": "rejected" if name in self.slides else "tiled",
                "tiles": written.total(), "rejected": lost.total(), "blurred": lost["blurred"],
                "pen": lost["pen"], "corrupt": lost["corrupt"], "reason": self.slides.get(name),
            }  # fmt: skip
            row |= {f"tiles_{label}": written[label] for label in labels}
            areas = about.get("annotated_mm2") or {}
            row |= {f"mm2_{label}": area for label, area in areas.items()}
            result.append(row)
        return result


def write_summary(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as a CSV table."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)


__all__ = ["COLUMNS", "Ledger", "write_summary"]
