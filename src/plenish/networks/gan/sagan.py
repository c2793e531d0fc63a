"""Self-attention GAN (Zhang et al. 2019, arXiv 1805.08318).

Residual blocks in both networks, spectral norm in all their layers (Miyato et al. 2018, arXiv 1802.05957),
self-attention at the largest map of at most 64 px; conditional batch norm in the generator and a projection
in the discriminator (Miyato and Koyama 2018, arXiv 1802.05637). Label embeddings are linear in y, so that
soft labels mix. Without labels: plain batch norm, no projection.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import option
from plenish.networks.attention import SelfAttention
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, WidthConfig
from plenish.networks.resampling import pooled_convolution, upsampled_convolution


@dataclasses.dataclass(frozen=True)
class SAGANConfig(WidthConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps at the full resolution; they double towards the base, up to `max_width`.
        max_width: most feature maps of any layer.
        attention: self-attention is at the largest map of at most this side, pixels; 0 is none.
    """

    z_dim: int = option(128, least=1)
    max_width: int = 1024
    attention: int = option(64, least=0)


@torch.no_grad()
def draw_orthogonal(weight: Tensor) -> None:
    """Fill a weight with orthonormal rows, or columns where these are fewer (Saxe et al. 2014).

    A matrix at least twice as long as wide is orthonormalised by the triangular factor of its small Gram
    matrix: drawn from N(0, 1) it is well conditioned, and the usual way takes several times as long.
    """
    rows, columns = len(weight), weight[0].numel()
    short, long = min(rows, columns), max(rows, columns)
    if long < 2 * short or short < 64:
        nn.init.orthogonal_(weight)
        return
    drawn = weight.new_empty(long, short).normal_()
    factor = torch.linalg.cholesky(drawn.t() @ drawn)
    narrow = torch.linalg.solve_triangular(factor, drawn.t(), upper=False)
    weight.copy_((narrow if rows == short else narrow.t()).reshape(weight.shape))


def _matrix(weight: Tensor) -> Tensor:
    """A weight as rows of output channels.

    In this order of the columns channels_last weights need no copy; the singular values do not depend on it.
    """
    return weight.movedim(1, -1).flatten(1) if weight.ndim == 4 else weight


class _Normed(torch.autograd.Function):
    """weight/σ with σ = uᵀ·weight·v and both vectors constant; differentiable twice."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        ctx.save_for_backward(weight, u, v, sigma)
        return weight / sigma

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        weight, u, v, sigma = ctx.saved_tensors
        matrix, gradient = _matrix(weight), _matrix(gradients[0])
        if torch.is_grad_enabled():  # A gradient of this gradient will be asked for.
            sigma = torch.dot(u, torch.mv(matrix, v))
        along = torch.dot(gradient.reshape(-1), matrix.reshape(-1)) / sigma
        to_matrix = torch.addr(gradient, u * along, v, alpha=-1) / sigma
        if weight.ndim == 4:
            to_matrix = to_matrix.unflatten(1, (*weight.shape[2:], -1)).movedim(-1, 1)
        return to_matrix, None, None, None


class _Spectral(nn.Module):
    """A weight divided by its largest singular value, which one step of power iteration a pass follows.

    Only the left vector is kept; the right one follows from it. Training moves it, evaluation does not.
    """

    weight: Tensor
    bias: Any
    u: Tensor

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Orthogonal weights, zero bias."""
        super().__init__(*arguments, **options)
        draw_orthogonal(self.weight)
        self.register_buffer("u", F.normalize(torch.randn(len(self.weight)), dim=0))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def normed(self) -> Tensor:
        """The weight with largest singular value 1; gradients know that σ moves with it."""
        with torch.autocast(self.weight.device.type, enabled=False):
            with torch.no_grad():
                matrix = _matrix(self.weight)
                right = torch.mv(matrix.t(), self.u)
                sigma, u = right.norm(), self.u
                v = right / sigma
                if self.training:
                    left = torch.mv(matrix, v)
                    sigma = left.norm()
                    # A tensor of its own for the backward pass, which the next pass must not change.
                    u = left / sigma
                    self.u.copy_(u)
            normed: Tensor = (
                _Normed.apply(self.weight, u, v, sigma) if torch.is_grad_enabled() else self.weight / sigma
            )
            return normed


class SpectralConv2d(_Spectral, nn.Conv2d):
    """Convolution that keeps the size, with spectral norm."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, *, bias: bool = True) -> None:
        """Orthogonal weights, zero bias."""
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C'×H×W."""
        return F.conv2d(x, self.normed(), self.bias, padding=self.padding)

    def upsampled(self, x: Tensor) -> Tensor:
        """N×C×H×W, doubled and convolved → N×C'×2H×2W."""
        return upsampled_convolution(x, self.normed(), self.bias)

    def pooled(self, x: Tensor) -> Tensor:
        """N×C×2H×2W, convolved and averaged → N×C'×H×W."""
        return pooled_convolution(x, self.normed(), self.bias)


