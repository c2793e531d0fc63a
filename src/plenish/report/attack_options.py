"""Which classifier `plenish attack` opens, and what is asked of it; known without torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.configuration import check_bounds, option, option_name
from plenish.errors import InputError
from plenish.robustness.radius import format_eps, measured_eps, parse_eps


@dataclasses.dataclass(frozen=True)
class AttackOptions:
    """The classifier, where it is not a Run, and the least accuracy under attack.

    Attributes:
        weights: of timm:NAME: a file of weights that were trained on the classes of the data.
        mean: of another classifier than a Run: what is subtracted from images in [0, 1], one number or one a
            channel; by default what timm knows of a network, else 0.
        std: of another classifier than a Run: by which they are then divided; by default as --mean, else 1.
        perturber: a Run of 'train advgan': its perturbations are one more attack, scaled to each eps.
        fail_under: end with exit code 3 where the worst case leaves a smaller share of right answers.
        at: the eps that --fail-under and the headline are about, one of --eps; by default the largest.
    """

    weights: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    perturber: Path | None = None
    fail_under: float | None = option(least=0, most=1)
    at: float | str | None = None

    def __post_init__(self) -> None:
        check_bounds(option_name("fail_under"), self.fail_under, {"least": 0, "most": 1})
        if self.at is not None:
            object.__setattr__(self, "at", parse_eps(self.at, "--at"))

    def chosen(self, grid: tuple[float, ...], norm: str) -> float:
        """The eps of the grid that --at names, or the largest; InputError where it names another."""
        if self.at is None:
            return max(grid)
        try:
            return measured_eps(self.at, grid, norm)
        except InputError as error:
            at = format_eps(parse_eps(self.at), norm)
            raise InputError(
                f"--at {at} is not among --eps; add it there, or name one of them.", code=error.code, value=at
            ) from None
