"""Depthwise convolutions that are fast under bfloat16 autocast on a CPU.

oneDNN computes them fast in bfloat16 forwards, and backwards several times as slowly as in float32: there the
gradients are computed in float32, which makes them more exact too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _MixedConvolution(torch.autograd.Function):
    """Forward in bfloat16, backward in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: tuple[Any, ...]) -> Tensor:
        low = x.bfloat16()
        ctx.save_for_backward(low, weight)
        ctx.how, ctx.biased, ctx.dtype = how, bias is not None, x.dtype
        low_bias = None if bias is None else bias.bfloat16()
        return torch.conv2d(low, weight.bfloat16(), low_bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased and ctx.needs_input_grad[2]]
        sizes = [weight.shape[0]] if ctx.biased else None
        by_x, by_weight, by_bias = torch.ops.aten.convolution_backward(
            gradients[0].float(), x.float(), weight.float(), sizes, stride, padding, dilation, False, [0, 0],
            groups, wanted,
        )  # fmt: skip
        return None if by_x is None else by_x.to(ctx.dtype), by_weight, by_bias, None


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution; outside bfloat16 autocast on a CPU it is torch's own.

    Attributes:
        pads_same: pad by the image's size as TensorFlow does, so that the output has 1/stride of it.
    """

    pads_same: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """N×C×H×W → N×C×h×w."""
        if self.pads_same:
            edges: list[int] = []
            for axis in (1, 0):  # F.pad takes the last dimension first.
                side, stride = input.shape[2 + axis], self.stride[axis]
                reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
                missing = max((-(-side // stride) - 1) * stride + reach - side, 0)
                edges += [missing // 2, missing - missing // 2]
            input = functional.pad(input, edges)
        return super().forward(input)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not mixed or input.device.type != "cpu" or not torch.is_grad_enabled():
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        how = (self.stride, self.padding, self.dilation, self.groups)
        with torch.autocast("cpu", enabled=False):
            found: Tensor = _MixedConvolution.apply(input, weight, bias, how)
            return found


def with_fast_depthwise(network: nn.Module, same: type[nn.Conv2d]) -> nn.Module:
    """The network, its depthwise convolutions made `DepthwiseConv2d`.

    Args:
        network: changed in place.
        same: the class of convolutions that pad as `pads_same` does.
    """
    for module in network.modules():
        if not isinstance(module, nn.Conv2d) or type(module) not in (nn.Conv2d, same):
            continue
        plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if plain and module.groups == module.in_channels > 1:
            pads_same = type(module) is same
            made: Any = module
            made.__class__ = DepthwiseConv2d  # Parameters and names stay.
            made.pads_same = pads_same
    return network
