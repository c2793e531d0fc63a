from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fabricate import make_data
from PIL import Image

from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.perceptual_hash import hashes
from plenish.errors import InputError
from plenish.metrics.domain import DomainConfig, DomainNetwork
from plenish.metrics.features import domain_extractor, is_fitted
from plenish.studio.browse import (
    COLUMNS,
    FEATURES,
    DataState,
    Filter,
    Vectors,
    View,
    neighbour_kinds,
    neighbours,
    png,
    select,
    set_table,
    shared_kinds,
    sprite,
)


def test_filters_choose_the_rows_that_fit(real: Dataset) -> None:
    table, part = real.table, real.split().part_of.to_numpy()
    assert (select(real, Filter()) == np.arange(150)).all()
    assert (select(real, Filter("default/")) == np.flatnonzero(part != "test")).all()
    found = select(real, Filter("default/val", "tumour"))
    assert (found == np.flatnonzero((part == "val") & (table["label"] == "tumour"))).all()
    assert 0 < len(found) < 150
    patient = select(real, Filter(column="group", value="p03"))
    assert (patient == np.flatnonzero(table["group"] == "P03")).all()
    assert len(select(real, Filter(origin="synthetic"))) == 0
    shuffled = select(real, Filter(shuffled=True))
    assert sorted(shuffled) == list(range(150))
    assert (shuffled != np.arange(150)).any()


def test_numbers_are_filtered_by_a_range(real: Dataset) -> None:
    real.table["age"] = np.arange(150) / 2.0  # in memory alone
    wanted = {"10..12.5": range(20, 26), "..1": range(3), "74..": range(148, 150), "3": [6], "1e1..1e1": [20]}
    for value, rows in wanted.items():
        assert select(real, Filter(column="age", value=value)).tolist() == list(rows)
    with pytest.raises(InputError):
        select(real, Filter(column="age", value="old"))


def test_unknown_labels_columns_and_splits_are_refused(real: Dataset) -> None:
    for wanted in (Filter(label="x"), Filter(column="x", value="y"), Filter("x/train"), Filter("../../etc/")):
        with pytest.raises(InputError):
            select(real, wanted)


def test_a_sprite_holds_the_images_in_order(real: Dataset) -> None:
    rows = np.arange(13)
    sheet = np.asarray(Image.open(io.BytesIO(sprite(real, rows))).convert("RGB"), float)
    assert sheet.shape == (2 * 16, COLUMNS * 16, 3)
    cell = sheet[16:32, 2 * 16 : 3 * 16]
    images = real.pixels.read(rows).astype(float)
    errors = [np.abs(cell - image).mean() for image in images]
    assert int(np.argmin(errors)) == 12
    assert errors[12] < 10


def test_a_png_is_exact_and_says_nothing_else(real: Dataset) -> None:
    pixels = real.pixels.read(np.array([3]))[0]
    image = Image.open(io.BytesIO(png(pixels)))
    assert (np.asarray(image) == pixels).all()
    assert image.info == {}


def test_neighbours_are_those_of_the_hashes(real: Dataset, synthetic: Dataset) -> None:
    mine = hashes(real.pixels.read(np.arange(150)))
    allowed = np.arange(150) % 3 > 0
    rows, apart = neighbours(Vectors(), real, 7, "picture", real, allowed)
    distances = np.linalg.norm(mine - mine[7], axis=1)
    distances[~allowed] = np.inf
    distances[7] = np.inf
    assert (rows == np.argsort(distances, kind="stable")[:12]).all()
    assert np.allclose(apart, np.sort(distances)[:12], atol=1e-3)
    theirs = hashes(synthetic.pixels.read(np.arange(60)))
    rows, _ = neighbours(Vectors(), real, 7, "picture", synthetic, np.ones(60, bool))
    assert (rows == np.argsort(np.linalg.norm(theirs - mine[7], axis=1), kind="stable")[:12]).all()


def test_marks_are_sets_of_ids(real: Dataset) -> None:
    state = DataState()
    assert state.mark("lumen", "r", 4)
    assert state.mark("lumen", "r", 2)
    assert not state.mark("lumen", "r", 4)
    assert state.mark("lumen", "r", 5)
    assert state.count("lumen") == 2
    table = pd.read_csv(io.BytesIO(set_table(state.sets["lumen"], {"r": real})), dtype=str)
    assert table["id"].tolist() == real.table["id"].iloc[[2, 5]].tolist()
    assert table["label"].tolist() == real.table["label"].iloc[[2, 5]].tolist()


