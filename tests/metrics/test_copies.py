"""The search for copies: planted ones are found, fresh pictures raise no alarm, the calibration is exact."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.metrics import copies, kernels
from plenish.metrics.copies import Views
from plenish.metrics.features import domain_extractor
from plenish.metrics.panel import pairs_panel
from plenish.metrics.planted import ALTERATIONS
from plenish.metrics.words import describe_copies

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def look(real: Dataset) -> Any:
    """A function that searches given pictures for copies of the train part of `real`."""
    with settings.use(quiet=True, precision="float32"):
        extractor = domain_extractor(real)

    def views(x: Pictures) -> Views:
        return Views(copies.thumbnails(x), extractor(x))

    held = views(real.part("val", purpose="select").images())
    train = views(real.part("train", purpose="train").images())
    return lambda x, **words: copies.search(views(x), held, train, **words)


@pytest.fixture(scope="module")
def planted(real: Dataset) -> tuple[NDArray[np.int64], Pictures]:
    rows = np.random.default_rng(5).permutation(300)[:60]
    return rows, real.part("train", purpose="train").images(rows)


def test_exact_copies_are_all_found_with_their_original(look: Any, planted: Any) -> None:
    rows, x = planted
    found = look(x)
    assert len(found.suspects) == 60
    assert found.facts["n_identical"] == 60
    assert found.neighbour.tolist() == rows.tolist()
    assert found.facts["finding"] == "identical"
    assert found.facts["expected_share_high"] > found.facts["expected_share"]


@pytest.mark.parametrize("sd", [2.0, 4.0])
@pytest.mark.parametrize("turn", ["as is", "mirrored", "quarter turn"])
def test_jittered_flipped_and_turned_copies_are_found(look: Any, planted: Any, sd: float, turn: str) -> None:
    rows, x = planted
    x = {"as is": x, "mirrored": x[:, :, ::-1], "quarter turn": np.rot90(x, axes=(1, 2))}[turn]
    noisy = np.clip(np.round(x + np.random.default_rng(0).normal(0, sd, x.shape)), 0, 255).astype(np.uint8)
    found = look(noisy)
    assert len(found.suspects) >= 0.9 * 60
    assert np.mean(found.neighbour == rows) >= 0.9


def test_copies_under_much_noise_are_close_and_not_identical(look: Any, planted: Any) -> None:
    noise = np.random.default_rng(0).normal(0, 30.0, planted[1].shape)
    found = look(np.clip(np.round(planted[1] + noise), 0, 255).astype(np.uint8))
    assert found.facts["finding"] == "close"


def test_a_few_copies_among_many_honest_pictures(look: Any, planted: Any, make_discs: Any) -> None:
    x = planted[1]
    fresh, _ = make_discs(400, 21)
    found = look(np.concatenate([fresh, x[:3]]))
    assert found.facts["finding"] == "identical"
    assert found.facts["n_identical"] == 3
    assert set(found.suspects[:3]) == {400, 401, 402}  # closest first


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_fresh_pictures_raise_no_alarm(look: Any, make_discs: Any, seed: int) -> None:
    fresh, _ = make_discs(200, seed)
    found = look(fresh)
    assert found.facts["finding"] == "none"
    assert found.facts["share_suspect"] < 0.05


def test_bland_pictures_are_not_copies(look: Any, planted: Any) -> None:
    """Averages lie closer to every training image than any real picture does, and copy none."""
    x = planted[1].astype(np.float64)
    bland = x.reshape(6, 10, *x.shape[1:]).mean(1)
    bland = np.repeat(bland, 10, axis=0) + np.random.default_rng(0).normal(0, 1, x.shape)
    assert look(np.clip(bland, 0, 255).astype(np.uint8)).facts["finding"] == "none"


def test_unrelated_pictures_share_nothing_and_leak_nothing(look: Any, planted: Any) -> None:
    """Pure noise lies far from all training images; a nearest one that stands out there means nothing."""
    noise = np.random.default_rng(3).integers(0, 256, (80, *planted[1].shape[1:]), dtype=np.uint8)
    found = look(noise)
    assert found.facts["finding"] == look(noise, baseline=True).facts["finding"] == "none"
    assert found.facts["n_far"] > 40


def test_two_real_datasets_share_images_only_where_pictures_are_the_same(look: Any, planted: Any) -> None:
    assert look(planted[1], baseline=True).facts["finding"] == "identical"


def _near(n_holdout: int, n_far: int) -> dict[str, Any]:
    """Facts of 20 real images, ten of them close to training images in pixels and `n_far` far in features."""
    rng = np.random.default_rng(0)

    def views(n: int) -> Views:
        pixels, features = rng.normal(size=(n, 16, 16, 1)), rng.normal(size=(n, 8))
        return Views(pixels.astype(np.float32), features.astype(np.float32))

    train, others = views(60), views(20)
    others.pixels[:10] = train.pixels[:10] + 0.4 * others.pixels[:10]
    others.features[:] = (train.features[:20] + train.features[20:40]) / 2
    others.features[len(others) - n_far :] += 100
    facts = copies.search(others, views(n_holdout), train, baseline=True).facts
    assert (facts["finding"], facts["n_identical"], facts["n_far"]) == ("close", 0, n_far)
    return dict(facts)


def test_real_images_that_are_close_are_explained_by_few_held_out_or_far_ones() -> None:
    assert "12 held-out" in describe_copies(_near(12, 15))
    plain, far = (describe_copies(_near(200, n_far)) for n_far in (0, 15))
    assert "calibrated on only" not in plain
    assert "held-out images are" in far


def test_the_expected_share_is_what_equally_distributed_pictures_give() -> None:
    rng = np.random.default_rng(0)

    def distances(n: int) -> copies.Distances:
        near = rng.uniform(0.5, 1.0, (3, n))
        return copies.Distances(np.zeros((3, n), np.int64), near, near)

    shares, alarms, expected = [], 0, 0.0
    for _ in range(100):
        facts = copies.Calibration(distances(99), np.arange(99))(distances(150)).facts
        shares.append(facts["share_suspect"])
        expected = facts["expected_share"]
        alarms += facts["finding"] != "none"
    assert expected == 0.01
    assert np.mean(shares) == pytest.approx(0.01, abs=3 * np.std(shares) / np.sqrt(100) + 1e-9)
    assert alarms <= 5


def test_relative_distances_by_brute_force_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train = (5 + rng.normal(size=(50, 6))).astype(np.float32)
    versions = [(5 + rng.normal(size=(30, 6))).astype(np.float32) for _ in range(3)]
    versions[1][7] = train[33]
    d = np.min([np.linalg.norm(v[:, None] - train[None], axis=2) for v in versions], axis=0)
    want = d.min(1) / np.sort(d, 1)[:, :20].mean(1)
    for bound in (kernels.PAIRS_AT_ONCE, 700):
        monkeypatch.setattr(kernels, "PAIRS_AT_ONCE", bound)
        where, got, plain = copies.relative_distances(versions, train)
        assert where[:, 0].tolist() == d.argmin(1).tolist()
        assert got == pytest.approx(want, abs=2e-3)
        assert plain == pytest.approx(d.min(1), abs=1e-2)
    assert where[7, 0] == 33


def test_thumbnails_average_areas_and_forget_light_and_contrast() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(60, 180, (3, 32, 32, 3)).astype(np.uint8)
    small = copies.thumbnails(x)
    blocks = x.reshape(3, 16, 2, 16, 2, 3).mean((2, 4))
    blocks -= blocks.mean((1, 2, 3), keepdims=True)
    assert small == pytest.approx(blocks / blocks.std((1, 2, 3), keepdims=True), abs=1e-4)
    assert copies.thumbnails((x // 2 * 2 // 2 + 40).astype(np.uint8)) == pytest.approx(small, abs=0.15)
    assert np.abs(copies.thumbnails(np.full((1, 28, 28, 1), 9, np.uint8))).max() < 1e-5
    assert copies.thumbnails(np.zeros((2, 21, 21, 1), np.uint8)).shape == (2, 16, 16, 1)


def test_result_and_panel(look: Any, planted: Any, make_discs: Any) -> None:
    import io
    import json

    from PIL import Image

    fresh, _ = make_discs(30, 40)
    found = look(np.concatenate([planted[1][:2], fresh]))
    content = copies.result(found, [f"s{i}" for i in range(32)], [f"t{i}" for i in range(300)])
    json.dumps(content, allow_nan=False)
    assert {s["synthetic_id"] for s in content["suspects"][:2]} == {"s0", "s1"}
    assert content["suspects"][0]["train_id"] in {f"t{i}" for i in planted[0][:2]}
    assert sum(content["histogram"]["synthetic"]) == 32
    assert sum(content["histogram"]["holdout"]) == 120
    png = pairs_panel(fresh[:5], fresh[5:10], np.full(5, 0.5), 0.6, "synthetic")
    assert Image.open(io.BytesIO(png)).size[0] > 5 * 96
    assert pairs_panel(fresh[:5, :, :, :1], fresh[5:10, :, :, :1], np.ones(5), 0.6, "x")[:4] == b"\x89PNG"
    for sizes, said in (((0, 5, 9), "synthetic images"), ((5, 2, 9), "three held-out and three training")):
        with pytest.raises(ValueError, match=said):
            copies.search(
                *[Views(np.zeros((n, 16, 16, 1), np.float32), np.zeros((n, 2), np.float32)) for n in sizes]
            )


def test_held_out_twins_of_training_images_do_not_blind_the_search() -> None:
    rng = np.random.default_rng(0)
    train = Views(*(rng.normal(size=s).astype(np.float32) for s in ((80, 16, 16, 1), (80, 8))))
    held = Views(*(rng.normal(size=s).astype(np.float32) for s in ((50, 16, 16, 1), (50, 8))))
    held.pixels[:4], held.features[:4] = train.pixels[:4], train.features[:4]
    copied = Views(train.pixels[10:20], train.features[10:20])
    found = copies.search(copied, held, train)
    assert found.facts["n_twins"] == 4
    assert found.facts["n_identical"] == len(found.suspects) == 10
    with pytest.raises(ValueError, match="also a training image"):
        copies.search(copied, Views(train.pixels[:9], train.features[:9]), train)


@pytest.fixture(scope="module")
def few_copies(real: Dataset, make_discs: Any) -> Any:
    """A function that plants ten altered training images among 190 honest ones, with some groups of val."""
    with settings.use(quiet=True, precision="float32"):
        extractor = domain_extractor(real)
    val, train = real.part("val", purpose="select"), real.part("train", purpose="train")
    index = copies.Index(copies.views_of(train.images(), extractor))
    held = index(copies.views_of(val.images(), extractor))
    fresh = index(copies.views_of(make_discs(190, 77, groups=30)[0], extractor))

    def found(kind: str, groups: int) -> copies.Copies:
        rng = np.random.default_rng(1)
        altered = ALTERATIONS[kind](train.images(rng.permutation(300)[:10]), rng)
        pairs = zip(*(dataclasses.astuple(d) for d in (fresh, index(copies.views_of(altered, extractor)))))
        some = np.isin(val.groups, sorted(set(val.groups))[:groups])
        calibration = copies.Calibration(held[some], np.unique(val.groups[some], return_inverse=True)[1])
        return calibration(copies.Distances(*(np.concatenate(pair, axis=1) for pair in pairs)))

    return found


@pytest.mark.parametrize("kind", sorted(ALTERATIONS))
def test_ten_copies_of_any_kind_raise_the_alarm(few_copies: Any, kind: str) -> None:
    found = few_copies(kind, 14)
    assert found.facts["finding"] in copies.ALARMS
    assert found.facts["n_groups"] == 14
    closest = np.argsort(found.score)[: found.facts["n_beyond"]]
    assert (closest >= 190).all()  # they are the planted ones
    assert len(closest) > 3 or kind == "cropped to 90 %"  # of which there are more than chance explains


def test_few_groups_never_say_no_sign_of_what_lies_far_below_them(few_copies: Any) -> None:
    found = few_copies("noise of 15 grey levels", 2).facts
    assert (found["finding"], found["n_groups"]) == ("unclear", 2)
    assert [space["limit"] for space in found["spaces"]] == [0, 0, 0]
    said = describe_copies(found | {"baseline": False})
    assert "no sign" not in said
    assert "2 held-out groups are too few" in said
