"""Attacks by name, all called alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from torch import Tensor

from plenish.robustness.apgd import apgd_ce, apgd_dlr, apgd_margin, apgd_targeted
from plenish.robustness.autoattack import auto_attack
from plenish.robustness.carlini_wagner import carlini_wagner
from plenish.robustness.deepfool import deepfool
from plenish.robustness.fab import fab, fab_targeted
from plenish.robustness.fmn import fmn
from plenish.robustness.gradient_attacks import bim, fgsm, pgd
from plenish.robustness.noise import random_noise
from plenish.robustness.square import square
from plenish.robustness.threat import NORMS, Norm

Attack = Callable[..., Tensor]
"""(model, images, labels, eps, *, norm, seed, precision, own options) → images in the balls and in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class AttackSpec:
    """An attack and what it can be used for.

    Attributes:
        name: as in reports and on the command line.
        function: the attack.
        norms: in which it can bound a change.
        white_box: whether it needs gradients; others ask for logits alone, or for nothing.
        fewest_classes: the least K.
        about: one line for help and reports.
    """

    name: str
    function: Attack
    norms: tuple[Norm, ...] = NORMS
    white_box: bool = True
    fewest_classes: int = 2
    about: str = ""


_ALL = (
    AttackSpec("noise", random_noise, white_box=False, about="random noise of the same norm, as a control"),
    AttackSpec("fgsm", fgsm, about="one step along the gradient"),
    AttackSpec("bim", bim, about="steps along the gradient from the original"),
    AttackSpec("pgd", pgd, about="projected gradient ascent from random points"),
    AttackSpec("apgd_ce", apgd_ce, about="Auto-PGD that raises the cross entropy"),
    AttackSpec(
        "apgd_dlr", apgd_dlr, fewest_classes=3, about="Auto-PGD that raises the difference of logits ratio"
    ),
    AttackSpec("apgd_margin", apgd_margin, about="Auto-PGD that raises the margin"),
    AttackSpec("apgd_targeted", apgd_targeted, about="Auto-PGD toward the likeliest other classes in turn"),
    AttackSpec("deepfool", deepfool, about="DeepFool: onto the nearest linearised boundary, again and again"),
    AttackSpec("fmn", fmn, about="FMN: a ball that shrinks around what fools and grows around what does not"),
    AttackSpec(
        "carlini_wagner", carlini_wagner, ("l2",), about="Carlini and Wagner: least length and margin"
    ),
    AttackSpec("fab", fab, about="FAB: along the linearised boundary that is nearest"),
    AttackSpec("fab_targeted", fab_targeted, about="FAB toward the likeliest other classes in turn"),
    AttackSpec("square", square, white_box=False, about="Square: random squares, from logits alone"),
    AttackSpec(
        "auto_attack", auto_attack, about="AutoAttack for any number of classes, all images fooled by any"
    ),
)
ATTACKS: Mapping[str, AttackSpec] = {spec.name: spec for spec in _ALL}
"""All attacks, by name."""


def spelled(name: str) -> str:
    """The name of an attack as it stands in `ATTACKS`, of one that is typed with hyphens, too."""
    return name.replace("-", "_")
