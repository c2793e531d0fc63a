"""The notebooks in the docs run from top to bottom, on a tiny generator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
MOST_BYTES = 200_000


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    cells = [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), str(path), "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert {"PATIENTS", "SIZE", "KIMG", "OUT"} <= names.keys()
            names.update(PATIENTS=6, SIZE=16, KIMG=0.02, OUT=str(tmp_path))
            names.update(EPOCHS=1, STEPS=24, ENCODER_STEPS=4)
    assert names["space"].family == "dcgan"
