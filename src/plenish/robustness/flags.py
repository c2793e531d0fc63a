"""Checks of an evaluation: signs that attacks failed for a reason of their own, and not for robustness.

Sources: N. Carlini et al., "On evaluating adversarial robustness", 2019; A. Athalye et al., ICML 2018; F.
Croce and M. Hein, ICML 2020. Each check has a status and the values it rests on. A failed one says that
robust accuracies may be too high; a passed one does not say that they are right.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from plenish.robustness.attack_plan import CONTROL, ITERATIVE, SINGLE
from plenish.robustness.gradient_checks import GradientChecks

Status = Literal["passed", "failed", "unknown"]
NAMES = (
    "iterative-beats-single-step", "white-box-beats-black-box", "noise-is-harmless", "reaches-chance",
    "monotone", "converged", "finite-logits", "gradients", "deterministic", "softmax",
    "differentiable", "finite-differences",
)  # fmt: skip
"""All checks, in the order of the report."""

_SLACK = 0.02
"""Share of the images by which an attack that should be stronger may be weaker by chance."""
_BLACK_BOX_SLACK = 0.005
_NOISE_LOSS, _NOISE_SHARE = 0.1, 0.5
_MOST_CERTAIN, _MOST_ZERO, _MOST_UNEXPLAINED = 0.5, 0.05, 0.05
_MOST_DIFFERENT, _MOST_DISAGREEMENT = 1e-3, 0.3


@dataclasses.dataclass(frozen=True)
class Flag:
    """One check.

    Attributes:
        name: which, one of NAMES.
        status: passed, failed, or unknown where it could not be made.
        values: what it rests on, JSON-able.
    """

    name: str
    status: Status
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What an evaluation found, as the checks need it. Counts are of images, lists go along `grid`.

    Attributes:
        n: all images.
        classes: K.
        grid: radii, rising, from 0 on.
        left: attack → images that are right under it, for attacks made on all that were right at first.
        worst: right under all attacks.
        only_black_box: found by an attack without gradients after all that use them had failed; None where
            not both kinds were made.
        at_half: images right under the largest possible change, of all; None where that was not measured.
        converging: right after each step of PGD, from 0 on.
        not_finite: images of which a logit is NaN or infinite: as they are, and under any attack.
        checks: of the gradients; None where no image was right.
    """

    n: int
    classes: int
    grid: Sequence[float]
    left: Mapping[str, Sequence[int]]
    worst: Sequence[int]
    only_black_box: Sequence[int] | None
    at_half: float | None
    converging: Sequence[float]
    not_finite: Sequence[int]
    checks: GradientChecks | None


def flags_of(found: Evidence) -> list[Flag]:
    """All checks, in the order of NAMES."""
    return [
        _iterative(found), _white_box(found), _noise(found), _chance(found), _monotone(found),
        _converged(found), _finite(found), *_of_gradients(found.checks),
    ]  # fmt: skip


def _flag(name: str, passed: bool, **values: Any) -> Flag:
    return Flag(name, "passed" if passed else "failed", values)


def _slack(n: int, share: float = _SLACK) -> int:
    return max(1, math.floor(share * n))


def _iterative(found: Evidence) -> Flag:
    name = "iterative-beats-single-step"
    if not {SINGLE, ITERATIVE} <= set(found.left):
        return Flag(name, "unknown")
    single, many = found.left[SINGLE], found.left[ITERATIVE]
    excess = [b - a for a, b in zip(single, many, strict=True)]
    return _flag(
        name, max(excess) <= _slack(found.n), eps=list(found.grid), single_step=list(single),
        iterative=list(many), allowed=_slack(found.n),
    )  # fmt: skip


def _white_box(found: Evidence) -> Flag:
    name, allowed = "white-box-beats-black-box", _slack(found.n, _BLACK_BOX_SLACK)
    if found.only_black_box is None:
        return Flag(name, "unknown")
    only = list(found.only_black_box)
    return _flag(name, max(only) <= allowed, eps=list(found.grid), only_black_box=only, allowed=allowed)


