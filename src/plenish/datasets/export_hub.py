"""The layout of the Hugging Face hub: `data/train-00000-of-00001.parquet` and so on, and a card, `README.md`.

Images are PNG bytes in a column `image`; the label is a column of class numbers with their names, of tags or
of numbers; every other column of the Dataset follows. The schema's metadata say the types, as those of
`datasets` do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files
from plenish.datasets.images import encode_png
from plenish.datasets.synthetic import generator_of, generator_words
from plenish.datasets.tables import cells_of
from plenish.wording import plural

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.export import Job

_PER_FILE = 20_000
_GROUP = 500
"""Images in a row group, which is what readers hold in memory at once."""
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PARTS = {"val": "validation"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """Write the images with their rows, and the card; yields each image's position and name."""
    (folder / "data").mkdir()
    columns, features = _columns(job)
    schema = columns.schema.insert(0, pa.field("image", _IMAGE))
    features = {"image": {"_type": "Image"}, **features}
    about = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    schema = schema.with_metadata(about)
    splits = {_PARTS.get(part, part): positions for part, positions in job.pieces().items()}
    if list(splits) == ["data"]:
        splits = {"train": splits["data"]}
    for split, positions in splits.items():
        count = -(-len(positions) // _PER_FILE)
        for number in range(count):
            rows = positions[number * _PER_FILE : (number + 1) * _PER_FILE]
            name = f"data/{split}-{number:05d}-of-{count:05d}"
            with pq.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
                for at in range(0, len(rows), _GROUP):
                    group = rows[at : at + _GROUP]
                    cells = []
                    for k, (i, image) in enumerate(job.images(group), at):
                        path = f"{job.table['id'][i].as_py()}.png"
                        cells.append({"bytes": encode_png(image), "path": path})
                        yield i, f"{name}/{k}"
                    table = columns.take(pa.array(group))
                    table = table.add_column(0, "image", pa.array(cells, _IMAGE))
                    writer.write_table(table.cast(schema))
    sizes = {split: len(positions) for split, positions in splits.items()}
    files.write_text(folder / "README.md", card(job, sizes, columns.column_names))


def _columns(job: Job) -> tuple[pa.Table, dict[str, Any]]:
    """The columns beside the image, and what they are in the words of `datasets`."""
    labels = job.dataset.labels
    arrays: dict[str, pa.Array] = {}
    features: dict[str, Any] = {}
    for name in job.table.column_names:
        column = job.table[name].combine_chunks()
        if name == "label" and labels.kind == "none":
            continue
        key = f"{name}_" if name == "image" else name
        if name == "label" and labels.kind == "categorical":
            position = {label: i for i, label in enumerate(labels.names)}
            column = pa.array([position[label] for label in column.to_pylist()], pa.int64())
            features[key] = {"names": list(labels.names), "_type": "ClassLabel"}
        else:
            column = _simple(column)
            features[key] = _feature(column.type)
        arrays[key] = column
    return pa.table(arrays), features


def _simple(column: pa.Array) -> pa.Array:
    """A column of a type that every reader knows; others become text."""
    if pa.types.is_null(column.type):
        return column.cast(pa.string())
    if cells_of(column.type):
        return column
    return pa.array([None if x is None else _text(x) for x in column.to_pylist()], pa.string())


def _text(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def card(job: Job, sizes: dict[str, int], columns: list[str]) -> str:
    """The card: what the hub reads, between dashes, and what people do."""
    dataset, manifest = job.dataset, job.dataset.manifest
    total = sum(sizes.values())
    paths = {split: [f"data/{split}-*.parquet"] for split in sizes}
    counts = ", ".join(f"{split} {count:,}" for split, count in sizes.items())
    body = [
        f"# {dataset.name}", "",
        f"{plural(total, 'image')} of {dataset.size}×{dataset.size} pixels, "
        f"{'grey' if dataset.channels == 1 else 'RGB'} ({counts}).", "",
        f"- Labels: {dataset.labels.kind}" + (f" ({', '.join(dataset.labels.names)})" if columns else ""),
        f"- Columns: image, {', '.join(columns)}",
        f"- Source: {manifest.source or 'not stated'}",
        f"- Licence: {manifest.licence or 'not stated'}",
        f"- Intended use: {manifest.intended_use or 'not stated'}",
    ]  # fmt: skip
    if dataset.is_synthetic:
        body.append(
            f"- Synthetic: made by {generator_words(generator_of(manifest.extra))}; not for diagnosis."
        )
    body += ["", "`group` is what must stay in one part of a split, such as a patient.", ""]
    return "\n".join([*front_matter(dataset, total, paths), "", *body])


def front_matter(
    dataset: Dataset, total: int, paths: Mapping[str, Sequence[str]], licence: str = ""
) -> list[str]:
    """The lines of a card that the hub reads, between dashes.

    Args:
        dataset: the Dataset.
        total: number of images.
        paths: patterns of the files of each split; none where the hub cannot read them.
        licence: the hub's word for the licence; by default the Dataset's own words.
    """
    tags = ["plenish", *(["synthetic"] if dataset.is_synthetic else [])]
    other = ["license: other", f"license_name: {json.dumps(dataset.manifest.licence or 'not stated')}"]
    split_lines = [
        line for split, patterns in paths.items()
        for line in (f"  - split: {split}", "    path:", *(f"    - {json.dumps(one)}" for one in patterns))
    ]  # fmt: skip
    configs = ["configs:", "- config_name: default", "  data_files:", *split_lines] if paths else []
    return [
        "---", *([f"license: {licence}"] if licence else other),
        f"pretty_name: {json.dumps(dataset.name, ensure_ascii=False)}",
        "task_categories: [image-classification]" if dataset.labels.width else "task_categories: []",
        f"size_categories: [{next((word for most, word in _SIZES if total < most), 'n>1M')}]",
        f"tags: [{', '.join(tags)}]", *configs, "---",
    ]  # fmt: skip
