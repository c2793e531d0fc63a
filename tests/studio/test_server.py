"""The server over HTTP: what is refused, and 200 random requests."""

from __future__ import annotations

import http.client
import json
import random
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from plenish import cli
from plenish.errors import InputError
from plenish.studio.catalogue import id_of
from plenish.studio.config import StudioConfig
from plenish.studio.server import listening

from .conftest import Served  # type: ignore[import-not-found]

Answer = tuple[int, dict[str, str], bytes]


def ask(served: Served, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    try:
        connection.request(method, path, body or None, headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def enter(served: Served) -> str:
    return ask(served, "/en/")[1]["set-cookie"].partition(";")[0]


def test_the_first_page_is_in_the_browsers_language(served: Served) -> None:
    for accepted, language in (("es-AR", "es"), ("en", "en"), ("ja", "en")):
        status, headers, _ = ask(served, "/?tab=data", **{"Accept-Language": accepted})
        assert status == 307
        assert headers["location"] == f"/{language}/?tab=data"
    assert b'lang="es"' in ask(served, "/es/")[2]


def test_no_address_of_another_server_is_in_what_is_sent(served: Served) -> None:
    for name in ("studio.css", "studio.js", "data.js", "runs.js", "judge.js"):
        status, _, content = ask(served, f"/-/assets/{name}")
        assert status == 200
        assert b"//" not in content.replace(b"http://www.w3.org", b"")


def test_random_requests_get_a_sentence_and_reach_nothing(served: Served, given: Path) -> None:
    rng = random.Random(0)
    mine, theirs = enter(served), enter(served)
    names = [
        "grid",
        "sprite",
        "image",
        "sample",
        "near",
        "marked",
        "marks",
        "mark",
        "table",
        "shown",
        "answer",
    ]
    values = [
        "", "0", "-1", "1e99", "nan", "../../etc/passwd", "/etc/passwd", "%00", "x" * 5000, "<script>", "é",
        "'; DROP TABLE", "{{7*7}}", "${7*7}", id_of(given / "real"), "[]", "{}", "null", "9" * 20,
    ]  # fmt: skip
    before = set(given.rglob("*"))
    for number in range(200):
        headers = {"cookie": mine}
        if number % 4 == 0:
            body = (
                rng.randbytes(rng.choice([0, 1, 10, 5000]))
                if number % 8
                else b"\x89PNG\r\n\x1a\n" + rng.randbytes(99)
            )
            status, _, content = ask(served, "/-/upload", "POST", body, **headers)
        elif number % 4 == 1:
            data = [rng.choice(values) for _ in range(rng.randrange(9))]
            event = {"data": data, "fn_index": rng.randrange(-1, 30),
                     "session_hash": rng.choice(values), "event_data": rng.choice(values)}  # fmt: skip
            body = json.dumps(event).encode()[: rng.choice([10, 10_000])]
            headers["content-type"] = "application/json"
            status, _, content = ask(served, "/en/gradio_api/queue/join", "POST", body, **headers)
        else:
            page, name = rng.choice(["data", "runs", "judge", "explore", "x"]), rng.choice(names)
            given_values = {
                key: rng.choice(values) for key in ("view", "row", "start", "n", "set", "runs", "answer")
            }
            query = "&".join(f"{key}={quote(value)}" for key, value in given_values.items())
            status, _, content = ask(
                served, f"/-/{page}/{name}?{query}", rng.choice(["GET", "POST"]), **headers
            )
        assert status < 500, (number, status, content)
        assert b"Traceback" not in content
        assert b"root:" not in content
    assert set(given.rglob("*")) - before == set()
    assert ask(served, "/-/data/marked?set=set", cookie=theirs)[2] == b'{"rows": [], "count": 0}'


def test_uploads_over_the_limits_are_refused(served: Served) -> None:
    cookie = enter(served)
    assert ask(served, "/-/upload", "POST", bytes(1_000_001), cookie=cookie)[0] == 413
    assert ask(served, "/-/upload", "POST", b"no picture", cookie=cookie)[0] == 400
    assert ask(served, "/-/upload", "POST", b"no picture")[0] == 403


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        with pytest.raises(InputError), listening(StudioConfig(port=door.getsockname()[1])):
            pass


@pytest.mark.usefixtures("served")
def test_what_is_no_run_and_no_dataset_is_refused(given: Path) -> None:
    for words in (
        [str(given / "none")],
        ["--data", str(given / "runs")],
        ["--auth", "x"],
        ["--port", "70000"],
    ):
        assert cli.run(["studio", "--port", "0", *words]) == 2
    assert not (given / "none").exists()
