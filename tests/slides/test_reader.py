from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from plenish.commands.slides import make_slides
from plenish.errors import InputError
from plenish.slides.reader import UnreadableRegion, open_slide


def test_a_region_is_the_pixels_that_were_written(make_slide, noise) -> None:
    with open_slide(make_slide(pixels=noise)) as slide:
        assert (slide.width, slide.height, slide.name) == (420, 300, "slide")
        for x, y, w, h in ((0, 0, 64, 64), (64, 128, 64, 64), (13, 7, 200, 150), (400, 290, 20, 10)):
            np.testing.assert_array_equal(slide.read(0, x, y, w, h), noise[y : y + h, x : x + w])


def test_outside_the_slide_is_white(make_slide, noise) -> None:
    with open_slide(make_slide(pixels=noise)) as slide:
        region = slide.read(0, -10, 280, 40, 50)
        np.testing.assert_array_equal(region[:20, 10:], noise[280:, :30])
        assert (region[20:] == 255).all()
        assert (region[:, :10] == 255).all()
        assert (slide.read(0, 5000, 5000, 8, 8) == 255).all()


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "jpeg", "zstd"])
def test_every_level_is_what_openslide_shows(make_slide, compression) -> None:
    path = make_slide(compression=compression)
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        assert [slide.tile_size(i) for i in range(3)] == [(64, 64)] * 3
        for i, level in enumerate(slide.levels):
            expected = np.asarray(reference.read_region((0, 0), i, (level.width, level.height)))[..., :3]
            np.testing.assert_array_equal(slide.read(i, 0, 0, level.width, level.height), expected)


def test_levels_downsample_by_the_whole_number_their_sizes_were_cut_by(make_slide) -> None:
    pixels = np.full((303, 421, 3), 200, np.uint8)
    with open_slide(make_slide(pixels=pixels)) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 2.0, 4.0]
        assert (slide.levels[2].width, slide.levels[2].height) == (105, 75)


