"""The answers at the top of the report, from score.json and study.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.fidelity import is_biased
from plenish.metrics.words import describe_copies, is_known, number, percent, with_interval
from plenish.report.page import Card
from plenish.study.verdicts import study_verdict

_TONES = {"helps": "good", "hurts": "bad"}
_ADDED = {"helps": "They help", "hurts": "They hurt", "no evidence": "No evidence that they help"}
_ALONE = {"helps": "They are better", "hurts": "They are worse", "no evidence": "No evidence either way"}
_COPIES = {
    "none": ("No sign of copying", "good"), "close": ("Training images may leak", "bad"),
    "identical": ("Training images leak", "bad"),
}  # fmt: skip


def cards(score: Mapping[str, Any] | None, study: Mapping[str, Any] | None) -> list[Card]:
    """Do the synthetic images help, do they copy, are they like the real ones; what is unknown is left out.

    Args:
        score: content of score.json.
        study: content of study.json.
    """
    found = [help_card(study)] if study is not None else []
    if score is not None:
        found.append(copies_card(score["copies"]))
        found += fidelity_card(score)
    return found


def help_card(study: Mapping[str, Any]) -> Card:
    """Whether the synthetic images helped the classifier: the verdict on the primary arm alone."""
    main = study["verdict"]
    question = "Do the synthetic images help a classifier?"
    if main is None:
        return Card(question, "Not studied", study_verdict(study))
    if not main["real"]:
        question = "Are synthetic images alone better than real ones?"
    answer = (_ADDED if main["real"] else _ALONE)[main["verdict"]]
    return Card(question, answer, study_verdict(study), _TONES.get(main["verdict"], "neutral"))


def copies_card(copies: Mapping[str, Any]) -> Card:
    """Whether more synthetic images are suspiciously close to a training image than chance explains."""
    if copies["baseline"]:
        answer = "No more than by chance" if copies["finding"] == "none" else "More often than by chance"
        question = "A baseline: do other real images come close to training images?"
        return Card(question, answer, describe_copies(copies))
    answer, tone = _COPIES[copies["finding"]]
    if copies.get("unknown_origin") and copies["finding"] != "identical":
        answer = {"none": answer, "close": "Cannot be told"}[copies["finding"]]
        return Card("Do they copy images of this Dataset?", answer, describe_copies(copies))
    return Card("Do they copy training images?", answer, describe_copies(copies), tone)


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


def comparable(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its value taken at the number of images of its baseline, where that is not its own."""
    return {**row, **(row["comparable"] or {})}


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
