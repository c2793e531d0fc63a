"""The result files: their version, how they are read, and what they record of the Datasets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import files
from plenish.errors import InputError

if TYPE_CHECKING:  # What commands import to say what they return need not load pandas.
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.parts import Subset

Kind = Literal["score", "study", "autoencoder-study", "predictions"]
VERSION = 3
FILES: dict[Kind, tuple[str, str]] = {
    "score": ("score.json", "plenish score"),
    "study": ("study.json", "plenish study"),
    "autoencoder-study": ("autoencoders.json", "plenish study autoencoders"),
    "predictions": ("predictions.json", "plenish predict"),
}
"""The file of each kind, and the command that makes it."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        path: the folder written.
        content: its result file.
        report: its report, where one was written.
    """

    path: Path
    content: Mapping[str, Any]
    report: Path | None = None


def write_result(folder: Path, kind: Kind, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write the result file of a kind into a folder; returns what a reader of it gets."""
    file = folder / FILES[kind][0]
    files.write_record(file, {"schema": VERSION, "kind": kind, **content})
    return read_result(file, kind)[0]


def read_result(path: Path, kind: Kind) -> tuple[dict[str, Any], Path]:
    """Read a result file.

    Args:
        path: the folder made by the command, or the JSON file itself.
        kind: which command.

    Returns:
        The content and the folder.

    Raises:
        InputError: there is no such file, or it is of another kind or layout.
    """
    name, command = FILES[kind]
    file = path if path.suffix == ".json" else path / name
    if not file.is_file():
        raise InputError(f"{path} contains no {name}; make it with '{command} … {path}'.")
    content = files.read_json(file)
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise InputError(f"{file} is not the result of '{command}'; give the folder that command made.")
    if content.get("schema") != VERSION:
        raise InputError(
            f"{file} has layout version {content.get('schema')!r} and this Plenish reads {VERSION}; "
            f"run '{command}' again."
        )
    return files.verified(content, file), file.parent


def real_record(*parts: Subset) -> dict[str, Any]:
    """What a result file keeps of the real Dataset, its split and its parts, the test part last."""
    test = parts[-1]
    data = test.dataset
    return {
        "path": str(data.path.resolve()), "name": data.name, "pixels_hash": data.manifest.pixels_hash,
        "table_hash": data.manifest.table_hash, "split": test.split_name, "split_hash": test.split_hash,
        **{f"n_{part.part}": len(part) for part in parts},
        "groups_test": len({group for group in test.groups if group is not None}),
        "phantom": bool(data.manifest.extra.get("phantom")),
    }  # fmt: skip


def synthetic_record(data: Dataset) -> dict[str, Any]:
    """What a result file keeps of the synthetic Dataset, or of the real one in its place."""
    return {
        "path": str(data.path.resolve()), "name": data.name, "n": len(data),
        "origin": "synthetic" if data.is_synthetic else "real", "pixels_hash": data.manifest.pixels_hash,
        "generator": data.manifest.extra.get("generator") or None,
    }  # fmt: skip
