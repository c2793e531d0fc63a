"""The verdicts of studies in words, from what study.json and autoencoders.json hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from plenish.metrics.words import fixed, is_known, percent, with_interval

Verdict = Literal["helps", "hurts", "no evidence"]
METRIC_NAMES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
"""The metrics of a study, the one it is decided by first."""
PRIMARY_METRIC = next(iter(METRIC_NAMES))
_AGAINST_CLASSICAL = {
    "helps": "better than", "hurts": "worse than", "no evidence": "not distinguishable from",
}  # fmt: skip


def verdict_on(low: float | None, high: float | None, p: float | None = None, level: float = 0.95) -> Verdict:
    """`helps` or `hurts` when the interval of a difference excludes 0, else `no evidence`.

    Args:
        low: lower end of the interval, at `level`.
        high: its upper end.
        p: p-value adjusted for several arms; where there is one, it must lie below 1 − level as well.
        level: confidence level.
    """
    if not (is_known(low) and is_known(high)) or (p is not None and not p < 1 - level):
        return "no evidence"
    return "helps" if low > 0 else "hurts" if high < 0 else "no evidence"


def find_row(
    rows: Sequence[Mapping[str, Any]], metric: str = PRIMARY_METRIC, **keys: str
) -> Mapping[str, Any]:
    """The row of a metric and an arm (`arm=` or `against=`); empty where there is none."""
    keys["metric"] = metric
    return next((row for row in rows if all(row[key] == value for key, value in keys.items())), {})


def study_verdict(study: Mapping[str, Any]) -> str:
    """The answer of a study in one sentence: synthetic images against none, and against augmentation."""
    main = study["verdict"]
    if main is None:
        return "No arm was trained on synthetic images, so this study says nothing about them."
    what = "Adding synthetic images" if main["real"] else "Training on synthetic images alone"
    if main["arm"] not in ("real+synthetic", "synthetic"):
        what += f" ({main['arm']})"
    if main["verdict"] == "no evidence":
        what = f"There is no evidence that {what[0].lower()}{what[1:]} helps or hurts"
    else:
        what += f" {main['verdict']}"
    rival = find_row(study["comparisons"], against="classical")
    if not rival:
        return f"{what}: {_change(study, main['arm'])}."
    against = _AGAINST_CLASSICAL[verdict_on(rival["low"], rival["high"])]
    return (
        f"{what}: {_change(study, main['arm'])}; it is {against} classical augmentation of the real images "
        f"({_interval(rival, study['level'])})."
    )


def arm_verdict(study: Mapping[str, Any], arm: str) -> str:
    """The verdict on one arm against `real` in one sentence."""
    row, word = find_row(study["differences"], arm=arm), find_row(study["verdicts"], arm=arm)["verdict"]
    alone = verdict_on(row["low"], row["high"])
    if word != "no evidence":
        start = f"{arm} {word}"
    elif alone != "no evidence":
        adjusted = [r for r in study["differences"] if r.get("p_holm") is not None]
        start = (
            f"No evidence that {arm} {alone}, adjusted for {len(adjusted)} arms (Holm's adjusted p "
            f"{row['p_holm']:.2f})"
        )
    else:
        start = f"No evidence that {arm} helps or hurts"
    return f"{start}: {_change(study, arm)}."


def recommendation(study: Mapping[str, Any]) -> str | None:
    """What a study recommends to do with the images it studied; None where it had none.

    The best of its arms is named where it has no synthetic images: it is what they compete with.
    """
    main = study["verdict"]
    if main is None:
        return None
    ranked = [row for row in study["summary"] if row["metric"] == PRIMARY_METRIC and is_known(row["mean"])]
    best = max(ranked, key=lambda row: float(row["mean"]), default=None)
    text = {
        "helps": "Use these images: the study found that they help.",
        "hurts": "Leave these images out: the study found that they hurt.",
    }.get(main["verdict"], "Rely on real images for now: the study did not show that these images help.")
    if best is not None and "synthetic" not in best["arm"] and best["arm"] != main["arm"]:
        text += f" Its best arm is {best['arm']} ({METRIC_NAMES[PRIMARY_METRIC]} {percent(best['mean'])})."
    return text


def _change(study: Mapping[str, Any], arm: str) -> str:
    before, after = (percent(find_row(study["summary"], arm=name)["mean"]) for name in ("real", arm))
    row = find_row(study["differences"], arm=arm)
    return f"{METRIC_NAMES[PRIMARY_METRIC]} {before} → {after} ({_interval(row, study['level'])})"


def _interval(row: Mapping[str, Any], level: float) -> str:
    """`+2.1 points, 95 % interval +0.4 to +3.8`."""
    points = [fixed(None if row[key] is None else 100 * row[key], "+.1f") for key in ("mean", "low", "high")]
    if not is_known(row["low"]):
        return f"{points[0]} points, no interval: {_no_interval(row['n_seeds'], row['n_groups'])}"
    cut = ", cut at what is possible" if row["cut"] else ""
    return f"{points[0]} points, {percent(level, '.0f')} interval {points[1]} to {points[2]}{cut}"


def _no_interval(seeds: int, units: int) -> str:
    """Why there is no interval, given the numbers of seeds and of test groups (or images without any)."""
    single = [what for n, what in ((seeds, "one seed"), (units, "one test group")) if n < 2]
    return " and ".join(single) or "too few test groups contain all classes"


def class_verdict(content: Mapping[str, Any]) -> tuple[str, str]:
    """The answer of a study of one autoencoder a class, and what it rests on.

    Args:
        content: autoencoders.json.
    """
    names, word = content["classes"], content["verdict"]
    classes = f"{names[0]} and {names[1]}" if len(names) == 2 else "the classes"
    answer = {
        "apart": f"The errors tell {classes} apart",
        "reversed": f"The errors tell {classes} apart, but the wrong way round",
        "no evidence": f"No evidence that the errors tell {classes} apart",
        "no interval": "No answer with an interval",
        "no answer": "No answer",
    }[word]
    if word == "no answer":
        return answer, f"the test part lacks one of {classes}"
    found, chance, what = _measure(content)
    value = with_interval(found["value"], found["low"], found["high"], ".3f")
    return answer, f"{what} is {value}; chance is {chance:.2g}"


def class_verdict_word(content: Mapping[str, Any]) -> str:
    """`apart`, `reversed`, `no evidence`, `no interval` or `no answer`."""
    found, chance, _ = _measure(content)
    if not is_known(found["value"]):
        return "no answer"
    if not is_known(found["low"]) or not is_known(found["high"]):
        return "no interval"
    return "apart" if found["low"] > chance else "reversed" if found["high"] < chance else "no evidence"


def _measure(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], float, str]:
    """What decides (AUROC of two classes, else balanced accuracy), its value by chance, and its name."""
    if len(content["classes"]) == 2:
        return content["auroc"], 0.5, "the AUROC of the difference of the two errors"
    return (
        content["balanced_accuracy"],
        1 / len(content["classes"]),
        "the balanced accuracy of the lowest error",
    )
