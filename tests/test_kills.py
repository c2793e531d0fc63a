"""A command that is killed at any moment of its writing goes through when it is given again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plenish import cli

KILLED = """
import contextlib, importlib, json, os, shutil, signal, sys
from plenish import cli

whole, place, kills, *words = sys.argv[1:]
at = events = 0

def count(event, arguments):
    global events
    path = arguments[0] if arguments and event in ("os.rename", "os.mkdir", "os.remove", "open") else None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, (str, os.PathLike)) or not os.path.abspath(path).startswith(place):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    events += 1
    if events == at:
        os.kill(os.getpid(), signal.SIGKILL)

def run(words, moment=0):
    global at
    with open(place + ".said", "w+") as said:
        child = os.fork()
        if not child:
            at = moment
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.addaudithook(count)
            code = cli.run(words)
            print()
            print(json.dumps([events, list(sys.modules)]))
            sys.exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return code, said.read()

def fresh():
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)

fresh()
code, said = run(words)
assert code == 0, said
total, modules = json.loads(said.splitlines()[-1])
listing = ["runs", "list", place, "--quiet"]
for name in [*modules, *json.loads(run(listing)[1].splitlines()[-1])[1]]:
    with contextlib.suppress(ImportError):  # Children that are forked from now on find it loaded.
        importlib.import_module(name)
found = []
for moment in sorted({1 + round(i * (total - 1) / (int(kills) - 1)) for i in range(int(kills))}):
    fresh()
    code, said = run(words, moment)
    assert code == -signal.SIGKILL, f"not killed at {moment}: {said}"
    code, said = run(words)
    if code:
        found.append(f"killed before event {moment} of {total}: {said.strip()[-300:]}")
    # A file's own partial inside what is whole is harmless: the next writing replaces it.
    folders = [name for _, names, _ in os.walk(place) for name in names]
    if left := [name for name in folders if name.endswith((".partial", ".new"))]:
        found.append(f"killed before event {moment} of {total}: left {left}")
    if run(listing)[0]:
        found.append(f"killed before event {moment} of {total}: runs list")
print(json.dumps([total, found]))
"""
"""Runs a command line in children that kill themselves before a change of a file below a folder, and again.

Its words are a folder, where to copy this for each kill, how many kills to spread over the command's
writing, and the command line. It prints the changes of files, and what did not go through after a kill.
"""
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


def failures(verb: str, kills: int, whole: Path, place: Path) -> list[str]:
    """What did not go through after each of `kills` kills, spread over the command's writing."""
    line = [*VERBS[verb].replace("{}", str(place)).split(), "--quiet"]
    words = [sys.executable, "-c", KILLED, str(whole), str(place), str(kills), *line]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changes, found = json.loads(done.stdout.splitlines()[-1])
    assert changes >= kills
    return found


@pytest.mark.parametrize("verb", QUICK)
def test_some_moments(verb: str, whole: Path, tmp_path: Path) -> None:
    assert failures(verb, 3, whole, tmp_path / "x") == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verb", VERBS)
def test_many_moments(verb: str, whole: Path, tmp_path: Path) -> None:
    assert failures(verb, 9, whole, tmp_path / "x") == []
