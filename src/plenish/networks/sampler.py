"""What every generator offers, whatever its family: a prior, and images of z and a label.

Generation, exporters and screens use this alone. Labels are y, N×K float: one-hot, soft, multi-hot or
continuous, so that a label can be interpolated; None where the network has no labels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """What every family needs to know of the data.

    Attributes:
        size: height and width of the images, pixels.
        channels: 1 or 3.
        labels: label schema of the data; kind `none` makes an unconditional network.
    """

    size: int = 64
    channels: int = 3
    labels: LabelSchema = dataclasses.field(default_factory=LabelSchema)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"A generator makes images of 1 or 3 channels, not {self.channels}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return content | {"labels": self.labels.to_dict()}


def check_labels(labels: LabelSchema, y: Tensor | None) -> None:
    """Raise ValueError unless y has the width that the label schema asks for."""
    expected = labels.width or None
    found = None if y is None else y.shape[1]
    if expected != found:
        raise ValueError(f"labels of width {found} given to a network made for {expected}")


class Part(NamedTuple):
    """A function of tensors that other programs may want.

    Attributes:
        module: the function; its arguments are the inputs, in their order.
        inputs: examples of so many images by name, each N×…, float32 or bool.
        output: name of what it returns, N×….
    """

    module: nn.Module
    inputs: Callable[[int], dict[str, Tensor]]
    output: str


class Sampler(nn.Module):
    """Base of all generators: z (and y) → image.

    Attributes:
        config: the family's configuration; with the weights it rebuilds the network.
        sample_options: options of `sample` with their defaults, beside the seed.
        deterministic_options: options with which an image depends on z and y alone, for exporters.
    """

    sample_options: ClassVar[Mapping[str, Any]] = {}
    deterministic_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: SamplerConfig) -> None:
        """Keep the configuration; families add their layers."""
        super().__init__()
        self.config = config

    @property
    def labels(self) -> LabelSchema:
        """The label schema the network was made for."""
        return self.config.labels

    @property
    def size(self) -> int:
        """Height and width of its images, pixels."""
        return self.config.size

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return self.config.channels

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Shape of one z; by default that of an image."""
        return self.channels, self.size, self.size

    @property
    def stores_z(self) -> bool:
        """Whether z is stored beside a generated image, because it is smaller than that; else its seed is."""
        return math.prod(self.z_shape) < self.channels * self.size**2

    @property
    def prior_name(self) -> str:
        """Distribution of each coordinate of z, as papers write it."""
        return "N(0, 1)"

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, n×z_shape, from the network's own prior on the generator's device."""
        return torch.randn(n, *self.z_shape, generator=rng, device=rng.device)

    def sample(self, z: Tensor, y: Tensor | None = None, *, seed: int = 0, **options: Any) -> Tensor:
        """Make images.

        Args:
            z: latents, N×z_shape.
            y: labels N×K, or None.
            seed: of every draw beside z; the global random state is left as it was.
            options: those of `sample_options`.

        Returns:
            N×C×H×W in [-1, 1] of the full size.
        """
        raise NotImplementedError

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse impossible values of `sample_options`, each of its type; InputError."""

    def parts(self) -> dict[str, Part]:
        """Parts that are of use alone, by the name of their file in an export."""
        return {}

    def check_labels(self, y: Tensor | None) -> None:
        """Raise ValueError unless y is what the label schema asks for."""
        check_labels(self.labels, y)
