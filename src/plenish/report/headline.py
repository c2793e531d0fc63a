"""The answers at the top of the report, from score.json and study.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.advice import LEVELS, advice
from plenish.metrics.fidelity import is_biased
from plenish.metrics.likeness_words import (
    describe_excess,
    describe_labels,
    describe_told_apart,
    is_easily_told,
    is_worse,
)
from plenish.metrics.quality import Quality
from plenish.metrics.words import comparable, describe_copies, is_known, number, percent, with_interval
from plenish.report.inputs import ReportInputs
from plenish.report.page import Card
from plenish.study.verdicts import recommendation, study_verdict

_TONES = {"helps": "good", "hurts": "bad"}
_ADDED = {
    "helps": "They help", "hurts": "They hurt", "equivalent": "They make no difference that matters",
    "no evidence": "No evidence that they help",
}  # fmt: skip
_ALONE = {
    "helps": "They are better", "hurts": "They are worse", "equivalent": "They are as good",
    "no evidence": "No evidence either way",
}  # fmt: skip
LEVEL_TONES = {"undertrained": "bad", "usable": "neutral", "near": "good"}
_COPIES = {
    "none": ("No sign of copying", "good"), "close": ("Some may be copies", "bad"),
    "unclear": ("Cannot be told: some come very near", "neutral"),
    "identical": ("They copy training images", "bad"),
}  # fmt: skip


def cards(inputs: ReportInputs) -> list[Card]:
    """Are the images good, like the real ones, rightly labelled, do they help, do they copy, what next?

    What does not apply is left out.
    """
    score, study, quality = inputs.score, inputs.study, inputs.quality
    trained = inputs.run is not None and inputs.run.kind == "generator"
    of_generator = inputs.kind == "synthetic" and (trained or quality is not None or score is not None)
    apart = None if score is None else score["told_apart"]
    found = [quality_card(quality, apart)] if of_generator else []
    if of_generator and score is not None:
        found += [*([] if quality is not None else fidelity_card(score)), *labels_card(score)]
    found += [help_card(study, quality)] if study is not None else []
    if score is not None:
        found.append(copies_card(score["copies"], quality, apart))
        found += [] if of_generator else fidelity_card(score)
    if of_generator:
        studied = None if study is None else recommendation(study)
        found.append(Card("What next?", *_in_two(str(advice(quality, inputs.run, studied=studied)))))
    return found


def _in_two(text: str) -> tuple[str, str]:
    """A sentence with a colon as what stands before it, and the rest as a sentence of its own."""
    head, _, rest = text.strip().partition(": ")
    return head, rest[:1].upper() + rest[1:]


def quality_card(quality: Quality | None, apart: Mapping[str, Any] | None = None) -> Card:
    """How far the generator is, by the rule of `metrics.quality` and by whether its images are told apart.

    Args:
        quality: its figures, if they were measured.
        apart: the `told_apart` part of score.json, if there is one.
    """
    question = "Are the images good?"
    if quality is None:
        return Card(question, "Not measured", "Neither its training nor a score measured how good they are.")
    answer, tone = LEVELS[quality.level], LEVEL_TONES[quality.level]
    if apart is not None and apart["told"] and quality.level != "undertrained":
        if is_easily_told(apart):
            answer, tone = "Easily told from real ones", "bad"
        elif quality.level == "near":
            answer, tone = "Near the real ones, but told apart", "neutral"
    said = "" if apart is None else f"{describe_told_apart(apart)} "
    return Card(question, answer, said + quality.measured(), tone, quality.figures())


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


def of_better(what: str, quality: Quality | None, apart: Mapping[str, Any] | None = None) -> str:
    """What the result of a generator whose images are unlike real ones says of a better one.

    Args:
        what: the result.
        quality: how far the generator is, if it was measured.
        apart: the `told_apart` part of score.json, if there is one.
    """
    if quality is not None and quality.level == "undertrained":
        return f" The generator is undertrained: the {what} says little about a better one."
    if apart is not None and is_easily_told(apart):
        return f" The images are easily told from real ones: the {what} says little about a better generator."
    return ""


def copies_card(
    copies: Mapping[str, Any], quality: Quality | None = None, apart: Mapping[str, Any] | None = None
) -> Card:
    """Whether more synthetic images are suspiciously close to a training image than chance explains.

    Images that are unlike real ones are no copies of them, so that no sign of copying is no good news then.
    """
    if copies["baseline"]:
        answer = {"none": "No more than by chance", "unclear": "Cannot be told"}.get(
            copies["finding"], "More often than by chance"
        )
        question = "A baseline: do other real images come close to training images?"
        return Card(question, answer, describe_copies(copies))
    answer, tone = _COPIES[copies["finding"]]
    doubt = of_better("search", quality, apart)
    if copies.get("unknown_origin") and copies["finding"] != "identical":
        answer = answer if copies["finding"] == "none" else "Cannot be told"
        return Card("Do they copy images of this Dataset?", answer, describe_copies(copies) + doubt)
    if doubt and tone == "good":
        answer, tone = "No sign, which says little yet", "neutral"
    return Card("Do they copy training images?", answer, describe_copies(copies) + doubt, tone)


def fidelity_card(score: Mapping[str, Any]) -> list[Card]:
    """Whether the images are told from real ones, and how far from them they are.

    The classifier two-sample test is the headline where it tells them apart. Else it is any score that is
    worse than that of real images in their place, first the Fréchet distance, unless there are fewer images
    than features on either side: its bias then hides most of a difference, so KID, which has none, takes its
    place, and the Fréchet distance is shown beside it. Without any score there is no card.
    """
    rows = {row["name"].partition("(")[0]: row for row in score["scores"] if row["scope"] == "overall"}
    if not rows:
        return []
    apart, tone = score["told_apart"], "neutral"
    answer, sentence = _distance(rows, score["extractor"]["dim"], short=apart is not None)
    if apart is not None:
        sentence = f"{describe_told_apart(apart)} {sentence}"
        if apart["told"]:
            easily = is_easily_told(apart)
            answer, tone = ("Easily told apart", "bad") if easily else ("Told apart", "neutral")
        elif is_known(apart["auroc"]["low"]) and not any(map(is_worse, rows.values())):
            answer = "Not told apart"
    real = score["synthetic"]["origin"] == "real"
    question = (
        "A baseline: how like the real ones are other real ones?" if real else "Are they like the real ones?"
    )
    return [Card(question, answer, sentence, "neutral" if real else tone)]


def _distance(rows: Mapping[str, Mapping[str, Any]], dim: int, *, short: bool) -> tuple[str, str]:
    """The scores against those of real images, in a few words and in sentences; a `short` one tells less."""
    frechet, kid = comparable(rows["FID" if "FID" in rows else "FD"]), comparable(rows["KID"])
    biased = is_biased(frechet["n_real"], frechet["n_synthetic"], dim)
    first = kid if biased else frechet
    answer, sentence = against_baseline(first)
    if biased and not short:
        sentence += (
            f" The Fréchet distance is biased, as there are fewer images than features "
            f"({frechet['n_real']:,} and {frechet['n_synthetic']:,}; {dim}): {against_baseline(frechet)[1]}"
        )
    sentence += (
        f" {percent(rows['precision']['value'], '.0f')} of them look like real ones (precision); "
        f"{percent(rows['recall']['value'], '.0f')} of the real variety is reached (recall)."
    )
    worse = [row["name"] for row in rows.values() if is_worse(row)]
    if worse:
        sentence += f" Worse than real images in their place: {', '.join(worse)}."
        answer = answer if first["name"] in worse else f"Worse than real ones: {', '.join(worse)}"
    return answer, sentence


def labels_card(score: Mapping[str, Any]) -> list[Card]:
    """That labels do not fit, where they are shown to fit less well than those of real images."""
    labels = score["labels"]
    if labels is None or not labels["lower"]:
        return []
    return [Card("Do their labels fit?", "Less than real ones", describe_labels(labels), "bad")]


def against_baseline(row: Mapping[str, Any]) -> tuple[str, str]:
    """A distance against that between real images: in a few words, and as a sentence.

    By the interval of their difference on the same resampled groups; without one, numbers alone.
    """
    value, base, excess = row["value"], row["real_baseline"], row["excess"]
    text = f"{row['name']} is {with_interval(value, row['low'], row['high'])}"
    plain = f"{row['name']} {number(value)}"
    if not is_known(value) or not is_known(base):
        return plain, f"{text}."
    more = "" if excess is None or not is_known(excess["low"]) else f" (difference {describe_excess(row)})"
    between = f"; that of real images in their place is {number(base)}{more}"
    if more and not is_worse(row):
        return "Not shown to be farther than real ones", f"{text}{between}."
    if base <= 0:  # an unbiased estimate of a small distance may be negative, and has no multiples
        return "Farther than real ones" if more else plain, f"{text}{between}."
    times = f"{number(value / base, 2)} times"
    return (
        f"{times} as far as real ones",
        f"{text}, {times} the {number(base)} of real images in their place{more}.",
    )
