"""Arms that a user defines in a YAML file: a name, words as in --arms, and options of the classifier.

mixed-focal:
  words: real+synthetic@0.5+classical
  loss: focal
  focal_gamma: 1.5
half: real+synthetic@0.5
filled:
  words: doping+classical
  doping: 400x30% 200x30% realx40%
mart:
  words: real+synthetic
  hardening: {method: mart, eps: 4/255}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files
from plenish.errors import InputError, coerce_type, unknown
from plenish.robustness.hardening_config import HardeningConfig
from plenish.study.arms import KNOWN_ARMS, REFERENCE, Arm, parse_arm
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing_schedules import NAMED
from plenish.yaml_reader import read_yaml

_EQUAL = ("classifier", "steps", "batch", "evaluations", "patience", "pretrained", "domain", "seed")
"""What all arms of a study have in common."""
_OPTIONS = {
    field.name: field.default for field in dataclasses.fields(ClassifierConfig) if field.name not in _EQUAL
}
_WITHOUT_DEFAULT: dict[str, Any] = {
    "learning_rate": 0.0, "drop_rate": 0.0, "draws": 0, "symmetry": "", "drawing": (), "doping": (),
    "share": 0.0,
}  # fmt: skip
"""Of options that are None by default, a value of their type."""
_HARDENINGS = {field.name: field.default for field in dataclasses.fields(HardeningConfig)} | {
    "attack_steps": 0, "beta": 0.0,
}  # fmt: skip
"""Options of a training against attacks, with values of their type; lengths are numbers or text."""
_NOT_FOR_ARMS = {
    "epochs": "all arms of a study take the same --steps",
    "columns": "synthetic images have none",
}
"""Options of `train classifier` that no arm takes, and why."""
_OF_LOSSES = (
    "weight_power", "focal_gamma", "prior_power", "ldam_margin", "ldam_scale", "reweight_at", "gamma_absent",
    "gamma_present", "clip",
)  # fmt: skip
_WORDS, _DOSE, _DOPING, _HARDENING = "words", "dose", "doping", "hardening"
_SCHEDULES = ("drawing", "doping")
"""Options that are lists of levels, which may stand in one line as they are typed."""


def read_arms(path: Path) -> dict[str, Any]:
    """The definitions in a file, by name, checked.

    Raises:
        InputError: it cannot be read or defines no arms, or `define_arms` refuses one.
    """
    content = read_yaml(path, "The arms file")
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"The arms file {path} defines no arms; write 'NAME: words', or NAME with 'words:' and options."
        )
    define_arms(content, 1.0)
    return content


def define_arms(definitions: Mapping[str, Any], ratio: float) -> dict[str, Arm]:
    """Arms from their definitions.

    Args:
        definitions: name → words, or a mapping of `words`, `dose`, `hardening` (options of a training
            against attacks) and options of the classifier.
        ratio: dose where neither the words nor `dose` states one.

    Raises:
        InputError: a name that cannot be one, unknown words or options, an option that all arms share, or a
            value outside its bounds.
    """
    return {str(name): _define(str(name), definition, ratio) for name, definition in definitions.items()}


def _define(name: str, definition: Any, ratio: float) -> Arm:
    files.check_name(name, "an arm")
    if name == REFERENCE or name in KNOWN_ARMS:
        raise InputError(f"The arm '{name}' is known already; give another name to one of your own.")
    asked = {_WORDS: definition} if isinstance(definition, str) else definition
    if not isinstance(asked, dict):
        raise InputError(f"The arm '{name}' needs words such as real+synthetic, or a mapping, in its file.")
    options = {key: value for key, value in asked.items() if key not in (_WORDS, _DOSE, _HARDENING)}
    for key, value in options.items():
        if key in _EQUAL:
            raise InputError(
                f"The arm '{name}' sets {key}, which is the same for all arms of a study; give "
                f"--{key.replace('_', '-')} to the study."
            )
        if key in _NOT_FOR_ARMS:
            raise InputError(f"The arm '{name}' sets {key}: {_NOT_FOR_ARMS[key]}; leave it out.")
        if key not in _OPTIONS:
            raise unknown(f"option of the arm '{name}'", str(key), [_WORDS, _DOSE, _HARDENING, *_OPTIONS])
        options[key] = _typed(f"{key} of the arm '{name}'", key, value)
    try:
        ClassifierConfig(**options)
    except (TypeError, InputError) as error:
        raise InputError(f"The arm '{name}': {error}") from None
    words = str(asked.get(_WORDS, _DOPING if _DOPING in options else REFERENCE))
    dose = asked.get(_DOSE, ratio)
    if isinstance(dose, bool) or not isinstance(dose, (int, float)) or not 0 < dose <= 1000:
        raise InputError(
            f"The dose of the arm '{name}' must be a number above 0, at most 1000, not {dose!r}."
        )
    arm = parse_arm(words, float(dose))
    if levels := options.pop(_DOPING, ()):
        arm = _with_schedule(name, arm, words, levels)
    clash = [word for word, keys in _SET_BY.items() if getattr(arm, word) and keys & options.keys()]
    if clash:
        raise InputError(
            f"The arm '{name}' says twice what its word '{_SPELLED[clash[0]]}' says; leave one out."
        )
    if "share" in options and not (arm.real and arm.uses_synthetic):
        raise InputError(
            f"The arm '{name}' has a share of synthetic images in each batch, and needs real and synthetic "
            "ones for it: words such as real+synthetic."
        )
    if _HARDENING in asked:
        arm = dataclasses.replace(arm, hardening=_hardening(name, asked[_HARDENING]))
    if not options and not levels and arm.hardening is None and words == REFERENCE:
        raise InputError(f"The arm '{name}' is the same as real; give it words or options.")
    return dataclasses.replace(arm, name=name, options=tuple(sorted(options.items())))


def _hardening(name: str, options: Any) -> tuple[tuple[str, Any], ...]:
    """Options of a training against attacks, typed; `study.hardened` joins them with those of the study."""
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise InputError(
            f"The hardening of the arm '{name}' must be a mapping such as {{method: trades, eps: 4/255}}, "
            f"not {options!r}."
        )
    for key, value in options.items():
        what = f"{key} of the hardening of the arm '{name}'"
        if key not in _HARDENINGS:
            raise unknown(f"option of the hardening of the arm '{name}'", key, [*_HARDENINGS])
        if key not in ("eps", "step_size"):
            options = options | {key: coerce_type(what, value, _HARDENINGS[key])}
        elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise InputError(f"{what} must be a distance such as 4/255 or 0.02, not {value!r}.")
    if options.get("method") == "none":
        raise InputError(
            f"The hardening of the arm '{name}' has the method none, which trains as without; leave "
            "hardening out."
        )
    return tuple(sorted(options.items()))


def _typed(what: str, key: str, value: Any) -> Any:
    """An option's value from YAML as what the configuration holds."""
    default = _WITHOUT_DEFAULT.get(key, _OPTIONS[key])
    if key == "freeze" and type(value) is int:
        return str(value)  # A number of stages needs no quotes.
    if not isinstance(default, tuple):
        return coerce_type(what, value, default)
    if key in _SCHEDULES:  # One level, or levels in one line, need no brackets; numbers need no quotes.
        value = str(value).split() if type(value) in (int, str) else value
        value = [str(one) if type(one) is int else one for one in value] if type(value) is list else value
    if not isinstance(value, list):
        raise InputError(f"{what} must be a list, such as [0.3, 0.6], not {value!r}.")
    return tuple(coerce_type(what, one, "" if key in _SCHEDULES else 0.0) for one in value)


