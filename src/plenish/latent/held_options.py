"""Options of edits that hold classes and columns along the way. Needs no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.configuration import check_fields, option


@dataclasses.dataclass(frozen=True)
class HeldOptions:
    """What stays as it is in each image while concepts are added.

    Attributes:
        keep_class: Runs of classifiers: each image goes its own way, on which their log-odds for its class
            stay as they were.
        keep_columns: columns of --keep-from that stay too, as a network reads them off the image.
        keep_from: a real Dataset with these columns.
        keep_split: its split.
        keep_step: greatest strength that is added at once on that way.
    """

    keep_class: list[Path] | None = None
    keep_columns: list[str] | None = None
    keep_from: Path | None = None
    keep_split: str = "default"
    keep_step: float = option(0.25, above=0, most=10)

    def __post_init__(self) -> None:
        check_fields(self, "")
