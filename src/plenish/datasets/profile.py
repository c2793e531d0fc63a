"""What is in a Dataset, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish.datasets.appearance import cluster_rows, study_pixels, study_sizes
from plenish.datasets.complexity import complexity
from plenish.datasets.dataset import Dataset
from plenish.datasets.distortion import audit
from plenish.datasets.near_duplicates import clusters
from plenish.datasets.pixels import chunks, shard_length
from plenish.datasets.schema import PARTS
from plenish.datasets.sources.listing import look_alikes
from plenish.datasets.synthetic import generator_of, generator_words
from plenish.datasets.tables import read_parquet
from plenish.datasets.tag_study import study_tags, tag_columns
from plenish.progress import progress
from plenish.wording import agree, plural

_EXAMPLES = 20
_TAG_COLUMNS = 6


def describe(dataset: Dataset, split: str | None) -> dict[str, Any]:
    """Everything `profile.json` says of a Dataset.

    Args:
        dataset: the Dataset.
        split: name of the split to check, None for none.

    Returns:
        JSON-able facts, among them `problems` (sentences; leaks between parts) and `remarks`.
    """
    frozen = None if split is None else dataset.split(split, straddling=True)
    parts = None if frozen is None else frozen.part_of.to_numpy()
    rows = np.arange(len(dataset)) if parts is None else np.flatnonzero(parts == "train")
    mean, std = channel_statistics(dataset, rows)
    manifest, path = dataset.manifest, dataset.path / "samples.parquet"
    # The whole table of a large corpus, with its lists of tags, would take most of the memory.
    table = read_parquet(path, ["id", "label", "group", "sha256"]).to_pandas()
    cluster = clusters(dataset)
    content: dict[str, Any] = {
        "schema": 1, "kind": "profile", "name": dataset.name, "path": str(dataset.path),
        "images": len(dataset), "size": dataset.size, "channels_count": dataset.channels,
        "megabytes": len(dataset) * dataset.size**2 * dataset.channels / 1e6,
        "label_kind": dataset.labels.kind, "phantom": bool(manifest.extra.get("phantom")),
        "synthetic": dataset.is_synthetic,
        "generator": generator_words(generator_of(manifest.extra)) if dataset.is_synthetic else None,
        "rights": _rights(dataset), "opt_out": manifest.extra.get("opt_out"),
        "licence": manifest.licence, "source": manifest.source,
        "pixels_hash": manifest.pixels_hash, "columns": [str(name) for name in pq.read_schema(path).names],
        "classes": _classes(dataset, table["group"], parts), "groups": _groups(table, parts),
        "split": None if frozen is None
        else {"name": frozen.name, "hash": frozen.hash, "test_reads": dataset.test_reads(frozen.name)},
        "channels": {
            "of": "all images" if parts is None else "train", "mean": mean, "std": std, "images": len(rows),
        },
        "duplicates": _duplicates(table, parts), "near_duplicates": _near_duplicates(table, parts, cluster),
        "alike_groups": _alike_groups(table, parts), "straddling_groups": _straddling(table, parts),
        "distortion": audit(table, rows),
        "near_duplicate_rows": cluster_rows(cluster, rows), "sizes": study_sizes(dataset, rows),
        **study_pixels(dataset, rows), "complexity": complexity(dataset, rows),
        "tags": [study_tags(dataset, name, rows) for name in tag_columns(dataset)[:_TAG_COLUMNS]],
    }  # fmt: skip
    return content | {"problems": _problems(content), "remarks": _remarks(content)}


def _rights(dataset: Dataset) -> dict[str, Any]:
    """The most frequent licences with their images, and how many artists there are, where columns tell."""
    path = dataset.path / "samples.parquet"
    there = [name for name in ("licence", "artist") if name in pq.read_schema(path).names]
    table = read_parquet(path, there).to_pandas() if there else pd.DataFrame()
    counts = {name: table[name].dropna().map(str).value_counts() for name in there}
    found: dict[str, Any] = {}
    if len(licences := counts.get("licence", ())):
        found["licences"] = {name: int(count) for name, count in licences.head(_EXAMPLES).items()}
    if len(artists := counts.get("artist", ())):
        found["artists"] = len(artists)
    return found


def channel_statistics(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel over all pixels of `rows`, in grey levels 0 to 255.

    Exact: sums of uint8 values and squares are integers. Reads in pieces, memory is flat.
    """
    levels = np.arange(256, dtype=np.int64)
    counts = np.zeros((dataset.channels, 256), dtype=np.int64)
    with progress("profile", len(rows)) as bar:
        for index in chunks(len(rows), shard_length(dataset.size, dataset.channels)):
            images = dataset.pixels.read(rows[index])
            for c in range(dataset.channels):
                counts[c] += np.bincount(images[..., c].reshape(-1), minlength=256)
            bar.advance(len(index))
    total = np.maximum(counts.sum(axis=1), 1)
    mean = (counts @ levels) / total
    std = np.sqrt(np.maximum((counts @ levels**2) / total - mean**2, 0))
    return [float(v) for v in mean], [float(v) for v in std]


