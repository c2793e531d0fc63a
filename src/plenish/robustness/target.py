"""A classifier as an attack sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plenish.errors import InputError
from plenish.training.classifier_model import Classifier


@dataclasses.dataclass(frozen=True)
class Target:
    """A classifier under attack.

    Attributes:
        module: images N×C×H×W in [0, 1] → logits N×K, with the normalisation inside.
        names: the K classes; image labels are their numbers.
        size: height and width of its images.
        channels: channels of its images.
        differentiable: whether gradients with respect to the images can be computed; attacks that need them
            are left out where not.
        about: where it came from, for the report.
    """

    module: nn.Module
    names: tuple[str, ...]
    size: int
    channels: int
    differentiable: bool = True
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU where it has none."""
        tensors = [*self.module.parameters(), *self.module.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    @classmethod
    def of_classifier(cls, classifier: Classifier, about: Mapping[str, Any]) -> Target:
        """A trained classifier of ours; InputError where it has no classes to confuse."""
        if classifier.kind != "categorical":
            raise InputError("An attack needs a classifier of one class per image; this one gives tags.")
        if classifier.columns.width:
            raise InputError(
                f"The classifier is given {', '.join(classifier.columns.names)} beside each image, which an "
                "attack on images cannot change; train one without --columns."
            )
        module = FromUnitRange(classifier.module())
        return cls(module, classifier.names, classifier.size, classifier.channels, about=about)


class FromUnitRange(nn.Module):
    """Images in [0, 1] for a module that takes them in [-1, 1]."""

    def __init__(self, module: nn.Module) -> None:
        """Wrap a module; its mode is kept."""
        super().__init__()
        self.training = module.training
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W in [0, 1] → logits N×K."""
        found: Tensor = self.module(images.mul(2).sub(1))
        return found
