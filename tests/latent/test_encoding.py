"""Encodings as an array beside a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plenish.commands.encode import encode
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.errors import InputError
from plenish.training.autoencoder_model import load_autoencoder


def _run(data: Path, run: Path, **more: object) -> Path:
    arguments: dict = {"filters": [4, 4], "latent_features": 6, "batch": 8, "epochs": 1, "errors": False}
    train_autoencoder(data, run, **(arguments | more))
    return run


@pytest.mark.parametrize(
    ("more", "features", "space"),
    [
        ({}, 6, "latent"),
        ({"latent_features": "none"}, 4 * 4 * 4, "bottleneck"),
        ({"variational": True}, 6, "latent"),
    ],
)
def test_row_i_is_image_i_whatever_its_part(
    stripes, tmp_path: Path, more: dict, features: int, space: str
) -> None:
    data = stripes()
    run = _run(data.path, tmp_path / "run", **more)
    made = encode(run, data.path, name="codes")
    array, about = data.array("codes"), data.array_manifest("codes")
    assert array.shape == made.shape == (60, features)
    assert about["space"] == space
    assert about["model"]["run_id"] == load_autoencoder(run).run.id
    model = load_autoencoder(run)
    for i in (0, 17, 59):
        np.testing.assert_allclose(model.encode(data.pixels.read(np.array([i])))[0], array[i], atol=1e-5)
    assert data.test_reads() == 1


def test_reconstructions_are_what_the_network_gives(stripes, tmp_path: Path) -> None:
    data = stripes(size=20)
    model = load_autoencoder(_run(data.path, tmp_path / "run", filters=[4, 4, 4]))
    images = data.pixels.read(np.arange(3))
    made = model.reconstruct(images)
    expected = model.network(model.engine.to_images(images)).permute(0, 2, 3, 1).numpy() / 2 + 0.5
    assert made.shape == images.shape
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_what_does_not_fit_is_told_before_anything_is_written(stripes, tmp_path: Path) -> None:
    data = stripes()
    run = _run(data.path, tmp_path / "run")
    other = stripes("larger", size=32)
    with pytest.raises(InputError, match="--size 16"):
        encode(run, other.path)
    encode(run, data.path)
    with pytest.raises(InputError, match=r"'cae'.*--name"):
        encode(run, data.path)
    with pytest.raises(InputError, match=r"'\.\./out'"):
        encode(run, data.path, name="../out")
    with pytest.raises(InputError, match="'kimg-7'"):
        encode(run, data.path, name="other", checkpoint="kimg-7")
    assert other.array_names() == []
    assert data.array_names() == ["cae"]
