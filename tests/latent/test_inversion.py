from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from plenish import settings
from plenish.commands.invert import invert as invert_images
from plenish.commands.train_generator import train_gan
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.latent.edit_options import GeneratorOptions, PointOptions
from plenish.latent.inversion import invert, rounds
from plenish.latent.inversion_options import ImageOptions, InversionOptions
from plenish.latent.inversion_search import LBFGS
from plenish.latent.selection import chosen_points, load_space
from plenish.latent.space import LatentSpace
from plenish.runs import Run

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]
BARE = InversionOptions(steps=80, starts=2, encoder=False, prior=0)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Run that is trained once."""
    folder = tmp_path_factory.mktemp("inversion")
    writer = DatasetWriter(
        folder / "data", name="noise", size=16, channels=3, config={},
        labels=LabelSchema("categorical", ("class0", "class1")),
    )  # fmt: skip
    with settings.use(quiet=True), writer:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
        writer.add(pixels, [{"label": f"class{i % 2}", "group": f"g{i}", "part": "train"} for i in range(20)])
    with settings.use(quiet=True):
        train_gan(
            folder / "data", folder / "run", recipe="dcgan", kimg=0.02, batch=10, checkpoint_kimg=0.02,
            validation=False, options=TINY,
        )  # fmt: skip
    return folder / "run"


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(once, tmp_path / "run"))


@pytest.fixture
def space(trained: Run) -> LatentSpace:
    with settings.use(precision="float32", quiet=True):
        return LatentSpace(trained.path)


class Linear(torch.nn.Module):
    """A linear map from z in place of the generator, whose best z is known."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.network = network
        self.matrix = 0.01 * torch.randn(8, 3 * 16 * 16, generator=rng)
        self.bias = 0.1 * torch.randn(3 * 16 * 16, generator=rng)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def sample(self, z: torch.Tensor, y: Any = None, **options: Any) -> torch.Tensor:
        return (z @ self.matrix + self.bias).view(-1, 3, 16, 16)


def test_of_a_linear_generator_it_is_the_least_squares_solution(space: LatentSpace) -> None:
    linear = Linear(space.network)
    space.network = linear  # type: ignore[assignment]
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    y = np.eye(2, dtype=np.float32)[:1]
    found = invert(space, images, BARE, y)
    aim = (torch.from_numpy(images).permute(0, 3, 1, 2).double() / 127.5 - 1).flatten(1) - linear.bias
    best = torch.linalg.lstsq(linear.matrix.T.double(), aim.T).solution.T
    np.testing.assert_allclose(found.points.values, best.numpy(), rtol=1e-2, atol=0.02)
    error = (best @ linear.matrix.double() - aim).square().mean(1) / 4
    np.testing.assert_allclose(found.error, error.numpy(), rtol=1e-5)


