"""What `plenish score` tells of labels, and of whether a classifier tells the images from real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.parts import Subset
from plenish.domains import DOMAINS
from plenish.metrics.extractor import resized
from plenish.metrics.label_agreement import Labelled, label_agreement
from plenish.metrics.panel import rows_panel
from plenish.metrics.residuals import residual_statistics
from plenish.metrics.score import TellApart
from plenish.metrics.two_sample import (
    MOST,
    SHOWN,
    SIDE,
    STEPS,
    Inputs,
    linear_fit,
    network_fit,
    trainings,
    two_sample_test,
)
from plenish.progress import progress
from plenish.training.engine import Engine, to_uint8

LEAST = 24
"""Images of each side, fewer of which train no classifier."""
Features = NDArray[np.float32]


def labels_of(
    made: tuple[Subset, Features], parts: Mapping[str, tuple[Subset, Features]], *, resamples: int, seed: int
) -> dict[str, Any] | None:
    """Agreement of labels with a linear classifier of the train part; None where there are no common classes.

    Args:
        made: the others, with domain features.
        parts: train, and val and test as far as they are there.
        resamples: of the bootstrap.
        seed: of these.
    """
    labels = parts["train"][0].dataset.labels
    if labels.kind != "categorical" or labels != made[0].dataset.labels:
        return None
    sides = {
        part: Labelled(features, images.codes, images.groups) for part, (images, features) in parts.items()
    }
    train = sides.pop("train")
    images, features = made
    synthetic = Labelled(features, images.codes, images.groups)
    held: dict[str, Labelled] = {part: sides[part] for part in ("val", "test") if part in sides}
    return label_agreement(train, synthetic, held, labels.names, resamples=resamples, seed=seed)


def told_apart(
    made: tuple[Subset, Features], train: tuple[Subset, Features], test: tuple[Subset, Features],
    how: TellApart, *, resamples: int, seed: int,
) -> tuple[dict[str, Any] | None, bytes | None]:  # fmt: skip
    """How well a classifier tells the others from real images, and the picture of those it is surest of.

    None where it is switched off or a side has too few images.
    """
    if how == "none" or min(len(side[0]) for side in (made, train, test)) < LEAST:
        return None, None
    made, train, test = (_some(side, seed) for side in (made, train, test))
    dataset = train[0].dataset
    if how == "linear":
        inputs = [Inputs(_features(*side), side[0].groups) for side in (train, test, made)]
        dim = train[1].shape[1]
        fit = linear_fit(slice(0, dim), slice(dim, None))
        found = two_sample_test(fit, *inputs, resamples=resamples, seed=seed)
    else:
        engine = Engine.from_settings()
        symmetry = DOMAINS[dataset.domain].symmetry if dataset.domain else "dihedral"
        inputs = [Inputs(_pixels(images, engine), images.groups) for images, _ in (train, test, made)]
        steps = STEPS * trainings(inputs[0])
        with progress("telling them from real images", steps, "steps") as bar:
            fit = network_fit(engine, symmetry, bar.advance, seed)
            found = two_sample_test(fit, *inputs, resamples=resamples, seed=seed)
    order = np.argsort(-found.scores, kind="stable")
    ends = order[:SHOWN], order[::-1][:SHOWN]
    ids = made[0].ids
    record = {
        "by": how, "told": found.is_told, "auroc": found.auroc._asdict(),
        "baseline": None if found.baseline is None else found.baseline._asdict(),
        "excess": found.excess._asdict(),
        "n": {"train": len(train[0]), "test": len(test[0]), "others": len(made[0])},
        "surest": [{"id": ids[i], "score": float(found.scores[i])} for i in ends[0]],
        "least_sure": [{"id": ids[i], "score": float(found.scores[i])} for i in ends[1]],
        "panel": "told_apart.png",
    }  # fmt: skip
    titles = "surest that they are not real", "taken for real most surely"
    panel = rows_panel([(title, made[0].images(rows)) for title, rows in zip(titles, ends)])
    return record, panel


def _some(side: tuple[Subset, Features], seed: int) -> tuple[Subset, Features]:
    """At most `MOST` of the images of a side, drawn by chance."""
    images, features = side
    rows = np.sort(np.random.default_rng([seed, 0x50E]).permutation(len(images))[:MOST])
    return images.where(rows), features[rows]


def _features(images: Subset, features: Features) -> Features:
    """Features of the extractor, followed by residual statistics."""
    found = [residual_statistics(batch) for batch in images.batches(256)]
    return np.concatenate([features, np.concatenate(found)], axis=1)


def _pixels(images: Subset, engine: Engine) -> NDArray[np.uint8]:
    """Images at the size that the network takes."""
    side = min(SIDE, images.dataset.size)
    batches: Sequence[NDArray[np.uint8]] = list(images.batches(256))
    if all(batch.shape[1:3] == (side, side) for batch in batches):
        return np.concatenate(batches)
    return np.concatenate([to_uint8(resized(engine.to_images(batch), side)) for batch in batches])
