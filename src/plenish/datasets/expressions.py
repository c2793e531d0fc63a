"""Conditions on the columns of a Dataset: a small language that is read here and never executed.

    tags any(1girl, solo) and not tags any(comic) and width >= 256 and label in (a, b)

    condition   = term { "or" term }
    term        = factor { "and" factor }
    factor      = "not" factor | "(" condition ")" | test
    test        = COLUMN ("any" | "all") "(" VALUE { "," VALUE } ")"     of a column of lists
                | COLUMN ["not"] "in" "(" VALUE { "," VALUE } ")"
                | COLUMN ("==" | "!=" | "<" | "<=" | ">" | ">=") VALUE
                | COLUMN "is" ["not"] "missing"
                | COLUMN                                                 of a column of true and false

A value with blanks, brackets or commas stands in quotes. A test of a missing value is false, and `not` of it
true.
"""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.tables import read_parquet
from plenish.errors import InputError, nearest

Mask = NDArray[np.bool_]

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<operator>==|!=|<=|>=|<|>|=)|(?P<mark>[(),])|"""
    r"""(?P<word>[^\s(),<>=!"']+))"""
)
_KEYWORDS = ("and", "or", "not", "in", "is", "any", "all")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_DEEPEST = 100
"""Brackets in brackets; more would end the interpreter's stack."""


@dataclass(frozen=True)
class _Token:
    """A word, a quoted text, an operator or a mark, with its place in the expression, from 0."""

    kind: str
    text: str
    place: int


class Columns:
    """The columns of a samples.parquet, read when a condition asks for them."""

    def __init__(self, path: Path) -> None:
        """Open the table; only its schema is read."""
        self._path = path
        with files.reading(path):
            self.schema = pq.read_schema(path)
        self._read: dict[str, pa.Array] = {}

    def __getitem__(self, name: str) -> pa.Array:
        if name not in self._read:
            chunked = read_parquet(self._path, [name]).column(0)
            self._read[name] = chunked.combine_chunks() if chunked.num_chunks != 1 else chunked.chunk(0)
        return self._read[name]


class Condition(Protocol):
    """A parsed condition: which rows of a table meet it, N booleans."""

    def __call__(self, columns: Columns) -> Mask:
        """Evaluate it."""


def parse(text: str) -> Condition:
    """Read an expression.

    Raises:
        InputError: it is no condition; the message names the character.
    """
    return _Parser(text).whole()


@dataclass(frozen=True)
class _Both:
    parts: tuple[Condition, ...]
    join: Callable[..., Any]

    def __call__(self, columns: Columns) -> Mask:
        return np.asarray(self.join([part(columns) for part in self.parts], axis=0))


@dataclass(frozen=True)
class _Not:
    inner: Condition

    def __call__(self, columns: Columns) -> Mask:
        return ~self.inner(columns)


@dataclass(frozen=True)
class _Test:
    """One test of one column.

    Attributes:
        parser: the expression, for messages.
        column: name and place of the column.
        test: any, all, in, ==, …, missing or true.
        values: what it is compared with.
    """

    parser: _Parser
    column: _Token
    test: str
    values: tuple[_Token, ...] = ()

    def __call__(self, columns: Columns) -> Mask:
        name = self.column.text
        if name not in columns.schema.names:
            self.parser.fail(
                self.column.place, *_no_such(f"there is no column '{name}'", name, columns.schema.names)
            )
        array = columns[name]
        if self.test == "missing":
            return np.asarray(array.is_null())
        if not _is_plain(array.type):  # Dates and the like are compared as they are written.
            array = pc.cast(array, pa.string())
        is_list = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
        if is_list != (self.test in ("any", "all")):
            fix = f"{name} any(…) or {name} all(…)" if is_list else f"{name} == … or {name} in (…)"
            what = "lists" if is_list else "single values"
            self.parser.fail(self.column.place, f"'{name}' holds {what}", f"write {fix}")
        return self._of_lists(array) if is_list else self._of_values(array)

    def _of_lists(self, array: pa.ListArray) -> Mask:
        flat, lengths = array.flatten(), pc.fill_null(pc.list_value_length(array), 0)
        owner = np.repeat(np.arange(len(array)), np.asarray(lengths))
        found = [
            np.bincount(owner[hits], minlength=len(array)) > 0 for hits in map(self._equal(flat), self.values)
        ]
        return np.asarray((np.any if self.test == "any" else np.all)(found, axis=0))

    def _of_values(self, array: pa.Array) -> Mask:
        if self.test == "true":
            if not pa.types.is_boolean(array.type):
                fix = f"compare it, as in {self.column.text} == …"
                self.parser.fail(self.column.place, f"'{self.column.text}' is not true or false", fix)
            return np.asarray(pc.fill_null(array, False))
        if self.test in ("in", "==", "=", "!="):
            found = np.any(list(map(self._equal(array), self.values)), axis=0)
            return np.asarray(~found & np.asarray(array.is_valid()) if self.test == "!=" else found)
        if not _is_number(array.type):
            self.parser.fail(
                self.column.place, f"'{self.column.text}' holds no numbers", "compare it with == or !="
            )
        found = _COMPARE[self.test](_numbers(array), self._number(self.values[0]))
        return np.asarray(found & np.asarray(array.is_valid()))

    def _equal(self, array: pa.Array) -> Callable[[_Token], Mask]:
        """What tells which of an array's values are a given one; a missing value is none."""
        if _is_number(array.type):
            numbers, valid = _numbers(array), np.asarray(array.is_valid())
            return lambda token: np.asarray((numbers == self._number(token)) & valid)

        def same(token: _Token) -> Mask:
            value = pa.scalar(self._value(token, array), array.type)
            return np.asarray(pc.fill_null(pc.equal(array, value), False), bool)

        return same

    def _number(self, token: _Token) -> int | float:
        """A number, a whole one to the last digit."""
        for kind in (int, float):
            with contextlib.suppress(ValueError):
                return kind(token.text)
        self.parser.fail(
            token.place, f"'{token.text}' is no number, as '{self.column.text}' holds", "give a number"
        )

    def _value(self, token: _Token, array: pa.Array) -> Any:
        """A word or truth value; one that no row has is taken for a mistake."""
        kind, name = array.type, self.column.text
        if pa.types.is_boolean(kind):
            if token.text.lower() not in ("true", "false"):
                self.parser.fail(token.place, f"'{name}' is true or false", f"not '{token.text}'")
            return token.text.lower() == "true"
        if pa.types.is_null(kind):
            self.parser.fail(self.column.place, f"'{name}' has no values", "leave it out")
        text = token.text
        if not pc.any(pc.equal(array, pa.scalar(text, kind))).as_py():
            known = [str(one) for one in pc.unique(array).to_pylist() if one is not None]
            self.parser.fail(token.place, *_no_such(f"no image has '{text}' in '{name}'", text, known))
        return text


def _numbers(array: pa.Array) -> NDArray[Any]:
    """Numbers of the array's own type; 0 for missing ones."""
    return np.asarray(pc.fill_null(array, 0).to_numpy(zero_copy_only=False))


def _is_plain(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_string, pa.types.is_boolean)
    return _is_number(kind) or pa.types.is_null(kind) or any(test(kind) for test in tests)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _no_such(problem: str, name: str, choices: Sequence[str]) -> tuple[str, str]:
    """What is wrong with a name, and the nearest one, or some of those there are, as the fix."""
    close = nearest(name, choices)
    shown = ", ".join(sorted(choices)[:8]) + (", …" if len(choices) > 8 else "")
    return problem, f"did you mean '{close}'?" if close else f"there are {shown}"


class _Parser:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self._tokens, self._next, self._depth = text, list[_Token](), 0, 0
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None:
                place += len(text[place:]) - len(text[place:].lstrip())
                problem = (
                    "quotes are not closed" if text[place] in "\"'" else f"'{text[place]}' means nothing"
                )
                self.fail(place, problem, "see docs/corpora.md for what can be written")
            kind = str(found.lastgroup)
            word = found[kind][1:-1] if kind == "quoted" else found[kind]
            self._tokens.append(_Token(kind, word, found.start(kind)))
            place = found.end()

    def fail(self, place: int, problem: str, fix: str) -> NoReturn:
        """Raise an InputError that names the character."""
        end = "" if fix.endswith("?") else "."
        before, after = self.text[max(0, place - 30) : place], self.text[place : place + 20]
        raise InputError(
            f"--where: {problem} at character {place + 1} ({before}»{after}); {fix}{end}",
            code="expression", value=place,
        )  # fmt: skip

    def whole(self) -> Condition:
        """All of it."""
        if not self._tokens:
            self.fail(0, "there is no condition", "write one such as width >= 256")
        found = self._joined()
        if (token := self._peek()) is not None:
            self.fail(token.place, f"'{token.text}' was not expected", "join conditions with and, or")
        return found

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind != "quoted" and token.text in texts

    def _take(self, what: str, *kinds: str) -> _Token:
        token = self._peek()
        if token is None:
            self.fail(len(self.text), f"{what} is missing", "write it there")
        if token.kind not in kinds:
            self.fail(token.place, f"{what} is missing before '{token.text}'", "write it there")
        self._next += 1
        return token

    def _expect(self, mark: str) -> None:
        if not self._is(mark):
            token = self._peek()
            place = len(self.text) if token is None else token.place
            quotes = " (a value with brackets or blanks stands in quotes)" if mark == ")" else ""
            self.fail(place, f"'{mark}' is missing{quotes}", "write it there")
        self._next += 1

    def _joined(self) -> Condition:
        parts = [self._term()]
        while self._is("or"):
            self._next += 1
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else _Both(tuple(parts), np.any)

    def _term(self) -> Condition:
        parts = [self._factor()]
        while self._is("and"):
            self._next += 1
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else _Both(tuple(parts), np.all)

    def _factor(self) -> Condition:
        negated, start = 0, self._next
        while self._is("not"):
            self._next += 1
            negated += 1
        if self._is("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                self.fail(self._tokens[start].place, "there are too many brackets", "use fewer")
            self._next += 1
            found = self._joined()
            self._expect(")")
            self._depth -= 1
        else:
            found = self._test()
        return _Not(found) if negated % 2 else found

    def _test(self) -> Condition:
        column = self._take("the name of a column", "word", "quoted")
        if column.kind == "word" and column.text in _KEYWORDS:
            self.fail(column.place, f"'{column.text}' was not expected", "a column's name belongs there")
        if (token := self._peek()) is not None and token.kind == "operator":
            self._next += 1
            return _Test(self, column, token.text, (self._take("a value", "word", "quoted"),))
        if self._is("any", "all", "in"):
            self._next += 1
            return _Test(self, column, str(token and token.text), self._values())
        if (
            self._is("not")
            and self._next + 1 < len(self._tokens)
            and self._tokens[self._next + 1].text == "in"
        ):
            self._next += 2
            return _Not(_Test(self, column, "in", self._values()))
        if self._is("is"):
            self._next += 1
            negated = self._is("not")
            self._next += negated
            if not self._is("missing"):
                place = len(self.text) if self._peek() is None else self._tokens[self._next].place
                self.fail(place, "'missing' is missing behind 'is'", f"write {column.text} is missing")
            self._next += 1
            return _Not(_Test(self, column, "missing")) if negated else _Test(self, column, "missing")
        return _Test(self, column, "true")

    def _values(self) -> tuple[_Token, ...]:
        self._expect("(")
        found = [self._take("a value", "word", "quoted")]
        while self._is(","):
            self._next += 1
            found.append(self._take("a value", "word", "quoted"))
        self._expect(")")
        return tuple(found)
