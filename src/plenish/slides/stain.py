"""The colours of two stains: measure them, replace them, vary them.

Two methods. Macenko et al. (2009) find the optical-density vectors of haematoxylin and eosin as the extreme
directions of a picture's pixels and replace vectors and strengths. Reinhard et al. (2001) match mean and
standard deviation in the lαβ space of Ruderman et al. (1998). Glass (pixels that absorb hardly any light)
is not measured.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Method = Literal["macenko", "reinhard"]
Floats: TypeAlias = NDArray[np.float32]

LIGHT = 255.0
"""Grey level of unabsorbed light."""
GLASS = 0.15
"""Length of the optical density (natural logarithm) up to which a pixel is glass (Macenko's β)."""
EXTREME = 1.0
"""Percentile of the pixels' directions, from either end, that is a stain's (Macenko's α)."""
STRONG = 99.0
"""Percentile of the concentrations that is a stain's strength."""
_FEWEST = 200
_FACTORS = (0.4, 2.5)
"""Limits of the change of strengths and spreads; beyond them, a tile of almost only glass would get the
colours of tissue."""
_LEAST_ANGLE = np.cos(np.radians(4.0))

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]], np.float64)
_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]], np.float64)


class Unmeasurable(ValueError):
    """Too little tissue, or of one stain only; the message says which."""


@dataclasses.dataclass(frozen=True)
class Macenko:
    """The stains of some pixels.

    Attributes:
        haematoxylin: optical density in R, G, B, unit length.
        eosin: likewise.
        strengths: 99th percentile of the concentration of either.
    """

    haematoxylin: tuple[float, float, float]
    eosin: tuple[float, float, float]
    strengths: tuple[float, float]

    @property
    def stains(self) -> NDArray[np.float64]:
        """2×3, haematoxylin first."""
        return np.array([self.haematoxylin, self.eosin])


@dataclasses.dataclass(frozen=True)
class Reinhard:
    """The colour statistics of some pixels in lαβ.

    Attributes:
        mean: of l, α and β.
        sd: standard deviations.
    """

    mean: tuple[float, float, float]
    sd: tuple[float, float, float]


Fit: TypeAlias = Macenko | Reinhard


def fit(pixels: NDArray[np.uint8], method: Method) -> Fit:
    """Measure the stains of pixels (…×3 uint8).

    Raises:
        Unmeasurable: fewer than 200 pixels are not glass, or there is one stain only.
    """
    return fit_macenko(pixels) if method == "macenko" else fit_reinhard(pixels)


def average(fits: Sequence[Fit]) -> Fit:
    """The median stains of several: of directions, strengths and statistics.

    Raises:
        ValueError: there are none, or of two methods.
    """
    if len({type(one) for one in fits}) != 1:
        raise ValueError("needs fits, all of one method")
    names = [field.name for field in dataclasses.fields(fits[0])]
    middle = [np.median([getattr(one, name) for one in fits], axis=0) for name in names]
    if isinstance(fits[0], Macenko):
        stains = np.array(middle[:2])
        middle[:2] = stains / np.linalg.norm(stains, axis=1, keepdims=True)
    return type(fits[0])(*(tuple(values.tolist()) for values in middle))


def normalise(images: NDArray[np.uint8], source: Fit, target: Fit) -> NDArray[np.uint8]:
    """Give images other stains.

    Args:
        images: …×3 uint8.
        source: their own stains.
        target: the stains they shall have, by the same method.
    """
    if isinstance(source, Macenko) and isinstance(target, Macenko):
        factor = np.clip(np.array(target.strengths) / np.maximum(source.strengths, 1e-6), *_FACTORS)
        change = np.linalg.pinv(source.stains).astype(np.float32), (factor[:, None] * target.stains)
        amounts = np.maximum(density(images) @ change[0], 0)
        return _light(amounts @ change[1].astype(np.float32))
    if isinstance(source, Reinhard) and isinstance(target, Reinhard):
        return _matched(images, source, target)
    raise ValueError("source and target are fits of two methods")


def restain(tile: NDArray[np.uint8], source: Fit | None, target: Fit) -> NDArray[np.uint8]:
    """Give a tile other stains; one whose stains cannot be measured is returned unchanged.

    Args:
        tile: H×W×3 uint8.
        source: its own stains; None measures them on the tile.
        target: the stains it shall have.
    """
    method: Method = "macenko" if isinstance(target, Macenko) else "reinhard"
    try:
        return normalise(tile, source or fit(tile, method), target)
    except Unmeasurable:
        return tile


