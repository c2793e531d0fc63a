"""How the current command computes and speaks: device, threads, precision, verbosity.

The command line sets these from options that every verb knows; from Python, `with use(threads=2): ...`.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

from plenish.configuration import option

Precision = Literal["auto", "float32", "bfloat16"]
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings shared by all verbs.

    Attributes:
        device: `auto` (CUDA if there is one, else the CPU), or any torch device name such as `cpu` or
            `cuda:1`.
        threads: CPU threads for torch; None leaves torch's own choice.
        precision: `auto` uses bfloat16 where the hardware computes it natively and float32 elsewhere.
        quiet: no progress bars, no remarks; errors and results are still printed.
        json: results as one JSON object on standard output.
        deterministic: on a GPU, only operations that give the same bits every time, as a CPU does; slower.
    """

    device: str = "auto"
    threads: int | None = option(least=1)
    precision: Precision = "auto"
    quiet: bool = False
    json: bool = False
    deterministic: bool = False


_current: contextvars.ContextVar[Settings | None] = contextvars.ContextVar("plenish_settings", default=None)


def process() -> tuple[int, int]:
    """Number of this process among those that train together, and how many there are; (0, 1) alone."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    return (int(os.environ.get("RANK", 0)), world) if world > 1 else (0, 1)


def is_first_process() -> bool:
    """Whether this process writes for all that train together."""
    return process()[0] == 0


def current() -> Settings:
    """The settings in force."""
    return _current.get() or Settings()


@contextlib.contextmanager
def use(**changes: Any) -> Iterator[Settings]:
    """Settings changed for the length of a `with` block."""
    with holding(_current, dataclasses.replace(current(), **changes)):
        yield current()


@contextlib.contextmanager
def holding(variable: contextvars.ContextVar[Value], value: Value) -> Iterator[None]:
    """A context variable with another value for the length of a `with` block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
