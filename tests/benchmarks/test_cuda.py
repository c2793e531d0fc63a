"""The script for a GPU runs on a CPU at tiny sizes, part by part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cuda, cuda_parts
from plenish import settings
from plenish.training.engine import Engine

HOME = Path(__file__).parents[2]


def _run(out: Path, *words: str) -> tuple[int, list[dict]]:
    command = [sys.executable, "benchmarks/cuda.py", "--tiny", "--device", "cpu", "--out", str(out), *words]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [json.loads(line) for line in (out / "cuda.jsonl").read_text().splitlines()] == lines
    return done.returncode, lines


def test_every_part_prints_its_line(tmp_path: Path) -> None:
    code, lines = _run(tmp_path, "--parts", "filters")
    assert code == 0, lines
    assert [line["part"] for line in lines] == ["filters"]
    assert 0 < lines[0]["worst_relative_error"] < 1e-2


def test_the_rates_of_the_device_are_measured() -> None:
    with settings.use(device="cpu", quiet=True):
        found = cuda_parts.PARTS["card"](Engine.from_settings(), True)
    assert json.loads(json.dumps(found))["tflops"]["tf32"] > 0


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        ("dcgan", ["images_per_s"]),
        ("stylegan2", ["images_per_s", "seconds_kimg"]),
        ("flow", ["samples_per_s", "tflops"]),
    ],
)
def test_the_speed_of_a_training_is_measured(
    part: str, figures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLENISH_CUDA_GRAPHS", "off")  # So that what a part chooses ends with the test.
    with settings.use(device="cpu", quiet=True):
        found = cuda_parts.PARTS[part](Engine.from_settings(), True)
    assert json.loads(json.dumps(found)) == found
    assert all(found[name] > 0 for name in figures)


@pytest.mark.slow
def test_resume_tests_and_baseline(tmp_path: Path) -> None:
    code, lines = _run(
        tmp_path, "--parts", "resume", "tests", "dcgan", "--baseline", str(HOME), "--processes", "1"
    )
    assert code == 0, lines
    resume, tests, _, both = lines
    assert resume["bit_exact"]
    assert tests["failing"] == []
    assert both["this"]["images_per_s"] > 0 < both["baseline"]["images_per_s"]


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, (line,) = _run(tmp_path, "--parts", "card", "--device", "nowhere")  # The last one given counts.
    assert code == 1
    assert line["failed"]
    assert any("nowhere" in text for text in line["errors"])


def test_a_part_that_fails_is_told_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = cuda.run

    def process(words: list[str], checkout: Path, limit: float) -> tuple[int, str, str]:
        script = "raise SystemExit('no such device')" if "card" in words else "print('{\"found\": 1}')"
        return run(["-c", script], checkout, limit)

    monkeypatch.setattr(cuda, "run", process)
    monkeypatch.setattr(
        sys, "argv", ["cuda.py", "--tiny", "--parts", "card", "filters", "--out", str(tmp_path)]
    )
    assert cuda.main() == 1
    failed, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert (failed["part"], failed["failed"], failed["errors"]) == ("card", "exit code 1", ["no such device"])
    assert (done["part"], done["found"]) == ("filters", 1)
