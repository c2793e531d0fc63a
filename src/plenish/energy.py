"""Energy of a job, and the carbon dioxide of that: measured where the machine counts it, else an interval.

The kernel's RAPL counters tell what the processor packages take. Where they are missing or not for this user,
the time that processors were busy, times what a busy core may take, bounds it. Published figures are marked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.progress import plain_number

POWERCAP = Path("/sys/class/powercap")
CORE_WATTS = (2.0, 20.0)
"""Of a busy core with its share of the package: a server of 64 cores at 150 W to a desktop of 6 at 125 W."""
GPU_WATTS = (50.0, 700.0)
"""Of a GPU at work: a small one to an H100 at its limit (published by its maker)."""
GRAMS_PER_KWH = (11.0, 820.0)
"""Carbon dioxide of electricity over its life cycle, from wind to coal (IPCC AR5, WG III, table A.III.2;
published medians)."""
GRID = "PLENISH_GRAMS_PER_KWH"
"""The environment variable that says what it is where this machine stands."""


class Meter:
    """Joules and busy seconds of a job; read at least every few minutes, since the counters wrap around."""

    def __init__(self, root: Path = POWERCAP) -> None:
        """Read the counters once; where they are missing or not for this user, joules are not measured."""
        # Packages alone: core, uncore and memory zones (intel-rapl:0:1) are parts of them.
        self._zones = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self.restart(0.0)

    def restart(self, before: float | None, busy: float = 0.0) -> None:
        """Count from here on, on top of what earlier tries took.

        Args:
            before: their joules; None where these were not measured.
            busy: their seconds of busy cores.
        """
        self._last = self._read() if before is not None else None
        self._joules = before or 0.0
        self._busy, self._start = busy, _busy()

    def _read(self) -> list[tuple[int, int]] | None:
        """Microjoules and the value at which the counter starts anew, of each package."""
        with contextlib.suppress(OSError, ValueError):
            return [
                (int((z / "energy_uj").read_text()), int((z / "max_energy_range_uj").read_text()))
                for z in self._zones
            ] or None
        return None

    def joules(self) -> float | None:
        """Joules so far, or None where they cannot be measured."""
        now = self._read()
        if now is None or self._last is None:
            return None
        self._joules += sum((b - a) % span for (a, _), (b, span) in zip(self._last, now, strict=True)) / 1e6
        self._last = now
        return self._joules

    def usage(self, processes: int = 1) -> dict[str, float | None]:
        """What a Run's status keeps: `energy_j`, None where it is not measured, and `busy_s`.

        Args:
            processes: how many do the same work as this one, on this machine.
        """
        busy = self._busy + processes * (_busy() - self._start)
        return {"energy_j": self.joules(), "busy_s": round(busy, 1)}


def _busy() -> float:
    """Seconds that cores were busy for this process and for those it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Energy and carbon dioxide of a job.

    Attributes:
        watt_hours: least and most; equal where it was measured.
        grams: of carbon dioxide, least and most.
        measured: whether the energy was measured; of the processor alone.
    """

    watt_hours: tuple[float, float]
    grams: tuple[float, float]
    measured: bool

    @classmethod
    def of(cls, status: Mapping[str, Any], grid: str | None = None) -> Footprint | None:
        """That of a Run, by its status; None where it kept nothing of it.

        Args:
            status: status.json.
            grid: grams of carbon dioxide a kWh; by default what the environment variable says.
        """
        joules, busy = status.get("energy_j"), status.get("busy_s")
        if joules is not None:
            low = high = float(joules)
        elif busy is not None:
            low, high = (float(busy) * watts for watts in CORE_WATTS)
        else:
            return None
        device = str((status.get("engine") or {}).get("device", ""))
        if on_gpu := device.startswith("cuda"):
            low += status.get("seconds", 0.0) * GPU_WATTS[0]
            high += status.get("seconds", 0.0) * GPU_WATTS[1]
        least, most = _grid(os.environ.get(GRID) if grid is None else grid)
        hours = low / 3600, high / 3600
        return cls(
            hours, (hours[0] * least / 1000, hours[1] * most / 1000), joules is not None and not on_gpu
        )

    def words(self) -> dict[str, str]:
        """Both for a person, by name."""
        how = (
            "of the processor, measured"
            if self.measured
            else "by the time that cores were busy; not measured"
        )
        return {"energy": f"{_range(self.watt_hours)} Wh ({how})", "co2": f"{_range(self.grams)} g"}


def _grid(given: str | None) -> tuple[float, float]:
    with contextlib.suppress(TypeError, ValueError):
        value = float(given)  # type: ignore[arg-type]
        if math.isfinite(value) and value >= 0:
            return value, value
    return GRAMS_PER_KWH


def _range(values: tuple[float, float]) -> str:
    low, high = (plain_number(float(f"{value:.2g}")) for value in values)
    return low if low == high else f"{low} to {high}"
