"""Any picture file comes out with the colours, orientation and shape a person would see, or is refused."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from plenish.datasets.images import Shape, Window, encode_png, fit_array, fit_bytes, is_grey, read_file
from plenish.datasets.rejections import Unreadable

RED, WHITE = (200, 30, 40), (255, 255, 255)


def saved(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def pixels(image, kind="PNG", size=8, channels=3, fit="crop", **options):
    return fit_bytes(saved(image, kind, **options), Shape(size, channels, fit)).pixels


def halves(left, right, mode):
    image = Image.new(mode, (8, 8), left)
    image.paste(right, (4, 0, 8, 8))
    return image


def two_halves(array, left, right):
    np.testing.assert_array_equal(array[:, :4], np.broadcast_to(left, (8, 4, 3)))
    np.testing.assert_array_equal(array[:, 4:], np.broadcast_to(right, (8, 4, 3)))


def test_plain_pixels_of_the_wanted_size_are_untouched():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for fit in ("crop", "pad", "stretch"):
        np.testing.assert_array_equal(pixels(Image.fromarray(noise), fit=fit), noise)
    np.testing.assert_array_equal(fit_bytes(encode_png(noise), Shape(8, 3, "crop")).pixels, noise)


def test_transparency_is_laid_over_white():
    image = halves((*RED, 255), (0, 0, 0, 0), "RGBA")
    two_halves(pixels(image), RED, WHITE)
    two_halves(pixels(image, "WEBP", lossless=True), RED, WHITE)
    two_halves(pixels(halves((90, 255), (0, 0), "LA")), (90,) * 3, WHITE)
    half = pixels(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    assert abs(int(half[0, 0, 0]) - 127) <= 1  # 255·(1 − 128/255)


def test_hidden_colours_do_not_bleed_through_the_edge_when_resized():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))  # Red, but wholly transparent.
    image.paste((0, 0, 255, 255), (16, 16, 48, 48))
    array = pixels(image, size=16)
    assert (array[..., 0] == array[..., 1]).all()


def test_palettes_with_and_without_transparency():
    image = halves(RED, (10, 200, 90), "RGB").quantize(4)
    two_halves(pixels(image), RED, (10, 200, 90))
    key = image.getpixel((7, 0))
    two_halves(pixels(image, transparency=key), RED, WHITE)
    two_halves(pixels(image, "GIF", transparency=key), RED, WHITE)
    partly = bytes(0 if i == key else 255 for i in range(4))
    two_halves(pixels(image, transparency=partly), RED, WHITE)


def test_colour_keys_of_plain_modes_are_transparent():
    two_halves(pixels(halves(RED, (1, 2, 3), "RGB"), transparency=(1, 2, 3)), RED, WHITE)
    two_halves(pixels(halves(90, 17, "L"), transparency=17), (90,) * 3, WHITE)


def test_one_bit_and_cmyk():
    two_halves(pixels(halves(1, 0, "1")), WHITE, (0, 0, 0))
    two_halves(pixels(halves((0, 0, 0, 0), (0, 0, 0, 255), "CMYK"), "TIFF"), WHITE, (0, 0, 0))
    cyan = pixels(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=95)
    assert cyan[..., 0].max() < 10
    assert cyan[..., 1:].min() > 245


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_by_257(kind):
    levels = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 4 * 257).astype(np.uint16)
    fitted = fit_bytes(saved(Image.fromarray(levels), kind), Shape(8, 1, "crop"))
    np.testing.assert_array_equal(fitted.pixels[..., 0], np.arange(64).reshape(8, 8) * 4)
    assert fitted.peak == 63 * 4 * 257


def test_sixteen_bit_big_endian_and_rounding():
    values = np.array([[0, 128, 129, 65535]] * 4, np.uint16)
    head = b"MM\0*\0\0\0\x08"
    tags = [
        (256, 3, 4),
        (257, 3, 4),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 122),
        (277, 3, 1),
        (278, 3, 4),
        (279, 4, 32),
    ]
    body = struct.pack(">H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack(">HHI", tag, kind, 1) + (
            struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        )
    data = head + body + b"\0" * 4
    data = data[:122].ljust(122, b"\0") + values.astype(">u2").tobytes()
    assert Image.open(io.BytesIO(data)).mode == "I;16B"
    np.testing.assert_array_equal(fit_bytes(data, Shape(4, 1, "crop")).pixels[0, :, 0], [0, 0, 1, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_rotation_is_applied(orientation, kind):
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8], upright[:8, 8:], upright[8:, :8] = 255, 170, 85
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    got = pixels(stored, kind, size=16, exif=exif, **options)
    assert np.abs(got.astype(int) - upright).max() <= 8
    grey = Image.fromarray(np.ascontiguousarray(undo[orientation](upright[..., 0])).astype(np.uint16) * 257)
    if kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(pixels(grey, kind, size=16, exif=exif), upright)


def test_crop_is_the_side_crop_of_a_dermoscopic_image() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((600, 450), Image.Resampling.BICUBIC)
    cut = image.crop((75, 0, 525, 450)).resize((128, 128), Image.Resampling.LANCZOS)
    apart = abs(fit_bytes(saved(image), Shape(128, 3, "crop")).pixels.astype(int) - np.asarray(cut))
    assert apart.mean() < 0.1
    assert apart.max() <= 4, "at the edge a filter may reach beyond the crop"


@pytest.mark.parametrize(("shape", "fit"), [((30, 10), "crop"), ((10, 30), "crop"), ((31, 10), "crop")])
def test_crop_keeps_the_centre(shape, fit):
    width, height = shape
    ramp = np.zeros((height, width, 3), np.uint8)
    side, left, top = min(shape), (width - 10) // 2, (height - 10) // 2
    ramp[top : top + side, left : left + side] = 255
    assert pixels(Image.fromarray(ramp), size=10, fit=fit).min() == 255


def test_pad_is_white_and_centred_and_stretch_fills():
    image = Image.new("RGB", (40, 20), RED)
    padded = pixels(image, size=20, fit="pad")
    assert (padded[:5] == 255).all()
    assert (padded[15:] == 255).all()
    assert (padded[5:15] == RED).all()
    assert (pixels(image, size=20, fit="stretch") == RED).all()
    assert pixels(Image.new("L", (500, 1), 0), size=8, channels=1, fit="pad").shape == (8, 8, 1)


def test_downscaling_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    inner = pixels(Image.fromarray(stripes), size=8)[1:-1, 1:-1]
    assert np.abs(inner.astype(int) - 127).max() < 12


def test_upscaling_and_lost_colours_are_told():
    small = saved(Image.new("RGB", (5, 20), RED))
    assert fit_bytes(small, Shape(8, 3, "crop")).upscaled
    assert not fit_bytes(small, Shape(8, 3, "pad")).upscaled
    assert fit_bytes(small, Shape(8, 1, "crop")).coloured
    assert not fit_bytes(saved(Image.new("L", (9, 9))), Shape(8, 1, "crop")).coloured
    assert is_grey(saved(Image.new("L", (9, 9))))
    assert not is_grey(small)


def test_large_jpeg_is_like_the_same_picture_without_the_shortcut():
    x = np.linspace(0, 1, 512)
    smooth = np.stack(
        [np.add.outer(x, x) * 120, np.outer(x, x) * 255, np.add.outer(1 - x, x) * 120], 2
    ).astype(np.uint8)
    short = pixels(Image.fromarray(smooth), "JPEG", size=16, quality=95)
    full = pixels(Image.fromarray(smooth), "PNG", size=16)
    assert np.abs(short.astype(int) - full).max() <= 4


def animated(kind):
    frames = [Image.new("RGB", (8, 8), (i * 80, 0, 0)) for i in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def bands(count):
    """A TIFF of so many channels without colours."""
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((8, 8, count), np.uint8), photometric="minisblack", planarconfig="contig")
    return out.getvalue()


def bomb():
    """A PNG header that announces 60,000×60,000 pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


