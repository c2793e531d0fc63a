"""Making a folder of synthetic images that can be given away: audited, described, hashed, without traces.

What could lead to a patient stays behind: ids, groups and places of real images, file names, the commands and
folders of whoever made the images, latents, and every picture of a real image.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files
from plenish._version import __version__
from plenish.datasets import croissant, file_hashes, licences
from plenish.datasets.copying import public_generator, publishable
from plenish.datasets.dataset import Dataset
from plenish.datasets.export import export_into
from plenish.datasets.export_hub import front_matter
from plenish.datasets.sources import sidecar
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.release_audit import Audit, audit, public_copies
from plenish.metrics.score import ScoreConfig
from plenish.metrics.words import describe_copies
from plenish.report.build import write_own_report
from plenish.report.markdown import escaped, markdown
from plenish.report.pictures import Picture, choose, sheet
from plenish.report.release import Refused, ReleaseConfig, Released
from plenish.report.release_card import (
    answers,
    card_page,
    card_sections,
    licence_remarks,
    objections_of,
    refusal_page,
)
from plenish.runs import versions
from plenish.wording import Sentences

SCHEMA = 1
_EACH, _MOST_SHEETS = 24, 12
"""Pictures of a class on the card, and classes shown."""
_PUBLIC_CAVEATS: Mapping[str, tuple[str, ...]] = {
    "unknown-origin": ("stated",), "unknown-training-images": ("name",), "near-held-out": ("images", "part"),
    "reads-lost": (), "other-labels": (), "class-shares": ("kind",), "calibrated-on-test": (),
    "held-out-twins": ("images",), "few-held-out": ("images",), "few-held-out-groups": ("groups",),
    "few-groups": ("groups", "intervals"), "too-few-images": ("scope", "real", "other", "kind"),
    "fewer-images-than-features": ("scopes", "features"), "one-class": ("name",),
    "undertrained": ("of", "precision", "recall", "coverage"), "classes-not-made": ("classes",),
    "classes-together": ("classes",), "few-to-judge": ("images", "least"),
}  # fmt: skip
"""Caveats of a score that go out, with what they name: numbers, and names of classes and Datasets."""
_PATHS = {"folder": ["train/**", "metadata.csv"], "huggingface": ["data/train-*.parquet"]}


def release_dataset(
    synthetic: Path, out: Path, config: ReleaseConfig, *, real: Path | None = None, score: Path | None = None
) -> Released | Refused:
    """Audit synthetic images and, where nothing speaks against it, make the folder to give away.

    A score that is made for the audit lies beside OUT, as OUT-audit; it shows real images and stays here.

    Args:
        synthetic: the synthetic Dataset.
        out: the folder to make; must not exist.
        config: how.
        real: the real Dataset; by default the one that the generator was trained on, if it is there.
        score: a folder made by `plenish score` of these images.

    Returns:
        What was made, or why nothing was.

    Raises:
        InputError: SYNTHETIC is a real Dataset, OUT exists, or the audit's inputs do not fit.
    """
    made = Dataset.open(synthetic)
    if not made.is_synthetic:
        raise InputError(
            f"{synthetic} holds real images; only a synthetic Dataset can be released.", code="real"
        )
    files.refuse_existing(out, unless_made=True)
    split = config.split or (generator_of(made.manifest.extra).get("data") or {}).get("split_name", "default")
    place = out.with_name(f"{out.name}-audit")
    how = ScoreConfig(split=split, seed=config.seed)
    found = audit(made, place, real=real, score=score, config=how, anyway=bool(config.override))
    if found.folder == place and not (place / "report.html").exists():
        with contextlib.suppress(ImportError):  # Without the drawing library, the score alone.
            write_own_report(place, "score")
    if found.objections and not config.override:
        page = _refusal(made.name, [str(one) for one in found.objections], found)
        return Refused(out, found.objections, page)
    content = _content(made, config, found)
    asked = {"verb": "release", "data": made.provenance(), **dataclasses.asdict(config)}
    with files.atomic_dir(out, asked) as folder:
        content = _write(made, folder, content)
    words = {
        "audit": describe_copies(copies) if (copies := content["audit"]["copies"]) else "none was made",
        **({"released_in_spite_of": Sentences(objections_of(content))} if content["override"] else {}),
        **({"override": content["override"]} if content["override"] else {}),
        "licence": content["licence"] or "not stated",
        **({"to_know": Sentences(licence_remarks(content))} if content["licence_remarks"] else {}),
    }  # fmt: skip
    return Released(out, content, words)


def check_release(folder: Path) -> tuple[dict[str, Any], file_hashes.Differences]:
    """The provenance of a released folder, and how its files differ from what it says.

    Raises:
        InputError: it is no released folder, or its provenance.json was altered.
    """
    path = folder / file_hashes.NAME
    if not path.is_file():
        raise InputError(f"{folder} has no {file_hashes.NAME}; give a folder made by 'plenish release'.")
    content = files.read_record(path)
    if content.get("kind") != "release" or content.get("schema") != SCHEMA:
        raise InputError(
            f"{path} was not written by 'plenish release', or by another version of it (layout "
            f"{content.get('schema')!r}; this one reads {SCHEMA}); give a folder that this version made."
        )
    return content, file_hashes.differences(folder, content["files"])


def _refusal(name: str, objections: list[str], found: Audit) -> Path | None:
    """The page of a refusal in the folder of the score; None without a score."""
    if found.score is None or found.folder is None:
        return None
    page = found.folder / "refused.html"
    files.write_text(page, refusal_page(name, objections, found.score, found.folder))
    return page


def _content(made: Dataset, config: ReleaseConfig, found: Audit) -> dict[str, Any]:
    """What provenance.json says, but for the files."""
    manifest, training = made.manifest, _training(made, found)
    licence = config.licence or training["licence"]
    counts = collections.Counter(made.column("label") if made.labels.kind == "categorical" else ())
    score = found.score
    return {
        "schema": SCHEMA, "kind": "release", "name": made.name, "plenish": __version__,
        "versions": versions(),
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "images": {
            "n": len(made), "size": made.size, "channels": made.channels, "format": config.format,
            "labels": made.labels.to_dict(), "pixels_hash": manifest.pixels_hash,
            "classes": {name: counts[name] for name in made.labels.names if counts},
        },
        "phantom": bool(manifest.extra.get("phantom")),
        "licence": licence, "intended_use": config.intended_use or manifest.intended_use,
        "licence_remarks": list(map(dataclasses.asdict, licences.remarks(training["licence"], licence))),
        "generator": public_generator(generator_of(manifest.extra)), "training": training,
        "filters": list(manifest.extra.get("filters") or []),
        "audit": {
            "objections": [dataclasses.asdict(one) for one in found.objections],
            "copies": None if score is None else public_copies(score["copies"]),
            "groups_val": score["copies"]["n_groups"] if score and score["real"]["groups_test"] else None,
            "quality": None if score is None else score["quality"],
            "scores": [] if score is None else score["scores"],
            "caveats": [] if score is None else _public_caveats(score["caveats"]),
        },
        "override": config.override if found.objections else None,
    }  # fmt: skip


def _training(made: Dataset, found: Audit) -> dict[str, Any]:
    """What is told of the real images: their name, licence, hashes and numbers."""
    data = generator_of(made.manifest.extra).get("data") or {}
    score = found.score["real"] if found.score is not None else {}
    split = data.get("split_name") or score.get("split")
    known = found.real is not None and bool(data)
    return {
        "name": data.get("name") or generator_of(made.manifest.extra).get("training_set") or "",
        "licence": found.real.manifest.licence if known and found.real is not None else "",
        "pixels_hash": data.get("pixels_hash"), "table_hash": data.get("table_hash"), "split": split,
        "split_hash": data.get("split_hash"), "n_train": score.get("n_train") if data else None,
        "groups_train": _groups(found, "train", split) if known else None,
    }  # fmt: skip


def _groups(found: Audit, part: Any, split: str | None) -> int | None:
    """How many groups a part of the real images has; None where that is not known."""
    if found.real is None or split not in found.real.split_names():
        return None
    groups = found.real.column("group")
    return len({groups[row] for row in found.real.split(split).rows(part)} - {None}) or None


def _public_caveats(caveats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The caveats that go out."""
    return [
        one for one in caveats
        if one["code"] in _PUBLIC_CAVEATS and set(one["values"]) <= set(_PUBLIC_CAVEATS[one["code"]])
    ]  # fmt: skip


