"""Sums of latents in words, such as 'tumour_lumen - tumour + normal': parsed, and computed."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import numpy as np

from plenish.errors import InputError
from plenish.latent.points import Floats, Points

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d]\w*)|(.))")
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/"})
_DEEPEST = 50


@dataclasses.dataclass(frozen=True)
class Term:
    """A named set with the factor before it.

    Attributes:
        name: of the set.
        factor: its factor, sign included.
    """

    name: str
    factor: float

    def title(self, first: bool) -> str:
        """The factor as an equation has it: '−', '+', '− 2 ×'; nothing for a first one of 1."""
        sign = "−" if self.factor < 0 else "" if first else "+"
        size = "" if abs(self.factor) == 1 else f"{abs(self.factor):g} ×"
        return f"{sign} {size}".strip()


def parse_equation(text: str) -> list[Term]:
    """An expression of names, numbers, + - * / and parentheses as a sum of names with factors.

    Args:
        text: such as 'a - b + c' or '(a + b)/2 - 0.5*c'; × and − are read too.

    Returns:
        A term for each name, in the order of the text; a name that comes twice has the sum of its factors.

    Raises:
        InputError: it is no such expression, multiplies names with each other, or has a number that stands
            alone.
    """
    reader = _Reader(text)
    found = reader.sum(0)
    reader.expect("", "the end")
    if not isinstance(found, dict):
        raise InputError(f"'{text}' has no name in it; write names of sets, such as 'a - b + c'.")
    if not all(math.isfinite(factor) for factor in found.values()):
        raise InputError(f"'{text}' has a factor that is too large.")
    return [Term(name, factor) for name, factor in found.items()]


_Value = float | dict[str, float]


class _Reader:
    """A recursive-descent reader; a value is a number, or factors by name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [match.groups("") for match in _TOKEN.finditer(text.translate(_SIGNS).rstrip())]
        self.place = 0

    @property
    def symbol(self) -> str:
        """The next token, where it is neither a number nor a name; else empty."""
        return self.tokens[self.place][2] if self.place < len(self.tokens) else ""

    def refuse(self, why: str) -> InputError:
        return InputError(f"'{self.text}' cannot be read: {why}; write it such as 'a - b + 2*(c - d)'.")

    def expect(self, symbol: str, called: str) -> None:
        here = "".join(self.tokens[self.place]) if self.place < len(self.tokens) else ""
        if here != symbol:
            found = f"'{here}'" if here else "the end"
            raise self.refuse(f"{called} is expected, not {found}")
        self.place += 1

    def sum(self, depth: int) -> _Value:
        value = self.product(depth)
        while self.symbol in ("+", "-") and self.symbol:
            sign = 1.0 if self.symbol == "+" else -1.0
            self.place += 1
            value = self._added(value, self._scaled(self.product(depth), sign))
        return value

    def product(self, depth: int) -> _Value:
        value = self.factor(depth)
        while self.symbol in ("*", "/") and self.symbol:
            divides = self.symbol == "/"
            self.place += 1
            other = self.factor(depth)
            if divides and (not isinstance(other, float) or other == 0):
                raise self.refuse("only numbers other than 0 divide")
            if isinstance(other, float):
                value = self._scaled(value, 1 / other if divides else other)
            elif isinstance(value, float):
                value = self._scaled(other, value)
            else:
                raise self.refuse("names are not multiplied with each other")
        return value

    def factor(self, depth: int) -> _Value:
        if depth > _DEEPEST:
            raise self.refuse(f"it has more than {_DEEPEST} parentheses and signs in each other")
        if self.place >= len(self.tokens):
            raise self.refuse("a name or a number is expected, not the end")
        number, name, symbol = self.tokens[self.place]
        self.place += 1
        if number:
            return float(number)
        if name:
            return {name: 1.0}
        if symbol in ("-", "+"):
            return self._scaled(self.factor(depth + 1), -1.0 if symbol == "-" else 1.0)
        if symbol == "(":
            value = self.sum(depth + 1)
            self.expect(")", "')'")
            return value
        raise self.refuse(f"a name or a number is expected, not '{symbol}'")

    def _scaled(self, value: _Value, by: float) -> _Value:
        if isinstance(value, float):
            return value * by
        return {name: factor * by for name, factor in value.items()}

    def _added(self, one: _Value, other: _Value) -> _Value:
        if isinstance(one, float) and isinstance(other, float):
            return one + other
        if isinstance(one, float) or isinstance(other, float):
            raise self.refuse("a number is not added to a name")
        return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in [*one, *other]}


@dataclasses.dataclass(frozen=True)
class Equation:
    """An equation that was computed, column by column; the last column holds the means.

    Attributes:
        terms: its terms in order.
        operands: of each term the points, a column each and the mean behind them; of a direction, which makes
            no image by itself, its name instead.
        results: the result of each column.
    """

    terms: tuple[Term, ...]
    operands: tuple[Points | str, ...]
    results: Points


def solve(terms: list[Term], values: Mapping[str, Points | Floats], y: Floats | None = None) -> Equation:
    """Compute an equation over sets of points.

    Column k takes the k-th point of each set, as many as the smallest set of several has; a set of one point
    and a direction are the same in all columns. The last column takes the mean of each whole set; it is the
    only one where no set has several.

    Args:
        terms: the terms.
        values: a set of points, or a direction, by name.
        y: labels of the results, 1×K; by default those of the last set of points that is added.

    Raises:
        InputError: a name has no value, or all are directions.
    """
    sets = {term.name: values[term.name] for term in terms}
    points = {name: found for name, found in sets.items() if isinstance(found, Points)}
    if not points:
        raise InputError("The equation holds directions alone; add points by --set a=seeds:1,2,3.")
    several = [len(found) for found in points.values() if len(found) > 1]
    singles = min(several, default=0)
    operands: list[Points | str] = []
    total = np.zeros((singles + 1, *next(iter(points.values())).values.shape[1:]), np.float64)
    for term in terms:
        value = sets[term.name]
        if isinstance(value, Points):
            columns = with_mean(value, singles, term.name)
            operands.append(columns)
            total += term.factor * columns.values.astype(np.float64)
        else:
            operands.append(term.name)
            total += term.factor * np.asarray(value, np.float64)
    added = [o for t, o in zip(terms, operands) if t.factor > 0 and isinstance(o, Points)]
    last = added[-1] if added else next(o for o in operands if isinstance(o, Points))
    names = [f"result {k + 1}" for k in range(singles)] + ["result of the means"]
    asked = last.y if y is None else np.repeat(y, singles + 1, 0)
    results = Points(total.astype(np.float32), last.space, asked, tuple(names))
    return Equation(tuple(terms), tuple(operands), results)


def with_mean(points: Points, singles: int, name: str = "") -> Points:
    """The first `singles` points of a set, one repeated as often as that, and the mean of all behind them."""
    rows = np.arange(singles) if len(points) > 1 else np.zeros(singles, np.int64)
    mean = mean_point(points, name)
    return Points.joined([points[rows], mean]) if singles else mean


def mean_point(points: Points, name: str = "") -> Points:
    """The mean of a set of points, labels included, as one point."""
    y = None if points.y is None else points.y.mean(0, keepdims=True)
    values = points.values.astype(np.float64).mean(0, keepdims=True).astype(np.float32)
    called = f"mean of {len(points)}" if len(points) > 1 else points.names[0]
    return Points(values, points.space, y, (f"{called} {name}".strip() if len(points) > 1 else called,))
