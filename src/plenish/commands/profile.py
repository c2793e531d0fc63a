"""`plenish profile`: what is in a Dataset, and what is wrong with it, as a page and as JSON."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files, settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.integrity import verify
from plenish.datasets.profile import describe
from plenish.errors import AlreadyMade, CheckFailed
from plenish.invocation import command
from plenish.report.pictures import choose
from plenish.report.profile_page import profile_page
from plenish.terminal import json_text, write
from plenish.wording import Sentences, agree, plural


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `plenish profile` found.

    Attributes:
        path: the folder with profile.html and profile.json.
        content: profile.json.
    """

    path: Path
    content: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first; JSON-able."""
        c = self.content
        channels, repeats, near = c["channels"], c["duplicates"], c["near_duplicates"]
        facts: dict[str, Any] = {
            "dataset": c["name"],
            "images": f"{c['images']:,} of {c['size']}×{c['size']} pixels, {c['channels_count']} channel(s)",
            "groups": _groups_text(c["groups"]),
            "split": c["split"]["name"] if c["split"] else "none yet; make one with 'plenish split'",
            f"mean of {channels['of']}": ", ".join(f"{v:.1f}" for v in channels["mean"]),
            f"std of {channels['of']}": ", ".join(f"{v:.1f}" for v in channels["std"]),
            "duplicates": agree(repeats["extra_images"], "image", "repeats", "repeat")
            + " another's pixels exactly",
            "near-duplicates": agree(near["images"], "image", "shows", "show")
            + " the picture of another one",
            "classes": c["classes"],
        }
        for tags in c["tags"]:
            typical = ", ".join(row["tag"] for row in tags["typical"][:4])
            facts[tags["column"]] = f"{tags['distinct']:,} distinct; the most typical image: {typical or '–'}"
        bands = {kind: n for kind, n in c["bands"]["images"].items() if kind != "none" and n}
        facts["bands"] = ", ".join(f"{n:,} {kind}" for kind, n in bands.items()) or "none"
        if c["opt_out"]:
            facts["opted out"] = c["opt_out"]["images"]
        if c["phantom"]:
            facts["phantom"] = "this is a phantom, not tissue"
        told = {key: Sentences(c[key]) for key in ("problems", "remarks")}
        return facts | told | {"report": str(self.path / "profile.html")}


@command("profile")
def profile_dataset(
    data: Path, out: Path, split: str = "default", examples: int = 24, seed: int = 0
) -> Profile:
    """Describe a Dataset: counts, channel statistics, duplicates, leaks between parts, examples.

    Near-duplicates (mirrored, turned, brighter, compressed again or changed by some bits) are counted too,
    and remarked on where they are in several parts. Looking for them reads all images, which is not counted
    as a reading of the test part.

    Of columns that hold lists, such as tags, it tells how often each tag is, which come together, and what
    the most typical image has. It also shows the sizes of the files, colours, uniform bands at the sides, and
    how variable the set is beside known ones.

    Writes profile.html (one page that loads nothing) and profile.json. Exact duplicates or a group on both
    sides of a split are errors: the profile is written all the same, and the command ends with exit code 3.
    Statistics and examples come from train alone where there is a split, so that profiling tells nothing of
    the test images.

    Args:
        data: the Dataset.
        out: folder to write; must not exist.
        split: name of the split to check; a Dataset without any split is profiled as a whole.
        examples: images of each class on the contact sheet.
        seed: seed of the draw of these images.

    Returns:
        What was found.

    Raises:
        InputError: there is no such Dataset or split, its pixels or table were altered, or `out` exists.
        CheckFailed: images or groups straddle the parts of the split.
    """
    dataset = Dataset.open(data)
    chosen = split if dataset.split_names() or split != "default" else None
    files.refuse_existing(out, unless_made=True)  # Before all pixels are read.
    verify(dataset)
    content = describe(dataset, chosen)
    rows = _shown_rows(dataset, chosen, examples, seed)
    asked = {"data": dataset.manifest.pixels_hash, "split": split, "examples": examples, "seed": seed}
    # What the same command made is the same, and so is its answer.
    with (
        contextlib.suppress(AlreadyMade),
        files.atomic_dir(out, {"verb": "profile", **asked}) as partial,
    ):
        page = profile_page(content, dataset, rows)
        files.write_json(partial / "profile.json", content)
        files.write_text(partial / "profile.html", page)
    if content["problems"]:
        if settings.current().json:  # Whoever reads the result needs it most when it is bad.
            write(json_text(Profile(out, content).summary()))
        raise CheckFailed(f"{' '.join(content['problems'])} See {out / 'profile.html'}.")
    return Profile(out, content)


def _shown_rows(dataset: Dataset, split: str | None, most: int, seed: int) -> dict[str, NDArray[np.int64]]:
    """Rows to show of each class (or tag, or of all images), drawn from train where there is a split."""
    rows = np.arange(len(dataset))
    if split is not None:
        rows = dataset.split(split, straddling=True).rows("train")
    if dataset.labels.kind not in ("categorical", "multilabel"):
        return {"": choose(rows, most, seed)}
    y = dataset.y(rows)
    return {name: choose(rows[y[:, k] > 0], most, seed) for k, name in enumerate(dataset.labels.names)}


def _groups_text(groups: Mapping[str, Any]) -> str:
    if not groups["count"]:
        return "none"
    smallest, largest = groups["smallest"], groups["largest"]
    if smallest == largest:
        return f"{groups['count']:,}, of {plural(largest, 'image')}"
    return f"{groups['count']:,}, of {smallest:,} to {plural(largest, 'image')} (median {groups['median']:g})"
