"""Damage to every file of a Dataset and a Run: a sentence that names it, or no effect; no internal error."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plenish import cli
from plenish.commands.train_generator import train_generator
from plenish.datasets.dataset import Dataset

DEEP = "[" * 100_000 + "]" * 100_000


def damages(path: Path, rng: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Names of damages and a file's content after each; None removes it."""
    content = path.read_bytes()
    yield "removed", None
    yield "empty", b""
    yield "cut", content[: len(content) // 2]
    yield "garbage", rng.randbytes(200)
    if content:
        for _ in range(2):
            at = rng.randrange(len(content))
            yield (
                f"byte {at}",
                content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
            )
        yield "appended", content + b"\0" * 7
    if path.suffix in (".json", ".jsonl"):
        for name, text in (
            ("deep", DEEP),
            ("list", "[]"),
            ("null", "null"),
            ("number", "7"),
            ("text", '"x"'),
        ):
            yield name, text.encode()
    if path.suffix == ".json":
        values = json.loads(content)
        for key in rng.sample(sorted(values), min(4, len(values))):
            yield f"without {key}", json.dumps({k: v for k, v in values.items() if k != key}).encode()
            yield f"{key} of another kind", json.dumps(values | {key: _other(values[key])}).encode()


def _other(value: Any) -> Any:
    return {dict: [], list: {"x": 1}, str: 7, int: "x", float: {}, bool: None}.get(type(value), [[[]]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A Dataset with a split and a trained Run."""
    root = tmp_path_factory.mktemp("whole")
    assert (
        cli.run(
            ["phantom", str(root / "data"), "--patients", "12", "--tiles", "3", "--size", "16", "--quiet"]
        )
        == 0
    )
    assert cli.run(["split", str(root / "data"), "--quiet"]) == 0
    small = ["network.width=4", "network.max_width=8", "network.z_dim=4", "schedule.validate=8"]
    train_generator(
        root / "data", root / "run", recipe="dcgan", kimg=0.1, batch=10, checkpoint_kimg=0.05, options=small
    )
    assert cli.run(["generate", str(root / "run"), str(root / "made"), "-n", "6", "--quiet"]) == 0
    return root


DATA_VERBS = [
    ["profile", "{}", "out"], ["export", "{}", "out"], ["split", "{}", "--name", "other"],
    ["train", "classifier", "{}", "out", "--steps", "2", "--classifier", "small"],
]  # fmt: skip
RUN_VERBS = [
    ["runs", "show", "{}"], ["runs", "list", "."], ["generate", "{}", "out", "-n", "2"],
    ["report", "out.html", "--run", "{}"],
]  # fmt: skip
MADE_VERBS = [["profile", "{}", "out"], ["export", "{}", "out"], ["latents", "{}", "out", "--array", "z"]]


def _try(
    whole: Path, place: Path, name: str, verbs: list[list[str]], capfd: Any, chosen: Callable[[int], bool]
) -> list[str]:
    """What went wrong: damages after which a verb neither works nor says which file is damaged."""
    wrong, number = [], 0
    rng = random.Random(0)
    files = sorted(p.relative_to(whole / name) for p in (whole / name).rglob("*") if p.is_file())
    for file in files:
        if file.parts[0] in ("tensorboard", "samples") or file.name == ".lock":
            continue
        for damage, content in damages(whole / name / file, rng):
            number += 1
            if not chosen(number):
                continue
            verb = verbs[number % len(verbs)]
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            hurt = place / name / file
            hurt.unlink() if content is None else hurt.write_bytes(content)
            words = [str(place / w) if w in ("out", "out.html", ".", "run") else w for w in verb]
            words = [w.replace("{}", str(place / name)) for w in words]
            code = cli.run([*words, "--quiet"])
            said = " ".join(capfd.readouterr().err.split())
            if code not in (0, 2, 3) or (code == 2 and not {file.name, file.stem, name} & set(_words(said))):
                wrong.append(f"{file} {damage}: {' '.join(verb)} → {code}: {said[:300]}")
            if code and any(place.glob("out*")):
                wrong.append(f"{file} {damage}: {' '.join(verb)} left {[p.name for p in place.glob('out*')]}")
    return wrong


def _words(text: str) -> list[str]:
    return [word for path in text.split() for word in [*path.strip(".,;:'()").split("/"), Path(path).stem]]


@pytest.mark.parametrize(("name", "verbs"), [("data", DATA_VERBS), ("run", RUN_VERBS), ("made", MADE_VERBS)])
def test_some_damages(whole, tmp_path, capfd, name, verbs):
    assert not _try(whole, tmp_path / "x", name, verbs, capfd, lambda number: number % 9 == 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "verbs"), [("data", DATA_VERBS), ("run", RUN_VERBS), ("made", MADE_VERBS)])
def test_every_damage(whole, tmp_path, capfd, name, verbs):
    assert not _try(whole, tmp_path / "x", name, verbs, capfd, lambda number: number % 9 != 0)


def test_a_dataset_made_by_damaged_hands_is_refused(whole, tmp_path):
    """A record whose values fit but whose checksum does not."""
    shutil.copytree(whole / "data", tmp_path / "data")
    path = tmp_path / "data/dataset.json"
    path.write_text(path.read_text().replace('"size": 16', '"size": 17'))
    with pytest.raises(Exception, match=r"dataset\.json was altered"):
        Dataset.open(tmp_path / "data")
