"""Which attacks are made, in which order, on which images."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Sequence
from typing import Any, Literal, get_args

from plenish.errors import InputError, unknown
from plenish.robustness.apgd import ITERATIONS, TARGETS
from plenish.robustness.autoattack import ensemble
from plenish.robustness.evaluation_config import PRESETS
from plenish.robustness.registry import ATTACKS, Attack, AttackSpec, spelled
from plenish.robustness.square import QUERIES
from plenish.robustness.threat import Norm

AttackKind = Literal["control", "white-box", "black-box"]
"""In the order in which attacks are made."""
CONTROL, SINGLE, ITERATIVE = "noise", "fgsm", "pgd"
"""The attacks that are compared with each other: they are made on every image that is classified right."""
STANDARD_QUERIES = 1000
_QUICK: dict[str, dict[str, Any]] = {
    CONTROL: {}, SINGLE: {}, ITERATIVE: {"steps": 10},
    "apgd_margin": {"iterations": 20}, "square": {"queries": 200},
}  # fmt: skip
_COMMON = ("norm", "seed", "precision")


@dataclasses.dataclass(frozen=True)
class PlannedAttack:
    """An attack of a plan.

    Attributes:
        name: of the attack.
        function: the attack, with its own options.
        kind: whether it needs gradients, or is the control of random noise.
        all_images: whether it is made on all images that are classified right, or only on those that no
            attack before it, and none at a smaller eps, has succeeded on.
    """

    name: str
    function: Attack
    kind: AttackKind
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
class AttackPlan:
    """Attacks in order: the control, then from fast to slow, those without gradients last.

    Attributes:
        attacks: in this order.
        left_out: names of attacks of the preset that are not for this classifier or norm.
    """

    attacks: tuple[PlannedAttack, ...]
    left_out: tuple[str, ...]

    def with_perturber(self, perturber: Attack) -> AttackPlan:
        """The same, and a trained network of perturbations, made on all images; it asks for no gradients."""
        added = PlannedAttack("perturber", perturber, "black-box", all_images=True)
        return dataclasses.replace(self, attacks=(*self.attacks, added))


def plan_of(attacks: Sequence[str], classes: int, norm: Norm, *, differentiable: bool = True) -> AttackPlan:
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
    planned, left_out = [], []
    for name, function in options.items():
        spec = ATTACKS[name]
        why = _unfit(spec, classes, norm, differentiable)
        if not why:
            on_all = name in (CONTROL, SINGLE, ITERATIVE)
            planned.append(PlannedAttack(name, function, _kind(spec), on_all))
        elif preset or (not differentiable and spec.white_box):
            left_out.append(name)
        else:
            raise InputError(f"The attack '{name}' {why}; leave it out.")
    if not planned:
        raise InputError("No attack is left that needs no gradients; add square or noise to --attacks.")
    planned.sort(key=lambda attack: get_args(AttackKind).index(attack.kind))
    return AttackPlan(tuple(planned), tuple(left_out))


def _kind(spec: AttackSpec) -> AttackKind:
    if spec.name == CONTROL:
        return "control"
    return "white-box" if spec.white_box else "black-box"


def _unfit(spec: AttackSpec, classes: int, norm: Norm, differentiable: bool) -> str:
    """Why an attack cannot be made; empty where it can."""
    if norm not in spec.norms:
        return f"is not for the {norm} norm but for {' and '.join(spec.norms)}"
    if classes < spec.fewest_classes:
        return f"needs {spec.fewest_classes} classes or more, and the classifier has {classes}"
    if spec.white_box and not differentiable:
        return "needs gradients, which this classifier does not give"
    return ""