def _write(made: Dataset, folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The images, the card in two forms, Croissant metadata and the hashes of all that."""
    work = folder / ".work"
    work.mkdir()
    public = publishable(
        made, work / "data", licence=content["licence"], intended_use=content["intended_use"]
    )  # fmt: skip
    export_into(public, folder, content["images"]["format"])
    if content["images"]["format"] == "folder":
        _write_csv(folder)
    _complete_croissant(folder, content)
    patterns = _PATHS.get(content["images"]["format"])
    paths = {"train": patterns} if patterns else {}
    head = front_matter(public, len(public), paths, licences.hub_word(content["licence"]))
    said = [
        f"- **{card.question}** {escaped(card.answer)}. {escaped(card.sentence)}" for card in answers(content)
    ]
    text = "\n".join([*head, "", f"# {escaped(made.name)}", "", *said, "", markdown(card_sections(content))])
    files.write_text(folder / "README.md", text)
    files.write_text(folder / "card.html", card_page(content, _pictures(public)))
    shutil.rmtree(work)
    content = {**content, "files": file_hashes.hashes(folder)}
    files.write_record(folder / file_hashes.NAME, content)
    return files.read_record(folder / file_hashes.NAME)


def _write_csv(folder: Path) -> None:
    """`metadata.csv`, which image folders of the hub and spreadsheets read: every plain column."""
    table = pq.read_table(folder / sidecar.NAME)
    plain = [
        field.name for field in table.schema
        if not pa.types.is_nested(field.type) and not field.name.startswith(("split.", "array."))
    ]  # fmt: skip
    with files.reporting_disk(folder):
        table.select(plain).to_pandas().to_csv(folder / "metadata.csv", index=False, lineterminator="\r\n")


def _complete_croissant(folder: Path, content: Mapping[str, Any]) -> None:
    """Put what the audit found into the metadata."""
    path = folder / croissant.NAME
    copies, objections = content["audit"]["copies"], objections_of(content)
    said = [describe_copies(copies)] if copies else ["They were not searched for copies of real images."]
    if content["override"]:
        said += [*objections, f"Released all the same, for this reason: {content['override']}"]
    about = "None by itself: all images are synthetic. " + " ".join(said)
    files.write_json(path, {**files.read_json(path), "rai:personalSensitiveInformation": about})


def _pictures(public: Dataset) -> list[Picture]:
    """Sheets of released images, of each class or of all."""
    if public.labels.kind not in ("categorical", "multilabel"):
        rows = {"all images": np.arange(len(public), dtype=np.int64)}
    else:
        y = public.y()
        rows = {name: np.flatnonzero(y[:, k] > 0) for k, name in enumerate(public.labels.names)}
    shown = {name: choose(found, _EACH, 0) for name, found in list(rows.items())[:_MOST_SHEETS] if len(found)}
    return [
        sheet(public.pixels.read(index), f"Synthetic images: {name}", columns=12, tile=72, caption=name)
        for name, index in shown.items()
    ]  # fmt: skip
