"""`plenish export`: a Dataset in other tools' formats, with every column, split and array in a table."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish import files
from plenish.datasets import croissant, export_fiftyone, export_hub, export_lightly
from plenish.datasets.dataset import Dataset
from plenish.datasets.images import encode_png
from plenish.datasets.near_duplicates import clusters, known_clusters
from plenish.datasets.schema import PARTS
from plenish.datasets.sources import sidecar
from plenish.datasets.tables import read_parquet
from plenish.errors import InputError, unknown
from plenish.progress import progress, say

Format = Literal["folder", "stylegan-zip", "npz", "webdataset", "huggingface", "fiftyone", "lightly"]
BROWSED: tuple[Format, ...] = ("fiftyone", "lightly")
"""Formats of programs that show images beside their columns, clusters of near-duplicates among them."""
_BATCH = 256
_PER_TAR = 10_000
_BLOCK_ROWS, _BLOCK_BYTES = 8192, 2**25
"""Most rows, and bytes of arrays, that are written into the table at once."""
_NAME_BYTES = 100
_RESERVED = frozenset(("__macosx", "thumbs.db", "desktop.ini", "con", "nul", "aux", "prn"))
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: the folder.
        format: its format.
        images: number of images.
        parts: images by part, empty without a split.
    """

    path: Path
    format: str
    images: int
    parts: Mapping[str, int]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first."""
        return {
            "out": str(self.path), "as": self.format, "images": self.images, "parts": dict(self.parts),
            "table": str(self.path / "metadata.parquet"),
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Job:
    """The rows to write, in the Dataset's own order, with their parts and their rows of samples.parquet."""

    dataset: Dataset
    rows: NDArray[np.int64]
    parts: Sequence[str] | None
    table: pa.Table
    split: str = "default"
    clusters: NDArray[np.int64] | None = None
    """The cluster of near-duplicates of each image of the Dataset, where it is known."""

    def array(self, name: str) -> NDArray[Any]:
        """An array of the whole Dataset, which is read as far as it is used."""
        path = self.dataset.path / "arrays" / f"{name}.npy"
        with files.reading(path):
            found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    def images(self, positions: NDArray[np.int64] | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(position, H×W×C uint8) of all rows or of those at `positions`, in order, read in batches."""
        if positions is None:
            positions = np.arange(len(self.rows))
        for at in range(0, len(positions), _BATCH):
            batch = positions[at : at + _BATCH]
            yield from zip(batch.tolist(), self.dataset.pixels.read(self.rows[batch]))

    def pieces(self) -> dict[str, NDArray[np.int64]]:
        """Positions of each part's rows, ascending; one piece called `data` without a split."""
        if self.parts is None:
            return {"data": np.arange(len(self.rows))}
        parts = np.array(self.parts)
        return {part: np.flatnonzero(parts == part) for part in PARTS if part in self.parts}


def export_dataset(
    data: Path,
    out: Path,
    format: Format = "folder",
    part: Literal["all", "train", "val", "test"] = "all",
    split: str = "default",
    near_duplicates: bool = False,
) -> Exported:
    """Write a Dataset in another format; pixels stay exactly as they are.

    OUT is a folder. Besides the images it holds metadata.parquet with every column, split and array, from
    which 'plenish import' restores the Dataset.

    Args:
        data: the Dataset.
        out: the folder to make; must not exist.
        format: folder (PNG files by part and class), stylegan-zip (dataset.zip), npz (dataset.npz),
            webdataset (tar shards), huggingface (Parquet files with the images inside, and a card),
            fiftyone (FiftyOne's own files) or lightly (for LightlyStudio, with the script that opens it).
        part: only these images of the split.
        split: the split's name; without such a split all images are written as one.
        near_duplicates: find the clusters of near-duplicates for a column of fiftyone and lightly; where
            they were found before, by split or profile, the column is there anyway.

    Raises:
        InputError: DATA is no Dataset, the split or part is missing, or OUT cannot be used.
    """
    if format not in get_args(Format):
        raise unknown("format", format, get_args(Format))
    if out.suffix.lower() in (".zip", ".npz", ".tar"):
        raise InputError(
            f"OUT is a folder, which will hold the {out.suffix} file and its table; "
            f"give {out} without the suffix."
        )
    if near_duplicates and format not in BROWSED:
        raise InputError(
            f"--near-duplicates adds a column for {' and '.join(BROWSED)}; leave it out with --as {format}."
        )
    job = _job(Dataset.open(data), part, split)
    if format in BROWSED:
        found = clusters(job.dataset) if near_duplicates else known_clusters(job.dataset)
        job = dataclasses.replace(job, clusters=found)
    config: dict[str, Any] = {"command": "export", "as": format, "part": part, "split": split}
    if near_duplicates:
        config["near_duplicates"] = True
    config |= {"data": job.dataset.provenance()}
    with files.atomic_dir(out, config) as folder:
        _write(job, folder, format, whole=part == "all")
    counts = {} if job.parts is None else {name: len(found) for name, found in job.pieces().items()}
    return Exported(out, format, len(job.rows), counts)


def export_into(dataset: Dataset, folder: Path, format: Format) -> None:
    """Write all images of a Dataset in a format, with metadata.parquet and croissant.json.

    Args:
        dataset: the Dataset.
        folder: must be there; nothing is written beside it.
        format: as `export_dataset` takes it.
    """
    _write(_job(dataset, "all", "default"), folder, format, whole=True)


def _write(job: Job, folder: Path, format: Format, *, whole: bool) -> None:
    """The images, their table and its description."""
    write = {
        "folder": _folder, "stylegan-zip": _stylegan, "npz": _npz, "webdataset": _webdataset,
        "huggingface": export_hub.write, "fiftyone": _fiftyone, "lightly": _lightly,
    }[format]  # fmt: skip
    names = [""] * len(job.rows)
    with progress("export", len(job.rows)) as bar:
        for i, name in write(job, folder):
            names[i] = name
            bar.advance(1)
    _sidecar(job, folder, names, format, whole=whole)


def _job(dataset: Dataset, part: str, split: str) -> Job:
    rows = np.arange(len(dataset), dtype=np.int64)
    parts: list[str] | None = None
    if part != "all":
        rows = dataset.part(part, split, purpose="export").rows  # type: ignore[arg-type]
    elif split != "default" or split in dataset.split_names():
        frozen = dataset.split(split)
        parts = frozen.part_of.tolist()
    if part == "all" and dataset.split_names():
        dataset.record_read("export")
    table = read_parquet(dataset.path / "samples.parquet").take(pa.array(rows))
    return Job(dataset, rows, parts, table.replace_schema_metadata(None), split)


# Formats: each writes the images and yields each one's position and name.


def _folder(job: Job, folder: Path, top: str = "") -> Iterator[tuple[int, str]]:
    """`<part>/<class>/<id>.png`, below a folder `top` where one is given."""
    classes = job.dataset.labels.names
    of_class = dict(zip(classes, _file_names(classes)))
    labels, names = job.table["label"].to_pylist(), _file_names(job.table["id"].to_pylist())
    for i, image in job.images():
        pieces = [top] if top else []
        if job.parts is not None:
            pieces.append(job.parts[i])
        if job.dataset.labels.kind == "categorical":
            pieces.append(of_class[labels[i]])
        name = f"{'/'.join(pieces) or 'images'}/{names[i]}.png"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(image))
        yield i, name


