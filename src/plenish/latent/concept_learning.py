"""Learning a concept from examples: the difference of means, a linear SVM, or a regression on latents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from plenish.errors import InputError
from plenish.latent.concepts import Concept, check_name, flat, orthogonal, unit
from plenish.latent.points import Points, Space
from plenish.latent.space import LatentSpace

Method = Literal["mean", "svm"]
Array = NDArray[np.float64]
CLASS_DRAWS = 512
"""Points a class is taken as the mean of, where its direction is to be kept out of a concept."""
_PENALTIES = tuple(10.0**k for k in range(-2, 6))


@dataclasses.dataclass(frozen=True)
class Kept:
    """Directions that a concept is to be at right angles to.

    Attributes:
        concepts: other concepts.
        label: whether the class is kept too.
        read: directions along which what is read off images grows (`column_directions`), by name.
    """

    concepts: Sequence[Concept] = ()
    label: bool = False
    read: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def vectors(self, space: LatentSpace, of: Space) -> list[NDArray[np.floating]]:
        """The directions, D each.

        Raises:
            InputError: a concept is of another space, or the generator has no classes.
        """
        wrong = next((concept for concept in self.concepts if concept.space != of), None)
        if wrong is not None:
            raise InputError(f"--keep {wrong.name} is a concept of {wrong.space}, and this one is of {of}.")
        found: list[NDArray[np.floating]] = [concept.vector for concept in self.concepts]
        return found + (class_directions(space, of) if self.label else []) + list(self.read.values())

    def facts(self) -> dict[str, Any]:
        """JSON-able form."""
        facts = {"concepts": [concept.name for concept in self.concepts], "label": self.label}
        return facts | ({"columns": list(self.read)} if self.read else {})


def class_directions(space: LatentSpace, of: Space) -> list[NDArray[np.floating]]:
    """Directions from the mean of the first class to those of the others.

    In z there are none: the label is an input of its own beside z, and the prior of z is that of all classes.

    Raises:
        InputError: the generator has no classes.
    """
    labels = space.require_labels("--keep-label", "categorical")
    if of == "z":
        return []
    seeds = range(CLASS_DRAWS)
    means = [
        flat(space.to_w(space.draw(seeds, row[None]))).mean(0)
        for row in np.eye(labels.width, dtype=np.float32)
    ]
    return [mean - means[0] for mean in means[1:]]


def column_directions(
    space: LatentSpace, points: Points, values: Mapping[str, Array], of: Space
) -> dict[str, Array]:
    """Directions along which numbers grow, each by ridge regression on the latents, labels held.

    Args:
        space: the generator.
        points: N points.
        values: by name N numbers that were read off their images; log-odds of classes and of yes and no.
        of: z or w.

    Returns:
        Weights D of each that is not the same for all images.
    """
    x, beside = flat(in_space(space, points, of)), _labels_beside(points)
    return {name: ridge(x, read, beside)[0] for name, read in values.items() if read.std() >= 1e-12}


def _labels_beside(points: Points) -> Array:
    """A constant and the labels but one, N×E: what a regression is freed of first."""
    constant = np.ones((len(points), 1))
    return constant if points.y is None else np.column_stack([constant, points.y[:, 1:]])


def in_space(space: LatentSpace, points: Points, of: Space) -> Points:
    """Points as z, or as w.

    Raises:
        InputError: z is asked for of styles w, or w of a family without.
    """
    return space.in_space(points, of, "The concept")


def default_space(space: LatentSpace) -> Space:
    """W where the generator has styles, else z."""
    return "w" if space.has_styles else "z"


def learn(
    space: LatentSpace, name: str, having: Points, lacking: Points, *, method: Method = "mean",
    of: Space | None = None, kept: Kept = Kept(), facts: Mapping[str, Any] = {},
) -> Concept:  # fmt: skip
    """Learn a concept from examples.

    Args:
        space: the generator.
        name: of the concept.
        having: points whose images have it.
        lacking: points whose images lack it.
        method: the difference of the means, or the normal of a linear SVM.
        of: z or w; by default w where there are styles.
        kept: what it is to be at right angles to.
        facts: further entries of its record.

    Raises:
        InputError: there are no examples, they do not differ, or nothing is left beside what is kept.
    """
    check_name(name)
    of = of or default_space(space)
    if not len(having) or not len(lacking):
        raise InputError("A concept is learnt from examples with it and without; give at least one of each.")
    a, b = (flat(in_space(space, points, of)) for points in (having, lacking))
    between = a.mean(0) - b.mean(0)
    raw = (
        between
        if method == "mean"
        else svm_normal(np.concatenate([a, b]), np.repeat([1, -1], [len(a), len(b)]))
    )
    found = unit(orthogonal(raw, kept.vectors(space, of)), "The examples")
    scale = float(between @ found)
    if scale <= 0:
        raise InputError(
            "Beside what is kept, the examples with the concept lie no further along its direction than "
            "those without; give more examples, or keep less."
        )
    record = {
        "method": method, "n_with": len(a), "n_without": len(b), "keeps": kept.facts(),
        "generator": provenance(space), **facts,
    }  # fmt: skip
    return Concept(name, found, of, scale, (), record)


def learn_from_values(
    space: LatentSpace, name: str, points: Points, values: Array, *, of: Space | None = None,
    kept: Kept = Kept(), facts: Mapping[str, Any] = {},
) -> Concept:  # fmt: skip
    """Learn a concept from a number that each image was given, by ridge regression on the latents.

    Labels are regressed on too, so that the direction is that within classes. Strength 1 is the distance
    between the means of the upper and the lower third of the values.

    Args:
        space: the generator.
        name: of the concept.
        points: of the images.
        values: N numbers, such as what a regressor says of the images.
        of: z or w; by default w where there are styles.
        kept: what it is to be at right angles to.
        facts: further entries of its record.

    Raises:
        InputError: the values are the same for all images.
    """
    check_name(name)
    of = of or default_space(space)
    if values.std() < 1e-12:
        raise InputError("The column's estimates are the same for all images, so that nothing can be learnt.")
    x = flat(in_space(space, points, of))
    weights, told = ridge(x, values, _labels_beside(points))
    found = unit(orthogonal(weights, kept.vectors(space, of)), "The estimates")
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    scale = float((x[values >= high].mean(0) - x[values <= low].mean(0)) @ found)
    if scale <= 0:
        raise InputError("Beside what is kept, nothing of the column is left in the latents; keep less.")
    record = {
        "method": "regression", "n": len(x), "r2_latents": told, "keeps": kept.facts(),
        "generator": provenance(space), **facts,
    }  # fmt: skip
    return Concept(name, found, of, scale, (), record)


def provenance(space: LatentSpace) -> dict[str, Any]:
    """Which generator a concept was made for."""
    found = space.loaded.provenance()
    return {key: found[key] for key in ("run_id", "family", "checkpoint", "weights_sha256")}


def svm_normal(x: Array, side: NDArray[np.int64], strength: float = 1.0) -> Array:
    """Normal of a linear support vector machine with squared hinge loss and an L2 penalty, D.

    Minimises ‖v‖² / 2 + strength Σ max(0, 1 − s (v·x + b))² on latents divided by their overall standard
    deviation; the offset b is not penalised.

    Args:
        x: latents N×D.
        side: N of 1 and -1.
        strength: inverse of the penalty.
    """
    scale = x.std(0).mean() or 1.0
    rows = (x - x.mean(0)) / scale

    def loss(v: Array) -> tuple[float, Array]:
        gap = np.maximum(0, 1 - side * (rows @ v[:-1] + v[-1]))
        pull = -2 * strength * gap * side
        value = v[:-1] @ v[:-1] / 2 + strength * (gap @ gap)
        return float(value), np.append(v[:-1] + rows.T @ pull, pull.sum())

    start = np.zeros(rows.shape[1] + 1)
    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}
    found: Array = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return found[:-1]


def ridge(x: Array, y: Array, beside: Array) -> tuple[Array, float]:
    """Ridge regression whose penalty is the best by leave-one-out error.

    Args:
        x: N×D, penalised.
        y: N.
        beside: N×E, such as a constant and labels, not penalised: both sides are freed of them first.

    Returns:
        Weights D, and the share of the variance that is predicted of rows left out.
    """
    basis = np.linalg.qr(beside)[0]
    x, y = (side - basis @ (basis.T @ side) for side in (x, y))
    left, values, right = np.linalg.svd(x, full_matrices=False)
    inside = left.T @ y
    fixed = (basis**2).sum(1)
    best: tuple[float, float] | None = None
    for penalty in (p * values.max() ** 2 * 1e-4 for p in _PENALTIES):
        shrink = values**2 / (values**2 + penalty)
        leverage = np.minimum((left**2 * shrink).sum(1) + fixed, 1 - 1e-6)
        error = float((((y - left @ (shrink * inside)) / (1 - leverage)) ** 2).mean())
        if best is None or error < best[0]:
            best = error, penalty
    assert best is not None
    weights: Array = right.T @ (values / (values**2 + best[1]) * inside)
    return weights, 1 - best[0] / float(y.var())
