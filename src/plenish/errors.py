"""The two ways a command says no: the user's input is wrong, or the answer itself is negative."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PlenishError(Exception):
    """Base of every error Plenish raises on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(PlenishError):
    """The user's input cannot be used. The message is one sentence: what, where, and the mend."""

    exit_code = 2


class NegativeAnswer(PlenishError):
    """The work was done and the answer is no: training diverged, a gate failed."""

    exit_code = 3


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, or None when nothing is close."""
    folded = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return folded[found[0]] if found else None


def unknown(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """An InputError for a name that is not among `choices`, with the nearest one."""
    known = [str(choice) for choice in choices]
    close = nearest(name, known)
    hint = f"; did you mean '{close}'?" if close else "."
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return InputError(f"Unknown {kind} '{name}'{hint} Known: {shown or 'none'}.")
