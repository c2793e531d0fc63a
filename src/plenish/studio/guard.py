"""What every request passes first: host, password, address, size, owner; and the headers of every answer.

Gradio offers much more than the studio uses: uploads into a cache that grows, files of the server by path,
a proxy, edits of the source. Addresses that the studio does not need are not answered.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from plenish.progress import warn
from plenish.studio.config import StudioConfig
from plenish.studio.sessions import Sessions
from plenish.studio.wordbook import LANGUAGES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OWNER = "plenish.owner"
"""Where a request's scope names its owner."""
MOST_BODY = 2**20
"""Bytes of a request that is no upload."""
UPLOAD = "/-/upload"
_LANGUAGE = "|".join(LANGUAGES)
_ALLOWED = re.compile(
    rf"/|/favicon\.ico|/-/[\w/.-]+|/({_LANGUAGE})(/|/config/?|/theme\.css|/manifest\.json|/robots\.txt|/favicon\.ico"
    r"|/(assets|static|svelte)/[\w./@+-]+"
    r"|/gradio_api/(queue/join|queue/data|heartbeat/[\w-]+|cancel|reset/?|startup-events|theme\.css|info/?))?"
)
_PUBLIC = re.compile(
    rf"/|/favicon\.ico|/-/assets/.*|/({_LANGUAGE})/?"
    rf"|/({_LANGUAGE})/(theme\.css|manifest\.json|robots\.txt|favicon\.ico|(assets|static|svelte)/.*)"
)
"""What a browser gets before it has a cookie."""
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY, "x-content-type-options": "nosniff", "x-frame-options": "DENY",
    "referrer-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}  # fmt: skip


class TooLarge(Exception):
    """A request has more bytes than are taken."""


class Guard:
    """The outermost layer of the server."""

    def __init__(self, app: App, config: StudioConfig, sessions: Sessions, port: int) -> None:
        """Stand before an application.

        Args:
            app: what answers the requests that pass.
            config: host, password and limits.
            sessions: who signs and knows the cookies.
            port: where the server listens; other studios of this machine have cookies of their own.
        """
        self._app, self._config, self._sessions = app, config, sessions
        self._cookie = f"plenish-studio-{port}"
        self._hosts = {config.host.lower()} | (
            {"127.0.0.1", "localhost", "[::1]", "::1"} if config.is_loopback else set()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        token = self._token(headers)
        owner = self._sessions.owner_of(token) if token else None
        if owner is None and not _PUBLIC.fullmatch(scope["path"]):
            await _answer(send, 403, "Open the studio's page first.")
            return
        fresh = None
        if owner is None:
            fresh = self._sessions.new_token()
            owner = self._sessions.owner_of(fresh)
        scope[OWNER] = owner
        if self._sets_cookie(scope["path"]) and scope["path"] != "/":
            scope["query_string"] = (
                b""  # For the page's own script; Gradio has parameters that the studio lacks.
            )
        most = int(self._config.upload_mb * 10**6) if scope["path"] == UPLOAD else MOST_BODY
        cookie = fresh if self._sets_cookie(scope["path"]) else None
        with self._sessions.request(owner) if owner else contextlib.nullcontext():
            await self._limited(scope, receive, send, most, cookie)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str, dict[str, str]] | None:
        """Why a request is not answered: status, text, headers."""
        host = headers.get("host", "")
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if self._config.is_loopback and name.lower() not in self._hosts:  # Against DNS rebinding.
            return 421, "This studio is not known by that name.", {}
        if self._config.auth is not None and not self._is_known(headers.get("authorization", "")):
            asks = {"www-authenticate": 'Basic realm="Plenish studio", charset="UTF-8"'}
            return 401, "A user name and a password are needed.", asks
        if not _ALLOWED.fullmatch(scope["path"]) or ".." in scope["path"]:
            return 404, "There is nothing here.", {}
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "This cannot be done here.", {}
        origin = headers.get("origin")
        if scope["method"] == "POST" and origin is not None and _place(origin) != host:
            return 403, "Another site's page may not do this.", {}
        return None

    def _is_known(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        try:
            said = base64.b64decode(given, validate=True) if kind.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            said = b""
        return hmac.compare_digest(said, (self._config.auth or "").encode())

    def _token(self, headers: dict[str, str]) -> str:
        for entry in headers.get("cookie", "").split(";"):
            name, _, value = entry.strip().partition("=")
            if name == self._cookie:
                return value
        return ""

    def _sets_cookie(self, path: str) -> bool:
        """Whether a path is a page, which may begin a session."""
        return path.strip("/") in ("", *LANGUAGES)

    async def _limited(
        self, scope: Scope, receive: Receive, send: Send, most: int, fresh: str | None
    ) -> None:
        """Pass a request on, with so many bytes at most; give its answer the headers, and a new cookie."""
        got, begun, over = 0, False, False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal got, over
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                over = True
                raise TooLarge
            return message

        async def dressed(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if over and not begun:  # The application may answer its own error; what is wrong is said below.
                return
            if message["type"] == "http.response.start":
                begun = True
                more = {**_HEADERS, **({"set-cookie": self._fresh_cookie(fresh)} if fresh else {})}
                known = [pair for pair in message["headers"] if pair[0].lower() != b"set-cookie"]
                message = {**message, "headers": [*known, *_encoded(more)]}
            await send(message)

        try:
            await self._app(scope, counted, dressed)
        except Exception as error:
            if over:
                if not begun:
                    await _answer(send, 413, f"At most {most / 10**6:g} MB are taken.")
                return
            warn(f"internal error in the studio: {type(error).__name__}: {error}")
            if not begun:
                await _answer(send, 500, "Internal error; the terminal of the studio says more.")

    def _fresh_cookie(self, token: str) -> str:
        return f"{self._cookie}={token}; Path=/; HttpOnly; SameSite=Strict"


def _place(origin: str) -> str | None:
    """Host and port of an origin, None of one that cannot be read."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _answer(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode()
    facts = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **_HEADERS}
    start = {"type": "http.response.start", "status": status, "headers": _encoded(facts | (headers or {}))}
    await send(start)
    await send({"type": "http.response.body", "body": body})
