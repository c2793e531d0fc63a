from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plenish.errors import InputError
from plenish.latent.arithmetic import parse_equation, solve
from plenish.latent.points import Points


def factors(text: str) -> dict[str, float]:
    return {term.name: term.factor for term in parse_equation(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a - b + c", {"a": 1, "b": -1, "c": 1}),
        ("a − 2×b", {"a": 1, "b": -2}),
        ("(a + b)/2 - 0.5*(c - a)", {"a": 1, "b": 0.5, "c": -0.5}),
        ("-(a - (b - 3*c))*2", {"a": -2, "b": 2, "c": -6}),
        ("a - a + ñandú_1", {"a": 0, "ñandú_1": 1}),
        ("2*3*a/4", {"a": 1.5}),
        ("1e-1*a + .5 * b", {"a": 0.1, "b": 0.5}),
    ],
)
def test_sums_are_read(text: str, expected: dict[str, float]) -> None:
    assert factors(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    ["", "a -", "a b", "(a", "a)", "a*b", "a + 1", "1 + 2", "a/0", "a/b", "a..b", "__import__('os')", "a[0]",
     "a;b", "a**2", "1e999*a", "(" * 5000 + "a", "-" * 5000 + "a"],
)  # fmt: skip
def test_what_is_no_sum_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_equation(text)


@given(st.lists(st.sampled_from(["a", "b", "2", "0.5", "+", "-", "*", "/", "(", ")"]), max_size=12))
def test_any_sum_is_read_as_python_reads_it_or_refused(tokens: list[str]) -> None:
    text = " ".join(tokens)
    try:
        found = factors(text)
    except InputError:
        return
    for a, b in ((1.0, 0.0), (0.0, 1.0), (2.0, -3.0)):
        value = eval(text, {"__builtins__": {}}, {"a": a, "b": b})
        assert value == pytest.approx(found.get("a", 0) * a + found.get("b", 0) * b, rel=1e-9, abs=1e-9)


def points(n: int, seed: int, code: int) -> Points:
    values = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    return Points(
        values, "z", np.eye(2, dtype=np.float32)[[code] * n], tuple(f"{seed}.{i}" for i in range(n))
    )


def test_singles_in_columns_and_the_mean_in_the_last() -> None:
    a, b, c = points(3, 0, 0), points(4, 1, 0), points(3, 2, 1)
    solved = solve(parse_equation("a - b + 2*c"), {"a": a, "b": b, "c": c})
    np.testing.assert_allclose(
        solved.results.values[:3], a.values - b.values[:3] + 2 * c.values, rtol=1e-5, atol=1e-5
    )
    mean = a.values.mean(0) - b.values.mean(0) + 2 * c.values.mean(0)
    np.testing.assert_allclose(solved.results.values[3], mean, rtol=1e-5, atol=1e-5)
    assert solved.results.y is not None
    assert solved.results.y.tolist() == [[0, 1]] * 4  # That of c, the last that is added.
    # On a linear generator the sum of images is the image of the sum.
    matrix = np.random.default_rng(3).normal(size=(6, 12))
    images = (a.values - b.values[:3] + 2 * c.values) @ matrix
    np.testing.assert_allclose(solved.results.values[:3] @ matrix, images, rtol=1e-4, atol=1e-4)


def test_one_point_and_a_direction_are_the_same_in_all_columns() -> None:
    a, b = points(2, 0, 0), points(1, 1, 1)
    step = np.arange(6, dtype=np.float32)
    solved = solve(parse_equation("a - b + 3*lumen"), {"a": a, "b": b, "lumen": step})
    expected = np.concatenate([a.values, a.values.mean(0, keepdims=True)]) - b.values + 3 * step
    np.testing.assert_allclose(solved.results.values, expected, rtol=1e-5, atol=1e-5)
    assert solved.results.y is not None
    assert solved.results.y.argmax(1).tolist() == [0, 0, 0]
    assert solved.operands[2] == "lumen"


def test_directions_alone_make_no_image() -> None:
    with pytest.raises(InputError):
        solve(parse_equation("lumen"), {"lumen": np.ones(6, np.float32)})
