"""What is different between two configurations, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.wording import in_levels


@dataclasses.dataclass(frozen=True)
class Difference:
    """One key that has another value; `old` or `new` is None where there is none."""

    key: str
    old: Any
    new: Any


def differences(old: Any, new: Any, prefix: str = "") -> list[Difference]:
    """The leaves in which two nested mappings differ, by dotted key.

    Args:
        old: as it was.
        new: as it is now.
        prefix: what goes before every key.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted({*old, *new}):
            found += differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return [] if old == new else [Difference(prefix.rstrip("."), old, new)]


def listed(differences: Sequence[Difference], typed: Mapping[str, str]) -> list[str]:
    """One clause a difference; keys that one option sets make one clause where all of them differ.

    Where the recipe differs, nothing else is listed: the rest follows from it.
    """
    different = {d.key.removeprefix("config.") for d in differences}
    set_by: dict[str, set[str]] = {}
    for key, option in typed.items():
        set_by.setdefault(option, set()).add(key)
    clauses: dict[str, set[str]] = {}
    for d in differences:
        key = d.key.removeprefix("config.")
        if key == "recipe":
            more = len(differences) - 1
            others = f", and {more} of its options" if more else ""
            return [f"{typed.get(key, key)} {_change(d)}{others}"]
        whole = key in typed and set_by[typed[key]] <= different
        long = isinstance(d.old or d.new, (Mapping, list))
        clause = "is another" if long else _change(d)
        clauses.setdefault(typed[key] if whole else key, set()).add(clause)
    return [f"{name} {what.pop() if len(what) == 1 else 'is another'}" for name, what in clauses.items()]


def _change(difference: Difference) -> str:
    return f"was {_said(difference.old)} and is now {_said(difference.new)}"


def _said(value: Any) -> str:
    if value is None:
        return "not given"
    return (in_levels(value) if isinstance(value, float) else None) or repr(value)
