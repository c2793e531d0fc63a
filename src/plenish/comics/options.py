"""What is asked of the composer; known without torch."""

from __future__ import annotations

import dataclasses

from plenish.configuration import check_fields, option


@dataclasses.dataclass(frozen=True)
class ComicOptions:
    """How pages are drawn.

    Attributes:
        only: draw this page alone; the first is 1.
        detector: a detector of faces, which balloons do not cover: anime-face (plenish[anime]), or one that
            another package registers.
        pixelated: enlarge pictures without smoothing, as for sprites.
    """

    only: int | None = option(None, least=1)
    detector: str | None = None
    pixelated: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "")