def _noise(found: Evidence) -> Flag:
    name = "noise-is-harmless"
    if CONTROL not in found.left or not found.worst[0]:
        return Flag(name, "unknown")
    clean, noisy = found.worst[0], found.left[CONTROL]
    # At a large eps noise does harm to an honest classifier too, but far less than an attack.
    harmful = [
        clean - right > max(_slack(found.n), _NOISE_LOSS * clean, _NOISE_SHARE * (clean - worst))
        for right, worst in zip(noisy, found.worst, strict=True)
    ]  # fmt: skip
    return _flag(
        name, not any(harmful), eps=list(found.grid), noise=list(noisy), worst_case=list(found.worst)
    )


def _chance(found: Evidence) -> Flag:
    name, chance, last = "reaches-chance", 1 / found.classes, found.worst[-1] / found.n
    values = {"eps": found.grid[-1], "accuracy": last, "chance": chance}
    if found.worst[0] / found.n <= chance:  # There was nothing to bring down.
        return Flag(name, "unknown", values)
    if last <= chance:
        return _flag(name, True, **values)
    if found.at_half is None:
        return Flag(name, "unknown", values)
    return _flag(name, found.at_half <= chance, **values, largest_change=found.at_half)


def _monotone(found: Evidence) -> Flag:
    name = "monotone"
    if ITERATIVE not in found.left:
        return Flag(name, "unknown")
    right = found.left[ITERATIVE]
    rises = [later - min(right[: i + 1]) for i, later in enumerate(right[1:])]
    return _flag(
        name, max(rises, default=0) <= _slack(found.n), eps=list(found.grid), iterative=list(right),
        allowed=_slack(found.n),
    )  # fmt: skip


def _converged(found: Evidence) -> Flag:
    name, steps = "converged", found.converging
    if len(steps) < 3:
        return Flag(name, "unknown")
    fell = steps[len(steps) // 2] - steps[-1]
    return _flag(
        name, fell <= max(_SLACK, 1 / found.n) + 1e-9, halfway=steps[len(steps) // 2], end=steps[-1],
        steps=len(steps) - 1,
    )  # fmt: skip


def _finite(found: Evidence) -> Flag:
    return _flag(
        "finite-logits", not any(found.not_finite), eps=list(found.grid), images=list(found.not_finite)
    )


def _of_gradients(checks: GradientChecks | None) -> list[Flag]:
    """The checks of a classifier itself, on images it classifies right."""
    if checks is None:
        return [Flag(name, "unknown") for name in NAMES[-5:]]
    steady = max(checks.repeated, checks.alone) <= _MOST_DIFFERENT
    deterministic = _flag("deterministic", steady, repeated=checks.repeated, alone=checks.alone)
    saturated = checks.probabilities or checks.certain > _MOST_CERTAIN or (checks.vanished or 0) > _MOST_ZERO
    softmax = _flag(
        "softmax", not saturated, certain=checks.certain, vanished=checks.vanished,
        probabilities=checks.probabilities,
    )  # fmt: skip
    if checks.has_path is None:
        return [
            Flag("gradients", "unknown"), deterministic, softmax, Flag("differentiable", "unknown"),
            Flag("finite-differences", "unknown"),
        ]  # fmt: skip
    if not checks.has_path:
        cut = {"path": False}
        return [
            Flag("gradients", "failed", cut), deterministic, softmax, Flag("differentiable", "failed", cut),
            Flag("finite-differences", "unknown"),
        ]  # fmt: skip
    assert checks.zero is not None
    assert checks.unexplained is not None
    gradients = _flag(
        "gradients", checks.zero <= _MOST_ZERO and not checks.undefined, zero=checks.zero,
        undefined=checks.undefined, images=checks.images,
    )  # fmt: skip
    smooth = _flag(
        "differentiable",
        checks.unexplained <= _MOST_UNEXPLAINED,
        zero_though_output_changes=checks.unexplained,
    )
    agrees = {"disagreement": checks.disagreement}
    if not steady or checks.disagreement is None:  # What is drawn at random drowns a difference.
        compared = Flag("finite-differences", "unknown", agrees)
    else:
        compared = _flag("finite-differences", checks.disagreement <= _MOST_DISAGREEMENT, **agrees)
    return [gradients, deterministic, softmax, smooth, compared]
