"""Ctrl-C while training: the step at work is finished and a checkpoint written before the process ends."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from plenish import settings
from plenish.progress import say

_ONE_REQUEST = 2.0
"""Seconds within which signals are one request: torchrun repeats those that the terminal sends to all."""


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to stop after the current step; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    asked = -math.inf

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if stop.is_set() and (settings.process()[1] == 1 or time.monotonic() - asked > _ONE_REQUEST):
            raise KeyboardInterrupt
        asked = time.monotonic()
        stop.set()
        say("Stopping after this step; a checkpoint is being written.")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
