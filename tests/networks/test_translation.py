from __future__ import annotations

import pytest
import torch

from plenish.errors import InputError
from plenish.networks.translation import PatchDiscriminator, TranslationConfig, Translator

SMALL = TranslationConfig(16, 1, 3, width=4, max_width=8, d_width=4, d_layers=1)


@pytest.mark.parametrize(("size", "inputs", "channels"), [(16, 1, 3), (24, 3, 1), (28, 2, 3)])
def test_a_picture_of_the_same_size_whatever_is_beside_it(size: int, inputs: int, channels: int) -> None:
    torch.manual_seed(0)
    network = Translator(TranslationConfig(size, inputs, channels, width=4, d_layers=1))
    images = torch.rand(3, inputs, size, size) * 2 - 1
    made = network.translate(images)
    assert made.shape == (3, channels, size, size)
    assert made.abs().max() <= 1
    torch.testing.assert_close(network.translate(images[1:2]), made[1:2])
    assert network.training


def test_only_the_seed_draws_and_the_random_state_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    network, images = Translator(SMALL), torch.rand(2, 1, 16, 16)
    before = torch.random.get_rng_state()
    made = [network.translate(images, seed) for seed in (None, None, 1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[2], made[3])
    assert not torch.equal(made[2], made[4])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_an_answer_of_the_judge_depends_on_its_patch_alone(layers: int) -> None:
    config = TranslationConfig(96, 1, 3, d_width=2, d_layers=layers)
    assert config.patch == {1: 16, 2: 34, 3: 70}[layers]
    judge = PatchDiscriminator(config)
    judge.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in judge.norms)
    for parameter in judge.parameters():
        torch.nn.init.constant_(parameter, 0.01)  # No weight hides a pixel.
    picture = torch.ones(1, 3, 96, 96, requires_grad=True)
    logits = judge(torch.zeros(1, 1, 96, 96), picture)
    middle = logits.shape[1] // 2
    (gradient,) = torch.autograd.grad(logits[0, middle, middle], picture)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == config.patch


def test_the_published_judge_has_the_published_weights() -> None:
    with torch.device("meta"):
        judge = PatchDiscriminator(TranslationConfig(256, 3, 3))
    kernels = [p.numel() for p in judge.parameters() if p.ndim == 4]
    assert kernels == [16 * a * b for a, b in ((6, 64), (64, 128), (128, 256), (256, 512), (512, 1))]


def test_more_layers_than_pixels_are_refused() -> None:
    assert PatchDiscriminator(TranslationConfig(16, 1, 3, d_layers=2))(
        torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 16, 16)
    ).shape == (1, 2, 2)
    with pytest.raises(InputError, match="at most 2"):
        TranslationConfig(16, 1, 3, d_layers=3)
    with pytest.raises(InputError, match="--size 56 or 64"):
        TranslationConfig(68, 1, 3)


def test_a_configuration_is_rebuilt_from_plain_options() -> None:
    assert TranslationConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(InputError, match="width"):
        TranslationConfig.from_dict({**SMALL.to_dict(), "widht": 3})
