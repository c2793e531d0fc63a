"""What the studio keeps of one user: nothing is shared between two, and a closed page frees it.

A user is who holds a cookie that this server signed. The browser cannot read it and other sites cannot
send it, so that a request has no way to name someone else's session.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from plenish.errors import InputError

State = TypeVar("State")
GRACE_SECONDS = 20.0
"""How long a session outlives its last page, which may have been reloaded or changed its language."""
IDLE_SECONDS = 600.0
"""How long a session lasts whose browser neither asks for anything nor holds a connection, though it never
said that its pages were closed."""
_MOST_SESSIONS, _MOST_PAGES = 500, 50


class Medium(NamedTuple):
    """A picture or file that a browser may fetch.

    Attributes:
        content: its bytes.
        kind: its media type.
        name: the name it is downloaded under; empty for one that is shown.
    """

    content: bytes
    kind: str
    name: str = ""


class Session:
    """What one user did and sees.

    Attributes:
        owner: who it belongs to; secret.
        lock: held by every handler of this session, one at a time.
        pages: the pages that are open, each with when it was opened.
        left: when the browser asked for something last, or a page was closed; seconds, monotonic.
    """

    def __init__(self, owner: str, parent: Path, most_bytes: int) -> None:
        """Made by `Sessions`."""
        self.owner, self.lock = owner, threading.RLock()
        self.pages: dict[str, float] = {}
        self.left = time.monotonic()
        self._parent, self._most_bytes = parent, most_bytes
        self._folder: Path | None = None
        self._states: dict[type, Any] = {}
        self._media: OrderedDict[str, Medium] = OrderedDict()
        self._bytes = 0

    def state(self, kind: Callable[[], State]) -> State:
        """The one object of a class that this session has, made on first use: a page's own state."""
        key = cast(type, kind)
        if key not in self._states:
            self._states[key] = kind()
        return cast(State, self._states[key])

    @property
    def folder(self) -> Path:
        """A folder for files, removed with the session."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(dir=self._parent))
        return self._folder

    def keep(self, medium: Medium) -> str:
        """Keep a picture or file for the browser; the oldest are dropped where they take too much memory.

        Returns:
            The address to fetch it from.
        """
        key = secrets.token_urlsafe(16)
        self._media[key] = medium
        self._bytes += len(medium.content)
        while self._bytes > self._most_bytes and len(self._media) > 1:
            self._bytes -= len(self._media.popitem(last=False)[1].content)
        return f"/-/media/{key}"

    def medium(self, key: str) -> Medium:
        """What was kept.

        Raises:
            InputError: nothing of that key belongs to this session any longer.
        """
        if key not in self._media:
            raise InputError("There is no such picture in this session.", code="missing")
        return self._media[key]

    def drop(self, key: str) -> None:
        """Keep something no longer."""
        if key in self._media:
            self._bytes -= len(self._media.pop(key).content)

    def close(self) -> None:
        """Free memory and files; states that have a `close` are told."""
        for state in self._states.values():
            if callable(close := getattr(state, "close", None)):
                close()
        self._states.clear()
        self._media.clear()
        self._bytes = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Sessions:
    """The sessions of one server."""

    def __init__(self, session_mb: float) -> None:
        """Start without any; `close` removes their files."""
        self._secret = secrets.token_bytes(32)
        self._parent = Path(tempfile.mkdtemp(prefix="plenish-studio-"))
        self._most_bytes = int(session_mb * 2**20)
        self._open: dict[str, Session] = {}
        self._connected: Counter[str] = Counter()
        self._lock = threading.Lock()

    def new_token(self) -> str:
        """A signed cookie for a new user."""
        name = secrets.token_urlsafe(18)
        return f"{name}.{self._signature(name)}"

    def owner_of(self, token: str) -> str | None:
        """Whom a cookie belongs to, None where this server did not sign it."""
        name, _, signature = token.partition(".")
        good = hmac.compare_digest(signature.encode(), self._signature(name).encode())
        return name if name and good else None

    def _signature(self, name: str) -> str:
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    def of(self, owner: str) -> Session:
        """The session of an owner, opened where there is none."""
        with self._lock:
            if owner not in self._open:
                if len(self._open) >= _MOST_SESSIONS:
                    raise InputError("The studio has too many users at the moment; try again later.")
                self._open[owner] = Session(owner, self._parent, self._most_bytes)
            session = self._open[owner]
            session.left = time.monotonic()
            return session

    @contextlib.contextmanager
    def request(self, owner: str) -> Iterator[None]:
        """While a request of an owner is answered; an open page has one that lasts, its heartbeat."""
        with self._lock:
            self._connected[owner] += 1
        try:
            yield
        finally:
            with self._lock:
                self._connected[owner] -= 1
                if not self._connected[owner]:
                    del self._connected[owner]
                if session := self._open.get(owner):
                    session.left = time.monotonic()

    def page_opened(self, owner: str, page: str) -> None:
        """A page of an owner has loaded; of very many, the oldest is forgotten."""
        session = self.of(owner)
        with self._lock:
            session.pages[page] = time.monotonic()
            while len(session.pages) > _MOST_PAGES:
                del session.pages[next(iter(session.pages))]

    def page_closed(self, owner: str, page: str) -> None:
        """A page was closed; with the last one the session ends `GRACE_SECONDS` later."""
        with self._lock:
            if session := self._open.get(owner):
                session.pages.pop(page, None)
                session.left = time.monotonic()

    def sweep(self, grace: float = GRACE_SECONDS, idle: float = IDLE_SECONDS) -> int:
        """Close sessions that ended.

        Args:
            grace: seconds that a session outlives its last page.
            idle: seconds that one lasts without a request, whatever pages it was said to have.

        Returns:
            How many were closed.
        """
        now = time.monotonic()
        with self._lock:
            gone = [
                owner
                for owner, session in self._open.items()
                if (not session.pages and now - session.left >= grace)
                or (owner not in self._connected and now - session.left >= idle)
            ]
            sessions = [self._open.pop(owner) for owner in gone]
        for session in sessions:
            with session.lock:
                session.close()
        return len(sessions)

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Close all and remove their files."""
        for session in list(self._open.values()):
            session.close()
        self._open.clear()
        shutil.rmtree(self._parent, ignore_errors=True)
