from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.datasets.partition import connected_units, partition
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import SplitCaveat, split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError

Make = Callable[..., Dataset]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A maker of Datasets from labels and groups; equal `pixels` numbers are equal images."""

    def made(
        labels: Sequence[Any],
        groups: Sequence[str | None] | None = None,
        pixels: Sequence[int] | None = None,
        kind: str = "categorical",
        names: tuple[str, ...] = (),
        **extra: Any,
    ) -> Dataset:
        n = len(labels)
        code = np.arange(n) if pixels is None else np.asarray(pixels)
        images = np.zeros((n, 2, 2, 1), np.uint8)
        images.reshape(n, 4)[:, :2] = np.stack([code % 256, code // 256], axis=1)
        if kind == "categorical":
            names = tuple(sorted(set(labels)))
        schema = LabelSchema(kind, names)  # type: ignore[arg-type]
        writer = DatasetWriter(
            tmp_path / "data", name="d", size=2, channels=1, labels=schema, config={}, extra=extra
        )
        with writer:
            writer.add(
                images,
                [{"label": y, "group": None if groups is None else groups[i]} for i, y in enumerate(labels)],
            )
        return writer.dataset

    return made


def _parts(data: Dataset, name: str = "default") -> np.ndarray[Any, Any]:
    return data.split(name).part_of.to_numpy()


def _cost(counts: np.ndarray[Any, Any], part: Sequence[int], shares: Sequence[float]) -> float:
    got = np.stack([counts[np.asarray(part) == p].sum(axis=0) for p in range(len(shares))]) / counts.sum(
        axis=0
    )
    weight = np.array([max(1, counts.shape[1] - 1), *[1] * (counts.shape[1] - 1)])
    return float((((got - np.asarray(shares)[:, None]) ** 2 * weight).sum(axis=1) / shares).sum())


@pytest.mark.parametrize("seed", range(6))
def test_small_divisions_are_as_good_as_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 9, (9, 2)).astype(float) + (rng.random((9, 2)) < 0.5)
    counts = np.column_stack([classes.sum(axis=1), classes])
    counts = counts[counts[:, 0] > 0]
    shares = [0.6, 0.2, 0.2]
    every = [p for p in itertools.product(range(3), repeat=len(counts)) if _covers(counts, p)]
    best = min(_cost(counts, p, shares) for p in every)
    found = partition(counts, np.array(shares), seed, required=2)
    assert found is not None
    assert _covers(counts, found)
    assert _cost(counts, found, shares) <= best + 0.005


def _covers(counts: np.ndarray[Any, Any], part: Sequence[int]) -> bool:
    return all((counts[np.asarray(part) == p].sum(axis=0) > 0).all() for p in range(3))


def test_equal_groups_are_divided_exactly(make: Make) -> None:
    labels = ["a", "a", "b"] * 40
    data = make(labels, [f"g{i // 3}" for i in range(120)])
    result = split_dataset(data.path, (0.7, 0.15, 0.15))
    about = result.splits[0].manifest
    assert about["counts"] == {"train": 84, "val": 18, "test": 18}
    assert about["worst_deviation"] == pytest.approx(0, abs=1e-12)
    assert about["groups"] == {"train": 28, "val": 6, "test": 6}


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_joined_units_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    groups, hashes = (np.array(c) for c in zip(*pairs))
    groups, hashes = (np.unique(c, return_inverse=True)[1] for c in (groups, hashes))
    unit = connected_units(groups, hashes)
    together = np.eye(len(pairs), dtype=bool) | (groups[:, None] == groups) | (hashes[:, None] == hashes)
    for _ in range(6):
        together = together @ together
    assert ((unit[:, None] == unit) == together).all()
    assert set(unit) == set(range(unit.max() + 1))


def test_groups_and_identical_pixels_stay_together(make: Make) -> None:
    rng = np.random.default_rng(3)
    n = 600
    groups = rng.integers(0, 60, n)
    pixels = np.arange(n)
    pixels[rng.permutation(n)[:12]] = np.repeat([1000, 1001, 1002, 1003], 3)
    labels = [str(v) for v in rng.choice(["a", "b", "c"], n, p=[0.7, 0.2, 0.1])]
    data = make(labels, [f"g{g}" for g in groups], pixels)
    result = split_dataset(data.path)
    table = data.table.assign(part=_parts(data))
    assert table.groupby("group")["part"].nunique().max() == 1
    assert table.groupby("sha256")["part"].nunique().max() == 1
    assert table["sha256"].duplicated().sum() == 8
    assert SplitCaveat("same-pixels", {"count": 8, "noun": "group"}) in result.caveats
    share = table.groupby("part").size() / n
    assert share.to_dict() == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.02)
    assert result.splits[0].manifest["worst_deviation"] < 0.03


def test_the_seed_decides(make: Make) -> None:
    data = make(["a", "b"] * 60)
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        split_dataset(data.path, seed=seed, name=name)
    assert (_parts(data, "one") == _parts(data, "again")).all()
    assert (_parts(data, "one") != _parts(data, "two")).any()


def test_a_frozen_split_is_not_overwritten(make: Make) -> None:
    data = make(["a", "b"] * 10)
    split_dataset(data.path)
    before = (data.path / "splits" / "default.parquet").read_bytes()
    with pytest.raises(InputError, match=r"'default' .*--name"):
        split_dataset(data.path, seed=9)
    assert (data.path / "splits" / "default.parquet").read_bytes() == before


def test_a_split_that_came_with_the_import_says_so(make: Make) -> None:
    data = make(["a", "b"] * 10)
    data.add_split("given", ["train"] * 12 + ["val"] * 4 + ["test"] * 4, {"verb": "import"})
    with pytest.raises(InputError, match=r"'given' .*import.*--name"):
        split_dataset(data.path, name="given")


def test_without_groups_it_says_so(make: Make) -> None:
    data = make(["a", "b"] * 10)
    assert split_dataset(data.path).caveats == (SplitCaveat("no-groups"),)


def test_rows_without_a_group_among_others_are_groups_of_their_own(make: Make) -> None:
    groups = [None if i % 2 else f"g{i % 10}" for i in range(80)]
    data = make(["a", "b", "b", "a"] * 20, groups)
    result = split_dataset(data.path)
    assert result.units == 40 + 5
    assert result.caveats == (SplitCaveat("without-group", {"images": 40}),)


def test_each_fold_is_test_once_and_val_once(make: Make) -> None:
    data = make(["a", "b", "b"] * 40, [f"g{i // 4}" for i in range(120)])
    result = split_dataset(data.path, folds=5, name="cv")
    assert [split.name for split in result.splits] == [f"cv-{k}" for k in range(5)]
    parts = np.stack([_parts(data, f"cv-{k}") for k in range(5)])
    assert ((parts == "test").sum(axis=0) == 1).all()
    assert ((parts == "val").sum(axis=0) == 1).all()
    for k in range(5):
        assert data.table.assign(part=parts[k]).groupby("group")["part"].nunique().max() == 1
        assert set(data.table["label"][parts[k] == "test"]) == {"a", "b"}


def test_a_share_of_zero_leaves_the_part_empty(make: Make) -> None:
    data = make(["a", "b"] * 20)
    result = split_dataset(data.path, (80, 0, 20))
    assert result.splits[0].manifest["counts"] == {"train": 32, "val": 0, "test": 8}
    assert SplitCaveat("no-part", {"part": "val"}) in result.caveats


def test_data_without_labels(make: Make) -> None:
    data = make([None] * 40, [f"g{i // 2}" for i in range(40)], kind="none")
    result = split_dataset(data.path)
    assert result.splits[0].manifest["counts"] == {"train": 28, "val": 6, "test": 6}
    assert result.summary()["stratified by"] == "nothing"


def test_tags_are_kept_even(make: Make) -> None:
    rng = np.random.default_rng(0)
    tags = [[t for t, p in (("red", 0.5), ("blue", 0.2)) if rng.random() < p] for _ in range(300)]
    data = make(tags, kind="multilabel", names=("red", "blue", "never"))
    about = split_dataset(data.path).splits[0].manifest
    assert about["worst_deviation"] < 0.02
    assert {"code": "unused-labels", "values": {"labels": ["never"]}} in about["caveats"]


def test_continuous_labels_are_kept_even(make: Make) -> None:
    values = np.random.default_rng(0).lognormal(size=400)
    data = make([[v] for v in values], kind="continuous", names=("thickness",))
    split_dataset(data.path)
    medians = [np.median(values[_parts(data) == p]) for p in ("train", "val", "test")]
    assert np.ptp(medians) < 0.15


@pytest.mark.parametrize(
    ("labels", "groups", "word"),
    [
        (
            ["a", "b"],
            None,
            r"2 images, .* 3 images.* 1 image ",
        ),
        (["a"] * 9 + ["b"], None, "'b' .*1 different image"),
        (
            ["a", "a", "b", "b"],
            ["p", "p", "q", "q"],
            r"4 images in 2 groups, .* 3 groups.* 1 group ",
        ),
        (["a"] * 12 + ["b"] * 3, [f"g{i}" for i in range(12)] + ["h"] * 3, "'b' .*1 group"),
    ],
)
def test_too_few_groups_are_refused_in_a_sentence(
    make: Make, labels: list[str], groups: list[str] | None, word: str
) -> None:
    data = make(labels, groups)
    with pytest.raises(InputError, match=word):
        split_dataset(data.path)
    assert data.split_names() == []


@pytest.mark.parametrize(
    "ratios", [(1, 0, 0), (0, 0.5, 0.5), (0.7, 0.3), (0.7, -0.1, 0.4), (float("nan"), 1, 1)]
)
def test_ratios_without_sense_are_refused(make: Make, ratios: tuple[float, ...]) -> None:
    data = make(["a", "b"] * 10)
    with pytest.raises(InputError, match="--ratios"):
        split_dataset(data.path, ratios)


def test_folds_of_what_another_split_holds_out(make: Make) -> None:
    data = make(["a", "b"] * 40, [f"g{i // 4}" for i in range(80)])
    split_dataset(data.path, ratios=(0.5, 0.25, 0.25))
    outer = _parts(data, "default")
    result = split_dataset(data.path, folds=2, name="held", held_out_of="default")
    first, second = (np.asarray(_parts(data, split.name)) for split in result.splits)
    assert ((first == "train") == (np.asarray(outer) == "train")).all()
    assert ((first == "train") == (second == "train")).all()
    assert ((first == "test") == (second == "val")).all()
    assert ((first == "val") == (second == "test")).all()
    assert [(first == part).sum() for part in ("test", "val")] == [20, 20]
    assert result.units == 10
    assert result.splits[0].manifest["held_out_hash"] == data.split().hash
    with pytest.raises(InputError, match=r"--held-out-of .* --folds"):
        split_dataset(data.path, held_out_of="default", name="other")
    with pytest.raises(InputError, match="at least 2"):
        split_dataset(data.path, folds=1, held_out_of="default", name="other")


def test_two_folds_are_too_few(make: Make) -> None:
    with pytest.raises(InputError, match="--folds"):
        split_dataset(make(["a", "b"] * 10).path, folds=2)


def test_synthetic_data_are_not_split(make: Make) -> None:
    data = make(["a", "b"] * 10, generator={"run": "x"})
    with pytest.raises(InputError, match=r"synthetic"):
        split_dataset(data.path)


def test_the_command_prints_how_close_it_came(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(["a", "b"] * 30, [f"g{i // 3}" for i in range(60)])
    assert cli.run(["split", str(data.path), "--ratios", "0.6", "0.2", "0.2", "--seed", "3"]) == 0
    assert "60.0 %" in capsys.readouterr().out
    assert cli.run(["split", str(data.path)]) == 2


def test_a_class_in_many_groups_but_entangled_is_placed_in_every_part(make: Make) -> None:
    # Every group that holds a rare class holds another one too.
    labels = ["a", "b"] * 3 + ["a", "c"] * 3 + ["a"] * 60
    groups = [f"g{i // 2}" for i in range(len(labels))]
    data = make(labels, groups)
    split_dataset(data.path)
    assert data.table.assign(part=_parts(data)).groupby("label")["part"].nunique().tolist() == [3, 3, 3]


def test_folds_cut_short_by_a_kill_are_completed(make: Make) -> None:
    data = make(["a", "b"] * 20)
    whole = [_parts(data, split.name).tolist() for split in split_dataset(data.path, folds=4).splits]
    for k in (2, 3):
        for suffix in ("json", "parquet"):
            (data.path / "splits" / f"default-{k}.{suffix}").unlink()
    with pytest.raises(InputError, match=r"'default-0'.*--name"):
        split_dataset(data.path, folds=4, seed=1)
    assert data.split_names() == ["default-0", "default-1"]
    again = split_dataset(data.path, folds=4)
    assert [split.part_of.tolist() for split in again.splits] == whole
    assert again.summary()["parts"]
    third = split_dataset(data.path, folds=4)
    assert [split.hash for split in third.splits] == [split.hash for split in again.splits]
