"""Counterfactuals: the smallest change where it is known, limits, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from plenish import files, settings
from plenish.commands.counterfactual import counterfactual
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent.boundary import Box, smallest_change
from plenish.latent.counterfactual import find_counterfactuals, path_between
from plenish.latent.counterfactual_options import CounterfactualOptions
from plenish.latent.inversion import invert
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.prior import prior_of
from plenish.latent.render import amplified_difference
from plenish.latent.space import LatentSpace
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier

SIZE, DIM = 8, 6


class _Linear(nn.Module):
    """A sampler whose images are linear in z and the label; small enough never to be clipped."""

    labels = LabelSchema("categorical", ("off", "on"))
    size, channels, z_shape, stores_z, prior_name = SIZE, 1, (DIM,), True, "N(0, 1)"

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(DIM, SIZE * SIZE, generator=rng) * 0.05
        self.by_label = torch.randn(2, SIZE * SIZE, generator=rng) * 0.05

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, DIM, generator=rng)

    def sample(self, z: Tensor, y: Tensor, *, seed: int = 0) -> Tensor:
        return (z @ self.matrix + y @ self.by_label).view(-1, 1, SIZE, SIZE)


class _Slope(nn.Module):
    """Two logits, of which the second is linear in the image and the first 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(SIZE * SIZE, generator=torch.Generator().manual_seed(1))

    def forward(self, x: Tensor) -> Tensor:
        logit = x.flatten(1) @ self.weight
        return torch.stack([torch.zeros_like(logit), logit], 1)


@pytest.fixture
def space() -> LatentSpace:
    from plenish.training.engine import Engine

    made = object.__new__(LatentSpace)
    made.network, made.options, made.engine = _Linear(), {}, Engine.from_settings("float32")  # type: ignore[assignment]
    return made


@pytest.fixture
def model() -> Classifier:
    return Classifier(_Slope(), ClassifierConfig(), ("off", "on"), 1, SIZE, (0.0,), (1.0,), "float32")


def test_smallest_change_of_a_linear_function_is_the_projection_on_its_hyperplane():
    rng = torch.Generator().manual_seed(3)
    normal, at = torch.randn(5, 7, generator=rng), torch.tensor([-2.0, -0.5, -9.0, -1.0, -4.0])
    box = Box(torch.full((5, 7), -torch.inf), torch.full((5, 7), torch.inf), lambda u: u)
    found = smallest_change(lambda u: at + (u * normal).sum(1), box, steps=30, starts=1, draws=rng)
    wanted = -at[:, None] * normal / (normal**2).sum(1, keepdim=True)
    assert found.found.all()
    torch.testing.assert_close(found.offset, wanted, atol=0.003, rtol=0.003)


def test_a_bound_is_kept_and_the_other_coordinates_make_up_for_it():
    # The nearest point of 3u + v = 5 with u at most 1 is (1, 2).
    box = Box(torch.tensor([[-10.0, -10.0]]), torch.tensor([[1.0, 10.0]]), lambda u: u)
    draws = torch.Generator().manual_seed(0)
    found = smallest_change(lambda u: 3 * u[:, 0] + u[:, 1] - 5, box, steps=200, starts=1, draws=draws)
    torch.testing.assert_close(found.offset, torch.tensor([[1.0, 2.0]]), atol=0.05, rtol=0.0)


def test_where_nothing_is_reached_nothing_changes():
    box = Box(torch.full((2, 3), -torch.inf), torch.full((2, 3), torch.inf), lambda u: u)
    draws = torch.Generator().manual_seed(0)
    found = smallest_change(lambda u: -1 - (u**2).sum(1), box, steps=10, starts=2, draws=draws)
    assert not found.found.any()
    assert not found.offset.any()


