"""The Run of a training on the train part of a Dataset: checked, then opened to go on with, or made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.datasets.batches import check_divisible
from plenish.datasets.parts import Subset
from plenish.runs import Kind, Run
from plenish.training.engine import Engine
from plenish.training.generator import check_amount


def open_run_on(
    train: Subset, path: Path, kind: Kind, config: Mapping[str, Any], *, batch: int, seed: int,
    may_change: Sequence[str], typed: Mapping[str, str], parents: Sequence[Mapping[str, Any]] = (),
) -> Run:  # fmt: skip
    """Open or make the Run, with the precision of this machine in its configuration.

    Args:
        train: training rows.
        path: the Run's folder.
        kind: what work it holds.
        config: the resolved configuration, JSON-able.
        batch: images a step, as asked for.
        seed: seed of every random draw.
        may_change: dotted keys that may differ when it is resumed.
        typed: the option that sets a dotted key, for messages.
        parents: provenance of the Runs it builds on.

    Raises:
        InputError: the batch is larger than the data, the processes cannot share it equally, or the Run was
            asked something else.
    """
    check_amount(train, batch, asked=True)
    engine = Engine.from_settings()
    check_divisible(batch, engine.world)
    provenance = train.dataset.provenance(train.split_name) | {"part": "train", "images": len(train)}
    return Run.open_or_create(
        path, kind, {**config, "precision": engine.precision}, data=provenance,
        parents=parents, seed=seed, may_change=may_change, typed=typed,
    )  # fmt: skip
