"""The report's answers in words, from score.json and study.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plenish.report.blocks import Card
from plenish.report.figures import number

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.study.arms import Arm

INTENDED_USE = (
    "For research and teaching. Nothing in this report is a diagnosis or a medical device's output, and no "
    "image made "
    "by a generator may be used as one or be passed off as a patient's."
)

FEW_GROUPS = "The test part has only "  # how the warning of a score and the caveat of a study begin

METRICS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
METRIC_ORDER = tuple(METRICS)


def metric_name(key: str) -> str:
    """The name of a classification metric for people."""
    return METRICS.get(key, key.replace("_", " "))


def by_order(values: Sequence[str], order: Sequence[str]) -> list[str]:
    """The distinct `values`, those in `order` first, the others in the order they came."""
    known = [value for value in order if value in values]
    return known + [value for value in dict.fromkeys(values) if value not in known]


def others(*results: Mapping[str, Any] | None, opened: Dataset | None = None) -> str:
    """What stands beside the real images: `synthetic` ones, or, as a baseline, `other real` ones.

    Args:
        results: contents of score.json and study.json, as far as there are any.
        opened: the Dataset itself, where it is at hand.
    """
    origins = [((result or {}).get("synthetic") or {}).get("origin") for result in results]
    real = "real" in origins or (opened is not None and not opened.is_synthetic)
    return "other real" if real else "synthetic"


def cards(
    score: Mapping[str, Any] | None, study: Mapping[str, Any] | None, kind: str | None = None
) -> list[Card]:
    """The headline: do they help, do they copy, are they like the real ones; the unknown is left out.

    Args:
        score: content of score.json.
        study: content of study.json.
        kind: what :func:`others` says of the whole report; by default, of the score alone.
    """
    found = [help_card(study), copies_card(score, kind), fidelity_card(score, kind)]
    return [card for card in found if card is not None]


def main_arm(study: Mapping[str, Any]) -> Arm | None:
    """The arm that the study's answer is about, chosen as the study did; None without synthetic images."""
    from plenish.errors import InputError
    from plenish.study.arms import parse_arms, primary_arm

    try:
        return primary_arm(
            parse_arms([str(arm) for arm in study.get("arms") or []]), study.get("primary_arm")
        )
    except InputError:  # arms of a later Plenish
        return None


