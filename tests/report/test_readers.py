from __future__ import annotations

from pathlib import Path

from fabricate import make_data

from plenish.metrics.reader_study import Answer, keep
from plenish.report.inputs import gather
from plenish.report.page import Table
from plenish.report.readers import readers


def test_the_report_shows_each_reading(tmp_path: Path) -> None:
    real = make_data(tmp_path / "real", ("a", "b"))
    other = make_data(
        tmp_path / "other",
        ("a", "b"),
        extra={"generator": {"name": "made up", "version": "1", "training_set": "real", "data": {}}},
        seed=1,
    )
    given = {"data": real.path, "synthetic": other.path}
    assert readers(gather(**given)) is None
    answers = [Answer(str(i), "real" if i % 2 else "synthetic", "real", 1.0) for i in range(40)]
    keep(real, other.path, other.provenance(), "ana", 0, answers)
    section = readers(gather(**given))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row["reader"] for row in table.rows] == ["ana"]
    assert str(table.rows[0]["right"]).startswith("0.50 (0.35 to 0.65)")
    assert str(table.rows[0]["synthetic taken for synthetic"]).startswith("0.00 (0.00 to 0.16)")
