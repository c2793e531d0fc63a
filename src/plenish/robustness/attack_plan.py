"""Which attacks are made, in which order, on which images."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from typing import Any, Literal

from plenish.errors import InputError, unknown
from plenish.robustness.apgd import ITERATIONS
from plenish.robustness.autoattack import TARGETS, ensemble
from plenish.robustness.evaluation_config import PRESETS
from plenish.robustness.registry import ATTACKS, Attack, AttackKind, spelled
from plenish.robustness.square import QUERIES
from plenish.robustness.threat import Norm

Kind = Literal["white-box", "black-box", "control"]
CONTROL, SINGLE, ITERATIVE = "noise", "fgsm", "pgd"
"""The attacks that are compared with each other: they are made on every image that is classified right."""
STANDARD_QUERIES = 1000
_QUICK: dict[str, dict[str, Any]] = {
    CONTROL: {}, SINGLE: {}, ITERATIVE: {"steps": 10},
    "apgd_margin": {"iterations": 20}, "square": {"queries": 200},
}  # fmt: skip
_COMMON = ("norm", "seed", "precision")


@dataclasses.dataclass(frozen=True)
class Step:
    """An attack of a plan.

    Attributes:
        name: of the attack.
        function: what makes it, with its own options.
        kind: whether it needs gradients, or is the control of random noise.
        all_images: whether it is made on all images that are classified right, or only on those that no
            attack before it, and none at a smaller eps, has succeeded on.
    """

    name: str
    function: Attack
    kind: Kind
    all_images: bool

    @property
    def parameters(self) -> dict[str, Any]:
        """Its own options with their values, JSON-able."""
        found = {}
        for name, parameter in inspect.signature(self.function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in _COMMON:
                value = parameter.default
                if isinstance(value, (bool, int, float, str)):
                    found[name] = value
        return found


@dataclasses.dataclass(frozen=True)
class Plan:
    """Attacks in order: the control, then from fast to slow, those without gradients last.

    Attributes:
        steps: the attacks.
        left_out: names of attacks of the preset that are not for this classifier or norm.
    """

    steps: tuple[Step, ...]
    left_out: tuple[str, ...]

    def with_perturber(self, perturber: Attack) -> Plan:
        """The same, and a trained network of perturbations, made on all images; it asks for no gradients."""
        step = Step("perturber", perturber, "black-box", all_images=True)
        return dataclasses.replace(self, steps=(*self.steps, step))


def plan_of(attacks: Sequence[str], classes: int, norm: Norm, *, differentiable: bool = True) -> Plan:
    """The attacks of a preset, or by name.

    Args:
        attacks: `standard` (noise, FGSM, PGD, and the members of AutoAttack, Square with fewer queries),
            `full` (AutoAttack as published), `quick`, or names of `registry.ATTACKS`, with _ or -.
        classes: K of the classifier.
        norm: of the ball.
        differentiable: whether attacks that need gradients can be made.

    Raises:
        InputError: an attack is unknown, or not for this classifier or norm.
    """
    preset = attacks[0] if len(attacks) == 1 and attacks[0] in PRESETS else ""
    options: dict[str, Attack]
    if preset in ("standard", "full"):
        queries = QUERIES if preset == "full" else STANDARD_QUERIES
        first = {name: ATTACKS[name].function for name in (CONTROL, SINGLE, ITERATIVE)}
        options = first | ensemble(classes, ITERATIONS, queries, TARGETS)
    elif preset == "quick":
        options = {
            name: functools.partial(ATTACKS[name].function, **how) if how else ATTACKS[name].function
            for name, how in _QUICK.items()
        }
    else:
        for name in attacks:
            if spelled(name) not in ATTACKS:
                raise unknown("attack", name, [*PRESETS, *ATTACKS])
        options = {name: ATTACKS[name].function for name in map(spelled, attacks)}
    steps, left_out = [], []
    for name, function in options.items():
        kind = ATTACKS[name]
        why = _unfit(kind, classes, norm, differentiable)
        if not why:
            steps.append(Step(name, function, _kind(kind), name in (CONTROL, SINGLE, ITERATIVE)))
        elif preset or (not differentiable and kind.white_box):
            left_out.append(name)
        else:
            raise InputError(f"The attack '{name}' {why}; leave it out.")
    if not steps:
        raise InputError("No attack is left that needs no gradients; add square or noise to --attacks.")
    steps.sort(key=lambda step: ("control", "white-box", "black-box").index(step.kind))
    return Plan(tuple(steps), tuple(left_out))


def _kind(kind: AttackKind) -> Kind:
    if kind.name == CONTROL:
        return "control"
    return "white-box" if kind.white_box else "black-box"


def _unfit(kind: AttackKind, classes: int, norm: Norm, differentiable: bool) -> str:
    """Why an attack cannot be made; empty where it can."""
    if norm not in kind.norms:
        return f"is not for the {norm} norm but for {' and '.join(kind.norms)}"
    if classes < kind.fewest_classes:
        return f"needs {kind.fewest_classes} classes or more, and the classifier has {classes}"
    if kind.white_box and not differentiable:
        return "needs gradients, which this classifier does not give"
    return ""
