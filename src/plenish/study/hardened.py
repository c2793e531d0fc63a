"""Arms whose classifiers are trained against attacks: how, and what cannot work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.errors import InputError, unknown
from plenish.robustness.hardening import check_hardening
from plenish.robustness.hardening_config import HardeningConfig
from plenish.study.arms import Arm
from plenish.study.arms_file import configured
from plenish.study.robust_test import RobustTest
from plenish.training.classifier_config import ClassifierConfig


def hardening_of(arm: Arm, test: RobustTest | None) -> HardeningConfig | None:
    """How an arm is trained against attacks; None where it is not.

    Norm and radius are those of the study's attack where the arm names none of its own.

    Args:
        arm: which.
        test: the attack of the study.

    Raises:
        InputError: neither says which changes to train against, or the options are none.
    """
    if arm.hardening is None:
        return None
    own = dict(arm.hardening)
    shared: dict[str, Any] = {} if test is None else {"norm": test.threat.norm, "eps": test.threat.eps}
    if own.get("norm", shared.get("norm")) != shared.get("norm") and "eps" not in own:
        shared.pop("eps", None)  # A radius means something else in another norm.
    options = shared | own
    if "eps" not in options:
        raise InputError(
            f"The arm '{arm.name}' is trained against changes up to a radius, and nothing says which; give "
            "--robust 4/255, say, or an eps in the hardening of its file."
        )
    return _config(arm.name, options)


def _config(name: str, options: Mapping[str, Any]) -> HardeningConfig:
    known = {field.name: field.default for field in dataclasses.fields(HardeningConfig)}
    for key in options:
        if key not in known:
            raise unknown(f"option of the hardening of the arm '{name}'", key, [*known])
    try:
        return HardeningConfig(**options)
    except (TypeError, InputError) as error:
        raise InputError(f"The hardening of the arm '{name}': {error}") from None


def slower(arm: Arm, test: RobustTest | None) -> float:
    """About how many times as long a step of an arm takes: gradients of images are two thirds of a step."""
    hardening = hardening_of(arm, test)
    if hardening is None or hardening.method == "none":
        return 1.0
    steps = hardening.resolved().attack_steps or 1
    own = {"free": 0.0, "fast": 1.0, "pgd": 1.0}.get(hardening.method, 2.0)  # TRADES, MART: both images.
    return own + steps * (1.0 if hardening.method == "free" else 2 / 3)


def check_hardened(arms: Sequence[Arm], config: ClassifierConfig, test: RobustTest | None) -> None:
    """Refuse arms that cannot be trained against attacks.

    Args:
        arms: all arms.
        config: what the trainings have in common.
        test: the attack of the study.

    Raises:
        InputError: as `hardening_of`, or options of the classifier that do not go with the method.
    """
    for arm in arms:
        hardening = hardening_of(arm, test)
        if hardening is not None:
            check_hardening(configured(arm, config), hardening)
