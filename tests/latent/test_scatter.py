"""`plenish latents`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.projection import Components
from plenish.latent.scatter import correlate, draw, draw_encodings


def test_the_component_that_is_the_class_is_found(encoded: Dataset, tmp_path: Path) -> None:
    made = draw_encodings(encoded.path, tmp_path / "out", components=3)
    strongest = made["strongest"][0]
    assert (strongest["column"], strongest["component"]) == ("label", 1)
    assert strongest["value"] > 0.99
    table = pd.read_csv(tmp_path / "out" / "correlations.csv")
    assert not set(table["column"]) & {"id", "sha256", "source", "origin"}
    coordinates = pd.read_parquet(tmp_path / "out" / "projection.parquet")
    assert coordinates["id"].tolist() == encoded.column("id")
    train = encoded.split().rows("train")
    fit = Components.fit(encoded.array("cae")[train], 3)
    np.testing.assert_allclose(coordinates[["pc1", "pc2", "pc3"]], fit.project(encoded.array("cae")))
    assert "36 images of train" in made["fitted_on"]
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


@pytest.mark.parametrize(
    ("more", "value"),
    [({"array": "cea"}, "'cae'"), ({"colour": "lable"}, "'label'"), ({"components": 1}, "--components")],
)
def test_bad_requests_are_refused(encoded: Dataset, tmp_path: Path, more: dict, value: str) -> None:
    with pytest.raises(InputError, match=value):
        draw_encodings(encoded.path, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_data_without_arrays_are_refused_with_the_verb_that_makes_one(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plenish encode RUN"):
        draw_encodings(stripes().path, tmp_path / "out")


def test_from_the_command_line(encoded: Dataset, tmp_path: Path) -> None:
    assert cli.run(["latents", str(encoded.path), str(tmp_path / "l"), "--colour", "group", "--quiet"]) == 0
    assert (tmp_path / "l" / "pca.png").is_file()
