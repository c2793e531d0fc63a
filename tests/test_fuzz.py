"""Damaged command lines of every verb: a sentence and exit code 2, or work; never our error or a hang."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from plenish import cli

SECONDS = 30
"""Longest time of one command line; the trainings themselves are left out."""
WORK = (
    "plenish.training.generator.train_generator", "plenish.training.autoencoder_run.fit",
    "plenish.training.classifier_run.train_in_run", "plenish.training.translation_run.fit",
    "plenish.study.experiment._run_cells",
    "plenish.study.class_autoencoders.run_class_study", "plenish.commands.bench._benchmark",
)  # fmt: skip
LINES = """
doctor
demo {out} --data {images} --kimg 0.1 --seeds 1
import {images} {out} --size 16 --labels {table} --label-column dx --group-column who --seed 1
import {images} {out} --folders class --class-names a=b --window 0 200
export {data} {out} --as folder
export {data} {out} --as huggingface --split default
export {data} {out} --as fiftyone --part train --near-duplicates
export {data} {out} --as lightly --split default --part val
split {data} --name other --seed 2 --val 0.2 --test 0.2
profile {data} {out} --split default
phantom {out} --size 16 --patients 3 --tiles 2 --seed 3
slides phantom {out} --slides 1 --width 512 --height 512
slides inspect {slide} --json
slides tile {slides} {out} --size 32 --level 0 --workers 1 --annotations {slides} --min-tissue 0.1
slides overlay {slide} {out}.png --annotations {slides}
slides select {slides} --annotations {slides} --label tumour
train generator {data} {out} --recipe dcgan-small --kimg 0.1 --batch 8 --options network.width=4
train gan {data} {out} --recipe auto --hours 0.01 --dry-run
train autoencoder {data} {out} --filters 4 8 --latent-features 8 --epochs 1
train classifier {data} {out} --classifier small --steps 2 --loss focal
train translate {data} {out} --kimg 0.1 --batch 4 --options network.d_layers=1
train queue {queue} {data} {out}
encode {autoencoder} {data} --name other
latents {made} {out} --array z --colour label
nearest {made} {out} --array z --query 0000001 -n 2
recipe list
recipe show dcgan --json
recipe run dcgan-small {data} {out} --kimg 0.1
generate {run} {out} -n 3 --label tumour --seed 2
generate {run} {out} --like {data} --options steps=3
export-model {run} {out}
score {data} {made} {out} --copies --features domain
study {data} {out} --synthetic {made} --arms real synthetic --seeds 1 --steps 2
study autoencoders {data} {out} --classes normal tumour --epochs 1
report {out}.html --data {data} --run {run} --synthetic {made}
runs list {home} --json
runs show {run} --json
runs rm {out}
runs prune {home} --keep 1
bench gan --recipe dcgan-small --rounds 1
""".strip().splitlines()
VALUES = (
    "", " ", "-", "--", "-1", "0", "1e999", "nan", "-inf", "1_000", "١", "0x10", "9" * 400, "true", "null",
    "[", "[a, b]", "{a: 1}", "!!python/object:os.system", "\x1b[31mred\x07", "a\nb", "\u202eabc", "\udcff",
    "é" * 300, "..", "/", ".", "~", "/dev/null", "/dev/zero", "/proc/self/mem", "/root/none", "{home}",
    "{binary}", "{bomb}", "{deep}", "{loop}", "{data}", "{run}", "{made}", "{table}", "{fifo}", "a=b",
    "a.b=c", "=", "*", "$(id)", "con", "2024-13-45", "--seed", "--help", "--json", "--config={bomb}",
    "--config={deep}", "--config={binary}", "--config={home}", "--config={typed}", "--threads=0",
    "--device=cuda:99", "--precision=fp7",
)  # fmt: skip


def mutations(line: str, rng: random.Random) -> Iterator[list[str]]:
    """Command lines near one that works."""
    words = line.split()
    while True:
        new = list(words)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(1, len(new) + 1)
            value = rng.choice(VALUES)
            match rng.randrange(7):
                case 0:
                    del new[at - 1]
                case 1:
                    new.insert(at, value)
                case 2 if at < len(new):
                    new[at], new[-1] = new[-1], new[at]
                case 3:
                    new.insert(at, rng.choice(new))
                case 4 if at < len(new) and new[at].startswith("--"):
                    new[at] = rng.choice((new[at][:-1], new[at] + "=" + value, new[at].upper()))
                case _ if at < len(new):
                    new[at] = value
                case _:
                    new.append(value)
            if not new:
                break
        yield new


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Small whole inputs, and files that are not what an option takes."""
    home = tmp_path_factory.mktemp("home")

    def do(line: str) -> None:
        assert cli.run([word.replace("{home}", str(home)) for word in [*line.split(), "--quiet"]]) == 0, line

    do("phantom {home}/data --patients 12 --tiles 3 --size 16")
    do("split {home}/data")
    do("train gan {home}/data {home}/run --recipe dcgan-small --kimg 0.1 --batch 8 --no-validation"
       " --options network.width=4")  # fmt: skip
    do("generate {home}/run {home}/made -n 6")
    do("train autoencoder {home}/data {home}/autoencoder --filters 4 8 --latent-features 4 --epochs 1"
       " --batch 8")  # fmt: skip
    do("slides phantom {home}/slides --slides 1 --width 512 --height 512")
    do("export {home}/data {home}/images")
    (home / "table.csv").write_text("file,dx,who\na.png,x,1\n", encoding="utf-8")
    (home / "queue.yaml").write_text(
        "kind: autoencoder-queue\nnetwork: {filters: [4]}\nvariants:\n  a: {}\n", encoding="utf-8"
    )
    (home / "binary").write_bytes(random.Random(0).randbytes(3000))
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (home / "bomb.yaml").write_text("\n".join(lines), encoding="utf-8")
    (home / "deep.yaml").write_text("seed: " + "[" * 50_000, encoding="utf-8")
    (home / "loop.yaml").write_text("seed: &a [*a]", encoding="utf-8")
    (home / "typed.yaml").write_text(
        "seed: {a: [1, 2]}\nname: 2024-01-01\nout: [x]\n1: 2\n", encoding="utf-8"
    )
    return home


