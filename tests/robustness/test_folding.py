"""Batch normalisation is computed by the convolution before it where that changes nothing, and put back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from plenish.robustness.folding import folded
from plenish.robustness.gradient_attacks import pgd

IMAGES = torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Layers as attributes, called from `forward` and not in a Sequential, as in residual networks."""

    def __init__(self, middle: Callable[[Residual, Tensor], Tensor] | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
            self.head, self.middle = nn.Linear(6, 3), middle or Residual.plain
            for norm in (self.norm1, self.norm2):
                for values in (norm.weight, norm.bias, norm.running_mean):
                    nn.init.normal_(values)
                nn.init.uniform_(norm.running_var, 0.5, 2)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm1(self.first(images)).relu()
        return self.head((maps + self.middle(self, maps)).mean(dim=(2, 3)))

    def plain(self, maps: Tensor) -> Tensor:
        return self.norm2(self.second(maps))

    def used_twice(self, maps: Tensor) -> Tensor:
        made = self.second(maps)
        return self.norm2(made) + made

    def called_twice(self, maps: Tensor) -> Tensor:
        return self.norm2(self.second(self.second(maps)))

    def changed_in_place(self, maps: Tensor) -> Tensor:
        return self.norm2(self.second(maps).relu_())

    def left_out(self, maps: Tensor) -> Tensor:
        return self.second(maps)


def norms_left(model: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


@pytest.mark.parametrize(
    ("middle", "left"),
    [
        (Residual.plain, 0), (Residual.called_twice, 1), (Residual.changed_in_place, 1),
        (Residual.left_out, 1), (Residual.used_twice, 2),
    ],
)  # fmt: skip
def test_only_what_follows_a_convolution_is_folded_and_the_logits_stay(
    middle: Callable[[Residual, Tensor], Tensor], left: int
) -> None:
    model = Residual(middle)
    with torch.no_grad():
        before = model(IMAGES)
        with folded(model, IMAGES):
            assert norms_left(model) == left
            assert torch.allclose(model(IMAGES), before, atol=1e-5)


def test_the_same_modules_and_parameters_are_there_afterwards() -> None:
    model = Residual()
    layers, parameters = list(model.named_modules()), list(model.named_parameters())
    with pytest.raises(RuntimeError, match="inside"), folded(model, IMAGES):
        raise RuntimeError("inside")
    for kept, found in ((layers, model.named_modules()), (parameters, model.named_parameters())):
        assert [(n, id(x)) for n, x in kept] == [(n, id(x)) for n, x in found]
    assert not any(layer._forward_hooks for layer in model.modules())


def test_layers_of_two_types_stay() -> None:
    model = Residual(lambda self, maps: self.norm2(self.second(maps.bfloat16())).float())
    model.second.to(torch.bfloat16)
    with folded(model, IMAGES):
        assert norms_left(model) == 1


def test_layers_in_training_mode_or_with_hooks_stay() -> None:
    model = Residual()
    model.norm2.train()
    model.first.register_forward_hook(lambda layer, args, found: None)
    with folded(model, IMAGES):
        assert norms_left(model) == 2


def test_an_attack_finds_the_same_with_folded_layers() -> None:
    labels = Residual()(IMAGES).argmax(dim=1)
    slow = Residual()
    for layer in (slow.first, slow.second):
        layer.register_forward_hook(lambda layer, args, found: None)  # Keeps it from being folded.
    exact = pgd(slow, IMAGES, labels, 0.05, steps=4)
    assert torch.allclose(pgd(Residual(), IMAGES, labels, 0.05, steps=4), exact, atol=1e-5)
