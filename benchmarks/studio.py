"""The studio under load: memory and disk over many sessions, many users at once, and speed of browsing.

    python -m benchmarks.studio --sessions 50          # opened and closed one after the other
    python -m benchmarks.studio --users 20 --minutes 2 # all at the same time, without a browser
    python -m benchmarks.studio --images 100000        # time to filter, and for a page of thumbnails

Needs Gradio, and for --sessions playwright and chromium. Everything is made in a temporary folder.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter


def make(out: Path, n: int, size: int = 64) -> Path:
    """A Dataset of noise in two classes, split."""
    rng = np.random.default_rng(0)
    labels = LabelSchema("categorical", ("normal", "tumour"))
    with DatasetWriter(out, name=out.name, size=size, channels=3, labels=labels, config={"n": n}) as writer:
        for start in range(0, n, 1000):
            count = min(1000, n - start)
            images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
            writer.add(
                images, [{"label": labels.names[i % 2], "age": (start + i) % 90} for i in range(count)]
            )
        writer.splits["default"] = ["test" if i % 7 == 0 else "train" for i in range(n)]
    return out


@contextmanager
def serving(*words: str) -> Iterator[tuple[int, subprocess.Popen[str], list[str]]]:
    """A studio: its port, its process and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "plenish", "studio", "--port", "0", *words], stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if found := re.search(r":(\d+)/", line):
            break
    else:
        raise SystemExit("".join(said))
    threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True).start()
    try:
        yield int(found[1]), process, said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def memory_mb(process: subprocess.Popen[str]) -> float:
    """Resident memory of a process."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024  # type: ignore[index]


def disk_mb() -> float:
    """Bytes that studios of this machine hold in the folder for temporary files."""
    folder = Path(tempfile.gettempdir())
    found = [p for top in (*folder.glob("plenish-studio-*"), folder / "gradio") for p in top.rglob("*")]
    return sum(path.stat().st_size for path in found if path.is_file()) / 2**20


class User:
    """One user over HTTP, with the cookie of a page."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        _, headers, _ = self.ask("/en/", cookie="")
        self._cookie = headers["set-cookie"].partition(";")[0]
        self.dataset = self.functions = None

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", cookie: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of an answer."""
        given = {"cookie": self._cookie if cookie is None else cookie, **headers}
        self._connection.request(method, path, body or None, given)
        reply = self._connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()

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


def many_sessions(home: Path, count: int) -> dict[str, Any]:
    """Open and close so many pages in a browser, each a user of its own, and look at the server."""
    from playwright.sync_api import sync_playwright

    with serving("--data", str(make(home / "data", 600))) as (port, process, said):
        measured = []
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for number in range(count):
                context = browser.new_context(locale="en")
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{port}/?tab=data")
                page.locator("#data-shown .tile").first.click()
                page.locator(".near .tile").first.wait_for()
                context.close()
                if number in (4, count // 2):
                    time.sleep(27)  # The session outlives its page by 20 s.
                    measured.append((number + 1, round(memory_mb(process), 1), round(disk_mb(), 2)))
            browser.close()
        time.sleep(27)
        measured.append((count, round(memory_mb(process), 1), round(disk_mb(), 2)))
        columns = "sessions", "resident MB", "files MB"
        return {"sessions": [dict(zip(columns, row, strict=True)) for row in measured], "said": said[1:]}


def many_users(home: Path, users: int, minutes: float) -> dict[str, Any]:
    """So many users browse at once for so many minutes."""
    with serving("--data", str(make(home / "data", 2000))) as (port, process, said):
        seconds: list[float] = []
        errors: list[str] = []
        stop = time.monotonic() + 60 * minutes

        def browse(seed: int) -> None:
            rng, user = random.Random(seed), User(port)
            view = user.show()
            while time.monotonic() < stop:
                start = 60 * rng.randrange(25)
                for name, values in (("grid", f"start={start}"), ("sprite", f"start={start}")):
                    begun = time.monotonic()
                    status, _, content = user.ask(f"/-/data/{name}?view={view}&{values}")
                    seconds.append(time.monotonic() - begun)
                    if status != 200:
                        errors.append(f"{status} {content[:100]!r}")
                time.sleep(rng.uniform(0.2, 1))

        def guarded(seed: int) -> None:
            try:
                browse(seed)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")

        before = memory_mb(process)
        threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(users)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            "users": users, "minutes": minutes, "requests": len(seconds), "errors": errors[:5] + said[1:],
            "median_ms": round(1000 * statistics.median(seconds), 1),
            "p95_ms": round(1000 * statistics.quantiles(seconds, n=20)[-1], 1),
            "resident_mb": (round(before, 1), round(memory_mb(process), 1)),
        }  # fmt: skip


def browsing(home: Path, images: int) -> dict[str, Any]:
    """Milliseconds to filter a large Dataset and to make a page of thumbnails, within one process."""
    from plenish.datasets.dataset import Dataset
    from plenish.studio.browse import PER_PAGE, Filter, select, sprite
    from plenish.studio.thumbnails import grid
    from plenish.studio.wordbook import Words

    data = Dataset.open(make(home / "data", images))
    select(data, Filter("default/"))  # The table is read once.
    rng, found = np.random.default_rng(0), {}

    def timed(name: str, work: Any, times: int = 10) -> Any:
        spent = []
        for _ in range(times):
            begun = time.process_time()
            result = work()
            spent.append(1000 * (time.process_time() - begun))
        found[name] = round(statistics.median(spent), 1)
        return result

    rows = timed("filter_by_part_and_label_ms", lambda: select(data, Filter("default/", "tumour")))
    timed("filter_by_range_ms", lambda: select(data, Filter("", column="age", value="20..40")))

    def start() -> int:
        return int(rng.integers(0, len(rows) // PER_PAGE)) * PER_PAGE

    timed("page_markup_ms", lambda: grid(Words("en"), data, rows, "view", start()))
    timed("page_picture_ms", lambda: sprite(data, rows[(at := start()) : at + PER_PAGE]))
    return {"images": images, "per_page": PER_PAGE, **found}


def main() -> None:
    """Measure what is asked for; one JSON object a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, help="pages opened and closed")
    parser.add_argument("--users", type=int, help="users at the same time")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long they browse")
    parser.add_argument("--images", type=int, help="images of a large Dataset")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, work in (
            ("sessions", lambda home: many_sessions(home, asked.sessions)),
            ("users", lambda home: many_users(home, asked.users, asked.minutes)),
            ("images", lambda home: browsing(home, asked.images)),
        ):
            if getattr(asked, name):
                home = Path(folder) / name
                home.mkdir()
                print(json.dumps({name: work(home)}), flush=True)


if __name__ == "__main__":
    main()
