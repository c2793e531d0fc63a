"""What LightlyStudio is filled with: images below `images/`, `samples.jsonl` with an object an image, a .npy
file of float32 for each array, and the script that fills its database (lightly_script.py)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plenish import files
from plenish.datasets import lightly_script
from plenish.datasets.export_fields import Fields, batches, fields_of

if TYPE_CHECKING:
    from plenish.datasets.export import Job

SCRIPT = "open_in_lightly.py"


def write(job: Job, folder: Path, images: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Write the objects of images as they are written, their embeddings, and the script.

    Args:
        job: the rows.
        folder: the folder of the export.
        images: position and name of each image, which this writes as it goes.

    Yields:
        Position and name of each image.
    """
    fields = fields_of(job, ())
    with files.atomic_file(folder / "samples.jsonl") as out:
        for start, stop in batches(len(job.rows)):
            labels = job.table["label"].slice(start, stop - start).to_pylist()
            for row, label in zip(fields.rows(start, stop), labels):
                i, name = next(images)
                content = {
                    "file": name, "tags": [] if job.parts is None else [job.parts[i]],
                    "classes": _classes(job, label), "metadata": _metadata(job, fields, row, label),
                }  # fmt: skip
                text = json.dumps(content, ensure_ascii=False, allow_nan=False)
                out.write(text.encode(errors="backslashreplace") + b"\n")
                yield i, name
    _embeddings(folder, fields, len(job.rows))
    dataset = job.dataset
    about = {
        "name": dataset.name, "label_kind": dataset.labels.kind, "classes": list(dataset.labels.names),
        "embeddings": {
            one.name: {"array": one.of, "dimension": one.dimension, "file": f"embeddings/{one.name}.npy"}
            for one in fields.embeddings
        },
        "renamed": fields.renamed(), "licence": dataset.manifest.licence,
        "source": dataset.manifest.source, "intended_use": dataset.manifest.intended_use,
    }  # fmt: skip
    files.write_json(folder / "about.json", about)
    files.write_bytes(folder / SCRIPT, Path(lightly_script.__file__).read_bytes())


def _classes(job: Job, label: Any) -> list[str]:
    """Names of the classes or tags of an image."""
    kind = job.dataset.labels.kind
    return [label] if kind == "categorical" else list(label) if kind == "multilabel" else []


def _metadata(job: Job, fields: Fields, row: dict[str, Any], label: Any) -> dict[str, Any]:
    """What is known of an image beside its pixels, without what is missing."""
    if job.dataset.labels.kind == "continuous":
        labels = dict(zip(fields.variables, files.finite(label) or ()))
    else:
        labels = {fields.label: label}
    return {name: _plain(value) for name, value in (labels | row).items() if value is not None}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value


def _embeddings(folder: Path, fields: Fields, total: int) -> None:
    """`embeddings/<name>.npy`, N×D float32, NaN where an image has no such embedding."""
    for embedding in fields.embeddings:
        (folder / "embeddings").mkdir(exist_ok=True)
        shape = (total, embedding.dimension)
        with files.atomic_file(folder / "embeddings" / f"{embedding.name}.npy") as file:
            about = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
            for start, stop in batches(total):
                file.write(embedding.read(start, stop).astype("<f4").tobytes())
