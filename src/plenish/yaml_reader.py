"""The one reader of YAML: configurations, recipes, queues, and values typed as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from plenish.errors import InputError, first_line

_MOST_VALUES = 100_000


def read_yaml(path: Path, name: str) -> Any:
    """Read a YAML file; InputError, which calls it by `name`, when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name} {path} cannot be read ({error.strerror or error}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} {path} is not a text file; give a YAML file.") from None
    return parse_yaml(text, f"{name} {path}")


def parse_yaml(text: str, what: str) -> Any:
    """The values of a YAML text: plain types only, no more than a configuration can need.

    Args:
        text: YAML.
        what: it is, for messages.

    Raises:
        InputError: it is not YAML, is nested too deeply, or its references make it too large or circular.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        # Counted before anything walks through it: nine lines of references can stand for 10⁹ values.
        if node is not None and _values(node, {}) > _MOST_VALUES:
            raise InputError(f"{what} stands for more than {_MOST_VALUES:,} values; write a shorter one.")
        return None if node is None else loader.construct_document(node)
    except RecursionError:
        raise InputError(f"{what} is nested too deeply, or in itself; write a flatter one.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        reason = getattr(error, "problem", None) or first_line(error)
        hint = "; put texts that hold a question mark in quotes" if "got '?'" in reason else ""
        raise InputError(f"{what} is not YAML ({reason}{where}){hint}.") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # Such as a date no calendar has.
        raise InputError(f"{what} is not YAML ({first_line(error)}).") from None


def _values(node: Any, known: dict[int, int]) -> int:
    """Values that a node stands for, each reference counted with all that it refers to.

    Raises:
        RecursionError: it is nested too deeply, or contains itself.
    """
    if id(node) not in known:
        inner = node.value if isinstance(node.value, list) else ()
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated(node)
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def _refuse_repeated(node: yaml.MappingNode) -> None:
    """Refuse a key that is given twice, of which only the last value would count."""
    known = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in known:
                text = f"'{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            known.add(key.value)
