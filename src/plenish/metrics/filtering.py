"""Dropping synthetic images by rules that real val images calibrate, and what that does to the others.

The test part plays no role: thresholds and measures are of val, classifiers are fitted on train or on the
synthetic images. A smaller set covers less than a larger one whatever was dropped, so what the rules do is
the difference from as many images taken at random.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files, invocation
from plenish.datasets.copying import keep_rows
from plenish.datasets.dataset import Dataset
from plenish.datasets.synthetic import generator_of
from plenish.errors import AlreadyMade, CheckFailed, InputError
from plenish.metrics import fidelity
from plenish.metrics.compare import Side
from plenish.metrics.copies import Search
from plenish.metrics.features import domain_extractor
from plenish.metrics.filter import FilterConfig, Filtered
from plenish.metrics.filter_rules import (
    Mask,
    Threshold,
    density_scale,
    expected_share,
    label_evidence,
    least_images,
    passes,
    threshold,
)
from plenish.metrics.linear import fit_linear
from plenish.metrics.origin import check_pair, real_at
from plenish.metrics.resampling import Floats, Ints
from plenish.metrics.result_files import read_result, write_result
from plenish.metrics.statistics import bootstrap_interval
from plenish.training.confusion import balanced_accuracy, confusion_matrix

_EXAMPLES = 24
_MEASURES = ("KID", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class _Sides:
    """Synthetic, val and train images with their classes; one class for all where they have none."""

    made: Side
    val: Side
    train: Side
    names: tuple[str, ...]

    def codes(self, side: Side) -> Ints:
        return side.images.codes if self.names else np.zeros(len(side), np.int64)


@dataclass(frozen=True)
class _Rule:
    """What one rule dropped.

    Attributes:
        dropped: N, which synthetic images.
        values: N, higher for images that should stay; the examples are the lowest.
        cut: the thresholds.
    """

    dropped: Mask
    values: Floats
    cut: Threshold


def filter_dataset(synthetic: Path, out: Path, config: FilterConfig, real: Path | None = None) -> Filtered:
    """Write the synthetic images that pass as a Dataset, with filter.json.

    Args:
        synthetic: the synthetic Dataset.
        out: the folder to make; must not exist.
        config: what to drop.
        real: the real Dataset; by default the one that the generator was trained on, if it is there.

    Raises:
        InputError: the Datasets do not fit each other or the rules, or OUT exists.
        CheckFailed: no image is left.
    """
    made = Dataset.open(synthetic)
    if not made.is_synthetic:
        raise InputError(f"{synthetic} holds real images; only a synthetic Dataset is filtered.")
    files.refuse_existing(out, unless_made=True)
    data = generator_of(made.manifest.extra).get("data") or {}
    originals = Dataset.open(real) if real is not None else real_at(data)
    if originals is None:
        raise InputError(
            f"The real images that {synthetic} was made from are not known here; give them with --real."
        )
    split = config.split or data.get("split_name", "default")
    known = check_pair(originals, made, split, ("val",))  # The test part plays no role.
    sides = _read(made, originals, split, config)
    rules: dict[str, _Rule] = {name: _apply(name, sides, config) for name in dict.fromkeys(config.drop)}
    keep = ~np.any([rule.dropped for rule in rules.values()], axis=0)
    if not keep.any():
        raise CheckFailed(f"No image of {synthetic} passes {', '.join(rules)}; nothing was written.")
    content = {
        "command": invocation.record(), "caveats": [asdict(caveat) for caveat in known],
        "synthetic": {"name": made.name, "pixels_hash": made.manifest.pixels_hash},
        "real": {
            "name": originals.name, "pixels_hash": originals.manifest.pixels_hash, "split": split,
            "split_hash": originals.split(split).hash, "n_val": len(sides.val),
            "groups_val": len(set(sides.val.images.groups) - {None}),
        },
        **_report(sides, rules, keep, config),
    }  # fmt: skip
    rows = np.flatnonzero(keep).astype(np.int64)
    filters = [*(made.manifest.extra.get("filters") or []), _summary(content, config)]
    with contextlib.suppress(AlreadyMade):  # Its page may be missing.
        keep_rows(
            made, out, rows, name=f"{made.name}, filtered", config=_config(made, originals, split, config),
            extra={"filters": filters}, beside=lambda folder: write_result(folder, "filter", content),
        )  # fmt: skip
    return Filtered(out, read_result(out, "filter")[0])


def _read(made: Dataset, real: Dataset, split: str, config: FilterConfig) -> _Sides:
    extractor = domain_extractor(real, split, seed=config.seed)
    train, val = (real.part(part, split, purpose="select") for part in ("train", "val"))
    classes = made.labels.kind == "categorical" and made.labels == real.labels
    images, held, trained = (Side.of(one, extractor) for one in (made.all_rows(), val, train))
    return _Sides(images, held, trained, made.labels.names if classes else ())


def _config(made: Dataset, real: Dataset, split: str, config: FilterConfig) -> dict[str, Any]:
    """What decides the content of the filtered Dataset; a class that was asked for is kept."""
    asked = made.manifest.config.get("label")
    return {
        "verb": "filter", "of": made.provenance(), "real": real.provenance(split), **asdict(config),
        **({"label": asked} if asked else {}),
    }  # fmt: skip


def _summary(content: Mapping[str, Any], config: FilterConfig) -> dict[str, Any]:
    """What dataset.json keeps of the filter; it names no place."""
    return {
        "drop": list(dict.fromkeys(config.drop)), "pass_rate": config.pass_rate, "of": content["n"],
        "dropped": content["n"] - content["kept"], "thresholds": content["thresholds"],
        "by": [{k: row[k] for k in ("rule", "class", "n", "dropped")} for row in content["dropped"]],
        "synthetic": content["synthetic"], "real": content["real"],
    }  # fmt: skip


# Rules


def _apply(name: str, sides: _Sides, config: FilterConfig) -> _Rule:
    if name == "copies":
        return _copies(sides)
    if name == "low-density":
        if len(sides.train) <= fidelity.NEIGHBOURS_DENSITY:
            raise InputError("--drop low-density needs more than five real training images.")
        made, val = (density_scale(sides.train.features, s.features) for s in (sides.made, sides.val))
        return _by_threshold(name, sides, made, val, config, by_class=False)
    if not sides.names:
        raise InputError(
            "--drop low-label-agreement needs one class an image, the same classes in both Datasets; leave "
            "it out."
        )
    linear = fit_linear(
        sides.train.features, sides.codes(sides.train), len(sides.names), seed=config.seed
    )  # fmt: skip
    made, val = (label_evidence(linear, s.features, sides.codes(s)) for s in (sides.made, sides.val))
    return _by_threshold(name, sides, made, val, config, by_class=True)


def _copies(sides: _Sides) -> _Rule:
    try:
        found = Search(sides.val, sides.train, sides.val.images.groups)(sides.made)
    except ValueError as error:
        raise InputError(f"--drop copies: no search for copies: {error}; make the split again.") from None
    dropped = np.zeros(len(sides.made), bool)
    dropped[found.suspects] = True
    value, expected = (np.array([float(found.facts[key])]) for key in ("threshold", "expected_share"))
    cut = Threshold(value, expected)
    return _Rule(dropped, np.asarray(found.score), cut)


def _by_threshold(
    name: str, sides: _Sides, made: Floats, val: Floats, config: FilterConfig, *, by_class: bool
) -> _Rule:
    codes = (sides.codes(sides.made), sides.codes(sides.val)) if by_class else (None, None)
    cut = threshold(val, codes[1], len(sides.names), config.pass_rate)
    if cut is None:
        raise InputError(
            f"--drop {name} needs {least_images(config.pass_rate)} val images for a threshold that "
            f"{config.pass_rate:.0%} of them pass, and there are {len(val)}; make the split again with a "
            "larger val part, or give a lower --pass-rate."
        )
    return _Rule(~passes(made, codes[0], cut), made, cut)


# The report


def _report(sides: _Sides, rules: Mapping[str, _Rule], keep: Mask, config: FilterConfig) -> dict[str, Any]:
    """Numbers by rule and class, thresholds, examples, and the effect."""
    codes, rows = sides.codes(sides.made), []
    scopes = {"all": np.ones(len(keep), bool)}
    scopes |= {name: codes == k for k, name in enumerate(sides.names)}
    dropped = {name: rule.dropped for name, rule in rules.items()}
    for rule, mask in (dropped | {"any": ~keep} if len(rules) > 1 else dropped).items():
        for scope, where in scopes.items():
            n, count = int(where.sum()), int((mask & where).sum())
            expected = expected_share(rules[rule].cut, codes, where) if rule in rules and n else None
            share = count / n if n else None
            rows.append(
                {"rule": rule, "class": scope, "n": n, "dropped": count, "share": share, "expected": expected}
            )
    worst = {
        name: np.flatnonzero(rule.dropped)[np.argsort(rule.values[rule.dropped], kind="stable")]
        for name, rule in rules.items()
    }
    pooled = sorted({k for rule in rules.values() for k in rule.cut.pooled})
    return {
        "n": len(keep), "kept": int(keep.sum()), "dropped": rows,
        "classes_kept": {name: int((keep & (codes == k)).sum()) for k, name in enumerate(sides.names)},
        "thresholds": {name: rule.cut.values.tolist() for name, rule in rules.items()},
        "pooled": [sides.names[k] for k in pooled], "pass_rate": config.pass_rate,
        "examples": {name: found[:_EXAMPLES].tolist() for name, found in worst.items()},
        "effect": _effect(sides, keep, config), "level": fidelity.LEVEL,
    }  # fmt: skip


def _effect(sides: _Sides, keep: Mask, config: FilterConfig) -> list[dict[str, Any]]:
    """Measures of all images, of those kept, and of as many taken at random; and of real training images."""
    rng = np.random.default_rng([config.seed, 0xF11])
    n = int(keep.sum())
    if not fidelity.enough_rows(len(sides.val), n):
        return []
    chosen = {
        "before": np.arange(len(keep)), "after": np.flatnonzero(keep),
        "random": np.sort(rng.permutation(len(keep))[:n]),
    }  # fmt: skip
    real = np.sort(rng.permutation(len(sides.train))[:n])
    found = {side: _measured(sides, sides.made, rows, config) for side, rows in chosen.items()}
    reals = _measured(sides, sides.train, real, config, resamples=0)
    return [
        {
            "name": name, "better": reals[name]["better"], "real": reals[name]["value"],
            **{
                side: {key: values[name][key] for key in ("value", "low", "high")}
                for side, values in found.items()
            },
        }
        for name in reals if all(name in values for values in found.values())
    ]  # fmt: skip


def _measured(
    sides: _Sides, side: Side, rows: Ints, config: FilterConfig, resamples: int | None = None
) -> dict[str, dict[str, Any]]:
    """Fidelity and variety against val, and how well a linear classifier fitted on these images tells val."""
    resamples = config.resamples if resamples is None else resamples
    groups = sides.val.images.groups
    scores = fidelity.compare(
        sides.val.features, side.features[rows], groups=groups, resamples=resamples, seed=config.seed
    )  # fmt: skip
    found = {
        score.name: {"value": score.value, "low": score.low, "high": score.high, "better": score.better}
        for score in scores if score.name.partition("(")[0] in _MEASURES
    }  # fmt: skip
    codes, truth = sides.codes(side)[rows], sides.codes(sides.val)
    if len(sides.names) > 1 and len(np.unique(codes)) > 1:
        k = len(sides.names)
        predicted = fit_linear(side.features[rows], codes, k, seed=config.seed).logits(sides.val.features)

        def accuracy(weights: Ints) -> Floats:
            return balanced_accuracy(confusion_matrix(truth, predicted.argmax(1), k, weights))

        value, low, high = float(accuracy(np.ones((1, len(truth)), np.int64))[0]), math.nan, math.nan
        if resamples:
            value, low, high = bootstrap_interval(
                accuracy, len(truth), groups, resamples=resamples, seed=config.seed, strata=truth
            )  # fmt: skip
        name = "balanced accuracy on real val images"
        found[name] = {"value": value, "low": low, "high": high, "better": "higher"}
    return found
