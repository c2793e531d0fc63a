"""Cells of a table, whatever wrote it, as labels, groups and parts: what is missing, a number, a list."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from plenish.datasets.schema import PARTS, LabelSchema
from plenish.datasets.sources.listing import (
    MISSING,
    LabelKind,
    SourceOptions,
    alike,
    categorical,
    merged,
    natural,
    part_of,
    shown,
    vectors,
)  # fmt: skip
from plenish.errors import InputError, unknown
from plenish.files import printable
from plenish.wording import agree, plural

_NAMES = ("name", "label", "tag", "category", "class")
_LONGEST = 100_000
_MANY = 20
"""Classes from which it is odd that half of the images or more have one of their own."""
_INFINITE = ("inf", "infinity")
_COMMA = re.compile(r"[+-]?\d+(,\d+)?")


class Labels(NamedTuple):
    """Labels read from a column.

    Attributes:
        schema: their schema.
        values: one an image.
        doubts: what could have been meant otherwise.
    """

    schema: LabelSchema
    values: list[Any]
    doubts: list[str]


def is_missing(value: Any, words: Sequence[str] = MISSING) -> bool:
    """Whether a cell is empty, NaN (which differs from itself), blank, or one of the words for that."""
    if isinstance(value, (list, dict)):
        return False
    return value is None or value != value or not str(value).strip() or str(value).strip() in words


def find_unlabelled(
    cells: Sequence[Any], options: SourceOptions, told: Callable[[Sequence[int]], str]
) -> set[int]:
    """The numbers of cells without a label, whose images are left out.

    Args:
        cells: the column of labels.
        options: what is missing, and what to do about it.
        told: begins the sentence that refuses cells of these numbers, within a bracket.

    Raises:
        InputError: there are some, and `options.missing` is not `skip` or there are no others.
    """
    found = {i for i, cell in enumerate(cells) if is_missing(cell, options.missing_words)}
    if found and (options.missing != "skip" or len(found) == len(cells)):
        words = {cells[i].strip() for i in found if isinstance(cells[i], str)} & set(options.missing_words)
        said = f", which say {shown(sorted(words))}" if words else ""
        ways = "fill them in, give '--missing skip'"
        ways += ", or '--missing-words none' if these words are classes" if words else ""
        raise InputError(f"{told(sorted(found))}{said}); {ways}.")
    return found


def read_labels(
    values: Sequence[Any], kind: LabelKind | None, column: str, separator: str | None = None,
    words: Sequence[str] = MISSING,
) -> Labels:  # fmt: skip
    """Labels and their schema from a column's cells, none of them missing.

    With `auto`, lists (also written as text) and text with `|` are tags, fractions are numbers to be
    predicted, and everything else is classes. Whole numbers are one class however they are written.
    Missing entries of a list are no tags.

    Args:
        values: the cells.
        kind: what a label is; None is `auto`.
        column: its name.
        separator: what separates the tags or numbers in a cell of text; by default `|`, and a space in
            Danbooru's `tag_string`.
        words: entries that mean there is no value.

    Raises:
        InputError: a cell is not of the kind asked for.
    """
    kind = kind or "auto"
    cells = _lists([_named(value, column) for value in values])
    doubts: list[str] = []
    if separator != "," and kind in ("auto", "continuous") and _has_decimal_commas(cells):
        cells = [str(cell).replace(",", ".") for cell in cells]
        doubts.append(f"Commas in the numbers of column '{column}' were taken for decimal points.")
    if separator is None:
        separator = " " if column.startswith("tag_string") else "|"
        separated = [cell for cell in cells if isinstance(cell, str) and separator in cell.strip()]
        if kind == "auto" and separated:
            kind = "multilabel"
            doubts.append(
                f"Cells of column '{column}' such as {printable(repr(separated[0]))} were taken for several "
                "tags; if each is one class, give '--label-kind categorical'."
            )
    elif kind == "auto":
        kind = "multilabel"
    if kind == "auto":
        kind = _kind(cells)
        if kind == "continuous" and not any(isinstance(cell, list) for cell in cells):
            doubts.append(
                f"Column '{column}' holds fractions and was taken for a number to predict; if each value is "
                "a class, give '--label-kind categorical'."
            )
    if kind == "categorical":
        if any(isinstance(cell, list) for cell in cells):
            raise InputError(
                f"Column '{column}' holds lists where one class an image is needed; give '--label-kind "
                "multilabel'."
            )
        names = class_names(cells)
        classes = sorted(set(names), key=natural)
        doubts += [*blanks(cells, "classes"), *alike(classes, "classes"), *_odd(names, classes, column)]
        return Labels(categorical(names), names, doubts)
    pieces = [cell if isinstance(cell, list) else str(cell).split(separator) for cell in cells]
    if kind == "multilabel":
        pieces, left_out = _without_missing(pieces, words, column)
        doubts += left_out
        tags = [sorted(_tags(cell), key=natural) for cell in pieces]
        every = sorted({tag for cell in tags for tag in cell}, key=natural)
        if not every:
            raise InputError(f"Column '{column}' holds no tags at all; name another with --label-column.")
        doubts += [*blanks([tag for cell in pieces for tag in cell], "tags"), *alike(every, "tags")]
        return Labels(LabelSchema("multilabel", tuple(every)), tags, doubts)
    return Labels(*_numbers(pieces, column), doubts)


def one_hot(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], kind: LabelKind | None = None
) -> tuple[LabelSchema, list[Any]]:
    """Labels from one column for each class or tag (0 and 1, or false and true), or for each number.

    Raises:
        InputError: a cell is no finite number, or rows are not of the kind asked for or that most are of.
    """
    kind = kind or "auto"
    table = [[_number(row.get(name)) for name in names] for row in rows]
    wrong = [i + 1 for i, row in enumerate(table) if not all(map(math.isfinite, row))]
    if wrong:
        raise InputError(
            f"The label columns {shown(names, 8)} need a number (0 or 1) in every row, and row "
            f"{shown(wrong)} lacks one; correct the table."
        )
    flags = [all(x in (0.0, 1.0) for x in row) for row in table]
    single = [flag and sum(row) == 1 for flag, row in zip(flags, table)]
    if kind == "auto":
        kind = "categorical" if all(single) else "multilabel" if all(flags) else "continuous"
        usual = "one 1" if sum(single) > len(table) / 2 else "0 and 1" if sum(flags) > len(table) / 2 else ""
        odd = [i + 1 for i, ok in enumerate(single if usual == "one 1" else flags) if not ok]
        if usual and odd:
            raise InputError(
                f"The label columns {shown(names, 8)} hold {usual} in most rows but not in row {shown(odd)}; "
                "correct them, or say what is meant: '--label-kind categorical', multilabel or continuous."
            )
    fits = {"categorical": single, "multilabel": flags}.get(kind, [True])
    if not all(fits):
        raise InputError(
            f"The label columns {shown(names, 8)} are not {kind} in row "
            f"{shown([i + 1 for i, ok in enumerate(fits) if not ok])}; correct the table."
        )
    return vectors(table, tuple(names), kind)


def _number(value: Any) -> float:
    """A cell as a number; NaN where it is none."""
    if str(value).strip().lower() in ("true", "false"):
        return float(str(value).strip().lower() == "true")
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def blanks(values: Sequence[Any], what: str) -> list[str]:
    """A doubt about cells that are one name without the blanks around them.

    Args:
        values: the cells.
        what: they are, in the plural.
    """
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    return merged(texts, [text.strip() for text in texts], what)


def class_names(values: Sequence[Any]) -> list[str]:
    """Cells as class names: `1`, `1.0` and 1 are the same class where all cells are whole numbers."""
    texts = [str(value).strip() for value in values]
    if all(map(_is_whole, texts)):
        return list(map(_whole, texts))
    return texts


def read_groups(values: Sequence[Any], words: Sequence[str] = MISSING) -> list[str | None]:
    """Cells as names of groups; a missing one belongs to no group."""
    there = [i for i, value in enumerate(values) if not is_missing(value, words)]
    names = dict(zip(there, class_names([values[i] for i in there])))
    return [names.get(i) for i in range(len(values))]


def read_parts(values: Sequence[Any], column: str, words: Sequence[str] = ()) -> list[str]:
    """Cells as parts of a split.

    Args:
        values: the cells: train, val, test or their usual other names.
        column: its name.
        words: what further words mean, as `1=train`.

    Raises:
        InputError: a word has no meaning.
    """
    meant: dict[str, str] = {}
    for word in words:
        text, sign, part = word.rpartition("=")
        if not sign or part not in PARTS:
            raise InputError(f"--split-map takes WORD=train, WORD=val or WORD=test, not '{word}'.")
        meant[text.strip().lower()] = part
    lacking = [i + 1 for i, value in enumerate(values) if is_missing(value)]
    if lacking:
        raise InputError(
            f"Column '{column}' says no part for {plural(len(lacking), 'image')} (row "
            f"{shown(lacking)} of those with a file); fill it in."
        )
    cells = [text.strip().lower() for text in class_names(values)]
    found = {cell: meant.get(cell) or part_of(cell) for cell in set(cells)}
    unclear = sorted((cell for cell, part in found.items() if not part), key=natural)
    if unclear:
        ways = " ".join(f"{printable(cell)}=…" for cell in unclear[:3])
        raise InputError(
            f"Column '{column}' has {shown(unclear)} where train, val or test is needed; say for each word "
            f"what it means, '--split-map {ways}', or correct the table."
        )
    return [str(found[cell]) for cell in cells]


def renamed(schema: LabelSchema, names: Sequence[str]) -> dict[str, str]:
    """What each class or tag is called, given as `0=benign`.

    Raises:
        InputError: another form, an unknown class, or two with one name.
    """
    found = {name: name for name in schema.names}
    for word in names:
        old, sign, new = word.partition("=")
        if not sign or not new.strip():
            raise InputError(f"--class-names takes OLD=NEW, such as 0=benign, not '{word}'.")
        if old.strip() not in found:
            raise unknown("class for --class-names", old.strip(), schema.names)
        if found[old.strip()] != old.strip():
            raise InputError(f"--class-names names '{old.strip()}' twice; give one name.")
        found[old.strip()] = new.strip()
    if len(set(found.values())) < len(found):
        raise InputError("--class-names gives two classes one name; give each its own.")
    return found


def _odd(names: Sequence[str], classes: Sequence[str], column: str) -> list[str]:
    """Doubts about classes that may be something else: one for each image, or several tags."""
    found = []
    if len(classes) > max(_MANY, len(names) / 2):
        found.append(
            f"Column '{column}' has {len(classes):,} classes for {plural(len(names), 'image')}; if it holds "
            "names or numbers, choose another with --label-column, or give --label-kind continuous."
        )
    known = set(classes)
    infinite = [name for name in classes if name.lstrip("+-").lower() in _INFINITE]
    if infinite:
        found.append(
            f"Column '{column}' has the class {shown(infinite)}, which looks like a number that could not be "
            f"computed; if it means nothing, give '--missing skip --missing-words {' '.join(infinite)}'."
        )
    flags = [name for name in classes if name.lower() in ("true", "false")]
    if flags and {"0", "1"} & known:
        found.append(
            f"Column '{column}' has the classes {shown(flags)} beside {shown(sorted({'0', '1'} & known))}, "
            "which were kept apart; write one or the other."
        )
    for separator in (",", ";"):
        whole = [name for name in classes if separator in name]
        if whole and any(piece.strip() in known for name in whole for piece in name.split(separator)):
            found.append(
                f"Classes such as '{printable(whole[0])}' seem to be several tags; if so, give '--label-kind "
                f"multilabel --label-separator {separator!r}'."
            )
    return found


def _has_decimal_commas(cells: Sequence[Any]) -> bool:
    texts = [str(cell).strip() for cell in cells]
    return any("," in text for text in texts) and all(_COMMA.fullmatch(text) for text in texts)


def _named(value: Any, column: str) -> Any:
    """A cell whose objects are replaced by their names, and whose bytes are text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        name = next((value[key] for key in _NAMES if value.get(key) is not None), None)
        if name is None:
            raise InputError(
                f"Column '{column}' holds objects without a name ({shown(list(value), 5)}); write the class "
                "or the tags themselves."
            )
        return name
    return [_named(item, column) for item in value] if isinstance(value, (list, tuple)) else value


