"""What the discriminator sees: exact where nothing is drawn, as often as p says, differentiable twice."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.errors import InputError
from plenish.policies import POLICIES, Policy, policy_of_names
from plenish.training.augment import (
    _grid,
    _Resample,
    colour,
    geometry,
    orient,
    resample,
    vary,
)
from plenish.training.gan.augment import DIFFAUGMENTS, Augment, augment, next_p

NOTHING = Policy(*[0.0] * len(Policy._fields))


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images(n: int = 4, channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(n, channels, size, size, generator=_rng(9)) * 2 - 1


def _p(value: float) -> Tensor:
    return torch.tensor(value)


def _views(image: Tensor) -> list[Tensor]:
    turned = [image.rot90(k, (1, 2)) for k in range(4)]
    return [*turned, *(view.flip(2) for view in turned)]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"symmetry": "miror"}, "miror.*'mirror'"),
        ({"policy": "histolgy"}, "histolgy.*'histology'"),
        ({"diffaugment": "color,cut-out"}, "cut-out.*'cutout'"),
        ({"ada_target": 1.0}, "ada_target"),
        ({"ada_target": math.nan}, "ada_target"),
        ({"ada_p": 0.9}, "ada_p_max 0.8"),
        ({"ada_p_max": 1.1}, "ada_p_max"),
        ({"ada_kimg": 0.0}, "ada_kimg"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Augment(**wrong)


def test_nothing_asked_for_returns_the_very_tensor() -> None:
    x = _images()
    assert augment(x, Augment(), _p(0.0), _rng()) is x
    assert augment(x, Augment(symmetry="dihedral", policy="comic"), _p(0.5), _rng()) is x


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_probability_zero_changes_no_bit(policy: str, channels: int) -> None:
    x = _images(channels=channels)
    assert torch.equal(augment(x, Augment(ada_target=0.6, policy=policy), _p(0.0), _rng()), x)


@pytest.mark.parametrize("symmetry", ["mirror", "dihedral"])
def test_orientations_are_views_of_the_image_each_equally_often(symmetry: str) -> None:
    image = _images(1, size=5)[0]
    out = orient(image.expand(800, -1, -1, -1), symmetry, _rng())
    views = _views(image)
    counts = torch.tensor([[int(torch.equal(one, view)) for view in views] for one in out]).sum(0)
    assert counts.sum() == 800
    expected = {"mirror": [400, 0, 0, 0, 400, 0, 0, 0], "dihedral": [100] * 8}[symmetry]
    for count, wanted in zip(counts.tolist(), expected, strict=True):
        assert abs(count - wanted) < 4 * math.sqrt(wanted + 1e-9) + 1e-9
    assert orient(out, "none", _rng()) is out


@pytest.mark.parametrize(
    ("part", "views"), [({"flip_x": 1}, [0, 4]), ({"flip_y": 1}, [0, 6]), ({"rot90": 1}, [0, 1, 2, 3])]
)
def test_blitting_reaches_exactly_the_views_it_should(part: dict, views: list[int], monkeypatch) -> None:
    monkeypatch.setitem(POLICIES, "grey", NOTHING._replace(**part))
    image = _images(1, size=6)[0]
    out = augment(image.expand(200, -1, -1, -1), Augment(ada_p=0.8, policy="grey"), _p(0.8), _rng())
    all_views = _views(image)
    near = [[i for i, view in enumerate(all_views) if torch.allclose(one, view, atol=1e-5)] for one in out]
    assert all(len(found) == 1 for found in near)
    assert sorted({found[0] for found in near}) == views
    # Where the draw says "change", the identity is still one of the equally likely outcomes.
    still = sum(found[0] == 0 for found in near) / 200
    assert still == pytest.approx(0.2 + 0.8 / len(views), abs=0.1)


def test_whole_pixel_shifts_copy_pixels_and_reflect_at_the_border() -> None:
    x = torch.arange(64.0).view(1, 1, 8, 8)
    affine = torch.tensor([[[1.0, 0, -2 * 2 / 8], [0, 1, 2 / 8]]])
    out = _Resample.apply(x, _grid(affine, 8), "bilinear", "reflection")
    expected = F.pad(x, (2, 2, 2, 2), mode="replicate").roll((2, -1), (3, 2))[:, :, 2:-2, 2:-2]
    assert torch.allclose(out[:, :, :-1, 2:], x[:, :, 1:, :-2], atol=1e-4)
    assert torch.allclose(out[:, :, :-1, 2:], expected[:, :, :-1, 2:], atol=1e-4)
    # Reflection about the border's edge: column 1 comes in first.
    assert torch.allclose(out[:, :, :-1, :2], x[:, :, 1:, [1, 0]], atol=1e-4)


def test_grid_is_that_of_affine_grid() -> None:
    affine = torch.randn(3, 2, 3, generator=_rng())
    assert torch.allclose(
        _grid(affine, 7), F.affine_grid(affine, [3, 1, 7, 7], align_corners=False), atol=1e-6
    )


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_each_geometric_change_happens_with_probability_p(p: float) -> None:
    n = 20000
    for field, share in (("translation", 2), ("scale", 1), ("anisotropy", 1)):
        _, moved = geometry(n, 64, NOTHING._replace(**{field: 1}), _p(p), _rng())
        # Whole and fractional shifts are drawn apart.
        assert moved.float().mean() == pytest.approx(1 - (1 - p) ** share, abs=0.015)
    # The two rotations together happen with probability p.
    _, moved = geometry(n, 64, NOTHING._replace(rotation=1), _p(p), _rng())
    assert moved.float().mean() == pytest.approx(p, abs=0.015)


def test_geometric_changes_have_their_published_spread() -> None:
    n, one = 20000, _p(1.0)
    octave = math.log(2)
    affine, _ = geometry(n, 64, NOTHING._replace(scale=1), one, _rng())
    assert torch.equal(affine[:, 0, 0], affine[:, 1, 1])
    assert affine[:, 0, 0].log().std() == pytest.approx(0.2 * octave, rel=0.03)
    affine, _ = geometry(n, 64, NOTHING._replace(anisotropy=1), one, _rng())
    assert torch.allclose(affine[:, 0, 0] * affine[:, 1, 1], torch.ones(n), atol=1e-5)
    assert affine[:, 0, 0].log().std() == pytest.approx(0.2 * octave, rel=0.03)
    affine, _ = geometry(n, 64, NOTHING._replace(rotation=1), one, _rng())
    assert torch.allclose(affine[:, :, :2].det(), torch.ones(n), atol=1e-5)
    affine, _ = geometry(n, 64, NOTHING._replace(translation=1), one, _rng())
    # Of the side: uniform in ±1/8 and normal with sd 1/8, independent.
    assert (affine[:, :, 2] / 2).std() == pytest.approx(math.sqrt(1 / 8**2 / 3 + 1 / 8**2), rel=0.05)


def test_each_colour_change_happens_with_probability_p() -> None:
    n, p = 20000, 0.4
    for field, happens in (
        ("brightness", p),
        ("contrast", p),
        ("luma_flip", p / 2),
        ("hue", p),
        ("saturation", p),
    ):
        matrix, offset = colour(n, NOTHING._replace(**{field: 1}), _p(p), _rng())
        changed = (matrix - torch.eye(3)).abs().amax((1, 2)) + offset.abs().amax(1) > 0
        assert changed.float().mean() == pytest.approx(happens, abs=0.015), field


def test_colour_changes_are_what_they_are_called() -> None:
    n, one = 500, _p(1.0)
    grey = torch.ones(3)
    brightness = colour(n, NOTHING._replace(brightness=1), one, _rng())
    assert torch.equal(brightness[0], torch.eye(3).expand(n, 3, 3))
    assert torch.equal(brightness[1][:, 0], brightness[1][:, 2])
    assert brightness[1].std() == pytest.approx(0.2, rel=0.1)
    hue, _ = colour(n, NOTHING._replace(hue=1), one, _rng())
    assert torch.allclose(hue @ hue.mT, torch.eye(3).expand(n, 3, 3), atol=1e-5)
    assert torch.allclose(hue.det(), torch.ones(n), atol=1e-5)
    assert torch.allclose(hue @ grey, grey.expand(n, 3), atol=1e-5)
    saturation, _ = colour(n, NOTHING._replace(saturation=1), one, _rng())
    assert torch.allclose(saturation @ grey, grey.expand(n, 3), atol=1e-5)
    contrast, _ = colour(n, NOTHING._replace(contrast=1), one, _rng())
    assert torch.allclose(contrast, contrast[:, :1, :1] * torch.eye(3), atol=1e-6)
    flip, _ = colour(n, NOTHING._replace(luma_flip=1), one, _rng())
    sign = flip @ grey
    assert torch.allclose(sign.abs(), torch.ones(n, 3), atol=1e-5)
    assert (sign[:, 0] < 0).float().mean() == pytest.approx(0.5, abs=0.1)


def test_grey_images_change_as_grey_colours_do() -> None:
    settings = Augment(ada_p=0.8)
    x = _images(32, channels=1)
    alone = augment(x, settings, _p(0.8), _rng())
    as_rgb = augment(x.expand(-1, 3, -1, -1), settings, _p(0.8), _rng())
    assert alone.shape == x.shape
    assert torch.allclose(as_rgb, alone.expand_as(as_rgb), atol=1e-5)


def test_the_numbers_beside_changed_images_say_how_they_were_changed() -> None:
    x = _images(64)
    out, changes = vary(x, POLICIES["natural"], _p(0.1), _rng(3))
    plain = torch.eye(2, 3).flatten(), torch.eye(3).flatten(), torch.zeros(3)
    affine, matrix, offset = (changes + torch.cat(plain)).split([6, 9, 3], 1)
    moved = resample(x, affine.view(-1, 2, 3), "bilinear", "reflection")
    again = torch.einsum("nij,njhw->nihw", matrix.view(-1, 3, 3), moved) + offset[:, :, None, None]
    assert torch.allclose(out, again, atol=1e-4)
    kept, same = (changes == 0).all(1), (out == x).flatten(1).all(1)
    assert torch.equal(kept, same)
    assert 0 < int(kept.sum()) < 32


@pytest.mark.parametrize("policy", ["histology", "dermoscopy", "radiology", "faces"])
def test_policies_without_hue_keep_the_order_of_the_channels(policy: str) -> None:
    # Eosin and haematoxylin: red above blue above green, everywhere.
    x = torch.tensor([0.8, -0.4, 0.3]).view(1, 3, 1, 1).expand(500, 3, 8, 8)
    for settings in (Augment(ada_p=0.8, policy=policy), Augment(diffaugment="color", policy=policy)):
        red, green, blue = augment(x, settings, _p(0.8), _rng()).unbind(1)
        assert (red >= blue).all()
        assert (blue >= green).all()
    red, green, blue = augment(x, Augment(ada_p=0.8, policy="ada"), _p(0.8), _rng()).unbind(1)
    assert not ((red >= blue) & (blue >= green)).all()


@pytest.mark.parametrize(("policy", "upside_down"), [("comic", False), ("faces", False), ("histology", True)])
def test_upright_images_stay_upright(policy: str, upside_down: bool) -> None:
    affine, _ = geometry(3000, 64, POLICIES[policy], _p(0.8), _rng())
    assert bool((affine[:, 1, 1] < 0).any()) == upside_down


@pytest.mark.parametrize(
    ("policy", "degrees"),
    [("radiology", 5), ("industrial", 5), ("text", 5), ("natural", 10), ("fundus", 10), ("faces", 10),
     ("natural,radiology", 5)],
)  # fmt: skip
def test_small_rotations_reach_the_limit_of_the_domain_and_no_farther(policy: str, degrees: float) -> None:
    affine, _ = geometry(4000, 64, policy_of_names(policy), _p(1.0), _rng())
    upright = affine[:, :, :2] * torch.stack([affine[:, :, :2].det().sign(), torch.ones(4000)], 1)[:, :, None]
    (a, b), (c, d) = upright.permute(1, 2, 0)
    # Of a rotation times a stretch (a symmetric positive matrix), the rotation's angle.
    angle = torch.rad2deg(torch.atan2(c - b, a + d)).abs()
    assert 0.9 * degrees < angle.max() < degrees + 1e-3


def test_several_policies_are_the_least_of_each() -> None:
    both, text, natural = policy_of_names("text,natural"), POLICIES["text"], POLICIES["natural"]
    assert both == policy_of_names("natural, text") == text
    assert natural != text
    mixed = policy_of_names("histology,natural")
    assert (mixed.flip_x, mixed.flip_y, mixed.rot90, mixed.rotation, mixed.hue) == (1, 0, 0, 0, 0)
    assert (mixed.saturation, mixed.brightness, mixed.scale, mixed.anisotropy) == (0.25, 0.25, 1, 0)
    with pytest.raises(InputError, match=r"histolgy.*'histology'"):
        policy_of_names("natural,histolgy")
    with pytest.raises(InputError, match="augmentation policy"):
        policy_of_names("")


def test_light_and_dark_change_places_only_where_allowed() -> None:
    for policy in POLICIES:
        matrix, _ = colour(2000, POLICIES[policy], _p(0.8), _rng())
        flipped = bool((matrix.sum(2)[:, 0] < 0).any())
        assert flipped == (policy == "ada"), policy


@pytest.mark.parametrize("name", DIFFAUGMENTS)
def test_draws_follow_the_generator_and_differ_between_images(name: str) -> None:
    settings = Augment(diffaugment=name, ada_p=0.5)
    x = _images(1).expand(6, -1, -1, -1)
    first, again, other = (augment(x, settings, _p(0.5), _rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_diffaugment_translation_copies_pixels_within_an_eighth() -> None:
    x = torch.arange(1.0, 257).view(1, 1, 16, 16)
    out = augment(x.expand(300, -1, -1, -1), Augment(diffaugment="translation"), _p(0.0), _rng())
    seen = set()
    for image in out[:, 0]:
        # Pixel (8, 8) has the value 137; it tells the shift.
        row, column = (image == 137).nonzero()[0].tolist()
        dy, dx = row - 8, column - 8
        expected = F.pad(x, (2, 2, 2, 2)).roll((dy, dx), (2, 3))[0, 0, 2:-2, 2:-2]
        assert torch.equal(image, expected)
        seen.add((dy, dx))
    assert {dy for dy, _ in seen} == {dx for _, dx in seen} == {-2, -1, 0, 1, 2}


def test_diffaugment_cutout_clears_a_square_of_half_the_side() -> None:
    out = augment(torch.ones(300, 3, 16, 16), Augment(diffaugment="cutout"), _p(0.0), _rng())
    assert torch.equal(out[:, 0], out[:, 2])
    cleared = (out[:, 0] == 0).sum((1, 2))
    assert cleared.max() == 64
    assert cleared.min() >= 16
    assert set(out.unique().tolist()) == {0.0, 1.0}


def test_diffaugment_colour_stays_in_its_ranges() -> None:
    x = _images(2000, size=4)
    out = augment(x, Augment(diffaugment="color"), _p(0.0), _rng())
    shift = out.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert shift.abs().max() <= 0.5 + 1e-5
    assert shift.std() == pytest.approx(1 / math.sqrt(12), rel=0.05)
    mild = augment(x, Augment(diffaugment="color", policy="histology"), _p(0.0), _rng())
    assert (mild.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs().max() <= 0.125 + 1e-5


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_right_twice(channels: int) -> None:
    settings = Augment(diffaugment="color,translation,cutout", ada_p=0.8)
    x = _images(2, channels, 6).double().requires_grad_()

    def f(image: Tensor) -> Tensor:
        # Squared, so that the second derivative is not zero.
        return augment(image, settings, _p(0.8), _rng(3)).square()

    assert torch.autograd.gradcheck(f, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(f, (x,), fast_mode=True)


def test_resampling_differentiates_as_the_library_does() -> None:
    grid = _grid(torch.randn(2, 2, 3, generator=_rng(), dtype=torch.float64), 6)
    grads = []
    for sample in (
        lambda x: _Resample.apply(x, grid, "bilinear", "reflection"),
        lambda x: F.grid_sample(x, grid, "bilinear", "reflection", align_corners=False),
    ):
        x = _images(2, size=6).double().requires_grad_()
        grads.append(torch.autograd.grad(sample(x).sin().sum(), x)[0])
    assert torch.allclose(grads[0], grads[1])


def test_half_precision_is_computed_in_float32() -> None:
    x = _images().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = augment(x, Augment(ada_p=0.8), _p(0.8), _rng())
    assert out.dtype == torch.float32
    assert torch.equal(out, augment(x.float(), Augment(ada_p=0.8), _p(0.8), _rng()))


def test_the_controller_rises_while_the_reals_are_too_sure_and_falls_otherwise() -> None:
    settings = Augment(ada_target=0.6, ada_kimg=100)
    p = _p(0.3)
    assert next_p(p, _p(0.9), settings, 1000) == pytest.approx(0.31)
    assert next_p(p, _p(0.1), settings, 1000) == pytest.approx(0.29)
    assert next_p(p, _p(0.6), settings, 1000) == p
    assert next_p(p, _p(math.nan), settings, 1000) == p
    assert p == pytest.approx(0.3)


def test_the_controller_stays_within_its_limits() -> None:
    settings = Augment(ada_target=0.6, ada_p_max=0.5, ada_kimg=1)
    up = down = _p(0.2)
    for _ in range(20):
        up, down = next_p(up, _p(1.0), settings, 64), next_p(down, _p(-1.0), settings, 64)
    assert up == 0.5
    assert down == 0.0
    assert next_p(_p(0.2), _p(1.0), Augment(ada_p=0.2), 64) == pytest.approx(0.2)
