"""Where an edit begins: points of the generator, or real images that are inverted first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.latent.counterfactual_options import ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.given_images import real_images
from plenish.latent.inversion import invert
from plenish.latent.inversion_options import ImageOptions, InversionOptions
from plenish.latent.points import Floats, Points
from plenish.latent.selection import chosen_points
from plenish.latent.space import LatentSpace


@dataclasses.dataclass(frozen=True)
class Start:
    """Where an edit of images begins.

    Attributes:
        points: N points.
        originals: the images that were inverted, uint8 N×H×W×C; None of generated ones.
        error: mean squared error of each inversion, pixels in [0, 1], N; None of generated ones.
        about: where the images come from, JSON-able.
    """

    points: Points
    originals: NDArray[np.uint8] | None = None
    error: NDArray[np.float64] | None = None
    about: Mapping[str, Any] | None = None

    def __getitem__(self, rows: NDArray[np.int64]) -> Start:
        """Some of the images."""
        return dataclasses.replace(
            self, points=self.points[rows],
            originals=None if self.originals is None else self.originals[rows],
            error=None if self.error is None else self.error[rows],
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[Start]) -> Start:
        """Images of one source behind each other."""
        originals = [part.originals for part in parts if part.originals is not None]
        errors = [part.error for part in parts if part.error is not None]
        return Start(
            Points.joined([part.points for part in parts]),
            np.concatenate(originals) if len(originals) == len(parts) else None,
            np.concatenate(errors) if len(errors) == len(parts) else None, parts[0].about,
        )  # fmt: skip


def start_of(space: LatentSpace, images: Sequence[Path], which: PointOptions, how: ToInvert) -> Start:
    """The points that are asked for, or images inverted.

    Args:
        space: the generator.
        images: real images; empty for the points.
        which: the points; of images, their ids and their label.
        how: how images are read and inverted.

    Raises:
        InputError: both are given, or they do not fit the generator.
    """
    if not images:
        return Start(chosen_points(space, which))
    for name in ("seeds", "latents", "data"):
        if getattr(which, name) is not None:
            raise InputError(f"Images and --{name} both say where to begin; give one of them.")
    given = real_images(space, images, ImageOptions(which.ids, how.part, how.split, how.fit))
    y = given.y if which.label is None else None
    about = dict(given.about) | {"pixels_sha256": given.pixels_sha256}
    return inverted(space, given.pixels, given.names, y, about, which, how)


def inverted(
    space: LatentSpace, pixels: NDArray[np.uint8], names: Sequence[str], y: Floats | None,
    about: Mapping[str, Any], which: PointOptions, how: ToInvert,
) -> Start:  # fmt: skip
    """Images inverted.

    Args:
        space: the generator.
        pixels: uint8 N×H×W×C, of the generator's size and channels.
        names: of the images.
        y: their labels, N×K, where they are known; else as `which.label` says.
        about: where they come from, JSON-able.
        which: their label.
        how: how they are inverted.
    """
    options = InversionOptions(
        steps=how.inversion_steps, label=which.label, encoder=how.encoder, encoder_steps=how.encoder_steps
    )
    found = invert(space, pixels, options, y, names=names)
    about = dict(about) | {"steps": how.inversion_steps, "encoder": found.encoder}
    return Start(found.points, pixels, found.error, about)
