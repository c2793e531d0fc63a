from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from plenish.errors import InputError
from plenish.studio.config import StudioConfig
from plenish.studio.sessions import Medium, Session, Sessions
from plenish.studio.uploads import picture, take

CONFIG = StudioConfig(upload_mb=0.2, upload_megapixels=0.05)


@pytest.fixture
def session() -> Iterator[Session]:
    sessions = Sessions(session_mb=8)
    yield sessions.of("someone")
    sessions.close()


def encoded(pixels: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def test_a_picture_comes_back_as_it_was(session: Session) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    assert (picture(session, take(session, encoded(pixels), CONFIG)) == pixels).all()
    grey = take(session, encoded(pixels[..., 0]), CONFIG)
    assert (picture(session, grey) == pixels[..., :1]).all()


def test_the_camera_turns_it_upright(session: Session) -> None:
    image = Image.fromarray(np.zeros((10, 20, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    assert picture(session, take(session, file.getvalue(), CONFIG)).shape == (20, 10, 3)


def test_too_large_and_what_is_no_picture_is_refused(session: Session) -> None:
    many = encoded(np.zeros((300, 300, 3), np.uint8))  # few bytes, too many pixels
    heavy = encoded(np.random.default_rng(0).integers(0, 256, (270, 270, 3), np.uint8), "BMP")
    cut = encoded(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))[:5000]
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    for content in (many, heavy, cut, svg, eps, b"", b"GIF89a", zlib.compress(b"x" * 100)):
        with pytest.raises(InputError):
            take(session, content, CONFIG)


def test_pictures_count_among_the_bytes_of_a_session() -> None:
    sessions = Sessions(session_mb=1)
    session = sessions.of("someone")
    flat, config = np.zeros((700, 700, 3), np.uint8), StudioConfig()
    keys = [take(session, encoded(flat), config) for _ in range(4)]  # 6 MB of pixels in four small files.
    assert picture(session, keys[0]).shape == flat.shape
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    keys = [take(session, encoded(noise), config) for _ in range(5)]  # 270 kB each.
    with pytest.raises(InputError):
        picture(session, keys[0])
    assert (picture(session, keys[-1]) == noise).all()
    generated = session.keep(Medium(b"x", "image/png")).rpartition("/")[2]
    with pytest.raises(InputError):
        picture(session, generated)
    sessions.close()


def test_the_limit_of_pixels_is_ours_alone(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    pixels = np.zeros((200, 200, 3), np.uint8)
    assert picture(session, take(session, encoded(pixels), CONFIG)).shape == pixels.shape
    with pytest.raises(InputError, match="300×300"):
        take(session, encoded(np.zeros((300, 300, 3), np.uint8)), CONFIG)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_another_session_has_it_not(session: Session) -> None:
    key = take(session, encoded(np.zeros((8, 8, 3), np.uint8)), CONFIG)
    sessions = Sessions(session_mb=8)
    with pytest.raises(InputError):
        picture(sessions.of("someone else"), key)
    sessions.close()
