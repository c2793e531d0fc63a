"""What a concept does to images: how much its target changes, and how much everything else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.errors import InputError
from plenish.latent.attributes import Reader
from plenish.latent.concepts import Concept
from plenish.latent.holding import Held, concepts_added
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace
from plenish.metrics.extractor import Extractor
from plenish.metrics.statistics import Interval, bootstrap_interval, wilson_interval

Floats = NDArray[np.float64]
FIRST_SEED = 1_000_000
"""First of the seeds that effects are measured on, far from those that examples are drawn of."""


_SHORT_UNITS = {"kept": "share kept", "distance": "distance"}
"""What stands for measure and unit in a terminal, of what is no mean change."""

_AT_ONCE = 1024
"""Images that are read at once."""


class ClassReader(Protocol):
    """What tells the classes of images uint8 N×H×W×C: probabilities by class, N each."""

    def __call__(self, images: NDArray[np.uint8]) -> Mapping[str, Floats]:
        """Probabilities by class."""


@dataclasses.dataclass(frozen=True)
class Judges:
    """What reads edited images.

    Attributes:
        columns: reads columns off images; None for no columns.
        classes: tells the class of images; None for none.
        features: of which distances are taken; None for none.
    """

    columns: Reader | None = None
    classes: ClassReader | None = None
    features: Extractor | None = None


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of concepts at some strengths.

    Attributes:
        facts: its record, JSON-able.
    """

    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return dict(self.facts)

    def shown(self) -> dict[str, Any]:
        """The same for a terminal: a table for each strength, with a row for what was read and its interval.

        It is as narrow as a terminal of 80 columns.
        """
        tables = {
            f"effect at strength {level['strength']:g}": [
                {
                    "what": name, "unit": _SHORT_UNITS.get(values["measure"], values["unit"]),
                    **{key: _rounded(values[key]) for key in ("value", "low", "high")},
                    "rises": _rounded(values.get("rises", {}).get("value")),
                    "read with": _worth(self.facts, name),
                }
                for name, values in level["changes"].items()
            ]
            for level in self.facts["strengths"]
        }  # fmt: skip
        return {key: self.facts[key] for key in ("concepts", "target", "n")} | tables


def measure_effect(
    space: LatentSpace, amounts: Sequence[tuple[Concept, float]], strengths: Sequence[float],
    judges: Judges, *, target: str | None = None, n: int = 200, label: NDArray[np.float32] | None = None,
    points: Points | None = None, held: Held | None = None,
) -> Effect:  # fmt: skip
    """Measure what concepts do to fresh images.

    Args:
        space: the generator.
        amounts: concepts with their weights, which each strength multiplies.
        strengths: at which strengths.
        judges: what reads the images.
        target: the column that is to change; the record names it.
        n: number of fresh images.
        label: of these, 1×K; by default the classes in turn.
        points: other points to measure on.
        held: what each image keeps on its own way, instead of the one direction for all.

    Returns:
        For each strength: of each column the mean change in standard deviations of the training images and
        the share of images in which it rises; of a column of yes and no, beside these, the share of images
        without that have it afterwards; the share whose class keeps; the mean distance of features, in
        units of the median distance between two unrelated images; how well was held what is held.

    Raises:
        InputError: the target is not among the columns.
    """
    if n < 2:
        raise InputError(f"An effect is measured on at least 2 images, not {n}.")
    if target is not None and judges.columns is None:
        raise InputError("--target names a column of --from, which is missing.")
    if target is not None and judges.columns is not None:
        judges.columns.target(target)
    start = points if points is not None else space.draw(range(FIRST_SEED, FIRST_SEED + n), label)
    before = _read(space, start, judges)
    moved, kept = concepts_added(space, start, amounts, strengths, held)
    levels = []
    for k, strength in enumerate(strengths):
        after = _read(space, moved[k], judges)
        level = {"strength": strength, "changes": _changes(before, after, judges)}
        levels.append(level | ({"held": kept[k]} if held else {}))
    reader = judges.columns
    facts = {
        "concepts": {concept.name: weight for concept, weight in amounts}, "target": target, "n": len(start),
        "seeds": [FIRST_SEED, FIRST_SEED + n] if points is None else None, "strengths": levels,
        "columns": [] if reader is None else [dataclasses.asdict(one) for one in reader.targets],
        "checks": {} if reader is None else dict(reader.checks),
        "class_checks": dict(getattr(judges.classes, "checks", {})),
        "features": None if judges.features is None else judges.features.facts(),
        **({"held": dict(held.facts)} if held else {}),
    }  # fmt: skip
    return Effect(facts)


