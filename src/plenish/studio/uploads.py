"""Pictures from a browser: checked for bytes, type and pixels before decoding, kept in the session."""

from __future__ import annotations

import io
import threading

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from plenish.errors import InputError
from plenish.studio.config import StudioConfig
from plenish.studio.sessions import Medium, Session

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_KIND = "application/octet-stream"
_LIMIT = threading.Lock()
"""Held while Pillow's own limit, which is one for all threads, is lifted."""


def take(session: Session, content: bytes, config: StudioConfig) -> str:
    """Check and keep a picture; its id.

    The file is kept, not its pixels, which can take a hundred times the memory; it counts among the bytes of
    the session.

    Raises:
        InputError: it is no picture of a type that is taken, or too large.
    """
    if len(content) > config.upload_mb * 10**6:
        raise InputError(f"The picture has more than {config.upload_mb:g} MB; make it smaller.")
    _decode(content, config.upload_megapixels)
    return session.keep(Medium(content, _KIND, "picture")).rpartition("/")[2]


def _decode(content: bytes, megapixels: float) -> NDArray[np.uint8]:
    """The pixels of a file, H×W×3."""
    try:
        with _open(content) as image:
            if image.width * image.height > megapixels * 10**6:
                raise InputError(
                    f"The picture has {image.width}×{image.height} pixels, more than "
                    f"{megapixels:g} million; make it smaller."
                )
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except InputError:
        raise
    except Exception:  # What a decoder raises of a damaged file is not limited to some types.
        raise InputError(f"This is no picture that can be read; give {', '.join(FORMATS)}.") from None


def _open(content: bytes) -> Image.Image:
    """The picture, of which only the header is read."""
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def picture(session: Session, key: str) -> NDArray[np.uint8]:
    """An uploaded picture, H×W×3.

    Raises:
        InputError: this session has none of that id, or no longer.
    """
    try:
        medium: Medium | None = session.medium(key)
    except InputError:
        medium = None
    if medium is None or medium.kind != _KIND:
        raise InputError("There is no such picture in this session; upload it again.", code="missing")
    return _decode(medium.content, np.inf)
