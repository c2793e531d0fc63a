"""`plenish nearest`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.neighbours import find_nearest, nearest


def test_neighbours_have_their_querys_label(encoded: Dataset, tmp_path: Path) -> None:
    ids = encoded.column("id")
    made = find_nearest(encoded.path, query=[ids[0], ids[1]], n=5, out=tmp_path / "near")
    assert made["same_label"] == 1
    assert made["same_label_by_chance"] == 0.5
    group = dict(zip(ids, encoded.column("group")))
    assert all(group[row["id"]] != group[row["query"]] for row in made["neighbours"])
    table = pd.read_csv(tmp_path / "near" / "neighbours.csv")
    assert len(table) == 10
    assert table["distance"].groupby(table["query"]).is_monotonic_increasing.all()
    picture = np.asarray(Image.open(tmp_path / "near" / "nearest.png"))
    assert np.array_equal(picture[8:72:4, 8:72:4], encoded.pixels.read(np.array([0]))[0])
    same = find_nearest(encoded.path, query=[ids[0]], n=59, same_group=True)
    assert len(same["neighbours"]) == 59


def test_neighbours_are_the_nearest_and_never_the_query() -> None:
    x = np.random.default_rng(0).normal(size=(40, 5)) * np.linspace(3, 0.5, 5) + 7
    queries = np.array([0, 7, 39])
    rows, distances = nearest(x, queries, 4)
    d = cdist(x[queries], x)
    d[np.arange(3), queries] = np.inf
    assert np.array_equal(rows, np.argsort(d, axis=1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(d, axis=1)[:, :4], rtol=1e-3)
    far = x + 2.0**12
    assert np.array_equal(nearest(far, queries, 4)[0], rows)


def test_neighbours_of_many_queries_are_those_of_each() -> None:
    x = np.random.default_rng(0).integers(0, 50, (1200, 3))  # whole numbers: no rounding
    groups = [f"g{i % 40}" for i in range(1200)]
    rows, distances = nearest(x, np.arange(1200), 5, groups=groups)
    for start in range(0, 1200, 100):
        some, apart = nearest(x, np.arange(start, start + 100), 5, groups=groups)
        assert np.array_equal(some, rows[start : start + 100])
        assert np.array_equal(apart, distances[start : start + 100])
    assert nearest(x, np.arange(0), 5)[0].shape == (0, 5)


def test_neighbours_of_the_querys_group_are_left_out() -> None:
    x = np.arange(6.0)[:, None]
    groups = ["a", "a", "a", "b", "b", None]
    rows, distances = nearest(x, np.array([0, 5]), 4, groups=groups)
    assert rows.tolist() == [[3, 4, 5, -1], [4, 3, 2, 1]]
    assert np.isinf(distances[0, 3])


@pytest.mark.parametrize(
    ("more", "value"),
    [({"array": "cea"}, "'cae'"), ({"query": ["nobody"]}, "'nobody'"), ({"n": 0}, "-n .* 1")],
)
def test_bad_requests_are_refused(encoded: Dataset, tmp_path: Path, more: dict, value: str) -> None:
    with pytest.raises(InputError, match=value):
        find_nearest(encoded.path, **({"query": encoded.column("id")[:1], "out": tmp_path / "out"} | more))
    assert not (tmp_path / "out").exists()


def test_from_the_command_line(encoded: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = encoded.column("id")[0]
    words = ["nearest", str(encoded.path), str(tmp_path / "n"), "--query", first, "-n", "3", "--json"]
    assert cli.run(words) == 0
    assert len(json.loads(capsys.readouterr().out)["neighbours"]) == 3
    assert (tmp_path / "n" / "nearest.png").is_file()
