"""The studio under load: memory and disk over many sessions, many users at once, and speed of browsing.

    python -m benchmarks.studio --sessions 50 --runs GAN # opened and closed one after the other
    python -m benchmarks.studio --edits 500 --runs GAN CLASSIFIER # of images, in one session
    python -m benchmarks.studio --users 20 --minutes 2 --runs GAN # all at the same time, without a browser
    python -m benchmarks.studio --images 100000 # time to filter, and for a page of thumbnails

Needs Gradio, and for --sessions playwright and chromium. With a generator's Run, the pages Explore, Blend and
Edit are used as well; with a classifier's for the same images also counterfactuals. Everything is made in a
temporary folder; Runs are only read.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
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

from benchmarks.race import publish
from benchmarks.studio_user import Editor, User
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.training.hardware import describe_cpu

WARM_UP = 50
"""Edits of the same mixture before the first measurement: libraries load, and caches fill."""
FLAT_MB = 50.0


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


def many_edits(home: Path, count: int, runs: list[str]) -> dict[str, Any]:
    """So many edits of images in one session; memory and disk after the first few and at the end."""
    with serving(*runs, "--data", str(make(home / "data", 600))) as (port, process, said):
        user = User(port)
        user.show()
        editor, made, measured = Editor(user, 0), 0, []
        began = time.monotonic()
        for part in (WARM_UP, count // 2, count - count // 2):
            for kind in editor.kinds(part):
                editor.edit(kind)
            made += part
            measured.append(_measure(process, edits=made))
        return {
            "edits": count, "after_a_warm_up_of": WARM_UP, "seconds": round(time.monotonic() - began, 1),
            **_growth(measured), "said": said[1:],
        }  # fmt: skip


def _measure(process: subprocess.Popen[str], **after: int) -> dict[str, float]:
    """Memory and disk once the server is at rest: it frees what it can every 5 s."""
    time.sleep(7)
    return {**after, "resident_mb": round(memory_mb(process), 1), "files_mb": round(disk_mb(), 2)}


def _growth(measured: list[dict[str, float]]) -> dict[str, Any]:
    """Measurements, the first of them after a warm-up, and whether the last is flat against it."""
    grown = {key: round(measured[-1][key] - measured[0][key], 2) for key in ("resident_mb", "files_mb")}
    return {"measured": measured, "grown": grown, "flat": all(abs(by) < FLAT_MB for by in grown.values())}


def many_sessions(home: Path, count: int, runs: list[str]) -> dict[str, Any]:
    """Open and close so many pages in a browser, each a user of its own, and look at the server."""
    from playwright.sync_api import sync_playwright

    with serving(*runs, "--data", str(make(home / "data", 600))) as (port, process, said):
        measured = []
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for number in range(count):
                context = browser.new_context(locale="en")
                page = context.new_page()
                if runs:
                    _use_image_pages(page, port)
                page.goto(f"http://127.0.0.1:{port}/?tab=data")
                page.locator("#data-shown .tile").first.click()
                page.locator(".near .tile").first.wait_for()
                context.close()
                if number + 1 in (5, count // 2, count):
                    time.sleep(27)  # The session outlives its page by 20 s.
                    measured.append(_measure(process, sessions=number + 1))
            browser.close()
        return {"sessions": count, **_growth(measured), "said": said[1:]}


def _use_image_pages(page: Any, port: int) -> None:
    """Drag on the pad, blend two images and flip one."""
    page.goto(f"http://127.0.0.1:{port}/?tab=explore")
    page.locator("#page-explore .seeds .cell").nth(23).wait_for()
    box = page.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 9, box["y"] + 9, steps=10)
    page.mouse.up()
    page.get_by_role("tab", name="Blend").click()
    for place in ("+", "+"):
        page.locator("#page-blend .slot:not(.full)", has_text=place).first.click()
        filled = page.locator("#page-blend .slot.full").count()
        page.locator("#page-blend").get_by_role("button", name="Random image").click()
        page.locator("#page-blend .slot.full").nth(filled).wait_for()
    page.locator("#page-blend .result[data-blended]").wait_for()
    page.get_by_role("tab", name="Edit").click()
    page.locator("#page-edit .both figure:nth-child(2) img[data-shown]").wait_for()
    page.locator("#page-edit").get_by_role("button", name="Flip the class").click()
    page.locator("#page-edit .history").get_by_text("Class flipped").wait_for()


def many_users(home: Path, users: int, minutes: float, runs: list[str]) -> dict[str, Any]:
    """So many users browse and edit at once for so many minutes."""
    with serving(*runs, "--data", str(make(home / "data", 2000))) as (port, process, said):
        seconds: dict[str, list[float]] = {}
        errors: list[str] = []
        before = memory_mb(process)
        stop = time.monotonic() + 60 * minutes

        def timed(name: str, act: Any) -> None:
            begun = time.monotonic()
            try:
                act()
            except Exception as error:
                raise RuntimeError(f"{name}: {type(error).__name__}: {error}") from error
            seconds.setdefault(name, []).append(time.monotonic() - begun)

        def look(user: User, view: str, start: int) -> None:
            for name in ("grid", "sprite"):
                user.get(f"/-/data/{name}?view={view}&start={start}")

        def use(seed: int) -> None:
            rng, user = random.Random(seed), User(port)
            view = user.show()
            editor = Editor(user, seed) if runs else None
            edits = iter(editor.kinds(500) if editor else [])
            while time.monotonic() < stop:
                timed("page of thumbnails", functools.partial(look, user, view, 60 * rng.randrange(25)))
                if editor and (kind := next(edits, "")):
                    timed(kind, functools.partial(editor.edit, kind))
                time.sleep(rng.uniform(0.2, 1))

        def guarded(seed: int) -> None:
            try:
                use(seed)
            except Exception as error:
                errors.append(str(error))

        threads = [threading.Thread(target=guarded, args=(seed,)) for seed in range(users)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        actions = {
            name: {
                "n": len(spent),
                "median_s": round(statistics.median(spent), 3),
                "most_s": round(max(spent), 2),
            }
            for name, spent in sorted(seconds.items())
        }
        return {
            "users": users, "minutes": minutes, "errors": errors, "said": said[1:], "actions": actions,
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
    parser.add_argument("--edits", type=int, help="edits of images in one session")
    parser.add_argument("--users", type=int, help="users at the same time")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long they browse")
    parser.add_argument("--images", type=int, help="images of a large Dataset")
    parser.add_argument("--runs", nargs="*", default=[], help="Runs of a generator and a classifier")
    parser.add_argument("--out", type=Path, help="file for the results, JSON")
    asked = parser.parse_args()
    if asked.edits and not asked.runs:
        parser.error("--edits needs the Run of a generator: --runs GAN")
    found: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.studio", *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} × {describe_cpu()['model']}, shared",
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, work in (
            ("edits", lambda home: many_edits(home, asked.edits, asked.runs)),
            ("users", lambda home: many_users(home, asked.users, asked.minutes, asked.runs)),
            ("sessions", lambda home: many_sessions(home, asked.sessions, asked.runs)),
            ("images", lambda home: browsing(home, asked.images)),
        ):
            if getattr(asked, name):
                home = Path(folder) / name
                home.mkdir()
                found[name] = work(home)
                print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    publish(found, asked.out)


if __name__ == "__main__":
    main()
