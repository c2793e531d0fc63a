from __future__ import annotations

from pathlib import Path

import pytest

from plenish.energy import Footprint, Meter


def _zone(root: Path, name: str, microjoules: int) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / "energy_uj").write_text(f"{microjoules}\n")
    (root / name / "max_energy_range_uj").write_text("10000000\n")


def test_packages_are_added_and_a_counter_may_start_anew(tmp_path: Path) -> None:
    for name, start in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 9_000_000), ("intel-rapl:0:0", 0)):
        _zone(tmp_path, name, start)
    meter = Meter(tmp_path)
    _zone(tmp_path, "intel-rapl:0", 3_000_000)
    _zone(tmp_path, "intel-rapl:1", 500_000)  # 1 J to its end and 0.5 J from 0
    _zone(tmp_path, "intel-rapl:0:0", 5_000_000)  # a part of package 0
    assert meter.joules() == 3.5
    _zone(tmp_path, "intel-rapl:0", 4_000_000)
    assert meter.joules() == 4.5


def test_no_counters_mean_not_measured(tmp_path: Path) -> None:
    assert Meter(tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert Meter(tmp_path).joules() is None


def test_earlier_tries_are_counted_and_unmeasured_ones_leave_no_sum(tmp_path: Path) -> None:
    _zone(tmp_path, "intel-rapl:0", 0)
    meter = Meter(tmp_path)
    meter.restart(10.0)
    _zone(tmp_path, "intel-rapl:0", 2_000_000)
    assert meter.joules() == 12.0
    meter.restart(None)
    assert meter.joules() is None


@pytest.mark.parametrize(
    ("status", "joules", "measured"),
    [
        ({"energy_j": 7200.0, "busy_s": 9.0}, (7200, 7200), True),
        ({"energy_j": None, "busy_s": 10.0}, (20, 200), False),
        ({"energy_j": None, "busy_s": 0.0}, (0, 0), False),
        (
            {"energy_j": 100.0, "busy_s": 1.0, "seconds": 2.0, "engine": {"device": "cuda:0"}},
            (200, 1500),
            False,
        ),
        ({"energy_j": 100.0, "busy_s": 1.0, "seconds": 0.0, "engine": {"device": "cuda"}}, (100, 100), False),
    ],
)
def test_a_footprint_says_measured_only_of_what_was(status, joules, measured) -> None:
    found = Footprint.of(status, grid="500")
    assert found is not None
    assert found.watt_hours == pytest.approx([value / 3600 for value in joules])
    assert found.grams == pytest.approx([value / 7200 for value in joules])
    assert found.measured == measured
