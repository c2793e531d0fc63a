"""Dataset: a folder of labelled images with splits, arrays and provenance, immutable once made.

Layout: `dataset.json` (Manifest), `samples.parquet` (one row an image), `pixels/*.npy` (raw uint8 shards),
`splits/<name>.parquet`, `arrays/<name>.npy`. numpy and pandas alone can read it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets import integrity, reads
from plenish.datasets.parts import Split, Subset, groups_in_several_parts, reads_test
from plenish.datasets.pixels import RawShards
from plenish.datasets.schema import PARTS, Manifest, Part
from plenish.datasets.show import draw_rows, png, sheet
from plenish.datasets.tables import read_parquet, save_array, save_split, split_hash
from plenish.datasets.torch_images import TorchImages, Transform
from plenish.errors import InputError, unknown
from plenish.notebook import page
from plenish.progress import warn
from plenish.wording import plural

Purpose = Literal["train", "select", "score", "study", "report", "export", "profile"]
_NO_TEST: tuple[Purpose, ...] = ("train", "select")


class Dataset:
    """A Dataset folder, opened for reading. See the module's docstring for the layout.

    Attributes:
        path: the folder.
        manifest: what dataset.json says.
        name: what people call it.
        size: height and width of the images, pixels.
        channels: 1 or 3.
        labels: the label schema.
        pixels: the images, by row number.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use `Dataset.open`."""
        self.path, self.manifest = path, manifest
        self.name, self.labels = manifest.name, manifest.labels
        self.size, self.channels = manifest.size, manifest.channels
        shape = (self.size, self.size, self.channels)
        self._checked = False
        self.pixels = RawShards(path / "pixels", manifest.count, shape, manifest.shard)

    @classmethod
    def open(cls, path: Path | str) -> Dataset:
        """Open a Dataset folder.

        Raises:
            InputError: it is missing, no Dataset, unfinished or damaged.
        """
        path = Path(path)
        if not (path / "dataset.json").is_file():
            partial = path.with_name(path.name + ".partial")
            if (path / "partial.json").is_file() or (not path.exists() and partial.exists()):
                raise InputError(f"{path} is unfinished; run the command that makes it again to finish it.")
            problem = (
                "is not a Plenish Dataset (it has no dataset.json)" if path.exists() else "does not exist"
            )
            raise InputError(f"{path} {problem}; make one with 'plenish import SOURCE {path}'.")
        content = files.read_json(path / "dataset.json")
        manifest = Manifest.from_dict(content if isinstance(content, dict) else {}, path / "dataset.json")
        files.verified(content, path / "dataset.json")
        dataset = cls(path, manifest)
        if not (path / "samples.parquet").is_file():
            raise InputError(f"{path / 'samples.parquet'} is missing; restore it or make the Dataset again.")
        return dataset

    def __len__(self) -> int:
        return self.manifest.count

    def __repr__(self) -> str:
        shape = f"{self.size}×{self.size}×{self.channels}"
        return f"Dataset({self.name!r}, {plural(len(self), 'image')}, {shape}, {self.labels.kind})"

    @property
    def is_synthetic(self) -> bool:
        """Whether a generator made it."""
        return bool(self.manifest.extra.get("generator"))

    @property
    def domain(self) -> str | None:
        """The kind of images (`plenish.domains`), where it is kept."""
        return self.manifest.extra.get("domain")

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """samples.parquet, one row an image."""
        with files.reading(self.path / "samples.parquet"):
            table = pd.read_parquet(self.path / "samples.parquet")
        if len(table) != len(self):
            raise InputError(
                f"{self.path / 'samples.parquet'} has {plural(len(table), 'row')} for "
                f"{plural(len(self), 'image')}."
            )
        return table

    def _check(self) -> None:
        """Check pixels and table against their hashes, once; InputError where they were altered."""
        if not self._checked:
            integrity.check(self)
            self._checked = True

    def column(self, name: str) -> list[Any]:
        """One column of the table, read by itself: the whole table of a large Dataset is large."""
        values: list[Any] = read_parquet(self.path / "samples.parquet", [name]).column(0).to_pylist()
        return values

    @functools.cached_property
    def _y(self) -> NDArray[np.float32]:
        return self.labels.encode(self.column("label") if self.labels.width else [None] * len(self))

    def y(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Labels as numbers, N×K float32, of `rows` or of all."""
        return self._y if rows is None else self._y[rows]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first."""
        facts: dict[str, Any] = {
            "dataset": str(self.path), "images": len(self), "size": self.size, "channels": self.channels,
            "labels": self.labels.kind,
        }  # fmt: skip
        if self.domain:
            facts["domain"] = self.domain
        if self.labels.kind == "categorical":
            counts = pd.Series(self.column("label")).value_counts()
            facts["classes"] = {name: int(counts.get(name, 0)) for name in self.labels.names}
        facts["groups"] = int(pd.Series(self.column("group"), dtype=object).nunique())
        facts["splits"] = self.split_names()
        if (self.path / "rejected.csv").exists():
            facts["rejected"] = self.manifest.extra.get("rejected", "see rejected.csv")
        return facts

    # Splits

    def split_names(self) -> list[str]:
        """Names of the splits made so far."""
        folder = self.path / "splits"
        return sorted({path.stem for path in (*folder.glob("*.parquet"), *folder.glob("*.json"))})

    def split(self, name: str = "default", *, straddling: bool = False) -> Split:
        """A frozen split by name.

        Args:
            name: its name.
            straddling: open it also where groups are in several parts, to tell of them.

        Raises:
            InputError: there is none of that name, a group is in several parts, or its table or
                samples.parquet was altered.
        """
        self._check()
        path = self.path / "splits" / f"{name}.parquet"
        if not path.is_file():
            if name in self.split_names():
                raise InputError(f"{path} is missing; restore it from a copy or make the Dataset again.")
            if self.split_names():
                raise unknown("split", name, self.split_names())
            raise InputError(f"{self.path} has no split yet; make one with 'plenish split {self.path}'.")
        table = read_parquet(path)
        manifest = files.read_record(path.with_suffix(".json"))
        ids, parts = table["id"].to_pylist(), table["part"].to_pylist()
        groups = self.column("group")
        several = groups_in_several_parts(parts, groups) if len(parts) == len(groups) else ""
        found = split_hash(ids, parts, groups if "covers" in manifest else None)
        if found != manifest.get("hash") or ids != self.column("id"):
            raise InputError(
                f"{path} does not match its hash: parts or groups were altered after it was made"
                f"{f', and {several}' if several else ''}. Restore it."
            )
        if several and not straddling:
            raise InputError(
                f"{path}: {several}, so nothing measured on it holds for new groups; make another split of "
                f"{self.path} with 'plenish split --name'."
            )
        return Split(name, pd.Series(parts, index=ids, dtype=object), manifest)

    def add_split(self, name: str, parts: Sequence[str], manifest: Mapping[str, Any]) -> Split:
        """Freeze a split.

        Args:
            name: a file name without suffix.
            parts: train, val or test for every row.
            manifest: how it was made.

        Raises:
            InputError: the name is taken or unusable, a group would be in several parts, or the place cannot
                be written.
        """
        files.check_name(name, "a split")
        path = self.path / "splits" / f"{name}.parquet"
        if path.exists():
            raise self.frozen(name)
        groups = self.column("group")
        if len(parts) == len(groups) and (several := groups_in_several_parts(parts, groups)):
            raise InputError(f"{self.path} takes no split '{name}' with groups in several parts: {several}.")
        with files.reporting_disk(path):
            save_split(self.path, name, self.column("id"), parts, groups, manifest)
        return self.split(name)

    def frozen(self, name: str) -> InputError:
        """The error of a split that would be overwritten."""
        manifest = files.read_record(self.path / "splits" / f"{name}.json")
        came = "" if manifest.get("verb") == "split" else " came with the import,"
        return InputError(
            f"The split '{name}' of {self.path}{came} is frozen and not overwritten; use it, or give another "
            "with --name."
        )

    def part(self, part: Part, split: str = "default", *, purpose: Purpose) -> Subset:
        """The rows of one part of a split, for a stated purpose.

        Test rows are refused to training and selection, and every other reading of them is recorded, as is
        that train and val were used: their rows may be another split's test part.

        Raises:
            InputError: no such split or part, an empty part, or test rows asked for to train or select.
        """
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        if part == "test" and purpose in _NO_TEST:
            raise InputError(
                f"The test part of {self.path} is not for training or model selection; use train or val."
            )
        frozen = self.split(split)
        rows = frozen.rows(part)
        if not len(rows):
            raise InputError(
                f"The split '{split}' of {self.path} has no {part} images; make another with --name."
            )
        self.record_read(purpose, part, frozen)
        return Subset(self, rows, part, split, frozen.hash)

    def all_rows(self) -> Subset:
        """Every row of a synthetic Dataset, which as a whole is training data.

        Raises:
            InputError: the Dataset is real and must be split.
        """
        if not self.is_synthetic:
            raise InputError(f"{self.path} holds real images; ask for a part of its split.")
        self._check()
        return Subset(self, np.arange(len(self), dtype=np.int64), "train", "all", self.manifest.pixels_hash)

    def test_reads(self, split: str = "default") -> int:
        """How often images of the test part of a split were read, through this split or another.

        Training on them or selecting by them through another split counts once for each of its parts; folds
        of one cross-validation are no readings of each other. At least as many, where not `reads_intact`.
        """
        frozen = self.split(split, straddling=True)
        test = frozen.part_of.to_numpy() == "test"
        others = {name: self.split(name, straddling=True) for name in self.split_names() if name != split}
        return sum(reads_test(entry, frozen, test, others) for entry in self._reads().entries)

    @property
    def reads_intact(self) -> bool:
        """Whether nothing is known to be missing in the record of readings."""
        return self._reads().intact

    def _reads(self) -> reads.Reads:
        return reads.load(self.path, expected=self._reads_expected())

    def _reads_expected(self) -> bool:
        """Whether a split was made that began the record."""
        manifests = (self.path / "splits").glob("*.json")
        return any(b'"covers"' in path.read_bytes() for path in manifests if path.is_file())

    def record_read(self, purpose: str, part: str = "all", split: Split | None = None) -> None:
        """Add a reading to the record; only warn where that cannot be written.

        Args:
            purpose: what the images are read for.
            part: which part; "all" for images of whatever part.
            split: the split that it is a part of.
        """
        if not reads.is_recorded(part):
            return
        entry: dict[str, Any] = {"purpose": purpose, "part": part}
        if split is not None:
            entry |= {"split": split.name, "hash": split.hash}
        known = self._reads()
        if part in ("train", "val") and any(
            entry["hash"] == old.get("hash") and part == old.get("part") for old in known.entries
        ):
            return
        if not known.intact and part not in ("train", "val"):
            warn(
                f"the record of readings of {self.path} ({reads.LOG}, {reads.HEAD}) was removed or altered, "
                "so the test part was read at least as often as is said."
            )
        try:
            reads.append(self.path, entry, expected=self._reads_expected())
        except (OSError, InputError) as error:
            if part not in ("train", "val"):
                warn(f"the reading of the test part could not be recorded in {self.path} ({error}).")

    # For notebooks and PyTorch

    def torch(
        self, part: Part = "train", split: str = "default", *, purpose: Purpose = "train",
        transform: Transform | None = None,
    ) -> TorchImages:  # fmt: skip
        """The images of a part for `torch.utils.data.DataLoader`.

        Args:
            part: train, val or test.
            split: name of the split.
            purpose: what they are read for; test images are refused to `train` and `select`, and counted for
                any other, such as `score`.
            transform: uint8 tensor C×H×W → what is given in its place; by default float32 in [0, 1].

        Returns:
            `(image, label)` by position; a label is a class number, or float32 K of other kinds.

        Raises:
            InputError: as `part` does.
        """
        found = self.part(part, split, purpose=purpose)
        targets = found.codes if self.labels.kind == "categorical" else found.y()
        return TorchImages(self.pixels, found.rows, targets, self.labels.names, transform)

    def show(
        self, n: int = 8, by: str | None = "label", *, part: Part = "train", split: str = "default",
        seed: int = 0,
    ) -> Image.Image:  # fmt: skip
        """A picture of some images, which a notebook shows.

        Args:
            n: images in a row.
            by: the column that has a row for each of its values, at most 12; None for one row of all.
            part: whose images are shown, where the Dataset has a split; showing test images is a reading of
                them.
            split: name of the split.
            seed: of the choice.

        Raises:
            InputError: there is no such column, part or split.
        """
        rows = np.arange(len(self), dtype=np.int64)
        if self.split_names():
            rows = self.part(part, split, purpose="report").rows
        if by is not None and by not in self.table.columns:
            raise unknown("column", by, list(self.table.columns))
        one_row = by is None or (by == "label" and self.labels.kind in ("none", "continuous"))
        values = None if one_row else list(self.table[by].to_numpy()[rows])
        order = self.labels.names if by == "label" else ()
        return sheet(self.pixels.read, self.size, draw_rows(values, rows, n, seed, order))

    def _repr_html_(self) -> str:
        """What a notebook shows of it: its facts, and train images of each class."""
        picture = None
        with contextlib.suppress(InputError, OSError):  # Facts are shown of a damaged one, too.
            split = "default" if "default" in self.split_names() else next(iter(self.split_names()), "")
            picture = png(self.show(split=split))
        return page(f"Dataset {self.name}", self.summary(), picture)

    # Arrays and caches

    def add_array(self, name: str, array: NDArray[Any], manifest: Mapping[str, Any]) -> None:
        """Add `arrays/<name>.npy` with one row an image; InputError when the name is taken."""
        if (self.path / "arrays" / f"{name}.npy").exists():
            raise InputError(f"{self.path} already has an array '{name}'; choose another name.")
        with files.reporting_disk(self.path):
            save_array(self.path, name, array, manifest, count=len(self))

    def array_names(self) -> list[str]:
        """Names of the arrays."""
        return sorted(path.stem for path in (self.path / "arrays").glob("*.npy"))

    def array(self, name: str) -> NDArray[Any]:
        """An array by name, one row an image."""
        path = self.path / "arrays" / f"{name}.npy"
        if not path.is_file():
            raise unknown("array", name, self.array_names())
        with files.reading(path):
            return np.asarray(np.load(path, allow_pickle=False))

    def array_manifest(self, name: str) -> dict[str, Any]:
        """What an array holds: which space, which model."""
        return files.read_record(self.path / "arrays" / f"{name}.json")

    def cache_dir(self, key: str) -> Path:
        """A folder for data derived from this Dataset, keyed by a hash; safe to delete at any time."""
        folder = self.path / "caches"
        if not os.access(self.path, os.W_OK):
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = Path(base) / "plenish" / self.manifest.pixels_hash[:16]
        folder = folder / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def provenance(self, split: str | None = None) -> dict[str, Any]:
        """Path, name and hashes that pin down this Dataset (and split) in a Run's configuration."""
        facts: dict[str, Any] = {
            "path": str(self.path.resolve()), "name": self.name,
            "pixels_hash": self.manifest.pixels_hash, "table_hash": self.manifest.table_hash,
        }  # fmt: skip
        if split is not None:
            facts |= {"split_name": split, "split_hash": self.split(split).hash}
        return facts
