"""Image-to-image networks: a U-Net that turns one picture into another, and a judge of patches (pix2pix,
Isola et al. 2017, arXiv 1611.07004).

The encoder halves the resolution by strided convolutions down to the base, the decoder doubles it again, and
each of its layers also sees the encoder's maps of the same size. The judge sees both pictures and says of
overlapping patches whether they are real. Normalisation is of each image by itself, which is what the paper's
batch norm is at its batch of 1, so that a picture never depends on those beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import build_config, check_fields, option
from plenish.errors import InputError
from plenish.networks.convolution import Downsampling, Upsampling
from plenish.networks.layers import base_and_stages, initialise

_SLOPE = 0.2
_DROPPING = 3
"""Layers of the decoder, from the base on, with dropout."""
_LEAST_MAPS = 3
"""Side of the smallest maps the judge's last two convolutions, of 4 pixels and without stride, can take."""


@dataclasses.dataclass(frozen=True)
class TranslationConfig:
    """Configuration of both networks.

    Attributes:
        size: height and width of the pictures in pixels, base·2ᵏ with a base from 3 to 7.
        inputs: channels of the pictures that are given.
        channels: channels of the pictures that are made, 1 or 3.
        width: feature maps of the U-Net at half the resolution; they double towards the base.
        max_width: most feature maps of any layer.
        dropout: share of the decoder's activations dropped behind its first three layers; what is random in a
            translation.
        d_width: feature maps of the judge's first layer; they double with each.
        d_layers: strided layers of the judge: its patches have a side of 16 pixels with 1, 34 with 2, 70, as
            published, with 3.
    """

    size: int
    inputs: int
    channels: int
    width: int = option(64, least=1)
    max_width: int = option(512, least=1)
    dropout: float = option(0.5, least=0, below=1)
    d_width: int = option(64, least=1)
    d_layers: int = option(3, least=1)

    def __post_init__(self) -> None:
        base_and_stages(self.size)
        check_fields(self, "network")
        if self.size >> self.d_layers < _LEAST_MAPS:
            most = next(n for n in range(self.size.bit_length(), 0, -1) if self.size >> n >= _LEAST_MAPS)
            raise InputError(
                f"network.d_layers must be at most {most} for {self.size} px, not {self.d_layers}."
            )

    @property
    def patch(self) -> int:
        """Side of what one answer of the judge depends on, pixels."""
        return (9 << self.d_layers) - 2

    def widths(self) -> list[int]:
        """Feature maps of the U-Net from half the resolution down to the base."""
        _, stages = base_and_stages(self.size)
        return [min(self.width << i, self.max_width) for i in range(stages)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> TranslationConfig:
        """Inverse of `to_dict`; unknown options and values of another type are refused."""
        made: TranslationConfig = build_config(cls, options, "network")
        return made


def _norm(width: int) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True)


class Translator(nn.Module):
    """The U-Net: pictures → pictures of the same size.

    The contract of image-to-image networks: `config` with `size`, `inputs` and `channels`, and `translate`.
    """

    def __init__(self, config: TranslationConfig) -> None:
        """Build the layers and draw their weights from N(0, 0.02²)."""
        super().__init__()
        self.config = config
        widths = config.widths()
        self.downs = nn.ModuleList(
            Downsampling(a, b, 4, bias=True) for a, b in pairwise([config.inputs, *widths])
        )
        self.down_norms = nn.ModuleList(_norm(width) for width in widths[1:])
        # What comes from below beside the encoder's maps of that size; at the base there is nothing below.
        inner = [widths[-1], *(2 * width for width in widths[-2::-1])]
        outer = [*widths[-2::-1], config.channels]
        self.ups = nn.ModuleList(Upsampling(a, b, 4, bias=True) for a, b in zip(inner, outer, strict=True))
        self.up_norms = nn.ModuleList(_norm(width) for width in outer[:-1])
        self.drops = nn.ModuleList(
            nn.Dropout(config.dropout if i < _DROPPING else 0.0) for i in range(len(outer) - 1)
        )
        initialise(self, "normal")

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W in [-1, 1] → N×C'×H×W in [-1, 1]; dropout draws in training mode."""
        h = self.downs[0](images)
        skips = [h]
        for down, norm in zip(self.downs[1:], self.down_norms, strict=True):
            h = norm(down(F.leaky_relu(h, _SLOPE)))
            skips.append(h)
        skips.pop()
        for up, norm, drop in zip(self.ups[:-1], self.up_norms, self.drops, strict=True):
            h = torch.cat([drop(norm(up(F.relu(h)))), skips.pop()], 1)
        return torch.tanh(self.ups[-1](F.relu(h)).float())

    @torch.no_grad()
    def translate(self, images: Tensor, seed: int | None = None) -> Tensor:
        """Pictures made of pictures.

        Args:
            images: N×C×H×W in [-1, 1].
            seed: of the dropout, which makes pictures differ from draw to draw; without one nothing is
                dropped, and a picture depends on what is given alone. The global random state is left as it
                was.

        Returns:
            N×C'×H×W in [-1, 1].
        """
        mode = self.training
        self.train(seed is not None)  # Normalisation is of each image by itself in both modes.
        try:
            with torch.random.fork_rng([images.device] if images.is_cuda else [], enabled=seed is not None):
                if seed is not None:
                    torch.manual_seed(seed)
                made: Tensor = self(images)
                return made
        finally:
            self.train(mode)


class PatchDiscriminator(nn.Module):
    """Given picture and made or real one → a logit for each patch; with no `inputs`, the latter alone."""

    def __init__(self, config: TranslationConfig) -> None:
        """Build the layers and draw their weights from N(0, 0.02²)."""
        super().__init__()
        widths = [config.d_width << i for i in range(config.d_layers + 1)]
        self.first = Downsampling(config.inputs + config.channels, widths[0], 4, bias=True)
        layers = [Downsampling(a, b, 4, bias=True) for a, b in pairwise(widths[:-1])]
        self.layers = nn.ModuleList([*layers, nn.Conv2d(widths[-2], widths[-1], 4, padding=1)])
        self.norms = nn.ModuleList(_norm(width) for width in widths[1:])
        self.head = nn.Conv2d(widths[-1], 1, 4, padding=1)
        initialise(self, "normal")

    def forward(self, *pictures: Tensor) -> Tensor:
        """N×C×H×W and N×C'×H×W in [-1, 1] → logits N×h×w; positive means real."""
        h = F.leaky_relu(self.first(torch.cat(pictures, 1)), _SLOPE)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = F.leaky_relu(norm(layer(h)), _SLOPE)
        logits: Tensor = self.head(h)[:, 0].float()
        return logits
