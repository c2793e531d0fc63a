"""`plenish score-edits`: whether edits did what was asked, and what else, with intervals over images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files, invocation
from plenish.errors import InputError
from plenish.latent.counterfactual import find_counterfactuals, path_between
from plenish.latent.counterfactual_options import CounterfactualOptions, EditScoreOptions
from plenish.latent.edits import LABELS, LATENTS, RECORD
from plenish.latent.judges import (
    Floats,
    Judge,
    Pixels,
    classifier_facts,
    open_classifier,
    open_judges,
    probabilities,
    reopened,
)
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace
from plenish.metrics.extractor import Extractor
from plenish.metrics.features import domain_extractor
from plenish.metrics.fidelity import NEIGHBOURS_DENSITY, compare, enough_rows
from plenish.metrics.origin import real_at
from plenish.metrics.statistics import Interval, bootstrap_interval, wilson_interval
from plenish.progress import progress, warn
from plenish.training.classifier_model import Classifier
from plenish.wording import plural

SCORES, TABLE = "edit-scores.json", "images.csv"


@dataclasses.dataclass(frozen=True)
class EditPairs:
    """An edit as images before and after.

    Attributes:
        path: its folder.
        space: its generator.
        before: N points.
        after: N points.
        to: the class asked of each, N.
        by: record of the classifier that was turned; None where the label alone was changed.
    """

    path: Path
    space: LatentSpace
    before: Points
    after: Points
    to: tuple[str, ...]
    by: Mapping[str, Any] | None

    @property
    def runs(self) -> set[Path]:
        """Runs of the classifiers that were turned."""
        of = [] if self.by is None else self.by.get("mixed", [self.by])
        return {Path(row["run"]).resolve() for row in of}


@dataclasses.dataclass(frozen=True)
class EditScores:
    """Scores that were written.

    Attributes:
        path: the folder.
        content: edit-scores.json.
    """

    path: Path
    content: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """A row for each edit and measure."""
        rows = [
            {"edit": Path(edit["edit"]).name, **row}
            for edit in self.content["edits"]
            for row in edit["scores"]
        ]
        return {"out": str(self.path), "table": str(self.path / TABLE), "scores": rows}


def read_pairs(folder: Path) -> EditPairs:
    """Read an edit that changes classes.

    Raises:
        InputError: the folder holds no such edit, or its generator has changed since.
    """
    record = files.read_record(folder / RECORD)
    result, made_by = record["result"], record["generator"]
    space = LatentSpace(made_by["run"], made_by["checkpoint"], options=record["options"])
    if space.loaded.weights_sha256 != made_by["weights_sha256"]:
        raise InputError(f"{made_by['run']} has other weights than when {folder} was made; make it again.")
    values = np.load(folder / LATENTS, allow_pickle=False)
    y = np.load(folder / LABELS, allow_pickle=False) if (folder / LABELS).is_file() else None
    points = space.given(values, record["space"], y).replaced(names=record["names"])
    if "pairs" in result and "to" in result:
        pairs, to = np.asarray(result["pairs"], np.int64).reshape(-1, 2), tuple(result["to"])
        by = result["classifier"]
    elif (record["command"] or {}).get("verb") == "edit flip" and y is not None:
        n = len(points) // 2
        pairs, by = np.stack([np.arange(n), n + np.arange(n)], 1), None
        pairs = pairs[(y[:n] != y[n:]).any(1)]  # Those that were of the class already are no edits.
        if not len(pairs):
            raise InputError(f"In {folder} no image changes its class, so that there is nothing to score.")
        to = tuple(space.labels.names[k] for k in y[pairs[:, 1]].argmax(1))
    else:
        raise InputError(
            f"{folder} holds no images before and after a change of class; give folders that 'plenish edit "
            "counterfactual' or 'plenish edit flip' made."
        )
    return EditPairs(folder, space, points[pairs[:, 0]], points[pairs[:, 1]], to, by)


def score_edits(folders: Sequence[Path], out: Path, classifier: Path, how: EditScoreOptions) -> EditScores:
    """Score edits and write edit-scores.json and a table of all images.

    Args:
        folders: edits that change classes.
        out: the folder; must not exist.
        classifier: Run of a classifier that says whether classes changed; best another than was turned.
        how: judges, and how long paths are measured.

    Raises:
        InputError: a folder, Run or judge does not fit, or OUT exists.
    """
    edits = [read_pairs(folder) for folder in folders]
    channels = {edit.space.network.channels for edit in edits}
    if len(channels) > 1:
        raise InputError("The edits have images of different channels; score them one at a time.")
    model = open_classifier(classifier, channels.pop())
    for edit in edits:
        unknown = sorted(set(edit.to) - set(model.names))
        if unknown:
            raise InputError(
                f"{edit.path} asks for {', '.join(unknown)}, and {classifier} knows "
                f"{', '.join(model.names)}; give a classifier of those classes."
            )
        if classifier.resolve() in edit.runs:
            warn(f"{classifier} is the classifier that {edit.path} turned; another one tells more.")
    judges = open_judges(how.judge or [], edits[0].space.network.channels)
    tables, content = [], []
    with progress("scoring edits", len(edits), "edits") as bar:
        for edit in edits:
            rows, scores = _scored(edit, model, judges, how)
            content.append({"edit": str(edit.path.resolve()), "n": len(edit.to), "scores": scores})
            tables.append(pd.DataFrame(rows).assign(edit=edit.path.name))
            bar.advance(1)
    record = {
        "command": invocation.record(), "classifier": classifier_facts(classifier), "edits": content,
        "judges": [{"name": judge.name, **judge.about} for judge in judges],
        "options": dataclasses.asdict(how),
    }  # fmt: skip
    with files.atomic_dir(out, {"score-edits": record["edits"], "options": record["options"]}) as folder:
        table = pd.concat(tables).to_csv(index=False, lineterminator="\r\n")
        files.write_text(folder / TABLE, table)
        files.write_record(folder / SCORES, record)
    return EditScores(out, record)


def _scored(
    edit: EditPairs, model: Classifier, judges: Sequence[Judge], how: EditScoreOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row an image, and a row a measure, of one edit."""
    first, last = edit.space.images(edit.before), edit.space.images(edit.after)
    to = np.array([model.names.index(name) for name in edit.to])
    columns: dict[str, Any] = {"name": list(edit.before.names), "to": list(edit.to)}
    columns["class_as_asked"] = probabilities(model, last).argmax(1) == to
    columns["class_before"] = [model.names[k] for k in probabilities(model, first).argmax(1)]
    scores = [_share("class as asked", columns["class_as_asked"])]
    for judge in judges:
        columns[f"{judge.name}_kept"] = judge.kept(judge.measure(first), judge.measure(last))
        scores.append(_share(f"{judge.name} kept", columns[f"{judge.name}_kept"]))
    origin = edit.space.loaded.provenance()["data"]
    data = real_at(origin)
    if data is not None:
        split = str(origin.get("split_name") or "default")
        extractor = domain_extractor(data, split)
        val, train = (data.part(part, split, purpose="score") for part in ("val", "train"))
        scores += (realism := _realism(val, train, first, last, extractor))
        if not realism:
            warn(
                f"{edit.path}: no FD and KID of {plural(len(last), 'image')} and {len(val)} real val images; "
                f"each side needs more than {NEIGHBOURS_DENSITY}."
            )
        columns |= smoothness(edit, extractor, how.frames)
        for name in ("path_length", "longest_step", "ppl"):
            scores.append(_mean(name.replace("_", " "), columns[name]))
    if how.cycle:
        moved = _moved(edit)
        for name, errors in zip(("cycle_mse", "edit_mse"), _cycle(edit, first, last)):
            columns[name] = np.where(moved, errors, np.nan)  # There and back is no way where nothing moved.
        scores += [_mean("cycle error (mse)", columns["cycle_mse"]), _mean("edit (mse)", columns["edit_mse"])]
    return [dict(zip(columns, row)) for row in zip(*columns.values())], scores


