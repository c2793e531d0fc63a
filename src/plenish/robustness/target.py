"""A classifier as an attack sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from plenish.errors import InputError, first_line
from plenish.robustness.gradients import owner_of, untouched
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
        check_attackable(classifier.kind, classifier.columns.names)
        module = FromUnitRange(classifier.module())
        return cls(module, classifier.names, classifier.size, classifier.channels, about=about)

    @classmethod
    def of_module(
        cls, module: nn.Module | Callable[[Tensor], Tensor], size: int, channels: int,
        names: Sequence[str] = (), about: Mapping[str, Any] | None = None, *, differentiable: bool = True,
    ) -> Target:  # fmt: skip
        """A module, or a function of tensors, that takes images in [0, 1] and normalises them itself.

        Its mode and place are left as they are: evaluation mode and the device are the caller's choice.

        Args:
            module: images float32 N×C×H×W in [0, 1] → logits N×K.
            size: height and width of its images.
            channels: of its images.
            names: the K classes; by default their numbers.
            about: where it came from; by default its class.
            differentiable: whether gradients with respect to the images can be asked for.

        Raises:
            InputError: it does not take such images, or does not give K logits an image.
        """
        found = module if isinstance(module, nn.Module) else OfFunction(module)
        facts = {"kind": "module", "name": type(module).__name__} if about is None else about
        bare = cls(found, (), size, channels, differentiable, facts)
        width = bare.width()
        if width < 2 or (names and width != len(names)):
            wanted = f"{len(names)}, one for each class" if names else "2 or more, one for each class"
            raise InputError(
                f"The classifier gives {width} {'number' if width == 1 else 'numbers'} an image and needs "
                f"{wanted}; give a model and images of the same classes."
            )
        return dataclasses.replace(bare, names=tuple(names) or tuple(map(str, range(width))))

    def width(self) -> int:
        """How many numbers it gives an image.

        Raises:
            InputError: it does not take images of its size and channels, or does not give a row for each.
        """
        # Both, since batch normalisation in training mode may refuse a single image.
        return min(self._width_of(count) for count in (2, 1))

    def _width_of(self, count: int) -> int:
        images = torch.full((count, self.channels, self.size, self.size), 0.5, device=self.device)
        shape = f"{count}×{self.channels}×{self.size}×{self.size}"
        try:
            with untouched(self.module), torch.no_grad():
                found = self.module(images)
        except Exception as error:  # whatever somebody's own code raises
            training = any(getattr(module, "training", False) for module in self.module.modules())
            fix = "give a model for images of this size and these channels"
            if self.about.get("kind") in ("torchscript", "torch.export"):
                fix += ", exported with a dynamic batch dimension as 'plenish export-model' does"
            raise InputError(
                f"The classifier does not take images {shape} in [0, 1] ({_reason(error)}); "
                f"{'call its eval() first, since it is in training mode, or ' * training}{fix}."
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != count:
            given = "×".join(map(str, found.shape)) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"The classifier must give logits N×K and gives {given} for {shape}; wrap it in a function "
                "that returns them."
            )
        return int(found.shape[1])


def check_attackable(kind: str, columns: Sequence[str]) -> None:
    """Refuse a classifier whose labels are tags, or that is given columns beside each image."""
    if kind != "categorical":
        raise InputError("An attack needs a classifier of one class per image; this one gives tags.")
    if columns:
        raise InputError(
            f"The classifier is given {', '.join(columns)} beside each image, which an attack on images "
            "cannot change; train one without --columns."
        )


def _reason(error: Exception) -> str:
    """Why a module failed, in a line: of an error in TorchScript the last one, below its traceback."""
    first = first_line(error)
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if "TorchScript" in first else first).rstrip(".")


class OfFunction(nn.Module):
    """A function of tensors as a module; without weights, but for a method of a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        """Wrap a function; one that is no method is taken to be in evaluation mode."""
        super().__init__()
        self.training = False
        self.function = function
        self.owner = owner_of(function)

    def forward(self, images: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(images)


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