def _lists(cells: list[Any]) -> list[Any]:
    """Cells that all are lists written as text, as Python or as JSON writes them, as lists."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    if len(texts) < len(cells) or not all(
        t[:1] == "[" and t[-1:] == "]" and len(t) < _LONGEST for t in texts
    ):
        return cells
    try:
        return [_list(text) for text in texts]
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return cells


def _list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = ast.literal_eval(text)
    if not isinstance(found, list):
        raise ValueError(text)
    return found


def _kind(cells: Sequence[Any]) -> LabelKind:
    if any(isinstance(cell, list) for cell in cells):
        numbers = all(
            isinstance(x, float) for cell in cells for x in (cell if isinstance(cell, list) else ())
        )
        return "continuous" if numbers else "multilabel"
    texts = [str(cell).strip() for cell in cells]
    whole = all(map(_is_whole, texts))
    return "continuous" if not whole and all(map(_is_number, texts)) else "categorical"


def _without_missing(
    pieces: Sequence[Sequence[Any]], words: Sequence[str], column: str
) -> tuple[list[list[Any]], list[str]]:
    """Lists of tags without missing entries, and a doubt about these; blank ones are passed over."""
    kept = [[tag for tag in cell if not is_missing(tag, words)] for cell in pieces]
    lost = [tag for cell in pieces for tag in cell if is_missing(tag, words) and str(tag).strip()]
    if not lost:
        return kept, []
    return kept, [
        f"{agree(len(lost), 'missing value', 'was', 'were')} left out of the tags of column '{column}' "
        f"({shown(sorted(set(map(str, lost))))}); if words are meant as tags, give '--missing-words none'."
    ]


def _tags(cell: Sequence[Any]) -> set[str]:
    return {str(tag).strip() for tag in cell} - {""}


def _numbers(pieces: Sequence[Sequence[Any]], column: str) -> tuple[LabelSchema, list[list[float]]]:
    try:
        rows = [[float(x) for x in cell] for cell in pieces]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Column '{column}' is not all numbers ({error}); choose another --label-kind."
        ) from None
    width = len(rows[0])
    if any(len(row) != width or not all(map(math.isfinite, row)) for row in rows):
        raise InputError(
            f"Column '{column}' needs {plural(width, 'finite number')} in every row; correct the table."
        )
    names = (column,) if width == 1 else tuple(f"{column}_{i}" for i in range(width))
    return LabelSchema("continuous", names), rows


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _is_whole(text: str) -> bool:
    return _is_number(text) and float(text).is_integer()


def _whole(text: str) -> str:
    """A whole number as digits; leading zeros stay, since `007` is a code."""
    digits = text.lstrip("+-")
    if digits.isdecimal():
        return text if digits != str(int(digits)) else str(int(text))
    return str(int(float(text)))