class SpectralLinear(_Spectral, nn.Linear):
    """Linear layer with spectral norm."""

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs → N×outputs."""
        return F.linear(x, self.normed(), self.bias)


def _attention(most: int, sides: list[int], widths: list[int]) -> tuple[int, nn.Module]:
    """Side of the largest maps of at most `most`×`most` px, and the attention there; 0 if all are larger."""
    side = max((side for side in sides if side <= most), default=0)
    narrow = functools.partial(SpectralConv2d, kernel=1, bias=False)
    return side, SelfAttention(widths[sides.index(side)], narrow) if side else nn.Identity()


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and shift are linear in the label, and plain where there is none; then ReLU."""

    def __init__(self, channels: int, labels: int) -> None:
        """Embeddings of `labels` numbers without bias; none where labels is 0."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=labels == 0)
        self.gain = nn.Linear(labels, channels, bias=False) if labels else None
        self.shift = nn.Linear(labels, channels, bias=False) if labels else None
        for embedding in (self.gain, self.shift):
            if embedding is not None:
                nn.init.orthogonal_(embedding.weight)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        """N×C×H×W (and y, N×K) → N×C×H×W."""
        h = self.norm(x)
        if self.gain is not None and self.shift is not None and y is not None:
            gain, shift = 1 + self.gain(y), self.shift(y)
            h = torch.addcmul(shift.to(h.dtype)[:, :, None, None], h, gain.to(h.dtype)[:, :, None, None])
        return F.relu_(h)


class _Up(nn.Module):
    """Norm, ReLU, doubling, convolution, norm, ReLU, convolution; a 1×1 convolution beside them."""

    def __init__(self, channels_in: int, channels_out: int, labels: int) -> None:
        super().__init__()
        self.norm_first = ConditionalBatchNorm(channels_in, labels)
        self.first = SpectralConv2d(channels_in, channels_out)
        self.norm_second = ConditionalBatchNorm(channels_out, labels)
        self.second = SpectralConv2d(channels_out, channels_out)
        self.skip = SpectralConv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.first.upsampled(self.norm_first(x, y))
        h = self.second(self.norm_second(h, y))
        # A 1×1 convolution before the doubling gives what one behind it would.
        out: Tensor = h + F.interpolate(self.skip(x), scale_factor=2, mode="nearest")
        return out


class _Residual(nn.Module):
    """(ReLU,) convolution, ReLU, convolution(, averaging); a 1×1 convolution (of the average) beside them.

    A block that takes images has no ReLU before its first convolution. One that does not halve has no
    averaging, and no convolution beside where the widths are equal.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, takes_images: bool = False, halves: bool = True
    ) -> None:
        super().__init__()
        self.takes_images, self.halves = takes_images, halves
        self.first = SpectralConv2d(channels_in, channels_out)
        self.second = SpectralConv2d(channels_out, channels_out)
        same = not halves and channels_in == channels_out
        self.skip = nn.Identity() if same else SpectralConv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu_(self.first(x if self.takes_images else F.relu(x)))
        if self.halves:
            out: Tensor = self.second.pooled(h) + self.skip(F.avg_pool2d(x, 2))
        else:
            out = self.second(h) + self.skip(x)
        return out


class SAGANGenerator(Generator):
    """z → base×base features → doubling blocks with the label in their norms → tanh."""

    def __init__(self, config: SAGANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        self.base = config.base
        widths = config.widths()[::-1]
        self.project = SpectralLinear(config.z_dim, widths[0] * self.base**2)
        self.ups = nn.ModuleList(_Up(a, b, config.labels.width) for a, b in itertools.pairwise(widths))
        sides = [self.base << i for i in range(1, len(widths))]
        self.attention_side_px, self.attention = _attention(config.attention, sides, widths[1:])
        self.last_norm = ConditionalBatchNorm(widths[-1], 0)
        self.last = SpectralConv2d(widths[-1], config.channels)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """The projection's weights of z, outputs×z_dim."""
        return self.project.normed()

    def first_block(self) -> nn.Module:
        """The first doubling block."""
        return self.ups[0]

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]."""
        h = self.project(w[:, 0]).view(w.shape[0], self.base, self.base, -1).permute(0, 3, 1, 2)
        for up in self.ups:
            h = up(h, y)
            if h.shape[2] == self.attention_side_px:
                h = self.attention(h)
        return torch.tanh(self.last(self.last_norm(h, None)).float())


class SAGANDiscriminator(Discriminator):
    """Halving blocks, one that keeps the size, a sum over positions, a linear head and the projection."""

    def __init__(self, config: SAGANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        widths = [config.channels, *config.widths()]
        pairs = list(itertools.pairwise(widths[:-1]))
        self.downs = nn.ModuleList(_Residual(a, b, takes_images=i == 0) for i, (a, b) in enumerate(pairs))
        sides = [config.size >> i for i in range(1, len(pairs) + 1)]
        self.attention_side_px, self.attention = _attention(config.attention, sides, widths[1:])
        self.flat = _Residual(widths[-2], widths[-1], halves=False)
        self.head = SpectralLinear(widths[-1], 1)
        if config.labels.width:
            self.projection = SpectralLinear(config.labels.width, widths[-1], bias=False)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] → N×F, summed over positions in float32."""
        h = image
        for down in self.downs:
            h = down(h)
            if h.shape[2] == self.attention_side_px:
                h = self.attention(h)
        h = F.relu_(self.flat(h))
        return h.sum((2, 3), dtype=torch.promote_types(h.dtype, torch.float32))


FAMILY = GANFamily(SAGANConfig, SAGANGenerator, discriminator=SAGANDiscriminator)