def _classes(dataset: Dataset, group: pd.Series[Any], parts: NDArray[Any] | None) -> list[dict[str, Any]]:
    """One row a class or tag (or one for all images): images and groups, overall and in each part."""
    everything = np.ones(len(dataset), dtype=bool)
    if dataset.labels.kind in ("categorical", "multilabel"):
        noun = "class" if dataset.labels.kind == "categorical" else "tag"
        members = [(name, dataset.y()[:, k] > 0) for k, name in enumerate(dataset.labels.names)]
    else:
        noun, members = "images of", [("all", everything)]
    rows = []
    for name, member in members:
        row: dict[str, Any] = {
            noun: name,
            "images": int(member.sum()),
            "groups": int(group[member].nunique()),
        }
        if parts is not None:
            row |= {part: int((member & (parts == part)).sum()) for part in PARTS}
        rows.append(row)
    return rows


def _groups(table: pd.DataFrame, parts: NDArray[Any] | None) -> dict[str, Any]:
    sizes = table["group"].value_counts()
    facts: dict[str, Any] = {"count": len(sizes), "images_without": int(table["group"].isna().sum())}
    if len(sizes):
        facts |= {"smallest": int(sizes.min()), "median": float(sizes.median()), "largest": int(sizes.max())}
        if parts is not None:
            facts["in_part"] = {part: int(table["group"][parts == part].nunique()) for part in PARTS}
    return facts


def _duplicates(table: pd.DataFrame, parts: NDArray[Any] | None) -> dict[str, Any]:
    """Images with the same pixels: how many, across which parts, with which other label; some examples."""
    repeated = table["sha256"].duplicated(keep=False).to_numpy()
    found = table.loc[repeated, ["id", "sha256", "label"]].map(str)
    found["part"] = "" if parts is None else parts[repeated]
    groups = found.groupby("sha256", sort=False)
    sets = pd.DataFrame(
        {"ids": groups["id"].apply(list).str[:6], "parts": groups["part"].unique().map(sorted)}
    ).assign(images=groups.size())
    widest = sets.sort_values("parts", key=lambda parts: parts.str.len(), ascending=False, kind="stable")
    return {
        "sets": len(sets),
        "extra_images": len(found) - len(sets),
        "sets_across_parts": int((groups["part"].nunique() > 1).sum()),
        "sets_with_different_labels": int((groups["label"].nunique() > 1).sum()),
        "examples": widest.head(_EXAMPLES).to_dict("records"),
    }


def _near_duplicates(
    table: pd.DataFrame, parts: NDArray[Any] | None, cluster: NDArray[np.int64]
) -> dict[str, Any]:
    """Sets of images of one picture whose pixels differ: how many, across which parts; some examples."""
    rows = pd.DataFrame({
        "id": table["id"].map(str), "group": table["group"], "sha256": table["sha256"],
        "label": table["label"].map(str), "part": "" if parts is None else parts,
        "cluster": cluster,
    })  # fmt: skip
    rows = rows[rows.groupby("cluster")["sha256"].transform("nunique") > 1]
    sets = rows.groupby("cluster", sort=False)
    kept = pd.DataFrame({
        "ids": sets["id"].apply(list).str[:6], "parts": sets["part"].unique().map(sorted),
    }).assign(images=sets.size())  # fmt: skip
    widest = kept.sort_values("parts", key=lambda parts: parts.str.len(), ascending=False, kind="stable")
    return {
        "sets": len(kept), "images": len(rows),
        "sets_across_groups": int((sets["group"].nunique(dropna=True) > 1).sum()),
        "sets_across_parts": int((sets["part"].nunique() > 1).sum()),
        "sets_with_different_labels": int((sets["label"].nunique() > 1).sum()),
        "examples": widest.head(_EXAMPLES).to_dict("records"),
    }  # fmt: skip


