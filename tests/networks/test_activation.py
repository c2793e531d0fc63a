from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from plenish.networks.activation import dropout_factors, leaky_relu_


def test_it_is_the_librarys_leaky_relu_differentiable_twice() -> None:
    x = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.equal(leaky_relu_(x * 1, 0.3), F.leaky_relu(x, 0.3))
    assert torch.autograd.gradcheck(lambda x: leaky_relu_(x * 1, 0.3), x)
    assert torch.autograd.gradgradcheck(lambda x: leaky_relu_(x * x, 0.3), x)


def test_a_change_in_place_between_two_differentiations_is_refused() -> None:
    x, v = (torch.randn(4, 7, requires_grad=True) for _ in range(2))
    out = leaky_relu_(x * 1)
    (gradient,) = torch.autograd.grad(out, x, v, create_graph=True)
    with torch.no_grad():
        out.neg_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient.sum().backward()


def test_activations_are_freed_by_the_backward_pass() -> None:
    x, v = (torch.randn(4, 7, requires_grad=True) for _ in range(2))
    (gradient,) = torch.autograd.grad(leaky_relu_(x * 1), x, v, create_graph=True)
    gradient.sum().backward()
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        gradient.sum().backward()


def test_with_dropout_every_number_is_dropped_or_scaled(device: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 40, device=device, requires_grad=True)
    out = leaky_relu_(x * 1, 0.2, 0.25)
    kept = out != 0
    assert torch.allclose(out[kept], (F.leaky_relu(x, 0.2) / 0.75)[kept])
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient != 0, kept)
    assert torch.allclose(gradient * x, out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_the_share_dropped_and_the_mean(dtype: torch.dtype, drop: float, device: str) -> None:
    torch.manual_seed(1)
    factors = dropout_factors((100_001,), torch.empty(1, dtype=dtype, device=device), drop)
    assert factors.unique().numel() == 2
    assert float((factors == 0).double().mean()) == pytest.approx(drop, abs=0.005)
    assert float(factors.double().mean()) == pytest.approx(1, abs=0.06)


def test_neighbours_are_dropped_independently_and_seeded(device: str) -> None:
    torch.manual_seed(2)
    like = torch.empty(2, 6, 64, 64, dtype=torch.bfloat16, device=device).contiguous(
        memory_format=torch.channels_last
    )
    factors = dropout_factors(like.shape, like, 0.5)
    assert factors.is_contiguous(memory_format=torch.channels_last)
    dropped = (factors == 0).float().sub(0.5).mul(2)
    for axis in range(4):
        product = dropped.narrow(axis, 1, like.shape[axis] - 1) * dropped.narrow(
            axis, 0, like.shape[axis] - 1
        )
        assert product.mean().abs() < 0.03
    torch.manual_seed(2)
    assert torch.equal(dropout_factors(like.shape, like, 0.5), factors)
    assert not torch.equal(dropout_factors(like.shape, like, 0.5), factors)


def test_factors_of_a_batch_do_not_overlap_where_a_slice_of_one_image_gives_the_format(device: str) -> None:
    for strides in ((1, 16, 4, 1), (1, 1, 12, 3)):  # of one image, where the first means nothing
        like = torch.empty(48, device=device).as_strided((1, 3, 4, 4), strides)
        factors = dropout_factors((5, 3, 4, 4), like, 0.5)
        last = strides[1] == 1
        assert factors.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def test_a_gradient_penalty_sends_no_zeros_back_through_the_network() -> None:
    weight = torch.randn(8, 8, requires_grad=True)

    def flops(activation: object) -> int:
        x = torch.randn(4, 8, requires_grad=True) * 1.0
        with FlopCounterMode(display=False) as counter:
            h = activation(x @ weight)
            (gradient,) = torch.autograd.grad((h @ weight).sum(), x, create_graph=True)
            gradient.square().sum().backward()
        return counter.get_total_flops()

    assert flops(leaky_relu_) < flops(lambda x: F.leaky_relu(x, 0.2))
