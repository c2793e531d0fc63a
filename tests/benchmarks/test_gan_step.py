"""What is measured, not how fast it is."""

from __future__ import annotations

import pytest
import torch
from benchmarks.gan_step import SHOWN
from benchmarks.race import count_flops, matrix_product

from benchmarks import race
from plenish.commands.bench import bench
from plenish.errors import InputError
from plenish.networks.gan import FAMILIES
from plenish.recipes import load_recipe


def test_every_family_is_shown_by_a_recipe_that_exists() -> None:
    assert {load_recipe(name).family for name in SHOWN} == set(FAMILIES)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(name, marks=() if name in ("dcgan", "small-stylegan2") else pytest.mark.slow)
        for name in sorted(SHOWN)
    ],
)
def test_every_recipe_can_be_raced(recipe: str, request: pytest.FixtureRequest) -> None:
    if recipe != "dcgan":  # Which takes the process of its own that the command does.
        request.getfixturevalue("one_process")
    size = 48 if recipe == "comic-vanilla" else 32
    result = bench(recipe=recipe, size=size, batch=4, rounds=1, width=4, max_width=8)
    (row,) = result.rows
    assert row["images_per_s"] > 0 < row["baseline_images_per_s"]
    assert row["gflop_step"] > 0
    assert 0 <= row["data_wait_share"] < 1
    lazy = {"small-stylegan2", "small-r3gan"} & {recipe}
    assert ("lazy_penalty_share" in row) == bool(lazy)


@pytest.mark.parametrize("hidden", [True, False])
def test_the_matrix_product_is_in_a_precision_of_the_hardware(
    hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(race, "native_bfloat16", lambda device: not hidden)
    assert matrix_product(cpu, 8)().dtype == (torch.float32 if hidden else torch.bfloat16)


def test_flops_of_a_product_and_of_a_gradient_by_a_leaf() -> None:
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    x, w = torch.randn(2, 4, requires_grad=True), torch.randn(4, 1, requires_grad=True)

    def penalty() -> None:
        (gradient,) = torch.autograd.grad((x @ w).sum(), x, create_graph=True)
        gradient.square().sum().backward()

    assert count_flops(penalty) >= 3 * 2 * 2 * 4


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [torch.nn.Conv2d, torch.nn.ConvTranspose2d])
def test_flops_of_a_convolution_and_its_gradients(kind: type, groups: int) -> None:
    layer = kind(8, 12, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 8, 5, 5, requires_grad=True)
    forward = 2 * 2 * 25 * 9 * 8 * 12 // groups
    assert count_flops(lambda: layer(x)) == forward
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * forward


@pytest.mark.parametrize("more", [{"rounds": 0}, {"batch": 1}, {"classes": -1}, {"every": True, "size": 32}])
def test_impossible_benchmarks_are_refused(more: dict) -> None:
    with pytest.raises(InputError):
        bench(**more)
