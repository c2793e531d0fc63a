"""Arms: what each classifier of a study is trained on, spelled as words joined by '+'."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from plenish.errors import InputError, unknown

DEFAULT_ARMS = ("real", "classical", "oversample", "real+synthetic", "synthetic")
KNOWN_ARMS = (
    *DEFAULT_ARMS, "real+synthetic@0.5", "real+synthetic+classical", "real+synthetic+oversample", "duplicate",
    "shuffled",
)  # fmt: skip
_WORDS = ("real", "synthetic", "shuffled", "duplicate", "classical", "oversample")
_DOSED = ("synthetic", "shuffled", "duplicate")
REFERENCE = "real"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        name: as the user spelled it.
        real: whether the real training images are among what it is trained on.
        synthetic: synthetic images for each real one.
        duplicate: copies of real images for each real one: a placebo that adds images but nothing new.
        shuffled: whether the synthetic images' labels are permuted: a placebo that adds pictures but no
            knowledge.
        classical: whether images are flipped, turned, shifted and changed in brightness and contrast.
        balanced: whether every class is drawn equally often.
    """

    name: str
    real: bool = True
    synthetic: float = 0.0
    duplicate: float = 0.0
    shuffled: bool = False
    classical: bool = False
    balanced: bool = False


def parse_arm(name: str, ratio: float = 1.0) -> Arm:
    """An arm from its name.

    Words: `real`, `synthetic`, `duplicate` (copies of real ones), `shuffled` (synthetic with permuted
    labels), `classical` (augmentation), `oversample` (classes drawn equally often). Alone, `synthetic` leaves
    the real images out; any other word alone includes them. `synthetic@0.5` sets the dose: synthetic images
    for each real one.

    Args:
        name: for example `real`, `classical`, `real+synthetic`, `real+synthetic@0.5+classical`.
        ratio: dose where the name states none.

    Raises:
        InputError: an unknown word (with the nearest arm), or a dose that is none.
    """
    words: dict[str, float] = {}
    for token in name.split("+"):
        word, at, dose = token.partition("@")
        if word not in _WORDS or word in words or (at and word not in _DOSED):
            raise unknown("arm", name, KNOWN_ARMS)
        words[word] = _dose(name, dose) if at else ratio
    if "synthetic" in words and "shuffled" in words:
        raise InputError(f"The arm '{name}' cannot have its synthetic images both as they are and shuffled.")
    return Arm(
        name,
        real="real" in words or "synthetic" not in words,
        synthetic=words.get("synthetic", words.get("shuffled", 0.0)),
        duplicate=words.get("duplicate", 0.0),
        shuffled="shuffled" in words,
        classical="classical" in words,
        balanced="oversample" in words,
    )


def _dose(name: str, text: str) -> float:
    try:
        dose = float(text)
    except ValueError:
        dose = math.nan
    if not 0 < dose <= 1000:
        raise InputError(f"The arm '{name}' needs a dose above 0 behind '@', such as real+synthetic@0.5.")
    return dose


def parse_arms(names: Sequence[str], ratio: float = 1.0) -> list[Arm]:
    """Arms from their names, `real` always first since all others are compared with it.

    Raises:
        InputError: no arm, or an unknown one.
    """
    if not names:
        raise InputError(f"A study needs at least one arm: {', '.join(KNOWN_ARMS)}.")
    arms = [parse_arm(name, ratio) for name in dict.fromkeys(names)]
    if len({dataclasses.replace(arm, name="") for arm in arms}) < len(arms):
        raise InputError(
            f"Two of the arms {', '.join(names)} are the same under another name; leave one out."
        )
    reference = [arm for arm in arms if arm.name == REFERENCE] or [parse_arm(REFERENCE)]
    return reference + [arm for arm in arms if arm.name != REFERENCE]


def primary_arm(arms: Sequence[Arm]) -> Arm | None:
    """The arm a study is about: real with synthetic added, else synthetic alone, else none."""
    alone = [arm for arm in arms if arm.synthetic and not arm.shuffled]
    mixed = [arm for arm in alone if arm.real]
    plain = [arm for arm in mixed if not arm.classical and not arm.balanced and not arm.duplicate]
    wanted = plain or mixed or alone
    return next((arm for arm in wanted if arm.name == "real+synthetic"), wanted[0] if wanted else None)