def _with_schedule(name: str, arm: Arm, words: str, levels: tuple[str, ...]) -> Arm:
    """An arm of doping with a schedule of its own."""
    if not arm.doping:
        raise InputError(
            f"The arm '{name}' has levels of doping, but its words '{words}' name no doping; add it to "
            "them, or leave words out."
        )
    if f"{_DOPING}@" in words or any(f"{_DOPING}:" in one and "@" in one for one in words.split("+")):
        raise InputError(f"The arm '{name}' says twice how much doping there is; leave one out.")
    return dataclasses.replace(arm, doping=NAMED["doping"].get(levels[0], levels))


_SET_BY = {"classical": {"augmentation"}, "balanced": {"balanced", "order"}, "weighted": {"loss"}}
_SPELLED = {"classical": "classical", "balanced": "oversample", "weighted": "weighted"}


def configured(arm: Arm, config: ClassifierConfig, seed: int | None = None) -> ClassifierConfig:
    """How the classifier of an arm is trained.

    Args:
        arm: which.
        config: what all arms have in common.
        seed: the cell's.
    """
    changes: dict[str, Any] = {"balanced": arm.balanced, "augmentation": "none"}
    if arm.classical:
        changes["augmentation"] = "classical"
    if arm.weighted:
        changes["loss"] = "weighted"
    if arm.doping:
        changes["doping"] = arm.doping  # A tuple, so that configurations can be compared as keys.
    changes |= dict(arm.options)
    if changes.get("loss", config.loss) != config.loss:  # Options of the study's loss are not this one's.
        own = {key: _OPTIONS[key] for key in _OF_LOSSES}
        changes = own | changes
    if seed is not None:
        changes["seed"] = seed
    return dataclasses.replace(config, **changes)