def test_a_quadratic_is_minimised_by_each_row() -> None:
    scales = torch.logspace(0, 3, 6).expand(2, -1)
    centre = torch.tensor([[1.0] * 6, [-2.0] * 6])

    def evaluate(x: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        off = x - centre[rows]
        return (scales[rows] * off.square()).sum(1) / 2, scales[rows] * off

    search = LBFGS(evaluate, torch.zeros(2, 6), torch.arange(2))
    for _ in range(80):
        search.step()
    np.testing.assert_allclose(search.best, centre, atol=1e-3)


def test_own_images_are_found_with_their_labels(space: LatentSpace) -> None:
    points = space.draw(range(6))
    images = space.images(points)
    found = invert(space, images, dataclasses.replace(BARE, steps=200))
    assert (found.error < 1e-3).all()
    assert found.evaluations == len(found.curve) == 200
    assert (np.diff(found.curve, axis=0) <= 0).all()
    np.testing.assert_allclose(found.curve[-1], found.error, rtol=0.01, atol=1e-7)
    assert np.abs(found.images.astype(int) - images).mean() < 8


def test_it_is_repeated_exactly_and_images_do_not_touch_each_other(space: LatentSpace) -> None:
    images = space.images(space.draw(range(3)))
    first, again = invert(space, images, BARE), invert(space, images, BARE)
    np.testing.assert_array_equal(first.points.values, again.points.values)
    alone = [invert(space, images[i : i + 1], BARE) for i in range(3)]
    np.testing.assert_allclose([one.error[0] for one in alone], first.error, atol=2e-4)


def test_searched_labels_are_those_of_the_images(space: LatentSpace) -> None:
    shift = torch.tensor([-0.5, 0.5])
    network = space.network

    class Coloured(Linear):
        def sample(self, z: torch.Tensor, y: Any = None, **options: Any) -> torch.Tensor:
            side = torch.ones(1, 3, 16, 16)
            side[..., 8:] = 0
            return super().sample(z) + (y @ shift)[:, None, None, None] * side

    space.network = Coloured(network)  # type: ignore[assignment]
    points = space.draw(range(4), np.eye(2, dtype=np.float32)[[0, 0, 1, 1]])
    images = space.images(points)
    for label, starts in (("search", 2), ("relax", 2), ("relax", 1)):
        found = invert(space, images, dataclasses.replace(BARE, label=label, starts=starts))
        assert len(found.curve) == 80
        assert found.points.y is not None
        np.testing.assert_array_equal(found.points.y, points.y)
    fixed = invert(space, images, dataclasses.replace(BARE, label="class0"))
    assert fixed.points.y is not None
    assert fixed.points.y[:, 0].all()


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
@pytest.mark.parametrize("label", [None, "relax"])
def test_the_generator_is_evaluated_as_often_as_is_asked(
    space: LatentSpace, method: Any, label: str | None
) -> None:
    evaluated = []

    class Counting(Linear):
        def sample(self, z: torch.Tensor, y: Any = None, **options: Any) -> torch.Tensor:
            evaluated.append(len(z) if z.requires_grad or z.grad_fn is not None else 0)
            return super().sample(z)

    space.network = Counting(space.network)  # type: ignore[assignment]
    images = np.zeros((3, 16, 16, 3), np.uint8)
    how = dataclasses.replace(BARE, method=method, label=label, steps=24, starts=4)
    assert invert(space, images, how).evaluations == 24
    assert sum(evaluated) == 3 * 24


def test_rounds_cost_what_is_asked() -> None:
    for steps, starts in ((500, 4), (500, 7), (20, 5), (28, 7), (2, 1)):
        parts = rounds(steps, starts)
        assert sum(alive * each for alive, each in parts) == steps
        assert parts[0][0] == starts
        assert parts[-1][0] == 1
    assert rounds(80, 1, 2) == [(1, 40), (1, 40)]
    assert rounds(500, 4, 2) == rounds(500, 4)


def test_the_encoder_is_kept_with_the_run(space: LatentSpace) -> None:
    images = space.images(space.draw(range(2)))
    how = dataclasses.replace(BARE, encoder=True, encoder_steps=3, steps=8)
    first = invert(space, images, how)
    (folder,) = (space.loaded.run.path / "encoders").iterdir()
    again = invert(space, images, how)
    assert again.encoder == first.encoder
    np.testing.assert_array_equal(first.points.values, again.points.values)
    (folder / "encoder.safetensors").write_bytes(b"damaged")
    assert invert(space, images, how).encoder["steps"] == 3


def test_the_folder_holds_what_every_tool_takes(trained: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    how = dataclasses.replace(BARE, steps=10)
    edit = invert_images(trained.path, tmp_path / "out", paths, how=how)
    table = pd.read_csv(edit.path / "inversion.csv")
    assert list(table["id"]) == [str(path) for path in paths]
    assert np.load(edit.path / "latents.npy").shape == (2, 8)
    assert len(pd.read_csv(edit.path / "curve.csv")) == 10
    record = json.loads((edit.path / "edit.json").read_text())
    assert record["result"]["mse_median"] == pytest.approx(table["mse"].median())
    found = chosen_points(
        load_space(trained.path, GeneratorOptions()), PointOptions(latents=edit.path / "latents.npy")
    )
    assert len(found) == 2


def test_images_that_do_not_fit_are_refused(trained: Run, space: LatentSpace, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).save(large)
    with pytest.raises(InputError, match="--fit"):
        invert_images(trained.path, tmp_path / "out", [large], how=BARE)
    assert not (tmp_path / "out").exists()
    how = dataclasses.replace(BARE, steps=8)
    invert_images(trained.path, tmp_path / "out", [large], which=ImageOptions(fit=True), how=how)
    for shape in ((1, 20, 20, 3), (1, 16, 16, 1), (0, 16, 16, 3)):
        with pytest.raises(InputError):
            invert(space, np.zeros(shape, np.uint8), BARE)
    images = np.zeros((1, 16, 16, 3), np.uint8)
    for wrong in ({"label": "class9"}, {"space": "w"}):
        with pytest.raises(InputError):
            invert(space, images, dataclasses.replace(BARE, **wrong))
    with pytest.raises(InputError):
        InversionOptions(steps=3, starts=2)


def test_a_tuned_generator_is_nearer_and_is_used_where_it_is_named(trained: Run, tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    how = dataclasses.replace(BARE, steps=8, tune=20)
    with settings.use(precision="float32", quiet=True):
        edit = invert_images(trained.path, tmp_path / "out", [path], how=how)
        row = pd.read_csv(edit.path / "inversion.csv").iloc[0]
        assert row["mse_tuned"] < row["mse"]
        tuned = GeneratorOptions(weights=edit.path / "tuned-00.safetensors")
        for which, column in ((GeneratorOptions(), "mse"), (tuned, "mse_tuned")):
            space = load_space(trained.path, which)
            point = chosen_points(space, PointOptions(latents=edit.path / "latents.npy"))
            off = space.images(point)[0] / 255 - np.asarray(Image.open(path)) / 255
            assert np.square(off).mean() == pytest.approx(row[column], rel=0.02)


def test_features_of_the_training_data_join_the_error(space: LatentSpace) -> None:
    images = space.images(space.draw(range(2)))
    how = dataclasses.replace(BARE, features=0.5, steps=20)
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(3 * 16 * 16, 4, generator=rng)
    found = invert(space, images, how, features=lambda x: x.flatten(1) @ matrix)
    plain = invert(space, images, dataclasses.replace(how, features=0.0))
    assert not np.array_equal(found.points.values, plain.points.values)
    shutil.rmtree(space.loaded.run.config["data"]["path"], ignore_errors=True)
    with pytest.raises(InputError, match="no longer there"):
        invert(space, images, how)
