"""Schedules of drawing and of doping, as they are typed.

A schedule is a list of levels with lengths: `4700x2 1000x2 realx3` is a level of 4700 for two epochs, one of
1000 for two and real images alone for three; `4700x60% realx40%` are shares of a training of given length;
`50%x60%` is a level of half the images of the largest class, or, of drawing, of half of all images. A
schedule of several levels ends on the natural distribution, so that no classifier ends on another than the
one it meets.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from plenish.errors import InputError

Scheduled = Literal["doping", "drawing"]
"""Options that are schedules."""
NATURAL: Mapping[Scheduled, str] = {"doping": "real", "drawing": "natural"}
"""The word for a schedule's level without any change, by option."""
NAMED: Mapping[Scheduled, Mapping[str, tuple[str, ...]]] = {
    "doping": {
        "decaying": ("100%x20%", "75%x20%", "50%x20%", "25%x20%", "realx20%"),
        "ham10000-1": ("2000x2", "1000x2", "750x2", "500x2", "250x2", "realx2"),
        "ham10000-2": ("4700x2", "4000x2", "3000x2", "2000x2", "1000x2", "500x2", "realx3"),
    },
    "drawing": {
        "ham10000": ("35000x2", "25000x2", "15000x2", "12000x2", "naturalx2"),
        "ham10000-50": ("35000x4", "25000x4", "15000x4", "12000x6", "naturalx32"),
    },
}
"""Schedules by option and name: those of a published study of HAM10000, and one for any data and length."""
_EXAMPLE: Mapping[Scheduled, str] = {"doping": "ham10000-1", "drawing": "ham10000"}
_STAGE = re.compile(r"(?P<level>\d{1,9}%?|[a-z]+)(x(?P<length>\d{1,6}(\.\d{1,3})?)(?P<share>%)?)?")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A level of a schedule.

    Attributes:
        level: draws of an epoch, or images of each class; 0 for the images as they are.
        length: epochs, or percent of the training; None for all of it.
        relative: whether the level is in percent of all images, or of those of the largest class.
        share: whether the length is in percent.
    """

    level: int
    length: float | None
    relative: bool = False
    share: bool = False

    def count(self, whole: int) -> int:
        """The level in images, where a relative one is of `whole` images."""
        return max(1, round(self.level * whole / 100)) if self.relative else self.level

    def typed(self, option: Scheduled) -> str:
        """The level as it is typed."""
        return f"{self.level}{'%' * self.relative}" if self.level else NATURAL[option]


@functools.cache
def parse_schedule(name: Scheduled, words: tuple[str, ...]) -> list[Stage]:
    """The levels of a schedule; `DrawingOptions.stages` says what is refused.

    Args:
        name: the option that it belongs to.
        words: levels with lengths, or one name of a schedule.
    """
    named, natural = NAMED[name], NATURAL[name]
    if len(words) == 1 and words[0] in named:
        words = named[words[0]]
    found = []
    for word in words:
        match = _STAGE.fullmatch(word)
        if match is None or not (match["level"][0].isdigit() or match["level"] == natural):
            raise InputError(
                f"--{name} does not know '{word}'; give levels with lengths in epochs, such as "
                f"{' '.join(named[_EXAMPLE[name]])}, or one of {', '.join(named)}."
            )
        if match["level"].rstrip("%").strip("0") == "":
            raise InputError(f"--{name} {word} draws nothing; give {natural} for the images as they are.")
        found.append(match)
    if len(found) > 1:
        _check_several(name, found)
    elif found[0]["share"] or (found[0]["length"] and found[0]["level"] != natural):
        raise InputError(
            f"--{name} {words[0]} is one level alone; leave its length out to have it all the time, or end "
            f"with {natural}, such as {natural}x40%."
        )
    return [
        Stage(
            0 if match["level"] == natural else int(match["level"].rstrip("%")),
            None if match["length"] is None else float(match["length"]),
            relative=match["level"].endswith("%"),
            share=bool(match["share"]),
        )
        for match in found
    ]


def _check_several(name: Scheduled, found: Sequence[re.Match[str]]) -> None:
    natural = NATURAL[name]
    if any(not float(match["length"] or 0) for match in found):
        raise InputError(f"Every level of --{name} needs a length above 0, such as {natural}x2.")
    if len({bool(match["share"]) for match in found}) > 1:
        raise InputError(f"The lengths of --{name} are all epochs or all shares, such as {natural}x40%.")
    total = sum(float(match["length"]) for match in found)
    if found[0]["share"] and not math.isclose(total, 100, abs_tol=0.5):
        raise InputError(f"The shares of --{name} add up to {total:g}%, not to 100%.")
    if found[-1]["level"] != natural:
        raise InputError(
            f"--{name} must end with {natural}, such as {natural}x2, so that the classifier ends on the "
            "distribution of the real images."
        )
