"""Work of a user that takes longer than a request: it runs beside the server and is asked how far it is."""

from __future__ import annotations

import contextvars
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from plenish.errors import InputError, PlenishError
from plenish.progress import told_to, warn
from plenish.studio.pages import Studio
from plenish.studio.sessions import Session

_MOST_KEPT, _MOST_WAITING = 8, 3
Work = Callable[[], dict[str, Any]]


class _Stopped(Exception):
    """The work's session has ended."""


class Job:
    """One piece of work."""

    def __init__(self) -> None:
        """Wait for its turn."""
        self.share, self.problem = 0.0, ""
        self.result: dict[str, Any] | None = None
        self.stop = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it has ended, with a result or a problem."""
        return self.result is not None or bool(self.problem)

    def told(self, share: float) -> None:
        """Note how far it is, from 0 to 1; the work stops here when nobody waits for it any longer."""
        self.share = share
        if self.stop.is_set():
            raise _Stopped

    def run(self, work: Work) -> None:
        """Do the work."""
        try:
            with told_to(self.told):
                self.told(0.0)
                self.result = work()
        except PlenishError as error:
            self.problem = str(error)
        except _Stopped:
            self.problem = "Stopped."
        except Exception as error:
            warn(f"internal error in the studio: {type(error).__name__}: {error}")
            self.problem = "Internal error; the terminal of the studio says more."


class Jobs:
    """The work of one user, the newest few."""

    def __init__(self) -> None:
        """Start without any."""
        self.known: OrderedDict[str, Job] = OrderedDict()

    def add(self) -> tuple[str, Job]:
        """A new job and its id.

        Raises:
            InputError: too many wait already.
        """
        if sum(not job.done for job in self.known.values()) >= _MOST_WAITING:
            raise InputError("Some of your images are being worked on still; wait for them.")
        while len(self.known) >= _MOST_KEPT:
            self.known.pop(next(key for key, job in self.known.items() if job.done))
        key, job = secrets.token_urlsafe(12), Job()
        self.known[key] = job
        return key, job

    def close(self) -> None:
        """Stop what is under way."""
        for job in self.known.values():
            job.stop.set()


class Workers:
    """The threads that work for all users: one, so that pages stay fluent."""

    def __init__(self) -> None:
        """Start the thread with the first work."""
        self._pool = ThreadPoolExecutor(1, "plenish-studio-work")

    def start(self, session: Session, work: Work) -> str:
        """Begin a piece of work as soon as there is a free thread; its id.

        Raises:
            InputError: the user has too many waiting already.
        """
        key, job = session.state(Jobs).add()
        self._pool.submit(contextvars.copy_context().run, job.run, work)
        return key


def start(studio: Studio, session: Session, work: Work) -> dict[str, str]:
    """Begin a piece of work; what a page is told: its id."""
    workers: Workers = studio.once(Workers, Workers)
    return {"job": workers.start(session, work)}


def look(session: Session, key: str) -> dict[str, Any]:
    """How far a piece of work is, JSON-able: share from 0 to 1, and its result or what went wrong.

    Raises:
        InputError: this session has none of that id.
    """
    job = session.state(Jobs).known.get(key)
    if job is None:
        raise InputError("There is no such work in this session.", code="missing")
    return {"share": job.share, "result": job.result, "problem": job.problem}
