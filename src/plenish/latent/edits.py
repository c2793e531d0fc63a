"""What every edit leaves: a folder with picture, film, latents, labels, and what is needed to repeat it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from plenish import files, invocation
from plenish.datasets.show import png
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace

PICTURE, LATENTS, LABELS, RECORD = "picture.png", "latents.npy", "labels.npy", "edit.json"


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edit that was written.

    Attributes:
        path: its folder.
        facts: its record, `edit.json`.
    """

    path: Path
    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form: the files, and what the edit says of itself."""
        listed = {name: str(self.path / file) for name, file in self.facts["files"].items()}
        return {"edit": str(self.path), **listed, "points": self.facts["points"], **self.facts["result"]}

    def shown(self) -> dict[str, Any]:
        """The same for a terminal: no hashes of vectors; of what was held at each strength, a table."""
        shown = {key: value for key, value in self.summary().items() if key != "vectors_sha256"}
        held = shown.get("held")
        if not isinstance(held, Mapping):
            return shown
        rows = [
            {
                "strength": strength, "held": name, "mean change": drift["mean"], "largest": drift["most"],
                "images off": level["images_off"],
            }
            for strength, level in zip(shown["strengths"], held["at_strengths"], strict=True)
            for name, drift in level["drift"].items()
        ]  # fmt: skip
        return shown | {"held": rows}


def write_edit(
    out: Path, space: LatentSpace, points: Points, picture: Image.Image, *, result: Mapping[str, Any] = {},
    film: bytes | None = None, film_format: str = "gif", more: Mapping[str, bytes] = {},
) -> Edit:  # fmt: skip
    """Write an edit.

    Args:
        out: the folder; must not exist.
        space: the generator.
        points: what was made, in the order of the film or of the picture, row by row.
        picture: the still picture.
        result: what the edit says of itself; JSON-able.
        film: the animation, where there is one.
        film_format: its suffix.
        more: further files by name.

    Raises:
        InputError: OUT exists or cannot be written.
    """
    listed = {"picture": PICTURE, "latents": LATENTS}
    if film is not None:
        listed["film"] = f"film.{film_format}"
    if points.y is not None:
        listed["labels"] = LABELS
    model = {key: value for key, value in space.loaded.provenance().items() if key != "data"}
    record: dict[str, Any] = {
        "command": invocation.record(), "generator": model, "options": space.options,
        "space": points.space, "points": len(points), "names": list(points.names),
        "classes": list(space.labels.names), "files": listed, "more": sorted(more), "result": dict(result),
    }  # fmt: skip
    config = {key: record[key] for key in ("generator", "options", "space", "names", "result")}
    with files.atomic_dir(out, config) as folder:
        files.write_bytes(folder / PICTURE, png(picture))
        if film is not None:
            files.write_bytes(folder / listed["film"], film)
        np.save(folder / LATENTS, points.values)
        about = {"space": points.space, "names": list(points.names), "model": model}
        files.write_record(folder / Path(LATENTS).with_suffix(".json").name, about)
        if points.y is not None:
            np.save(folder / LABELS, points.y)
        for name, content in more.items():
            files.write_bytes(folder / name, content)
        files.write_record(folder / RECORD, record)
    return Edit(out, record)
