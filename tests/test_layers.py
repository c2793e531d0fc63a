"""Dependencies point one way: what is below knows nothing of what is above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import plenish

HOME = Path(plenish.__file__).parent


def imported(file: Path) -> Iterator[str]:
    """Modules of Plenish that a file imports, wherever in it, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize(
    ("room", "above"),
    [
        ("networks", ("training", "recipes", "report")),
        ("training", ("report", "recipes", "study")),
        ("metrics", ("report", "recipes", "study")),
        ("study", ("report", "recipes")),
        ("latent", ("report", "recipes", "study", "metrics")),
        ("", ("cli",)),
    ],
)
def test_a_room_knows_nothing_of_those_above_it(room: str, above: tuple[str, ...]) -> None:
    files = [file for file in (HOME / room).rglob("*.py") if file.name != "__main__.py"]
    assert files
    upward = [
        f"{file.relative_to(HOME)} imports {name}"
        for file in files
        for name in imported(file)
        if any(name == f"plenish.{there}" or name.startswith(f"plenish.{there}.") for there in above)
    ]
    assert upward == []
