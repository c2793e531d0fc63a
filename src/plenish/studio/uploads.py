"""Pictures from a browser: checked for bytes, type and pixels before decoding, kept in the session."""

from __future__ import annotations

import io
import secrets
import warnings
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from plenish.errors import InputError
from plenish.studio.config import StudioConfig
from plenish.studio.sessions import Session

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_MOST = 16


class Uploads:
    """The pictures that one user uploaded, the newest few."""

    def __init__(self) -> None:
        """Start without any."""
        self.pictures: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()


def take(session: Session, content: bytes, config: StudioConfig) -> str:
    """Decode and keep a picture; its id.

    Raises:
        InputError: it is no picture of a type that is taken, or too large.
    """
    if len(content) > config.upload_mb * 10**6:
        raise InputError(f"The picture has more than {config.upload_mb:g} MB; make it smaller.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > config.upload_megapixels * 10**6:
                    raise InputError(
                        f"The picture has {image.width}×{image.height} pixels, more than "
                        f"{config.upload_megapixels:g} million; make it smaller."
                    )
                pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.uint8)
    except InputError:
        raise
    except Exception:  # What a decoder raises of a damaged file is not limited to some types.
        raise InputError(f"This is no picture that can be read; give {', '.join(FORMATS)}.") from None
    uploads = session.state(Uploads)
    key = secrets.token_urlsafe(12)
    uploads.pictures[key] = pixels
    while len(uploads.pictures) > _MOST:
        uploads.pictures.popitem(last=False)
    return key


def picture(session: Session, key: str) -> NDArray[np.uint8]:
    """An uploaded picture, H×W×3.

    Raises:
        InputError: this session has none of that id.
    """
    pictures = session.state(Uploads).pictures
    if key not in pictures:
        raise InputError("There is no such picture in this session; upload it again.", code="missing")
    return pictures[key]
