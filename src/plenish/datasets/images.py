"""One outside image file becomes one square of uint8 pixels, or a reason why not.

Everything that a picture file can hold other than grey or RGB is converted here: transparency is composed
over white, palettes and CMYK become RGB, 16-bit grey becomes 8-bit by dividing by 257 or by a window, EXIF
rotation is applied. What has no unique interpretation (an animation, floats without a range, five bands) is
refused with a reason.
Embedded colour profiles are not applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from plenish.datasets.fitting import GAP, PLAIN, Fit, Fitting, distortion, prepare, square
from plenish.datasets.formats import HEIC, JPEG_XL, Extra, extra_of
from plenish.datasets.rejections import Unreadable

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is decoded, a quarter GiB of RGB; larger ones may be bombs."""
MAX_BYTES = 512 * 2**20
"""Bytes of the largest image file that is read."""
RESIZER = "Pillow Lanczos, reducing_gap 3"
"""The resampling filter, as noted in dataset.json."""

# Only these decoders are ever asked: others of Pillow's start outside programs (EPS) or read more than a
# picture.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""Orientations with width and height exchanged."""
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_SAMPLE_FORMAT, _SIGNED, _FLOAT = 339, 2, 3
_DEPTH = "plenish depth"
_GREY = frozenset(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I"))
_SIXTEEN_BITS = frozenset(("I;16", "I;16B", "I;16L", "I;16N"))
_LFS = b"version https://git-lfs"
_LOOK = 256
"""Pixels to which a JPEG may be reduced for a look at its colours."""
_GREY_NOISE = 1
"""Most that channels of a grey picture differ, of 255."""


@dataclasses.dataclass(frozen=True)
class Window:
    """The values of a 16-bit or DICOM image that become black and white; those beyond are clipped.

    Attributes:
        low: becomes 0.
        high: becomes 255.
        percentile: low and high are percentiles of each image, not values.
    """

    low: float = 0.0
    high: float = 65535.0
    percentile: bool = False

    def apply(self, values: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """H×W uint16 → uint8."""
        low, high = self.limits(values)
        if (low, high) == (0, 65535):
            return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        share = (values.astype(np.float32) - low) / max(high - low, 1e-6)
        levels: NDArray[np.uint8] = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
        return levels

    def limits(self, values: NDArray[Any]) -> tuple[float, float]:
        """The values of an image that become black and white."""
        if not self.percentile:
            return self.low, self.high
        low, high = np.percentile(values, (self.low, self.high)).tolist()
        return low, high


FULL_WINDOW = Window()


@dataclasses.dataclass(frozen=True)
class Shape:
    """What every image becomes.

    Attributes:
        size: height and width, pixels.
        channels: 1 (grey) or 3 (RGB).
        fit: `crop` scales the shorter side to `size` and cuts a square out, `pad` scales the longer side and
            fills up, `stretch` ignores the aspect ratio. A picture that already has the size is not
            resampled.
        window: which values of 16-bit images become black and white.
        max_pixels: of the largest image that is decoded.
        fitting: what is cut off before, which square is cut out, and what fills.
    """

    size: int
    channels: int
    fit: Fit
    window: Window = FULL_WINDOW
    max_pixels: int = MAX_PIXELS
    fitting: Fitting = PLAIN


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An image made to fit.

    Attributes:
        pixels: size×size×channels uint8.
        upscaled: it was enlarged.
        coloured: it had colours and was asked for as grey.
        peak: largest value of a 16-bit image (of a grey DICOM image 65535), 0 for other images.
        distortion: its longer side over its shorter one where it was stretched to a square, 1 elsewhere.
        trimmed: bands were cut off its sides.
        undetected: the detector that was asked for found nothing in it.
        narrow: a DICOM image without a window uses so little of its range that few grey levels are left.
        width: of the picture before that, upright, pixels.
        height: its height.
    """

    pixels: NDArray[np.uint8]
    upscaled: bool
    coloured: bool
    peak: int = 0
    narrow: bool = False
    distortion: float = 1.0
    trimmed: bool = False
    undetected: bool = False
    width: int = 0
    height: int = 0


@contextlib.contextmanager
def open_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Open an ordinary file.

    Raises:
        Unreadable: missing, forbidden, empty, too large, or no ordinary file (reading a pipe would never
        end).
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable("not-a-file")
            check_length(facts.st_size)
            yield file
    except FileNotFoundError:
        raise Unreadable("missing") from None
    except OSError as error:
        raise Unreadable("unreadable", reason=error.strerror or str(error)) from None


def read_file(path: str | Path) -> bytes:
    """The bytes of an ordinary file.

    Raises:
        Unreadable: as `open_file`.
    """
    with open_file(path) as file:
        return file.read()


def read_beginning(path: Path, most: int) -> bytes:
    """The first bytes of an ordinary file; none of what is no such file or cannot be read."""
    with contextlib.suppress(OSError), os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    return b""


def check_length(n_bytes: int) -> None:
    """Raise Unreadable for an empty file and for one too large to read."""
    if n_bytes == 0:
        raise Unreadable("empty")
    if n_bytes > MAX_BYTES:
        raise Unreadable("too-large", mib=n_bytes / 2**20, limit=MAX_BYTES // 2**20)


def fit_bytes(data: bytes, shape: Shape) -> Fitted:
    """Decode a picture file and make it fit.

    Raises:
        Unreadable: damaged, no known format, animated, too large, or of a pixel type without one right
        reading.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(data, shape.max_pixels) as image:
                size = image.size
                if image.format == "JPEG" and shape.fitting.detector is None:
                    most = GAP * shape.size
                    # The decoder can leave out detail that the resampling would drop; the gap is the
                    # resampler's own.
                    image.draft(None, (most, most))
                return _fit_image(image, shape, size)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("memory") from None
    except Exception as error:  # Decoders meet hostile bytes here and raise whatever the bytes lead them to.
        raise Unreadable("damaged", reason=_one_line(error)) from None


def fit_array(array: NDArray[np.uint8], shape: Shape) -> Fitted:
    """Make pixels in memory (H×W×C uint8, C 1, 3 or 4 with alpha last) fit, as `fit_bytes` does."""
    return _fit_image(_from_array(array), shape, (array.shape[1], array.shape[0]))


def is_grey(data: bytes, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a picture has no colours: by its header, or because all its pixels are grey.

    A file that cannot be read counts as grey.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _open(data, max_pixels) as image:
                return image.mode in _GREY or has_grey_pixels(np.asarray(_look(image)))
    except Exception:  # As above; it will be rejected with its reason when its turn comes.
        return True


def has_grey_pixels(pixels: NDArray[np.uint8]) -> bool:
    """Whether all channels of H×W×3 pixels are the same, but for the noise of a JPEG."""
    red, green, blue = np.moveaxis(pixels.astype(np.int16), 2, 0)
    return bool(max(np.abs(red - green).max(), np.abs(green - blue).max()) <= _GREY_NOISE)


def _look(image: Image.Image) -> Image.Image:
    image.draft("RGB", (_LOOK, _LOOK))
    return image.convert("RGB")


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """H×W×C uint8 (C 1 or 3) as the bytes of a PNG file."""
    out = io.BytesIO()
    _from_array(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue()


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture file as RGBA, 8 bits, upright.

    Raises:
        Unreadable: it is no picture that is understood, is damaged, or has more pixels.
    """
    image = _open(read_file(path), max_pixels)
    try:
        return ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise Unreadable("damaged", reason=_one_line(error)) from None


def _open(data: bytes, max_pixels: int) -> Image.Image:
    check_length(len(data))
    extra = extra_of(data)
    formats = _FORMATS if extra is None else _plugged(extra)
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # The limit is ours, for every format.
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    finally:
        Image.MAX_IMAGE_PIXELS = before
    if image.format == "PNG" and data[24:25] == b"\x10":
        image.info[_DEPTH] = 16
    width, height = image.size
    if width * height > max_pixels:
        raise Unreadable("too-many-pixels", width=width, height=height, limit=max_pixels)
    frames = 1 if image.format in ("JPEG", "MPO", "HEIF") else getattr(image, "n_frames", 1)
    if frames > 1:  # A JPEG or HEIC of several pictures, from telephones, has one main one; others have not.
        raise Unreadable("pages" if image.format == "TIFF" else "frames", count=frames)
    return image


def _plugged(extra: Extra) -> tuple[str, ...]:
    """Pillow's name of a format that an optional package reads."""
    if not extra.installed or extra not in (HEIC, JPEG_XL):
        raise Unreadable("extra", format=extra.name, command=extra.command)
    if extra is HEIC:
        import pillow_heif

        pillow_heif.register_heif_opener()
        return ("HEIF",)
    import pillow_jxl  # noqa: F401 - it registers itself.

    return ("JXL",)


def _unidentified(data: bytes) -> Unreadable:
    if not data.strip(b"\0"):
        return Unreadable("zeros")
    if data.startswith(_LFS):
        return Unreadable("lfs")
    directory = _tiff_directory(data)
    if (bands := int(directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 0))) not in (0, 1, 3):
        return Unreadable("bands", count=bands)
    formats = directory.get(_SAMPLE_FORMAT, ())
    if bands and (kinds := {*(formats if isinstance(formats, tuple) else (formats,))} & {_SIGNED, _FLOAT}):
        return Unreadable("signed" if _SIGNED in kinds else "float-pixels")
    known = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    for magic, name in known.items():
        if data.startswith(magic):
            return Unreadable("bad-header", format=name)
    return Unreadable("unknown-format")


def _tiff_directory(data: bytes) -> Mapping[int, Any]:
    """What a TIFF says of itself; nothing for what is none."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        return dict(directory)
    except Exception:  # As above.
        return {}


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:200]


def _fit_image(image: Image.Image, shape: Shape, size: tuple[int, int]) -> Fitted:
    """`size` is the picture's own, which a JPEG decoder may have reduced already."""
    turned = image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS if image.info else False
    coloured = shape.channels == 1 and image.mode not in _GREY
    plain, peak = _plain(image, shape)
    cut, trimmed, undetected = prepare(plain, shape.fitting)
    upscaled = (max(cut.size) if shape.fit == "pad" else min(cut.size)) < shape.size
    distorted = distortion(cut) if shape.fit == "stretch" else 1.0
    array = np.asarray(square(cut, shape.size, shape.fit, shape.fitting), np.uint8)
    width, height = size[::-1] if turned else size
    return Fitted(
        array[:, :, None] if array.ndim == 2 else array, upscaled, coloured, peak, distortion=distorted,
        trimmed=trimmed, undetected=undetected, width=width, height=height,
    )  # fmt: skip


def _plain(image: Image.Image, shape: Shape) -> tuple[Image.Image, int]:
    """The image upright, opaque, 8-bit and grey or RGB, with the peak value if it had 16 bits."""
    wanted = "L" if shape.channels == 1 else "RGB"
    image.load()  # First: a PNG may store its rotation after its pixels.
    if image.mode == wanted and not image.info and image.format in (None, "PNG"):
        return image, 0
    _refuse_signed(image)
    peak = 0
    if image.mode == "RGB" and _has_sixteen_bit_colours(image):
        image, peak = _of_sixteen_bit_colours(image, shape)
    if image.mode in _SIXTEEN_BITS or image.mode == "I":
        image, peak = _from_sixteen_bits(image, shape.window)
    elif image.mode == "F":
        raise Unreadable("float-pixels")
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = _over_white(image)
    return (image if image.mode == wanted else image.convert(wanted)), peak


def _refuse_signed(image: Image.Image) -> None:
    """Refuse TIFFs of signed numbers, whose sign Pillow takes for the highest bit."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode != "I":
        formats = image.tag_v2.get(_SAMPLE_FORMAT, (1,))
        if _SIGNED in (formats if isinstance(formats, tuple) else (formats,)):
            raise Unreadable("signed")


def _of_sixteen_bit_colours(image: Image.Image, shape: Shape) -> tuple[Image.Image, int]:
    """The image and its peak, of 65535; Pillow has taken the upper eight bits."""
    if shape.window != FULL_WINDOW:
        raise Unreadable("sixteen-bit-colours")
    return image, 257 * int(np.asarray(image).max())


def _has_sixteen_bit_colours(image: Image.Image) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ())
        return bool(bits) and max(bits) == 16
    return _DEPTH in image.info


def _from_sixteen_bits(image: Image.Image, window: Window) -> tuple[Image.Image, int]:
    values = np.asarray(image)
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise Unreadable("integer-pixels")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise Unreadable("value-range", low=low, high=high)
    values = values.astype(np.uint16)
    pixels = window.apply(values)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        pixels = 255 - pixels  # Pillow inverts those of 8 bits itself.
    grey = Image.fromarray(pixels)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.paste(255, mask=Image.fromarray(np.asarray(values == key).astype(np.uint8) * 255))
    exif = image.getexif()
    if exif:
        grey.getexif().update(exif)
        grey.info["exif"] = exif.tobytes()
    return grey, high


def _over_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    grey = image.mode in ("1", "L", "LA", "La")
    return Image.alpha_composite(white, rgba).convert("L" if grey else "RGB")
