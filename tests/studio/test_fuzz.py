"""The image pages under altered requests and broken pictures: a sentence each time, and nothing else."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from plenish.studio.catalogue import id_of

from .conftest import Served  # type: ignore[import-not-found]
from .test_server import ask, enter  # type: ignore[import-not-found]

REQUESTS = 240
NASTY = [
    None, True, -1, 0, 1e308, 2**31, 2**70, float("nan"), float("inf"), "", "0", "../../etc/passwd", "\x00",
    "/etc/passwd", "é\u202e", "<script>alert(1)</script>", "'; DROP TABLE", "x" * 3000, [], {}, [[]], [None],
    {"seed": 1}, {"run": "x"}, [0] * 100, "AAAA", "//8=",
]  # fmt: skip


def _bodies(given: Path) -> dict[str, Any]:
    """A good body for each action of the image pages."""
    run, classifier = id_of(given / "runs" / "tiny"), id_of(given / "runs" / "sides")
    state = {"run": run, "psi": 1, "y": [1, 0], "base": {"seed": 3}, "moves": {"sefa-1": 1.5}}
    plane = state | {"base": {"plane": "random", "seeds": [1, 2, 3], "at": [0.5, -0.5]}, "moves": {}}
    latent = state | {"base": {"space": "z", "values": "AAAAPwAAAL8="}, "moves": {}}
    two = {"states": [plane, latent]}
    terms = [{"factor": 1, "state": state, "name": "a"}, {"factor": -1, "state": plane, "name": "../b"}]
    asked = {"state": state, "classifier": classifier, "to": "left"}
    return {
        "explore/image": state, "explore/latent": plane, "explore/recipe": latent,
        "explore/sheet": two | {"across": 2}, "explore/download": two | {"names": ["a", "b"]},
        "blend/frames": two, "blend/between": two | {"number": 3}, "blend/recipe": two,
        "blend/download": two | {"film": "gif"}, "edit/flip": state, "edit/equation": {"terms": terms},
        "edit/counterfactual": asked, "edit/judged": asked,
    }  # fmt: skip


def _altered(body: Any, rng: random.Random) -> Any:
    """A body with one thing in it replaced, removed or repeated."""
    body = copy.deepcopy(body)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(body)
    node, key = rng.choice(places)
    how = rng.randrange(5)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, list):
        node.extend([copy.deepcopy(node[key])] * 70)
    else:
        node[key] = rng.choice(NASTY)
    return body


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _pictures(rng: random.Random) -> list[bytes]:
    """Pictures of unusual kinds, and broken ones."""
    made = []
    for mode, kind in (
        ("RGB", "PNG"), ("L", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG"),
        ("1", "BMP"), ("I;16", "PNG"), ("F", "TIFF"), ("RGB", "WEBP"), ("RGB", "JPEG"), ("YCbCr", "TIFF"),
    ):  # fmt: skip
        file = io.BytesIO()
        Image.new(mode, (30, 20), 1).save(file, kind)
        made.append(file.getvalue())
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(10**6))) + _chunk(b"IEND", b"")
    made += [b"\x89PNG\r\n\x1a\n" + bomb, b"GIF89a" + bytes(7), b"II*\x00" + b"\xff" * 40]
    made += [b"<svg onload='alert(1)'/>", b"%PDF-1.4", b"PK\x03\x04"]
    for whole in made[:12]:
        broken = bytearray(whole[: rng.randrange(8, len(whole))])
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        made.append(bytes(broken))
    return made


def test_altered_requests_of_the_image_pages_get_a_sentence(served: Served, given: Path) -> None:
    rng = random.Random(0)
    mine, theirs = enter(served), enter(served)
    bodies, run = _bodies(given), id_of(given / "runs" / "tiny")
    before, said = _files(given), len(served.said)
    keys: list[str] = []

    def good(path: str, method: str = "POST", body: bytes = b"") -> bytes:
        status, _, content = ask(served, path, method, body, cookie=mine)
        assert status < 500, (path, body[:300], content)
        assert b"Traceback" not in content
        if status != 200:
            assert 0 < len(content) < 2000
            assert b"root:" not in content
            assert str(given).encode() not in content
        return content

    for path, body in bodies.items():  # As they are, all are answered.
        assert ask(served, f"/-/{path}", "POST", json.dumps(body).encode(), cookie=mine)[0] == 200, path
    for number in range(REQUESTS):
        path = rng.choice(list(bodies))
        text = json.dumps(_altered(bodies[path], rng)).encode()
        if number % 10 == 0:
            text = text[: rng.randrange(len(text))] + rng.randbytes(3)
        good(f"/-/{path}", "POST", text)
    for path in ("explore/facts?run=", "edit/classes?run=x&classifier=", "blend/job?job=", "explore/runs?x="):
        for value in ("..%2f..%2fetc", "%00", run, "x" * 300, "%F0%9F%98%80"):
            good(f"/-/{path}{value}", "GET")
    for picture in _pictures(rng):
        status, _, content = ask(served, "/-/upload", "POST", picture, cookie=mine)
        assert status in (200, 400, 413), (status, content)
        if status == 200:
            keys.append(content.decode())
            good(f"/-/blend/invert?run={run}&picture={keys[-1]}")
    assert len(keys) > 10
    for key in keys:  # Somebody else's picture.
        assert ask(served, f"/-/blend/invert?run={run}&picture={key}", "POST", cookie=theirs)[0] == 404
        assert ask(served, f"/-/media/{key}", cookie=theirs)[0] == 404
    assert _files(given) == before
    assert not [line for line in served.said[said:] if "internal error" in line or "Traceback" in line]


def _files(given: Path) -> set[Path]:
    return {path for path in given.rglob("*") if ".tmp" not in path.name}


def test_events_that_gradio_cannot_read_are_one_line_in_the_terminal(served: Served) -> None:
    rng = random.Random(0)
    cookie = enter(served)
    config = json.loads(ask(served, "/en/config", cookie=cookie)[2])
    said, session = len(served.said), f"fuzz{rng.randrange(10**9)}"
    functions = [one["id"] for one in config["dependencies"]]
    taken = 0
    for _ in range(40):
        event = {
            "data": [rng.choice(NASTY) for _ in range(rng.randrange(10))], "fn_index": rng.choice(functions),
            "session_hash": session, "trigger_id": rng.choice([None, 0, 5, 10**6]),
            "event_data": rng.choice(NASTY),
        }  # fmt: skip
        kind = {"content-type": "application/json"}
        status, _, content = ask(
            served, "/en/gradio_api/queue/join", "POST", json.dumps(event).encode(), cookie=cookie, **kind
        )
        assert status < 500, content
        taken += status == 200
    assert taken > 10
    answers = ask(served, f"/en/gradio_api/queue/data?session_hash={session}", cookie=cookie)[2]
    assert answers.count(b"process_completed") == taken
    assert b"Traceback" not in answers
    assert b".py" not in answers
    stop = time.monotonic() + 120  # The lines come through a pipe.
    while time.monotonic() < stop and not any("refused an event" in line for line in served.said[said:]):
        time.sleep(0.05)
    new = served.said[said:]
    assert any("refused an event" in line for line in new)
    assert not [line for line in new if line.startswith((" ", "Traceback", "During"))], new
