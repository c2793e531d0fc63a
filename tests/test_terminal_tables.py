from __future__ import annotations

import itertools
import string

import pytest

from plenish.terminal_tables import as_text
from plenish.wording import Sentences


@pytest.mark.parametrize("columns", [30, 45, 60, 80, 120])
def test_no_word_is_broken_and_no_line_too_long_in_a_narrow_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("part", "images", "groups", "asked", "normal", "tumour")
    rows = [
        dict(zip(names, (part, 48, 4, "15.0 %", "52.1 %", "47.9 %"))) for part in ("train", "val", "test")
    ]
    said = as_text({"parts": rows})
    assert max(map(len, said.splitlines())) <= columns
    for cell in (*names, "train", "15.0 %"):
        assert cell in said
    tabular = any("train" in line and "47.9 %" in line for line in said.splitlines())
    assert tabular == (columns >= 60)


@pytest.mark.parametrize("columns", [30, 60, 80, 100])
def test_no_cell_is_cut_off(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lengths = [(30, 24, 9, 14), (8, 60, 30, 30), (26, 26, 26, 26), (12, 12, 12, 40), (5, 90, 12, 12)]
    letters = iter(string.ascii_lowercase)
    cells = [[next(letters) * length for length in row] for row in lengths]
    rows = [dict(zip("ABCD", row, strict=True)) for row in cells]
    said = as_text({"Z": "z" * 200, "ROWS": rows, "W" * 40: "w"})
    assert max(map(len, said.splitlines())) <= columns
    assert said.count("z") == 200
    for cell in itertools.chain(*cells):
        assert said.count(cell[0]) == len(cell)


def test_rows_and_cells_without_content_are_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = {f"column {number}": number for number in range(10)}
    said = as_text(
        {"wide": [wide, {}, {**wide, "column 3": 33}], "empty": [{}, {}], "blank": [{"cell": " " * 13}]}
    )
    assert "wide 1" in said
    assert "wide 2" not in said
    assert "wide 3" in said
    assert "33" in said
    assert "empty" not in said


def test_sentences_are_not_joined_by_commas() -> None:
    said = as_text({"doubts": Sentences(["Few groups.", "No val."]), "parts": ["train", "test"]})
    assert ".," not in said
    assert said.count("•") == 2
    assert "train, test" in said
