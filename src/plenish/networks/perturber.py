"""Networks that change images a little: the U-Net of a translation, at any size (AdvGAN, Xiao et al. 2018).

The paper (arXiv 1801.02610) takes a network with residual blocks; a U-Net, as Poursaeed et al. 2018 also use
for perturbations, sees the whole image and draws at full resolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from plenish import sizes
from plenish.configuration import build_config, check_fields, option
from plenish.errors import InputError
from plenish.networks.translation import PatchDiscriminator, TranslationConfig, Translator

LEAST_SIZE = 8


@dataclasses.dataclass(frozen=True)
class PerturberConfig:
    """Configuration of the perturber and of the discriminator it is trained with.

    Attributes:
        size: height and width of the images in pixels, at least 8; those that a U-Net does not halve get
            copies of their edge around them.
        channels: channels of the images, 1 or 3.
        width: feature maps at half the resolution; they double towards the base.
        max_width: most feature maps of any layer.
        d_width: feature maps of the discriminator's first layer; they double with each.
        d_layers: strided layers of the discriminator.
    """

    size: int
    channels: int
    width: int = option(32, least=1)
    max_width: int = option(256, least=1)
    d_width: int = option(32, least=1)
    d_layers: int = option(2, least=1)

    def __post_init__(self) -> None:
        check_fields(self, "network")
        if self.size < LEAST_SIZE:
            raise InputError(
                f"Images of {self.size} px are too small to perturb; they need {LEAST_SIZE} px or more."
            )
        self.networks  # Refuses what they cannot be built of.  # noqa: B018

    @property
    def networks(self) -> TranslationConfig:
        """The configuration of both networks, at the size that they work at."""
        return TranslationConfig(
            sizes.at_least(self.size), self.channels, self.channels, width=self.width,
            max_width=self.max_width, dropout=0.0, d_width=self.d_width, d_layers=self.d_layers,
        )  # fmt: skip

    @property
    def edge(self) -> tuple[int, int, int, int]:
        """Pixels added left, right, above and below."""
        added = self.networks.size - self.size
        return added // 2, added - added // 2, added // 2, added - added // 2

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> PerturberConfig:
        """Inverse of `to_dict`; unknown options and values of another type are refused."""
        made: PerturberConfig = build_config(cls, options, "network")
        return made


class Perturber(nn.Module):
    """Images → the directions in which they are changed."""

    def __init__(self, config: PerturberConfig) -> None:
        """Build the U-Net and draw its weights from N(0, 0.02²)."""
        super().__init__()
        self.config = config
        self.translator = Translator(config.networks)

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W in [0, 1] → directions N×C×H×W in [-1, 1]."""
        (left, _, top, _), size = self.config.edge, self.config.size
        found: Tensor = self.translator(_padded(images, self.config))
        return found[:, :, top : top + size, left : left + size]


class PerturbationDiscriminator(nn.Module):
    """Images, real or perturbed → a logit for each patch; positive means real."""

    def __init__(self, config: PerturberConfig) -> None:
        """Build the layers and draw their weights from N(0, 0.02²)."""
        super().__init__()
        self.config = config
        self.patches = PatchDiscriminator(dataclasses.replace(config.networks, inputs=0))

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W in [0, 1] → logits N×h×w."""
        logits: Tensor = self.patches(_padded(images, self.config))
        return logits


def _padded(images: Tensor, config: PerturberConfig) -> Tensor:
    """Images in [0, 1] as the networks take them: in [-1, 1], with copies of their edge around them."""
    scaled = images.mul(2).sub(1)
    return F.pad(scaled, config.edge, mode="replicate") if any(config.edge) else scaled
