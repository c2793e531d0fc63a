"""`plenish latents` and `plenish nearest`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.latents import correlate, draw, find_nearest, latents
from plenish.latent.projection import Components


@pytest.fixture
def encoded(stripes) -> Dataset:
    """Stripes with encodings whose first number is the class and whose others are noise."""
    data = stripes()
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 2
    array = np.column_stack([10.0 * codes, rng.normal(size=(60, 3))]).astype(np.float32)
    data.add_array("cae", array, {"space": "latent", "model": {"run": "r"}})
    return data


def test_the_component_that_is_the_class_is_found(encoded: Dataset, tmp_path: Path) -> None:
    made = latents(encoded.path, tmp_path / "out", components=3)
    strongest = made.summary()["strongest"][0]
    assert (strongest["column"], strongest["component"]) == ("label", 1)
    assert strongest["value"] > 0.99
    table = pd.read_csv(tmp_path / "out" / "correlations.csv")
    assert not set(table["column"]) & {"id", "sha256", "source", "origin"}
    places = pd.read_parquet(tmp_path / "out" / "projection.parquet")
    assert places["id"].tolist() == encoded.column("id")
    train = encoded.split().rows("train")
    fit = Components.fit(encoded.array("cae")[train], 3)
    np.testing.assert_allclose(places[["pc1", "pc2", "pc3"]], fit.project(encoded.array("cae")))
    assert "36 images of train" in made.content["fitted_on"]
    picture = np.asarray(Image.open(tmp_path / "out" / "pca.png").convert("RGB"))
    assert picture.std() > 1


def test_numbers_and_words_are_correlated_each_in_their_way() -> None:
    x = np.arange(20.0)
    table = pd.DataFrame(
        {
            "id": [str(i) for i in range(20)],
            "rising": np.exp(x),
            "holed": [None if i % 4 else float(-i) for i in range(20)],
            "half": ["low"] * 10 + ["high"] * 10,
            "flag": [True, False] * 10,
            "constant": 1,
            "unique": [f"n{i}" for i in range(20)],
            "tags": [["a"]] * 20,
        }
    )
    found = correlate(table, x[:, None]).set_index("column")
    assert set(found.index) == {"rising", "holed", "half", "flag"}
    assert found.loc["rising", "value"] == pytest.approx(1)
    assert found.loc["holed", "value"] == pytest.approx(-1)
    assert found.loc["holed", "rows"] == 5
    assert found.loc["half", "measure"] == "eta_squared"
    assert found.loc["flag", "measure"] == "eta_squared"


@pytest.mark.parametrize(
    "values",
    [
        None,
        pd.Series([1.0, None, 3.0, 2.0] * 5),
        pd.Series([f"c$lass{i % 15}" for i in range(20)]),
        pd.Series(["a", None] * 10),
    ],
    ids=["none", "numbers", "many", "missing"],
)
def test_every_kind_of_column_can_be_drawn(values: pd.Series | None, tmp_path: Path) -> None:
    xy = np.random.default_rng(0).normal(size=(20, 2))
    draw(tmp_path / "x.png", xy, values, "co$lumn", ("a", "b"))
    assert Image.open(tmp_path / "x.png").width > 500


def test_neighbours_have_their_querys_label(encoded: Dataset, tmp_path: Path) -> None:
    ids = encoded.column("id")
    made = find_nearest(encoded.path, query=[ids[0], ids[1]], n=5, out=tmp_path / "near")
    assert made.agreement["same_label"] == 1
    assert made.agreement["same_label_by_chance"] == 0.5
    group = dict(zip(ids, encoded.column("group")))
    assert all(group[row["id"]] != group[row["query"]] for row in made.rows)
    table = pd.read_csv(tmp_path / "near" / "neighbours.csv")
    assert len(table) == 10
    assert table["distance"].groupby(table["query"]).is_monotonic_increasing.all()
    picture = np.asarray(Image.open(tmp_path / "near" / "nearest.png"))
    assert np.array_equal(picture[8:72:4, 8:72:4], encoded.pixels.read(np.array([0]))[0])
    same = find_nearest(encoded.path, query=[ids[0]], n=59, same_group=True)
    assert len(same.rows) == 59


@pytest.mark.parametrize(
    ("verb", "more", "sentence"),
    [
        ("latents", {"array": "cea"}, "did you mean 'cae'"),
        ("latents", {"colour": "lable"}, "did you mean 'label'"),
        ("latents", {"components": 1}, "at least 2"),
        ("nearest", {"query": ["nobody"]}, "Unknown image"),
        ("nearest", {"n": 0}, "at least 1"),
    ],
)
def test_bad_requests_are_told(
    encoded: Dataset, tmp_path: Path, verb: str, more: dict, sentence: str
) -> None:
    asked: dict = {"out": tmp_path / "out"}
    if verb == "nearest":
        asked["query"] = [encoded.column("id")[0]]
    function = {"latents": latents, "nearest": find_nearest}[verb]
    with pytest.raises(InputError, match=sentence):
        function(encoded.path, **(asked | more))  # type: ignore[operator]
    assert not (tmp_path / "out").exists()


def test_data_without_arrays_are_told_how_to_make_one(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plenish encode RUN"):
        latents(stripes().path, tmp_path / "out")


def test_from_the_command_line(encoded: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = encoded.column("id")[0]
    assert cli.run(["latents", str(encoded.path), str(tmp_path / "l"), "--colour", "group", "--quiet"]) == 0
    capsys.readouterr()
    words = ["nearest", str(encoded.path), str(tmp_path / "n"), "--query", first, "-n", "3", "--json"]
    assert cli.run(words) == 0
    assert len(json.loads(capsys.readouterr().out)["neighbours"]) == 3
    assert (tmp_path / "n" / "nearest.png").is_file()
