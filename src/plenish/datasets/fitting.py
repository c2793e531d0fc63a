"""How a picture of any shape becomes a square: what is cut off first, which square is kept, what fills it.

All of it is deterministic: the same picture gives the same pixels on every machine and in every process.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from plenish.configuration import option
from plenish.datasets import detectors
from plenish.datasets.bands import bands, counted
from plenish.datasets.rejections import Unreadable
from plenish.errors import InputError

Fit = Literal["crop", "pad", "stretch"]
Place = Literal["centre", "top", "bottom", "left", "right", "energy", "saliency"]

GAP = 3
"""The resampling may reduce by whole factors first, down to so many times the wanted size."""

_ENERGY_SIDE, _SALIENCY_SIDE = 256, 64  # Longer side of the small copies that are looked at, pixels.
_SMOOTHING = 2.5  # Standard deviation of the blur of a saliency map, pixels of its small copy.
_FADED = 0.1  # Share of each side over which a picture fades before its saliency is found.
_TRIMS = 3  # Bands within bands that are cut off, at most.


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How pictures that are not square become so, beside --fit.

    Attributes:
        crop_at: which square --fit crop keeps of a longer picture: its centre; its top, bottom, left or right
            (the centre where it is longer in the other direction); energy, the square with most edges; or
            saliency, the one that stands out most (Hou and Zhang 2007, spectral residual).
        pad_with: what --fit pad fills with: a colour by name or as #rrggbb, edge (the outermost pixels
            repeated) or reflect (the picture mirrored).
        trim_bands: cut uniform bands, of black, white or any one colour, off the sides first.
        detector: cut out what a detector finds with the highest score, as a square: anime-face, anime-head,
            anime-person (plenish[anime]) or one that another package registers.
        detector_margin: what is added on each side of what is found, as a share of its longer side.
        undetected: what becomes of pictures in which the detector finds nothing: fit, as if there were no
            detector, or reject.
    """

    crop_at: Place = "centre"
    pad_with: str = "white"
    trim_bands: bool = False
    detector: str | None = None
    detector_margin: float = option(0.2, least=0, most=4)
    undetected: Literal["fit", "reject"] = "fit"

    def check(self, fit: Fit) -> None:
        """Refuse a colour that is none, an unknown detector, and options that would do nothing.

        Args:
            fit: what --fit says.

        Raises:
            InputError: as above, or the detector's package is missing.
        """
        if self.crop_at != "centre" and fit != "crop":
            raise InputError(f"--crop-at says what --fit crop keeps, and --fit is {fit}; leave it out.")
        if self.pad_with != "white" and fit != "pad":
            raise InputError(f"--pad-with says what fills with --fit pad, and --fit is {fit}; leave it out.")
        if self.pad_with not in ("edge", "reflect"):
            _colour(self.pad_with, "RGB")
        if self.detector is not None:
            detectors.load(self.detector)
        elif self.undetected != "fit":
            raise InputError("--undetected says what becomes of what --detector does not find; give that.")

    @property
    def cuts(self) -> bool:
        """Whether something is cut off or out before a picture becomes a square."""
        return self.trim_bands or self.detector is not None

    def changed(self) -> dict[str, Any]:
        """The fields that have another value than their default, JSON-able."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != _DEFAULTS[name]}


PLAIN = Fitting()
DISTORTED = 1.5
"""A picture stretched by at least so much looks distorted."""
DISTORTION = "fit_distortion"
"""The column that says how much each image was stretched: longer side over shorter side of the original."""
_DEFAULTS = dataclasses.asdict(PLAIN)


class Prepared(NamedTuple):
    """A picture before it becomes a square.

    Attributes:
        image: what is left of it.
        trimmed: bands were cut off.
        undetected: the detector that was asked for found nothing.
    """

    image: Image.Image
    trimmed: bool = False
    undetected: bool = False


def prepare(image: Image.Image, fitting: Fitting) -> Prepared:
    """Cut off bands, and cut out what a detector finds.

    Args:
        image: upright, mode L or RGB.
        fitting: what is asked for.

    Raises:
        Unreadable: nothing was found and such pictures are to be rejected.
    """
    if not fitting.cuts:
        return Prepared(image)
    whole = image
    if fitting.trim_bands:
        image = trim(image)
    trimmed = image.size != whole.size
    if fitting.detector is None:
        return Prepared(image, trimmed)
    box = detectors.best_square(fitting.detector, np.asarray(image.convert("RGB")), fitting.detector_margin)
    if box is None and fitting.undetected == "reject":
        raise Unreadable("undetected", detector=fitting.detector)
    return Prepared(image if box is None else image.crop(box), trimmed, box is None)


def trim(image: Image.Image) -> Image.Image:
    """The picture without the bands at its sides, also those within bands; one of one colour stays whole."""
    for _ in range(_TRIMS):
        pixels = np.atleast_3d(np.asarray(image))
        height, width = pixels.shape[:2]
        widths = bands(pixels[None])
        top, bottom, left, right = np.where(counted(widths, (height, width)), widths, 0)[0].tolist()
        if top + bottom >= height or left + right >= width or not (top or bottom or left or right):
            break
        image = image.crop((left, top, width - right, height - bottom))
    return image


def square(image: Image.Image, size: int, fit: Fit, fitting: Fitting = PLAIN) -> Image.Image:
    """A picture, prepared, as size×size pixels; one that has the size is not resampled.

    Args:
        image: mode L or RGB.
        size: height and width, pixels.
        fit: `crop` scales the shorter side and cuts a square out, `pad` scales the longer side and fills,
            `stretch` ignores the aspect ratio.
        fitting: which square, and what fills.
    """
    width, height = image.size
    if (width, height) == (size, size):
        return image
    resize = functools.partial(image.resize, resample=Image.Resampling.LANCZOS, reducing_gap=float(GAP))
    if fit == "stretch":
        return resize((size, size))
    if fit == "crop":
        side = min(width, height)
        left, top = corner(image, fitting.crop_at)
        return resize((size, size), box=(left, top, left + side, top + side))
    scale = size / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    return _padded(resize(inner) if inner != image.size else image, size, fitting.pad_with)


def corner(image: Image.Image, place: Place) -> tuple[int, int]:
    """Left and top of the square that a crop keeps, whose side is the shorter one of the picture; pixels."""
    width, height = image.size
    free, tall = abs(width - height), height > width
    sides = {"left": 0, "right": free} if not tall else {"top": 0, "bottom": free}
    if place in ("energy", "saliency") and free:
        at = _attention(image, place, free)
    else:
        at = sides.get(place, free // 2)
    return (0, at) if tall else (at, 0)


def distortion(image: Image.Image) -> float:
    """How much stretching to a square distorts a picture: its longer side over its shorter one."""
    return max(image.size) / min(image.size)


def energy(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitude of the gradient, H×W, by central differences."""
    dy, dx = np.gradient(np.pad(grey, 1, mode="edge"))
    found: NDArray[np.float64] = np.hypot(dy, dx)[1:-1, 1:-1]
    return found


