"""What a classifier would be shown: how many images of each class an epoch holds, and pictures of batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from plenish.datasets.batches import Images
from plenish.datasets.show import sheet
from plenish.training.drawing import DrawingPlan, epoch_counts

_SHOWN = 12
"""Images of a batch in its picture."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """What a training would draw, and nothing trained.

    Attributes:
        steps: its length.
        batch: images of a step.
        plan: its phases.
        rows: of each phase and class, what an epoch holds (`training.drawing.epoch_counts`).
        facts: what else is told.
    """

    steps: int
    batch: int
    plan: DrawingPlan
    rows: Sequence[dict[str, Any]]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The length, and a row for each phase and class."""
        return {"steps": self.steps, "batch": self.batch, **self.facts, "epoch": list(self.rows)}

    def shown(self) -> dict[str, Any]:
        """The same for a terminal: the phases, and a table of classes × phases."""
        phases, classes = list[dict[str, Any]](), dict[str, dict[str, Any]]()
        for number, phase in enumerate(self.plan.phases, 1):
            own = [row for row in self.rows if row["phase"] == number]
            real, synthetic = (sum(row[key] for row in own) for key in ("real", "synthetic"))
            phases.append(
                {"phase": number, "level": phase.name, "steps": own[0]["steps"],
                 "epochs": own[0]["epochs"], "epoch": phase.epoch, "real": real, "synthetic": synthetic}
            )  # fmt: skip
            for row in own:
                both = f"{row['real']}+{row['synthetic']}" if synthetic else str(row["real"])
                classes.setdefault(row["class"], {"class": row["class"]})[f"{number}"] = both
        summary = self.summary()
        summary.pop("epoch")
        return {**summary, "phases": phases, "images of an epoch, real+synthetic": list(classes.values())}


def preview(images: Images, seed: int, steps: int, batch: int, names: Sequence[str]) -> Preview:
    """What a training would draw.

    Args:
        images: training images in their order, a `DrawingPlan`.
        seed: the training's.
        steps: its length.
        batch: images of a step.
        names: the classes.
    """
    plan = _plan_of(images)
    return Preview(steps, batch, plan, epoch_counts(plan, images, images.draw(seed, 0), names, batch))


def first_batches(images: Images, seed: int, batch: int) -> Image.Image:
    """Images of the first batch of each phase, as they will be drawn; synthetic ones are framed in red.

    Args:
        images: training images in their order, a `DrawingPlan`.
        seed: the training's.
        batch: images of a step.
    """
    plan = _plan_of(images)
    order, chosen = plan(images.y, images.draw(seed, 0)), []
    for number, (phase, start) in enumerate(zip(plan.phases, plan.starts()), 1):
        drawn = order(np.arange(start, start + batch))
        synthetic = int((drawn >= images.n_real).sum())
        text = f"phase {number} ({phase.name}), first batch: {batch - synthetic} real, {synthetic} synthetic"
        chosen.append((text, drawn[:_SHOWN]))
    size = images.read(np.array([0])).shape[1]
    return sheet(images.read, size, chosen, lambda row: row >= images.n_real)


def _plan_of(images: Images) -> DrawingPlan:
    assert isinstance(images.order, DrawingPlan)
    return images.order
