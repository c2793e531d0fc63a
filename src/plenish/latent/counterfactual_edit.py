"""`plenish edit counterfactual`: what it measures and writes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plenish.errors import InputError
from plenish.latent.counterfactual import (
    Counterfactuals,
    find_counterfactuals,
    path_between,
)
from plenish.latent.counterfactual_options import CounterfactualOptions
from plenish.latent.edits import Edit, write_edit
from plenish.latent.judges import Floats, Judge, open_judges, open_mixed
from plenish.latent.points import Points
from plenish.latent.render import FilmOptions, Row, amplified_difference, figure, film_beside
from plenish.latent.space import LatentSpace
from plenish.latent.starting import Start
from plenish.metrics.extractor import Extractor
from plenish.metrics.features import domain_extractor
from plenish.metrics.origin import real_at
from plenish.progress import say, warn
from plenish.training.classifier_model import Classifier
from plenish.wording import agree, significant

TABLE = "changes.csv"
_SHOWN, _FILMED = 12, 6
"""Images of the picture and of the film, at most; all are in the table."""


class CounterfactualEdit(Edit):
    """Counterfactuals that were written."""

    def summary(self) -> dict[str, Any]:
        """The files, how many turned, and what else changed."""
        result = self.facts["result"]
        found = {name: str(self.path / file) for name, file in self.facts["files"].items()}
        kept = ("asked", "turned", "already", "confidence", "median_change", "what_else")
        return {"edit": str(self.path), **found, "table": str(self.path / TABLE)} | {
            key: result[key] for key in kept
        }


def counterfactual(
    space: LatentSpace, start: Start, classifiers: Sequence[Path], out: Path, how: CounterfactualOptions,
    shown: FilmOptions,
) -> CounterfactualEdit:  # fmt: skip
    """Find counterfactuals, measure what else changed, and write picture, film, table and record.

    Args:
        space: the generator.
        start: the images.
        classifiers: Run of the classifier to turn; of several, their calibrated mixture is turned.
        out: the folder; must not exist.
        how: the class, the confidence, the search, and the judges.
        shown: the film.

    Raises:
        InputError: a Run, class or judge does not fit, all images are of the class already, or OUT exists.
    """
    model, facts = open_mixed(classifiers, space.network.channels)
    judges = open_judges(how.judge or [], space.network.channels)
    found = find_counterfactuals(space, start.points, model, how)
    already = _without_already(found, model, classifiers[0], how)
    asked = np.flatnonzero(~found.already)
    found, start = found[asked], start[asked]
    turned = Turned(found, start, model, facts, judges, features_of(space))
    if failed := int((~found.turned).sum()):
        warn(f"{agree(failed, 'image', 'was', 'were')} not turned; {TABLE} says which.")
    result = turned.result(how) | {"already": already}
    made = turned.write(out, space, result, shown)
    return CounterfactualEdit(made.path, made.facts)


@dataclasses.dataclass(frozen=True)
class Turned:
    """Counterfactuals, and all that is measured of them.

    Attributes:
        found: N counterfactuals.
        start: the same images.
        model: the classifier that was turned.
        classifier: what a record keeps of it.
        judges: what measures other attributes.
        features: whose distances say how far images were moved; or None.
    """

    found: Counterfactuals
    start: Start
    model: Classifier
    classifier: Mapping[str, Any]
    judges: Sequence[Judge]
    features: Extractor | None

    @functools.cached_property
    def measured(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """A row an image, and a row for each thing that may have changed with the class."""
        return measured(self.found, self.start, self.judges, self.model, self.features)

    def result(self, how: CounterfactualOptions) -> dict[str, Any]:
        """What the record says of them."""
        found, n = self.found, len(self.found.to)
        change, (rows, what_else) = found.change[found.turned], self.measured
        return {
            "asked": n, "turned": int(found.turned.sum()), "confidence": how.confidence,
            "median_change": significant(float(np.median(change))) if len(change) else None,
            "what_else": what_else, "evaluations": found.evaluations,
            "inverted": self.start.about, "label": "kept" if found.label_change is None else "free",
            "classifier": {**self.classifier, "classes": list(self.model.names)},
            "judges": [{"name": judge.name, **judge.about} for judge in self.judges],
            "pairs": [[i, n + i] for i in range(n)], "to": [self.model.names[k] for k in found.to],
            "images": rows,
        }  # fmt: skip

    def write(
        self, out: Path, space: LatentSpace, result: Mapping[str, Any], shown: FilmOptions,
        more: Mapping[str, bytes] = {},
    ) -> Edit:  # fmt: skip
        """Write picture, film, table and record, and further files."""
        found = self.found
        after = found.after.replaced(names=[f"{name} turned" for name in found.after.names])
        table = pd.DataFrame(self.measured[0]).to_csv(index=False, lineterminator="\r\n").encode()
        return write_edit(
            out, space, Points.joined([found.before, after]), picture(found, self.start, self.model),
            result=result, film=_film(space, found, shown), film_format=shown.film,
            more={TABLE: table, **more},
        )  # fmt: skip


def _without_already(
    found: Counterfactuals, model: Classifier, classifier: Path, how: CounterfactualOptions
) -> list[str]:
    """Names of the images that are of the class already, which is said."""
    names = [found.before.names[row] for row in np.flatnonzero(found.already)]
    if names:
        classes = " or ".join(sorted({model.names[k] for k in found.to[found.already]}))
        about = f"already {classes} with at least {how.confidence:g} by {classifier}"
        if found.already.all():
            raise InputError(
                f"All {len(names)} images are {about}, so that there is nothing to turn; give another --to "
                "or other images."
            )
        say(f"{agree(len(names), 'image', 'is', 'are')} {about} and left out: {', '.join(names[:8])}.")
    return names


def features_of(space: LatentSpace) -> Extractor | None:
    """The domain features of the generator's training data, where that is still there."""
    origin = space.loaded.provenance()["data"]
    data = real_at(origin)
    return None if data is None else domain_extractor(data, str(origin.get("split_name") or "default"))


