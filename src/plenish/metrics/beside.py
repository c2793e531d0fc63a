"""What is used beside a Dataset's real train images: synthetic ones, a classifier trained before; checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.batches import Images, join
from plenish.datasets.dataset import Dataset
from plenish.datasets.orders import synthetic_in_batch
from plenish.datasets.parts import Subset
from plenish.datasets.schema import Part
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.caveats import Caveat
from plenish.metrics.origin import check_images, check_origin, near_held_out
from plenish.metrics.quality import of_generator
from plenish.networks.sampler import Sampler
from plenish.runs import Run
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import weights_of


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Synthetic images that may be used beside the train part of a real Dataset.

    Attributes:
        rows: all of them; their own `codes` may be numbered otherwise.
        codes: their class numbers in the real Dataset's numbering, N.
        caveats: what limits what is learnt from them.
    """

    rows: Subset
    codes: NDArray[np.int64]
    caveats: tuple[Caveat, ...] = ()

    def behind(self, real: Images) -> Images:
        """The real training images with these behind them, as one."""
        parts = real, Images(self.rows.images, self.codes)
        joined = join([(part, np.arange(len(part.y), dtype=np.int64)) for part in parts])
        return dataclasses.replace(joined, real=len(real.y))


def open_synthetic(path: Path, data: Dataset, train: Subset, split: str) -> Synthetic:
    """Open a synthetic Dataset and check that it may be used beside the train part of a real one.

    Args:
        path: the synthetic Dataset.
        data: the real one.
        train: rows of its train part that are used.
        split: its split; none of its val and test images may be among the synthetic ones.

    Raises:
        InputError: it is real, of another schema or size, holds val or test images, or its generator was
            trained on anything but this split's train part.
    """
    made = Dataset.open(path)
    if not made.is_synthetic:
        raise InputError(f"{path} holds real images, not synthetic ones; give what 'plenish generate' made.")
    check_fit(path, made, data)
    caveats = check_images(made, data, split)
    caveats += _check_copies(made, data, train, split)
    caveats += near_held_out(data, split, made)
    quality = of_generator(generator_of(made.manifest.extra))
    caveats += [] if quality is None else quality.caveats("study")
    return dataclasses.replace(numbered(made, data), caveats=tuple(caveats))


def numbered(made: Dataset, data: Dataset) -> Synthetic:
    """All images of a synthetic Dataset, their classes numbered as in the real one, which has them."""
    rows = made.all_rows()
    number = np.array([data.labels.code(name) for name in made.labels.names])
    return Synthetic(rows, number[rows.codes])


def training_side(
    real: Images, dataset: Dataset, train: Subset, split: str, synthetic: Path | None
) -> tuple[Images, dict[str, Any] | None, tuple[Caveat, ...]]:
    """What a classifier is trained on.

    Args:
        real: the real training images.
        dataset: the real Dataset.
        train: rows of its train part.
        split: its split.
        synthetic: a synthetic Dataset to use beside them; None for the real ones alone.

    Returns:
        The images, the real ones first; what a Run keeps of the synthetic ones; caveats.

    Raises:
        InputError: see `open_synthetic`.
    """
    if synthetic is None:
        return real, None, ()
    if real.inputs is not None:
        raise InputError("--columns are of real images alone, and synthetic ones have none; leave them out.")
    beside = open_synthetic(synthetic, dataset, train, split)
    made = beside.rows.dataset
    record = {
        "name": made.name, "images": len(made), "pixels_hash": made.manifest.pixels_hash,
        "table_hash": made.manifest.table_hash,
    }  # fmt: skip
    return beside.behind(real), record, beside.caveats


def about_mixed(images: Images, names: Sequence[str], share: float | None, batch: int) -> list[Caveat]:
    """Caveats of generated images that are too few for a batch, or of which a class is missing.

    Args:
        images: training images, the real ones first.
        names: the K classes.
        share: of generated images in each batch; None where none is fixed.
        batch: images of a batch.
    """
    codes = images.y[images.n_real :]
    if share is None or not len(codes):
        return []
    found, wanted = [], synthetic_in_batch(share, batch)
    if len(codes) < wanted:
        found.append(Caveat("few-generated", {"images": len(codes), "wanted": wanted}))
    missing = [name for code, name in enumerate(names) if code not in codes]
    if codes.ndim == 1 and missing:
        found.append(Caveat("generated-without", {"classes": missing, "share": share}))
    return found


def with_weights_of_run(how: ClassifierConfig, dataset: Dataset, split: str) -> ClassifierConfig:
    """The same, with the weights of a classifier's Run where --pretrained names one.

    Raises:
        InputError: it was trained on anything but the train part of this split, or not to its end.
    """
    if not isinstance(how.pretrained, Path) or not how.pretrained.is_dir():
        return how
    _finished(how.pretrained, dataset, split)
    weights = weights_of(how.pretrained)
    return dataclasses.replace(how, pretrained=weights)


def classifier_behind(path: Path, dataset: Dataset, split: str) -> dict[str, Any]:
    """What a Run keeps of a classifier whose backbone its discriminator is made of.

    Raises:
        InputError: it was trained on anything but the train part of this split, or not to its end.
    """
    before = _finished(path, dataset, split)
    weights = files.sha256_file(weights_of(path))
    return {"run": str(path.resolve()), "id": before.id, "kind": before.kind, "weights_sha256": weights}


def _finished(path: Path, dataset: Dataset, split: str) -> Run:
    """A classifier's Run, checked: trained on the train part of this split, to its end."""
    before = Run.open(path, "classifier")
    check_origin(before.config["data"], dataset, split, f"The classifier in {path}")
    if before.state != "complete":
        raise InputError(f"{path} is not trained to its end; repeat its command first.")
    return before


def check_fit(path: Path, made: Dataset | Sampler, data: Dataset) -> None:
    """Refuse synthetic images, or a generator, of another size or other classes than the real ones."""
    if (made.size, made.channels) != (data.size, data.channels):
        raise InputError(
            f"The images of {path} have {made.size} px and {made.channels} channels, those of {data.path} "
            f"{data.size} px and {data.channels}; use a generator trained on this Dataset."
        )
    if made.labels.kind != "categorical" or set(made.labels.names) != set(data.labels.names):
        stated = ", ".join(made.labels.names) or "no labels"
        raise InputError(
            f"{path} has {stated} where {data.path} has the classes {', '.join(data.labels.names)}; use a "
            "conditional generator trained on this Dataset."
        )


def _check_copies(made: Dataset, data: Dataset, train: Subset, split: str) -> list[Caveat]:
    known, frozen = data.table["sha256"].isin(made.table["sha256"]).to_numpy(), data.split(split)
    parts: tuple[Part, ...] = ("val", "test")
    for part in parts:
        if found := int(known[frozen.rows(part)].sum()):
            raise InputError(
                f"{found} {part} image{'s are' if found > 1 else ' is'} among the synthetic ones in "
                f"{made.path}, pixel for pixel; the generator must have seen them."
            )
    copied = int(known[train.rows].sum())
    return [Caveat("copied-pixels", {"images": copied})] if copied else []
