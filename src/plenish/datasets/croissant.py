"""Croissant metadata of exports and synthetic Datasets: `croissant.json`, for searches and loaders.

Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html) with its vocabulary for
responsible use, and W3C PROV for what the data were derived from and made by. Every column of
metadata.parquet that is no list of lists is a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.synthetic import generator_of, generator_words
from plenish.datasets.tables import Cells, cells_of

NAME = "croissant.json"
_CR = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
    "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: Mapping[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"}, "description": {"@container": "@language"},
    **{word: f"cr:{word}" for word in _CR},
}  # fmt: skip
"""The standard's JSON-LD context, and PROV."""


_TYPES: Mapping[Cells, str] = {
    "boolean": "sc:Boolean", "integer": "sc:Integer", "float": "sc:Float", "text": "sc:Text",
}  # fmt: skip


def write(dataset: Dataset, folder: Path, table: str) -> None:
    """Write the metadata of a folder with a Dataset's images and a table of them, named `table`."""
    with files.reporting_disk(folder):
        files.write_json(folder / NAME, describe(dataset, folder, table))


def describe(dataset: Dataset, folder: Path, table: str) -> dict[str, Any]:
    """The metadata of a folder that holds a Dataset's images and a table of them, named `table`."""
    schema = pq.read_schema(folder / table)
    manifest = dataset.manifest
    labels = dataset.labels
    kinds = f" labelled {', '.join(labels.names[:20])}" if labels.names else ""
    path = folder / table
    return {
        "@context": dict(CONTEXT), "@type": "sc:Dataset", "@id": manifest.pixels_hash,
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": dataset.name, "version": "1.0.0",
        "description": f"{manifest.count} images of {manifest.size}×{manifest.size} pixels{kinds}.",
        "license": manifest.licence or "not stated", "sameAs": manifest.source or "not stated",
        "keywords": ["images", *(["synthetic"] if dataset.is_synthetic else [])],
        "rai:dataCollection": manifest.source or "not stated",
        "rai:dataUseCases": manifest.intended_use or "not stated",
        **_lineage(dataset),
        "distribution": [{
            "@type": "cr:FileObject", "@id": table, "name": table, "contentUrl": table,
            "contentSize": f"{path.stat().st_size} B", "encodingFormat": "application/x-parquet",
            "sha256": files.sha256_file(path),
        }],
        "recordSet": [{
            "@type": "cr:RecordSet", "@id": "images", "name": "images",
            "key": {"@id": "images/id"},
            "field": [_field(field, table) for field in schema if cells_of(field.type)],
        }],
    }  # fmt: skip


def _lineage(dataset: Dataset) -> dict[str, Any]:
    """What the data were made by, and what from."""
    manifest = dataset.manifest
    command = (manifest.command or {}).get("repeat")
    found: dict[str, Any] = {}
    if command:
        found["prov:wasGeneratedBy"] = {"@type": "prov:Activity", "prov:label": command}
    if dataset.is_synthetic:
        generator = generator_of(manifest.extra)
        trained = generator.get("data") or {}
        source = {"@type": "prov:Entity", "prov:label": generator_words(generator)}
        if isinstance(trained, Mapping) and trained.get("pixels_hash"):
            source["@id"] = str(trained["pixels_hash"])
        found["prov:wasDerivedFrom"] = [source]
        found["rai:dataLimitations"] = (
            "Synthetic images of a generator: training data for research and teaching, not for diagnosis."
            + ("" if trained else " What the generator was trained on is not known for certain.")
        )
        found["rai:personalSensitiveInformation"] = (
            "None by itself; whether images resemble those of single patients is what 'plenish score' tells."
        )
    return found


def _field(field: pa.Field, table: str) -> dict[str, Any]:
    several = {"repeated": True} if pa.types.is_list(field.type) else {}
    cells = cells_of(field.type)
    assert cells is not None
    kind, split = _TYPES[cells], ["cr:Split"] if field.name.startswith("split.") else []
    return {
        "@type": "cr:Field", "@id": f"images/{field.name}", "name": f"images/{field.name}",
        "dataType": [kind, *split] if split else kind, **several,
        "source": {"fileObject": {"@id": table}, "extract": {"column": field.name}},
    }  # fmt: skip