def smoothness(edit: EditPairs, extractor: Extractor, frames: int) -> dict[str, Floats]:
    """How evenly features move on the way from before to after, N each.

    Returns:
        `path_length`: of the way in features over the distance of its ends, 1 where it is straight;
        `longest_step`: the longest of its steps over their mean, 1 where it is even; `ppl`: mean of the
        squared step over the squared share ε of the way it takes, 1 / (frames − 1). This is perceptual path
        length (Karras et al. 2019) along the edit in place of the prior, with domain features in place of
        VGG's, and with this ε in place of 1e-4, at which whole grey levels would be all that moves: it is no
        more than with a smaller ε, and compares edits scored with the same --frames. nan where nothing moves.
    """
    made = [
        extractor(edit.space.images(points)).astype(np.float64)
        for points in path_between(edit.before, edit.after, frames)
    ]
    steps = np.linalg.norm(np.diff(np.stack(made), axis=0), axis=2)
    direct = np.linalg.norm(made[-1] - made[0], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "path_length": np.where(direct > 0, steps.sum(0) / direct, np.nan),
            "longest_step": np.where(steps.mean(0) > 0, steps.max(0) / steps.mean(0), np.nan),
            "ppl": np.where(steps.any(0), np.mean((steps * (frames - 1)) ** 2, axis=0), np.nan),
        }


