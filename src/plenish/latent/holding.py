"""What concepts leave as it is in each image: classes by classifiers, columns by networks that read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent import concepts
from plenish.latent.attributes import Reader, ReadingConfig, column_reader
from plenish.latent.concepts import Concept
from plenish.latent.held_options import HeldOptions
from plenish.latent.held_steps import Binding, Function, Moved
from plenish.latent.judges import classifier_facts, open_classifier
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace
from plenish.metrics.extractor import resized
from plenish.progress import warn
from plenish.training.classifier_model import Classifier, orientations
from plenish.wording import agree, significant

HELD = ReadingConfig(seed=2)
"""Training of the network that reads held columns; those that judge an edit have other seeds."""
_CLOSE = 0.1
"""Log-odds, or standard deviations of a column, by which a held quantity may be off; beyond it is said."""


@dataclasses.dataclass(frozen=True)
class Held:
    """Quantities of images that stay as they are.

    Attributes:
        names: of each.
        parts: what gives them, some each.
        step: greatest strength that is added at once.
        facts: what they are, for the record; JSON-able.
    """

    names: tuple[str, ...]
    parts: tuple[Binding, ...]
    step: float
    facts: Mapping[str, Any]

    def bound(self, first: Tensor) -> Function:
        """All of them as one function, for the images that an edit begins with."""
        functions = [part(first) for part in self.parts]
        return lambda images: torch.cat([function(images) for function in functions], 1)


def open_held(space: LatentSpace, options: HeldOptions) -> Held | None:
    """What the options hold; None for nothing.

    Raises:
        InputError: a Run or Dataset does not fit, or columns are asked for without a Dataset.
    """
    runs, columns = options.keep_class or [], options.keep_columns or []
    if not runs and not columns:
        if options.keep_from is not None:
            raise InputError("--keep-from is there for the columns of --keep-columns, and none are given.")
        return None
    names, parts = list[str](), list[Binding]()
    facts: dict[str, Any] = {"classifiers": [], "columns": [], "step": options.keep_step}
    for run in runs:
        model = open_classifier(run, space.network.channels)
        said = ("class",) if model.kind == "categorical" else model.names
        names += [f"{what} by {run}" for what in said]
        parts.append(_class_part(model))
        facts["classifiers"].append(classifier_facts(run))
    if columns:
        if options.keep_from is None:
            raise InputError("--keep-columns needs --keep-from, a real Dataset with these columns.")
        reader = column_reader(Dataset.open(options.keep_from), columns, options.keep_split, HELD)
        names += list(reader.checks)
        parts.append(lambda first: _columns_function(reader))
        facts["columns"] = [{"column": name, "check": dict(check)} for name, check in reader.checks.items()]
        facts |= {"data": str(options.keep_from.resolve()), "reader_sha256": reader.hash}
    return Held(tuple(names), tuple(parts), options.keep_step, facts)


def _class_part(model: Classifier) -> Binding:
    """Log-odds of the class that each image has at first; of tags, those of each.

    They are means over the orientations that the classifier was trained on.
    """
    module = model.module().requires_grad_(False)

    def logits(images: Tensor) -> Tensor:
        views = orientations(resized(images, model.size), model.config.symmetry or "none")
        return torch.stack([module(view) for view in views]).mean(0)

    def bound(first: Tensor) -> Function:
        if model.kind != "categorical":
            return logits
        with torch.no_grad():
            mine = logits(first).argmax(1, keepdim=True)

        def log_odds(images: Tensor) -> Tensor:
            found = logits(images)
            others = found.scatter(1, mine, -torch.inf).logsumexp(1, keepdim=True)
            return found.gather(1, mine) - others

        return log_odds

    return bound


def _columns_function(reader: Reader) -> Function:
    """Numbers in standard deviations of the training images, and log-odds of yes and no."""
    return lambda images: reader.network(resized(images, reader.side))


def concepts_added(
    space: LatentSpace, points: Points, amounts: Sequence[tuple[Concept, float]],
    strengths: Sequence[float], held: Held | None,
) -> tuple[list[Points], list[dict[str, Any]]]:  # fmt: skip
    """Points with concepts added at several strengths; with something held, each point on its own way.

    Args:
        space: the generator.
        points: z, or w; z becomes w where a concept is of w.
        amounts: concepts with their weights.
        strengths: what the weights are multiplied by, one after the other.
        held: what stays as it is; None for the same direction everywhere.

    Returns:
        For each strength the points, and a record of how well that was held: the mean and the largest change
        of each quantity, the largest share of the way along the concepts that is missing, and how many images
        are off by more than 0.1 (log-odds, or standard deviations of a column). No records of nothing held.

    Raises:
        InputError: a concept does not fit the points or the generator.
    """
    if held is None:
        scaled = ([(concept, weight * strength) for concept, weight in amounts] for strength in strengths)
        return [concepts.move(space, points, one) for one in scaled], []
    there = concepts.move(space, points[[0]], amounts)
    start = space.to_w(points) if there.space == "w" else points
    way = there.values.astype(np.float64) - start.values[[0]]
    made = space.move_holding(start, way, strengths, held.bound, step=held.step)
    records = [_record(one, held) for one in made]
    if most := max((record["images_off"] for record in records), default=0):
        warn(
            f"{agree(most, 'image', 'is', 'are')} off by more than {_CLOSE:g} (log-odds, or standard "
            "deviations of a column) in what should stay; a smaller --strength or --keep-step may hold it."
        )
    return [one.points for one in made], records


def _record(moved: Moved, held: Held) -> dict[str, Any]:
    off = np.abs(moved.drift)
    return {
        "drift": {
            name: {"mean": significant(float(x.mean())), "most": significant(float(x.max()))}
            for name, x in zip(held.names, off.T, strict=True)
        },
        "missing_of_the_way": significant(float(np.abs(moved.short).max(initial=0))),
        "images_off": int((off > _CLOSE).any(1).sum()),
    }  # fmt: skip
