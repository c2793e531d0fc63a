"""The words of an attack's result: distances, attacks, and what each check means, for the page and SARIF."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plenish.metrics.words import number, percent
from plenish.robustness.evaluation_config import CONTROLS_ALONE
from plenish.robustness.radius import format_eps, measured_eps
from plenish.wording import plural

Row = Mapping[str, Any]
UNTRIED = "Attacks that were not tried may succeed where these did not."


@dataclasses.dataclass(frozen=True)
class Words:
    """What a check of the attacks is.

    Attributes:
        title: what should hold.
        failed: what was found where it does not.
        meaning: what a failure says of the numbers.
        advice: what to do then.
    """

    title: str
    failed: str
    meaning: str
    advice: str


_STRONGER = "Attack with more steps and restarts, and with an attack made for this classifier."
FLAGS: dict[str, Words] = {
    "iterative-beats-single-step": Words(
        "Many steps do at least as much as one",
        "Many steps find less than one",
        "An attack of many steps that finds less than one of a single step is misled by the gradients, so "
        "the robust accuracy is too high.",
        "Look for a saturated softmax, rounding or a detached path in the classifier, and attack without it.",
    ),
    "white-box-beats-black-box": Words(
        "Attacks that use gradients do at least as much as one that does not",
        "An attack without gradients finds more than those that use them",
        "Where an attack without gradients finds more, the gradients are masked: the classifier hides its "
        "weakness from them and is not robust.",
        "Believe the attack without gradients, give it more queries, and attack a smooth stand-in of what "
        "hides the gradients (BPDA).",
    ),
    "noise-is-harmless": Words(
        "Random noise of the same size changes little",
        "Random noise of the same size changes much",
        "Where noise alone takes right answers away, errors are not the work of an attack: the classifier "
        "fails on slightly noisy images.",
        "Train with noise augmentation, and look at the images: they may be of another kind than those of "
        "the training.",
    ),
    "reaches-chance": Words(
        "A large enough change fools the classifier",
        "A large change does not fool the classifier",
        "At the largest eps an attack may nearly paint another image. Where many right answers are left, the "
        "attacks fail for a reason of their own.",
        "Add a larger --eps; if accuracy stays, suspect masked gradients.",
    ),
    "monotone": Words(
        "A larger eps leaves no more right answers",
        "A larger eps leaves more right answers",
        "Every image within a small eps is within a large one too, so a rise shows that an attack stopped "
        "too early.",
        _STRONGER,
    ),
    "converged": Words(
        "More steps no longer lower the accuracy",
        "More steps still lower the accuracy",
        "Where accuracy still falls with the number of steps, the robust accuracy is too high.",
        _STRONGER,
    ),
    "finite-logits": Words(
        "The logits of attacked images are numbers",
        "Logits are NaN or infinite",
        "A logit that is NaN or infinite gives an attack no margin and no gradient to follow, so the robust "
        "accuracy may be too high. An image whose largest logit is no finite number counts as wrong.",
        "Look for an overflow, a division by 0 or a logarithm of 0 in the classifier, and attack in float32.",
    ),
    "gradients": Words(
        "Gradients are neither zero nor undefined",
        "Gradients are zero or undefined",
        "An attack cannot follow a gradient that is 0 or not a number: it stays at the original, which then "
        "counts as robust.",
        "Attack the logits in float32, without rounding and without a path that is detached from the image.",
    ),
    "deterministic": Words(
        "The same image gets the same answer",
        "The same image gets different logits",
        "A classifier that draws at random (dropout left on, random crops) shows an attack another network "
        "at every step, so the robust accuracy is too high.",
        "Attack in evaluation mode, or average the gradient over many draws (EoT).",
    ),
    "softmax": Words(
        "The softmax is not saturated",
        "The softmax is saturated",
        "Where answers are so sure that their gradients vanish in float32, or the outputs are probabilities "
        "and no logits, attacks on the cross entropy find nothing.",
        "Give the logits in place of probabilities, divide them by a constant, and believe attacks on their "
        "margin (apgd_margin, apgd_dlr).",
    ),
    "differentiable": Words(
        "Every step of the classifier can be differentiated",
        "A step of the classifier cannot be differentiated",
        "The output changes with the image although the gradient says that it does not: rounding, a "
        "threshold or a detached path hides it from attacks that use gradients.",
        "Put a smooth stand-in there for the backward pass (BPDA), and believe the attack without gradients.",
    ),
    "finite-differences": Words(
        "Gradients agree with what small changes do",
        "Gradients do not agree with what small changes do",
        "Where the output does not follow its gradient, attacks are led astray, so the robust accuracy is "
        "too high.",
        "Look for rounding, a part that is left out of the gradient, or gradients that were made up.",
    ),
}  # fmt: skip
"""By the name of a flag in attack.json."""


def flag_words(name: str) -> Words:
    """The words of a flag; of one that has none, its name."""
    title = name.replace("-", " ").capitalize()
    return FLAGS.get(name) or Words(title, f"A check failed: {title.lower()}", "", "")


def finding(flag: Row) -> str:
    """What a failed check found, with its number: `The softmax is saturated: …`, without a full stop."""
    failed = flag_words(flag["name"]).failed
    with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):  # Of a result that lacks values.
        return f"{failed}: {_MEASURED[flag['name']](flag['values'])}"
    return failed


def _gradients(values: Row) -> str:
    if values.get("path") is False:
        return "none reaches the image"
    zero, undefined = percent(values["zero"]), percent(values["undefined"])
    return f"zero for {zero} of the images, undefined for {undefined}"


def _softmax(values: Row) -> str:
    if values["probabilities"]:
        return "the outputs are probabilities and no logits"
    sure = f"{percent(values['certain'])} of the images have a probability of exactly 1 in float32"
    vanished = values["vanished"]
    return sure if vanished is None else f"{sure}, and the gradient vanishes for {percent(vanished)}"


def _differentiable(values: Row) -> str:
    if values.get("path") is False:
        return "no gradient reaches the image"
    share = percent(values["zero_though_output_changes"])
    return f"the gradient is zero for {share} of the images although their output changes"


def _monotone(values: Row) -> str:
    right = values["iterative"]
    rise = max(later - min(right[: i + 1]) for i, later in enumerate(right[1:]))
    return f"PGD leaves {rise:,} more"


_MEASURED: dict[str, Callable[[Row], str]] = {
    "iterative-beats-single-step": lambda values: (
        "PGD leaves "
        f"{max(b - a for a, b in zip(values['single_step'], values['iterative'], strict=True)):,} more right "
        "than FGSM"
    ),
    "white-box-beats-black-box": lambda values: (
        f"{plural(max(values['only_black_box']), 'image')} at one eps"
    ),
    "noise-is-harmless": lambda values: (
        f"{values['noise'][0] - min(values['noise']):,} of {values['noise'][0]:,} right answers are lost"
    ),
    "reaches-chance": lambda values: (
        f"{percent(values['largest_change'])} are right under the largest, and by chance "
        f"{percent(values['chance'])}"
    ),
    "monotone": _monotone,
    "converged": lambda values: (
        f"{percent(values['halfway'])} after half of {values['steps']} steps, {percent(values['end'])} after "
        "all"
    ),
    "finite-logits": lambda values: f"those of {plural(max(values['images']), 'image')} at one eps",
    "gradients": _gradients,
    "deterministic": lambda values: f"by {number(max(values['repeated'], values['alone']))} of their spread",
    "softmax": _softmax,
    "differentiable": _differentiable,
    "finite-differences": lambda values: f"they are {percent(values['disagreement'], '.0f')} off",
}
"""The number of a failed check in words, by its name."""


def norm_words(norm: str) -> str:
    """What a radius limits."""
    return {
        "linf": "every value of an image changes by at most eps",
        "l2": "the change of an image is at most eps long (Euclidean)",
    }.get(norm, norm)


def worst_at(content: Row, eps: float | None = None) -> Row:
    """The row of the worst case at an eps of the grid, by default at its largest; InputError for another."""
    rows: dict[float, Row] = {float(row["eps"]): row for row in content["worst_case"]}
    return rows[max(rows) if eps is None else measured_eps(eps, rows, content["threat"]["norm"])]


def controls_alone(content: Row) -> bool:
    """Whether no attack was made, but the control of random noise alone."""
    return any(caveat["code"] == CONTROLS_ALONE for caveat in content.get("caveats", ()))


def held(content: Row, row: Row) -> str:
    """On how many images no attack succeeded: `No attack tried succeeded on 31 of 100 images`."""
    n = content["data"]["images"]
    kept = round(row["accuracy"][0] * n)
    at = format_eps(row["eps"], content["threat"]["norm"])
    if controls_alone(content):
        return f"At eps {at} random noise, which is no attack, leaves {kept:,} of {n:,} images right"
    if not kept:
        return f"At eps {at} none of {n:,} images stays right under attack"
    return f"At eps {at} no attack tried succeeded on {kept:,} of {n:,} images"


def rows_of_worst(content: Row) -> list[dict[str, Any]]:
    """The worst case by eps, for a terminal and for programs."""
    n, norm = content["data"]["images"], content["threat"]["norm"]
    kept = "right_under_noise" if controls_alone(content) else "no_attack_succeeded_on"
    return [
        {
            "eps": format_eps(row["eps"], norm), **dict(zip(("accuracy", "low", "high"), row["accuracy"])),
            "balanced": row["balanced_accuracy"][0],
            kept: f"{round(row['accuracy'][0] * n)} of {n}",
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
