"""Numbers, intervals and the search for copies in words, for the terminal and the report."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from plenish.wording import agree, plural

FEW_HELD = 100  # fewer held-out images calibrate the search for copies only roughly
_SURE = 0.95


def is_known(value: Any) -> TypeGuard[float]:
    """Whether there is a finite number; a result file has null where Python has nan."""
    return isinstance(value, numbers.Real) and bool(np.isfinite(float(value)))


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, an exponent only where it needs one, `–` for none."""
    if not is_known(value):
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 10 ** (digits + 3) or size < 1e-4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = max(0, digits - 1 - int(np.floor(np.log10(size))))
    return f"{value:,.{decimals}f}".replace("-", "−")


def fixed(value: float | None, spec: str) -> str:
    """A number by a format such as `+.3f`, with a minus sign in place of a hyphen, `–` for none."""
    return f"{value:{spec}}".replace("-", "−") if is_known(value) else "–"


def with_interval(value: float | None, low: float | None, high: float | None, spec: str = "") -> str:
    """`0.81 (0.78 to 0.84)`, or the value alone without an interval.

    Args:
        value: what was measured.
        low: lower bound, unknown without an interval.
        high: upper bound.
        spec: a format such as `+.3f`; by default three significant digits.
    """
    shown = [fixed(x, spec) if spec else number(x) for x in (value, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if is_known(low) and is_known(high) else shown[0]


def interval(found: Mapping[str, Any], spec: str = "") -> str:
    """The same of a record with `value`, `low` and `high`."""
    return with_interval(found["value"], found["low"], found["high"], spec)


def percent(share: float | None, spec: str = ".1f") -> str:
    """A share between 0 and 1 as `12.3 %`."""
    return "–" if share is None else f"{fixed(100 * share, spec)}\u00a0%"


def comparable(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of score.json with its value at the number of images of its baseline, where that is not its own.

    It is what the terminal and the report show first: a Fréchet distance falls with the number of images.
    """
    return {**row, **(row["comparable"] or {})}


def describe_copies(found: Mapping[str, Any]) -> str:
    """The `copies` part of score.json in one sentence."""
    n, k = found["n"], found["n_suspect"]
    kind = "other real" if found["baseline"] else "synthetic"
    text = (
        f"{k} of {plural(n, f'{kind} image')} ({percent(found['share_suspect'])}, "
        f"{percent(found['level'], '.0f')} interval {fixed(100 * found['low'], '.1f')} to "
        f"{percent(found['high'])}) {'is' if k == 1 else 'are'} suspiciously close to one training image; "
        f"by chance {percent(found['expected_share'])} are expected, and up to "
        f"{percent(found['expected_share_high'])} would be no surprise"
    )
    if found["n_beyond"] and found["finding"] == "close":
        text += (
            f"; {agree(found['n_beyond'], 'image', 'is', 'are')} nearer than chance explains among so "
            f"many new images (told from {plural(found['n_groups'], _held_out(found))})"
        )
    same = agree(found["n_identical"], "image", "is identical", "are identical")
    unclear = f"; {_unclear(found)}; look at the closest pairs"
    if found["baseline"]:
        text = f"Baseline of real images against real images: {text}"
        endings = {
            "none": "", "close": _close_but_real(found), "unclear": unclear,
            "identical": f"; {same} to a training image: the two Datasets share images",
        }  # fmt: skip
    elif found.get("unknown_origin"):
        endings = {
            "none": ": no sign of copying these images; it may still repeat others",
            "close": f"; this cannot tell copies from images of another kind{_why_close(found)}; look at the "
            "closest pairs",
            "unclear": unclear,
            "identical": f"; {same} to a training image",
        }
    else:
        endings = {
            "none": ": no sign of copying",
            "close": ": some copy training images, or properties of their groups; look at the closest pairs",
            "unclear": unclear,
            "identical": f"; {same} to a training image: training images are copied",
        }
    return text + endings[found["finding"]] + "."


def _held_out(found: Mapping[str, Any]) -> str:
    """What the search is calibrated on: groups, or images where none share one."""
    return "held-out group" if found["n_groups"] < found["n_holdout"] else "held-out image"


def _unclear(found: Mapping[str, Any]) -> str:
    """Why images that are far below all held-out ones are not called copies."""
    few = agree(found["n_groups"], _held_out(found), "is", "are")
    near = agree(found["n_below"], "image", "is", "are")
    return f"{near} less than half as far as any held-out image, and {few} too few to tell whether by chance"


def describe_planted(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the search can see: how many altered training images would raise the alarm alone."""
    shares = [(row["kind"], row["noticed"] / row["planted"]) for row in rows if row["planted"]]
    sure = [kind for kind, share in shares if share >= _SURE]
    others = [f"{kind} ({percent(share, '.0f')})" for kind, share in shares if share < _SURE]
    text = "Of training images altered on purpose, a single one among so many images would be noticed in "
    if not sure:
        return text + f"these shares: {', '.join(others)}."
    text += f"at least {percent(_SURE, '.0f')} of cases where it is {_listed(sure)}"
    return text + (f"; in fewer, where it is {_listed(others)}." if others else ".")


def _listed(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def describe_pointing(found: Mapping[str, Any]) -> str:
    """How many images point at one training group, and how many would by chance; without a full stop."""
    return (
        f"{found['n_pointing']:,} of {plural(found['n'], 'image')} ({percent(found['share'])}) point at one "
        f"training group (patient, lesion, slide); by chance at most {percent(found['expected_share_high'])} "
        "would"
    )


def describe_reidentification(found: Mapping[str, Any] | None) -> str:
    """Whether synthetic images point at one training group; empty where there are no groups."""
    if found is None:
        return ""
    text = ""
    if a := found["auroc"]:
        text = (
            "On held-out real images, distance tells another picture of the same group from one of another "
            f"with AUROC {with_interval(a['value'], a['low'], a['high'], '.2f')}; 0.5 is guessing. "
        )
    text += (
        f"{percent(found['share'])} of {plural(found['n'], 'image')} "
        f"({fixed(100 * found['low'], '.1f')} to {percent(found['high'])}) point at one training group; of "
        f"held-out images {percent(found['expected_share'])} do, by chance at most "
        f"{percent(found['expected_share_high'])} ({plural(found['groups_holdout'], 'group')}): "
    )
    text += "more than held-out images do." if found["finding"] == "more" else "no more than chance explains."
    return text + (
        f" Of real pictures of training groups, {percent(found['seen_of_train'], '.0f')} point at their own "
        "group, so that is what can be seen at best."
    )


def _close_but_real(found: Mapping[str, Any]) -> str:
    """What real images close to training images mean: no generator can have copied them."""
    return f"; this cannot tell whether the two Datasets share images or groups{_why_close(found)}"


def _why_close(found: Mapping[str, Any]) -> str:
    """Why images that are no copies may come close to training images, in brackets; or nothing."""
    reasons = []
    if 2 * found["n_far"] > found["n"]:
        reasons.append("most of them are farther from all training images than held-out images are")
    if found["n_holdout"] < FEW_HELD:
        reasons.append(f"the search is calibrated on only {plural(found['n_holdout'], 'held-out image')}")
    return f" ({' and '.join(reasons)})" if reasons else ""
