"""FiftyOne's own files: images below `data/`, `samples.json` with a document an image, and `metadata.json`
with the type of every field.

Documents are MongoDB's extended JSON, as FiftyOne writes them: a vector is a zlib-compressed .npy file
in base64, a label a document with its class's name (`_cls`). `metadata.json` names no version of FiftyOne, so
that every version reads it, and none has to migrate it.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.export_fields import Embedding, Field, Fields, batches, fields_of
from plenish.progress import say

if TYPE_CHECKING:
    from plenish.datasets.export import Job

LONGEST = 2**20
"""Numbers in a vector; MongoDB's documents have at most 16 MB."""
RESERVED = (
    "id", "filepath", "tags", "metadata", "created_at", "last_modified_at", "media_type", "dataset_id",
    "media_reference", "add_field", "add_implied_field", "add_labels", "cascade_save", "clean", "clear_field",
    "collection_name", "compare_indexes", "compute_metadata", "copy", "copy_with_new_id", "create_index",
    "dataset", "default_fields", "default_fields_ordered", "delete", "DoesNotExist", "drop_collection",
    "ensure_indexes", "fancy_repr", "field_names", "field_to_mongo", "field_to_python", "filename", "frames",
    "from_dict", "from_doc", "from_frame", "from_json", "get_field", "get_field_schema", "get_media_key",
    "get_text_score", "groups", "has_field", "in_dataset", "in_db", "iter_fields", "list_indexes", "merge",
    "merge_field_schema", "modify", "MultipleObjectsReturned", "my_metaclass", "objects", "pk",
    "register_delete_rule", "reload", "save", "select_related", "set_field", "STRICT", "switch_collection",
    "switch_db", "to_dbref", "to_dict", "to_json", "to_mongo", "to_mongo_dict", "update", "update_fields",
    "validate",
)  # fmt: skip
"""Attributes of FiftyOne's samples, which a field would hide."""
_TYPES = {
    "boolean": "BooleanField", "integer": "IntField", "float": "FloatField", "text": "StringField",
    "day": "StringField", "time": "StringField",
}  # fmt: skip
_LABELS = {"categorical": "Classification", "multilabel": "Classifications"}


def write(job: Job, folder: Path, images: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Write the documents of images as they are written.

    Args:
        job: the rows.
        folder: the folder of the export.
        images: position and name of each image, which this writes as it goes.

    Yields:
        Position and name of each image.
    """
    fields = fields_of(job, RESERVED)
    kept = [embedding for embedding in fields.embeddings if embedding.dimension <= LONGEST]
    for embedding in fields.embeddings:
        if embedding not in kept:
            say(
                f"Array '{embedding.of}' has {embedding.dimension:,} numbers an image, more than FiftyOne's "
                "database holds; it is only in metadata.parquet."
            )
    with files.atomic_file(folder / "samples.json") as out:
        out.write(b'{"samples": [')
        for start, stop in batches(len(job.rows)):
            rows = fields.rows(start, stop)
            labels = job.table["label"].slice(start, stop - start).to_pylist()
            vectors = [(embedding.name, embedding.read(start, stop)) for embedding in kept]
            for k in range(stop - start):
                i, name = next(images)
                document = _sample(job, folder, i, name)
                document |= _label(job, fields, labels[k])
                document |= {field.name: _value(field, rows[k][field.name]) for field in fields.columns}
                document |= {key: _vector(vector[k]) for key, vector in vectors}
                text = json.dumps(document, ensure_ascii=False, allow_nan=False)
                out.write((",\n" if i else "\n").encode() + text.encode(errors="backslashreplace"))
                yield i, name
        out.write(b"\n]}\n")
    files.write_json(folder / "metadata.json", _metadata(job, fields, kept))


def _sample(job: Job, folder: Path, i: int, name: str) -> dict[str, Any]:
    dataset = job.dataset
    facts = {
        "_cls": "ImageMetadata", "size_bytes": (folder / name).stat().st_size, "mime_type": "image/png",
        "width": dataset.size, "height": dataset.size, "num_channels": dataset.channels,
    }  # fmt: skip
    return {"filepath": name, "tags": [] if job.parts is None else [job.parts[i]], "metadata": facts}


def _label(job: Job, fields: Fields, value: Any) -> dict[str, Any]:
    kind = job.dataset.labels.kind
    if kind == "categorical":
        return {fields.label: _classification(value)}
    if kind == "multilabel":
        found = [_classification(tag) for tag in value]
        return {fields.label: {"_cls": "Classifications", "classifications": found}}
    numbers = files.finite(value) or ()
    return {
        name: {"_cls": "Regression", "tags": [], "value": number}
        for name, number in zip(fields.variables, numbers)
    }


def _classification(name: str) -> dict[str, Any]:
    return {"_cls": "Classification", "tags": [], "label": name}


def _value(field: Field, value: Any) -> Any:
    # FiftyOne reads no dates from files that name no version.
    return value if value is None or field.kind not in ("day", "time") else value.isoformat()


def _vector(vector: NDArray[np.float32]) -> dict[str, Any] | None:
    if np.isnan(vector[0]):
        return None
    out = io.BytesIO()
    np.save(out, vector, allow_pickle=False)
    packed = base64.b64encode(zlib.compress(out.getvalue())).decode()
    return {"$binary": {"base64": packed, "subType": "00"}}


def _metadata(job: Job, fields: Fields, kept: list[Embedding]) -> dict[str, Any]:
    """Types of all fields, and what is known of the Dataset."""
    dataset, manifest = job.dataset, job.dataset.manifest
    core, labels = "fiftyone.core.fields", "fiftyone.core.labels"
    types = {
        "filepath": f"{core}.StringField", "tags": f"{core}.ListField({core}.StringField)",
        "metadata": f"{core}.EmbeddedDocumentField(fiftyone.core.metadata.ImageMetadata)",
    }  # fmt: skip
    if dataset.labels.kind in _LABELS:
        types[fields.label] = f"{core}.EmbeddedDocumentField({labels}.{_LABELS[dataset.labels.kind]})"
    types |= dict.fromkeys(fields.variables, f"{core}.EmbeddedDocumentField({labels}.Regression)")
    for field in fields.columns:
        kind = f"{core}.{_TYPES[field.kind]}"
        types[field.name] = f"{core}.ListField({kind})" if field.many else kind
    types |= {embedding.name: f"{core}.VectorField" for embedding in kept}
    info = {
        "source": manifest.source, "licence": manifest.licence, "intended_use": manifest.intended_use,
        "label_kind": dataset.labels.kind, "label_names": list(dataset.labels.names),
        "renamed": fields.renamed(),
        "shapes": [{"array": one.of, "shape": list(one.array.shape[1:])} for one in kept],
    }  # fmt: skip
    if dataset.labels.kind in _LABELS:
        info["classes"] = list(dataset.labels.names)
    return {"name": dataset.name, "media_type": "image", "sample_fields": types, "info": info}
