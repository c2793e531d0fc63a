"""Is the training still healthy? Each failure is seen in what was logged and told in one line."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a training counts as failed.

    Attributes:
        explosion: a gradient norm this many times its own median is an explosion.
        vanishing: a gradient norm of the generator below this, throughout the window, has vanished.
        d_fake: mean probability of being real that the discriminator gives fakes; below this throughout the
            window it has won outright.
        variety: spread of the samples over the spread of real images; below this at two looks in a row the
            generator has collapsed.
        window: how many log lines a lasting failure must last.
        warmup_kimg: lasting failures are not judged before.
    """

    explosion: float = 1000.0
    vanishing: float = 1e-6
    d_fake: float = 1e-4
    variety: float = 0.05
    window: int = 10
    warmup_kimg: float = 10.0


class Health:
    """Watches a training's logged values; after a resume it is fed the last lines again."""

    def __init__(self, limits: Limits) -> None:
        """Start with nothing seen."""
        self.limits = limits
        self._lines: deque[Mapping[str, Any]] = deque(maxlen=200)
        self._variety: deque[float] = deque(maxlen=2)

    def feed(self, line: Mapping[str, Any]) -> str | None:
        """Take one logged line; those without gradients (samples, scores) are left aside.

        Returns:
            None while healthy, else one line that says what went wrong and what to try.
        """
        if "variety" in line:
            return self._collapse(line["variety"], line["kimg"])
        if "grad_g" not in line:
            return None
        for name in ("loss_g", "loss_d", "grad_g", "grad_d"):
            if name in line and not math.isfinite(line[name] if line[name] is not None else math.nan):
                return f"{name} is no longer a number; lower --lr, or start again with another --seed"
        failure = self._explosion(line)
        self._lines.append(line)
        return failure or self._lasting(line)

    def _explosion(self, line: Mapping[str, Any]) -> str | None:
        for name, whose in (("grad_g", "generator"), ("grad_d", "discriminator")):
            past = sorted(p[name] for p in self._lines if name in p)
            if name in line and len(past) >= self.limits.window:
                median = past[len(past) // 2]
                if line[name] > self.limits.explosion * max(median, 1e-3):
                    return (
                        f"the {whose}'s gradients exploded (norm {line[name]:.3g}, usually {median:.3g}); "
                        "lower --lr or add smoothing"
                    )
        return None

    def _lasting(self, line: Mapping[str, Any]) -> str | None:
        recent = list(self._lines)[-self.limits.window :]
        if line.get("kimg", 0) < self.limits.warmup_kimg or len(recent) < self.limits.window:
            return None
        if all(p["grad_g"] < self.limits.vanishing for p in recent):
            return (
                f"the generator's gradients vanished (norm {recent[-1]['grad_g']:.2g}); "
                "use smoothing or instance noise, or a smaller discriminator learning rate"
            )
        if all(p["d_fake"] < self.limits.d_fake for p in recent):
            return (
                f"the discriminator won outright (it gives fakes {recent[-1]['d_fake']:.2g} on average); "
                "use instance noise, more generator steps or a smaller --lr for it"
            )
        return None

    def _collapse(self, variety: float, kimg: float) -> str | None:
        """Judge the spread of the fixed samples relative to that of real images."""
        self._variety.append(variety)
        collapsed = len(self._variety) == 2 and max(self._variety) < self.limits.variety
        if collapsed and kimg >= self.limits.warmup_kimg:
            return (
                f"the samples have become nearly alike (spread {variety:.3f} of that of real images); "
                "use a larger batch, instance noise or another --seed"
            )
        return None
