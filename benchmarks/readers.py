"""Whether other programs read what `plenish export` writes for them, with labels, splits and columns.

    python -m benchmarks.readers DATASET [--keep FOLDER] [--stylegan3 CHECKOUT] [--out RESULT.json]

Reads with whichever of these are installed: datasets, torchvision, timm, webdataset, pandas, mlcroissant; and
with the reader of NVlabs' stylegan2 and 3 where a checkout of stylegan3 is given, whose licence forbids it to
be part of this repository. DATASET must have classes and a split with three parts. Prints one line a program;
ends with exit code 1 if one of them does not find what the Dataset holds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.export import Format, export_dataset

Found = dict[str, Counter[str]]
"""Images of each class, by part."""
Reader = Callable[[Path, Dataset], tuple[Found, str]]


def expected(dataset: Dataset) -> Found:
    """What the Dataset holds."""
    parts, labels = dataset.split().part_of.to_numpy(), dataset.column("label")
    found: Found = {part: Counter() for part in ("train", "val", "test")}
    for part, label in zip(parts, labels):
        found[part][label] += 1
    return found


def hub(folder: Path, _: Dataset) -> tuple[Found, str]:
    """`datasets.load_dataset`."""
    import datasets

    loaded = datasets.load_dataset(str(folder), cache_dir=str(folder / "cache"))
    found = {}
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        names = loaded[name].features["label"].names
        found[part] = Counter(names[i] for i in loaded[name]["label"])
    return found, f"{datasets.__version__}; columns {', '.join(loaded['train'].column_names)}"


def torchvision_folder(folder: Path, _: Dataset) -> tuple[Found, str]:
    """`torchvision.datasets.ImageFolder`."""
    import torchvision

    found = {}
    for part in ("train", "val", "test"):
        read = torchvision.datasets.ImageFolder(str(folder / part))
        found[part] = Counter(read.classes[i] for _, i in read.samples)
    return found, str(torchvision.__version__)


def timm_folder(folder: Path, _: Dataset) -> tuple[Found, str]:
    """`timm.data.create_dataset`."""
    import timm
    from timm.data import create_dataset

    found = {}
    for part in ("train", "val", "test"):
        read = create_dataset("", root=str(folder / part))
        names = {i: name for name, i in read.reader.class_to_idx.items()}
        found[part] = Counter(names[i] for _, i in read.reader.samples)
    return found, str(timm.__version__)


def webdataset_tars(folder: Path, dataset: Dataset) -> tuple[Found, str]:
    """`webdataset`."""
    import webdataset

    found: Found = {}
    for part in ("train", "val", "test"):
        tars = sorted(map(str, folder.glob(f"{part}-*.tar")))
        read = webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8").to_tuple("png", "cls")
        found[part] = Counter(dataset.labels.names[i] for _, i in read)
    return found, str(webdataset.__version__)


def pandas_parquet(folder: Path, dataset: Dataset) -> tuple[Found, str]:
    """`pandas.read_parquet`."""
    import pandas as pd

    found = {}
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        frames = [pd.read_parquet(path) for path in sorted((folder / "data").glob(f"{name}-*.parquet"))]
        found[part] = Counter(dataset.labels.names[i] for i in pd.concat(frames)["label"])
    return found, str(pd.__version__)


def croissant_records(folder: Path, dataset: Dataset) -> tuple[Found, str]:
    """`mlcroissant`: each row's label and part."""
    import importlib.metadata

    import mlcroissant

    described = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    found: Found = {part: Counter() for part in ("train", "val", "test")}
    for row in described.records(record_set="images"):
        found[row["images/split.default"].decode()][row["images/label"].decode()] += 1
    return found, importlib.metadata.version("mlcroissant")


def nvlabs(checkout: Path) -> Reader:
    """A reader by `ImageFolderDataset` of a checkout of NVlabs' stylegan3, each part an export of its own."""

    def read(folder: Path, dataset: Dataset) -> tuple[Found, str]:
        sys.path.insert(0, str(checkout))
        try:
            reader = importlib.import_module("training.dataset").ImageFolderDataset
        finally:
            sys.path.remove(str(checkout))
        found: Found = {}
        for part in ("train", "val", "test"):
            out = folder.with_name(f"{folder.name}-{part}")
            if not out.exists():
                export_dataset(dataset.path, out, "stylegan-zip", part=part)
            images = reader(path=str(out / "dataset.zip"), use_labels=True)
            rows = dataset.split().rows(part)
            found[part] = Counter()
            for i in range(len(images)):
                pixels, onehot = images[i]
                if not np.array_equal(pixels, dataset.pixels.read(rows[i : i + 1])[0].transpose(2, 0, 1)):
                    raise SystemExit(f"NVlabs' reader gives other pixels for image {i} of {part}")
                found[part][dataset.labels.names[int(onehot.argmax())]] += 1
        return found, "(ImageFolderDataset; pixels equal)"

    return read


READERS: dict[str, tuple[Format, Reader]] = {
    "datasets": ("huggingface", hub), "torchvision": ("folder", torchvision_folder),
    "timm": ("folder", timm_folder), "webdataset": ("webdataset", webdataset_tars),
    "pandas": ("huggingface", pandas_parquet), "mlcroissant": ("folder", croissant_records),
}  # fmt: skip


def main() -> int:
    """Export in each format, read it with each program, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the exports")
    parser.add_argument("--stylegan3", type=Path, help="a checkout of NVlabs' stylegan3")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    asked = parser.parse_args()
    readers = dict(READERS)
    if asked.stylegan3:
        readers["NVlabs"] = "stylegan-zip", nvlabs(asked.stylegan3.resolve())
    dataset, wrong = Dataset.open(asked.data), 0
    wanted: Any = expected(dataset)
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        for name, (format, read) in readers.items():
            folder = place / format
            if not folder.exists():
                export_dataset(asked.data, folder, format)
            try:
                found, about = read(folder, dataset)
            except ImportError as error:
                print(f"{name}: not installed ({error})")
                continue
            same = found == wanted
            wrong += not same
            results[name] = {"format": format, "about": about, "agrees": same}
            print(f"{name} {about}: {'agrees' if same else f'finds {found} instead of {wanted}'}")
    if asked.out:
        images = {part: dict(sorted(counts.items())) for part, counts in wanted.items()}
        asked.out.write_text(json.dumps({"images": images, "readers": results}, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