def _alike_groups(table: pd.DataFrame, parts: NDArray[Any] | None) -> dict[str, Any]:
    """Groups whose names differ only in case, spacing or leading zeros, and the parts they are in."""
    sets = look_alikes(map(str, table["group"].dropna().unique()))
    known = {} if parts is None else pd.Series(parts).groupby(table["group"].to_numpy()).unique().to_dict()
    parts_of = {str(name): found for name, found in known.items()}
    where = [sorted({part for name in one for part in parts_of.get(name, ())}) for one in sets]
    return {
        "sets": len(sets), "sets_across_parts": sum(len(one) > 1 for one in where),
        "examples": [{"groups": one, "parts": p} for one, p in zip(sets[:_EXAMPLES], where)],
    }  # fmt: skip


def _straddling(table: pd.DataFrame, parts: NDArray[Any] | None) -> dict[str, Any]:
    """Groups with images in more than one part."""
    if parts is None:
        return {"count": 0, "examples": []}
    in_parts = table.assign(part=parts).dropna(subset=["group"]).groupby("group")["part"].unique()
    leaking = in_parts[in_parts.map(len) > 1]
    examples = [{"group": str(g), "parts": sorted(p)} for g, p in leaking.head(_EXAMPLES).items()]
    return {"count": len(leaking), "examples": examples}


def _problems(content: Mapping[str, Any]) -> list[str]:
    problems = []
    if n := content["duplicates"]["sets_across_parts"]:
        problems.append(
            f"The parts of split '{content['split']['name']}' share pixels: {n} "
            f"{'image is' if n == 1 else 'images are'} in more than one part, so every score on it is too "
            "good; make another split with 'plenish split --name'."
        )
    if n := content["straddling_groups"]["count"]:
        problems.append(
            f"{agree(n, 'group', 'is', 'are')} in more than one part of split '{content['split']['name']}', "
            "so scores on it say little about new groups; make another split with 'plenish split --name'."
        )
    return problems


def _remarks(content: Mapping[str, Any]) -> list[str]:
    remarks, groups, repeats = [], content["groups"], content["duplicates"]
    if content["split"] is None and not content["synthetic"]:
        remarks.append(
            "There is no split yet, so the channel statistics are of all images; do not train with them."
        )
    if not groups["count"] and not content["synthetic"]:
        remarks.append(
            "The images have no groups: images of one patient or object may be in different parts of a split."
        )
    elif groups["images_without"] and groups["count"]:
        remarks.append(f"{agree(groups['images_without'], 'image', 'has', 'have')} no group.")
    if repeats["extra_images"]:
        remarks.append(
            agree(repeats["extra_images"], "image", "repeats", "repeat") + " the pixels of another one."
        )
    near, split = content["near_duplicates"], content["split"]
    if near["sets"]:
        text = (
            f"{agree(near['images'], 'image', 'is', 'are')} near-duplicates of others (mirrored, turned, "
            f"brighter, compressed again or changed by some bits), in {plural(near['sets'], 'set')}"
        )
        if n := near["sets_across_parts"]:
            text += (
                f"; {n:,} of these {'is' if n == 1 else 'are'} in more than one part of split "
                f"'{split['name']}', so scores on it may be too good; 'plenish split' makes one without"
            )
        remarks.append(f"{text}.")
    if (alike := content["alike_groups"])["sets"]:
        first = alike["examples"][0]["groups"]
        remarks.append(
            f"{plural(alike['sets'], 'set')} of groups have similar names, "
            + " and ".join(f"'{name}'" for name in first)
            + " first: where they are one patient or object, 'plenish split --alike-groups join' keeps them "
            "in one part."
        )
    if n := repeats["sets_with_different_labels"]:
        remarks.append(
            f"{plural(n, 'set')} of identical images {'carries' if n == 1 else 'carry'} different labels; at "
            "least one label of each is wrong."
        )
    counts = [row["images"] for row in content["classes"]]
    if len(counts) > 1 and max(counts) > 5 * max(1, min(counts)):
        remarks.append(f"The classes are uneven: {min(counts):,} to {max(counts):,} images.")
    if content["label_kind"] == "none":
        remarks.append(
            "The images have no labels: generators and scores work, classifiers and studies do not."
        )
    return remarks
