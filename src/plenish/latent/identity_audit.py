"""Whether single images are accepted by the search for copies and the test of re-identification.

The images to be hidden count as training images: an image that is near to the very picture it was made of is
refused, whether that picture is in the Dataset or not. Near is not enough to ask, where held-out images are
far from everything: an image whose nearest known picture is still the one it was made of, or one of the same
patient, is refused as well, however far that is.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.copies import Search, Views, views_of
from plenish.metrics.features import domain_extractor
from plenish.metrics.kernels import row_pieces, squared_distances
from plenish.metrics.reidentification import EXPECTED_SHARE, nearest_group
from plenish.metrics.resampling import unit_codes
from plenish.metrics.tails import chance_share

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Found:
    """What the audit says of n images.

    Attributes:
        accepted: whether no test objects, n.
        copy_score: of the search for copies, n: 0 at a copy, 1 as of a typical held-out image.
        ratio: distance to the nearest patient over that to the next, n; nan without groups.
        neighbour: position among the training pictures and the images given, n.
        own: whether the nearest known picture, by the search or by features alone, or the nearest patient is
            that which it was made of, n.
        copy: whether the search for copies or re-identification objects, n.
    """

    accepted: NDArray[np.bool_]
    copy_score: Floats
    ratio: Floats
    neighbour: NDArray[np.int64]
    own: NDArray[np.bool_]
    copy: NDArray[np.bool_]


class IdentityAudit:
    """The tests, calibrated on held-out groups."""

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
        hashes = _hashes(self.pictures)
        of_table = dict(zip(data.table["sha256"], data.table["group"], strict=True))
        groups = [*train.groups, *(of_table.get(one) for one in hashes[len(train) :])]
        self.own = _own(_hashes(given), hashes, of_table, groups)
        self.views = views_of(self.pictures, self.extractor)
        held = views_of(val.images(), self.extractor)
        self.search = Search(held, self.views, val.groups)
        self.threshold, self.has_groups = float("nan"), all(_is_known(group) for group in train.groups)
        groups = [group if _is_known(group) else f"\0given {i}" for i, group in enumerate(groups)]
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
            "tested": [
                "search for copies", *(["re-identification"] if self.has_groups else []),
                "another picture is nearest",
            ],
            "features": self.extractor.facts(),
        }  # fmt: skip

    def __call__(self, images: Pixels, of: NDArray[np.int64]) -> Found:
        """Judge images, each alone.

        Args:
            images: uint8 n×H×W×C.
            of: n, which of the images given each was made of.
        """
        views: Views = views_of(images, self.extractor)
        copies = self.search(views)
        good = copies.score >= copies.facts["threshold"]
        ratio = np.full(len(images), np.nan)
        mine, known = (found.features.astype(np.float64) for found in (views, self.views))
        pieces = [
            squared_distances(mine[rows], known).argmin(1) for rows in row_pieces(len(mine), len(known))
        ]
        nearest = np.concatenate(pieces)
        own = self.own[of, copies.neighbour] | self.own[of, nearest]
        if self.has_groups:
            group, ratio = nearest_group(views.features, self.views.features, self.codes)
            good &= ratio >= self.threshold
            own |= (self.own[of] & (self.codes == group[:, None])).any(1)
        left = np.flatnonzero(good & ~own)  # The second look of the search is dear.
        if len(left):
            some = Views(views.pixels[left], views.features[left])
            good[left] = ~self.search.notices(some, 1)
        self.about.setdefault("copy_threshold", copies.facts["threshold"])
        return Found(good & ~own, copies.score, ratio, copies.neighbour, own, ~good)


def _own(
    given: NDArray[np.str_], pictures: NDArray[np.str_], of_table: Mapping[str, Any], groups: Sequence[Any]
) -> NDArray[np.bool_]:
    """Which of M known pictures show what each of N images given shows: N×M.

    Those are the same pixels, and where the Dataset has the image, in whatever part, all pictures of its
    group.

    Args:
        given: hashes of the images given, N.
        pictures: hashes of the known pictures, M.
        of_table: groups of the Dataset's images by their hash.
        groups: of the known pictures, M.
    """
    same = given[:, None] == pictures[None, :]
    for i, name in enumerate(given):
        if _is_known(mine := of_table.get(name)):
            same[i] |= np.array([group == mine for group in groups], bool)
    return np.asarray(same)


def _is_known(group: Any) -> bool:
    return group is not None and group == group


def _hashes(images: Pixels) -> NDArray[np.str_]:
    return np.array([hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in images])
