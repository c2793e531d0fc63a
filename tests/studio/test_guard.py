from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest

from plenish.errors import InputError
from plenish.studio.config import StudioConfig
from plenish.studio.guard import OWNER, Guard
from plenish.studio.sessions import Sessions


class Asked:
    """A Guard before an application that answers with the owner of the request."""

    def __init__(self, **config: Any) -> None:
        self.sessions = Sessions(session_mb=8)
        self.guard = Guard(self.app, StudioConfig(**config), self.sessions, 7860)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(scope[OWNER]).encode()})

    def __call__(
        self, path: str = "/", method: str = "GET", body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[Any] = []
        given = {"host": "127.0.0.1:7860"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }  # fmt: skip
        pieces = [body[i : i + 2**16] for i in range(0, len(body), 2**16)] or [b""]
        messages = iter(
            {"type": "http.request", "body": piece, "more_body": i < len(pieces) - 1}
            for i, piece in enumerate(pieces)
        )

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.guard(scope, receive, send))
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture
def ask() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.sessions.close()


def cookie(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


def test_a_page_gives_a_cookie_that_names_its_owner(ask: Asked) -> None:
    status, headers, owner = ask("/en/")
    assert status == 200
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    again = ask("/-/data/grid", cookie=cookie(headers))
    assert (again[0], again[2]) == (200, owner)
    assert "set-cookie" not in again[1]
    assert ask("/en/")[2] != owner
    assert ask("/-/data/grid")[0] == 403
    assert ask("/-/data/grid", cookie="plenish-studio-7860=someone.signed")[0] == 403


def test_pages_of_other_sites_and_names_are_refused(ask: Asked) -> None:
    good = cookie(ask("/en/")[1])
    assert ask("/en/", host="evil.example")[0] == 421
    assert ask("/en/", host="localhost:7860")[0] == 200
    assert ask("/-/data/mark", "POST", cookie=good, origin="http://127.0.0.1:7860")[0] == 200
    assert ask("/-/data/mark", "POST", cookie=good, origin="http://127.0.0.1:9999")[0] == 403
    assert ask("/-/data/mark", "POST", cookie=good, origin="null")[0] == 403
    for malformed in ("http://[", "http://[::1", "http://]", ""):
        assert ask("/-/data/mark", "POST", cookie=good, origin=malformed)[0] == 403
    assert ask("/-/data/mark", "DELETE", cookie=good)[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/en/gradio_api/file=/etc/passwd", "/en/gradio_api/proxy=http://x", "/en/gradio_api/upload",
        "/en/gradio_api/run/predict", "/en/gradio_api/vibe-edit", "/en/monitoring", "/en/login",
        "/etc/passwd",
        "/en/assets/../config", "/-/../etc/passwd", "/fr/", "/docs", "/openapi.json", "/en/static/%2e%2e/x",
        "/en/gradio_api/component_server", "/en/gradio_api/deep_link", "/en/gradio_api/call/x",
    ],
)  # fmt: skip
def test_what_the_studio_does_not_need_is_not_answered(ask: Asked, path: str) -> None:
    assert ask(path, cookie=cookie(ask("/en/")[1]))[0] == 404


def test_bodies_are_limited(ask: Asked) -> None:
    good = cookie(ask("/en/")[1])
    assert ask("/-/data/mark", "POST", bytes(2**20), cookie=good)[0] == 200
    assert ask("/-/data/mark", "POST", bytes(2**20 + 1), cookie=good)[0] == 413
    assert ask("/-/upload", "POST", bytes(9 * 10**6), cookie=good)[0] == 200
    assert ask("/-/upload", "POST", bytes(11 * 10**6), cookie=good)[0] == 413


def test_a_password_is_asked_for() -> None:
    ask = Asked(auth="ana:se:cret")
    assert ask("/en/")[0] == 401
    assert ask("/-/assets/studio.css")[0] == 401

    def given(text: str) -> int:
        return ask("/en/", authorization=f"Basic {base64.b64encode(text.encode()).decode()}")[0]

    assert [given(text) for text in ("ana:se:cret", "ana:se", "", "eva:se:cret")] == [200, 401, 401, 401]
    assert ask("/en/", authorization="Basic ///")[0] == 401
    ask.sessions.close()


def test_every_answer_forbids_requests_elsewhere(ask: Asked) -> None:
    for path in ("/en/", "/nowhere"):
        policy = ask(path)[1]["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy


@pytest.mark.parametrize(
    "options",
    [{"port": 70000}, {"port": -1}, {"trainings": 0}, {"upload_mb": 0.0}, {"session_mb": float("nan")}],
)
def test_numbers_outside_their_bounds_are_refused(options: dict[str, Any]) -> None:
    name = next(iter(options)).replace("_", "-")
    with pytest.raises(InputError, match=f"--{name} must be"):
        StudioConfig(**options)


@pytest.mark.parametrize("auth", ["ana", ":x", "ana:", ""])
def test_half_a_password_is_refused(auth: str) -> None:
    with pytest.raises(InputError):
        StudioConfig(auth=auth)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("lab-7", False)],
)
def test_which_hosts_are_this_machine_alone(host: str, loopback: bool) -> None:
    assert StudioConfig(host=host).is_loopback is loopback


def test_an_open_host_without_a_password_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    StudioConfig(host="0.0.0.0").warn_if_open()
    assert "--auth" in capsys.readouterr().err
    StudioConfig().warn_if_open()
    assert capsys.readouterr().err == ""
