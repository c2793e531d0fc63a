"""What is asked of a comparison; known without torch."""

from __future__ import annotations

import dataclasses

from plenish.configuration import check_fields, option


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """How generators are compared.

    Attributes:
        images: images of each Run, and real ones, in a row.
        times: moments of each training that are shown at most.
        seed: of the first image; the others follow, and are the same for all Runs.
        checkpoint: `best` on the val part, or `last`.
    """

    images: int = option(10, least=2, most=40)
    times: int = option(8, least=2, most=24)
    seed: int = option(0, least=0)
    checkpoint: str = option("best", choices=("best", "last"))

    def __post_init__(self) -> None:
        check_fields(self, "")
