"""What `plenish release` is asked, and what it made, as the terminal shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from plenish.wording import Message, Sentences

Format = Literal["folder", "huggingface", "webdataset", "npz", "stylegan-zip"]


@dataclasses.dataclass(frozen=True)
class ReleaseConfig:
    """How to give images away.

    Attributes:
        format: folder (PNG files by class, with metadata.csv), huggingface (Parquet files with the images
            inside), webdataset, npz or stylegan-zip.
        licence: SPDX identifier of the licence that the images are released under; by default that of the
            real images.
        intended_use: what the images may be used for; by default what the synthetic Dataset says.
        override: release although the audit speaks against it, for this reason, which the card, the
            provenance and the terminal tell.
        split: the split of the real Dataset; by default the one the generator was trained on.
        seed: seed of the score.
    """

    format: Format = "folder"
    licence: str = ""
    intended_use: str = ""
    override: str = ""
    split: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Released:
    """What `plenish release` made.

    Attributes:
        path: the folder to give away.
        content: its provenance.json.
        words: what the audit, the licences and an override are in words.
    """

    path: Path
    content: Mapping[str, Any]
    words: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """Where it is, what the audit found and what to know before it is given away."""
        images = self.content["images"]
        return {
            "out": str(self.path), "images": images["n"], "as": images["format"], **self.words,
            "files": len(self.content["files"]), "card": str(self.path / "README.md"),
            "page": str(self.path / "card.html"),
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Refused:
    """Why images were not released.

    Attributes:
        out: the folder that was not made.
        objections: what speaks against it.
        page: a page with the closest pairs, which shows real images; None without a score.
    """

    out: Path
    objections: Sequence[Message]
    page: Path | None

    def summary(self) -> dict[str, Any]:
        """The objections and where to look."""
        return {
            "out": str(self.out), "released": False, "objections": Sentences(map(str, self.objections)),
            "page": None if self.page is None else str(self.page),
        }  # fmt: skip
