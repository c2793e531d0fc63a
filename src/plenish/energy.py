"""Energy of a training where the machine counts it: the kernel's RAPL counters for the processor packages."""

from __future__ import annotations

import contextlib
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Joules since it was made; read at least every few minutes, since the counters wrap around."""

    def __init__(self, root: Path = POWERCAP) -> None:
        """Read the counters once; where they are missing or not for this user, nothing is measured."""
        # Packages alone: core, uncore and memory zones (intel-rapl:0:1) are parts of them.
        self._zones = [path for path in sorted(root.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self.restart(0.0)

    def restart(self, before: float | None) -> None:
        """Count from here on, on top of the joules of earlier tries; None where these were not measured."""
        self._last = self._read() if before is not None else None
        self._joules = before or 0.0

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
