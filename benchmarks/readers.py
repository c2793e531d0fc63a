"""Whether other programs read what `plenish export` writes for them, with labels, splits and columns.

    python -m benchmarks.readers DATASET [--keep FOLDER]

Reads with whichever of these are installed: datasets, torchvision, timm, webdataset, pandas. DATASET must
have classes and a split with three parts. Prints one line a program; ends with exit code 1 if one of them
does not find what the Dataset holds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plenish.datasets.dataset import Dataset
from plenish.datasets.export import Format, export_dataset

Found = dict[str, Counter[str]]
"""Images of each class, by part."""


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


READERS: dict[str, tuple[Format, Callable[[Path, Dataset], tuple[Found, str]]]] = {
    "datasets": ("huggingface", hub), "torchvision": ("folder", torchvision_folder),
    "timm": ("folder", timm_folder), "webdataset": ("webdataset", webdataset_tars),
    "pandas": ("huggingface", pandas_parquet),
}  # fmt: skip


def main() -> int:
    """Export in each format, read it with each program, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the exports")
    asked = parser.parse_args()
    dataset, wrong = Dataset.open(asked.data), 0
    wanted: Any = expected(dataset)
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        for name, (format, read) in READERS.items():
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
            print(f"{name} {about}: {'agrees' if same else f'finds {found} instead of {wanted}'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