def _realism(val: Any, train: Any, first: Pixels, last: Pixels, extractor: Extractor) -> list[dict[str, Any]]:
    """Feature distances of the images before and after to real val images, with that of real train images."""
    real = extractor(val.images())
    n = len(last)
    if not enough_rows(len(real), n):
        return []
    rows = np.unique(np.linspace(0, len(train) - 1, n).round().astype(np.int64))
    baseline, found = extractor(train.images(rows)), []
    for title, images in (("before", first), ("after", last)):
        for score in compare(real, extractor(images), groups=val.groups, baseline=baseline):
            if score.name.startswith(("FD", "KID")):
                found.append(
                    {
                        "measure": f"{score.name} {title}", "value": score.value, "low": score.low,
                        "high": score.high, "n": n, "real images": score.baseline,
                    }
                )  # fmt: skip
    return found


def _cycle(edit: EditPairs, first: Pixels, last: Pixels) -> tuple[Floats, Floats]:
    """Mean squared error (pixels in [0, 1]) of going there and back, and of going there, N each."""
    if edit.by is None:
        back = edit.after.replaced(y=edit.before.y)
        images = edit.space.images(back)
    else:
        model = reopened(edit.by, edit.space.network.channels)
        images = np.empty_like(first)
        were = probabilities(model, first).argmax(1)
        for code in np.unique(were):
            rows = np.flatnonzero(were == code)
            how = CounterfactualOptions(to=model.names[code], starts=1)
            images[rows] = find_counterfactuals(edit.space, edit.after[rows], model, how).images[1]
    return _mse(first, images), _mse(first, last)


def _moved(edit: EditPairs) -> NDArray[np.bool_]:
    """Whether latents or label of each image changed, N."""
    changed = (edit.before.values != edit.after.values).reshape(len(edit.to), -1).any(1)
    if edit.before.y is not None and edit.after.y is not None:
        changed |= (edit.before.y != edit.after.y).any(1)
    return np.asarray(changed)


def _mse(a: Pixels, b: Pixels) -> Floats:
    return np.asarray((((a.astype(np.float64) - b) / 255) ** 2).mean((1, 2, 3)))


def _share(measure: str, good: Any) -> dict[str, Any]:
    good = np.asarray(good, bool)
    return _row(measure, wilson_interval(int(good.sum()), len(good)), len(good))


def _mean(measure: str, values: Any) -> dict[str, Any]:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"measure": measure, "value": None, "low": None, "high": None, "n": 0}
    found = bootstrap_interval(lambda w: (w * values).sum(1) / w.sum(1), len(values))
    return _row(measure, found, len(values))


def _row(measure: str, interval: Interval, n: int) -> dict[str, Any]:
    return {"measure": measure, **interval._asdict(), "n": n}
