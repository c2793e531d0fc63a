"""Self-attention over an image's positions (Zhang et al. 2019, arXiv 1805.08318)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """x + γ·attention(x); keys and values are max-pooled 2×2, γ starts at 0, nothing has a bias.

    Queries and keys have an eighth of the channels, values half of them.
    """

    def __init__(self, channels: int, convolution: Callable[[int, int], nn.Module]) -> None:
        """Build from `convolution(channels_in, channels_out)`, which makes 1×1 convolutions."""
        super().__init__()
        narrow, wide = max(channels // 8, 1), max(channels // 2, 1)
        self.query = convolution(channels, narrow)
        self.key = convolution(channels, narrow)
        self.value = convolution(channels, wide)
        self.out = convolution(wide, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → the same shape; softmax over the pooled positions, in float32 inside."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = F.max_pool2d(self.key(x), 2).flatten(2)
        value = F.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        attended = torch.softmax(query @ key, -1) @ value
        maps = attended.transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma.to(x.dtype) * self.out(maps)
        return out
