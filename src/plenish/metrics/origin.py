"""Was a generator trained on the train part that its images are judged against? Asked before computing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import same_as
from plenish.datasets.schema import Part
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.caveats import Caveat


def check_images(synthetic: Dataset, real: Dataset, split: str) -> list[Caveat]:
    """`check_origin` of the generator that a synthetic Dataset names."""
    record = generator_of(synthetic.manifest.extra)
    if origin := record.get("data"):
        return check_origin(origin, real, split, f"The generator of {synthetic.path}")
    stated = record.get("training_set")
    return [Caveat("unknown-origin", {"stated": stated} if stated else {})]


def check_origin(origin: Mapping[str, Any], real: Dataset, split: str, what: str) -> list[Caveat]:
    """Refuse a generator that was trained on anything but the train part of this Dataset and split.

    A generator of another split of the Dataset may serve where that split's train part lies in this one's.

    Args:
        origin: provenance of the generator's Dataset and split (`Dataset.provenance`), with its `part`.
        real: the Dataset that its images are compared with.
        split: name of the split whose test part is used.
        what: the sentence's beginning, up to the generator.

    Returns:
        A caveat where the origin is unknown.

    Raises:
        InputError: another Dataset, other labels or groups, another part or another split; the sentence says
            which, and the code is other-images, other-table, other-part or other-split.
    """
    if not origin.get("pixels_hash"):
        return [Caveat("unknown-origin")]
    home = f"'{origin.get('name', 'unnamed')}'" + (f" in {origin['path']}" if origin.get("path") else "")
    if origin["pixels_hash"] != real.manifest.pixels_hash:
        raise InputError(
            f"{what} was trained on other images ({home}) than those of {real.path}; give that Dataset, or "
            f"train one on {real.path}.",
            code="other-images",
        )
    if origin.get("table_hash") not in (None, real.manifest.table_hash):
        raise InputError(
            f"{what} was trained on the images of {real.path} with another table of labels and groups "
            f"({home}); give that Dataset, or train one on {real.path}.",
            code="other-table",
        )
    if origin.get("part", "train") != "train":
        raise InputError(
            f"{what} was trained on the {origin['part']} part of {real.path}, so its test part is no fair "
            "reference; only one of train rows may be used.",
            code="other-part",
        )
    if origin.get("split_hash") != real.split(split).hash and not _trains_within(origin, real, split):
        raise InputError(f"{what} {_other_split(origin, real, split)}", code="other-split")
    return []


def _trains_within(origin: Mapping[str, Any], real: Dataset, split: str) -> bool:
    """Whether all the generator was trained on is in this split's train part, by a split that is known."""
    name = str(origin.get("split_name"))
    if name not in real.split_names() or (other := real.split(name)).hash != origin.get("split_hash"):
        return False
    return bool(np.isin(other.rows("train"), real.split(split).rows("train")).all())


def _other_split(origin: Mapping[str, Any], real: Dataset, split: str) -> str:
    """How the split differs from the generator's, where the images and their table are the same."""
    name = origin.get("split_name") or "unknown"
    seen = f"may have seen images that '{split}' tests on"
    if name == split:
        return (
            f"was trained on these images with another split of the same name, '{split}', than {real.path} "
            f"has (their hashes differ), and {seen}; train one on this split, or give the Dataset it knew."
        )
    known = name in real.split_names() and real.split(name).hash == origin.get("split_hash")
    fix = f"give --split {name}, or train one on '{split}'" if known else f"train one on '{split}'"
    return f"was trained on the split '{name}' of {real.path}, not on '{split}', and {seen}; {fix}."


def check_pair(
    real: Dataset, synthetic: Dataset, split: str, parts: Sequence[Part] = ("test", "val")
) -> list[Caveat]:
    """Refuse two Datasets that cannot be compared.

    Args:
        real: the real one.
        synthetic: the other.
        split: name of the split of the real one.
        parts: those whose pictures must not be among the synthetic images.

    Returns:
        What limits the comparison.

    Raises:
        InputError: wrong way round, the same images, other sizes or channels, or a generator trained on
            anything but this train part.
    """
    if real.is_synthetic:
        raise InputError(f"{real.path} is synthetic; the order is REAL SYNTHETIC OUT.")
    if real.manifest.pixels_hash == synthetic.manifest.pixels_hash:
        raise InputError(f"{synthetic.path} contains the images of {real.path}; give a synthetic Dataset.")
    if (real.size, real.channels) != (synthetic.size, synthetic.channels):
        raise InputError(
            f"{real.path} has {real.size} px images with {real.channels} channel(s) and {synthetic.path} "
            f"{synthetic.size} px with {synthetic.channels}; import the real images again at the size of the "
            "synthetic ones."
        )
    caveats = []
    if not synthetic.is_synthetic:
        caveats.append(Caveat("baseline", {"name": synthetic.name}))
        ours = set(real.column("sha256"))
        shared = sum(one in ours for one in synthetic.column("sha256"))
        if shared:
            caveats.append(Caveat("shared-images", {"images": shared}))
    else:
        caveats += check_images(synthetic, real, split)
    caveats += near_held_out(real, split, synthetic, parts)
    if real.labels != synthetic.labels and real.labels.kind != "none":
        caveats.append(Caveat("other-labels"))
    return caveats


def near_held_out(
    real: Dataset, split: str, synthetic: Dataset, parts: Sequence[Part] = ("test", "val")
) -> list[Caveat]:
    """A caveat for each of some parts if images of a Dataset show the picture of one of theirs.

    Both have images of the same size and channels.
    """
    caveats, frozen = [], real.split(split)
    everything = np.arange(len(synthetic), dtype=np.int64)
    for part in parts:
        found = same_as(synthetic, everything, real, frozen.rows(part))
        if images := int((found >= 0).sum()):
            caveats.append(Caveat("near-held-out", {"images": images, "part": part}))
    return caveats


def real_at(origin: Mapping[str, Any]) -> Dataset | None:
    """The Dataset that a record of provenance names, if it is still there, with the same images and table.

    Args:
        origin: `path`, `pixels_hash` and `table_hash`.
    """
    try:
        found = Dataset.open(Path(origin["path"]))
    except (InputError, KeyError):
        return None
    hashes = found.manifest.pixels_hash, found.manifest.table_hash
    return found if hashes == (origin.get("pixels_hash"), origin.get("table_hash")) else None
