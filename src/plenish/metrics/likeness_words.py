"""Whether images are told from real ones, and whether their labels fit, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.words import fixed, interval, is_known, number, percent

EASILY = 0.9
"""AUROC from which images are told from real ones easily."""
_BY = {"linear": "a linear classifier", "network": "a small network"}


def is_easily_told(found: Mapping[str, Any]) -> bool:
    """Whether the `told_apart` part of score.json says that they are easily told from real images."""
    return bool(found["told"] and found["auroc"]["value"] >= EASILY)


def describe_told_apart(found: Mapping[str, Any]) -> str:
    """The `told_apart` part of score.json in one or two sentences."""
    auroc = interval(found["auroc"], ".2f")
    text = (
        f"{_BY[found['by']].capitalize()} tells them from real images with an AUROC of {auroc}, where 0.5 is"
    )
    text += " chance and 1 always"
    if found["baseline"] is not None:
        text += f"; other real images in their place have {fixed(found['baseline']['value'], '.2f')}"
    if not is_known(found["auroc"]["low"]):
        return f"{text}. There is no interval to judge by."
    base = found["baseline"]
    if found["auroc"]["low"] > 0.5 and base is not None and base["value"] >= found["auroc"]["value"]:
        return f"{text}. Other real images in their place are told apart as well."
    if found["told"]:
        return f"{text}."
    return f"{text}. That is not shown to be more than chance."


def describe_labels(found: Mapping[str, Any], kind: str = "synthetic") -> str:
    """The `labels` part of score.json in a few sentences."""
    agreement, against, gap = found["agreement"], found["against"], found["difference"]
    text = (
        f"A linear classifier fitted on the real train part agrees with the labels of the {kind} images in "
        f"{_shares(agreement['synthetic'])}, and with those of real {against} images in "
        f"{_shares(agreement[against])}, as means over classes"
    )
    points = f"{fixed(100 * gap['value'], '+.1f')} points"
    if not is_known(gap["low"]):
        return f"{text}."
    points += f", {fixed(100 * gap['low'], '+.1f')} to {fixed(100 * gap['high'], '+.1f')}"
    if found["lower"]:
        return f"{text}. That is less ({points}): some images do not show what their label says."
    return f"{text}. It is not shown to be less ({points})."


def describe_accuracy_score(found: Mapping[str, Any], kind: str = "synthetic") -> str:
    """Classification accuracy score, as a sentence."""
    return (
        f"A linear classifier fitted on {found['n_train']:,} {kind} images has a balanced accuracy of "
        f"{interval(found['synthetic'], '.3f')} on real held-out images; fitted on as many real training "
        f"images it has {interval(found['real'], '.3f')} (difference "
        f"{interval(found['difference'], '+.3f')})."
    )


def describe_excess(row: Mapping[str, Any]) -> str:
    """How far a row of score.json lies above its baseline."""
    excess = row["excess"]
    return "–" if excess is None or not is_known(excess["value"]) else interval(excess)


def is_worse(row: Mapping[str, Any]) -> bool:
    """Whether a score is worse than that of real images in the place of these, by the interval."""
    excess = row["excess"]
    if excess is None or not is_known(excess["low"]) or not is_known(excess["high"]):
        return False
    return bool(excess["low"] > 0 if row["better"] == "lower" else excess["high"] < 0)


def _shares(found: Mapping[str, Any]) -> str:
    shown = percent(found["value"])
    if not is_known(found["low"]):
        return shown
    return f"{shown} ({fixed(100 * found['low'], '.1f')} to {fixed(100 * found['high'], '.1f')})"


def shown_number(found: Mapping[str, Any] | None) -> str:
    """A share with its interval, for a cell of a table."""
    return "–" if found is None else interval(found, ".3f") if is_known(found["value"]) else number(None)
