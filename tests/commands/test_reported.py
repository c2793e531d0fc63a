"""What follows a measurement must not cost it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plenish.commands import reported
from plenish.metrics.score import ScoreResult


def test_a_missing_drawing_library_costs_the_report_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(folder: Path) -> Path:
        raise ImportError("no matplotlib")

    def measure(out: Path, *, seed: int = 0) -> ScoreResult:
        return ScoreResult(out, {"seed": seed})

    monkeypatch.setattr("plenish.report.build.write_score_report", broken)
    measured: Any = reported._reported(measure, "score")
    result = measured(tmp_path, seed=3)
    assert (result.content, result.report) == ({"seed": 3}, None)
    assert "score.json" in capsys.readouterr().err
