"""Readings of the test part are counted whatever reads it, and what is missing in their record is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish import files
from plenish.commands.datasets import export_dataset
from plenish.datasets.dataset import Dataset
from plenish.datasets.split import split_dataset
from plenish.errors import InputError
from plenish.latent.neighbours import find_nearest

MakeStripes = Callable[..., Dataset]


@pytest.fixture
def data(stripes: MakeStripes) -> Dataset:
    made = stripes()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        split_dataset(made.path, seed=seed, name=name, near_duplicates="ignore")
    assert made.split("a").part_of.tolist() == made.split("b").part_of.tolist()
    return made


def _overlap(data: Dataset, one: str, part: str, other: str) -> bool:
    return bool(set(data.split(one).rows(part)) & set(data.split(other).rows("test")))  # type: ignore[arg-type]


def test_readings_through_another_split_count(data: Dataset) -> None:
    for n in (1, 2, 3):
        data.part("test", "a", purpose="score")
        assert data.test_reads("a") == data.test_reads("b") == n
    assert data.test_reads("c") == (3 if _overlap(data, "a", "test", "c") else 0)
    for _ in range(2):  # Train and val of a split count once for what they share with another's test.
        data.part("train", "a", purpose="train")
    assert data.test_reads("a") == 3
    shared = _overlap(data, "a", "train", "c")
    assert shared
    assert data.test_reads("c") == (3 if _overlap(data, "a", "test", "c") else 0) + 1


def test_a_split_made_afterwards_knows_earlier_readings(data: Dataset) -> None:
    data.part("test", "a", purpose="score")
    split_dataset(data.path, seed=1, name="later", near_duplicates="ignore")
    assert data.test_reads("later") == 1


def test_readings_through_a_split_that_was_removed_count(data: Dataset) -> None:
    data.part("test", "a", purpose="score")
    for suffix in ("json", "parquet"):
        (data.path / "splits" / f"a.{suffix}").unlink()
    assert data.test_reads("b") == 1


def test_folds_of_one_cross_validation_are_no_readings_of_each_other(stripes: MakeStripes) -> None:
    data = stripes(split=False)
    split_dataset(data.path, folds=3, name="cv", near_duplicates="ignore")
    for k in range(3):
        data.part("train", f"cv-{k}", purpose="train")
        data.part("val", f"cv-{k}", purpose="select")
    assert [data.test_reads(f"cv-{k}") for k in range(3)] == [0, 0, 0]
    data.part("test", "cv-1", purpose="score")
    assert [data.test_reads(f"cv-{k}") for k in range(3)] == [0, 1, 0]


def test_export_and_nearest_are_readings(data: Dataset, tmp_path: Path) -> None:
    export_dataset(data.path, tmp_path / "out", format="folder")
    assert data.test_reads("a") == data.test_reads("c") == 1
    data.add_array("cae", np.random.default_rng(0).normal(size=(len(data), 3)), {})
    find_nearest(data.path, query=[str(data.column("id")[int(data.split("a").rows("test")[0])])])
    assert data.test_reads("a") == 2


@pytest.mark.parametrize(
    "damage",
    ["log removed", "head removed", "both removed", "line removed", "line changed", "emptied", "last line"],
)
def test_what_is_missing_in_the_record_is_noticed_and_remembered(
    data: Dataset, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log, head = data.path / "reads.jsonl", data.path / "reads.json"
    assert data.reads_intact
    for _ in range(3):
        data.part("test", "a", purpose="score")
    assert data.reads_intact
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    if damage in ("log removed", "both removed"):
        log.unlink()
    if damage in ("head removed", "both removed"):
        head.unlink()
    if damage == "line removed":
        log.write_bytes(lines[0] + lines[2])
    if damage == "last line":
        log.write_bytes(lines[0] + lines[1])
    if damage == "line changed":
        log.write_bytes(lines[0] + lines[1].replace(b"score", b"train") + lines[2])
    if damage == "emptied":
        log.write_bytes(b"")
    assert not data.reads_intact
    for _ in range(2):
        capfd.readouterr()
        data.part("test", "a", purpose="score")
        assert "reads.jsonl" in capfd.readouterr().err
        assert not Dataset.open(data.path).reads_intact
    assert data.test_reads("a") >= 2


def test_a_kill_between_the_line_and_its_head_is_no_damage(data: Dataset) -> None:
    data.part("test", "a", purpose="score")
    before = (data.path / "reads.json").read_bytes()
    data.part("test", "a", purpose="score")
    (data.path / "reads.json").write_bytes(before)
    assert data.reads_intact
    assert data.test_reads("a") == 2


def test_a_split_covers_groups(data: Dataset) -> None:
    """A consistent edit of the table, its hash included, still does not fit the split."""
    table = pd.read_parquet(data.path / "samples.parquet")
    table.loc[table["group"] == "g3", "group"] = "another"
    table.to_parquet(data.path / "samples.parquet")
    _rehash(data.path)
    with pytest.raises(InputError, match=r"a\.parquet.*groups"):
        Dataset.open(data.path).part("train", "a", purpose="train")


def _rehash(path: Path) -> None:
    manifest = files.read_record(path / "dataset.json")
    manifest["table_file_sha256"] = files.sha256_file(path / "samples.parquet")
    files.write_record(path / "dataset.json", manifest)


@pytest.mark.parametrize("hash_too", [False, True])
def test_a_group_in_two_parts_is_refused_by_name(data: Dataset, hash_too: bool) -> None:
    path = data.path / "splits" / "a.parquet"
    table = pd.read_parquet(path)
    row = int(np.flatnonzero(table["part"] == "train")[0])
    group = data.column("group")[row]
    table.loc[row, "part"] = "test"
    table.to_parquet(path)
    if hash_too:
        from plenish.datasets.tables import split_hash

        about = files.read_record(path.with_suffix(".json"))
        about["hash"] = split_hash(table["id"].tolist(), table["part"].tolist(), data.column("group"))
        files.write_record(path.with_suffix(".json"), about)
    for use in (lambda: data.part("train", "a", purpose="train"), lambda: data.split("a")):
        with pytest.raises(InputError, match=rf"'{group}' is in train and test"):
            use()


def test_a_split_with_a_group_in_several_parts_is_not_written(stripes: MakeStripes) -> None:
    data = stripes(split=False)
    parts = ["train"] * len(data)
    parts[0] = "test"
    with pytest.raises(InputError, match="'g0' is in train and test"):
        data.add_split("shared", parts, {})
    assert data.split_names() == []


def test_a_split_of_before_groups_were_covered_opens(data: Dataset) -> None:
    from plenish.datasets.tables import split_hash

    path = data.path / "splits" / "a.json"
    about = files.read_record(path)
    del about["covers"]
    parts = data.split("a").part_of.tolist()
    about["hash"] = split_hash(data.column("id"), parts, None)
    files.write_record(path, about)
    assert data.split("a").part_of.tolist() == parts


def test_lines_are_json_with_what_was_read(data: Dataset) -> None:
    data.part("test", "a", purpose="study")
    line = json.loads((data.path / "reads.jsonl").read_text())
    assert (line["purpose"], line["part"], line["split"]) == ("study", "test", "a")
    assert line["hash"] == data.split("a").hash
