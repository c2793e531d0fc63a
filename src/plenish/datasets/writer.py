"""Writing a Dataset: shard by shard, flat in memory, resumable after a kill, whole or absent."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from plenish import files, invocation
from plenish.datasets import croissant, integrity
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import shard_length, shard_name
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema, Manifest
from plenish.datasets.tables import open_rows, save_array, save_split, write_rows, write_samples
from plenish.errors import InputError
from plenish.wording import agree

_LAYOUT = 3
"""Of unfinished Datasets; one of another layout cannot be gone on with."""
CORE_COLUMNS = ("id", "label", "group", "origin", "sha256", "source")


FACTS = "facts of the image"
_CHOSEN: Mapping[str, Callable[[int, int], int]] = {"largest": max, "first": min}


class DatasetWriter:
    """Context manager that makes a Dataset folder.

    Items (images added or sources rejected) are counted; a killed writer started again with the same `config`
    tells in `skip` how many items its finished shards already hold, and the caller leaves those out.

    Example:
        >>> with DatasetWriter(out, name="tiles", size=64, channels=3, labels=labels, config={}) as writer:
        ...     writer.add(pixels, [{"label": "tumour", "group": "P01", "source": "a.png"}, ...])
        >>> dataset = writer.dataset
    """

    def __init__(
        self,
        out: Path,
        *,
        name: str,
        size: int,
        channels: int,
        labels: LabelSchema,
        config: Mapping[str, Any],
        licence: str = "",
        source: str = "",
        intended_use: str = "",
        extra: Mapping[str, Any] | None = None,
        inputs: str = "",
    ) -> None:
        """Prepare the writer; nothing is written before the `with` block is entered.

        Args:
            out: the Dataset's folder; must not exist.
            name: what people call it.
            size: height and width in pixels.
            channels: 1 or 3.
            labels: the label schema of all rows.
            config: everything that decides the content; a resumed writer must have the same.
            licence: the images' licence.
            source: where they come from.
            intended_use: what they may be used for.
            extra: further facts for dataset.json; may still be changed through `writer.extra` inside the
                block.
            inputs: hash of the files that it is made from, which a resumed writer must find again; it is not
                kept, since it is another one on another machine.
        """
        if channels not in (1, 3):
            raise InputError(f"Images have 1 or 3 channels, not {channels}.")
        if size < 1:
            raise InputError(f"The image size must be at least 1 pixel, not {size}.")
        self.out, self.labels, self.size, self.channels = out, labels, size, channels
        self.extra: dict[str, Any] = dict(extra or {})
        self.types: dict[str, pa.DataType] = {}
        """Types of user columns; those not named are found from the values."""
        self.splits: dict[str, Sequence[str]] = {}
        self.arrays: dict[str, tuple[NDArray[Any], Mapping[str, Any]]] = {}
        """Arrays with one row an image (latents, features) and their manifests, by name."""
        self.split_manifest: dict[str, Any] = {}
        self.split_manifests: dict[str, Mapping[str, Any]] = {}
        """What the manifests of single splits say beside that, by name."""
        self._about: dict[str, Any] = {
            "name": name, "licence": licence, "source": source, "intended_use": intended_use,
            "config": dict(config),
        }  # fmt: skip
        self._shard = shard_length(size, channels)
        content = {
            "layout": _LAYOUT, "config": dict(config), "size": size, "channels": channels,
            "labels": labels.to_dict(), "about": dict(self._about), "inputs": inputs,
        }  # fmt: skip
        self._folder = files.atomic_dir(out, content, resumable=True)
        self._buffer: list[NDArray[np.uint8]] = []
        self._rows: list[dict[str, Any]] = []
        self._rejections: list[Rejection] = []
        self._facts: Counter[str] = Counter()
        self.skip = 0
        self.count = 0

    def __enter__(self) -> DatasetWriter:
        with contextlib.ExitStack() as stack:
            self.partial = stack.enter_context(self._folder)
            (self.partial / "pixels").mkdir(exist_ok=True)
            (self.partial / "rows").mkdir(exist_ok=True)
            for done in self._shards():
                self.skip += done["items"]
                self.count += done["images"]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            self._finish()

    def _shards(self) -> Iterator[dict[str, Any]]:
        """What is known of each finished shard, also an earlier try's."""
        return map(files.read_record, sorted((self.partial / "rows").glob("*.json")))

    def add(self, pixels: NDArray[np.uint8], rows: Sequence[Mapping[str, Any]]) -> None:
        """Append images.

        Args:
            pixels: N×H×W×C uint8.
            rows: N mappings with `label` and any of `id`, `group`, `origin`, `source`, `part`, `sha256` (of
                the image's bytes, where the caller has computed it) and further columns of the user's;
                `FACTS`, which is no column, has numbers that `facts` sums up.
        """
        expected = (len(rows), self.size, self.size, self.channels)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 {expected}")
        start = 0
        while start < len(rows):
            take = min(len(rows) - start, self._shard - len(self._rows))
            self._buffer.append(pixels[start : start + take])
            for i in range(start, start + take):
                self._rows.append(self._complete(rows[i], pixels[i]))
            start += take
            if len(self._rows) == self._shard:
                self.flush()

    def _complete(self, row: Mapping[str, Any], image: NDArray[np.uint8]) -> dict[str, Any]:
        number = self.count + len(self._rows)
        if FACTS in row:
            row = dict(row)
            self._facts = joined_facts(self._facts, row.pop(FACTS))
        complete = {
            "id": f"{number:07d}", "label": None, "group": None, "origin": "real", "sha256": None,
            "source": "", **row,
        }  # fmt: skip
        if complete["sha256"] is None:
            complete["sha256"] = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
        return complete

    def reject(self, rejection: Rejection) -> None:
        """Record a source that could not become an image, for `rejected.csv`."""
        self._rejections.append(rejection)

    def rejections(self) -> Iterator[Rejection]:
        """What the finished shards, also an earlier try's, have recorded, in order."""
        for done in self._shards():
            yield from (Rejection(**item) for item in done["rejections"])

    def facts(self) -> Counter[str]:
        """The facts of all images in finished shards, also an earlier try's; see `joined_facts`."""
        total: Counter[str] = Counter()
        for done in self._shards():
            total = joined_facts(total, done.get("facts", {}))
        return total

    def flush(self) -> None:
        """Write what is not written yet as a shard; only the last one may have fewer images."""
        items = len(self._rows) + len(self._rejections)
        if not items:
            return
        index = len(list((self.partial / "rows").glob("*.json")))
        if self._rows:
            with files.reporting_disk(self.out):
                _save_pieces(self.partial / "pixels" / shard_name(index), self._buffer)
                write_rows(
                    self.partial / "rows" / f"{index:05d}.parquet", self._rows, self.labels, self.types
                )
        summary = {
            "items": items, "images": len(self._rows),
            "rejections": [dataclasses.asdict(rejection) for rejection in self._rejections],
            "facts": dict(self._facts),
        }  # fmt: skip
        files.write_record(self.partial / "rows" / f"{index:05d}.json", summary)
        self.count += len(self._rows)
        self._buffer, self._rows, self._rejections, self._facts = [], [], [], Counter()

    def _finish(self) -> None:
        self.flush()
        if self.count == 0:
            raise InputError(self._nothing())
        rows = open_rows(sorted((self.partial / "rows").glob("*.parquet")))
        table_hash = write_samples(rows, self.partial / "samples.parquet")
        core = rows.to_table(
            columns=[name for name in rows.schema.names if name in ("id", "group", "sha256", "part")]
        )
        columns = core.to_pydict()
        ids, hashes, groups = columns["id"], columns["sha256"], columns["group"]
        if len(set(ids)) != len(ids):
            raise InputError(
                f"{agree(len(ids) - len(set(ids)), 'image', 'has', 'have')} an id that another image has; "
                "ids must differ."
            )
        splits = ({"default": columns["part"]} if "part" in columns else {}) | self.splits
        for name, values in splits.items():
            in_parts = pd.Series(values).groupby(hashes).nunique()
            repeated = {"duplicates_across_parts": int((in_parts > 1).sum())}
            about_split = {**self.split_manifest, **self.split_manifests.get(name, {}), **repeated}
            save_split(self.partial, name, ids, values, groups, about_split)
        for name, (array, about) in self.arrays.items():
            save_array(self.partial, name, array, about, count=self.count)
        if found := [(item.source, str(item), item.code) for item in self.rejections()]:
            table = pd.DataFrame(found, columns=["source", "reason", "kind"])
            with files.flushed(self.partial / "rejected.csv") as file:
                table.to_csv(file, index=False, lineterminator="\r\n")
        manifest = Manifest(
            labels=self.labels, size=self.size, channels=self.channels, count=self.count, shard=self._shard,
            pixels_hash=hashlib.sha256("".join(hashes).encode()).hexdigest(), table_hash=table_hash,
            extra=self.extra,
            table_file_sha256=files.sha256_file(self.partial / "samples.parquet"),
            command=invocation.record(), **self._about,
        )  # fmt: skip
        files.write_record(self.partial / "dataset.json", manifest.to_dict())
        integrity.remember(self.partial, manifest.pixels_hash)
        shutil.rmtree(self.partial / "rows")
        finished = Dataset.open(self.partial)
        if finished.is_synthetic:
            croissant.write(finished, self.partial, "samples.parquet")

    def _nothing(self) -> str:
        rejections = list(self.rejections())
        if not rejections:
            return f"There are no images to write to {self.out}; check the source."
        first, count = rejections[0], len(rejections)
        return (
            f"{'The one file' if count == 1 else f'None of the {count:,} files'} could "
            f"{'not ' * (count == 1)}be used, so {self.out} was not made; "
            f"the first was {first.source}: {first}."
        )

    @property
    def dataset(self) -> Dataset:
        """The finished Dataset, opened."""
        return Dataset.open(self.out)


def joined_facts(some: Mapping[str, int], more: Mapping[str, int]) -> Counter[str]:
    """Sums of facts by name; of those named `largest …` and `first …` the largest and the smallest."""
    total = Counter(some)
    for name, value in more.items():
        kind = name.partition(" ")[0]
        if name in total and kind in _CHOSEN:
            total[name] = _CHOSEN[kind](total[name], value)
        else:
            total[name] += value
    return total


def _save_pieces(path: Path, pieces: Sequence[NDArray[np.uint8]]) -> None:
    """Save arrays as one, without joining them in memory first."""
    shape = (sum(map(len, pieces)), *pieces[0].shape[1:])
    with files.flushed(path) as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)  # type: ignore[arg-type, unused-ignore]
        for piece in pieces:
            file.write(np.ascontiguousarray(piece).data)