def filled(words: list[str], home: Path, place: Path) -> list[str]:
    """The words with paths: inputs are copies, since some verbs remove what they are given."""
    names = {
        "home": place, "out": place / "out", "images": place / "images", "table": place / "table.csv",
        "data": place / "data", "run": place / "run", "made": place / "made", "slides": place / "slides",
        "slide": place / "slides/phantom-0000.tiff", "autoencoder": place / "autoencoder",
        "queue": place / "queue.yaml", "binary": place / "binary", "bomb": place / "bomb.yaml",
        "deep": place / "deep.yaml", "loop": place / "loop.yaml", "typed": place / "typed.yaml",
        "fifo": place / "none",
    }  # fmt: skip
    return [re.sub(r"\{(\w+)\}", lambda found: str(names.get(found[1], found[0])), word) for word in words]


class Hang(BaseException):
    """A command line takes too long."""


class Stopped(BaseException):
    """The work itself would begin."""


@contextlib.contextmanager
def limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def wrong(count: int, seed: int, home: Path, place: Path, capfd, monkeypatch) -> list[str]:
    """What went wrong in `count` command lines."""
    rng = random.Random(seed)
    streams = [mutations(line, rng) for line in LINES]
    monkeypatch.chdir(place.parent)
    for name in WORK:
        monkeypatch.setattr(name, _stop)
    found = []
    for _, stream in zip(range(count), itertools.cycle(streams)):
        line = next(stream)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(home, place)
        words = filled(line, home, place)
        code: object
        try:
            with limit():
                code = cli.run(words)
        except Stopped:
            code = 0
        except Hang:
            code = "hang"
        out, err = capfd.readouterr()
        bad = [c for c in out + err if ord(c) < 32 and c not in "\n\t\r"]
        if code not in (0, 2, 3) or (bad and not err.startswith("\r")) or "Traceback" in out + err:
            found.append(f"{words} → {code}, {bad[:3]}: {err[-300:]}")
        # A demo keeps the steps that are done, and goes on from them.
        if code == 2 and (place / "out").exists() and words[:1] != ["demo"]:
            found.append(f"{words} → 2, and {sorted(p.name for p in (place / 'out').iterdir())} is left")
        if code == 2 and not err.strip():
            found.append(f"{words} → 2 without a word")
    return found


def _stop(*_: object, **__: object) -> None:
    raise Stopped


def test_some_damaged_command_lines(home, tmp_path, capfd, monkeypatch) -> None:
    assert "\n".join(wrong(len(LINES) * 2, 0, home, tmp_path / "x", capfd, monkeypatch)) == ""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_command_lines(seed, home, tmp_path, capfd, monkeypatch) -> None:
    assert "\n".join(wrong(300, seed, home, tmp_path / "x", capfd, monkeypatch)) == ""
