"""A user of the studio without a browser: requests as the pages make them."""

from __future__ import annotations

import http.client
import io
import json
import random
import re
import time
from typing import Any

import numpy as np
from PIL import Image

EDITS = {
    "pad": 70, "move": 150, "flip": 80, "seeds": 20, "blend": 60, "film": 20, "equation": 60,
    "counterfactual": 20, "upload": 20,
}  # fmt: skip
"""How often each edit is made among 500."""
_KEPT_ALIVE = 3.0
"""Seconds without a request, after which a browser too would ask on a new connection."""


class User:
    """One user over HTTP, with the cookie of a page."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._asked = time.monotonic()
        _, headers, _ = self.ask("/en/", cookie="")
        self._cookie = headers["set-cookie"].partition(";")[0]

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", cookie: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer."""
        given = {"cookie": self._cookie if cookie is None else cookie, **headers}
        if time.monotonic() - self._asked > _KEPT_ALIVE:  # The server has closed the connection by now.
            self._connection.close()
        self._asked = time.monotonic()
        self._connection.request(method, path, body or None, given)
        reply = self._connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()

    def get(self, path: str, body: bytes | None = None) -> bytes:
        """The content of an answer, which must be a good one; a body makes it a POST."""
        status, _, content = self.ask(path, "GET" if body is None else "POST", body or b"")
        if status != 200:
            raise OSError(f"{path.partition('?')[0]}: {status} {content[:200]!r}")
        return content

    def post(self, path: str, body: Any) -> Any:
        """The answer to a JSON object: JSON too, or bytes."""
        content = self.get(f"/-/{path}", json.dumps(body).encode())
        return json.loads(content) if content[:1] in (b"{", b"[") else content

    def work(self, begun: Any) -> dict[str, Any]:
        """Wait for a piece of work; its result."""
        while True:
            now = json.loads(self.get(f"/-/blend/job?job={begun['job']}"))
            if now["problem"]:
                raise OSError(now["problem"])
            if now["result"]:
                return dict(now["result"])
            time.sleep(0.1)

    def show(self) -> str:
        """Open the grid as the page does when it loads; the id of the view."""
        config = json.loads(self.ask("/en/config")[2])
        loads = [d["id"] for d in config["dependencies"] if any(t[1] == "load" for t in d["targets"])]
        session = f"bench{random.randrange(10**9)}"
        for function in loads:
            event = {"data": [], "fn_index": function, "session_hash": session}
            body = json.dumps(event).encode()
            kind = {"content-type": "application/json"}
            status, _, _ = self.ask("/en/gradio_api/queue/join", "POST", body, **kind)
            assert status == 200
        text = self.ask(f"/en/gradio_api/queue/data?session_hash={session}")[2].decode()
        return re.search(r'data-view=\\"([\w-]+)', text)[1]  # type: ignore[index]


class Editor:
    """A user of the pages Explore, Blend and Edit; each method is an edit, which changes the state."""

    def __init__(self, user: User, seed: int) -> None:
        self._user, self._rng = user, random.Random(seed)
        found = json.loads(user.get("/-/explore/runs"))
        self._run = found["generator"][0]["run"]
        self._facts = json.loads(user.get(f"/-/explore/facts?run={self._run}"))
        self._classifier = (found["classifier"] or [{"run": ""}])[0]["run"]
        if self._classifier:
            asked = f"classifier={self._classifier}&run={self._run}"
            self._classes = json.loads(user.get(f"/-/edit/classes?{asked}"))["names"]
        self._picture = _picture(seed)
        self.state = self._seeded()

    def kinds(self, among: int) -> list[str]:
        """So many edits in random order, in the mixture of EDITS."""
        weights = {kind: n for kind, n in EDITS.items() if kind != "counterfactual" or self._classifier}
        kinds = [kind for kind, n in weights.items() for _ in range(max(1, round(n * among / 500)))]
        kinds += ["move"] * (among - len(kinds))
        self._rng.shuffle(kinds)
        return kinds[:among]

    def edit(self, kind: str) -> None:
        """One edit; then the image and the commands are asked for, as the page does."""
        getattr(self, f"_{kind}")()
        self._user.post("explore/image", self.state)
        self._user.post("explore/recipe", self.state)

    def _seeded(self) -> dict[str, Any]:
        names = self._facts["labels"]["names"]
        y = [float(i == 0) for i in range(len(names))] if self._facts["labels"]["kind"] != "none" else None
        base = {"seed": self._rng.randrange(10**6)}
        return {"run": self._run, "psi": 1, "y": y, "base": base, "moves": {}}

    def _pad(self) -> None:
        seeds = [self._rng.randrange(10**6) for _ in range(3)]
        for _ in range(5):  # A short drag.
            at = [self._rng.uniform(-1.5, 1.5) for _ in range(2)]
            self.state = {**self._seeded(), "base": {"plane": "random", "seeds": seeds, "at": at}}
            self._user.post("explore/image", self.state)

    def _move(self) -> None:
        names = [one["name"] for one in self._facts["directions"] if one["space"] == "z"]
        self.state["moves"] = {name: self._rng.uniform(-3, 3) for name in self._rng.sample(names, 1)}

    def _flip(self) -> None:
        self.state = self._user.post("edit/flip", self.state)["state"]

    def _seeds(self) -> None:
        self._user.post("explore/sheet", {"states": [self._seeded() for _ in range(24)], "across": 8})
        self.state = self._seeded()

    def _ends(self) -> list[dict[str, Any]]:
        return [self.state, *(self._seeded() for _ in range(self._rng.choice([1, 3])))]

    def _blend(self) -> None:
        ends = self._ends()
        self._user.post("blend/frames", {"states": ends})
        self.state = self._user.post("blend/between", {"states": ends, "number": 16})

    def _film(self) -> None:
        kind = self._rng.choice(["webp", "gif", "mp4"])
        self._user.post("blend/download", {"states": self._ends(), "film": kind})

    def _equation(self) -> None:
        terms = [{"factor": factor, "state": self._seeded()} for factor in (1, -1)]
        found = self._user.post("edit/equation", {"terms": [{"factor": 1, "state": self.state}, *terms]})
        self.state = found["state"]

    def _counterfactual(self) -> None:
        asked = {"state": self.state, "classifier": self._classifier, "to": self._rng.choice(self._classes)}
        self.state = self._user.work(self._user.post("edit/counterfactual", asked))["state"]

    def _upload(self) -> None:
        key = self._user.get("/-/upload", self._picture).decode()
        begun = json.loads(self._user.get(f"/-/blend/invert?run={self._run}&picture={key}", b" "))
        self.state = self._user.work(begun)["state"]


def _picture(seed: int) -> bytes:
    """A PNG of 1 MB, blurred noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 15, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((1500, 1200)).save(file, "PNG")
    return file.getvalue()
