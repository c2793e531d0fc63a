"""Arms that a user defines in a YAML file: a name, words as in --arms, and options of the classifier.

mixed-focal:
  words: real+synthetic@0.5+classical
  loss: focal
  focal_gamma: 1.5
half: real+synthetic@0.5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files
from plenish.errors import InputError, coerce_type, unknown
from plenish.study.arms import KNOWN_ARMS, REFERENCE, Arm, parse_arm
from plenish.training.classifier_config import ClassifierConfig
from plenish.yaml_reader import read_yaml

_EQUAL = ("classifier", "steps", "batch", "evaluations", "patience", "pretrained", "domain", "seed")
"""What all arms of a study have in common."""
_OPTIONS = {
    field.name: field.default for field in dataclasses.fields(ClassifierConfig) if field.name not in _EQUAL
}
_WORDS, _DOSE = "words", "dose"


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
        definitions: name → words, or a mapping of `words`, `dose` and options of the classifier.
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
    options = {key: value for key, value in asked.items() if key not in (_WORDS, _DOSE)}
    for key, value in options.items():
        if key in _EQUAL:
            raise InputError(
                f"The arm '{name}' sets {key}, which is the same for all arms of a study; give "
                f"--{key.replace('_', '-')} to the study."
            )
        if key not in _OPTIONS:
            raise unknown(f"option of the arm '{name}'", str(key), [_WORDS, _DOSE, *_OPTIONS])
        if _OPTIONS[key] is not None:
            options[key] = coerce_type(f"{key} of the arm '{name}'", value, _OPTIONS[key])
    try:
        ClassifierConfig(**options)
    except (TypeError, InputError) as error:
        raise InputError(f"The arm '{name}': {error}") from None
    words = str(asked.get(_WORDS, REFERENCE))
    dose = asked.get(_DOSE, ratio)
    if isinstance(dose, bool) or not isinstance(dose, (int, float)) or not 0 < dose <= 1000:
        raise InputError(
            f"The dose of the arm '{name}' must be a number above 0, at most 1000, not {dose!r}."
        )
    arm = parse_arm(words, float(dose))
    clash = [word for word, keys in _SET_BY.items() if getattr(arm, word) and keys & options.keys()]
    if clash:
        raise InputError(
            f"The arm '{name}' says twice what its word '{_SPELLED[clash[0]]}' says; leave one out."
        )
    if not options and words == REFERENCE:
        raise InputError(f"The arm '{name}' is the same as real; give it words or options.")
    return dataclasses.replace(arm, name=name, options=tuple(sorted(options.items())))


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
    changes |= dict(arm.options)
    if changes.get("loss", config.loss) != config.loss:  # Options of the study's loss are not this one's.
        own = {key: _OPTIONS[key] for key in ("weight_power", "focal_gamma", "prior_power")}
        changes = own | changes
    if seed is not None:
        changes["seed"] = seed
    return dataclasses.replace(config, **changes)
