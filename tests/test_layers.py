"""A room imports only from the rooms below it, at the top of a file, and functions are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import plenish

HOME = Path(plenish.__file__).parent
ROOMS = (
    "cli", "commands", "studio", "recipes", "report", "comics", "study", "robustness", "latent", "metrics",
    "training", "networks", "slides", "phantom", "datasets", "ground",
)  # fmt: skip
"""All rooms from the top down, as docs/architecture.md shows them; the ground floor has no folder."""
TOP = ("__init__.py", "__main__.py", "cli.py", "options.py")
"""Modules without a folder that are the top floor."""
MOST_LATE_IMPORTS = 4
MOST_LINES = 80
MODULES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(HOME.rglob("*.py"))}


def name_of(file: Path) -> str:
    """The dotted name of a module."""
    parts = file.relative_to(HOME.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(file): file for file in MODULES}


def room_of(file: Path) -> str:
    inside = file.relative_to(HOME).parts
    return inside[0] if len(inside) > 1 else "cli" if inside[0] in TOP else "ground"


def imported(nodes: ast.AST) -> Iterator[Path]:
    """Files of Plenish that are imported below a node, also inside functions."""
    for node in ast.walk(nodes):
        names = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inner = [f"{node.module}.{name.name}" for name in node.names]
            names = [name if name in NAMES else node.module for name in inner]
        yield from (NAMES[name] for name in names if name in NAMES)


def test_every_file_is_in_a_room() -> None:
    assert {room_of(file) for file in MODULES} == set(ROOMS)


def test_rooms_import_only_from_below() -> None:
    upward = [
        f"{file.relative_to(HOME)} imports {name_of(other)}"
        for file, content in MODULES.items()
        for other in imported(content)
        # The package itself is its version and its errors, and names that are loaded on first use.
        if ROOMS.index(room_of(other)) < ROOMS.index(room_of(file)) and other.name != "__init__.py"
    ]
    assert upward == []


def test_imports_do_not_go_round_in_a_circle() -> None:
    """Imports inside functions, and those for type checkers alone, do not count."""
    graph = {
        file: {other for node in content.body if not isinstance(node, (ast.If, ast.FunctionDef, ast.ClassDef))
               for other in imported(node)} - {file}
        for file, content in MODULES.items()
    }  # fmt: skip
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(name_of(file) for file in error.args[1]))


def test_few_imports_are_inside_functions() -> None:
    """Verbs import what loads torch when they run, so that help answers at once; others hardly ever."""
    late = [
        f"{file.relative_to(HOME)}: {name_of(other)}"
        for file, content in MODULES.items() if room_of(file) not in ("cli", "commands")
        for function in ast.walk(content) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in function.body
        for other in imported(node) if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]  # fmt: skip
    assert len(late) <= MOST_LATE_IMPORTS, "\n".join(late)


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{file.relative_to(HOME)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file, content in MODULES.items()
        for node in ast.walk(content)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None and node.end_lineno - node.lineno >= MOST_LINES
    ]  # fmt: skip
    assert long == []