def saliency(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """What stands out of a picture, H×W: the spectral residual (Hou and Zhang, CVPR 2007).

    The log amplitude of the Fourier transform less its average over 3×3 frequencies, transformed back with
    the phase of the picture, squared and blurred. Before, the picture fades to its mean over a tenth of each
    side: the transform takes it for periodic, and opposite sides would stand out where they differ. 0 of a
    picture of one grey.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    if np.ptp(grey) == 0:
        return np.zeros_like(grey)
    spectrum = np.fft.fft2((grey - grey.mean()) * np.outer(*map(_fading, grey.shape)))
    amplitude = np.log(np.abs(spectrum) + 1e-9)
    residual = amplitude - uniform_filter(amplitude, 3, mode="wrap")
    back = np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))
    found: NDArray[np.float64] = gaussian_filter(np.abs(back) ** 2, _SMOOTHING, mode="nearest")
    return found


def _fading(length: int) -> NDArray[np.float64]:
    """Weights of the pixels along one side: 1 in the middle, down to almost 0 at both ends by a cosine."""
    inside = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    found: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * np.minimum(1, inside / (_FADED * length)))
    return found


def _attention(image: Image.Image, place: Place, free: int) -> int:
    """How far along its longer side the square with the most energy or saliency lies, pixels.

    Of squares that have as much, the nearest to the centre.
    """
    longer = max(image.size)
    small = image.convert("L")
    reduced = _ENERGY_SIDE if place == "energy" else _SALIENCY_SIDE
    if longer > reduced:
        width, height = (max(1, round(side * reduced / longer)) for side in image.size)
        small = small.resize((width, height), Image.Resampling.BOX)
    grey = np.asarray(small, np.float64)
    along = (energy if place == "energy" else saliency)(grey).sum(axis=int(small.height > small.width))
    window = max(1, round((longer - free) * len(along) / longer))
    sums = np.convolve(along, np.ones(window), "valid")
    most = np.flatnonzero(sums >= sums.max() * (1 - 1e-9))
    middle = (len(sums) - 1) / 2
    best = most[np.argmin(np.abs(most - middle))]
    return free // 2 if abs(best - middle) < 1 else round(best * free / (len(sums) - 1))


def _padded(image: Image.Image, size: int, fill: str) -> Image.Image:
    """A picture that is as long as `size` in one direction, in the middle of a square."""
    left, top = (size - image.width) // 2, (size - image.height) // 2
    if fill not in ("edge", "reflect"):
        out = Image.new(image.mode, (size, size), _colour(fill, image.mode))
        out.paste(image, (left, top))
        return out
    pixels = np.asarray(image)
    widths = [(top, size - image.height - top), (left, size - image.width - left)]
    if fill == "edge":
        return Image.fromarray(np.pad(pixels, widths + [(0, 0)] * (pixels.ndim - 2), mode="edge"))
    rows, columns = (_mirrored(n, *width) for n, width in zip(pixels.shape, widths))
    return Image.fromarray(pixels[np.ix_(rows, columns)])


def _mirrored(length: int, before: int, after: int) -> NDArray[np.int64]:
    """Positions that go on mirrored beyond both ends, as often as needed, without repeating the outermost."""
    period = max(1, 2 * (length - 1))
    found = np.arange(-before, length + after) % period
    return np.minimum(found, period - found) if length > 1 else np.zeros_like(found)


def _colour(name: str, mode: str) -> Any:
    """A colour by name in a mode of Pillow.

    Raises:
        InputError: there is none of that name.
    """
    try:
        return ImageColor.getcolor(name, mode)
    except ValueError:
        raise InputError(
            f"--pad-with takes a colour such as white or #202020, edge or reflect, not '{name}'."
        ) from None
