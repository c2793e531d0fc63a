"""Training a classifier: determinism, stateless order and augmentation, learning, saving."""

import gc
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from plenish import settings
from plenish.datasets.batches import Images, join
from plenish.domains import DOMAINS
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training import classifier, classifier_run
from plenish.training.augment_classical import augment, uniforms
from plenish.training.classifier import channel_statistics, train_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier
from plenish.training.classifier_precision import choose_precision
from plenish.training.learner import Learner


def _bars(n: int = 96, size: int = 16, seed: int = 0) -> Images:
    """Horizontal against vertical bars in noise: no flip confuses them."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    pixels = rng.integers(60, 120, (n, size, size, 3))
    for i, code in enumerate(codes):
        at = rng.integers(2, size - 2)
        pixels[i, at : at + 2] += 90 * (code == 0)
        pixels[i, :, at : at + 2] += 90 * (code == 1)
    return Images(pixels.clip(0, 255).astype(np.uint8).__getitem__, codes.astype(np.int64))


CONFIG = ClassifierConfig(steps=40, batch=32, evaluations=4)


def test_learns_and_repeats_exactly() -> None:
    with settings.use(precision="float32"):
        first = train_classifier(CONFIG, _bars(), _bars(seed=1), ["flat", "upright"])
        again = train_classifier(CONFIG, _bars(), _bars(seed=1), ["flat", "upright"])
        test = _bars(seed=2)
        assert np.array_equal(first.logits(test), again.logits(test))
        assert (first.probabilities(test).argmax(1) == test.y).mean() > 0.95
        assert np.allclose(first.probabilities(test).sum(1), 1)
        assert np.allclose(first.logits(test, batch=7), first.logits(test), atol=1e-4)
    scored = [row for row in first.history if "val_loss" in row]
    assert [row["step"] for row in scored] == [10, 20, 30, 40]
    best = max(scored, key=lambda row: (row["val_balanced_accuracy"], -row["val_loss"]))
    assert first.step == best["step"]


def test_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    train_classifier(ClassifierConfig(steps=2, batch=8), _bars(), _bars(seed=1), ["a", "b"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_save_and_load(tmp_path: Path) -> None:
    model = train_classifier(ClassifierConfig(steps=5, batch=16), _bars(), _bars(seed=1), ["a", "b"])
    model.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    assert np.array_equal(loaded.logits(_bars(seed=2)), model.logits(_bars(seed=2)))
    assert loaded.config == model.config
    assert loaded.names == ("a", "b")
    (tmp_path / "classifier.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match=str(tmp_path)):
        Classifier.load(tmp_path)


def test_module_can_be_differentiated_and_agrees_with_the_numbers(tmp_path: Path) -> None:
    with settings.use(precision="float32"):
        train_classifier(CONFIG, _bars(), _bars(seed=1), ["a", "b"]).save(tmp_path)
        model, images = Classifier.load(tmp_path), _bars(8, seed=2)
        found = model.logits(images)
        x = torch.from_numpy(images.read(np.arange(8))).permute(0, 3, 1, 2).float() / 127.5 - 1
        logits = model.module()(x.requires_grad_())
        np.testing.assert_allclose(logits.detach().numpy(), found, atol=1e-4)
        right = functional.cross_entropy(logits, torch.from_numpy(images.y))
        (gradient,) = torch.autograd.grad(right, x)
        worse = functional.cross_entropy(
            model.module()(x + 0.1 * gradient.sign()), torch.from_numpy(images.y)
        )
    assert worse > right


def test_joined_sources_read_as_one() -> None:
    first, second = _bars(10), _bars(8, seed=5)
    joined = join([(first, np.array([3, 3, 0])), (second, np.array([7, 1]))])
    index = np.array([4, 0, 2, 3, 1])
    everything = np.concatenate([first.read(np.array([3, 3, 0])), second.read(np.array([7, 1]))])
    assert np.array_equal(joined.read(index), everything[index])
    assert joined.y.tolist() == [*first.y[[3, 3, 0]], *second.y[[7, 1]]]


def test_channel_statistics_are_exact() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 5, 5, 3), dtype=np.uint8)
    pixels[..., 2] //= 3
    mean, std = channel_statistics(Images(pixels.__getitem__, np.zeros(700, np.int64)))
    scaled = pixels / 127.5 - 1
    assert mean == pytest.approx(scaled.mean((0, 1, 2)))
    assert std == pytest.approx(scaled.std((0, 1, 2)))


def test_uniforms_are_uniform_and_stateless() -> None:
    draws = uniforms(np.arange(20_000), 3, 1, "a")
    assert np.array_equal(uniforms(np.array([17, 5]), 3, 1, "a"), draws[[17, 5]])
    assert np.abs(np.histogram(draws, 10, (0, 1))[0] / draws.size - 0.1).max() < 0.005
    assert np.abs(np.corrcoef(np.c_[draws[:-1], draws[1:]].T) - np.eye(6)).max() < 0.03
    assert not np.array_equal(uniforms(np.array([17]), 3, 2, "a"), draws[[17]])


def test_orientations_reach_exactly_the_symmetries_they_name() -> None:
    image = torch.randn(1, 3, 4, 4).clamp(-0.9, 0.9)  # Too small to be shifted by a pixel.
    turned = [torch.rot90(image, k, (2, 3)) for k in range(4)]
    square = [*turned, *(t.flip(3) for t in turned)]
    allowed = {"dihedral": square, "mirror": [image, image.flip(3)], "none": [image]}
    index, still = np.arange(200), DOMAINS["text"]._replace(rotation=0, brightness=0, contrast=0)
    for symmetry, symmetries in allowed.items():
        found = augment(image.expand(200, -1, -1, -1), index, 0, domain=still, symmetry=symmetry)
        near = torch.stack([(found - s).abs().amax((1, 2, 3)) < 1e-5 for s in symmetries])
        assert near.any(0).all()
        assert near.any(1).all(), "every symmetry occurs"


def test_augmentation_is_the_same_however_batched_and_stays_in_range() -> None:
    images = torch.rand(12, 3, 16, 16) * 2 - 1
    faces = DOMAINS["faces"]
    whole = augment(images, np.arange(12), 4, domain=faces)
    parts = torch.cat(
        [augment(images[k : k + 5], np.arange(12)[k : k + 5], 4, domain=faces) for k in range(0, 12, 5)]
    )
    assert torch.equal(whole, parts)
    assert whole.abs().max() <= 1
    assert not torch.equal(whole, augment(images, np.arange(12), 5, domain=faces))


def test_learning_rate_rises_then_falls() -> None:
    config = ClassifierConfig(steps=100, learning_rate=1.0)
    rates = [config.rate(step) for step in range(100)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.01
    assert all(b < a for a, b in pairwise(rates[10:]))


def test_precision_is_chosen_and_obeys_the_user() -> None:
    with settings.use(precision="float32"):
        assert choose_precision(ClassifierConfig(classifier="resnet10t", batch=4), 3, 32, 2) == "float32"


def test_refusals() -> None:
    images = _bars(10)
    with pytest.raises(InputError, match="2 classes"):
        train_classifier(CONFIG, Images(images.read, np.zeros(10, np.int64)), images, ["a", "b"])
    with pytest.raises(InputError, match="--steps"):
        ClassifierConfig(steps=0)
    with pytest.raises(InputError, match="'classical'"):
        ClassifierConfig(augmentation="clasical")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'balanced'"):
        ClassifierConfig(order="balance")


def test_default_steps_follow_the_data_within_bounds() -> None:
    assert ClassifierConfig(batch=64).resolved(50).steps == 150
    assert ClassifierConfig(batch=64).resolved(6400).steps == 1200
    assert ClassifierConfig(batch=64).resolved(10**6).steps == 3000
    assert ClassifierConfig(steps=7).resolved(50).steps == 7


def test_a_rollback_gives_up_the_model_before_it_builds_another(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks: list[weakref.ref[torch.nn.Module]] = []
    build = classifier.build_classifier

    def build_one(*args: Any, **options: Any) -> torch.nn.Module:
        gc.collect()
        assert not any(network() for network in networks)
        networks.append(weakref.ref(network := build(*args, **options)))
        return network

    def train_twice(make: Callable[[], Learner], *_: Any, **__: Any) -> Learner:
        make()
        return make()

    monkeypatch.setattr(classifier, "build_classifier", build_one)
    monkeypatch.setattr(classifier_run, "train", train_twice)
    data = stripes()
    train, val = (data.part(part, purpose="test") for part in ("train", "val"))
    run = Run.create(tmp_path / "run", "classifier", {})
    classifier_run.train_in_run(run, CONFIG.resolved(len(train)), train, val)
    assert len(networks) == 2
