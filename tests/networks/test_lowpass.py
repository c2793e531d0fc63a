"""Every way to compute the [1, 3, 3, 1] filter equals the convolution with sixteen taps, derivatives too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.networks import lowpass

TAPS = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64
FORMATS = [torch.contiguous_format, torch.channels_last]
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "halve": lowpass.halve,
    "smooth, larger": lambda x: lowpass.smooth(x, 2),
    "smooth, smaller": lambda x: lowpass.smooth(x, 1, 4.0),
}


def _expected(name: str, x: Tensor) -> Tensor:
    taps = TAPS.to(x).expand(x.shape[1], 1, 4, 4)
    stride, padding = (2 if name == "halve" else 1), (2 if name == "smooth, larger" else 1)
    gain = 4 if name == "smooth, smaller" else 1
    return F.conv2d(x, gain * taps, stride=stride, padding=padding, groups=x.shape[1])


def _derivatives(operation: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """The result, the gradient of half its squares, and the gradient of half the squares of that."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = operation(x)
    (first,) = torch.autograd.grad(0.5 * out.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(0.5 * first.square().sum(), x)
    return [out, first, second]


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("way", ["by_convolution", "by_slices"])
def test_results_and_derivatives_are_those_of_the_convolution(
    way: str, name: str, memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(lowpass, "filtered", getattr(lowpass, way))
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64, device=device).to(memory_format=memory_format)
    found, expected = (
        _derivatives(operation, x) for operation in (OPERATIONS[name], lambda v: _expected(name, v))
    )
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_the_device_takes_is_the_convolution(
    dtype: torch.dtype, name: str, memory_format: torch.memory_format, device: str
) -> None:
    x = torch.randn(2, 16, 12, 12, device=device).to(dtype, memory_format=memory_format)
    found = _derivatives(OPERATIONS[name], x)
    expected = _derivatives(lambda v: _expected(name, v), x.double())
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.double() - theirs).norm() < (1e-6 if dtype == torch.float32 else 1e-2) * theirs.norm()
        assert ours.dtype == dtype


@pytest.mark.parametrize("name", OPERATIONS)
def test_differentiable_twice(name: str) -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(OPERATIONS[name], x, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda v: OPERATIONS[name](v).square(), x, fast_mode=True)


def test_bilinear_doubling_equals_the_filter_inside() -> None:
    x = torch.randn(2, 3, 6, 6)
    spread = torch.zeros(2, 3, 12, 12)
    spread[:, :, ::2, ::2] = x
    filtered = F.conv2d(F.pad(spread, (2, 1, 2, 1)), 4 * TAPS.expand(3, 1, 4, 4), groups=3)
    assert torch.allclose(lowpass.double(x)[:, :, 1:-1, 1:-1], filtered[:, :, 1:-1, 1:-1], atol=1e-6)


KERNEL = """
import torch
from plenish.networks.lowpass import by_slices
from plenish.networks.lowpass_kernel import filtered

torch.manual_seed(0)
# Few rows, since each is interpreted; the second shape's are longer than what one program computes.
for shape, layout in (((1, 2, 5, 6), torch.contiguous_format), ((1, 300, 3, 5), torch.channels_last)):
    for options in ((1, 1, 4.0), (2, 1, 1.0), (1, 2, 1.0)):
        for dtype, near in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
            x = torch.randn(shape).to(dtype, memory_format=layout)
            found = filtered(x, *options)
            torch.testing.assert_close(found.double(), by_slices(x.double(), *options), atol=near, rtol=near)
            assert found.is_contiguous(memory_format=layout), (shape, options)
            assert found.dtype == dtype
"""


def test_the_cuda_kernel_is_the_filter() -> None:
    # Triton's interpreter runs the kernel on a CPU; it decides on that when the kernel is defined.
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_cuda_kernel_compiles_to_wide_loads() -> None:
    # No GPU is needed for that. Loads of 16 bytes are what makes it as fast as the memory.
    triton = pytest.importorskip("triton")
    kernel = pytest.importorskip("plenish.networks.lowpass_kernel")._filter
    signature = dict.fromkeys(kernel.arg_names, "i32") | {"x": "*bf16", "out": "*bf16", "scale": "fp32"}
    whole = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in ("x", "out", "channels")}
    source = triton.compiler.ASTSource(
        fn=kernel, signature=signature | {"BLOCK": "constexpr"}, constexprs={"BLOCK": 1024}, attrs=whole
    )
    target = triton.backends.compiler.GPUTarget("cuda", 90, 32)
    ptx = triton.compile(source, target=target).asm["ptx"]
    assert ptx.count("ld.global.v4") == 16, "one for each tap"
    assert ptx.count("ld.global") == 16
