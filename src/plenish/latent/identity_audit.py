"""Whether single images are accepted by the search for copies and the test of re-identification.

The images to be hidden count as training images: an image that is near to the very picture it was made of is
refused, whether that picture is in the Dataset or not.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.copies import Search, Views, views_of
from plenish.metrics.features import domain_extractor
from plenish.metrics.reidentification import EXPECTED_SHARE, nearest_group
from plenish.metrics.resampling import unit_codes
from plenish.metrics.tails import chance_share

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Found:
    """What the audit says of n images.

    Attributes:
        accepted: whether neither test objects, n.
        copy_score: of the search for copies, n: 0 at a copy, 1 as of a typical held-out image.
        ratio: distance to the nearest patient over that to the next, n; nan without groups.
        neighbour: position among the training pictures and the images given, n.
    """

    accepted: NDArray[np.bool_]
    copy_score: Floats
    ratio: Floats
    neighbour: NDArray[np.int64]


class IdentityAudit:
    """Both tests, calibrated on held-out groups."""

    def __init__(self, data: Dataset, split: str, given: Pixels) -> None:
        """Calibrate.

        Args:
            data: a real Dataset.
            split: its split; train is what images must not resemble, val shows what is usual.
            given: the images to be hidden, uint8 N×H×W×C, of the Dataset's size.

        Raises:
            InputError: too few images, or images of another size.
        """
        train, val = (data.part(part, split, purpose="score") for part in ("train", "val"))
        if given.shape[1:] != (data.size, data.size, data.channels):
            raise InputError(
                f"{data.path} has images of {data.size} px with {data.channels} channel(s), and these have "
                f"{given.shape[1]} px and {given.shape[3]}; give a Dataset of the generator's size."
            )
        if min(len(train), len(val)) < 3:
            raise InputError(f"{data.path} needs three images in train and in val to compare with.")
        self.extractor = domain_extractor(data, split)
        known = train.images()
        self.is_train = np.isin(_hashes(given), _hashes(known))
        more = given[~self.is_train]
        self.pictures = np.concatenate([known, more])
        self.views = views_of(self.pictures, self.extractor)
        held = views_of(val.images(), self.extractor)
        self.search = Search(held, self.views, val.groups)
        groups = [*train.groups, *(f"\0given {i}" for i in range(len(more)))]
        self.threshold, self.has_groups = float("nan"), all(g is not None and g == g for g in groups)
        if self.has_groups:
            codes, held_codes = unit_codes(groups, len(groups)), unit_codes(val.groups, len(val))
            self.has_groups = min(codes.max(), held_codes.max()) >= 1
            self.codes = codes
        if self.has_groups:
            _, usual = nearest_group(held.features, self.views.features, self.codes)
            self.threshold = chance_share(usual, held_codes, EXPECTED_SHARE)[0]
        self.about: dict[str, Any] = {
            "data": str(data.path.resolve()), "split": split, "train": len(train), "val": len(val),
            "given_in_train": int(self.is_train.sum()), "ratio_threshold": self.threshold,
            "tested": ["search for copies", *(["re-identification"] if self.has_groups else [])],
            "features": self.extractor.facts(),
        }  # fmt: skip

    def __call__(self, images: Pixels) -> Found:
        """Judge images uint8 n×H×W×C, each alone."""
        views: Views = views_of(images, self.extractor)
        copies = self.search(views)
        accepted = copies.score >= copies.facts["threshold"]
        ratio = np.full(len(images), np.nan)
        if self.has_groups:
            _, ratio = nearest_group(views.features, self.views.features, self.codes)
            accepted &= ratio >= self.threshold
        left = np.flatnonzero(accepted)  # The second look of the search is dear.
        if len(left):
            some = Views(views.pixels[left], views.features[left])
            accepted[left] = ~self.search.notices(some, 1)
        self.about.setdefault("copy_threshold", copies.facts["threshold"])
        return Found(accepted, copies.score, ratio, copies.neighbour)


def _hashes(images: Pixels) -> NDArray[np.str_]:
    return np.array([hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images])