def test_no_cell_of_a_set_is_a_formula(real: Dataset) -> None:
    real.table["id"] = ["=HYPERLINK(1)"] * 150
    assert b"'=HYPERLINK" in set_table({"r": [0]}, {"r": real})


def test_only_the_newest_views_are_kept() -> None:
    state = DataState()
    keys = [state.add(View("r", np.arange(3))) for _ in range(20)]
    assert (state.view(keys[-1]).rows == np.arange(3)).all()
    with pytest.raises(InputError):
        state.view(keys[0])


def test_a_range_is_read_as_numbers_and_a_long_one_is_cut(real: Dataset) -> None:
    real.table["amount"] = np.arange(len(real), dtype=float)
    for value, rows in {
        "3": [3], " 2 .. 4.5 ": [2, 3, 4], "..1e0": [0, 1], "1.48e2..": [148, 149], "-5..0": [0],
        "1_..": None, " ": None, "1..2..3": None, "." * 5000: None, "1" * 5000: [],
    }.items():  # fmt: skip
        wanted = Filter(column="amount", value=value)
        if rows is None:
            with pytest.raises(InputError):
                select(real, wanted)
        else:
            assert select(real, wanted).tolist() == rows


def test_views_in_use_and_views_of_neighbours_displace_no_other() -> None:
    state = DataState()
    grid = state.add(View("r", np.arange(3)))
    for _ in range(30):
        state.add(View("r", np.arange(2)), near=True)
    assert len(state.view(grid).rows) == 3
    for _ in range(30):
        state.add(View("r", np.arange(2)))
        state.view(grid)


def test_arrays_are_compared_where_one_model_made_them(tmp_path: Path) -> None:
    a, b = (make_data(tmp_path / name, ("x", "y"), n=12, size=16) for name in "ab")
    rng = np.random.default_rng(0)
    made = {
        "same": ({"model": {"weights_sha256": "1"}}, {"model": {"weights_sha256": "1"}}),
        "flat": ({"weights_sha256": "1"}, {"weights_sha256": "1"}),
        "other": ({"model": {"weights_sha256": "1"}}, {"model": {"weights_sha256": "2"}}),
        "unknown": ({}, {}),
    }
    for name, about in made.items():
        for data, one in zip((a, b), about, strict=True):
            data.add_array(name, rng.normal(size=(12, 3)), {"space": "z", **one})
    for data, width in ((a, 3), (b, 4)):
        data.add_array("wide", rng.normal(size=(12, width)), {"space": "z", "weights_sha256": "1"})
    assert shared_kinds(a, b) == ["picture", "flat", "same"]
    assert shared_kinds(a, a) == ["picture", "flat", "other", "same", "unknown", "wide"]


def test_features_find_neighbours_where_the_extractor_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfitted(train: Subset, config: DomainConfig, *_: object) -> DomainNetwork:
        return DomainNetwork(config, train.dataset.labels.width)

    monkeypatch.setattr("plenish.metrics.features.fit_domain_network", unfitted)
    real, other, third = (make_data(tmp_path / str(i), ("x", "y"), n=40, size=16, seed=i) for i in range(3))
    assert not is_fitted(real)
    assert FEATURES not in neighbour_kinds(real)
    assert not list((real.path / "caches").glob("domain-*"))
    extractor = domain_extractor(real)
    assert is_fitted(real)
    assert neighbour_kinds(real) == ["picture", FEATURES]
    assert shared_kinds(other, real) == shared_kinds(real, other) == ["picture", FEATURES]
    assert shared_kinds(other, third) == ["picture"]
    vectors, allowed = Vectors(), np.arange(40) % 2 == 1
    for a, b in ((real, real), (other, real), (real, other)):
        rows, apart = neighbours(vectors, a, 3, FEATURES, b, allowed)
        x, y = extractor(a.pixels.read(np.array([3]))), extractor(b.pixels.read(np.arange(40)))
        truth = np.linalg.norm((y - x).astype(float), axis=1)
        wanted = [row for row in np.argsort(truth) if row % 2 and not (a is b and row == 3)][:12]
        np.testing.assert_allclose(apart, truth[wanted], rtol=1e-3)
        assert rows.tolist() == wanted
