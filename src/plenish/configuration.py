"""Options as fields of frozen dataclasses, and recipes' sections as the configuration a Run freezes.

A field of such a class is an option of the command line and a keyword in Python at once (see `invocation`);
its help is what the class's docstring says of it under Attributes.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from plenish.errors import InputError, coerce_type, unknown
from plenish.yaml_reader import parse_yaml


def option(
    default: Any = None, *, sets: str = "", decides: str = "", least: float | None = None,
    above: float | None = None, most: float | None = None, below: float | None = None,
    choices: Sequence[Any] | None = None, adds: bool = False,
) -> Any:  # fmt: skip
    """A field that is an option with bounds, or another name for keys of a configuration.

    Args:
        default: its default; None leaves the keys in `sets` as the recipe has them.
        sets: the dotted keys it sets, parted by blanks, such as "adversarial.lr_g adversarial.lr_d".
        decides: dotted keys that follow from it in another way.
        least: smallest value.
        above: values must be greater than this.
        most: greatest value.
        below: values must be smaller than this.
        choices: the values there are.
        adds: whether a list that is typed twice is added up, instead of the last one counting.
    """
    bounds = {"least": least, "above": above, "most": most, "below": below, "choices": choices}
    keys = {"sets": tuple(sets.split()), "decides": tuple(decides.split())}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return dataclasses.field(default=default, metadata=keys | given | ({"adds": True} if adds else {}))


_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "least": ("at least", lambda value, bound: value >= bound),
    "above": ("above", lambda value, bound: value > bound),
    "most": ("at most", lambda value, bound: value <= bound),
    "below": ("below", lambda value, bound: value < bound),
}


def check_bounds(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Refuse a number outside the bounds of its `option`.

    Args:
        name: the option, for the message, such as --batch.
        value: the number; None is not checked.
        bounds: metadata of the field.

    Raises:
        InputError: it lies outside, or is not finite.
    """
    checked = {key: bound for key, bound in bounds.items() if key in _BOUNDS}
    if value is None or not checked:
        return
    if not math.isfinite(value) or not all(_BOUNDS[key][1](value, bound) for key, bound in checked.items()):
        words = " and ".join(f"{_BOUNDS[key][0]} {_number(bound)}" for key, bound in checked.items())
        number = "" if words.startswith("at") else "a number "
        text = f"{name} must be {number}{words}, not {_number(value)}."
        raise InputError(text, code="out-of-bounds", value=value)


def check_fields(config: Any, section: str) -> None:
    """Refuse values of a dataclass outside the bounds, or not among the choices, of its fields.

    Args:
        config: the dataclass, with fields made by `option`.
        section: what its values are called before their name, such as "penalty".

    Raises:
        InputError: a value lies outside, is not finite, or is another.
    """
    for field in dataclasses.fields(config):
        name, value = as_typed(f"{section}.{field.name}"), getattr(config, field.name)
        check_bounds(name, value, field.metadata)
        if value not in field.metadata.get("choices", (value,)):
            raise unknown(name, str(value), field.metadata["choices"])


_typed: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar(
    "plenish_typed", default=types.MappingProxyType({})
)


@contextlib.contextmanager
def named_as_typed(options: Any, more: Mapping[str, Sequence[str]] = {}) -> Iterator[None]:
    """In a `with` block messages say --denoise, where that was typed, for the key training.denoise it sets.

    Args:
        options: a dataclass with fields that set keys; those that are None were not typed.
        more: further keys that an option sets, by option.
    """
    names = {
        key: option_name(field.name)
        for field in dataclasses.fields(options)
        for key in (field.metadata.get("sets", ()) if getattr(options, field.name) is not None else ())
    }
    names |= {key: name for name, keys in more.items() if name in set(names.values()) for key in keys}
    token = _typed.set(names)
    try:
        yield
    finally:
        _typed.reset(token)


def as_typed(key: str) -> str:
    """A dotted key for messages: the option that was typed for it, else itself."""
    return _typed.get().get(key, key)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def option_name(field: str) -> str:
    """The option that a field is on the command line: checkpoint_kimg is --checkpoint-kimg."""
    return ("--" if len(field) > 1 else "-") + field.replace("_", "-")


def option_names(kind: type) -> dict[str, str]:
    """The option that sets a key, by dotted key, of a class of options; keys are those of a configuration."""
    names = {"precision": "--precision"}
    for field in dataclasses.fields(kind):
        for key in field.metadata.get("sets") or field.metadata.get("decides") or (field.name,):
            names[key] = option_name(field.name)
    return names


def assignments(words: Sequence[str]) -> dict[str, Any]:
    """`name=value` words of --options as name → value, each read as YAML reads it.

    Raises:
        InputError: a word that is none.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"'{word}' in --options is not name=value, such as steps=10.")
        found[name] = parse_yaml(value, f"'{word[:40]}'")
    return found


def overrides(options: Any, sections: Iterable[str], example: str) -> dict[str, Any]:
    """What options ask for beside a recipe: dotted key → value.

    Args:
        options: a dataclass with fields that set keys, and a field `options` of section.name=value words.
        sections: the sections that a recipe has.
        example: such a word, for the message.

    Raises:
        InputError: a word of another form, or of no section there is.
    """
    found = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        for key in field.metadata.get("sets", ()) if value is not None else ():
            found[key] = value
    for word in options.options or []:
        key, equals, value = word.partition("=")
        if not equals or key.split(".")[0] not in sections or "." not in key:
            raise InputError(
                f"'{word}' is not section.name=value with a section among {', '.join(sections)}, which this "
                "recipe has, "
                f"such as {example}."
            )
        found[key] = parse_yaml(value, f"'{word[:40]}'") if value.strip() else ""
    return found


def apply_overrides(
    sections: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """A recipe's sections with options by dotted key put in."""
    result = {name: dict(values) for name, values in sections.items()}
    for key, value in changes.items():
        section, name = key.split(".", 1)
        result[section][name] = value
    return result


def build_config(kind: Any, values: Mapping[str, Any], section: str) -> Any:
    """Build a configuration dataclass; unknown options and values of another type are refused."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    typed = {}
    for name, value in values.items():
        if name not in fields:
            raise unknown(f"option in {section}", name, fields)
        default = fields[name].default
        known = default is not dataclasses.MISSING
        typed[name] = coerce_type(as_typed(f"{section}.{name}"), value, default) if known else value
    return kind(**typed)
