"""Arms: what each classifier of a study is trained on, spelled as words joined by '+'."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.errors import InputError, unknown
from plenish.training.drawing_schedules import NAMED, NATURAL

DEFAULT_ARMS = ("real", "classical", "oversample", "real+synthetic", "synthetic")
SWEEP_ARMS = ("real", "real+synthetic")
"""The default of a study that compares generators: each has an arm of its own."""
KNOWN_ARMS = (
    *DEFAULT_ARMS, "weighted", "real+synthetic@0.5", "real+synthetic+classical", "real+synthetic+oversample",
    "doping", "doping@ham10000-1", "doping@ham10000-2", "doping+duplicate", "duplicate", "shuffled",
    "hardened", "real+synthetic+hardened",
)  # fmt: skip
_DOPING = NAMED["doping"]
_WORDS = {
    "real": "real training images",
    "synthetic": "synthetic images",
    "shuffled": "synthetic images with exchanged labels, a placebo",
    "duplicate": "real images again, a placebo",
    "classical": "flips, turns, shifts, brightness and contrast as the domain allows",
    "oversample": "every class drawn equally often",
    "weighted": "rare classes count more in the loss",
    "doping": "synthetic images fill each class but the largest up to a target that falls to none",
    "hardened": "trained against attacks on its images",
}
"""What an arm's name may say, and what that means."""
_DOSED = ("synthetic", "shuffled", "duplicate")
_MADE = ("synthetic", "shuffled", "doping")
REFERENCE = "real"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        name: as the user spelled it.
        real: whether the real training images are among what it is trained on.
        synthetic: synthetic images for each real one; 0 with a schedule of doping, which fills classes.
        duplicate: copies of real images for each real one: a placebo that adds images but nothing new.
        shuffled: whether the synthetic images' labels are permuted: a placebo that adds pictures but no
            knowledge.
        classical: whether images are flipped, turned, shifted and changed in brightness and contrast.
        balanced: whether every class is drawn equally often.
        weighted: whether the loss is weighted: rare classes count more.
        doping: levels with lengths (`training.drawing_schedules`) of the images that fill each class but the
            largest up to a target; none without doping.
        source: which generator's images, where several are compared.
        options: further options of the classifier's training, name and value, of an arm from a file.
        hardening: options of the training against attacks (`robustness.hardening_config`), name and value;
            none where the study says all; None without such a training.
    """

    name: str
    real: bool = True
    synthetic: float = 0.0
    duplicate: float = 0.0
    shuffled: bool = False
    classical: bool = False
    balanced: bool = False
    weighted: bool = False
    doping: tuple[str, ...] = ()
    source: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    hardening: tuple[tuple[str, Any], ...] | None = None

    @property
    def uses_synthetic(self) -> bool:
        """Whether it is trained on synthetic images."""
        return bool(self.synthetic or (self.doping and not self.duplicate))


def parse_arm(name: str, ratio: float = 1.0) -> Arm:
    """An arm from its name.

    Words: `real`, `synthetic`, `duplicate` (copies of real ones), `shuffled` (synthetic with permuted
    labels), `classical` (augmentation), `oversample` (classes drawn equally often), `weighted` (the loss).
    Alone, `synthetic` leaves the real images out; any other word alone includes them. `synthetic@0.5` sets
    the dose: synthetic images for each real one. `synthetic:NAME` takes those of one generator of several.
    `doping` fills each class but the largest with synthetic images, less and less until real ones alone;
    `doping@0.5` begins with half the images of the largest class, `doping@ham10000-1` follows a schedule by
    name. With `duplicate` copies of real images fill the classes, with `shuffled` labels are permuted.
    `hardened` trains against the attack that the study makes.

    Args:
        name: for example `real`, `classical`, `real+synthetic`, `real+synthetic@0.5+classical`.
        ratio: dose where the name states none.

    Raises:
        InputError: an unknown word (with the nearest arm), or a dose that is none.
    """
    words: dict[str, float] = {}
    sources: list[str] = []
    levels: tuple[str, ...] = ()
    for token in name.split("+"):
        head, at, dose = token.partition("@")
        word, colon, source = head.partition(":")
        known = word in _WORDS and word not in words
        dosed = word in _DOSED or word == "doping"
        if not known or (at and not dosed) or (colon and (word not in _MADE or not source)):
            raise unknown("arm", name, KNOWN_ARMS)
        if word == "doping":
            levels = _levels(name, dose if at else "1")
        words[word] = _dose(name, dose) if at and word != "doping" else ratio
        sources += [source] if colon else []
    if "synthetic" in words and "shuffled" in words:
        raise InputError(f"The arm '{name}' cannot have its synthetic images both as they are and shuffled.")
    if levels:
        _check_doping(name, words, sources)
    return Arm(
        name,
        real="real" in words or "synthetic" not in words,
        synthetic=0.0 if levels else words.get("synthetic", words.get("shuffled", 0.0)),
        duplicate=words.get("duplicate", 0.0),
        shuffled="shuffled" in words,
        classical="classical" in words,
        balanced="oversample" in words,
        weighted="weighted" in words,
        doping=levels,
        source=next(iter(sources), ""),
        hardening=() if "hardened" in words else None,
    )


def _levels(name: str, text: str) -> tuple[str, ...]:
    """The schedule behind 'doping@': one by name, or the default one from a share of the largest class on."""
    if text in _DOPING:
        return _DOPING[text]
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0.04 <= share <= 10:
        raise InputError(
            f"The arm '{name}' needs behind 'doping@' a share of the largest class from 0.04 to 10, such as "
            f"doping@0.5, or a schedule: {', '.join(_DOPING)}."
        )
    found = []
    for word in _DOPING["decaying"]:
        level, _, length = word.partition("x")
        found.append(word if level == NATURAL["doping"] else f"{int(level[:-1]) * share:.0f}%x{length}")
    return tuple(found)


def _check_doping(name: str, words: Mapping[str, float], sources: Sequence[str]) -> None:
    """Refuse what contradicts filling the classes."""
    if "synthetic" in words:
        raise InputError(
            f"The arm '{name}' has two doses: doping fills the classes with synthetic images itself; leave "
            "synthetic out."
        )
    if "oversample" in words:
        raise InputError(
            f"The arm '{name}' draws every class equally often, which doping would not change; leave one out."
        )
    if "duplicate" in words and ("shuffled" in words or sources):
        raise InputError(
            f"The arm '{name}' fills the classes with copies of real images, which have no generator and "
            "keep their labels; leave duplicate or the other word out."
        )
    if doses := [word for word in _DOSED if f"{word}@" in name]:
        raise InputError(f"The arm '{name}' gives {doses[0]} a dose, and doping sets it; leave the dose out.")


def of_sources(name: str, sources: Sequence[str]) -> list[str]:
    """An arm's name once for each generator that is compared: `real+synthetic` → `real+synthetic:gan`, …

    Args:
        name: the arm.
        sources: names of the generators; with none the arm stays as it is.
    """
    tokens = name.split("+")
    made = [i for i, token in enumerate(tokens) if token.partition("@")[0] in _MADE]
    if not sources or not made or not parse_arm(name).uses_synthetic:
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
    alone = [arm for arm in arms if arm.uses_synthetic and not arm.shuffled]
    mixed = [arm for arm in alone if arm.real]
    plain = [arm for arms in dose_curve(mixed).values() for arm in arms]
    plain = [arm for arm in mixed if arm in plain]
    wanted = plain or mixed or alone
    return next((arm for arm in wanted if arm.name == "real+synthetic"), wanted[0] if wanted else None)


def describe_arm(
    name: str, definition: str | Mapping[str, Any] | None = None, phases: Sequence[Mapping[str, Any]] = ()
) -> str:
    """What an arm is trained on, in words made of its name, of what a file says of it and of its schedule.

    Args:
        name: of the arm.
        definition: words, or words and options, where it is the user's own.
        phases: of its schedule (`study.schedules.phases_of`), if it has one.
    """
    options: dict[str, Any] = {"words": definition or name}
    if isinstance(definition, Mapping):
        options = {"words": "doping" if "doping" in definition else REFERENCE, **definition}
    spelled, hardening = str(options.pop("words")), options.pop("hardening", None)
    words = [token.partition("@")[0].partition(":")[0] for token in spelled.split("+")]
    if not set(words) <= set(_WORDS):
        return "as the file of arms says"
    if words[0] not in ("real", "synthetic"):
        words = ["real", *words]
    doses = [
        f"{token.partition('@')[2]} for each real one"
        for token in spelled.split("+") if "@" in token and not token.startswith("doping")
    ]  # fmt: skip
    said = [_WORDS[word] for word in words]
    if {"doping", "duplicate"} <= set(words):
        said.remove(_WORDS["duplicate"])
        said[said.index(_WORDS["doping"])] = _WORDS["doping"].replace("synthetic", "the same") + ", a placebo"
    if hardening is not None:
        own = ", ".join(f"{key} {_value(value)}" for key, value in hardening.items())
        said.append(_WORDS["hardened"] + (f" ({own})" if own else ""))
    told = [f"{key} {_value(value)}" for key, value in options.items() if key not in ("doping", "drawing")]
    levels = " ".join(parse_arm(spelled).doping) if "doping" in words and not phases else ""
    return "; ".join(filter(None, [*said, *doses, *told, levels, describe_phases(phases)]))


def describe_phases(phases: Sequence[Mapping[str, Any]]) -> str:
    """A schedule in steps: `steps 1 to 60: up to 340 images a class (50%); steps 61 to 100: real …`."""
    natural = {"doping": "real images alone", "drawing": "images as they are"}
    most = {"doping": "up to {:,} images a class", "drawing": "{:,} draws an epoch, all classes alike"}
    found, before = [], 0
    for phase in phases:
        kind, count, level = phase["schedule"], phase["target"], phase["level"]
        what = natural[kind] if count is None else most[kind].format(count)
        named = f" ({level})" if level.endswith("%") else ""
        found.append(f"steps {before + 1:,} to {before + phase['steps']:,}: {what}{named}")
        before += phase["steps"]
    return "; ".join(found)


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