WHOLE = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)))
JPEG = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")
REFUSED = {
    "zero bytes": (b"", "empty", {}),
    "only zeros": (b"\0" * 500, "zeros", {}),
    "text": (b"hello, I am no picture", "unknown-format", {}),
    "html": (b"<html>404</html>", "unknown-format", {}),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown-format", {}),
    "half a PNG": (WHOLE[: len(WHOLE) // 2], "damaged", None),
    "eight bytes of PNG": (WHOLE[:8], "bad-header", {"format": "PNG"}),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "damaged", None),
    "altered PNG": (WHOLE[:2000] + b"\xff" * 50 + WHOLE[2050:], "damaged", None),
    "bomb": (bomb(), "too-many-pixels", {"width": 60_000, "height": 60_000, "limit": 89_478_485}),
    "four bands": (bands(4), "bands", {"count": 4}),
    "five bands": (bands(5), "bands", {"count": 5}),
    "animated GIF": (animated("GIF"), "frames", {"count": 3}),
    "animated WebP": (animated("WEBP"), "frames", {"count": 3}),
    "animated PNG": (animated("PNG"), "frames", {"count": 3}),
    "paged TIFF": (animated("TIFF"), "pages", {"count": 3}),
    "float TIFF": (saved(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "float-pixels", {}),
    "32-bit TIFF": (saved(Image.fromarray(np.full((8, 8), 70_000, np.int32)), "TIFF"), "integer-pixels", {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_with_its_kind_and_values(name):
    data, kind, detail = REFUSED[name]
    with pytest.raises(Unreadable) as caught:
        fit_bytes(data, Shape(8, 3, "crop"))
    assert caught.value.code == kind
    if detail is None:  # The decoder's own words.
        assert set(caught.value.values) == {"reason"}
        assert caught.value.values["reason"].strip()
    else:
        assert caught.value.values == detail
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_and_none_crashes():
    for cut in range(0, len(WHOLE) - 20, 997):
        with pytest.raises(Unreadable):
            fit_bytes(WHOLE[:cut], Shape(8, 3, "crop"))


def test_random_damage_is_survived():
    rng = np.random.default_rng(3)
    sources = [
        WHOLE,
        JPEG,
        animated("GIF"),
        saved(Image.new("RGB", (32, 32), RED), "TIFF", compression="tiff_lzw"),
    ]
    for data in sources:
        for _ in range(60):
            altered = bytearray(data)
            for at in rng.integers(0, len(data), 5):
                altered[at] = int(rng.integers(256))
            with contextlib.suppress(Unreadable):
                assert fit_bytes(bytes(altered), Shape(8, 3, "crop")).pixels.shape == (8, 8, 3)


def test_only_ordinary_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    kinds = {"pipe": "not-a-file", "link": "missing", "empty": "empty", "folder": "unreadable"}
    for name, kind in (kinds | {"absent": "missing"}).items():
        with pytest.raises(Unreadable) as caught:
            read_file(tmp_path / f"{name}.png")
        assert caught.value.code == kind


def test_arrays_in_memory_fit_like_files():
    rng = np.random.default_rng(4)
    for channels in (1, 3, 4):
        array = rng.integers(0, 256, (20, 30, channels), np.uint8)
        image = Image.fromarray(array[..., 0] if channels == 1 else array)
        np.testing.assert_array_equal(fit_array(array, Shape(8, 3, "crop")).pixels, pixels(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_whose_zero_is_white_are_inverted_whatever_their_depth(dtype):
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    for photometric, expected in (("minisblack", levels), ("miniswhite", 255 - levels)):
        out = io.BytesIO()
        values = levels.astype(dtype) * (257 if dtype == np.uint16 else 1)
        tifffile.imwrite(out, values, photometric=photometric)
        found = fit_bytes(out.getvalue(), Shape(8, 1, "crop")).pixels[..., 0]
        np.testing.assert_array_equal(found, expected)


def test_windows_map_their_ends_to_black_and_white():
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    data = saved(Image.fromarray(values), "PNG")
    whole, twelve, narrow, stretched = (
        fit_bytes(data, Shape(8, 1, "crop", window)).pixels[..., 0]
        for window in (Window(), Window(0, 4095), Window(1000, 2000), Window(0, 100, percentile=True))
    )
    assert whole.max() == 16
    np.testing.assert_array_equal(twelve, np.rint(values / 4095 * 255))
    np.testing.assert_array_equal(twelve, stretched)
    assert (narrow[values <= 1000] == 0).all()
    assert (narrow[values >= 2000] == 255).all()
    flat = Window(0, 100, percentile=True).apply(np.full((4, 4), 7, np.uint16))
    assert set(flat.ravel()) == {0}


def test_grey_stored_as_colour_is_grey():
    levels = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    grey = Image.fromarray(np.stack([levels] * 3, 2))
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        assert is_grey(saved(grey, kind)), kind
    tinted = np.stack([levels] * 3, 2)
    tinted[3, 4, 0] ^= 8
    assert not is_grey(saved(Image.fromarray(tinted)))


def test_the_largest_image_is_a_choice():
    data = saved(Image.new("1", (300, 200), 1))
    with pytest.raises(Unreadable, match="--max-pixels"):
        fit_bytes(data, Shape(8, 1, "crop", max_pixels=50_000))
    assert fit_bytes(data, Shape(8, 1, "crop", max_pixels=60_000)).pixels.min() == 255
