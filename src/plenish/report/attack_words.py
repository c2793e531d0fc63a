"""The words of an attack's result: distances, attacks, and what each check means, for the page and SARIF."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from plenish.metrics.words import percent
from plenish.robustness.radius import format_eps

Row = Mapping[str, Any]
UNTRIED = "Attacks that were not tried may succeed where these did not."


@dataclasses.dataclass(frozen=True)
class Words:
    """What a check of the attacks is.

    Attributes:
        title: what should hold.
        meaning: what a failure says of the numbers.
        advice: what to do then.
    """

    title: str
    meaning: str
    advice: str


_STRONGER = "Attack with more steps and restarts, and with an attack made for this classifier."
FLAGS: dict[str, Words] = {
    "iterative-beats-single-step": Words(
        "Many steps do at least as much as one",
        "An attack of many steps that finds less than one of a single step is misled by the gradients, so "
        "the robust accuracy is too high.",
        "Look for a saturated softmax, rounding or a detached path in the classifier, and attack without it.",
    ),
    "white-box-beats-black-box": Words(
        "Attacks that use gradients do at least as much as one that does not",
        "Where an attack without gradients finds more, the gradients are masked: the classifier hides its "
        "weakness from them and is not robust.",
        "Believe the attack without gradients, give it more queries, and attack a smooth stand-in of what "
        "hides the gradients (BPDA).",
    ),
    "noise-is-harmless": Words(
        "Random noise of the same size changes little",
        "Where noise alone takes right answers away, errors are not the work of an attack: the classifier "
        "fails on slightly noisy images.",
        "Train with noise augmentation, and look at the images: they may be of another kind than those of "
        "the training.",
    ),
    "reaches-chance": Words(
        "A large enough change fools the classifier",
        "At the largest eps an attack may nearly paint another image. Where many right answers are left, the "
        "attacks fail for a reason of their own.",
        "Add a larger --eps; if accuracy stays, suspect masked gradients.",
    ),
    "monotone": Words(
        "A larger eps leaves no more right answers",
        "Every image within a small eps is within a large one too, so a rise shows that an attack stopped "
        "too early.",
        _STRONGER,
    ),
    "converged": Words(
        "More steps no longer lower the accuracy",
        "Where accuracy still falls with the number of steps, the robust accuracy is too high.",
        _STRONGER,
    ),
    "finite-logits": Words(
        "The logits of attacked images are numbers",
        "A logit that is NaN or infinite gives an attack no margin and no gradient to follow, so the robust "
        "accuracy may be too high. An image whose largest logit is no finite number counts as wrong.",
        "Look for an overflow, a division by 0 or a logarithm of 0 in the classifier, and attack in float32.",
    ),
    "gradients": Words(
        "Gradients are neither zero nor undefined",
        "An attack cannot follow a gradient that is 0 or not a number: it stays at the original, which then "
        "counts as robust.",
        "Attack the logits in float32, without rounding and without a path that is detached from the image.",
    ),
    "deterministic": Words(
        "The same image gets the same answer",
        "A classifier that draws at random (dropout left on, random crops) shows an attack another network "
        "at every step, so the robust accuracy is too high.",
        "Attack in evaluation mode, or average the gradient over many draws (EoT).",
    ),
    "softmax": Words(
        "The softmax is not saturated",
        "Where answers are so sure that their gradients vanish in float32, or the outputs are probabilities "
        "and no logits, attacks on the cross entropy find nothing.",
        "Give the logits in place of probabilities, divide them by a constant, and believe attacks on their "
        "margin (apgd_margin, apgd_dlr).",
    ),
    "differentiable": Words(
        "Every step of the classifier can be differentiated",
        "The output changes with the image although the gradient says that it does not: rounding, a "
        "threshold or a detached path hides it from attacks that use gradients.",
        "Put a smooth stand-in there for the backward pass (BPDA), and believe the attack without gradients.",
    ),
    "finite-differences": Words(
        "Gradients agree with what small changes do",
        "Where the output does not follow its gradient, attacks are led astray, so the robust accuracy is "
        "too high.",
        "Look for rounding, a part that is left out of the gradient, or gradients that were made up.",
    ),
}  # fmt: skip
"""By the name of a flag in attack.json."""


def flag_words(name: str) -> Words:
    """The words of a flag; of one that has none, its name."""
    return FLAGS.get(name) or Words(name.replace("-", " ").capitalize(), "", "")


def norm_words(norm: str) -> str:
    """What a radius limits."""
    return {
        "linf": "every value of an image changes by at most eps",
        "l2": "the change of an image is at most eps long (Euclidean)",
    }.get(norm, norm)


def worst_at(content: Row, eps: float | None = None) -> Row:
    """The row of the worst case at an eps of the grid; by default at its largest."""
    rows: Sequence[Row] = content["worst_case"]
    if eps is None:
        return max(rows, key=lambda row: float(row["eps"]))
    return min(rows, key=lambda row: abs(float(row["eps"]) - eps))


def held(content: Row, row: Row) -> str:
    """On how many images no attack succeeded: `No attack tried succeeded on 31 of 100 images`."""
    n = content["data"]["images"]
    kept = round(row["accuracy"][0] * n)
    at = format_eps(row["eps"], content["threat"]["norm"])
    if not kept:
        return f"At eps {at} none of {n:,} images stays right under attack"
    return f"At eps {at} no attack tried succeeded on {kept:,} of {n:,} images"


def rows_of_worst(content: Row) -> list[dict[str, Any]]:
    """The worst case by eps, for a terminal and for programs."""
    n, norm = content["data"]["images"], content["threat"]["norm"]
    return [
        {
            "eps": format_eps(row["eps"], norm), **dict(zip(("accuracy", "low", "high"), row["accuracy"])),
            "balanced": row["balanced_accuracy"][0],
            "no_attack_succeeded_on": f"{round(row['accuracy'][0] * n)} of {n}",
        }
        for row in content["worst_case"]
    ]  # fmt: skip


def triple(value: Sequence[float | None], spec: str = ".1f") -> str:
    """`81.2 % (78.0 to 84.1)` of [value, low, high] as shares."""
    share, low, high = value
    text = percent(share, spec)
    if low is None or high is None:
        return text
    return f"{text} ({100 * low:{spec}} to {100 * high:{spec}})"


@dataclasses.dataclass(frozen=True)
class Gate:
    """The least accuracy under attack that is asked for.

    Attributes:
        eps: at which it is.
        least: the accuracy; None where none is asked for.
        accuracy: what the worst case leaves there.
    """

    eps: float
    least: float | None
    accuracy: float

    @classmethod
    def of(cls, content: Row, least: float | None = None, at: float | None = None) -> Gate:
        """Of an attack's content: at an eps of its grid, by default the largest."""
        row = worst_at(content, at)
        return cls(float(row["eps"]), least, float(row["accuracy"][0]))

    @property
    def failed(self) -> bool:
        """Whether less is left."""
        return self.least is not None and self.accuracy < self.least
