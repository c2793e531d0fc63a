"""The verb alone; what it measures is tested in tests/benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest

from plenish import cli
from plenish.commands import bench


def test_the_verb_finds_the_benchmarks_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "gan", "--help"]) == 0
    assert "--rounds" in capsys.readouterr().out
    assert cli.run(["bench", "gan", "--rounds", "0"]) == 2
    assert "--rounds" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["bench"], ["bench", "gan"], ["bench", "autoencoder"]])
def test_without_a_checkout_it_is_told_what_is_needed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CHECKOUT", tmp_path)
    assert cli.run(words) == 2
    assert "benchmarks/" in capsys.readouterr().err
