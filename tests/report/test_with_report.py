"""What follows a measurement must not cost it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plenish.metrics.score import ScoreResult
from plenish.report.build import with_report


def test_a_missing_drawing_library_costs_the_report_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(folder: Path, kind: str) -> Path:
        raise ImportError("no matplotlib")

    monkeypatch.setattr("plenish.report.build.write_own_report", broken)
    result = with_report(ScoreResult(tmp_path, {"seed": 3}), "score")
    assert (result.content, result.report) == ({"seed": 3}, None)
    assert str(tmp_path) in capsys.readouterr().err
