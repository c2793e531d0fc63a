"""How a classifier is hardened, without torch, so that a command's help need not load it."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from plenish.configuration import check_bounds, option, option_name
from plenish.errors import InputError, unknown
from plenish.robustness.radius import HARDENED_EPS, parse_eps

HardeningMethod = Literal["pgd", "trades", "mart", "free", "fast", "none"]
_STEPS: dict[str, int] = {"pgd": 10, "trades": 10, "mart": 10, "free": 8, "fast": 1}
_BETA: dict[str, float] = {"trades": 6.0, "mart": 5.0}
"""The published weights of the second term."""


@dataclasses.dataclass(frozen=True)
class HardeningConfig:
    """Adversarial training of a classifier: which images it is trained on, and by which loss.

    Sources: pgd (Madry et al., ICLR 2018), trades (Zhang et al., ICML 2019), mart (Wang et al., ICLR 2020),
    free (Shafahi et al., NeurIPS 2019), fast (Wong et al., ICLR 2020), awp (Wu et al., NeurIPS 2020).

    Attributes:
        method: pgd (the loss of images attacked by PGD), trades (the loss of the images, and how far an
            attack moves the answer), mart (images that are classified badly count more), free (the gradients
            of a step also move the images, and each batch is repeated), fast (one step from a random start)
            or none (images as they are).
        eps: how far an adversarial image may lie from its original, in units of [0, 1]; by default 4/255, in
            the norm l2 0.5.
        norm: of that distance: linf (the largest change of a value) or l2 (the Euclidean length).
        attack_steps: steps of the attack on each batch; of free, how often a batch is repeated. By default
            10, of free 8.
        step_size: length of a step of the attack, as 0.01 or 1/255; by default eps/4, of fast 1.25 eps, of
            free eps.
        beta: of trades and mart: weight of their second term; by default 6 and 5.
        awp: move the weights, too, to where the loss is higher, by this share of their length (adversarial
            weight perturbation): 0.005 suits trades, 0.01 pgd; 0 leaves them.
        awp_warmup: share of the training before which the weights are not moved.
        validation_steps: steps of the attack (PGD) on val, whose images decide which checkpoint is best.
    """

    method: HardeningMethod = "trades"
    eps: float | str | None = None
    norm: Literal["linf", "l2"] = "linf"
    attack_steps: int | None = option(least=1)
    step_size: float | str | None = None
    beta: float | None = option(least=0)
    awp: float = option(0.0, least=0, below=1)
    awp_warmup: float = option(0.05, least=0, below=1)
    validation_steps: int = option(10, least=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name not in ("eps", "step_size"):
                check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)
        for name, choices in (("method", get_args(HardeningMethod)), ("norm", ("linf", "l2"))):
            if getattr(self, name) not in choices:
                raise unknown(option_name(name), getattr(self, name), choices)
        eps = HARDENED_EPS[self.norm] if self.eps is None else self.eps
        for name, typed in (("eps", eps), ("step_size", self.step_size)):
            if typed is not None:
                object.__setattr__(self, name, _length(option_name(name), typed))
        self._check_norm()
        self._check_others()

    def _check_norm(self) -> None:
        """Refuse lengths above 1 in the L∞ norm, but for a step that follows from eps."""
        sizes = {"eps": self.radius}
        if self.step_size != self._usual_step():
            sizes["step_size"] = float(self.step_size or 0)
        for name, found in sizes.items() if self.norm == "linf" else ():
            if found > 1:
                raise InputError(
                    f"{option_name(name)} is a distance above 0, at most 1, in units of [0, 1], as 4/255 or "
                    f"0.02; not {found:g}."
                )

    def _check_others(self) -> None:
        """Refuse options of another method."""
        for name in ("attack_steps", "step_size") if self.method == "none" else ():
            if getattr(self, name) is not None:
                raise InputError(
                    f"{option_name(name)} is of the attack on training images, and --method none makes none; "
                    "leave it out."
                )
        if self.method == "fast" and self.attack_steps not in (None, 1):
            raise InputError("--method fast takes one step of the attack; --method pgd takes --attack-steps.")
        if self.beta is not None and self.method not in _BETA:
            raise InputError(f"--beta is an option of --method trades and mart, not of {self.method}.")
        if self.awp and self.method in ("free", "none"):
            raise InputError(f"--awp goes with --method pgd, trades, mart or fast, not with {self.method}.")
        if self.awp_warmup != HardeningConfig.awp_warmup and not self.awp:
            raise InputError("--awp-warmup is an option of --awp, which is not given.")

    @property
    def radius(self) -> float:
        """eps as a number."""
        assert isinstance(self.eps, (int, float))
        return float(self.eps)

    def resolved(self) -> HardeningConfig:
        """The same with what follows from the method and eps filled in."""
        return dataclasses.replace(
            self,
            attack_steps=self.attack_steps or _STEPS.get(self.method),
            step_size=self._usual_step() if self.step_size is None else self.step_size,
            beta=_BETA.get(self.method) if self.beta is None else self.beta,
        )

    def _usual_step(self) -> float | None:
        """Length of a step where none is given: a share of eps; None without an attack."""
        share = {"fast": 1.25, "free": 1.0}.get(self.method, 0.25)
        return None if self.method == "none" else share * self.radius


def _length(option: str, typed: float | str) -> float:
    """A distance, see `parse_eps`; InputError unless above 0."""
    found = parse_eps(typed, option)
    if not found:
        raise InputError(f"{option} is a distance above 0 in units of [0, 1], as 4/255 or 0.02; not 0.")
    return found
