"""Is the training still healthy? Each failure is seen in what was logged.

Five failures are known: explosion, vanishing
(of a whole network or of the layers near its input), a discriminator that has won, instability, collapse.
What counts as won depends on the objective: a Wasserstein critic is meant to be right at all times.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median_high
from typing import Any

from plenish.configuration import check_fields, option
from plenish.training.failures import Failure

LOSSES = ("loss_g", "loss_d")
GRADIENTS = ("grad_g", "grad_d")
GUESSING = {
    "vanilla": 2 * math.log(2), "nonsaturating": 2 * math.log(2), "relativistic": math.log(2), "hinge": 2.0,
    "lsgan": 0.25,
}  # fmt: skip
"""Loss of the best discriminator whose answer does not depend on the image."""
REMEMBERED = 200

Line = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Limits:
    """When a training counts as failed.

    Attributes:
        explosion: a gradient norm or a loss this many times its own median is an explosion.
        huge: so is a gradient norm above this, from the first line on.
        huge_loss: the same for a loss; 100 times that for a Wasserstein critic, whose scale is free.
        vanishing: a gradient norm below this throughout the window has vanished; that of a layer also when it
            is below this share of the last layer's.
        d_fake: mean probability of being real that the discriminator gives fakes; below this throughout the
            window it has won outright. A relativistic one has won at the same odds of its pairs.
        d_loss: the same for objectives without probabilities (hinge, lsgan): loss that the discriminator has
            left. There is none for a Wasserstein critic.
        d_accuracy: share of right answers, of reals and of fakes, that a discriminator which has won exceeds.
        instability: a loss that changes, from one line to the next, by this many times what it usually is or
            changes by takes an extreme value. So does a discriminator's loss of half that many times what
            guessing costs, where the objective has such a level.
        spikes: how many extreme values within the window are an instability.
        variety: spread of the samples over the spread of real images, within classes; below this at two looks
            in a row the generator has collapsed.
        window: how many log lines a lasting failure must last.
        warmup_kimg: lasting failures are not judged before.
    """

    explosion: float = option(1000.0, least=0)
    huge: float = option(1e6, least=0)
    huge_loss: float = option(1e3, least=0)
    vanishing: float = option(1e-6, least=0)
    d_fake: float = option(1e-4, least=0)
    d_loss: float = option(1e-3, least=0)
    d_accuracy: float = option(0.999, least=0)
    instability: float = option(10.0, least=0)
    spikes: int = option(4, least=1)
    variety: float = option(0.05, least=0)
    window: int = option(10, least=1, below=REMEMBERED // 2)
    warmup_kimg: float = option(10.0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "limits")


class Health:
    """Watches a training's logged values; after a resume it hears the last lines again."""

    def __init__(self, limits: Limits, objective: str = "nonsaturating") -> None:
        """Start with nothing seen.

        Args:
            limits: when a training counts as failed.
            objective: name of the objective, on which depends what `d_real` and `d_fake` mean.
        """
        self.limits = limits
        self.objective = objective
        self._lines: deque[Line] = deque(maxlen=REMEMBERED)
        self._looks: deque[tuple[float, float]] = deque(maxlen=2)

    def hear(self, line: Line) -> Failure | None:
        """Take one logged line; those without losses (scores) are left aside.

        A line may lack the generator's values, as where only the discriminator was updated, and the norms of
        the gradients, as at a checkpoint between two lines of the log; only sudden failures are then judged.

        Returns:
            None while healthy.
        """
        if "variety" in line:
            return self._collapse(line["variety"], line["kimg"])
        failure = _not_a_number(line) or self._explosion(line)
        if failure or ("grad_g" not in line and "grad_d" not in line):
            return failure
        self._lines.append(line)
        return self._lasting(line)

    def _explosion(self, line: Line) -> Failure | None:
        for name in (*GRADIENTS, *LOSSES):
            if name not in line:
                continue
            size, past = abs(line[name]), [abs(p[name]) for p in self._lines if name in p]
            usual = {"usual": median_high(past)} if len(past) >= self.limits.window else {}
            gradients = name in GRADIENTS
            # A discriminator without mistakes has norms near 0; its next mistake is no explosion.
            bound = self.limits.explosion * max(usual.get("usual", math.inf), 0.1 if gradients else 1.0)
            huge = self.limits.huge_loss * (100 if self.objective == "wasserstein" else 1)
            if size > min(bound, self.limits.huge if gradients else huge):
                values = {"name": name, "value": line[name], **usual}
                return Failure("exploded", line.get("kimg", 0.0), values)
        return None

    def _lasting(self, line: Line) -> Failure | None:
        """Judge what is a failure only when it lasts."""
        recent = list(self._lines)[-self.limits.window :]
        if line.get("kimg", 0) < self.limits.warmup_kimg or len(recent) < self.limits.window:
            return None
        return (
            self._won(recent)
            or self._vanishing(recent)
            or self._vanishing_by_layer(recent)
            or self._instability(recent)
        )

    def _won(self, recent: Sequence[Line]) -> Failure | None:
        """A discriminator that is right and sure throughout has nothing left to teach."""
        accuracies = [p.get(f"d_accuracy_{whose}", 1.0) for p in recent for whose in ("real", "fake")]
        right = all(value >= self.limits.d_accuracy for value in accuracies)  # Not where one is NaN.
        if not (right and all(map(self._is_sure, recent))):
            return None
        name, value = self._doubt(recent[-1])
        return Failure("discriminator-won", recent[0]["kimg"], {"name": name, "value": value})

    def _doubt(self, line: Line) -> tuple[str, float]:
        """The value that shows how sure a discriminator is, by name; much doubt where it was not logged."""
        if self.objective in ("hinge", "lsgan"):
            return "loss_d", line.get("loss_d", math.inf)
        if self.objective == "relativistic":
            return "margin", line.get("score_real", 0.0) - line.get("score_fake", 0.0)
        return "d_fake", line.get("d_fake", 1.0)  # A Wasserstein critic has no probabilities.

    def _is_sure(self, line: Line) -> bool:
        """Whether a discriminator's answers leave hardly any doubt."""
        name, value = self._doubt(line)
        if name == "margin":
            return value > -math.log(self.limits.d_fake)
        return value < (self.limits.d_loss if name == "loss_d" else self.limits.d_fake)

    def _vanishing(self, recent: Sequence[Line]) -> Failure | None:
        since = recent[0]["kimg"]
        for name in GRADIENTS:
            if name == "grad_d" and self._is_sure(recent[-1]):
                continue  # It has won, or is about to; that says more.
            if all(p.get(name, math.inf) < self.limits.vanishing for p in recent):
                return Failure("gradients-vanished", since, {"name": name, "value": recent[-1][name]})
        if all(_constant([p[name] for p in recent if name in p]) for name in LOSSES):
            return Failure("losses-constant", since)
        return None

    def _vanishing_by_layer(self, recent: Sequence[Line]) -> Failure | None:
        """Layers from the input on without gradients, while the last one still learns.

        Layers in the middle do not count: what a gate still at zero hides gets nothing either, and is well.
        """
        for name in GRADIENTS:
            layers = [key for key in recent[-1] if key.startswith(f"{name}/")]
            if len(layers) < 3 or any(p.get(layers[-1], 0.0) < 100 * self.limits.vanishing for p in recent):
                continue
            last, dead = layers[-1], list[str]()
            floors = [self.limits.vanishing * max(1.0, p.get(last, 0.0)) for p in recent]
            for layer in layers[:-1]:
                if not all(p.get(layer, math.inf) < floor for p, floor in zip(recent, floors, strict=True)):
                    break
                dead.append(layer)
            if dead:
                values = {
                    "name": name, "layers": [key.partition("/")[2] for key in dead], "of": len(layers),
                    "value": recent[-1][dead[-1]], "last": recent[-1][last],
                }  # fmt: skip
                return Failure("layers-vanished", recent[0]["kimg"], values)
        return None

    def _instability(self, recent: Sequence[Line]) -> Failure | None:
        """Losses that leap again and again, far beyond what they usually are and change by.

        One that was wild from the start has nothing usual: it is compared with guessing.
        """
        guessing, half = GUESSING.get(self.objective, math.inf), self.limits.instability / 2
        wild = [p["loss_d"] for p in recent if p.get("loss_d", 0.0) > half * guessing]
        if len(wild) >= self.limits.spikes:
            return Failure(
                "unstable", recent[0]["kimg"], {"name": "loss_d", "value": max(wild), "guessing": guessing}
            )
        for name in LOSSES:
            logged = [(p["kimg"], p[name]) for p in self._lines if name in p]
            if len(logged) <= 2 * self.limits.window:
                continue
            values = [value for _, value in logged]
            leaps = [abs(b - a) for a, b in pairwise(values)]
            usual = max(median_high(leaps), median_high([abs(v) for v in values]), 0.5)
            latest = list(zip(logged[1:], leaps, strict=True))[-self.limits.window :]
            extreme = [at for at, leap in latest if leap > self.limits.instability * usual]
            if len(extreme) >= self.limits.spikes:
                worst = max((value for _, value in extreme), key=abs)
                return Failure(
                    "unstable", extreme[0][0], {"name": name, "value": worst, "usual": median_high(values)}
                )
        return None

    def _collapse(self, variety: float, kimg: float) -> Failure | None:
        """Judge the spread of the fixed samples relative to that of real images."""
        self._looks.append((kimg, variety))
        collapsed = len(self._looks) == 2 and max(v for _, v in self._looks) < self.limits.variety
        if collapsed and kimg >= self.limits.warmup_kimg:
            return Failure("collapsed", self._looks[0][0], {"value": variety})
        return None


def _not_a_number(line: Line) -> Failure | None:
    """The first value that is not finite: losses first, then networks, then layers."""
    layers = (key for key in line if key.startswith(("grad_g/", "grad_d/")))
    for name in (*LOSSES, *GRADIENTS, *layers):
        value = line.get(name, 0.0)
        if value is None or not math.isfinite(value):
            return Failure("not-finite", line.get("kimg", 0.0), {"name": name})
    return None


def _constant(values: Sequence[float]) -> bool:
    """Whether values no longer change, to five digits; of fewer than three nothing can be said."""
    if len(values) < 3:
        return False
    return max(values) - min(values) <= 1e-5 * max(map(abs, values))
