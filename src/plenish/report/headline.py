"""The answers at the top of the report, from score.json and study.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.advice import LEVELS, advice
from plenish.metrics.fidelity import is_biased
from plenish.metrics.quality import Quality
from plenish.metrics.words import comparable, describe_copies, is_known, number, percent, with_interval
from plenish.report.inputs import ReportInputs
from plenish.report.page import Card
from plenish.study.verdicts import study_verdict

_TONES = {"helps": "good", "hurts": "bad"}
_ADDED = {
    "helps": "They help", "hurts": "They hurt", "equivalent": "They make no difference that matters",
    "no evidence": "No evidence that they help",
}  # fmt: skip
_ALONE = {
    "helps": "They are better", "hurts": "They are worse", "equivalent": "They are as good",
    "no evidence": "No evidence either way",
}  # fmt: skip
_LEVEL_TONES = {"undertrained": "bad", "usable": "neutral", "near": "good"}
_COPIES = {
    "none": ("No sign of copying", "good"), "close": ("Some may be copies", "bad"),
    "identical": ("They copy training images", "bad"),
}  # fmt: skip


def cards(inputs: ReportInputs) -> list[Card]:
    """Are the images good, do they help, do they copy, what next; what does not apply is left out."""
    score, study, quality = inputs.score, inputs.study, inputs.quality
    trained = inputs.run is not None and inputs.run.kind == "generator"
    of_generator = inputs.kind == "synthetic" and (trained or quality is not None or score is not None)
    found = [quality_card(quality)] if of_generator else []
    found += [help_card(study, quality)] if study is not None else []
    if score is not None:
        found.append(copies_card(score["copies"], quality))
        found += [] if of_generator else fidelity_card(score)
    if of_generator:
        found.append(Card("What next?", *_in_two(str(advice(quality, inputs.run)))))
    return found


def _in_two(text: str) -> tuple[str, str]:
    """A sentence with a colon as what stands before it, and the rest as a sentence of its own."""
    head, _, rest = text.partition(": ")
    return head, rest[:1].upper() + rest[1:]


def quality_card(quality: Quality | None) -> Card:
    """How far the generator is, by the rule of `metrics.quality`."""
    question = "Are the images good?"
    if quality is None:
        return Card(question, "Not measured", "Neither its training nor a score measured how good they are.")
    return Card(question, LEVELS[quality.level], str(quality), _LEVEL_TONES[quality.level])


def help_card(study: Mapping[str, Any], quality: Quality | None = None) -> Card:
    """Whether the synthetic images helped the classifier: the verdict on the primary arm alone."""
    main = study["verdict"]
    question = "Do the synthetic images help a classifier?"
    if main is None:
        return Card(question, "Not studied", study_verdict(study))
    if not main["real"]:
        question = "Are synthetic images alone better than real ones?"
    answer = (_ADDED if main["real"] else _ALONE)[main["verdict"]]
    return Card(
        question,
        answer,
        study_verdict(study) + of_better("study", quality),
        _TONES.get(main["verdict"], "neutral"),
    )


def of_better(what: str, quality: Quality | None) -> str:
    """What the result of an undertrained generator says of a better one."""
    if quality is None or quality.level != "undertrained":
        return ""
    return f" The generator is undertrained: the {what} says little about a better one."


def copies_card(copies: Mapping[str, Any], quality: Quality | None = None) -> Card:
    """Whether more synthetic images are suspiciously close to a training image than chance explains."""
    if copies["baseline"]:
        answer = "No more than by chance" if copies["finding"] == "none" else "More often than by chance"
        question = "A baseline: do other real images come close to training images?"
        return Card(question, answer, describe_copies(copies))
    answer, tone = _COPIES[copies["finding"]]
    doubt = of_better("search", quality)
    if copies.get("unknown_origin") and copies["finding"] != "identical":
        answer = {"none": answer, "close": "Cannot be told"}[copies["finding"]]
        return Card("Do they copy images of this Dataset?", answer, describe_copies(copies) + doubt)
    if doubt and tone == "good":
        answer, tone = "No sign, which says little yet", "neutral"
    return Card("Do they copy training images?", answer, describe_copies(copies) + doubt, tone)


def fidelity_card(score: Mapping[str, Any]) -> list[Card]:
    """How far the synthetic images are from the real ones, measured against real from real.

    The Fréchet distance is the headline, unless there are fewer images than features on either side: its
    bias then hides most of a difference, so KID, which has none, takes its place, and the Fréchet distance is
    shown beside it. Without any score there is no card.
    """
    rows = {row["name"].partition("(")[0]: row for row in score["scores"] if row["scope"] == "overall"}
    if not rows:
        return []
    frechet, kid = comparable(rows["FID" if "FID" in rows else "FD"]), comparable(rows["KID"])
    dim = score["extractor"]["dim"]
    biased = is_biased(frechet["n_real"], frechet["n_synthetic"], dim)
    answer, sentence = against_baseline(kid if biased else frechet)
    if biased:
        sentence += (
            f" The Fréchet distance is biased, as there are fewer images than features "
            f"({frechet['n_real']:,} and {frechet['n_synthetic']:,}; {dim}): {against_baseline(frechet)[1]}"
        )
    sentence += (
        f" {percent(rows['precision']['value'], '.0f')} of them look like real ones (precision); "
        f"{percent(rows['recall']['value'], '.0f')} of the real variety is reached (recall)."
    )
    real = score["synthetic"]["origin"] == "real"
    question = (
        "A baseline: how like the real ones are other real ones?" if real else "Are they like the real ones?"
    )
    return [Card(question, answer, sentence)]


def against_baseline(row: Mapping[str, Any]) -> tuple[str, str]:
    """A distance against that between real images: in a few words, and as a sentence."""
    value, low, base = row["value"], row["low"], row["real_baseline"]
    text = f"{row['name']} is {with_interval(value, low, row['high'])}"
    plain = f"{row['name']} {number(value)}"
    if not is_known(value) or not is_known(base):
        return plain, f"{text}."
    between = f"; the distance between two sets of real images is {number(base)}"
    if is_known(low) and low <= base:
        return "Not shown to be farther than real ones", f"{text}{between}, within that interval."
    if base <= 0:  # an unbiased estimate of a small distance may be negative, and has no multiples
        return "Farther than real ones" if is_known(low) else plain, f"{text}{between}."
    times = f"{number(value / base, 2)} times"
    return (
        f"{times} as far as real ones",
        f"{text}, {times} the {number(base)} between two sets of real images.",
    )
