"""The whole chain, small."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish import cli
from plenish.commands import demo
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.runs import Run


def _pictures(folder: Path, classes: int = 2, n: int = 60, parts: tuple[str, ...] = ("",)) -> Path:
    rng = np.random.default_rng(0)
    for part in parts:
        for code in range(classes):
            place = folder / part / f"class {code}"
            place.mkdir(parents=True)
            for i in range(n // len(parts)):
                stripes = np.tile((np.arange(16) // (2 + 2 * code) % 2 * 150).astype(np.uint8), (16, 1))
                pixels = stripes[..., None] + rng.integers(0, 90, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def _demo(data: Path, out: Path, *more: str) -> int:
    words = [
        "demo",
        str(out),
        "--data",
        str(data),
        "--size",
        "16",
        "--kimg",
        "0.1",
        "--seeds",
        "1",
        "--quiet",
    ]
    return cli.run([*words, "--threads", "1", *more])


SMALL = """
family: flow
network: {width: 16, max_width: 16, levels: 2}
training: {batch: 16}
schedule: {validate: 4}
"""


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a demo score with few resamples, and train the classifiers of its study for some steps."""
    monkeypatch.setattr(demo, "run_study", functools.partial(demo.run_study, steps=5, resamples=100))
    monkeypatch.setattr(demo, "score", functools.partial(demo.score, resamples=20))


@pytest.mark.usefixtures("short_steps")
@pytest.mark.parametrize(
    ("parts", "recipe"), [pytest.param(("",), None, marks=pytest.mark.slow), (("train", "test"), SMALL)]
)
def test_on_class_folders_also_without_val(
    tmp_path: Path, parts: tuple[str, ...], recipe: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    data, how = _pictures(tmp_path / "pictures", n=60, parts=parts), ["--domain", "radiology"]
    if recipe:
        (tmp_path / "small.yaml").write_text(recipe)
        how += ["--recipe", str(tmp_path / "small.yaml")]
    assert _demo(data, tmp_path / "out", "--json", *how) == 0
    result = json.loads(capsys.readouterr().out)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert result["verdict"]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "class 0" in page
    before = (tmp_path / "out" / "study" / "cells" / "real-seed0.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "out" / "profile")
    (tmp_path / "out" / "report.html").unlink()
    scored = (tmp_path / "out" / "score" / "score.json").stat().st_mtime_ns
    for folder in ("generator", "study"):  # Neither may mirror a radiograph.
        assert Run.open(tmp_path / "out" / folder).config["config"]["domain"] == "radiology"
    augment = Run.open(tmp_path / "out" / "generator").config["config"]["augment"]
    assert (augment["symmetry"], augment["policy"]) == ("none", "radiology")
    assert _demo(data, tmp_path / "out", *how, "--domain", "text") == 2
    assert "a demo with another domain" in capsys.readouterr().err
    assert _demo(data, tmp_path / "out", *how) == 0  # only what is missing is done again
    assert (tmp_path / "out" / "profile" / "profile.json").exists()
    assert (tmp_path / "out" / "report.html").exists()
    assert (tmp_path / "out" / "score" / "score.json").stat().st_mtime_ns == scored
    assert len(list((tmp_path / "out" / "study" / "cells").glob("*.json"))) == 5
    assert (tmp_path / "out" / "study" / "cells" / "real-seed0.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: p.mkdir(), "no images"),
        (lambda p: _pictures(p, classes=1), "at least two classes"),
        (lambda p: _pictures(p, n=1), "need at least 3 images"),
        (lambda p: None, "does not exist"),
    ],
)
def test_data_that_cannot_do_are_refused(
    tmp_path: Path, make, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "pictures")
    assert _demo(tmp_path / "pictures", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert sentence in said


def test_a_table_that_may_name_patients_is_used_or_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _pictures(tmp_path / "pictures", n=12)
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    rows = [f"{name},{name.split('/')[0]},P{i // 4}" for i, name in enumerate(names)]
    (data / "patients.csv").write_text("file,label,patient_id\n" + "\n".join(rows) + "\n")
    assert _demo(data, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "--group-column COLUMN" in said
    assert not (tmp_path / "out").exists()

    def stop(*_: object, **__: object) -> None:
        raise InputError("far enough")

    monkeypatch.setattr("plenish.commands.demo.split_dataset", stop)
    words = ["--labels", str(data / "patients.csv"), "--group-column", "patient_id"]
    assert _demo(data, tmp_path / "used", *words) == 2
    assert "far enough" in capsys.readouterr().err
    groups = Dataset.open(tmp_path / "used" / "real").table["group"]
    assert groups.nunique() == len(names) // 4
    assert _demo(data, tmp_path / "folders", "--folders", "class") == 2
    assert "far enough" in capsys.readouterr().err
    for words in (["--folders", "class"], ["--domain", "text"]):
        assert cli.run(["demo", str(tmp_path / "x"), *words]) == 2
        assert "give that too" in capsys.readouterr().err


def test_another_demo_in_the_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert _demo(_pictures(tmp_path / "pictures"), tmp_path / "out") == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
