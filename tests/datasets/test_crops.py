"""Crops are found in drawings and in pictures; pages and drawings that only look alike are not joined."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from plenish.datasets import crops
from plenish.datasets.crops import WINDOWS, crop_clusters, is_crop
from plenish.datasets.dataset import Dataset
from plenish.datasets.perceptual_hash import COARSE, coarse_hashes, hashes
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter

Pixels = NDArray[np.uint8]
SIDE, SIZE = 160, 64


def drawing(rng: np.random.Generator) -> Image.Image:
    """Thin strokes on white."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(picture)
    for _ in range(8):
        points = [tuple(p) for p in rng.normal(SIDE / 2, SIDE / 6, (5, 2))]
        draw.line(points, fill=0, width=int(rng.integers(1, 4)))
    return picture


def page(rng: np.random.Generator) -> Image.Image:
    """Panels of the same layout, with different blobs."""
    picture = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(picture)
    for x in (4, 84):
        for y in (4, 84):
            draw.rectangle([x, y, x + 72, y + 72], outline=0, width=2, fill=int(rng.choice([255, 180])))
            for _ in range(3):
                a, b = rng.uniform(4, 50, 2)
                r = rng.uniform(6, 20)
                draw.ellipse([x + a, y + b, x + a + r, y + b + r], fill=int(rng.choice([0, 120])))
    return picture


def cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = round(0.9 * SIDE)
    left, top = (int(k) for k in rng.integers(0, SIDE - side + 1, 2))
    file = io.BytesIO()
    picture.crop((left, top, left + side, top + side)).save(file, "JPEG", quality=60)
    return Image.open(file)


def pixels(pictures: list[Image.Image]) -> Pixels:
    small = [np.asarray(p.resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for p in pictures]
    return np.stack(small)[..., None]


def dataset(path: Path, images: Pixels) -> Dataset:
    writer = DatasetWriter(
        path, name="x", size=images.shape[1], channels=images.shape[3], labels=LabelSchema(), config={}
    )
    with writer:
        writer.add(images, [{"label": None}] * len(images))
    return writer.dataset


@pytest.mark.parametrize("draw", [drawing, page])
def test_crops_are_joined_with_their_originals_and_nothing_else_is(draw, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    originals = [draw(rng) for _ in range(60)]
    copies = [cropped(picture, rng) for picture in originals[:20]]
    images = pixels([*originals, *copies])
    images[60:65] = images[60:65, :, ::-1]  # Some of them mirrored,
    images[65:70] = np.rot90(images[65:70], axes=(1, 2))  # others turned.
    data = dataset(tmp_path / "data", images)
    found = crop_clusters(data, np.arange(80))
    assert (found[60:] == found[:20]).sum() >= 19
    assert len(set(found[:60])) == 60
    # Rows that are left out join nothing.
    assert len(set(crop_clusters(data, np.arange(60, 80)))) == 20


def test_a_window_is_hashed_as_the_image_that_it_would_be() -> None:
    rng = np.random.default_rng(1)
    images = np.stack([np.asarray(drawing(rng)) for _ in range(4)])[..., None]
    whole = coarse_hashes(images, WINDOWS[0])
    assert ((whole * hashes(images)[:, :COARSE]).sum(axis=1) > 0.98).all()
    side = round(0.9 * SIDE)
    window = coarse_hashes(images, (0.05, 0.1, 0.9))
    cut = images[:, 8 : 8 + side, 16 : 16 + side]
    assert ((window * coarse_hashes(cut, WINDOWS[0])).sum(axis=1) > 0.999).all()
    assert np.linalg.norm(window, axis=1) == pytest.approx(1)
    assert not coarse_hashes(np.full((1, 64, 64, 1), 200, np.uint8), WINDOWS[0]).any()


def test_alignment_starts_near_and_ends_at_the_window() -> None:
    rng = np.random.default_rng(2)
    pictures = [page(rng) for _ in range(6)]
    whole = pixels(pictures)
    side = round(0.93 * SIDE)
    crops = pixels([p.crop((9, 3, 9 + side, 3 + side)) for p in pictures])
    near = np.tile((0.0, 0.05, 0.95), (6, 1))
    assert is_crop(whole, crops, near).all()
    assert not is_crop(whole, np.roll(crops, 1, axis=0), near).any()


def test_neighbours_do_not_depend_on_how_many_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.normal(0, 0.02, (300, 35)) + np.eye(35)[0]  # All of them in one cell, and near each other.
    hashes = (hashes / np.linalg.norm(hashes, axis=1, keepdims=True)).astype(np.float32)
    whole = crops._Cells(hashes).near(hashes)
    assert len(whole[0]) == 300 * (2 * crops._NEAREST + 1)
    monkeypatch.setattr(crops, "_PRODUCTS", 1000)
    for one, other in zip(whole, crops._Cells(hashes).near(hashes), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
