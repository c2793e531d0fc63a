"""Parts of classifiers: heads that take further columns or cosines, and stages that are kept as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from plenish.errors import InputError


@dataclasses.dataclass(frozen=True)
class Head:
    """What follows the pooled features of a classifier.

    Attributes:
        columns: numbers that are given beside each image.
        scale: logits are this times the cosine of features and weights; None for a linear layer.
        drop_rate: dropout before it; None for the network's own.
    """

    columns: int = 0
    scale: float | None = None
    drop_rate: float | None = None


PLAIN = Head()
"""A linear layer on the pooled features."""


class CosineHead(nn.Module):
    """Logits as a multiple of the cosine between features and each class's weights, without a bias."""

    def __init__(self, features: int, num_outputs: int, scale: float) -> None:
        """Draw weights K×F of any length, which does not matter."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_outputs, features).normal_())
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """N×F → N×K in [-scale, scale], float32 also under autocast: eight bits are too few for a cosine."""
        with torch.autocast(features.device.type, enabled=False):
            unit = functional.normalize(features.float())
            return self.scale * functional.linear(unit, functional.normalize(self.weight))


class WithColumns(nn.Module):
    """A network without a head, and a head on its pooled features beside further numbers of each image."""

    def __init__(self, body: Any, features: int, num_outputs: int, head: Head) -> None:
        """Put a head on a network.

        Args:
            body: a network of timm's interface, N×C×H×W → pooled features N×F.
            features: F.
            num_outputs: number of logits.
            head: the columns, and the kind of head.
        """
        super().__init__()
        self.body, width = body, features + head.columns
        self.head = (
            nn.Linear(width, num_outputs)
            if head.scale is None
            else CosineHead(width, num_outputs, head.scale)
        )

    def forward(self, images: Tensor, columns: Tensor) -> Tensor:
        """Images N×C×H×W and columns N×D → logits N×K."""
        return self.forward_head(self.forward_features(images), columns)

    def forward_features(self, images: Tensor) -> Tensor:
        """The last feature maps, as the body has them."""
        found: Tensor = self.body.forward_features(images)
        return found

    def forward_head(self, features: Tensor, columns: Tensor) -> Tensor:
        """Feature maps and columns → logits."""
        pooled = self.body.forward_head(features, pre_logits=True)
        logits: Tensor = self.head(torch.cat([pooled, columns.to(pooled.dtype)], 1))
        return logits


def with_cosine_head(network: Any, scale: float) -> nn.Module:
    """A network whose linear head is replaced by a `CosineHead`.

    Raises:
        InputError: its head is not a linear layer.
    """
    old = network.get_classifier()
    if not isinstance(old, nn.Linear):
        raise InputError("The ldam loss needs a network whose head is a linear layer; choose another.")
    (name,) = [name for name, module in network.named_modules() if module is old]
    parent, _, last = name.rpartition(".")
    head = CosineHead(old.in_features, old.out_features, scale)
    setattr(network.get_submodule(parent), last, head)
    made: nn.Module = network
    return made


def freeze(network: nn.Module, stages: Sequence[Sequence[str]], count: int) -> None:
    """Keep the first stages of a network as they are, and train the others.

    Args:
        network: the network; frozen parameters ask for no gradient, and modules that have no others are in
            evaluation mode, so that normalisation keeps its statistics and nothing is dropped. The others are
            in training mode.
        stages: names of its parameters, stage by stage.
        count: how many stages are frozen.
    """
    frozen = {name for stage in stages[:count] for name in stage}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    _set_mode(network)


def _set_mode(module: nn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    module.training = True
    for child in module.children():
        _set_mode(child)


class Mixture(nn.Module):
    """Classifiers whose calibrated probabilities are mixed, as one: images N×C×H×W → logits N×K."""

    weights: Tensor

    def __init__(
        self, members: Sequence[nn.Module], weights: Sequence[float], temperatures: Sequence[float],
        temperature: float, *, tags: bool,
    ) -> None:  # fmt: skip
        """Mix classifiers.

        Args:
            members: images → logits N×K, each.
            weights: of each; they sum to 1.
            temperatures: of each, by which its logits are divided before it is mixed.
            temperature: of the mixture.
            tags: whether each column is a tag of its own; else columns are classes.
        """
        super().__init__()
        self.members = nn.ModuleList(members)
        self.temperatures, self.temperature, self.tags = tuple(temperatures), temperature, tags
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits whose softmax, of tags whose sigmoid, is the calibrated mixture."""
        logits = [member(images) / t for member, t in zip(self.members, self.temperatures, strict=True)]
        parts = torch.stack([self._log(one.float()) for one in logits])
        log_p: Tensor = torch.logsumexp(parts + self.weights.log().view(-1, 1, 1), 0)
        if self.tags:
            others = torch.stack([self._log(-one.float()) for one in logits])
            log_p = log_p - torch.logsumexp(others + self.weights.log().view(-1, 1, 1), 0)
        return log_p / self.temperature

    def _log(self, logits: Tensor) -> Tensor:
        return functional.logsigmoid(logits) if self.tags else logits.log_softmax(1)
