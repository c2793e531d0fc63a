"""Formats that optional packages read: their pixels, and what is said where the package is missing."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from plenish.cli import run
from plenish.datasets import formats
from plenish.datasets.images import Shape, fit_bytes, is_grey
from plenish.datasets.importing import import_dataset
from plenish.datasets.rejections import Unreadable

pillow_heif = pytest.importorskip("pillow_heif")
pillow_jxl = pytest.importorskip("pillow_jxl")

STRIPES = np.zeros((64, 64, 3), np.uint8)
STRIPES[:, :32] = (200, 40, 30)
STRIPES[32:, 32:] = (20, 90, 220)


def saved(pixels, kind, **options):
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def test_jpeg_xl_keeps_every_pixel():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(noise, "JXL", lossless=True)
    np.testing.assert_array_equal(fit_bytes(data, Shape(64, 3, "crop")).pixels, noise)
    grey = saved(noise[..., 0], "JXL", lossless=True)
    assert is_grey(grey)
    np.testing.assert_array_equal(fit_bytes(grey, Shape(64, 1, "crop")).pixels, noise[..., :1])


def test_heic_is_near():
    pixels = fit_bytes(saved(STRIPES, "HEIF", quality=95), Shape(64, 3, "crop")).pixels
    assert np.abs(pixels.astype(int) - STRIPES).mean() < 3


@pytest.mark.parametrize(("said", "angle"), [(6, 3), (1, 3), (6, 0), (8, 1), (3, 2)])
def test_a_telephone_s_heic_is_turned_once_by_its_rotation_property(said, angle):
    """`irot` turns anticlockwise by right angles; EXIF is for information (ISO/IEC 23008-12)."""
    exif = Image.Exif()
    exif[274] = 6
    data = bytearray(saved(STRIPES, "HEIF", quality=95, exif=exif.tobytes()))
    at, tag = data.index(b"irot") + 4, data.index(exif.tobytes()[6:])
    assert data[at] == 3, "both say that it lies on its side"
    data[at] = angle
    exif[274] = said
    data[tag : tag + len(exif.tobytes()) - 6] = exif.tobytes()[6:]
    pixels = fit_bytes(bytes(data), Shape(64, 3, "crop")).pixels
    assert np.abs(pixels.astype(int) - np.rot90(STRIPES, angle)).mean() < 3


@pytest.mark.parametrize("kind", ["HEIF", "JXL"])
def test_truncated_and_large_files_have_a_reason(kind):
    data = saved(STRIPES, kind)
    for content, shape in (
        (data[: len(data) // 2], Shape(8, 3, "crop")),
        (data, Shape(8, 3, "crop", max_pixels=99)),
    ):
        with pytest.raises(Unreadable):
            fit_bytes(content, shape)


def test_an_import_reads_them(tmp_path):
    for name, kind in (("a/1.heic", "HEIF"), ("b/2.JXL", "JXL"), ("b/3.png", "PNG")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(saved(STRIPES, kind))
    made = import_dataset(tmp_path / "in", tmp_path / "out", 64)
    assert (len(made.dataset), made.rejected, list(made.warnings)) == (3, 0, [])


def test_without_the_package_the_import_says_what_to_install(tmp_path, monkeypatch, capfd):
    for name, kind in (("a/1.heic", "HEIF"), ("b/2.jxl", "JXL")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(saved(STRIPES, kind))
    monkeypatch.setattr(formats, "_is_installed", lambda module: False)
    words = ["import", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "64"]
    assert run(words) == 2
    assert "1 HEIC file needs a package: pip install 'plenish[formats]'" in capfd.readouterr().err
    (tmp_path / "in/a/3.png").write_bytes(saved(STRIPES, "PNG"))
    (tmp_path / "in/a/4.png").write_bytes(saved(STRIPES, "JXL"))  # Of another kind than it says.
    assert run(words) == 0
    said = capfd.readouterr().err
    assert "Not used: 1 .heic, 1 .jxl." in said
    assert "1 JPEG XL file needs a package: pip install 'plenish[formats]'" in said
    assert "it is JPEG XL; to read it: pip install 'plenish[formats]'" in said
