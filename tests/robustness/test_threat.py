"""Radii from text, and points in balls."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plenish.errors import InputError
from plenish.robustness.radius import format_eps, parse_eps
from plenish.robustness.threat import NORMS, Norm, Threat, lengths, project, steepest


@pytest.mark.parametrize(
    ("text", "value"),
    [("4/255", 4 / 255), (" .5 / 255 ", 0.5 / 255), ("0.03", 0.03), ("0", 0.0), ("1e-3", 1e-3), ("2", 2.0)],
)
def test_a_radius_is_a_number_or_a_quotient(text: str, value: float) -> None:
    assert parse_eps(text) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "4/", "/255", "4/0", "nan", "inf", "1e999", "1/2/3", "4%", "four", "1_0", "٤"]
)
def test_other_text_is_no_radius(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_eps(text)
    assert (caught.value.code, caught.value.value) == ("eps", text)


@settings(max_examples=20)
@given(st.floats(0, 100))
def test_a_radius_survives_as_text(value: float) -> None:
    assert parse_eps(repr(value)) == value


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 1.01), ("linf", -0.1), ("l2", -1.0), ("l2", float("nan"))]
)
def test_a_threat_refuses_what_is_no_distance(norm: Norm, eps: float) -> None:
    with pytest.raises(InputError):
        Threat(norm, eps)


def test_a_long_change_is_allowed_in_the_l2_norm() -> None:
    assert Threat("l2", 3.0).eps == 3.0


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_no_finite_radius_is_written_as_it_is(norm: Norm) -> None:
    assert [format_eps(eps, norm) for eps in (math.inf, math.nan)] == ["inf", "nan"]


@pytest.mark.parametrize(("norm", "longest"), [("linf", 1.0), ("l2", 8 * 3**0.5)])
def test_a_radius_beyond_every_change_is_refused(norm: Norm, longest: float) -> None:
    Threat(norm, longest).check_reach(8, 3)
    if norm == "l2":  # More than 1 is refused before, in the norm linf.
        with pytest.raises(InputError):
            Threat(norm, longest * 1.001).check_reach(8, 3)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=30)
@given(eps=st.floats(0, 2), scale=st.floats(0, 10), seed=st.integers(0, 99))
def test_projected_points_lie_in_the_ball_and_in_range(
    norm: Norm, eps: float, scale: float, seed: int
) -> None:
    draws = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 4, 4, generator=draws)
    changed = images + scale * torch.randn(3, 2, 4, 4, generator=draws)
    found = project(images, changed, eps, norm)
    assert (lengths(found - images, norm) <= eps + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose(project(images, found, eps, norm), found, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_no_change_of_unit_length_rises_more_than_the_steepest(norm: Norm) -> None:
    draws = torch.Generator().manual_seed(0)
    gradient = torch.randn(1, 3, 4, 4, generator=draws)
    others = torch.randn(200, 3, 4, 4, generator=draws)
    others = others / lengths(others, norm).view(-1, 1, 1, 1)
    best = steepest(gradient, norm)
    assert lengths(best, norm).item() == pytest.approx(1)
    assert ((others * gradient).sum(dim=(1, 2, 3)) < (best * gradient).sum()).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_size_of_a_gradient_and_what_is_undefined_of_it_do_not_matter(norm: Norm) -> None:
    gradient = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = steepest(gradient, norm)
    torch.testing.assert_close(steepest(gradient * 1e-30, norm), wanted)
    torch.testing.assert_close(steepest(gradient * 1e30, norm), wanted)
    gradient[0, 0, 0, 0] = torch.nan
    without = gradient.nan_to_num(0)
    torch.testing.assert_close(steepest(gradient, norm), steepest(without, norm))
    assert not steepest(torch.zeros(1, 1, 2, 2), norm).any()
