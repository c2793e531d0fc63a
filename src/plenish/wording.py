"""Numbers in sentences, and sentences made of records."""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

_NAMED = 5
_MOST_LEVELS = 64
"""Larger changes of a pixel are written as a number: 0.3, not 76.5/255."""


class Sentences(list[str]):
    """Sentences in a command's result, which a terminal shows one below the other."""


def plural(n: int, noun: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}es" if noun.endswith("s") else f"{n:,} {noun}s"


def agree(n: int, noun: str, one: str, many: str) -> str:
    """A number, its noun and the verb that goes with it: `1 image was`, `2 images were`."""
    return f"{plural(n, noun)} {one if n == 1 else many}"


def significant(value: float, digits: int = 3) -> float:
    """A number as short as people write it: 0.0123, 4.57, 12300."""
    return float(f"{value:.{digits}g}")


def signed(value: float, digits: int = 2) -> str:
    """A strength for a caption: `+0.5`, `−1` with the minus of print, and `0` without a sign."""
    return f"{value:+.{digits}g}".replace("-", "−") if value else "0"


def images_shown(kimg: float) -> str:
    """`45,056 images shown`: how long a generator was trained, repeats counted."""
    return f"{round(1000 * kimg):,} images shown"


def in_levels(value: float) -> str | None:
    """A change of a pixel in [0, 1] as a fraction of its 255 levels: `4/255`, `0.5/255`.

    None where four digits say it exactly, as of 0.1, and where it is no fraction that people write.
    """
    if not math.isfinite(value):
        return None
    levels = round(4 * 255 * value) / 4
    if not 0 < levels <= _MOST_LEVELS or abs(levels / 255 - value) > 1e-12 or float(f"{value:.4g}") == value:
        return None
    return f"{levels:g}/255"


def times(n: int) -> str:
    """`never`, `once`, `twice`, `3 times`."""
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n:,} times")


class _Formatter(string.Formatter):
    """Counts with a noun and its verb ({count:tile/was/were}), and lists cut short."""

    def format_field(self, value: Any, spec: str) -> str:
        if "/" in spec:
            return agree(value if isinstance(value, int) else len(value), *spec.split("/"))
        if isinstance(value, Mapping):
            return "; ".join(f"{key} {len(of)} ({self.format_field(of, '')})" for key, of in value.items())
        if isinstance(value, (list, tuple)):
            more = len(value) - _NAMED
            return ", ".join(value[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        return str(super().format_field(value, spec))


@dataclasses.dataclass(frozen=True)
class Message:
    """Something the user should know, as a record; its text is made of the words for its code.

    Attributes:
        code: a key of `words`.
        values: what the words name, JSON-able.
        words: of each code, in the syntax of `str.format`, or a function that makes them of the values;
            {count:tile/was/were} is a count with its noun and verb, and of a list the first five are named.
    """

    code: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {}

    def __str__(self) -> str:
        words = self.words[self.code]
        return _Formatter().format(words, **self.values) if isinstance(words, str) else words(**self.values)