def _fiftyone(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """FiftyOne's own files, with the images below `data/`."""
    return export_fiftyone.write(job, folder, _folder(job, folder, "data"))


def _lightly(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """What LightlyStudio is filled with, with the images below `images/`."""
    return export_lightly.write(job, folder, _folder(job, folder, "images"))


def _stylegan(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """`dataset.zip` with `00000/img00000000.png` and `dataset.json`, as StyleGAN's dataset_tool writes it."""
    size = job.dataset.size
    if size & (size - 1):
        say(f"StyleGAN wants a size that is a power of two, and this Dataset has {size} pixels.")
    numbers = _numbers(job)
    with zipfile.ZipFile(folder / "dataset.zip", "w") as archive:
        names = []
        for i, image in job.images():
            names.append(f"{i // 1000:05d}/img{i:08d}.png")
            archive.writestr(zipfile.ZipInfo(names[-1], _EPOCH), encode_png(image))
            yield i, names[-1]
        labels = None if numbers is None else [list(pair) for pair in zip(names, numbers.tolist())]
        archive.writestr(zipfile.ZipInfo("dataset.json", _EPOCH), json.dumps({"labels": labels}))


def _npz(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """`dataset.npz`: images and labels, or x_train, y_train and so on for each part."""
    shape = job.dataset.pixels.shape if job.dataset.channels > 1 else job.dataset.pixels.shape[:2]
    numbers = _numbers(job)
    with zipfile.ZipFile(folder / "dataset.npz", "w") as archive:
        for part, positions in job.pieces().items():
            key = "images" if job.parts is None else f"x_{part}"
            about = {"descr": "|u1", "fortran_order": False, "shape": (len(positions), *shape)}
            with archive.open(zipfile.ZipInfo(f"{key}.npy", _EPOCH), "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, about)
                for k, (i, image) in enumerate(job.images(positions)):
                    file.write(np.ascontiguousarray(image).data)
                    yield i, f"{key}[{k}]"
            if numbers is not None:
                _npy(archive, "labels" if job.parts is None else f"y_{part}", numbers[positions])
        if job.dataset.labels.names:
            _npy(archive, "class_names", np.array(job.dataset.labels.names, dtype=np.str_))


def _npy(archive: zipfile.ZipFile, key: str, array: NDArray[Any]) -> None:
    with archive.open(zipfile.ZipInfo(f"{key}.npy", _EPOCH), "w") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def _webdataset(job: Job, folder: Path) -> Iterator[tuple[int, str]]:
    """`<part>-000000.tar`, in each `<number>.png`, `.cls` (class number) and `.json` (the row)."""
    numbers = _numbers(job) if job.dataset.labels.kind == "categorical" else None
    for part, positions in job.pieces().items():
        for at in range(0, len(positions), _PER_TAR):
            shard = positions[at : at + _PER_TAR]
            name = f"{part}-{at // _PER_TAR:06d}.tar"
            facts = job.table.take(pa.array(shard)).to_pylist()
            with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
                for fact, (i, image) in zip(facts, job.images(shard)):
                    row = json.dumps(files.finite(fact), default=str, ensure_ascii=False)
                    _tar(tar, f"{i:08d}.png", encode_png(image))
                    if numbers is not None:
                        _tar(tar, f"{i:08d}.cls", str(int(numbers[i])).encode())
                    _tar(tar, f"{i:08d}.json", row.encode())
                    yield i, f"{name}/{i:08d}.png"


def _tar(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    # Its time, owner and mode are constants, so that equal data give equal files.
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _numbers(job: Job) -> NDArray[Any] | None:
    """Class numbers N, or vectors N×K of tags and values, or None without labels."""
    kind, y = job.dataset.labels.kind, job.dataset.y(job.rows)
    if kind == "categorical":
        return np.asarray(y.argmax(1))
    if kind == "multilabel":
        return y.astype(np.uint8)
    return None if kind == "none" else y


def _file_names(texts: Iterable[str]) -> list[str]:
    """Names that resemble the texts, differ from each other, and can be files' on any file system."""
    names: dict[str, str] = {}
    for text in texts:
        safe = re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]", "_", text).strip(" .") or "_"
        if text.startswith(".") or safe.lower() in _RESERVED:
            safe = f"_{safe}"
        safe = safe.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore")
        numbered = (f"{safe}-{n}" for n in itertools.count(2))
        name = next(name for name in itertools.chain([safe], numbered) if name.casefold() not in names)
        names[name.casefold()] = name
    return list(names.values())


# The sidecar


def _sidecar(job: Job, folder: Path, names: Sequence[str], format: str, *, whole: bool) -> None:
    """Write `metadata.parquet`: names, columns, splits (of whole Datasets) and arrays of the rows."""
    dataset = job.dataset
    table = job.table.add_column(0, "file_name", pa.array(names, pa.string()))
    about: dict[str, Any] = {
        "version": sidecar.VERSION, "format": format, "labels": dataset.labels.to_dict(),
        "size": dataset.size, "channels": dataset.channels, "name": dataset.name,
        "licence": dataset.manifest.licence, "source": dataset.manifest.source,
        "intended_use": dataset.manifest.intended_use, "extra": dict(dataset.manifest.extra),
        "splits": {}, "arrays": {},
    }  # fmt: skip
    for name in dataset.split_names() if whole else []:
        frozen = dataset.split(name)
        about["splits"][name] = dict(frozen.manifest)
        table = table.append_column(
            f"split.{name}", pa.array(frozen.part_of.to_numpy()[job.rows], pa.string())
        )
    arrays = {name: job.array(name) for name in dataset.array_names()}
    for name, array in arrays.items():
        about["arrays"][name] = {
            "shape": [len(job.rows), *array.shape[1:]], "dtype": str(array.dtype),
            "manifest": dataset.array_manifest(name),
        }  # fmt: skip
    metadata = {
        sidecar.KEY: json.dumps(about, ensure_ascii=False, default=str).encode(errors="backslashreplace")
    }
    _write_table(table.replace_schema_metadata(metadata), arrays, job.rows, folder / sidecar.NAME)
    croissant.write(dataset, folder, sidecar.NAME)


def _write_table(
    table: pa.Table, arrays: Mapping[str, NDArray[Any]], rows: NDArray[np.int64], path: Path
) -> None:
    """Write a table with `rows` of arrays as further columns, some rows at a time."""

    def piece(start: int, stop: int) -> pa.Table:
        some = table.slice(start, stop - start)
        for name, array in arrays.items():
            some = some.append_column(f"array.{name}", _array_column(array[rows[start:stop]]))
        return some

    width = sum(array.nbytes // max(1, len(array)) for array in arrays.values())
    step = min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // max(1, width)))
    with pq.ParquetWriter(path, piece(0, 0).schema) as writer:
        for start in range(0, len(rows), step):
            writer.write_table(piece(start, min(len(rows), start + step)))


def _array_column(array: NDArray[Any]) -> pa.Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.ndim == 1:
        return pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), math.prod(array.shape[1:]))