def test_counterfactual_of_linear_generator_and_classifier_is_the_projection(space, model):
    points = space.draw(range(4), np.array([[1, 0]], np.float32))
    how = CounterfactualOptions(to="on", confidence=0.6, change_label="kept", starts=1)
    found = find_counterfactuals(space, points, model, how)
    pull = (space.network.matrix @ model.network.weight).numpy()
    logits = points.values @ pull + (space.network.by_label[0] @ model.network.weight).numpy()
    gap = np.log(0.6 / 0.4) + 0.1 - logits  # 0.1 of log-odds is what rounding may take away.
    wanted = np.where(gap > 0.1, np.abs(gap) / np.linalg.norm(pull), 0.0)
    assert found.turned.any()
    np.testing.assert_allclose(found.change[found.turned], wanted[found.turned], rtol=0.01)
    np.testing.assert_array_equal(found.turned, ~found.already)
    np.testing.assert_array_equal(found.after.y, points.y)
    moved = found.after.values - points.values
    cosine = (moved @ pull)[found.turned] / np.linalg.norm(moved[found.turned], axis=1) / np.linalg.norm(pull)
    inside = found.typical[1][found.turned] > 0.101  # Where the prior's limit did not turn it aside.
    assert inside.any()
    np.testing.assert_allclose(cosine[inside], 1, atol=1e-4)


def test_of_several_orientations_the_mean_counts_and_the_image_as_it_is(space, model):
    slope = model.network.weight.view(SIZE, SIZE)
    model.network.weight = (2 * slope - slope.flip(1)).flatten()
    points = space.draw(range(6), np.array([[1, 0]], np.float32))
    how = CounterfactualOptions(
        to="on", confidence=0.6, change_label="kept", orientations="mirror", noise=2.0
    )
    found = find_counterfactuals(space, points, model, how)
    plain = find_counterfactuals(space, points, model, dataclasses.replace(how, orientations="none", noise=0))
    images = torch.from_numpy(found.images[1][found.turned]).permute(0, 3, 1, 2) / 127.5 - 1
    logits = torch.stack([model.network(view)[:, 1] for view in (images, images.flip(3))])
    assert found.turned.any()
    assert (logits[0] >= np.log(0.6 / 0.4)).all()
    assert (logits.mean(0) >= np.log(0.6 / 0.4)).all()
    assert (found.change[found.turned] >= plain.change[found.turned] - 0.01).all()
    assert (found.change[found.turned] > plain.change[found.turned] + 0.05).any()


def test_a_label_that_may_change_goes_towards_the_class_and_makes_the_change_no_longer(space, model):
    points = space.draw(range(12), np.array([[1, 0]], np.float32))
    how = CounterfactualOptions(to="on", change_label="kept", starts=1)
    kept = find_counterfactuals(space, points, model, how)
    free = find_counterfactuals(space, points, model, dataclasses.replace(how, change_label="free"))
    assert kept.label_change is None
    assert free.label_change is not None
    assert ((free.label_change >= 0) & (free.label_change <= 1)).all()
    np.testing.assert_allclose(free.after.y[:, 1], free.label_change, atol=1e-6)
    both = kept.turned & free.turned
    assert both.any()
    total = np.hypot(free.change, free.label_change)
    assert (total[both] <= kept.change[both] * 1.01).all()


def test_same_seed_same_counterfactual_and_the_prior_is_not_left(space, model):
    points = space.draw(range(20))
    how = CounterfactualOptions(confidence=0.7, starts=3)
    one, two = (find_counterfactuals(space, points, model, how) for _ in range(2))
    np.testing.assert_array_equal(one.after.values, two.after.values)
    outermost = np.minimum(one.typical[0], 0.1)
    assert (one.typical[1] >= outermost - 0.01).all()


def test_a_uniform_prior_is_bounded_and_a_normal_one_is_not(space):
    assert prior_of(space, "z").bound == np.inf
    space.network.prior_name = "U(-1, 1)"
    space.network.sample_prior = lambda n, rng: torch.rand(n, DIM, generator=rng) * 2 - 1
    found = prior_of(space, "z")
    np.testing.assert_allclose(found.bound * found.scale, 1)


