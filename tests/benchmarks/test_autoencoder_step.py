"""What is raced is the same training, and every recipe can be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import baseline
from plenish.commands.bench import bench_autoencoder
from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.training.autoencoder import AutoencoderLearner
from plenish.training.engine import Engine
from plenish.training.reconstruction import Method


def test_a_queue_is_raced_variant_by_variant(one_process: None, tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text(
        "kind: autoencoder-queue\nnetwork: {filters: [4, 4]}\ntraining: {batch: 4}\n"
        "variants: {a: {network: {latent_features: 3}}, b: {network: {latent_features: none}}}\n"
    )
    result = bench_autoencoder(recipe=str(recipe), size=16, rounds=1, out=tmp_path / "out.json")
    assert [row["recipe"] for row in result.rows] == ["two: a", "two: b"]
    assert all(row["images_per_s"] > 0 < row["baseline_images_per_s"] for row in result.rows)
    assert (tmp_path / "out.json").is_file()


@pytest.mark.parametrize(
    "config", [AutoencoderConfig(16, 3, (4, 6), 5), AutoencoderConfig(10, 1, (4,), None)]
)
def test_the_plain_step_trains_the_same_network_to_the_same_weights(
    config: AutoencoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)  # No output is outside [-1, 1], where only the baseline clips.
    # Images that are multiples of 1/255, and both optimisers with the same start: the same step.
    pixels = torch.randint(0, 256, (4, config.size, config.size, config.channels), dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    made: list[Autoencoder] = []

    def build(config: AutoencoderConfig) -> Autoencoder:
        torch.manual_seed(1)
        made.append(Autoencoder(config))
        return made[-1]

    method, cpu = Method(batch=4), Engine(torch.device("cpu"), "float32")
    learner = AutoencoderLearner(build(config), method, cpu)
    monkeypatch.setattr(baseline, "Autoencoder", build)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: images)
    plain = baseline.autoencoder_step(config, method, cpu.device)
    for number in range(3):
        plain()
        learner.update(learner.blocks(pixels), (0, number))
    for ours, theirs in zip(made[0].parameters(), made[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"rounds": 0}, "1 round"),
        ({"channels": 2}, "1 or 3"),
        ({"recipe": "dcgan"}, "train generator"),
    ],
)
def test_impossible_benchmarks_are_refused(more: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        bench_autoencoder(**more)