def _rounded(value: float | None) -> float | None:
    """Three significant digits, which is more than the intervals are good for."""
    return None if value is None else float(f"{value:.3g}")


def _worth(facts: Mapping[str, Any], name: str) -> str | None:
    """What reads a column is worth on held-out images, in words."""
    least = min(facts["class_checks"].values(), key=lambda found: found["value"], default=None)
    check = least if name == "class" else facts["checks"].get(name)
    return f"{check['measure']} {check['value']:.2f}" if check else None


@dataclasses.dataclass(frozen=True)
class _Readings:
    columns: Mapping[str, Floats]
    classes: Mapping[str, Floats]
    features: NDArray[np.float32] | None


def _read(space: LatentSpace, points: Points, judges: Judges) -> _Readings:
    """What is read off the images of points, of which few are in memory at a time."""
    parts = []
    for start in range(0, len(points), _AT_ONCE):
        images = space.images(points[start : start + _AT_ONCE])
        parts.append(
            _Readings(
                judges.columns(images) if judges.columns else {},
                judges.classes(images) if judges.classes else {},
                judges.features(images) if judges.features else None,
            )
        )
    columns, classes = (
        {name: np.concatenate([side[name] for side in sides]) for name in sides[0]}
        for sides in ([part.columns for part in parts], [part.classes for part in parts])
    )
    features = [part.features for part in parts if part.features is not None]
    return _Readings(columns, classes, np.concatenate(features) if features else None)


def _changes(before: _Readings, after: _Readings, judges: Judges) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, old in before.columns.items():
        new, target = after.columns[name], judges.columns.target(name) if judges.columns else None
        flag = target is not None and target.kind == "flag"
        unit = 1.0 if target is None or flag else target.std
        rises = int((new > old).sum())
        found[name] = {
            "measure": "mean change", "unit": "probability" if flag else "sd",
            **_mean((new - old) / unit)._asdict(), "rises": wilson_interval(rises, len(old))._asdict(),
        }  # fmt: skip
        if flag and (lacking := old < 0.5).any():
            gained = int((new[lacking] >= 0.5).sum())
            found[name]["gained"] = wilson_interval(gained, int(lacking.sum()))._asdict() | {
                "n": int(lacking.sum())
            }
        if flag and (having := old >= 0.5).any():
            lost = int((new[having] < 0.5).sum())
            found[name]["lost"] = wilson_interval(lost, int(having.sum()))._asdict() | {
                "n": int(having.sum())
            }
    if before.classes:
        a, b = (np.stack(list(side.classes.values()), 1).argmax(1) for side in (before, after))
        found["class"] = {
            "measure": "kept",
            "unit": "share",
            **wilson_interval(int((a == b).sum()), len(a))._asdict(),
        }
    if before.features is not None and after.features is not None:
        others = np.random.default_rng(0).permutation(len(before.features))  # Of any class, not the next one.
        pairs = others != np.arange(len(others))
        far = np.linalg.norm((before.features - before.features[others])[pairs], axis=1)
        moved = np.linalg.norm(after.features - before.features, axis=1) / (np.median(far) or 1.0)
        found["features"] = {"measure": "distance", "unit": "of unrelated images", **_mean(moved)._asdict()}
    return found


def _mean(values: ArrayLike) -> Interval:
    x = np.asarray(values, np.float64)
    return bootstrap_interval(lambda w: np.asarray((w * x).sum(1) / w.sum(1)), len(x), resamples=500)
