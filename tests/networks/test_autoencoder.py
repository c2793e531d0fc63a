"""Autoencoders: shapes, the encoder by itself, what they can and cannot represent."""

from __future__ import annotations

import pytest
import torch

from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig, Latent
from plenish.networks.reference_ops import reference_operators

SHAPES = [
    AutoencoderConfig(16, 3, (4, 8), 5),
    AutoencoderConfig(28, 1, (4, 6, 8), 7),
    AutoencoderConfig(20, 3, (4, 8, 8), None),
    AutoencoderConfig(16, 1, (4,), 3, variational=True),
    AutoencoderConfig(16, 3, (4, 8), 5, norm="batch"),
]


def _network(config: AutoencoderConfig, device: str) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(config).to(device).eval()


def _images(config: AutoencoderConfig, device: str, n: int = 3) -> torch.Tensor:
    shape = (n, config.channels, config.size, config.size)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1).to(device)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_images_come_back_in_their_size_and_range(config: AutoencoderConfig, device: str) -> None:
    network, x = _network(config, device), _images(config, device)
    made = network(x)
    assert made.shape == x.shape
    assert made.abs().max() <= 1
    encoded = network.encode(network.to_blocks(x)).mean
    assert encoded.flatten(1).shape == (3, config.encoding_size)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_an_image_is_encoded_alike_in_any_company(config: AutoencoderConfig, device: str) -> None:
    network, x = _network(config, device), _images(config, device, 4)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_blocks_lose_nothing(config: AutoencoderConfig, device: str) -> None:
    network, x = _network(config, device), _images(config, device)
    blocks = network.to_blocks(x)
    assert torch.equal(network.to_images(blocks), x)
    with reference_operators():
        assert torch.equal(network.to_blocks(x), blocks)
    real = network.real_blocks()
    assert real.sum() == config.channels * config.size**2
    assert real.shape[1:] == network.to_blocks(x).shape[1:]


def test_padding_copies_the_edge(device: str) -> None:
    config = AutoencoderConfig(6, 1, (2, 2), 2)
    network, x = _network(config, device), torch.full((1, 1, 6, 6), 0.5, device=device)
    assert config.padded == 8
    assert torch.equal(network.to_blocks(x), torch.full((1, 4, 4, 4), 0.5, device=device))


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_our_operators_give_what_the_library_gives(config: AutoencoderConfig, device: str) -> None:
    network, x = _network(config, device).train(), _images(config, device)
    gradients = []
    for plain in (False, True):
        network.zero_grad()
        if plain:
            with reference_operators():
                network(x).square().mean().backward()
        else:
            network(x).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_dense_layers_under_autocast_agree_with_float32(device: str) -> None:
    config = AutoencoderConfig(16, 3, (4, 8), 5)
    network, x = _network(config, device).train(), _images(config, device)
    gradients = []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            made = network.decode(network.encode(network.to_blocks(x)).mean)
        made.float().square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    for name, exact in gradients[0].items():
        found = gradients[1][name]
        assert found.dtype == torch.float32
        assert (found - exact).norm() < 0.05 * exact.norm(), name


def test_with_as_many_numbers_as_pixels_a_few_images_are_represented_whole() -> None:
    torch.manual_seed(0)
    network, x = Autoencoder(AutoencoderConfig(4, 1, (16,), 16)), torch.rand(8, 1, 4, 4) * 2 - 1
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    blocks = network.to_blocks(x)
    for _ in range(500):
        optimiser.zero_grad()
        (network.decode(network.encode(blocks).mean) - blocks).square().mean().backward()
        optimiser.step()
    assert (network(x) - x).abs().max() < 0.02


def test_divergence_of_known_normals() -> None:
    mean, log_variance = torch.tensor([[0.0, 0.0], [1.0, -2.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert torch.allclose(Latent(mean, log_variance).divergence(), torch.tensor([0.0, 2.5]))
    prior = torch.distributions.Normal(0.0, 1.0)
    made = torch.distributions.Normal(torch.tensor(0.3), torch.tensor(2.0))
    expected = torch.distributions.kl_divergence(made, prior)
    found = Latent(torch.tensor([[0.3]]), torch.tensor([[4.0]]).log()).divergence()
    assert torch.allclose(found, expected)
    assert torch.equal(Latent(mean, None).divergence(), torch.zeros(2))


def test_draws_have_the_mean_and_deviation_they_were_given() -> None:
    latent = Latent(torch.full((1, 20000), 2.0), torch.full((1, 20000), 9.0).log())
    drawn = latent.draw(torch.randn(1, 20000, generator=torch.Generator().manual_seed(0)))
    assert abs(float(drawn.mean()) - 2) < 0.1
    assert abs(float(drawn.std()) - 3) < 0.1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"filters": []}, "--filters"),
        ({"filters": [8, 0]}, "--filters"),
        ({"filters": [8, "x"]}, "--filters"),
        ({"latent_features": 0}, "--latent-features"),
        ({"latent_features": "many"}, "--latent-features"),
        ({"latent_features": "none", "variational": True}, "--variational needs"),
        ({"norm": "bach"}, "did you mean 'batch'"),
        ({"size": 4, "filters": [8, 16, 32]}, "at most 2 --filters"),
        ({"latent": 3}, "did you mean 'latent_features'"),
    ],
)
def test_impossible_shapes_are_told(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        AutoencoderConfig.from_dict(options)


def test_a_configuration_survives_json() -> None:
    for config in SHAPES:
        assert AutoencoderConfig.from_dict(config.to_dict()) == config
