"""The images that a classifier is attacked on: rows of a Dataset or tensors, with labels and groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.errors import InputError, first_line
from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.origin import check_origin
from plenish.robustness.evaluation_config import EvaluationConfig
from plenish.robustness.target import Target
from plenish.training.engine import stable_seed

Ints = NDArray[np.int64]
Tensors = Sequence[Any]
"""Images N×C×H×W in [0, 1] (float) or 0 to 255 (uint8), class numbers N, and perhaps N groups."""


@dataclasses.dataclass(frozen=True)
class AttackedImages:
    """Images with their classes.

    Attributes:
        read: positions → float32 n×C×H×W in [0, 1].
        labels: class numbers N.
        names: the K classes; empty where they are known as numbers alone.
        ids: N names of the images.
        groups: N names of groups, None where an image has none.
        size: height and width.
        channels: of the images.
        about: where they come from, for the record.
        domain: the kind of images, empty where it is not known.
        caveats: what limits results on them.
    """

    read: Callable[[Ints], Tensor]
    labels: Ints
    names: tuple[str, ...]
    ids: Sequence[str]
    groups: Sequence[Hashable | None]
    size: int
    channels: int
    about: Mapping[str, Any]
    domain: str = ""
    caveats: Sequence[Caveat] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def limited(self, limit: int | None, seed: int) -> AttackedImages:
        """A random choice of at most `limit` images, classes in proportion, in their order."""
        if limit is None or limit >= len(self):
            return self
        rows = chosen_rows(self.labels, limit, seed)
        read = self.read
        return dataclasses.replace(
            self, read=lambda index: read(rows[index]), labels=self.labels[rows],
            ids=[self.ids[row] for row in rows], groups=[self.groups[row] for row in rows],
            caveats=[*self.caveats, Caveat("some-images", {"images": len(rows), "of": len(self)})],
        )  # fmt: skip

    def for_target(self, target: Target) -> AttackedImages:
        """The images with class numbers in the order of the target's classes.

        Raises:
            InputError: it has other classes, or takes images of another size or other channels.
        """
        where = str(self.about.get("path") or "The data")
        if (self.size, self.channels) != (target.size, target.channels):
            raise InputError(
                f"{where} has images of {self.size} px with {self.channels} channel(s), and the classifier "
                f"takes {target.size} px with {target.channels}; give data as it was trained on, or import "
                f"them again with --size {target.size}."
            )
        if not self.names:
            if len(self) and int(self.labels.max()) >= len(target.names):
                raise InputError(
                    f"The labels go up to {int(self.labels.max())} and the classifier has "
                    f"{len(target.names)} classes, numbered from 0; give data of its classes."
                )
            return dataclasses.replace(self, names=target.names)
        if set(self.names) != set(target.names):
            raise InputError(
                f"{where} has the classes {_some(self.names)}, and the classifier has {_some(target.names)}; "
                "give data with the classifier's classes."
            )
        place = np.array([target.names.index(name) for name in self.names], np.int64)
        return dataclasses.replace(self, labels=place[self.labels], names=target.names)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def chosen_rows(labels: Ints, limit: int, seed: int) -> Ints:
    """Random rows, `limit` of N, of each class in proportion and at least one where that is possible."""
    rng = np.random.default_rng(stable_seed(seed, "attacked images"))
    order = rng.permutation(len(labels))
    # The k-th of n rows of a class lies at (k + ½)/n of its class: the first `limit` in that order are in
    # proportion. The first of each class come before all others.
    keys = np.empty(len(labels))
    for name in np.unique(labels):
        mine = order[labels[order] == name]
        keys[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        keys[mine[0]] -= 1
    return np.sort(order[np.argsort(keys[order], kind="stable")][:limit])


def rows_of(
    data: Dataset | Path | str, config: EvaluationConfig, origin: Mapping[str, Any] | None = None
) -> AttackedImages:
    """Images of a Dataset; reading the test part is recorded.

    Args:
        data: a Dataset, or its folder. Of a synthetic one all images are taken.
        config: which part of which split.
        origin: provenance of the Dataset and split that the classifier was trained on, where it is known.

    Raises:
        InputError: no such Dataset, split or part, a part of a synthetic one, images without classes, or the
            classifier was trained on another split of it.
    """
    data = Dataset.open(data) if isinstance(data, (str, Path)) else data
    if data.labels.kind != "categorical":
        raise InputError(
            f"{data.path} has {data.labels.kind.replace('none', 'no')} labels, and an attack needs one class "
            "an image; import it with classes."
        )
    home = origin is not None and origin.get("pixels_hash") == data.manifest.pixels_hash
    caveats = []
    if data.is_synthetic:
        if config.split or config.part != EvaluationConfig.part:
            raise InputError(
                f"{data.path} is synthetic and is attacked as a whole; leave out --part and --split."
            )
        rows = data.all_rows()
        caveats.append(Caveat("generated-test", {"intervals": True}))
    else:
        split = config.split or (str(origin["split_name"]) if origin and home else "default")
        if origin and home:
            check_origin(origin, data, split, "The classifier")
        rows = data.part(config.part, split, purpose="score")
        if home and config.part != "test":
            caveats.append(Caveat("attacked-known-part", {"part": config.part}))
    about = {
        **data.provenance(None if data.is_synthetic else rows.split_name),
        "part": rows.part, "split": rows.split_name, "synthetic": data.is_synthetic,
        "phantom": bool(data.manifest.extra.get("phantom")),
    }  # fmt: skip
    return AttackedImages(
        _reader(rows), rows.codes, data.labels.names, rows.ids, list(rows.groups), data.size, data.channels,
        about, data.domain or "", caveats,
    )  # fmt: skip


def _reader(rows: Subset) -> Callable[[Ints], Tensor]:
    def read(index: Ints) -> Tensor:
        return torch.from_numpy(rows.images(index)).permute(0, 3, 1, 2).contiguous().float().div_(255)

    return read


def of_tensors(data: Tensors, names: Sequence[str] = ()) -> AttackedImages:
    """Images and labels in memory.

    Args:
        data: images N×C×H×W, float in [0, 1] or uint8; class numbers N; and perhaps N names of groups.
        names: the classes, where they have names.

    Raises:
        InputError: the shapes do not fit, values lie outside [0, 1], or a label is no class number or has no
            name.
    """
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise InputError("Data are a Dataset, its folder, or (images, labels) or (images, labels, groups).")
    try:
        images, labels = torch.as_tensor(data[0]), torch.as_tensor(data[1])
    except (TypeError, ValueError, RuntimeError) as error:  # Of text, of None, of rows of unequal length.
        raise InputError(f"Images and labels must be arrays of numbers ({first_line(error)}).") from None
    if images.ndim != 4 or images.shape[2] != images.shape[3] or not len(images):
        raise InputError(
            f"Images must be N×C×H×W with H = W, at least one, not {'×'.join(map(str, images.shape))}."
        )
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise InputError(
            f"Labels must be {len(images)} class numbers from 0 on, one for each image, not "
            f"{'×'.join(map(str, labels.shape))} of {labels.dtype}."
        )
    if int(labels.min()) < 0:
        raise InputError(f"Labels must be class numbers from 0 on, and one is {int(labels.min())}.")
    groups = list(data[2]) if len(data) == 3 and data[2] is not None else [None] * len(images)
    if len(groups) != len(images):
        raise InputError(f"{len(groups)} groups do not fit {len(images)} images; give one for each.")
    if names and (len(set(names)) < len(names) or int(labels.max()) >= len(names)):
        raise InputError(
            f"The labels go up to {int(labels.max())}, and the classes are named {_some(names)}; give each "
            "number from 0 on a name of its own."
        )
    images = images.detach().cpu()
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError(
            f"Images must lie in [0, 1], and these go from {float(images.min()):g} to "
            f"{float(images.max()):g}; leave normalisation to the model."
        )
    about = {"path": None, "part": None, "split": None, "synthetic": False, "phantom": False}
    ids = [str(number) for number in range(len(images))]
    found = labels.cpu().numpy().astype(np.int64)
    return AttackedImages(
        lambda index: images[torch.from_numpy(np.asarray(index))], found, tuple(names), ids, groups,
        images.shape[2], images.shape[1], about,
    )  # fmt: skip


def limits_of(images: AttackedImages) -> list[Caveat]:
    """What few images, few groups and the choice of images limit."""
    return [*images.caveats, *about_test(images.labels, images.groups, images.names)]
