"""Arms: what each classifier of a study is trained on, spelled as words joined by '+'."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.errors import InputError, unknown

DEFAULT_ARMS = ("real", "classical", "oversample", "real+synthetic", "synthetic")
SWEEP_ARMS = ("real", "real+synthetic")
"""The default of a study that compares generators: each has an arm of its own."""
KNOWN_ARMS = (
    *DEFAULT_ARMS, "weighted", "real+synthetic@0.5", "real+synthetic+classical", "real+synthetic+oversample",
    "duplicate", "shuffled",
)  # fmt: skip
_WORDS = {
    "real": "real training images",
    "synthetic": "synthetic images",
    "shuffled": "synthetic images with exchanged labels, a placebo",
    "duplicate": "real images again, a placebo",
    "classical": "flips, turns, shifts, brightness and contrast as the domain allows",
    "oversample": "every class drawn equally often",
    "weighted": "rare classes count more in the loss",
}
"""What an arm's name may say, and what that means."""
_DOSED = ("synthetic", "shuffled", "duplicate")
_MADE = ("synthetic", "shuffled")
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
        weighted: whether the loss is weighted: rare classes count more.
        source: which generator's images, where several are compared.
        options: further options of the classifier's training, name and value, of an arm from a file.
    """

    name: str
    real: bool = True
    synthetic: float = 0.0
    duplicate: float = 0.0
    shuffled: bool = False
    classical: bool = False
    balanced: bool = False
    weighted: bool = False
    source: str = ""
    options: tuple[tuple[str, Any], ...] = ()


def parse_arm(name: str, ratio: float = 1.0) -> Arm:
    """An arm from its name.

    Words: `real`, `synthetic`, `duplicate` (copies of real ones), `shuffled` (synthetic with permuted
    labels), `classical` (augmentation), `oversample` (classes drawn equally often), `weighted` (the loss).
    Alone, `synthetic` leaves the real images out; any other word alone includes them. `synthetic@0.5` sets
    the dose: synthetic images for each real one. `synthetic:NAME` takes those of one generator of several.

    Args:
        name: for example `real`, `classical`, `real+synthetic`, `real+synthetic@0.5+classical`.
        ratio: dose where the name states none.

    Raises:
        InputError: an unknown word (with the nearest arm), or a dose that is none.
    """
    words: dict[str, float] = {}
    sources: list[str] = []
    for token in name.split("+"):
        head, at, dose = token.partition("@")
        word, colon, source = head.partition(":")
        known = word in _WORDS and word not in words
        if not known or (at and word not in _DOSED) or (colon and (word not in _MADE or not source)):
            raise unknown("arm", name, KNOWN_ARMS)
        words[word] = _dose(name, dose) if at else ratio
        sources += [source] if colon else []
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
        weighted="weighted" in words,
        source=next(iter(sources), ""),
    )


def of_sources(name: str, sources: Sequence[str]) -> list[str]:
    """An arm's name once for each generator that is compared: `real+synthetic` → `real+synthetic:gan`, …

    Args:
        name: the arm.
        sources: names of the generators; with none the arm stays as it is.
    """
    tokens = name.split("+")
    made = [i for i, token in enumerate(tokens) if token.partition("@")[0] in _MADE]
    if not sources or not made:
        return [name]
    at = made[0]
    word, sign, dose = tokens[at].partition("@")
    return ["+".join([*tokens[:at], f"{word}:{source}{sign}{dose}", *tokens[at + 1 :]]) for source in sources]


def _dose(name: str, text: str) -> float:
    try:
        dose = float(text)
    except ValueError:
        dose = math.nan
    if not 0 < dose <= 1000:
        raise InputError(f"The arm '{name}' needs a dose above 0 behind '@', such as real+synthetic@0.5.")
    return dose


def parse_arms(
    names: Sequence[str], ratio: float = 1.0, *, defined: Mapping[str, Arm] = {}, doses: Sequence[float] = (),
    sources: Sequence[str] = (),
) -> list[Arm]:  # fmt: skip
    """Arms from their names, `real` always first since all others are compared with it.

    Args:
        names: their names.
        ratio: dose where a name states none.
        defined: arms of a file, by name.
        doses: further arms of real images with this many synthetic ones for each real one.
        sources: generators that are compared: an arm of synthetic images stands for one arm of each.

    Raises:
        InputError: no arm, or an unknown one.
    """
    if not names:
        raise InputError(f"A study needs at least one arm: {', '.join(KNOWN_ARMS)}.")
    spelled = [one for name in names for one in ([name] if name in defined else of_sources(name, sources))]
    arms = [defined.get(name) or parse_arm(name, ratio) for name in dict.fromkeys(spelled)]
    if len(set(map(_nameless, arms))) < len(arms):
        raise InputError(
            f"Two of the arms {', '.join(spelled)} are the same under another name; leave one out."
        )
    known = set(map(_nameless, arms))
    for dose in dict.fromkeys(doses):
        for name in of_sources(f"real+synthetic@{dose:g}", sources):
            arms += [arm] if _nameless(arm := parse_arm(name)) not in known else []
    reference = [arm for arm in arms if arm.name == REFERENCE] or [parse_arm(REFERENCE)]
    return reference + [arm for arm in arms if arm.name != REFERENCE]


def _nameless(arm: Arm) -> Arm:
    return dataclasses.replace(arm, name="")


def dose_curve(arms: Sequence[Arm]) -> dict[str, list[Arm]]:
    """Arms that differ from `real` in the dose of synthetic images alone, by generator, in rising order."""
    found: dict[str, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.synthetic):
        plain = Arm("", synthetic=arm.synthetic, source=arm.source)
        if arm.synthetic and _nameless(arm) == plain:
            found.setdefault(arm.source, []).append(arm)
    return found


def primary_arm(arms: Sequence[Arm]) -> Arm | None:
    """The arm a study is about: real with synthetic added, else synthetic alone, else none."""
    alone = [arm for arm in arms if arm.synthetic and not arm.shuffled]
    mixed = [arm for arm in alone if arm.real]
    plain = [arm for arms in dose_curve(mixed).values() for arm in arms]
    plain = [arm for arm in mixed if arm in plain]
    wanted = plain or mixed or alone
    return next((arm for arm in wanted if arm.name == "real+synthetic"), wanted[0] if wanted else None)


def describe_arm(name: str) -> str:
    """What an arm is trained on, in words made of its name; a name of the user's own stays as it is."""
    words = [token.partition("@")[0].partition(":")[0] for token in name.split("+")]
    if not set(words) <= set(_WORDS):
        return "as the file of arms says"
    if words[0] not in ("real", "synthetic"):
        words = ["real", *words]
    doses = [f"{token.partition('@')[2]} for each real one" for token in name.split("+") if "@" in token]
    return "; ".join([*(_WORDS[word] for word in words), *doses])