def augment(
    image: NDArray[np.uint8], stains: Macenko, rng: np.random.Generator, amount: float
) -> NDArray[np.uint8]:
    """Vary how strongly an image is stained (after Tellez et al., 2018).

    Each stain's concentration is multiplied by a random factor and, in tissue, raised by a random amount;
    what neither stain explains stays as it is, so nothing changes at an amount of 0.

    Args:
        image: H×W×3 uint8.
        stains: which two colours vary.
        rng: source of randomness.
        amount: factors lie in 1 ± amount, shifts in ± a quarter of it of the stain's strength, 0 to 1.
    """
    rest = np.cross(*stains.stains)
    basis = np.vstack([stains.stains, rest / np.linalg.norm(rest)])
    factor, shift = np.ones(3, np.float32), np.zeros(3, np.float32)
    factor[:2] = rng.uniform(1 - amount, 1 + amount, 2)
    shift[:2] = rng.uniform(-amount / 4, amount / 4, 2) * np.array(stains.strengths)
    absorbed = density(image)
    amounts = absorbed @ np.linalg.inv(basis).astype(np.float32)
    amounts = amounts * factor + shift * _tissue(absorbed)[..., None]
    return _light(amounts @ basis.astype(np.float32))


def fit_macenko(pixels: NDArray[np.uint8]) -> Macenko:
    """Stain vectors and strengths of pixels (…×3 uint8); see `Macenko`.

    Unlike the paper, the plane is that of the uncentred second moments, because mixtures of two stains lie
    in a plane through the origin; and a pixel is glass by the length of its density rather than by any one
    channel, because eosin alone hardly absorbs red.

    Raises:
        Unmeasurable: too few pixels are not glass, or their directions differ by less than 4°.
    """
    absorbed = density(pixels.reshape(-1, 3)).astype(np.float64)
    absorbed = absorbed[np.linalg.norm(absorbed, axis=1) > GLASS]
    if len(absorbed) < _FEWEST:
        raise Unmeasurable(f"only {len(absorbed)} pixels are not glass")
    _, vectors = np.linalg.eigh(absorbed.T @ absorbed)
    plane = vectors[:, [2, 1]]
    plane[:, 0] *= np.sign(plane[:, 0].sum()) or 1.0
    flat = absorbed @ plane
    angles = np.arctan2(flat[:, 1], flat[:, 0])
    extremes = np.percentile(angles, (EXTREME, 100 - EXTREME))
    found = np.maximum(np.stack([np.cos(extremes), np.sin(extremes)], 1) @ plane.T, 0)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    if found[0] @ found[1] > _LEAST_ANGLE:
        raise Unmeasurable("its pixels are of one stain alone")
    # Haematoxylin absorbs more red than eosin does.
    h, e = found if found[0, 0] > found[1, 0] else found[::-1]
    amounts = absorbed @ np.linalg.pinv(np.stack([h, e]))
    strong = np.percentile(amounts, STRONG, axis=0)
    if strong.min() <= 0.01:
        raise Unmeasurable("its pixels are of one stain alone")
    return Macenko(tuple(h.tolist()), tuple(e.tolist()), tuple(strong.tolist()))


def fit_reinhard(pixels: NDArray[np.uint8]) -> Reinhard:
    """Mean and standard deviation in lαβ of pixels (…×3 uint8) that are not glass.

    Raises:
        Unmeasurable: too few are none.
    """
    pixels = pixels.reshape(-1, 3)
    pixels = pixels[np.linalg.norm(density(pixels), axis=1) > GLASS]
    if len(pixels) < _FEWEST:
        raise Unmeasurable(f"only {len(pixels)} pixels are not glass")
    lab = _to_lab(pixels)
    return Reinhard(tuple(lab.mean(axis=0).tolist()), tuple(lab.std(axis=0).tolist()))


def density(images: NDArray[np.uint8]) -> Floats:
    """Optical density −ln(I / 255) of …×3 uint8; black counts as 1."""
    return np.asarray(_density_of_level()[images])


@functools.cache
def _density_of_level() -> Floats:
    return np.asarray(-np.log(np.maximum(np.arange(256), 1) / LIGHT), np.float32)


def _light(absorbed: Floats) -> NDArray[np.uint8]:
    np.negative(absorbed, out=absorbed)
    np.exp(absorbed, out=absorbed)
    absorbed *= LIGHT
    return np.asarray(np.clip(np.rint(absorbed), 0, 255), np.uint8)


def _tissue(absorbed: Floats) -> Floats:
    """0 in glass, 1 in tissue, rising between half of `GLASS` and the whole."""
    length = np.linalg.norm(absorbed, axis=-1)
    return np.asarray(np.clip(2 * length / GLASS - 1, 0, 1), np.float32)


def _matched(images: NDArray[np.uint8], source: Reinhard, target: Reinhard) -> NDArray[np.uint8]:
    scale = np.clip(np.array(target.sd) / np.maximum(source.sd, 1e-6), *_FACTORS)
    lab = (_to_lab(images) - np.array(source.mean)) * scale + np.array(target.mean)
    changed = np.exp(lab @ np.linalg.inv(_LAB).T * np.log(10)) @ np.linalg.inv(_LMS).T - 1.0
    weight = _tissue(density(images))[..., None]
    mixed = images + (changed - images) * weight
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def _to_lab(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    # One is added so that black has a logarithm, and taken away again behind the inverse.
    return np.asarray(np.log10((images.astype(np.float64) + 1.0) @ _LMS.T) @ _LAB.T)
