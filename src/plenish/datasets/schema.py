"""What a Dataset says of itself: its label schema and `dataset.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError, unknown

SCHEMA_VERSION = 2
LabelKind = Literal["none", "categorical", "multilabel", "continuous"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclasses.dataclass(frozen=True)
class LabelSchema:
    """The kind of label every image of a Dataset has.

    Attributes:
        kind: `none`, `categorical` (one class an image), `multilabel` (any number of tags) or `continuous`.
        names: class, tag or variable names, in the order of the columns of y.
    """

    kind: LabelKind = "none"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(LabelKind):
            raise unknown("label kind", self.kind, get_args(LabelKind))
        if (self.kind == "none") != (not self.names):
            raise InputError(f"A '{self.kind}' label schema cannot have {len(self.names)} names.")
        if len(set(self.names)) != len(self.names):
            raise InputError("Label names must differ from each other.")

    @property
    def width(self) -> int:
        """K, the number of columns of y; 0 without labels."""
        return len(self.names)

    def code(self, name: str) -> int:
        """The column of a class or tag; InputError with the nearest name when there is none."""
        if name not in self.names:
            raise unknown("label", name, self.names)
        return self.names.index(name)

    def encode(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Labels as the table holds them → y, float32 N×K (one-hot, multi-hot or the values themselves)."""
        y = np.zeros((len(values), self.width), np.float32)
        position = {name: i for i, name in enumerate(self.names)}
        if self.kind == "categorical":
            y[np.arange(len(values)), [position[value] for value in values]] = 1
        elif self.kind == "multilabel":
            for row, tags in enumerate(values):
                y[row, [position[tag] for tag in tags]] = 1
        elif self.kind == "continuous":
            y[:] = np.asarray([np.atleast_1d(value) for value in values], np.float32)
        return y

    def decode(self, y: NDArray[np.float32]) -> list[Any]:
        """y, N×K → labels as the table holds them; soft one-hot rows give their largest class."""
        if self.kind == "categorical":
            return [self.names[i] for i in y.argmax(1)]
        if self.kind == "multilabel":
            return [[self.names[i] for i in row.nonzero()[0]] for row in y > 0.5]
        if self.kind == "continuous":
            return [[float(value) for value in row] for row in y]
        return [None] * len(y)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"kind": self.kind, "names": list(self.names)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LabelSchema:
        """The inverse of `to_dict`."""
        return cls(content["kind"], tuple(content["names"]))


@dataclasses.dataclass(frozen=True)
class Manifest:
    """`dataset.json`.

    Attributes:
        name: what people call the Dataset.
        labels: the label schema.
        size: height and width of every image, pixels.
        channels: 1 (grey) or 3 (RGB).
        count: number of images.
        pixels_hash: SHA-256 over all images' own hashes, in row order.
        table_hash: SHA-256 of samples.parquet's content.
        table_file_sha256: SHA-256 of the file samples.parquet.
        licence: the images' licence, as given by the user.
        source: where they come from.
        intended_use: what they may be used for.
        shard: images in a full shard of `pixels/`.
        config: the command's configuration that made it.
        extra: further facts (phantom, generator, resizer, remarks of the import).
        command: how it was made, as `invocation.record` says it.
        schema_version: version of this layout.
    """

    name: str
    labels: LabelSchema
    size: int
    channels: int
    count: int
    pixels_hash: str
    table_hash: str
    table_file_sha256: str
    licence: str = ""
    source: str = ""
    intended_use: str = ""
    shard: int = 0
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: Mapping[str, Any] | None = None
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return dataclasses.asdict(self) | {"labels": self.labels.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path) -> Manifest:
        """The inverse of `to_dict`.

        Args:
            content: a JSON object.
            path: the file it comes from.

        Raises:
            InputError: another version of the layout, or missing fields.
        """
        if content.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{path} has layout version {content.get('schema_version')!r}, and this Plenish reads "
                f"{SCHEMA_VERSION}; import it again or use the matching release."
            )
        known = {field.name for field in dataclasses.fields(cls)}
        try:
            fields = {key: value for key, value in content.items() if key in known}
            return cls(**fields | {"labels": LabelSchema.from_dict(content["labels"])})
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} is incomplete or damaged ({error}); make the Dataset again.") from None
