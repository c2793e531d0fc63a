"""The passes of a GAN step that are differentiated once, replayed as CUDA graphs.

A step of a small network is some hundred launches, and the host that makes them is slower than the GPU
(DCGAN at 64 px, batch 64: a GPU busy for a third of the time). Recorded once, a pass is one launch. Passes
whose gradient is differentiated again, as for gradient penalties, cannot be recorded and stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plenish.errors import first_line
from plenish.progress import warn
from plenish.training.engine import Engine

SMALL = 2**20
"""Pixels of a batch up to which the host is the limit; above, graphs would only hold memory."""
_NEAR = 0.02
"""Relative distance at which a replay counts as another result; the library may take other algorithms."""


class _Pass(nn.Module):
    """One call of a network; the tensors that it takes are all that may change between two calls."""

    def __init__(self, network: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self._call = network, call

    def forward(self, *tensors: Tensor) -> Tensor:
        return self._call(*tensors)


class Passes:
    """Calls of networks, recorded when they come for the first time.

    A recording holds for tensors of the same shapes that ask for the same gradients; others are computed as
    usual, and so is everything after a recording that failed or does not repeat the result.
    """

    def __init__(self, engine: Engine, pixels: int) -> None:
        """Record on CUDA, where a batch has few pixels, unless PLENISH_CUDA_GRAPHS is `off`.

        Args:
            engine: device and precision.
            pixels: of a batch.
        """
        asked = os.environ.get("PLENISH_CUDA_GRAPHS", "on") != "off"
        self.recording = asked and engine.device.type == "cuda" and pixels <= SMALL
        self._engine = engine
        self._recorded: dict[tuple[Any, ...], Callable[..., Tensor]] = {}

    def run(
        self, name: str, network: nn.Module, call: Callable[..., Tensor], *given: Tensor | None
    ) -> Tensor:
        """call(*given), a pass of the network, where the tensors are not None.

        Args:
            name: tells calls of the same network apart.
            network: whose weights and buffers it uses.
            call: what computes the pass of the tensors.
            given: its arguments, of which those behind a None are None.
        """
        tensors = [tensor for tensor in given if tensor is not None]
        if not self.recording:
            return call(*tensors)
        trained = sum(parameter.requires_grad for parameter in network.parameters())
        key = (name, torch.is_grad_enabled(), trained, *((t.shape, t.requires_grad) for t in tensors))
        if key not in self._recorded:
            try:
                self._recorded[key] = self._record(_Pass(network, call), tensors)
            except (RuntimeError, AssertionError) as error:
                self.recording = False
                warn(f"CUDA graphs are not used, training goes on without: {first_line(error)}")
                return call(*tensors)
        return self._recorded[key](*tensors)

    def _record(self, module: _Pass, tensors: list[Tensor]) -> Callable[..., Tensor]:
        """The pass as a graph; networks and random numbers are as before.

        Raises:
            RuntimeError: it cannot be recorded, or its replay gives something else.
        """
        device, call = self._engine.device, module.forward
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]

        def restore() -> None:
            for buffer, value in buffers:
                buffer.copy_(value)

        def samples() -> list[Tensor]:
            return [t.detach().clone().requires_grad_(t.requires_grad) for t in tensors]

        half = self._engine.precision == "bfloat16"
        devices = [device] if device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices=devices),
            torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False),
        ):
            expected = _outcome(module, call, samples())
            if any(now is not then for now, (then, _) in zip(module.buffers(), buffers, strict=True)):
                raise RuntimeError("a pass replaces buffers, which a replay would not see")
            restore()
            capture = torch.cuda.make_graphed_callables
            recorded: Callable[..., Any] = capture(module, tuple(samples()), allow_unused_input=True)
            restore()
            found = _outcome(module, recorded, samples())
            restore()
        for ours, theirs in zip(found, expected, strict=True):
            if not (ours - theirs).norm() <= _NEAR * theirs.norm():
                raise RuntimeError("the replay of a recorded pass differs from the pass itself")
        return recorded


def _outcome(module: nn.Module, call: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Result of a pass and the gradient of half its squares by inputs and weights, from one random state."""
    torch.manual_seed(0)
    out = call(*inputs)
    leaves = [t for t in [*inputs, *module.parameters()] if t.requires_grad]
    if not out.requires_grad:
        return [out.float().clone()]
    gradients = torch.autograd.grad(0.5 * out.float().square().sum(), leaves, allow_unused=True)
    # Together, since that of a bias in front of a batch norm is nothing but rounding. Both are copies: a
    # replay writes its results into the same memory again.
    together = torch.cat([gradient.float().flatten() for gradient in gradients if gradient is not None])
    return [out.detach().float().clone(), together]
