"""Images of another generator: a synthetic Dataset whose training set is unknown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli, files
from plenish.commands.datasets import export_dataset, import_dataset, split_dataset
from plenish.commands.profile import profile_dataset
from plenish.datasets.dataset import Dataset
from plenish.datasets.synthetic import generator_words, stated_generator
from plenish.errors import InputError

STATED = "StyleGAN3, 1.2, chest X-rays, 2017"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of two classes, with a table in which they have groups and a split."""
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(6)]
    (tmp_path / "in").mkdir()
    for name in names:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "in" / name)
    table = {
        "file_name": names, "label": ["a", "b"] * 3, "patient": ["p", "q"] * 3,
        "split": ["train", "test", "val"] * 2, "psi": [0.5] * 6,
    }  # fmt: skip
    pd.DataFrame(table).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "in"


def run(words: list[str]) -> int:
    return cli.run(words)


def words(folder: Path, out: Path, *more: str) -> list[str]:
    table = str(folder.parent / "table.csv")
    columns = ["--labels", table, "--group-column", "patient", "--split-column", "split"]
    return ["import", str(folder), str(out), "--size", "8", *columns, *more]


def test_rows_are_synthetic_without_groups_and_all_train(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(words(folder, out, "--synthetic", "--generator", STATED, "--quiet")) == 0
    data = Dataset.open(out)
    assert data.is_synthetic
    assert data.manifest.extra["generator"] == {
        "name": "StyleGAN3", "version": "1.2", "training_set": "chest X-rays, 2017", "data": {},
    }  # fmt: skip
    table = data.table
    assert set(table["origin"]) == {"synthetic"}
    assert set(table["generator"]) == {"StyleGAN3 1.2"}
    assert table["group"].isna().all()
    assert list(table["label"]) == ["a", "b"] * 3
    assert list(table["psi"]) == [0.5] * 6, "the user's own columns are kept"
    assert set(data.split().part_of) == {"train"}
    np.testing.assert_array_equal(data.array("y"), np.eye(2)[[0, 1] * 3])
    assert data.array_manifest("y")["space"] == "labels"
    croissant = json.loads((out / "croissant.json").read_text(encoding="utf-8"))
    assert "chest X-rays, 2017" in croissant["prov:wasDerivedFrom"][0]["prov:label"]
    assert "@id" not in croissant["prov:wasDerivedFrom"][0], "no Dataset of ours is named"


def test_a_kill_right_after_the_rename_loses_no_metadata(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = import_dataset(folder, tmp_path / "whole", 8, synthetic=True, generator=STATED).dataset
    out, flush = tmp_path / "out", files.flush_folder

    def killed(place: Path) -> None:
        if out.exists():
            raise KeyboardInterrupt
        flush(place)

    monkeypatch.setattr(files, "flush_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        import_dataset(folder, out, 8, synthetic=True, generator=STATED)
    assert not out.with_name("out.partial").exists()
    found, other = (json.loads((x / "croissant.json").read_text(encoding="utf-8")) for x in (out, whole.path))
    named = ("name", "prov:wasGeneratedBy")  # Which tell of OUT.
    assert found | {key: other[key] for key in named} == other
    assert str(out) in found["prov:wasGeneratedBy"]["prov:label"]
    assert found["distribution"][0]["sha256"] == files.sha256_file(out / "samples.parquet")


def test_the_generator_and_the_option_go_together(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for more in (["--synthetic"], ["--synthetic", "--generator", " , 2"], ["--generator", "x"]):
        assert run(words(folder, out, *more)) == 2
        assert not list(tmp_path.glob("out*"))


def test_an_export_of_it_is_imported_as_it_was(folder: Path, tmp_path: Path) -> None:
    made = import_dataset(folder, tmp_path / "a", 8, synthetic=True, generator=STATED).dataset
    for kind in ("folder", "npz"):
        export_dataset(made.path, tmp_path / kind, format=kind)
        back = import_dataset(tmp_path / kind, tmp_path / f"{kind}-back").dataset
        assert back.manifest.table_hash == made.manifest.table_hash
        assert back.manifest.extra["generator"] == made.manifest.extra["generator"]
        assert (back.path / "croissant.json").is_file()
    with pytest.raises(InputError, match="leave out --synthetic"):
        import_dataset(tmp_path / "folder", tmp_path / "c", synthetic=True, generator="other")


def test_a_real_export_may_be_stated_to_be_synthetic(folder: Path, tmp_path: Path) -> None:
    run(words(folder, tmp_path / "real", "--quiet", "--no-keep-split"))
    export_dataset(tmp_path / "real", tmp_path / "out")
    data = import_dataset(tmp_path / "out", tmp_path / "b", synthetic=True, generator="unknown").dataset
    assert set(data.table["origin"]) == {"synthetic"}
    assert data.table["group"].isna().all()
    assert list(data.table["id"]) == list(Dataset.open(tmp_path / "real").table["id"])


def test_what_knows_it_says_who_made_it(folder: Path, tmp_path: Path) -> None:
    made = import_dataset(folder, tmp_path / "a", 8, synthetic=True, generator="StyleGAN3").dataset
    known = generator_words(made.manifest.extra["generator"])
    export_dataset(made.path, tmp_path / "hub", format="huggingface")
    assert known in (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    profile_dataset(made.path, tmp_path / "profile")
    assert json.loads((tmp_path / "profile/profile.json").read_text())["generator"] == known
    with pytest.raises(InputError, match="synthetic"):
        split_dataset(made.path)


@pytest.mark.parametrize(
    ("text", "name", "version", "training"),
    [
        ("a", "a", "", ""),
        ("a, 1", "a", "1", ""),
        ("a,,b, c", "a", "", "b, c"),
        ("unknown", "unknown", "", ""),
    ],
)
def test_statements_are_taken_apart_at_commas(text: str, name: str, version: str, training: str) -> None:
    found = stated_generator(text)
    assert (found["name"], found["version"], found["training_set"]) == (name, version, training)
    assert ("unknown images" in generator_words(found)) == (not training)
