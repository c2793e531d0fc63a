from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from plenish import cli, settings
from plenish.commands import doctor
from plenish.errors import CheckFailed, InputError
from plenish.training import hardware as rates


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    threads = torch.get_num_threads()
    with settings.use(quiet=True, device="cpu", threads=1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MATRIX", 64)
    monkeypatch.setattr(rates, "REPETITIONS", 3)


def test_versions_are_those_of_the_libraries() -> None:
    found = doctor.doctor(benchmark=False).content
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["cpu"]["threads"] == 1
    assert found["cpu"]["cores"] >= 1
    assert found["disk"]["free_gib"] > 0
    assert not found["convolutions"]
    assert not found["matrix_gflops"]
    json.dumps(found)


@pytest.mark.usefixtures("_small")
def test_benchmark_on_a_cpu(tmp_path: Path) -> None:
    found = doctor.doctor(sizes=[8, 24], plot=tmp_path / "times.png").content
    small, large = found["convolutions"]
    assert (small["size"], large["size"]) == (8, 24)
    assert small["cpu_ms"] is not None
    assert large["cpu_ms"] is not None
    assert 0 < small["cpu_ms"] < large["cpu_ms"], "81 times the arithmetic cannot be faster"
    assert small["gpu_ms"] is None
    assert small["speed_up"] is None
    assert found["matrix_gflops"]["cpu float32"] > 0
    assert any("CPU" in remark for remark in found["remarks"])
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_median_ignores_one_slow_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 11.0, 20.0, 99.0])
    calls: list[int] = []
    monkeypatch.setattr(rates.time, "perf_counter", lambda: next(clock))
    assert rates.median_seconds(lambda: calls.append(1), repetitions=3) == 1.0
    assert len(calls) == 4, "one warm-up and three repetitions"


def test_speed_up_is_the_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"cpu": 0.030, "meta": 0.0015}
    monkeypatch.setattr(rates, "median_seconds", lambda action, device: times[device.type])
    both = rates.time_convolution(64, torch.device("meta"), [])
    assert both["speed_up"] == pytest.approx(20.0)
    assert rates.time_convolution(64, None, [])["speed_up"] is None


@pytest.mark.usefixtures("_small")
def test_a_size_beyond_the_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "memory", lambda field: 10 * rates.MIB)
    remarks: list[str] = []
    assert rates.time_convolution(250, None, remarks)["cpu_ms"] is None
    assert "left out" in remarks[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": [3]}, "--sizes: 3 "),
        ({"sizes": []}, "--sizes"),
        ({"benchmark": False, "plot": Path("x.png")}, "--no-benchmark"),
        ({"plot": Path("nowhere/x.png")}, "nowhere"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        doctor.doctor(**options)


def test_libraries_and_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[><=\[]", text)[0] for text in project["dependencies"]}
    assert set(doctor.REQUIRED) == names
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}


def test_a_missing_library_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("timm", "umap") else real(name, *rest),
    )
    with pytest.raises(CheckFailed, match="pip install timm"):
        doctor.doctor(benchmark=False)
    monkeypatch.setitem(doctor.REQUIRED, "timm", "json")
    assert "umap" in [row["extra"] for row in doctor.doctor(benchmark=False).content["missing"]]


def test_cached_weights_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "torch" / "hub" / "checkpoints" / "weights-inception.pth").touch()
    (tmp_path / "hf" / "hub" / "models--timm--resnet18").mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    found = doctor.cached_weights()
    assert found["torch.hub"]["names"] == ["weights-inception.pth"]
    assert found["Hugging Face"]["found"] == 1


@pytest.mark.usefixtures("_small")
def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--sizes", "8", "16", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    for wanted in ("Versions", "torch", "speed up", "GFLOP/s", "Disk"):
        assert wanted in text
    assert cli.run(["doctor", "--no-benchmark", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["convolutions"] == []
    assert cli.run(["doctor", "--sizes", "2", "--device", "cpu"]) == 2
