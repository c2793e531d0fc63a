"""Arms whose classifiers are trained against attacks: how, how long that takes, and what cannot work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.errors import InputError
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
    if shared and own.get("norm", shared["norm"]) != shared["norm"] and "eps" not in own:
        raise InputError(
            f"The arm '{arm.name}' is trained in the norm {own['norm']}, where the radius of --robust, in "
            f"{shared['norm']}, means something else; give an eps in the hardening of its file."
        )
    options = shared | own
    if "eps" not in options:
        raise InputError(
            f"The arm '{arm.name}' is trained against changes up to a radius, and nothing says which; give "
            "--robust 4/255, say, or an eps in the hardening of its file."
        )
    return _config(arm.name, options)


def _config(name: str, options: Mapping[str, Any]) -> HardeningConfig:
    try:
        return HardeningConfig(**options)
    except InputError as error:
        raise InputError(f"The hardening of the arm '{name}': {error}") from None


def trains_alike(arm: Arm, test: RobustTest | None) -> Arm:
    """The arm without its name, its hardening spelled out: equal for arms whose hardening is the same."""
    hardening = hardening_of(arm, test)
    spelled = None if hardening is None else tuple(dataclasses.asdict(hardening.resolved()).items())
    return dataclasses.replace(arm, name="", hardening=spelled)


def slower(arm: Arm, test: RobustTest | None) -> float:
    """About how many times as long a step of an arm takes: gradients of images are two thirds of a step."""
    hardening = hardening_of(arm, test)
    if hardening is None:
        return 1.0
    steps = hardening.resolved().attack_steps or 1
    own = {"free": 0.0, "fast": 1.0, "pgd": 1.0}.get(hardening.method, 2.0)  # TRADES, MART: both images.
    return own + steps * (1.0 if hardening.method == "free" else 2 / 3)


def validated(arms: Sequence[Arm], test: RobustTest | None) -> float:
    """How many images are classified in validating on one, a mean over arms; a gradient counts as two."""
    found = [hardening_of(arm, test) for arm in arms]
    return sum(1 if how is None else 2 + 3 * how.validation_steps for how in found) / len(found)


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
        if hardening is None:
            continue
        try:
            check_hardening(configured(arm, config), hardening)
        except InputError as error:
            raise InputError(f"The arm '{arm.name}': {error}") from None
