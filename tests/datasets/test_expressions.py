"""Conditions mean what Python's own sets and comparisons say, and mistakes are named with their place."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plenish.datasets.expressions import Columns, parse
from plenish.errors import InputError

ROWS: list[dict[str, Any]] = [
    {"tags": ["1girl", "solo"], "width": 300, "score": 0.5, "label": "a", "good": True, "day": 1},
    {"tags": ["1girl", "comic"], "width": 200, "score": None, "label": "b", "good": False, "day": 2},
    {"tags": ["solo", "sakura_(naruto)"], "width": 256, "score": -1.0, "label": None, "good": None, "day": 3},
    {"tags": [], "width": 512, "score": 2.0, "label": "c d", "good": True, "day": 4},
    {"tags": None, "width": None, "score": 0.0, "label": "a", "good": False, "day": 5},
]


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Columns:
    path = tmp_path_factory.mktemp("table") / "samples.parquet"
    big = [2**53, 2**53 + 1, 2**63 - 1, 2**53 + 2, 2**53]  # No floats tell the first two apart.
    sizes = [[2, 3], [2], [], None, [1]]
    rows = [
        row | {"day": datetime.date(2026, 1, row["day"]), "big": number, "sizes": some}
        for row, number, some in zip(ROWS, big, sizes, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Columns(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tags any(1girl, solo)", [0, 1, 2]),
        ("tags all(1girl, solo)", [0]),
        ("not tags any(comic)", [0, 2, 3, 4]),
        ("tags any(1girl, solo) and not tags any(comic) and width >= 256", [0, 2]),
        ('tags any("sakura_(naruto)")', [2]),
        ("width >= 256 or score is missing", [0, 1, 2, 3]),
        ("width is not missing and not (width > 256)", [1, 2]),
        ("score < 0.5", [2, 4]),
        ("score != 0.5", [2, 3, 4]),
        ("label in (a, b)", [0, 1, 4]),
        ("label not in (a, b)", [2, 3]),
        ("label == 'c d'", [3]),
        ("label != a", [1, 3]),
        ("width in (200, 512)", [1, 3]),
        ("width in (200.5, 512.0)", [3]),
        ("width in (inf, nan, -1, 100000000000000000000)", []),
        ("width <= inf and width != 100000000000000000000", [0, 1, 2, 3]),
        ("big == 9007199254740993", [1]),
        ("big in (9007199254740992)", [0, 4]),
        ("big > 9007199254740992", [1, 2, 3]),
        ("sizes any(2.5)", []),
        ("sizes all(2, 3)", [0]),
        ("good", [0, 3]),
        ("good == false", [1, 4]),
        ("day == 2026-01-02", [1]),
        # and binds more tightly than or.
        ("label == b or label == a and width == 300", [0, 1]),
        ("not not good", [0, 3]),
    ],
)
def test_what_conditions_mean(columns: Columns, text: str, wanted: list[int]) -> None:
    assert np.flatnonzero(parse(text)(columns)).tolist() == wanted


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("", 0, ""), ("width >=", 8, ""), ("tags any(1girl", 14, ")"), ("width 3", 6, "3"),
        ("(good", 5, ")"), ("label == 'a", 9, "quotes"), ("and good", 0, "and"), ("good good", 5, "good"),
        ("label is empty", 9, "missing"), ("tags any()", 9, ""), ("good; import os", 6, "import"),
        ("__import__('os')", 10, "("), ("(" * 200 + "good" + ")" * 200, 100, "brackets"),
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_its_place(
    columns: Columns, text: str, place: int, word: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)(columns)
    assert (caught.value.code, caught.value.value) == ("expression", place)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "fix"),
    [
        ("good and widht > 3", 9, "width"), ("tags any(solo, 1grl)", 15, "1girl"), ("label == aa", 9, "'a'"),
        ("tags == solo", 0, "any"), ("label any(a)", 0, "=="), ("label > 3", 0, "=="),
        ("width > wide", 8, "number"), ("good == 1", 8, "true"), ("width", 0, "=="),
    ],
)  # fmt: skip
def test_what_does_not_suit_the_columns_is_refused_with_the_fix(
    columns: Columns, text: str, place: int, fix: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)(columns)
    assert caught.value.value == place
    assert fix in str(caught.value)