def measured(
    found: Counterfactuals, start: Start, judges: Sequence[Judge], model: Classifier,
    features: Extractor | None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """A row an image, and a row for each thing that may have changed with the class.

    Args:
        found: N counterfactuals.
        start: the same images.
        judges: what measures other attributes.
        model: the classifier.
        features: whose distances say how far images were moved.
    """
    first, last = found.images
    rows: list[dict[str, Any]] = [
        {
            "name": found.before.names[i], "to": model.names[found.to[i]], "turned": bool(found.turned[i]),
            "p_before": float(found.chances[0][i]), "p_after": float(found.chances[1][i]),
            "change": float(found.change[i]), "typical_before": float(found.typical[0][i]),
            "typical_after": float(found.typical[1][i]),
        }
        for i in range(len(found.to))
    ]  # fmt: skip
    columns: dict[str, Sequence[Any]] = {}
    if found.label_change is not None:
        columns["label_change"] = found.label_change.tolist()
    if start.error is not None:
        columns["inversion_mse"] = start.error.tolist()
    off = first.astype(np.float64) - last
    columns["pixels"] = np.abs(off).mean((1, 2, 3)).tolist()
    what_else = [{"what": "pixels (grey levels)", "median change": _median(columns["pixels"])}]
    if features is not None:
        distance = np.linalg.norm(features(first).astype(np.float64) - features(last), axis=1)
        columns["features"] = distance.tolist()
        what_else.append({"what": "domain features (distance)", "median change": _median(distance)})
    for judge in judges:
        before, after = judge.measure(first), judge.measure(last)
        kept, within = judge.kept(before, after), judge.within_error(before, after)
        columns[f"{judge.name}_before"] = judge.shown(before)
        columns[f"{judge.name}_after"] = judge.shown(after)
        columns[f"{judge.name}_kept"] = kept.tolist()
        row: dict[str, Any] = {"what": judge.name, "kept": significant(float(kept.mean()))}
        if within is not None:
            row |= {
                "median change": _median(np.abs(after - before)), "one sd": significant(judge.spread),
                "own error": significant(judge.error), "within error": significant(float(within.mean())),
            }  # fmt: skip
        what_else.append(row)
    for i, row in enumerate(rows):
        row |= {key: values[i] for key, values in columns.items()}
    return rows, what_else


def _median(values: Sequence[float] | Floats) -> float:
    return significant(float(np.median(values)))


def picture(found: Counterfactuals, start: Start, model: Classifier) -> Any:
    """Rows of originals, where there are, inversions, results and differences."""
    some = np.arange(min(_SHOWN, len(found.to)))
    first, last = (images[some] for images in found.images)
    words = [[f"{model.names[found.to[i]]} {p[i]:.2f}" for i in some] for p in found.chances]
    rows = [] if start.originals is None else [Row("original", start.originals[some])]
    rows.append(Row("before" if start.originals is None else "inversion", first, words[0]))
    rows.append(Row("after", last, words[1]))
    difference, factor = amplified_difference(first, last)
    moved = [f"{found.change[i]:.2g} sd" if found.turned[i] else "not turned" for i in some]
    rows.append(Row(f"difference × {factor:g}", difference, moved))
    return figure(rows)


def _film(space: LatentSpace, found: Counterfactuals, shown: FilmOptions) -> bytes:
    """The way from before to after and back, some images side by side."""
    some = np.arange(min(_FILMED, len(found.to)))
    way = path_between(found.before[some], found.after[some], shown.frames)
    return film_beside(np.stack([space.images(points) for points in way]), shown)
