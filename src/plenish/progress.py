"""Progress bars and remarks on standard error; results go to standard output."""

from __future__ import annotations

import contextlib
import contextvars
import math
import sys
import time
from collections.abc import Callable, Iterator

from plenish import settings
from plenish.terminal import clean, note


def plain_number(value: float) -> str:
    """Three digits without powers of ten: 226,000, 41.3, 0.025."""
    if value <= 0:
        return "0"
    digits = 2 - math.floor(math.log10(value))
    rounded = round(value, digits)
    return f"{rounded:,.{max(digits, 0)}f}"


def plain_duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


_KNOWN_AFTER = 30.0
"""Seconds after which a log file is told how long the work takes."""


class Bar:
    """What a running job reports to; this one shows nothing."""

    def advance(self, n: float) -> None:
        """Count `n` more units done."""

    def note(self, text: str) -> None:
        """Show a short text behind the bar."""


_TELL: contextvars.ContextVar[Callable[[float], None] | None] = contextvars.ContextVar("tell", default=None)


@contextlib.contextmanager
def told_to(tell: Callable[[float], None]) -> Iterator[None]:
    """Give the progress of jobs in this thread to a function, 0 to 1, in place of standard error.

    What it raises ends the job.
    """
    token = _TELL.set(tell)
    try:
        yield
    finally:
        _TELL.reset(token)


class _Told(Bar):
    """Tells a function how far a job is."""

    def __init__(self, tell: Callable[[float], None], total: float, done: float) -> None:
        self._tell, self._total, self._done = tell, max(total, 1e-9), done

    def advance(self, n: float) -> None:
        self._done += n
        self._tell(min(1.0, self._done / self._total))


@contextlib.contextmanager
def progress(description: str, total: float, unit: str = "images", done: float = 0) -> Iterator[Bar]:
    """A progress bar with rate and time left; silent when quiet.

    Args:
        description: what is being done, a few words.
        total: the number of units of the whole job.
        unit: name of the unit, for the rate.
        done: units finished by an earlier try.
    """
    if (tell := _TELL.get()) is not None:
        yield _Told(tell, total, done)
        return
    if settings.current().quiet or not settings.is_first_process():
        yield Bar()
        return
    if not sys.stderr.isatty():
        yield _Lines(description, total, unit, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as bars:
        task = bars.add_task(clean(description), total=total, completed=int(done), rate="", note="")

        class _Rich(Bar):
            def advance(self, n: float) -> None:
                bars.update(task, advance=n)
                speed = bars.tasks[0].finished_speed or bars.tasks[0].speed
                if speed:
                    bars.update(task, rate=f"{plain_number(speed)} {unit}/s")

            def note(self, text: str) -> None:
                bars.update(task, note=clean(text))

        yield _Rich()


class _Lines(Bar):
    """A line every quarter of the way, for log files, and one soon if the way is long."""

    def __init__(self, description: str, total: float, unit: str, done: float) -> None:
        self._start, self._first = time.monotonic(), done
        self._description, self._total, self._unit, self._done = description, max(total, 1e-9), unit, done
        self._next = 0.25 * (int(4 * done / self._total) + 1)
        self._note, self._early = "", True

    def advance(self, n: float) -> None:
        self._done += n
        seconds = max(time.monotonic() - self._start, 1e-9)
        early = self._early and seconds > _KNOWN_AFTER
        if early or self._done / self._total >= self._next - 1e-9:
            self._early = False
            self._next = 0.25 * (int(4 * self._done / self._total + 1e-9) + 1)
            rate = (self._done - self._first) / seconds
            left = max(0.0, self._total - self._done) / max(rate, 1e-9)
            share = min(100.0, 100 * self._done / self._total)
            note(
                f"{self._description}: {share:.0f} % ({plain_number(rate)} {self._unit}/s"
                f"{f', {plain_duration(left)} left' if share < 100 else ''}) "
                f"{self._note}".rstrip()
            )

    def note(self, text: str) -> None:
        self._note = text


def say(text: str) -> None:
    """A remark on standard error; nothing when quiet."""
    if not settings.current().quiet and settings.is_first_process():
        note(text)


def warn(text: str) -> None:
    """A warning on standard error, also when quiet."""
    if settings.is_first_process():
        note(f"warning: {text}")
