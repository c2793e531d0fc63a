"""The verdicts of studies in words, from what study.json and autoencoders.json hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from plenish.metrics.words import fixed, interval, is_known, number, percent
from plenish.robustness.radius import format_eps
from plenish.wording import plural

Verdict = Literal["helps", "hurts", "equivalent", "no evidence"]
METRIC_NAMES = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auroc": "AUROC"}
"""The metrics of a study, the one it is decided by first."""
PRIMARY_METRIC = next(iter(METRIC_NAMES))
ROBUST_METRIC = "robust_balanced_accuracy"
ROBUST_NAMES = {ROBUST_METRIC: "robust balanced accuracy", "robust_accuracy": "robust accuracy"}
"""The metrics of answers under attack."""
_AGAINST = {
    "helps": "better than", "hurts": "worse than", "equivalent": "equivalent to",
    "no evidence": "not distinguishable from",
}  # fmt: skip


def verdict_on(row: Mapping[str, Any], level: float = 0.95, margin: float | None = None) -> Verdict:
    """`helps` or `hurts` where a difference is shown, `equivalent` where it is shown to lie within ±margin.

    A difference is shown when its interval excludes 0 and, where there are p-values (`p_holm`, adjusted for
    several arms, else `p_verdict`), they lie below 1 − level as well; the same of equivalence, for which the
    interval is `inner_low` to `inner_high`. Without a known interval there is no evidence.

    Args:
        row: of a study's differences.
        level: confidence level.
        margin: what counts as equivalent; None: nothing does.
    """

    def passes(*keys: str) -> bool:
        p = next((row[key] for key in keys if row.get(key) is not None), None)
        return p is None or p < 1 - level

    low, high = row["low"], row["high"]
    if not (is_known(low) and is_known(high)):
        return "no evidence"
    if _excludes_zero(row) and passes("p_holm", "p_verdict"):
        return "helps" if low > 0 else "hurts"
    inner = row.get("inner_low"), row.get("inner_high")
    if margin is not None and is_known(inner[0]) and is_known(inner[1]) and passes("p_equivalence_holm"):
        return "equivalent" if -margin < inner[0] and inner[1] < margin else "no evidence"
    return "no evidence"


def _excludes_zero(row: Mapping[str, Any]) -> bool:
    """Whether the interval of a difference is known and leaves 0 out."""
    return is_known(row["low"]) and is_known(row["high"]) and (row["low"] > 0 or row["high"] < 0)


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
    what = {
        "no evidence": f"There is no evidence that {what[0].lower()}{what[1:]} helps or hurts",
        "equivalent": f"{what} makes no difference that matters",
    }.get(main["verdict"], f"{what} {main['verdict']}")
    rival = find_row(study["comparisons"], against="classical")
    after = _after(study, main["arm"], main["verdict"])
    if not rival:
        return f"{what}: {_change(study, main['arm'])}.{after}"
    word = verdict_on(rival, study["level"], study.get("margin"))
    return (
        f"{what}: {_change(study, main['arm'])}; it is {_AGAINST[word]} classical augmentation of "
        f"the real images ({_interval(rival, study['level'])}{_overruled(rival, word)}).{after}"
    )


def _overruled(row: Mapping[str, Any], word: Verdict) -> str:
    """Why an interval that excludes 0 is no verdict: the p-value that decides, adjusted where it is."""
    if word != "no evidence" or not _excludes_zero(row):
        return ""
    adjusted = row.get("p_holm")
    p = row.get("p_verdict") if adjusted is None else adjusted
    return f"; p {p:.2f}{'' if adjusted is None else ' adjusted for several arms'}" if is_known(p) else ""


def arm_verdict(study: Mapping[str, Any], arm: str, metric: str = PRIMARY_METRIC) -> str:
    """The verdict on one arm against `real` in one sentence, or two.

    Args:
        study: study.json, or it with what was found on other images or under attack in its place.
        arm: which.
        metric: what the verdict is on.
    """
    row = find_row(study["differences"], metric, arm=arm)
    word = find_row(study["verdicts"], metric, arm=arm)["verdict"]
    adjusted = [r for r in study["differences"] if r["metric"] == metric and r.get("p_holm") is not None]
    alone = verdict_on(
        {**row, "p_holm": None, "p_equivalence_holm": None}, study["level"], study.get("margin")
    )
    if word == "equivalent":
        start = f"{arm} makes no difference that matters"
    elif word != "no evidence":
        start = f"{arm} {word}"
    elif alone in ("helps", "hurts"):
        start = (
            f"No evidence that {arm} {alone}, adjusted for {len(adjusted)} arms (Holm's adjusted p "
            f"{row['p_holm']:.2f})"
        )
    else:
        start = f"No evidence that {arm} helps or hurts"
    return f"{start}: {_change(study, arm, metric)}.{_after(study, arm, word, metric)}"


def pair_verdict(row: Mapping[str, Any], level: float) -> str:
    """One of the comparisons under attack in a sentence.

    Args:
        row: with its `verdict`.
        level: of its interval.
    """
    said = f"{_interval(row, level)}{_overruled(row, row['verdict'])}"
    return f"{row['arm']} is {_AGAINST[row['verdict']]} {row['against']} under attack ({said})."


def radius(threat: Mapping[str, Any]) -> str:
    """A norm and a radius as one reads them: `L∞ 4/255`, `L2 0.5`."""
    norm = {"linf": "L∞", "l2": "L2"}[threat["norm"]]
    return f"{norm} {format_eps(float(threat['eps']), threat['norm'])}"


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


def _change(study: Mapping[str, Any], arm: str, metric: str = PRIMARY_METRIC) -> str:
    before, after = (percent(find_row(study["summary"], metric, arm=name)["mean"]) for name in ("real", arm))
    row = find_row(study["differences"], metric, arm=arm)
    return f"{(METRIC_NAMES | ROBUST_NAMES)[metric]} {before} → {after} ({_interval(row, study['level'])})"


def _interval(row: Mapping[str, Any], level: float) -> str:
    """`+2.1 points, 95 % interval +0.4 to +3.8`."""
    found = [fixed(None if row[key] is None else 100 * row[key], "+.1f") for key in ("mean", "low", "high")]
    if not is_known(row["low"]):
        return f"{found[0]} points, no interval: {_no_interval(row)}"
    cut = ", cut at what is possible" if row["cut"] else ""
    return f"{found[0]} points, {percent(level, '.0f')} interval {found[1]} to {found[2]}{cut}"


def _after(study: Mapping[str, Any], arm: str, word: Verdict, metric: str = PRIMARY_METRIC) -> str:
    """What the interval says besides the verdict, and what a decision would need, as further sentences."""
    row, margin = find_row(study["differences"], metric, arm=arm), study.get("margin")
    if not is_known(row["low"]) or margin is None:
        return ""
    within = is_known(row.get("inner_low")) and -margin < row["inner_low"] and row["inner_high"] < margin
    if word == "equivalent" or (within and word in ("helps", "hurts")):
        inner = " to ".join(fixed(100 * row[key], "+.1f") for key in ("inner_low", "inner_high"))
        level = percent(2 * study["level"] - 1, ".0f")
        return f" The difference lies within ±{points(margin)} ({level} interval {inner})."
    if word != "no evidence":
        return ""
    sides = [f"a gain above {points(row['high'])}"] if 0 < row["high"] < 1 else []
    sides += [f"a loss above {points(-row['low'])}"] if -1 < row["low"] < 0 else []
    ruled_out = f" Ruled out: {' and '.join(sides)}." if sides else ""
    unit = "test image" if study.get("test", {}).get("groups") == 0 else "test group"
    return (
        _unconfirmed(row)
        + ruled_out
        + _needs(find_row(study["verdicts"], metric, arm=arm), row, margin, unit)
    )


def _unconfirmed(row: Mapping[str, Any]) -> str:
    """Where the interval alone would be a verdict, and the permutation tests say otherwise."""
    decisive = row.get("p_verdict")
    if not _excludes_zero(row) or not is_known(decisive) or not decisive > row["p"]:
        return ""
    return f" The permutation tests do not confirm what the interval shows (p {decisive:.2f})."


def _needs(verdict: Mapping[str, Any], row: Mapping[str, Any], margin: float, unit: str) -> str:
    """About how much more would decide, and what the larger noise is."""
    needs = verdict.get("needs")
    if needs is None:
        return ""
    aim = {
        "difference": f"To find a true difference of {points(abs(row['mean']))}",
        "equivalence": f"To show that there is no difference beyond {points(margin)}",
    }[needs["aim"]]
    seeds, groups = needs["seeds"], needs["groups"]
    ways = [f"about {plural(seeds, 'seed')} instead of {row['n_seeds']}"] if seeds else []
    ways += [f"about {plural(groups, unit)} instead of {row['n_groups']}"] if groups else []
    larger = {"groups": f"between {unit}s", "seeds": "between seeds"}[needs["larger"]]
    need = " or ".join(ways) or f"more of both seeds and {unit}s"
    only = "" if seeds or not ways else " (more seeds alone are not enough)"
    only = f" (more {unit}s alone are not enough)" if seeds and not groups else only
    return f" {aim} in 4 of 5 cases would take {need}{only}; the results vary more {larger}."


def points(share: float) -> str:
    """A difference of shares as `2 points`, `0.5 points`, `1 point`."""
    shown = number(round(100 * share, 1), 2 if abs(share) < 0.1 else 3)
    shown = shown.removesuffix(".0")
    return f"{shown} point" + ("" if shown == "1" else "s")


def announcement(found: Mapping[str, Any]) -> str:
    """What gain a study can find, in words: a record of `study.power.announce`."""
    basis = {
        "typical": "if results vary as they usually do",
        "observed": "by the variation observed so far",
    }[found["basis"]]
    unit = found["unit"]
    size = f"{plural(found['groups'], f'test {unit}')} and {plural(found['seeds'], 'seed')}"
    if not is_known(found["gain"]):
        return f"{size} can show no gain of any size: at least two of each are needed."
    share = percent(found["power"], ".0f")
    text = f"{size} find a true gain of {points(found['gain'])} in {share} of cases, {basis}."
    more = found["more_seeds"]
    ways = [f"{plural(more['seeds'], 'seed')}: {points(more['gain'])}"]
    if found["all_groups"] is not None:
        whole = found["all_groups"]
        ways.insert(
            0, f"{whole['folds']} folds, which test {plural(whole['groups'], unit)}: {points(whole['gain'])}"
        )
    larger = {"groups": f"the test {unit}s", "seeds": "the seeds"}[found["larger"]]
    return f"{text} Most of the noise is from {larger}. With {'; with '.join(ways)}."


def _no_interval(row: Mapping[str, Any]) -> str:
    """Why there is no interval: too few seeds or test groups (or images without any), or no variance."""
    numbers = ((row["n_seeds"], "one seed"), (row["n_groups"], "one test group"))
    single = [what for n, what in numbers if n < 2]
    if not single and row.get("no_variance"):
        kinds = {"groups": "test groups", "seeds": "seeds"}
        alike = " and ".join(f"all {kinds[name]}" for name in row["no_variance"])
        return f"{alike} differ by the same, so their variation is unknown"
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
    value = interval(found, ".3f")
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