def test_strips_and_grey_are_read_too(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", grey, rowsperstrip=16, photometric="minisblack")
    with open_slide(tmp_path / "grey.tif") as slide:
        assert slide.vendor == "tiff"
        np.testing.assert_array_equal(slide.read(0, 10, 20, 50, 40), grey[20:60, 10:60, None].repeat(3, 2))


def test_levels_that_are_not_marked_as_such_are_found(make_slide, noise) -> None:
    path = make_slide(pixels=noise, marked=False)
    assert len(openslide.OpenSlide(path).level_dimensions) == 1
    with open_slide(path) as slide:
        assert [level.downsample for level in slide.levels] == [1.0, 2.0, 4.0]
        np.testing.assert_array_equal(slide.read(0, 13, 7, 90, 90), noise[7:97, 13:103])


def test_a_thumbnail_is_the_mean_of_what_it_covers(make_slide) -> None:
    pixels = np.zeros((320, 480, 3), np.uint8)
    pixels[:, :160] = (200, 100, 50)
    pixels[160:, 160:] = (10, 20, 250)
    with open_slide(make_slide(pixels=pixels, factors=(1, 4))) as slide:
        small, downsample = slide.thumbnail(30)
    assert small.shape == (20, 30, 3)
    assert downsample == 16
    np.testing.assert_array_equal(small, pixels[8::16, 8::16])


def test_a_thumbnail_of_another_scale_keeps_places(make_slide) -> None:
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[:, 150:] = 200
    with open_slide(make_slide(pixels=pixels, factors=(1,))) as slide:
        small, downsample = slide.thumbnail(70)
    edge = (200 - small[10, :, 0].astype(float)).sum() / 200 * downsample
    assert edge == pytest.approx(150, abs=0.1)


def _break_tile(path: Path, number: int, page: int = 0, junk: bytes = b"\x00" * 40) -> None:
    with tifffile.TiffFile(path) as file:
        offset = file.pages[page].dataoffsets[number]
        count = file.pages[page].databytecounts[number]
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write((junk * count)[:count])


def test_a_broken_tile_is_named_and_the_rest_still_read(make_slide) -> None:
    path = make_slide(compression="jpeg")
    _break_tile(path, 9)
    with open_slide(path) as slide:
        with pytest.raises(UnreadableRegion, match="cannot be decoded"):
            slide.read(0, 64, 64, 64, 64)
        with pytest.raises(UnreadableRegion):
            slide.read(0, 30, 30, 90, 90)
        assert slide.read(0, 128, 64, 64, 64).std() > 1


def test_a_directory_of_zeros_is_no_level(make_slide) -> None:
    path = make_slide(compression="jpeg", factors=(1, 2), marked=False)
    with open_slide(path) as slide:
        assert len(slide.levels) == 2
    with tifffile.TiffFile(path) as file:
        entries = file.pages[1].offset + 2
        width = next(tag for tag in file.pages[1].tags.values() if tag.name == "ImageWidth").valueoffset
    assert width > entries
    with path.open("r+b") as raw:
        raw.seek(width)
        raw.write(bytes(4))
    with open_slide(path) as slide:
        assert len(slide.levels) == 1
        assert slide.read(0, 0, 0, 64, 64).shape == (64, 64, 3)


def test_a_thumbnail_is_white_only_where_it_cannot_be_read(make_slide) -> None:
    path = make_slide(pixels=np.full((384, 512, 3), 90, np.uint8), compression="jpeg", factors=(1,))
    _break_tile(path, 9)  # Row 1, column 1 of tiles of 64.
    with open_slide(path) as slide:
        small, _ = slide.thumbnail(128)
    expected = np.full((96, 128), 90)
    expected[16:32, 16:32] = 255
    np.testing.assert_array_equal(small[..., 0], expected)


def test_where_a_thumbnails_level_is_broken_another_stands_in(make_slide) -> None:
    smooth = np.linspace(40, 220, 512)[None, :, None] * np.linspace(0.5, 1, 384)[:, None, None]
    pixels = np.repeat(np.rint(smooth).astype(np.uint8), 3, axis=2)
    whole, broken = (make_slide(name, pixels=pixels, compression="jpeg") for name in ("a.tif", "b.tif"))
    with open_slide(whole) as slide:
        expected = {side: slide.thumbnail(side)[0].astype(int) for side in (512, 256, 128)}
    for page, number in ((2, 0), (1, 5), (0, 0)):  # Whatever is broken, another level has it.
        _break_tile(broken, number, page)
        with open_slide(broken) as slide:
            for side, there in expected.items():
                assert np.abs(slide.thumbnail(side)[0] - there).max() <= 6
                assert slide.unreadable == []
    for page in (0, 1, 2):
        _break_tile(broken, 0, page)
    with open_slide(broken) as slide:
        small = slide.thumbnail(128)[0]
        assert slide.unreadable == [(0, 0, 64, 64)]
    assert (small[:16, :16] == 255).all()
    np.testing.assert_allclose(small[:, 16:], expected[128][:, 16:], atol=6)


def test_openslide_is_opened_again_after_a_broken_region(make_slide, monkeypatch) -> None:
    path = make_slide(compression="jpeg")
    _break_tile(path, 9)
    monkeypatch.setattr("plenish.slides.reader._NATIVE_VENDORS", ())
    with open_slide(path) as slide:
        assert slide.tile_size(0) is None
        with pytest.raises(UnreadableRegion):
            slide.read(0, 64, 64, 64, 64)
        assert slide.read(0, 128, 64, 64, 64).std() > 1


@pytest.mark.parametrize("offset", [2**63 + 8, 2**62])
def test_a_tile_that_lies_nowhere_is_unreadable(make_slide, monkeypatch, offset: int) -> None:
    path = make_slide()
    with open_slide(path) as slide:
        page = slide._native[0]._page
        monkeypatch.setattr(page, "dataoffsets", (offset, *page.dataoffsets[1:]))
        with pytest.raises(UnreadableRegion):
            slide.read(0, 0, 0, 64, 64)
        assert slide.read(0, 64, 64, 64, 64).std() > 1


def test_a_slide_that_is_gone_in_the_middle_is_unreadable(make_slide, monkeypatch) -> None:
    path = make_slide(compression="jpeg")
    _break_tile(path, 9)
    monkeypatch.setattr("plenish.slides.reader._NATIVE_VENDORS", ())
    with open_slide(path) as slide:
        with pytest.raises(UnreadableRegion):
            slide.read(0, 64, 64, 64, 64)
        path.unlink()
        with pytest.raises(UnreadableRegion, match="opened again"):
            slide.read(0, 128, 64, 64, 64)


def test_a_plain_tiff_that_ends_too_early_is_unreadable_there(tmp_path: Path, noise) -> None:
    path = tmp_path / "strips.tif"
    tifffile.imwrite(path, noise, rowsperstrip=30, photometric="rgb")
    os.truncate(path, path.stat().st_size - 420 * 3 * 20)
    with open_slide(path) as slide:
        with pytest.raises(UnreadableRegion, match="ends before"):
            slide.read(0, 0, 200, 64, 100)
        np.testing.assert_array_equal(slide.read(0, 5, 200, 64, 70), noise[200:270, 5:69])


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"II*\x00", b"II*\x00\xff\xff\xff\x7f", struct.pack("<2sHI", b"II", 42, 8)]
)
def test_what_is_no_slide_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.svs"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a slide"):
        open_slide(path)


def test_slides_that_were_cut_off_are_said_to_be(make_slide, tmp_path: Path) -> None:
    jpeg2000 = make_slides(tmp_path / "made", slides=1, width=512, height=512, compression="jpeg2000").out
    content = (jpeg2000 / "phantom-0000.tif").read_bytes()
    early = tmp_path / "early.tif"
    early.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cannot open it; if it was cut off, restore it from a copy"):
        open_slide(early)
    content = make_slide().read_bytes()  # Scanners write the directories last: none is left.
    early.write_bytes(content[:4] + struct.pack("<I", len(content)) + content[8:-1])
    with pytest.raises(InputError, match="no image within it; if it was cut off, restore it from a copy"):
        open_slide(early)


def test_pictures_folders_and_nothing_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a slide"):
        open_slide(tmp_path / "a.png")
    with pytest.raises(InputError, match="a folder"):
        open_slide(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_slide(tmp_path / "none.svs")
    tifffile.imwrite(tmp_path / "deep.tif", np.zeros((64, 64), np.uint16))
    with pytest.raises(InputError, match="8-bit"):
        open_slide(tmp_path / "deep.tif")


def test_a_missing_library_is_named_with_the_command(make_slide, monkeypatch) -> None:
    path = make_slide()
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    with pytest.raises(InputError, match=r"pip install 'plenish\[slides\]'"):
        open_slide(path)
