"""Concepts on a generator that is linear in z, so that what is planted and what is found are numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from plenish import files
from plenish.commands import concept as verbs
from plenish.commands.directions import directions as directions_verb
from plenish.commands.train_generator import train_gan
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent import concept_effects, concept_verbs, concepts
from plenish.latent.concept_effects import Judges, measure_effect
from plenish.latent.concept_learning import (
    Kept,
    column_directions,
    learn,
    learn_from_values,
    ridge,
    svm_normal,
)
from plenish.latent.concept_options import LearnOptions
from plenish.latent.concepts import Concept, flat
from plenish.latent.directions import find_directions, regressed, sefa
from plenish.latent.points import Points
from plenish.latent.selection import example_points
from plenish.latent.space import LatentSpace
from plenish.networks.families import GANS, family
from plenish.networks.gan.contract import Generator, NetworkConfig
from plenish.training.engine import Engine

D, SIZE = 8, 4


class Linear(Generator):
    """z → a linear image."""

    def __init__(self) -> None:
        super().__init__(NetworkConfig(size=SIZE, channels=1, labels=LabelSchema(), z_dim=D))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.weight = torch.nn.Linear(D, SIZE * SIZE, bias=False)

    def synthesis(
        self, w: torch.Tensor, y: torch.Tensor | None = None, *, noise: str = "random"
    ) -> torch.Tensor:
        return self.weight(w[:, 0]).view(-1, 1, SIZE, SIZE)

    def latent_weights(self, layers=None) -> torch.Tensor:
        return self.weight.weight

    def first_block(self) -> torch.nn.Module:
        return self.weight


@pytest.fixture
def linear(tmp_path: Path) -> LatentSpace:
    space = LatentSpace.__new__(LatentSpace)
    facts = {"run_id": "r", "family": "linear", "checkpoint": "c", "weights_sha256": "0"}
    run = SimpleNamespace(path=tmp_path, id="r", config={"config": {"family": "linear"}})
    loaded = SimpleNamespace(network=Linear().eval(), provenance=lambda: facts, run=run)
    space.loaded = loaded  # type: ignore[assignment]
    space.network, space.options = space.loaded.network, {}
    space.engine = Engine.from_settings("float32")
    return space


def _planted(n: int, rng: np.random.Generator, push: float) -> np.ndarray:
    x = rng.normal(size=(n, D))
    x[:, 2] += push
    return x


@pytest.mark.parametrize("method", ["mean", "svm"])
def test_a_planted_concept_is_recovered_with_the_distance_of_the_means_as_scale(linear, method) -> None:
    rng = np.random.default_rng(0)
    having, lacking = (linear.given(_planted(3000, rng, push)) for push in (1.5, -1.5))
    found = learn(linear, "planted", having, lacking, method=method)
    assert found.vector[2] > 0.99
    assert found.scale == pytest.approx(3, rel=0.03)
    moved = concepts.move(linear, lacking, [(found, 1.0)])
    assert moved.values[:, 2].mean() == pytest.approx(1.5, abs=0.1)
    assert concepts.move(linear, moved, [(found, -1.0)]).values == pytest.approx(lacking.values, abs=1e-5)


def test_a_column_of_pixels_gives_the_rows_of_the_generator_that_make_them(linear) -> None:
    points = linear.draw(range(400))
    row = linear.network.weight.weight.detach().double().numpy()[5]
    found = learn_from_values(linear, "pixel", points, points.values.astype(float) @ row)
    assert found.vector @ row / np.linalg.norm(row) > 0.9999
    assert found.facts["r2_latents"] > 0.999
    other = Concept("other", np.eye(D, dtype=np.float32)[0], "z", 1.0)
    kept = learn_from_values(linear, "pixel", points, points.values @ row, kept=Kept([other]))
    rest = row * (np.arange(D) > 0)
    assert abs(kept.vector[0]) < 1e-6
    assert kept.vector @ rest / np.linalg.norm(rest) > 0.9999
    with pytest.raises(InputError):
        learn_from_values(linear, "flat", points, np.ones(400))


def test_nothing_is_told_of_noise_by_ridge_regression() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 20)), rng.normal(size=200)
    assert ridge(x, y, np.ones((200, 1)))[1] < 0.1


def test_the_svm_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([_planted(30, rng, 1), _planted(20, rng, -1)])
    side = np.repeat([1, -1], [30, 20])
    rows = (x - x.mean(0)) / x.std(0).mean()
    oracle = LinearSVC(C=1.0, intercept_scaling=1e3, dual=False, tol=1e-9, max_iter=100_000).fit(rows, side)
    assert svm_normal(x, side) == pytest.approx(oracle.coef_[0], abs=1e-3)


def test_sefa_of_a_linear_generator_is_its_singular_vectors_and_pca_agrees(linear) -> None:
    matrix = linear.network.weight.weight.detach().double().numpy()
    right = np.linalg.svd(matrix)[2]
    found = find_directions(linear, "sefa", 3)
    assert np.abs((found.vectors * right[:3]).sum(1)) == pytest.approx(1, abs=1e-6)
    assert found.scales == pytest.approx(1, abs=0.1)
    # Components of features that are linear in N(0, 1) latents are the same directions, but for sampling.
    components = find_directions(linear, "pca", 2)
    assert (np.abs((components.vectors * right[:2]).sum(1)) > 0.95).all()
    exact = np.linalg.qr(np.random.default_rng(0).normal(size=(500, D)))[0]
    exact -= exact.mean(0)
    white = np.linalg.qr(exact)[0]
    vectors, shares = regressed(white, white @ matrix.T, D)
    assert np.abs((vectors * right).sum(1)) == pytest.approx(1, abs=1e-6)
    assert shares == pytest.approx(sefa(matrix, D)[1], abs=1e-9)
    with pytest.raises(InputError):
        find_directions(linear, "sefa", D + 1)
    with pytest.raises(InputError):
        find_directions(linear, "sefa", 2, layers=[0])


def test_a_generator_that_is_no_gan_has_no_directions(linear) -> None:
    linear.network = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(InputError):
        find_directions(linear, "sefa", 2)


@pytest.mark.parametrize("name", GANS)
def test_every_gan_says_which_weights_its_latent_meets(name) -> None:
    few = {
        "size": 16,
        "width": 16,
        "max_width": 16,
        "z_dim": 8,
        "labels": LabelSchema("categorical", ("a", "b")),
    }
    record = family(name)
    config = record.config(**few | ({"w_dim": 8} if name == "stylegan2" else {}))
    with torch.random.fork_rng(devices=[]):
        network = record.sampler(config).eval()
    weights = network.latent_weights()
    assert weights.shape[1] == network.w_dim == 8
    if network.has_styles:
        rows = [len(network.latent_weights([i])) for i in range(network.num_ws)]
        assert sum(rows) == len(weights)
        return
    # A direction that the weights are blind to does not change the image.
    blind = torch.tensor([1.0, -1.0] + [0.0] * 6)
    with torch.no_grad():
        owner = network.modulate if name == "r3gan" else network.project
        owner.weight[:, 1] = owner.weight[:, 0]
        assert (network.latent_weights() @ blind).abs().max() < 1e-5
        w, y = torch.ones(1, 1, 8), torch.eye(2)[:1]
        before, after = (network.synthesis(w + t * blind, y, noise="constant") for t in (0.0, 1.0))
        assert torch.allclose(before, after, atol=1e-5)
        assert network.first_block() in set(network.modules())


def test_components_of_features_are_those_within_classes(linear) -> None:
    rng = np.random.default_rng(4)
    z, y = rng.normal(size=(400, 3)), np.eye(2)[np.arange(400) % 2]
    # The class moves the features most, the second latent more than the first.
    features = z * [2.0, 5.0, 0.0] + 50 * y[:, 1:] @ np.ones((1, 3))
    vectors, shares = regressed(z, features, 2, y)
    assert np.abs(vectors @ np.eye(3)[[1, 0]].T) == pytest.approx(np.eye(2), abs=0.15)
    assert shares == pytest.approx([25 / 29, 4 / 29], abs=0.03)
    assert len(regressed(z, features, 3, y)[0]) == 2
    with torch.no_grad():
        linear.network.weight.weight[2:] = 0
    with pytest.raises(InputError, match="2 principal components"):
        find_directions(linear, "pca", 3)


def test_a_concept_of_no_length_has_no_effect_and_a_pixel_is_seen_to_rise(linear) -> None:
    def classes(images: np.ndarray) -> dict[str, np.ndarray]:
        bright = images.reshape(len(images), -1)[:, 5] / 255.0
        return {"dark": 1 - bright, "bright": bright}

    row = linear.network.weight.weight.detach().numpy()[5]
    nothing = Concept("nothing", np.eye(D, dtype=np.float32)[0], "z", 0.0)
    pixel = Concept("pixel", row / np.linalg.norm(row), "z", 1.0)
    still = measure_effect(linear, [(nothing, 1.0)], [-3.0, 3.0], Judges(classes=classes), n=40)
    assert [level["changes"]["class"]["value"] for level in still.facts["strengths"]] == [1.0, 1.0]
    lifted = measure_effect(linear, [(pixel, 1.0)], [50.0], Judges(classes=classes), n=40)
    bright = (classes(linear.images(linear.draw(range(1_000_000, 1_000_040))))["bright"] > 0.5).mean()
    assert lifted.facts["strengths"][0]["changes"]["class"]["value"] == pytest.approx(bright)
    with pytest.raises(InputError):
        measure_effect(linear, [(pixel, 1.0)], [1.0], Judges(classes=classes), target="lumen")


def test_examples_are_seeds_ranges_files_and_ids(linear, tmp_path) -> None:
    np.save(tmp_path / "two.npy", np.zeros((2, D), np.float32))
    (tmp_path / "one.csv").write_text(",".join("1" * D) + "\n")
    points = example_points(
        linear, ["7", "3-5", str(tmp_path / "two.npy"), str(tmp_path / "one.csv")], "--with"
    )
    assert len(points) == 7
    assert points.values[-1] == pytest.approx(linear.draw([5]).values[0])
    (tmp_path / "ids.csv").write_text("id,mark\ns1,x\n")
    for wrong in (["s0000001"], [str(tmp_path / "ids.csv")], ["5-3"], [str(tmp_path / "none.csv")], []):
        with pytest.raises(InputError):
            example_points(linear, wrong, "--with")
    np.save(tmp_path / "wide.npy", np.zeros((2, D + 1), np.float32))
    with pytest.raises(InputError):
        example_points(linear, [str(tmp_path / "wide.npy")], "--with")


def test_examples_that_do_not_differ_or_lie_in_what_is_kept_are_refused(linear) -> None:
    same, axis = linear.draw(range(5)), np.eye(D, dtype=np.float32)
    with pytest.raises(InputError):
        learn(linear, "none", same, same)
    with pytest.raises(InputError):
        learn(linear, "bad name", same, linear.draw(range(9)))
    taken = Concept("taken", axis[0], "z", 1.0)
    with pytest.raises(InputError):
        learn(linear, "none", linear.given(axis[:1]), linear.given(0 * axis[:1]), kept=Kept([taken]))
    with pytest.raises(InputError):
        concepts.move(linear, Points(np.zeros((1, 1, D), np.float32), "w", None, ("w",)), [(taken, 1.0)])


def test_what_rounding_leaves_beside_a_kept_concept_is_no_concept(linear) -> None:
    having, lacking = linear.draw(range(5)), linear.draw(range(5, 10))
    first = learn(linear, "first", having, lacking)
    for method in ("mean", "svm"):
        kept = Kept([learn(linear, "kept", having, lacking, method=method)])
        with pytest.raises(InputError, match="nothing is left"):
            learn(linear, "again", having, lacking, method=method, kept=kept)
    # Short and long vectors are kept alike, and one that comes twice is one.
    a, b = np.eye(D)[0], np.eye(D)[1] + np.eye(D)[0]
    kept_basis = concepts.basis_of([1e-12 * a, a.astype(np.float32), 1e6 * b, 0 * a], D)
    assert kept_basis @ kept_basis.T == pytest.approx(np.eye(2))
    rest = concepts.orthogonal(first.vector, [1e-12 * a, 1e6 * b])
    assert rest == pytest.approx(first.vector * (np.arange(D) > 1), abs=1e-6)


def test_a_concept_leaves_alone_what_was_read_off_images(linear) -> None:
    rng, points = np.random.default_rng(1), linear.draw(range(400))
    x = flat(points)
    grows = np.array([1.0, 2, 0, 0, 0, 0, 0, 0])
    values = {"cells": x @ grows + 0.1 * rng.normal(size=400), "same": np.ones(400)}
    read = column_directions(linear, points, values, "z")
    assert list(read) == ["cells"]
    assert read["cells"] / np.linalg.norm(read["cells"]) == pytest.approx(grows / 5**0.5, abs=0.02)
    # Examples with it have more cells too.
    lumen = np.eye(D)[2] + grows
    having, lacking = (linear.given((x[:20] + side * lumen).astype(np.float32)) for side in (1, -1))
    plain, kept = (learn(linear, "lumen", having, lacking, kept=k) for k in (Kept(), Kept(read=read)))
    assert plain.vector @ grows > 2
    assert kept.vector @ grows == pytest.approx(0, abs=0.05)
    assert kept.facts["keeps"]["columns"] == ["cells"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A DCGAN of 16 px after a moment, on stripes."""
    from plenish import settings
    from plenish.datasets.writer import DatasetWriter

    home, rng = tmp_path_factory.mktemp("concepts"), np.random.default_rng(0)
    labels = LabelSchema("categorical", ("a", "b"))
    rows = [
        {
            "label": "ab"[i % 2], "group": f"g{i // 4}", "source": f"{i}.png", "bright": float(i % 5),
            "part": ("train", "train", "train", "val", "test")[i // 4 % 5],
        }
        for i in range(60)
    ]  # fmt: skip
    pixels = np.stack(
        [np.full((16, 16, 3), 40 + 40 * (i % 5)) + rng.integers(0, 9, (16, 16, 3)) for i in range(60)]
    )
    with DatasetWriter(home / "data", name="data", size=16, channels=3, labels=labels, config={}) as writer:
        writer.add(pixels.astype(np.uint8), rows)
    with settings.use(quiet=True):
        train_gan(
            home / "data",
            home / "run",
            recipe="dcgan-small",
            kimg=0.064,
            batch=16,
            width=16,
            checkpoint_kimg=0.064,
        )
    return home


def test_a_concept_goes_from_learning_to_a_file_and_back(trained, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    learnt = verbs.learn(run, "first", having=["0-4"], lacking=["5-9"]).summary()
    assert [row["name"] for row in verbs.list_concepts(run).rows] == ["first"]
    before = concepts.read(run, "first")
    assert learnt["scale"] == before.scale
    assert np.linalg.norm(before.vector) == pytest.approx(1)
    with pytest.raises(InputError):
        verbs.learn(run, "first", having=["0"], lacking=["1"])
    verbs.export(run, "first", tmp_path / "first.json")
    with pytest.raises(InputError, match="'plenish concept export' wrote"):
        verbs.import_concept(run, tmp_path / "none.json")
    verbs.import_concept(run, tmp_path / "first.json", rename="second")
    after = concepts.read(run, "second")
    assert after.vector.tolist() == before.vector.tolist()
    assert (after.scale, after.facts) == (before.scale, before.facts)
    edit = verbs.edit(run, tmp_path / "edit", ["first", "second=-1"], strength=(0.0, 2.0), frames=2)
    latents = np.load(tmp_path / "edit" / "latents.npy")
    assert latents[::2] == pytest.approx(latents[1::2], abs=1e-5)  # They cancel.
    assert edit.summary()["points"] == 8
    verbs.remove(run, "first")
    for wrong in ("first", "../run"):
        with pytest.raises(InputError):
            concepts.read(run, wrong)
    vector = run / "concepts" / "second.npy"
    vector.write_bytes(vector.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(InputError):
        concepts.read(run, "second")


def test_a_concept_of_another_generator_and_an_altered_file_are_refused(trained, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    verbs.learn(run, "one", having=["0"], lacking=["1"])
    verbs.export(run, "one", tmp_path / "one.json")
    content = json.loads((tmp_path / "one.json").read_text())
    (tmp_path / "one.json").write_text(json.dumps(content | {"scale": 9.0}))
    with pytest.raises(InputError):
        verbs.import_concept(run, tmp_path / "one.json", rename="two")
    found = concepts.read(run, "one")
    facts = {**found.facts, "generator": {"run_id": "other", "weights_sha256": "0"}}
    concepts.keep(run, Concept("foreign", found.vector, "z", 1.0, (), facts))
    with pytest.raises(InputError):
        concepts.load(LatentSpace(run), "foreign")


def test_a_classifier_tells_the_effect_where_no_column_of_the_dataset_can_be_read(monkeypatch) -> None:
    from plenish.latent import concept_verbs
    from plenish.latent.concept_options import EffectOptions

    def refused(data, columns, split):
        raise InputError("no column")

    data = SimpleNamespace(path="tiles", labels=LabelSchema("categorical", ("a", "b")))
    monkeypatch.setattr(concept_verbs, "Dataset", SimpleNamespace(open=lambda path: data))
    monkeypatch.setattr(concept_verbs, "readable_columns", lambda data: {})
    monkeypatch.setattr(concept_verbs, "column_reader", refused)
    monkeypatch.setattr(concept_verbs, "_classifier", lambda run, space: "classifier")
    asked = {"truth": Path("tiles"), "features": False}
    found = concept_verbs.judges(None, EffectOptions(classifier=Path("run"), **asked))
    assert (found.columns, found.classes) == (None, "classifier")
    for more in ({"classifier": Path("run"), "target": "lumen"}, {}):
        with pytest.raises(InputError, match="no column"):
            concept_verbs.judges(None, EffectOptions(**asked, **more))


def test_a_column_is_learnt_its_effect_measured_and_directions_kept(trained, tmp_path, monkeypatch) -> None:
    run, data = tmp_path / "run", trained / "data"
    shutil.copytree(trained / "run", run)
    from plenish.latent import attributes

    quick = attributes.ReadingConfig(steps=30, batch=16)
    reader = attributes.column_reader(attributes.Dataset.open(data), ["bright"], config=quick)
    assert reader.checks["bright"]["measure"] == "r2"
    assert reader.checks["bright"]["value"] > 0.5
    classes = attributes.class_reader(attributes.Dataset.open(data), config=quick)
    assert set(classes(np.zeros((2, 16, 16, 3), np.uint8))) == {"a", "b"}
    verbs.learn(run, "one", having=["0-4"], lacking=["5-9"])
    space = LatentSpace(run)
    amounts = [(concepts.load(space, "one"), 1.0)]
    monkeypatch.setattr(concept_verbs, "column_reader", lambda *_: reader)
    monkeypatch.setattr(concept_verbs, "class_reader", lambda *_: classes)
    how = LearnOptions(keep_columns=["class", "bright"], images=40)
    kept = verbs.learn(run, "kept", having=["0-4"], lacking=["5-9"], how=how, truth=data).summary()
    assert kept["keeps"]["columns"] == ["class b", "bright"]
    concepts.remove(run, "kept")
    with pytest.raises(InputError):
        verbs.learn(run, "kept", having=["0-4"], lacking=["5-9"], how=how)
    judges = Judges(reader, classes)
    monkeypatch.setattr(concept_effects, "_AT_ONCE", 7)
    effect = measure_effect(space, amounts, [0.0, 1.0], judges, target="bright", n=20)
    still = effect.facts["strengths"][0]["changes"]
    assert (still["bright"]["value"], still["class"]["value"]) == (0, 1)
    shown = effect.shown()
    assert [len(shown[f"effect at strength {s}"]) for s in (0, 1)] == [2, 2]
    assert {row["unit"] for row in shown["effect at strength 1"]} == {"sd", "share kept"}
    monkeypatch.setattr(concept_verbs, "domain_extractor", lambda *_: None)
    asked = {"truth": data, "n": 4, "strength": (1.0,)}
    told = verbs.effect(run, ["one"], out=tmp_path / "new" / "effect.json", label="b", **asked)
    assert files.read_record(tmp_path / "new" / "effect.json")["seeds"] == told.facts["seeds"]
    changed = space.draw(range(1_000_000, 1_000_004), space.label("b"))
    moved = concepts.move(space, changed, amounts)
    expected = (reader(space.images(moved))["bright"] - reader(space.images(changed))["bright"]).mean()
    (level,) = told.facts["strengths"]
    assert level["changes"]["bright"]["value"] * reader.targets[0].std == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="already exists"):
        verbs.effect(run, ["one"], out=tmp_path / "new" / "effect.json", **asked)
    directions_verb(run, tmp_path / "found", n=3, keep_as="axis", pick=[1, 3], strength=(-1.0, 1.0))
    assert concepts.names(run) == ["axis-1", "axis-3", "one"]
    with pytest.raises(InputError):
        directions_verb(run, tmp_path / "again", n=3, keep_as="axis")
    with pytest.raises(InputError):
        attributes.column_reader(attributes.Dataset.open(data), ["brigt"])