def headline_verdict(study: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The verdict on the main arm, on the most important metric it was judged by."""
    main = main_arm(study)
    mine = [v for v in study.get("verdicts") or [] if main is not None and v.get("arm") == main.name]
    if not mine:
        return None
    metric = by_order([str(v.get("metric")) for v in mine], METRIC_ORDER)[0]
    found: Mapping[str, Any] = next(v for v in mine if str(v.get("metric")) == metric)
    return found


def tone(verdict: str | None) -> str:
    """good, bad or neutral, for "helps", "hurts" and anything else."""
    return {"helps": "good", "hurts": "bad"}.get(str(verdict), "neutral")


def help_card(study: Mapping[str, Any] | None) -> Card | None:
    """Whether the synthetic images helped the classifier; another arm's success is never taken for theirs."""
    if not study or not (study.get("verdict") or study.get("verdicts")):
        return None
    main, chosen = main_arm(study), headline_verdict(study)
    question = "Do the synthetic images help a classifier?"
    if main is None or chosen is None:
        return Card(question, "Not studied", str(study.get("verdict") or ""))
    verdict = str(chosen.get("verdict"))
    answers = {"helps": "They help", "hurts": "They hurt", "no evidence": "No evidence that they help"}
    if not main.real:
        question = "Are synthetic images alone better than real ones?"
        answers = {
            "helps": "They are better",
            "hurts": "They are worse",
            "no evidence": "No evidence either way",
        }
    sentence = str(study.get("verdict") or chosen.get("sentence") or "")
    return Card(question, answers.get(verdict, verdict.capitalize()), sentence, tone(verdict))


def copies_card(score: Mapping[str, Any] | None, kind: str | None = None) -> Card | None:
    """Whether more synthetic images are suspiciously close to a training image than chance explains."""
    copies = (score or {}).get("copies")
    if not copies:
        return None
    suspects, n = int(copies.get("n_suspect") or 0), int(copies.get("n") or 0)
    alarm = copies.get("alarm")
    if (kind or others(score)) != "synthetic":
        answer = "More often than by chance" if alarm else "No more than by chance"
        question = "A baseline: do other real images come close to training images?"
        return Card(question, answer, copies_sentence(copies))
    if alarm:
        answer, sign = "Training images seem to leak", "bad"
    elif alarm is None and suspects:
        answer, sign = f"{suspects:,} of {n:,} to look at", "neutral"
    else:
        answer, sign = "No sign of copying", "good"
    return Card("Do they copy training images?", answer, copies_sentence(copies), sign)


def copies_sentence(copies: Mapping[str, Any]) -> str:
    """The audit in one sentence: its own, or one made of its numbers."""
    if copies.get("sentence"):
        return str(copies["sentence"])
    share = number(100 * float(copies.get("share_suspect") or 0.0), 2)
    return f"{share} % of the images lie closer to a training image than held-out real images usually do."


def fidelity_card(score: Mapping[str, Any] | None, kind: str | None = None) -> Card | None:
    """How far the synthetic images are from the real ones, measured against real from real.

    The Fréchet distance is the headline, unless there are fewer images than features on either side: its
    bias then hides most of a difference, so KID, which has none, takes its place, and the Fréchet distance is
    told beside it.
    """
    rows = [row for row in (score or {}).get("scores") or [] if row.get("scope") == "overall"]
    if not rows:
        return None
    by_name = {str(row["name"]): row for row in rows}
    frechet = next((comparable(r) for name, r in by_name.items() if name.startswith(("FD", "FID"))), None)
    kid = next((comparable(r) for name, r in by_name.items() if name.startswith("KID")), None)
    dim = ((score or {}).get("extractor") or {}).get("dim")
    biased = frechet is not None and kid is not None and too_few_for_frechet(frechet, dim)
    distance = (kid if biased else frechet or kid) or rows[0]
    answer = distance_answer(distance)
    sentences = [distance_sentence(distance)]
    if biased and frechet is not None:
        sentences.append(
            f"KID, as there are fewer images than features ({_sizes(frechet)}; {dim}), where a Fréchet "
            f"distance is biased: {distance_sentence(frechet)}"
        )
    words = {
        "precision": "look like real ones (precision)",
        "recall": "of the real variety is reached (recall)",
    }
    parts = [f"{share(by_name[name])} {meaning}" for name, meaning in words.items() if name in by_name]
    if parts:
        sentences.append(f"{'; '.join(parts)}.")
    question = "Are they like the real ones?"
    if (kind or others(score)) != "synthetic":
        question = "A baseline: how like the real ones are other real ones?"
    return Card(question, answer, " ".join(sentences), "neutral")


def too_few_for_frechet(row: Mapping[str, Any], dim: int | None) -> bool:
    """Whether a side of a comparison has fewer images than features, `dim`, as the score itself warns."""
    counts = [row[key] for key in ("n_real", "n_synthetic") if row.get(key) is not None]
    return dim is not None and any(int(n) < int(dim) + 2 for n in counts)


def _sizes(row: Mapping[str, Any]) -> str:
    return f"{int(row['n_real']):,} and {int(row['n_synthetic']):,}"


def comparable(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its value taken at the number of images of its baseline, where that is not its own."""
    return {**row, **(row.get("comparable") or {})}


def share(row: Mapping[str, Any]) -> str:
    """A score between 0 and 1 in percent, without decimals."""
    value = row.get("value")
    return "–" if value is None else f"{100 * float(value):.0f}\u00a0%"


def distance_answer(row: Mapping[str, Any]) -> str:
    """The distance against its baseline in a few words."""
    value, low, base = (row.get(key) for key in ("value", "low", "real_baseline"))
    if value is None or base is None:
        return f"{row.get('name')} {number(value)}"
    if low is not None and float(low) <= float(base):
        return "Not shown to be farther than real ones"
    if float(base) <= 0:  # an unbiased estimate of a small distance may be negative, and has no multiples
        return "Farther than real ones are" if low is not None else f"{row.get('name')} {number(value)}"
    return f"{number(float(value) / float(base), 2)} times as far as real ones"


def distance_sentence(row: Mapping[str, Any]) -> str:
    """A distance against its baseline: how many times as far as real images are from other real ones."""
    value, low, high, base = (row.get(key) for key in ("value", "low", "high", "real_baseline"))
    text = f"{row.get('name')} is {with_interval(value, low, high)}"
    if value is None or base is None:
        return text + "."
    if low is not None and float(low) <= float(base):
        return f"{text}; two sets of real images are {number(base)} apart, within that interval."
    if float(base) > 0:
        ratio = number(float(value) / float(base), 2)
        return f"{text}: {ratio} times the {number(base)} between two sets of real images."
    return f"{text}; two sets of real images are {number(base)} apart."


def has_intervals(rows: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether any of these rows has an interval to show."""
    return any(row.get("low") is not None for row in rows or [])


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """`0.81 (0.78 to 0.84)`, or the bare value without an interval."""
    if low is None or high is None:
        return number(value)
    return f"{number(value)} ({number(low)} to {number(high)})"


def limits(score: Mapping[str, Any] | None, study: Mapping[str, Any] | None) -> list[str]:
    """What the numbers cannot say: caveats and warnings of the results first, then those that always hold."""
    items = [str(text) for text in (study or {}).get("caveats") or []]
    few = [text.partition(" group")[0] for text in items if text.startswith(FEW_GROUPS)]
    items += [
        str(text)
        for text in (score or {}).get("warnings") or []
        if not (few and str(text).startswith(few[0] + " group"))  # the study says the same, and more
    ]
    if study:
        items.append(
            "The study's intervals cover chance in the choice of test images and of seeds. They say nothing "
            "of another scanner, laboratory, population or classifier."
            if has_intervals(study.get("summary"))
            else "The study's numbers say nothing of another scanner, laboratory, population or classifier."
        )
    if score:
        items.append(
            "Distances and shares depend on the feature extractor and on the number of images; compare "
            "them only with "
            "values made by the same extractor at the same numbers, such as the real-against-real baseline."
        )
        if score.get("copies"):
            items.append(
                "The copies audit finds near-duplicates under one distance. Finding none is no proof of "
                "privacy."
            )
    return list(dict.fromkeys(items))
