"""What follows a measurement must not cost it."""

from __future__ import annotations

import re
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


def test_an_interrupt_while_the_report_is_written_says_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(folder: Path, kind: str) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr("plenish.report.build.write_own_report", interrupted)
    with pytest.raises(KeyboardInterrupt, match=re.escape(str(tmp_path))):
        with_report(ScoreResult(tmp_path, {}), "score")