def test_path_and_difference():
    before = np.full((1, 2, 2, 1), 100, np.uint8)
    shown, factor = amplified_difference(before, before + 10)
    assert factor == 12
    assert (shown == 248).all()


def test_path_ends_at_both_points(space):
    a, b = space.draw([0]), space.draw([1])
    way = list(path_between(a, b, 5))
    np.testing.assert_array_equal(way[0].values, a.values)
    np.testing.assert_array_equal(way[-1].values, b.values)
    np.testing.assert_allclose(way[2].y, (a.y + b.y) / 2)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"to": "onn"}, "unknown"),
        ({"to": "on", "change_label": "free"}, ""),
    ],
)
def test_unknown_class_and_a_label_that_the_generator_lacks_are_refused(space, model, options, code):
    if "change_label" in options:
        space.network.labels = LabelSchema("categorical", ("round", "square"))
    with pytest.raises(InputError) as refused:
        find_counterfactuals(space, space.draw([0]), model, CounterfactualOptions(**options))
    assert refused.value.code == code
    if code:
        assert "'on'" in str(refused.value)


def test_of_more_than_two_classes_one_must_be_named(space, model):
    three = dataclasses.replace(model, names=("off", "on", "other"))
    with pytest.raises(InputError, match="--to"):
        find_counterfactuals(space, space.draw([0]), three, CounterfactualOptions())


def test_no_encoder_is_trained_where_latents_are_as_large_as_images(space, monkeypatch):
    monkeypatch.setattr(
        "plenish.latent.inversion.get_encoder", lambda *_: pytest.fail("an encoder is trained")
    )
    points = space.draw([0, 1])
    monkeypatch.setattr(space.network, "stores_z", False)
    monkeypatch.setattr(space.network, "prior_name", "N(0, 1)", raising=False)
    found = invert(space, space.images(points), InversionOptions(steps=60, starts=2, prior=0), points.y)
    assert found.encoder == {}
    assert (found.error < 1e-5).all()


@pytest.fixture(scope="module")
def trained_once(module_stripes) -> Path:
    data = module_stripes()
    home = data.path.parent
    with settings.use(quiet=True):
        train_gan(data.path, home / "gan", recipe="dcgan", kimg=0.1, batch=8, width=4, validation=False)
        train_classifier_run(data.path, home / "classifier", how=ClassifierConfig(steps=20, batch=16))
    return home


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """Runs of a tiny generator and a classifier of stripes, beside their Dataset."""
    return Path(shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True))


def test_the_verb_writes_what_turned_and_refuses_what_is_already_so(trained, stripes):
    gan, classifier, out = (trained / name for name in ("gan", "classifier", "out"))
    made = counterfactual(gan, out, classifier=classifier, seeds=[0, 1, 2], frames=3, steps=20, starts=1)
    record = files.read_record(out / "edit.json")["result"]
    table = pd.read_csv(out / "changes.csv")
    assert made.summary()["turned"] == record["turned"] == int(table["turned"].sum())
    assert (table["p_after"][table["turned"]] >= 0.8).all()
    latents, labels = np.load(out / "latents.npy"), np.load(out / "labels.npy")
    assert len(latents) == len(labels) == 2 * len(table)
    moved = np.linalg.norm((latents[3:] - latents[:3]).reshape(3, -1), axis=1)
    np.testing.assert_allclose(moved, table["change"], rtol=0.05, atol=1e-6)
    with pytest.raises(InputError, match="already"):
        counterfactual(
            gan, trained / "no", classifier=classifier, latents=out / "latents.npy", confidence=0.001,
            to="class0", frames=2,
        )  # fmt: skip
    with pytest.raises(InputError, match="'class0'"):
        counterfactual(gan, trained / "no", classifier=classifier, to="clas0")
    grey = stripes("grey", channels=1)
    train_classifier_run(grey.path, trained / "of-grey", how=ClassifierConfig(steps=2, batch=8))
    with pytest.raises(InputError, match="channel"):
        counterfactual(gan, trained / "no", classifier=trained / "of-grey")
    assert not (trained / "no").exists()
