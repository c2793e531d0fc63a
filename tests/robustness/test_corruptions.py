from __future__ import annotations

import colorsys
import io

import hypothesis
import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import strategies as st
from PIL import Image

from plenish.domains import DOMAINS
from plenish.errors import InputError
from plenish.robustness.corruptions import CORRUPTIONS, SEVERITIES, corruption, suitable

EVERY = pytest.mark.parametrize("name", CORRUPTIONS)


def pictures(n: int = 4, side: int = 24, channels: int = 3) -> torch.Tensor:
    """Smooth random images in [0, 1], so that blur and pixels have something to take away."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, side // 3, side // 3, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")


@EVERY
def test_within_the_range_and_the_originals_stay(name: str) -> None:
    images = pictures()
    before = images.clone()
    for severity in SEVERITIES:
        found = CORRUPTIONS[name].apply(images, severity)
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 1
        assert torch.isfinite(found).all()
        assert not torch.equal(found, images)
    assert torch.equal(images, before)


@EVERY
def test_worse_with_each_severity(name: str) -> None:
    images = pictures(16, 32)
    changes = [float((CORRUPTIONS[name].apply(images, s) - images).square().mean()) for s in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[-1] > 1.5 * changes[0]


@EVERY
def test_an_image_is_corrupted_alike_in_any_batch(name: str) -> None:
    images, kind = pictures(6), CORRUPTIONS[name]
    numbers = np.array([7, 3, 11, 0, 5, 2])
    whole = kind.apply(images, 3, numbers=numbers, seed=4)
    apart = torch.cat(
        [kind.apply(images[i : i + 1], 3, numbers=numbers[i : i + 1], seed=4) for i in range(6)]
    )
    assert torch.allclose(whole, apart, atol=1e-6)


@pytest.mark.parametrize("name", ["gaussian-noise", "shot-noise", "motion-blur", "stain-shift"])
def test_drawn_by_seed_and_number(name: str) -> None:
    kind, images = CORRUPTIONS[name], pictures(1).repeat(2, 1, 1, 1)
    first = kind.apply(images, 3, seed=0)
    assert torch.equal(first, kind.apply(images, 3, seed=0))
    assert not torch.allclose(first, kind.apply(images, 3, seed=1), atol=1e-3)
    assert not torch.allclose(first[0], first[1], atol=1e-3)


@pytest.mark.parametrize("name", ["brightness", "contrast", "jpeg", "pixelate", "gaussian-blur"])
def test_others_draw_nothing(name: str) -> None:
    kind, images = CORRUPTIONS[name], pictures(2)
    assert torch.equal(kind.apply(images, 3, seed=0), kind.apply(images, 3, seed=1))


@pytest.mark.parametrize("name", [n for n, kind in CORRUPTIONS.items() if not kind.colour])
def test_grey_images(name: str) -> None:
    found = CORRUPTIONS[name].apply(pictures(channels=1), 5)
    assert found.shape == (4, 1, 24, 24)
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("side", [32, 64, 224])
def test_published_strengths_at_their_sides(side: int) -> None:
    published = {
        "gaussian-noise": {32: (0.04, 0.1), 64: (0.04, 0.18), 224: (0.08, 0.38)},
        "shot-noise": {32: (500, 50), 64: (250, 15), 224: (60, 3)},
        "jpeg": {32: (80, 40), 64: (65, 25), 224: (25, 7)},
        "gaussian-blur": {32: (0.4, 1), 64: (0.5, 1.5), 224: (1, 6)},
    }
    for name, values in published.items():
        found = [CORRUPTIONS[name].strength(severity, side) for severity in (1, 5)]
        assert found == pytest.approx(values[side])


@hypothesis.given(name=st.sampled_from(list(CORRUPTIONS)), side=st.integers(4, 1000))
def test_strengths_between_and_beyond(name: str, side: int) -> None:
    """No weaker at a higher severity; lengths grow with the side above 224, the rest stays."""
    kind = CORRUPTIONS[name]
    found = [kind.strength(severity, side) for severity in SEVERITIES]
    assert found in (sorted(found), sorted(found, reverse=True))
    if side >= 224:
        grown = side / 224 if kind.is_length else 1
        assert found == pytest.approx([grown * kind.strength(s, 224) for s in SEVERITIES])


def test_noise_has_its_standard_deviation() -> None:
    grey = torch.full((4, 3, 64, 64), 0.5)
    kind = CORRUPTIONS["gaussian-noise"]
    assert float((kind.apply(grey, 2) - grey).std()) == pytest.approx(kind.strength(2, 64), rel=0.02)


def test_photons_have_a_variance_that_grows_with_light() -> None:
    """Of a Poisson count over its scale: mean x, variance x / photons."""
    kind = CORRUPTIONS["shot-noise"]
    for light in (0.2, 0.5):
        found = kind.apply(torch.full((4, 3, 64, 64), light), 2)
        assert float(found.mean()) == pytest.approx(light, rel=0.01)
        assert float(found.var()) == pytest.approx(light / kind.strength(2, 64), rel=0.05)


def test_blur_is_that_of_scipy() -> None:
    kind, images = CORRUPTIONS["gaussian-blur"], pictures()
    sd = kind.strength(4, 24)
    wanted = scipy.ndimage.gaussian_filter(images.numpy(), (0, 0, sd, sd), mode="nearest", truncate=4)
    assert np.abs(kind.apply(images, 4).numpy() - wanted).max() < 1e-6


def test_motion_smears_a_point_along_a_line() -> None:
    """Light is kept; across its line the smear is at most about a pixel wide, along it much longer."""
    images = torch.zeros(8, 1, 63, 63)
    images[:, :, 31, 31] = 1
    found = CORRUPTIONS["motion-blur"].apply(images, 5).double()
    assert torch.allclose(found.sum(dim=(1, 2, 3)), torch.ones(8).double(), atol=1e-3)
    y, x = torch.meshgrid(torch.arange(63.0), torch.arange(63.0), indexing="ij")
    for one in found[:, 0]:
        points = torch.stack([x.flatten(), y.flatten()]).double()
        spread = torch.cov(points, aweights=one.flatten(), correction=0)
        least, most = torch.linalg.eigvalsh(spread).clamp_min(0).sqrt().tolist()
        assert least < 0.8
        assert most > 1.3


def test_jpeg_is_the_file_of_pillow() -> None:
    kind, image = CORRUPTIONS["jpeg"], pictures(1, 64)
    file = io.BytesIO()
    Image.fromarray((image[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=50)
    wanted = np.asarray(Image.open(file)).astype(np.float32) / 255
    assert np.abs(kind.apply(image, 3)[0].permute(1, 2, 0).numpy() - wanted).max() < 1e-6


def test_brightness_is_that_of_hsv() -> None:
    images = pictures(1, 12)
    images[0, :, 0, 0] = 0  # Black becomes grey.
    found = CORRUPTIONS["brightness"].apply(images, 2)
    added = CORRUPTIONS["brightness"].strength(2, 12)
    for y, x in np.ndindex(12, 12):
        h, s, v = colorsys.rgb_to_hsv(*images[0, :, y, x].tolist())
        assert found[0, :, y, x].tolist() == pytest.approx(
            colorsys.hsv_to_rgb(h, s, min(1, v + added)), abs=1e-6
        )


def test_contrast_keeps_means_and_a_share_of_distances() -> None:
    images, kind = pictures(), CORRUPTIONS["contrast"]
    found = kind.apply(images, 1)
    assert torch.allclose(found.mean(dim=(2, 3)), images.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(found.std(dim=(2, 3)), kind.strength(1, 24) * images.std(dim=(2, 3)), atol=1e-5)


def test_pixelate_leaves_few_values() -> None:
    ramp = torch.arange(64.0).expand(1, 1, 64, 64) / 64
    assert len(CORRUPTIONS["pixelate"].apply(ramp, 5)[0, 0, 0].unique()) == 32


def test_stain_shift_leaves_glass_and_is_for_histology_in_colour() -> None:
    kind = CORRUPTIONS["stain-shift"]
    assert torch.allclose(kind.apply(torch.ones(3, 3, 8, 8), 5), torch.ones(3, 3, 8, 8), atol=1e-6)
    for domain in DOMAINS:
        for channels in (1, 3):
            offered = {one.name for one in suitable(channels, domain)}
            assert offered >= CORRUPTIONS.keys() - {"stain-shift"}
            assert ("stain-shift" in offered) == (domain == "histology" and channels == 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: CORRUPTIONS["jpeg"].apply(pictures(), 0),
        lambda: CORRUPTIONS["jpeg"].apply(pictures(), 6),
        lambda: CORRUPTIONS["jpeg"].apply(torch.zeros(1, 4, 8, 8), 1),
        lambda: CORRUPTIONS["stain-shift"].apply(pictures(channels=1), 1),
        lambda: corruption("jpg"),
    ],
)  # fmt: skip
def test_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        call()


def test_no_images() -> None:
    for kind in CORRUPTIONS.values():
        assert kind.apply(torch.zeros(0, 3, 8, 8), 1).shape == (0, 3, 8, 8)
