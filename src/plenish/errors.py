"""The two ways a command says no: the user's input is wrong, or the answer itself is negative."""

from __future__ import annotations

import bisect
import contextlib
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class PlenishError(Exception):
    """Base of every error Plenish raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(PlenishError):
    """The user's input cannot be used. The message is one sentence: what, where, and the fix.

    Attributes:
        code: what is wrong, as a word that programs can compare; empty where the message is all there is.
        value: the offending value.
    """

    exit_code = 2

    def __init__(self, message: str, *, code: str = "", value: Any = None) -> None:
        """Keep the message and the data in it."""
        super().__init__(message)
        self.code, self.value = code, value


class AlreadyMade(PlenishError):
    """What is asked for is there, made by the same command.

    Attributes:
        out: where it is.
    """

    exit_code = 0

    def __init__(self, message: str, out: Path) -> None:
        """Keep the message and the place."""
        super().__init__(message)
        self.out = out


class CheckFailed(PlenishError):
    """The work was done and the answer is no: training diverged, a gate failed."""

    exit_code = 3


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, or None when nothing is close."""
    folded = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def first_line(error: BaseException) -> str:
    """What an error says, without the lines behind the first; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """An InputError for a name that is not among `choices`, with the nearest one."""
    known = [str(choice) for choice in choices]
    close = nearest(name, known)
    hint = f"; did you mean '{close}'?" if close else "."
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    text = f"Unknown {kind} '{name}'{hint} Known: {shown or 'none'}."
    return InputError(text, code="unknown", value=name)


_IDS = 3
_LOOKED_AT = 4_000
"""Ids that are compared with one that is unknown: those nearest in alphabetical order."""


def unknown_id(name: str, ids: Iterable[str], where: str) -> InputError:
    """An InputError for an id that is not among `ids`, with the few that are most like it.

    Args:
        name: the unknown id.
        ids: the known ones; there may be very many.
        where: what has them, such as a Dataset's path.
    """
    known = sorted(str(one) for one in ids)
    at = max(0, bisect.bisect_left(known, name) - _LOOKED_AT // 2)
    close = difflib.get_close_matches(name, known[at : at + _LOOKED_AT], n=_IDS, cutoff=0.6)
    if close:
        hint = f"the nearest are {', '.join(close)}" if len(close) > 1 else f"did you mean '{close[0]}'?"
    else:
        hint = f"its ids are {known[0]} to {known[-1]}" if known else "it has none"
    return InputError(f"{where} has no image '{name}'; {hint}{'' if hint.endswith('?') else '.'}",
                      code="unknown", value=name)  # fmt: skip


_MEANT: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def coerce_type(name: str, value: Any, default: Any) -> Any:
    """An option's value as what its default is; where that is a number with a point, any number will do.

    Raises:
        InputError: it is something else.
    """
    if isinstance(default, float) and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    if type(value) is not type(default):
        raise InputError(f"{name} must be {_MEANT.get(type(default), 'of another kind')}, not {value!r}.")
    return value
