"""A command that is killed at any moment of its writing goes through when it is given again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plenish import cli

KILLED_AT = """
import os, signal, sys
from plenish import cli

root, at, events = os.environ["ROOT"], int(os.environ["AT"]), 0

def count(event, arguments):
    global events
    path = arguments[0] if arguments and event in ("os.rename", "os.mkdir", "os.remove", "open") else None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, (str, os.PathLike)) or not os.path.abspath(path).startswith(root):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    events += 1
    if events == at:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
code = cli.run(sys.argv[1:])
print("EVENTS", events)
sys.exit(code)
"""
"""Runs a command line and kills itself before the AT-th change of a file below ROOT."""
VERBS = {
    "phantom": "phantom {}/out --patients 4 --tiles 2 --size 16 --seed 3",
    "import": "import {}/images {}/out --size 16 --workers 1",
    "split": "split {}/data --name other",
    "export": "export {}/data {}/out",
    "profile": "profile {}/data {}/out",
    "curate": "curate {}/data {}/out --drop duplicates near-duplicates dark",
    "train gan": (
        "train gan {}/data {}/out --recipe dcgan-small --kimg 0.1 --batch 8 --checkpoint-kimg 0.05"
        " --no-validation --options network.width=4"
    ),
    "generate": "generate {}/run {}/out -n 6",
    "train queue": "train queue {}/queue.yaml {}/data {}/out",
    "slides phantom": "slides phantom {}/out --slides 1 --width 512 --height 512",
    "score": "score {}/data {}/made {}/out --resamples 20",
    "filter": "filter {}/made {}/out --real {}/data --resamples 20",
    "release": "release {}/made {}/out --real {}/data --override few-val-images",
}
QUICK = ("phantom", "split", "export")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    lines = [
        "phantom {}/data --patients 12 --tiles 4 --size 16",
        "split {}/data",
        VERBS["train gan"].replace("/out", "/run"),
        "generate {}/run {}/made -n 40",
    ]
    for line in lines:
        assert cli.run([*line.replace("{}", str(root)).split(), "--quiet"]) == 0
    assert cli.run(["export", str(root / "data"), str(root / "images"), "--quiet"]) == 0
    (root / "images/metadata.parquet").unlink()
    (root / "queue.yaml").write_text(
        "kind: autoencoder-queue\nnetwork: {filters: [4], latent_features: 4}\nschedule: {epochs: 1}\n"
        "training: {batch: 8}\nvariants:\n  a: {}\n  b: {}\n"
    )
    return root


def started(place: Path, line: str, at: int) -> subprocess.CompletedProcess[str]:
    words = line.replace("{}", str(place)).split()
    environment = os.environ | {"ROOT": str(place), "AT": str(at)}
    return subprocess.run(
        [sys.executable, "-c", KILLED_AT, *words, "--quiet"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def failures(verb: str, kills: int, whole: Path, place: Path) -> list[str]:
    """What did not go through after each of `kills` kills, spread over the command's writing."""
    line, found = VERBS[verb], []
    fresh(whole, place)
    first = started(place, line, 0)
    assert first.returncode == 0, first.stderr
    events = int(first.stdout.rpartition("EVENTS ")[2])
    moments = sorted({1 + round(i * (events - 1) / (kills - 1)) for i in range(kills)})
    for at in moments:
        fresh(whole, place)
        killed = started(place, line, at)
        assert killed.returncode == -signal.SIGKILL, f"not killed at {at}: {killed.stderr}"
        again = started(place, line, 0)
        if again.returncode:
            found.append(f"killed before event {at} of {events}: {again.stderr.strip()[-300:]}")
        # A file's own partial inside what is whole is harmless: the next writing replaces it.
        left = [p.name for p in place.rglob("*") if p.is_dir() and p.name.endswith((".partial", ".new"))]
        if left:
            found.append(f"killed before event {at} of {events}: left {left}")
        if cli.run(["runs", "list", str(place), "--quiet"]) != 0:
            found.append(f"killed before event {at} of {events}: runs list")
    return found


def fresh(whole: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)


@pytest.mark.parametrize("verb", QUICK)
def test_some_moments(verb: str, whole: Path, tmp_path: Path) -> None:
    assert failures(verb, 3, whole, tmp_path / "x") == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verb", VERBS)
def test_many_moments(verb: str, whole: Path, tmp_path: Path) -> None:
    assert failures(verb, 9, whole, tmp_path / "x") == []
