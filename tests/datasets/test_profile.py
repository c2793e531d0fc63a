from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plenish import cli
from plenish.commands.datasets import make_phantom
from plenish.commands.profile import profile_dataset
from plenish.datasets import profile
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.errors import CheckFailed, InputError

MakeStripes = Callable[..., Dataset]


def _leaky(out: Path) -> Dataset:
    """Eight random images, the last a copy of the first; the copy is in test and in group g0 of train."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)
    pixels[7] = pixels[0]
    rows = [
        {"label": "ab"[i % 2], "group": f"g{i % 7}", "part": "test" if i > 5 else "train"} for i in range(8)
    ]
    labels = LabelSchema("categorical", ("a", "b"))
    with DatasetWriter(out, name="leaky", size=6, channels=3, labels=labels, config={}) as writer:
        writer.add(pixels, rows)
    return writer.dataset


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_statistics_are_those_of_train_alone(
    stripes: MakeStripes, tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "shard_length", lambda size, channels: 7)
    data = stripes(channels=channels)
    found = profile_dataset(data.path, tmp_path / "out").content["channels"]
    train = data.part("train", purpose="profile").images().astype(float)
    assert found["mean"] == pytest.approx(train.mean(axis=(0, 1, 2)))
    assert found["std"] == pytest.approx(train.std(axis=(0, 1, 2)))
    everything = data.pixels.read(np.arange(len(data)))
    assert found["mean"] != pytest.approx(everything.mean(axis=(0, 1, 2)), rel=1e-9)
    assert data.test_reads() == 0


def test_counts_add_up(stripes: MakeStripes, tmp_path: Path) -> None:
    data = stripes()
    content = profile_dataset(data.path, tmp_path / "out").content
    for row in content["classes"]:
        assert row["train"] + row["val"] + row["test"] == row["images"] == 30
    assert content["groups"]["count"] == 15
    assert sum(content["groups"]["in_part"].values()) == 15
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["classes"] == content["classes"]


def test_leaks_end_in_exit_code_3_with_the_profile_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _leaky(tmp_path / "data")
    with pytest.raises(CheckFailed, match=r"1 image .*out/profile\.html"):
        profile_dataset(data.path, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert content["duplicates"]["sets_across_parts"] == 1
    assert content["duplicates"]["sets_with_different_labels"] == 1
    assert content["straddling_groups"] == {
        "count": 1,
        "examples": [{"group": "g0", "parts": ["test", "train"]}],
    }
    page = (tmp_path / "out" / "profile.html").read_text()
    assert all(problem in html.unescape(page) for problem in content["problems"])
    assert cli.run(["profile", str(data.path), str(tmp_path / "again")]) == 3
    assert content["problems"][0] in capsys.readouterr().err


def test_copies_within_a_part_are_a_remark_only(tmp_path: Path) -> None:
    pixels = np.zeros((12, 4, 4, 1), np.uint8)
    pixels[:, 0, 0, 0] = [0, 0, 0, *range(1, 10)]
    with DatasetWriter(
        tmp_path / "d", name="d", size=4, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(pixels, [{} for _ in range(12)])
    split_dataset(tmp_path / "d")
    content = profile_dataset(tmp_path / "d", tmp_path / "out").content
    assert content["duplicates"]["extra_images"] == 2
    assert content["problems"] == []
    assert any("2 images" in remark for remark in content["remarks"])


def test_data_without_labels_groups_or_split(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), np.uint8)
    with DatasetWriter(
        tmp_path / "d", name="d", size=4, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(pixels, [{} for _ in range(5)])
    found = profile_dataset(tmp_path / "d", tmp_path / "out")
    assert found.content["split"] is None
    assert found.content["channels"]["of"] == "all images"
    assert found.content["channels"]["mean"] == pytest.approx([pixels.mean()])
    assert len(found.content["remarks"]) == 3
    assert found.summary()["groups"] == "none"


def test_groups_of_similar_names_and_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 pairs such as `P07` and `p7`, every fourth has a member in train and one in test."""
    pixels = np.random.default_rng(0).integers(0, 256, (81, 4, 4, 1), np.uint8)
    rows: list[dict[str, Any]] = [{"group": None, "part": "val"}]
    for i in range(40):
        rows.append({"group": f"P{i:03d}", "part": "train"})
        rows.append({"group": f"p{i}", "part": "train" if i % 4 else "test"})
    with DatasetWriter(
        tmp_path / "d", name="d", size=4, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(pixels, rows)
    searches: list[int] = []
    isin = pd.Series.isin
    monkeypatch.setattr(pd.Series, "isin", lambda self, x: searches.append(len(self)) or isin(self, x))
    found = profile_dataset(tmp_path / "d", tmp_path / "out").content["alike_groups"]
    assert (found["sets"], found["sets_across_parts"]) == (40, 10)
    assert {"groups": ["P008", "p8"], "parts": ["test", "train"]} in found["examples"]
    assert {"groups": ["P009", "p9"], "parts": ["train"]} in found["examples"]
    assert sum(searches) < 40 * len(rows), "rows are not searched for each set"


@pytest.mark.parametrize(("kind", "names"), [("multilabel", ("red", "blue")), ("continuous", ("x",))])
def test_other_kinds_of_labels(tmp_path: Path, kind: Any, names: tuple[str, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    labels = (
        [["red"] if i % 2 else [] for i in range(6)]
        if kind == "multilabel"
        else [[0.1 * i] for i in range(6)]
    )
    schema = LabelSchema(kind, names)
    with DatasetWriter(tmp_path / "d", name="d", size=4, channels=3, labels=schema, config={}) as writer:
        writer.add(pixels, [{"label": label} for label in labels])
    rows = profile_dataset(tmp_path / "d", tmp_path / "out").content["classes"]
    assert [row["images"] for row in rows] == ([3, 0] if kind == "multilabel" else [6])


def test_the_page_escapes_names_and_loads_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 3), np.uint8)
    schema = LabelSchema("categorical", (evil, "b"))
    with DatasetWriter(tmp_path / "d", name=evil, size=4, channels=3, labels=schema, config={}) as writer:
        writer.add(pixels, [{"label": (evil, "b")[i % 2], "group": evil} for i in range(4)])
    profile_dataset(tmp_path / "d", tmp_path / "out")
    page = (tmp_path / "out" / "profile.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert page.count("<img") == 2


def test_a_phantom_is_called_one(tmp_path: Path) -> None:
    make_phantom(tmp_path / "p", patients=4, tiles=3, size=16)
    found = profile_dataset(tmp_path / "p", tmp_path / "out")
    assert "not tissue" in found.summary()["phantom"]
    assert "phantoms, not tissue" in (tmp_path / "out" / "profile.html").read_text()


def test_an_unknown_split_or_a_used_out_is_refused(stripes: MakeStripes, tmp_path: Path) -> None:
    data = stripes()
    with pytest.raises(InputError, match=r"defualt.*default"):
        profile_dataset(data.path, tmp_path / "out", split="defualt")
    assert not (tmp_path / "out").exists()
    (tmp_path / "used").mkdir()
    with pytest.raises(InputError, match="used"):
        profile_dataset(data.path, tmp_path / "used")


def test_an_altered_dataset_is_not_profiled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _leaky(tmp_path / "d")
    shard = data.path / "pixels" / "00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    assert cli.run(["profile", str(data.path), str(tmp_path / "out")]) == 2
    assert f"{data.path / 'pixels'} " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_problems_are_printed_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = _leaky(tmp_path / "d")
    assert cli.run(["profile", str(data.path), str(tmp_path / "out"), "--json"]) == 3
    printed = capsys.readouterr()
    problems = json.loads(printed.out)["problems"]
    assert len(problems) == 2
    assert all(problem in printed.err for problem in problems)
    assert cli.run(["profile", str(data.path), str(tmp_path / "again")]) == 3
    assert capsys.readouterr().out == ""
