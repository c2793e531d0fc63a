"""Convolutional autoencoders: convolutions that halve the side to a bottleneck, mirrored back to the image.

Between the two halves lies a dense layer to `latent_features` numbers and one back, unless they are left out.
A variational autoencoder (Kingma & Welling, ICLR 2014) predicts mean and log variance of each latent number.

The outermost convolutions work on blocks of 2×2 pixels laid out as channels (space to depth, and on the way
back the sub-pixel convolution of Shi et al., CVPR 2016): maps of three channels at full size are what a CPU
is slowest at. Training stays among the blocks altogether, since a mean of squares knows no order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import as_typed
from plenish.errors import InputError, unknown
from plenish.networks.convolution import Downsampling, Upsampling
from plenish.networks.layers import init_linear
from plenish.networks.reference_ops import uses_reference_operators

NORMS = ("none", "batch")
_KERNEL, _SLOPE = 4, 0.2
_LOG_VARIANCE = (-12.0, 12.0)
"""Log variances are kept between these, so that an early step cannot overflow."""


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
    """An autoencoder's shape.

    Attributes:
        size: height and width of its images, pixels; padded inside to a multiple of 2^len(filters).
        channels: 1 or 3.
        filters: feature maps of each convolution of the encoder; the decoder has them the other way round.
        latent_features: numbers an image is compressed to; None leaves the dense layers out, and the
            encoding is the bottleneck's maps.
        variational: predict a normal distribution of each latent number, not one value.
        norm: `none`, or `batch` normalisation behind each convolution but the last.
    """

    size: int = 64
    channels: int = 3
    filters: tuple[int, ...] = (8, 16, 32)
    latent_features: int | None = 512
    variational: bool = False
    norm: str = "none"

    def __post_init__(self) -> None:
        if not self.filters or any(not isinstance(f, int) or f < 1 for f in self.filters):
            raise InputError(
                f"--filters takes one whole number above 0 for each convolution, not {list(self.filters)}."
            )
        latent = self.latent_features
        if latent is not None and (not isinstance(latent, int) or isinstance(latent, bool) or latent < 1):
            raise InputError(f"--latent-features must be a whole number above 0 or none, not {latent!r}.")
        if self.variational and latent is None:
            raise InputError("--variational needs latent numbers to draw; give --latent-features a number.")
        if not isinstance(self.variational, bool):
            raise InputError(
                f"{as_typed('network.variational')} must be true or false, not {self.variational!r}."
            )
        if self.norm not in NORMS:
            raise unknown("normalisation", self.norm, NORMS)
        if self.size < 1 << len(self.filters):
            fits = max(1, self.size.bit_length() - 1)
            raise InputError(
                f"{len(self.filters)} convolutions halve the side {len(self.filters)} times, and images of "
                f"{self.size} px are gone before that; give at most {fits} --filters or import larger images."
            )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AutoencoderConfig:
        """From options or JSON: lists become tuples and the word `none` means no dense layers.

        Raises:
            InputError: an unknown option, or an impossible value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in content:
            if name not in known:
                raise unknown("option in network", name, known)
        values = dict(content)
        if "filters" in values:
            filters = values["filters"]
            values["filters"] = tuple(filters) if isinstance(filters, (list, tuple)) else (filters,)
        if values.get("latent_features") == "none":
            values["latent_features"] = None
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self) | {"filters": list(self.filters)}

    @property
    def padded(self) -> int:
        """Side of the image inside the network: the next multiple of 2^len(filters)."""
        step = 1 << len(self.filters)
        return -(-self.size // step) * step

    @property
    def edge(self) -> tuple[int, int, int, int]:
        """Pixels added left, right, above and below."""
        more = self.padded - self.size
        return (more // 2, more - more // 2) * 2

    @property
    def bottleneck(self) -> tuple[int, int, int]:
        """Maps, height and width behind the last convolution of the encoder."""
        side = self.padded >> len(self.filters)
        return self.filters[-1], side, side

    @property
    def encoding_size(self) -> int:
        """Length of an image's encoding."""
        return math.prod(self.bottleneck) if self.latent_features is None else self.latent_features

    @property
    def compression(self) -> float:
        """How many pixel values there are for each number of the encoding."""
        return self.channels * self.size**2 / self.encoding_size


class Latent(NamedTuple):
    """What an encoder makes of images.

    Attributes:
        mean: encodings; N×F, or N×C×h×w maps where there are no dense layers.
        log_variance: N×F of a variational encoder, else None.
    """

    mean: Tensor
    log_variance: Tensor | None

    def draw(self, noise: Tensor) -> Tensor:
        """Mean plus standard deviation times standard normal `noise`, N×F; the mean if not variational."""
        if self.log_variance is None:
            return self.mean
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of each image's distribution from N(0, I), in nats, N.

        Kingma & Welling 2014, appendix B.
        """
        if self.log_variance is None:
            return self.mean.new_zeros(len(self.mean))
        mean, log_variance = self.mean.float(), self.log_variance.float()
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class Autoencoder(nn.Module):
    """Images N×C×H×W in [-1, 1] → encodings → images N×C×H×W in [-1, 1].

    `forward` is made of `to_blocks`, `encode`, `decode` and `to_images`; training calls the middle two alone.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        """Build both halves, with weights drawn as He et al. 2015 have it for leaky rectifiers."""
        super().__init__()
        self.config = config
        widths, normed = config.filters, config.norm == "batch"
        self.first = nn.Conv2d(4 * config.channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Downsampling(a, b, _KERNEL, bias=True) for a, b in pairwise(widths))
        flat, latent = math.prod(config.bottleneck), config.latent_features
        self.to_latent = None if latent is None else nn.Linear(flat, latent * (1 + config.variational))
        self.from_latent = None if latent is None else nn.Linear(latent, flat)
        self.up = nn.ModuleList(
            Upsampling(b, a, _KERNEL, bias=True) for a, b in reversed(list(pairwise(widths)))
        )
        self.last = nn.Conv2d(widths[0], 4 * config.channels, 3, padding=1)
        self.norms_down = nn.ModuleList(nn.BatchNorm2d(n) for n in widths if normed)
        self.norms_up = nn.ModuleList(nn.BatchNorm2d(n) for n in reversed(widths[:-1]) if normed)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                init_linear(layer, math.sqrt(2 / (1 + _SLOPE**2)))
        # Small weights, the same for the four pixels of a block, leave no chequerboard to unlearn (Aitken et
        # al. 2017, arXiv:1707.02937).
        with torch.no_grad():
            self.last.weight.copy_(0.3 * self.last.weight[::4].repeat_interleave(4, 0))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions N×C×H×W in [-1, 1]; of a variational autoencoder, from the means."""
        return self.to_images(self.decode(self.encode(self.to_blocks(images)).mean))

    def to_blocks(self, images: Tensor) -> Tensor:
        """Images N×C×H×W of any type → blocks N×4C×h×w; sizes that do not halve get copies of the edge."""
        if any(self.config.edge):
            images = F.pad(images.float(), self.config.edge, mode="replicate").to(images.dtype)
        return F.pixel_unshuffle(images, 2) if uses_reference_operators() else _blocks(images)

    def real_blocks(self) -> Tensor:
        """Blocks 1×4C×h×w that are 1 where a value belongs to the image and 0 where it is padding."""
        real = torch.ones(1, self.config.channels, self.config.size, self.config.size)
        return F.pixel_unshuffle(F.pad(real, self.config.edge), 2).contiguous(
            memory_format=torch.channels_last
        )

    def to_images(self, blocks: Tensor) -> Tensor:
        """Blocks N×4C×h×w → images N×C×H×W in [-1, 1], without what was padded."""
        images = F.pixel_shuffle(blocks, 2).clamp(-1, 1)
        before, size = self.config.edge[0], self.config.size
        return images[:, :, before : before + size, before : before + size]

    def encode(self, blocks: Tensor) -> Latent:
        """Blocks → the distribution of their encodings."""
        x = blocks
        for number, layer in enumerate([self.first, *self.down]):
            x = self._activate(layer(x), self.norms_down, number)
        if self.to_latent is None:
            return Latent(x, None)
        found = _dense(self.to_latent, x.flatten(1))
        if not self.config.variational:
            return Latent(found, None)
        mean, log_variance = found.chunk(2, dim=1)
        return Latent(mean, log_variance.clamp(*_LOG_VARIANCE))

    def decode(self, encoding: Tensor) -> Tensor:
        """Encodings → blocks, not yet clipped to [-1, 1]."""
        x = encoding
        if self.from_latent is not None:
            x = F.leaky_relu(_dense(self.from_latent, x), _SLOPE, inplace=True)
            x = x.unflatten(1, self.config.bottleneck)
            if not uses_reference_operators():
                x = x.contiguous(memory_format=torch.channels_last)
        for number, layer in enumerate(self.up):
            x = self._activate(layer(x), self.norms_up, number)
        out: Tensor = self.last(x)
        return out

    @staticmethod
    def _activate(x: Tensor, norms: nn.ModuleList, number: int) -> Tensor:
        return F.leaky_relu(norms[number](x) if norms else x, _SLOPE, inplace=True)


def _blocks(images: Tensor) -> Tensor:
    """F.pixel_unshuffle by 2, channels_last; pixel by pixel of the block it takes a tenth of the time."""
    n, channels, height, width = images.shape
    out = images.new_empty(n, height // 2, width // 2, 4 * channels).permute(0, 3, 1, 2)
    for row in range(2):
        for column in range(2):
            for channel in range(channels):
                out[:, 4 * channel + 2 * row + column] = images[:, channel, row::2, column::2]
    return out


class _Product(torch.autograd.Function):
    """F.linear in bfloat16 whose gradient by the weights comes out in float32, laid out as they are.

    Autocast would make it in bfloat16 and transposed; turning and widening it takes several times as long as
    the product itself when the weights are many and the rows few (8192×512 weights, 32 rows).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        small, narrow = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(small, narrow)
        ctx.kind = x.dtype
        return F.linear(small, narrow, bias.bfloat16())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        wide = gradient.float()
        return (gradient @ weight).to(ctx.kind), wide.t() @ x.float(), wide.sum(0)


def _dense(layer: nn.Linear, x: Tensor) -> Tensor:
    """A dense layer, N×A → N×B."""
    ours = torch.is_autocast_enabled("cpu") and x.device.type == "cpu" and not uses_reference_operators()
    out: Tensor = _Product.apply(x, layer.weight, layer.bias) if ours else layer(x)
    return out
