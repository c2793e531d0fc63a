"""Does a concept learnt from 20 + 20 generated images add what it names, and leave the class as it is?

    PYTHONPATH=src python -m benchmarks.latent_concepts DATA RUN… --out FILE

DATA is the phantom the generators were trained on. A first network that reads lumen off images, trained on
the truth, picks the examples (the 10 highest and 10 lowest of each class of 400 images) and the strength; a
second one, trained with another seed on the same patients, judges fresh images, and a network for the
classes, which never saw a generated image, says whether the class keeps. All are checked on held-out
patients. Seeds, strengths and thresholds were fixed before any result was seen. --keep-label, which makes the
concept orthogonal to the classes' means in w, was added after the first results, and is measured on other
fresh images. So was --keep-columns, which makes it orthogonal to the directions along which the class and
columns grow: they are read off further generated images, columns by the first network and the class by
--classifier. Neither judges the fresh images. Of --independent, another classifier's Run, it is said beside
the rest in how many images it keeps its class, over eight orientations, and in how many a mirrored image has
the class of the image for it: what it cannot be sure of itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.race import describe_machine
from plenish import files, settings
from plenish.datasets.dataset import Dataset
from plenish.latent.attributes import Reader, ReadingConfig, class_reader, column_reader
from plenish.latent.concept_effects import FIRST_SEED, Judges, measure_effect
from plenish.latent.concept_learning import (
    Kept,
    Method,
    column_directions,
    default_space,
    in_space,
    learn,
)
from plenish.latent.concept_verbs import CLASS, class_log_odds, column_values
from plenish.latent.concepts import Concept, move
from plenish.latent.judges import open_classifier, probabilities
from plenish.latent.points import Points, Space
from plenish.latent.space import LatentSpace
from plenish.metrics.statistics import wilson_interval
from plenish.training.classifier_model import Classifier
from plenish.training.engine import Engine

POOL, EXAMPLES = range(400), 10
DEVELOPMENT = range(500_000, 500_200)
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 3.0)
FRESH = 500
KEPT_FIRST, COLUMNS_FIRST = 2_000_000, 5_000_000
"""First seeds of the fresh images of --keep-label and of --keep-columns."""
READ = range(10_000, 12_000)
"""Seeds of the images that --keep-columns reads."""
PICKER, JUDGE, CLASSES = ReadingConfig(seed=101), ReadingConfig(seed=202), ReadingConfig(seed=303)
WANTED = 0.95
"""Share of the development images without lumen that the chosen strength must give one, by the picker."""
BAR = 0.9
METHODS: tuple[Method, ...] = ("mean", "svm")


def examples(space: LatentSpace, picker: Reader) -> tuple[Points, Points]:
    """The points with the most lumen and with the least, as many of each class."""
    points = space.draw(POOL)
    lumen = picker(space.images(points))["lumen"]
    assert points.y is not None
    codes, high, low = points.y.argmax(1), list[int](), list[int]()
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        order = rows[np.argsort(lumen[rows], kind="stable")]
        low += order[:EXAMPLES].tolist()
        high += order[-EXAMPLES:].tolist()
    return points[high], points[low]


def gained(reader: Reader, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[int, int]:
    """Of the images without lumen, how many have it afterwards, and how many there were."""
    lacking = reader(before)["has_lumen"] < 0.5
    return int((reader(after)["has_lumen"][lacking] >= 0.5).sum()), int(lacking.sum())


def chosen_strength(space: LatentSpace, concept: Concept, picker: Reader) -> float:
    """The smallest strength that gives enough development images a lumen; the largest where none does."""
    points = space.draw(DEVELOPMENT)
    before = space.images(points)
    for strength in STRENGTHS:
        count, n = gained(picker, before, space.images(move(space, points, [(concept, strength)])))
        if count >= WANTED * n:
            return strength
    return STRENGTHS[-1]


def directions_read(
    space: LatentSpace, names: list[str], picker: Reader, classes: list[Classifier], of: Space
) -> dict[str, NDArray[np.float64]]:
    """Directions of --keep-columns, as `plenish concept learn` takes them."""
    points = space.draw(READ)
    images = space.images(points)
    values = {name: read for name, read in column_values(picker, images).items() if name in names}
    for k, model in enumerate(classes if CLASS in names else []):
        chances = dict(zip(model.names, probabilities(model, images).T, strict=True))
        values |= {f"{name} by {k}": read for name, read in class_log_odds(chances).items()}
    return column_directions(space, points, values, of)


def kept_by_another(
    space: LatentSpace, concept: Concept, strength: float, points: Points, other: Classifier
) -> dict[str, Any]:
    """What an independent classifier says of the class, before and after, over all orientations."""

    def said(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        views = [np.rot90(side, k, (1, 2)) for side in (images, images[:, :, ::-1]) for k in range(4)]
        return np.asarray(np.mean([probabilities(other, view) for view in views], 0).argmax(1))

    before = space.images(points)
    after = space.images(move(space, points, [(concept, strength)]))
    one, mirrored = (probabilities(other, x).argmax(1) for x in (before, before[:, :, ::-1]))
    good = {"keeps": said(before) == said(after), "mirrored_agrees": one == mirrored}
    return {key: wilson_interval(int(x.sum()), len(x))._asdict() for key, x in good.items()}


def one(
    run: Path, picker: Reader, judges: Judges, asked: argparse.Namespace, classes: list[Classifier],
    others: list[Classifier],
) -> list[dict[str, Any]]:  # fmt: skip
    """Results of a generator, one for each way of learning."""
    space, keep_label, columns = LatentSpace(run, asked.checkpoint), asked.keep_label, asked.keep_columns
    of, (high, low) = default_space(space), examples(space, picker)
    sides = in_space(space, high, of), in_space(space, low, of)
    first = COLUMNS_FIRST if columns else KEPT_FIRST
    fresh = space.draw(range(first, first + FRESH)) if keep_label or columns else None
    judged = fresh if fresh is not None else space.draw(range(FIRST_SEED, FIRST_SEED + FRESH))
    read = directions_read(space, columns, picker, classes, of) if columns else {}
    found = []
    for method in METHODS:
        made = learn(space, "lumen", *sides, method=method, kept=Kept(label=keep_label, read=read))
        strength = chosen_strength(space, made, picker)
        levels = sorted({*STRENGTHS, strength})
        effect = measure_effect(
            space, [(made, 1.0)], levels, judges, target="has_lumen", n=FRESH, points=fresh
        )
        at = next(level for level in effect.facts["strengths"] if level["strength"] == strength)["changes"]
        adds, keeps = at["has_lumen"].get("gained"), at["class"]
        found.append(
            {
                "run": run.name, "family": space.family, "checkpoint": space.loaded.checkpoint.name,
                "space": of, "method": method,
                "keep_label": keep_label, "keep_columns": columns,
                "class_read_by": len(classes), "scale": made.scale, "strength": strength,
                "adds_lumen": adds, "lumen_rises": at["lumen"]["rises"], "class_keeps": keeps,
                "independent": [
                    kept_by_another(space, made, strength, judged, other) for other in others
                ],
                "bar_met": bool(adds and adds["value"] >= BAR and keeps["value"] >= BAR),
                "as_asked": as_asked(space, judges),
                "effect": [
                    {"strength": level["strength"], **level["changes"]} for level in effect.facts["strengths"]
                ],
            }
        )  # fmt: skip
        print(run.name, method, strength, adds, keeps, file=sys.stderr, flush=True)
    return found


def as_asked(space: LatentSpace, judges: Judges) -> dict[str, float]:
    """Share of unedited images that the network for classes gives the class that was asked for."""
    points = space.draw(DEVELOPMENT)
    assert judges.classes is not None
    assert points.y is not None
    said = np.stack([judges.classes(space.images(points))[name] for name in space.labels.names], 1)
    return wilson_interval(int((said.argmax(1) == points.y.argmax(1)).sum()), len(points))._asdict()


def main() -> None:
    """Measure all Runs and write the result file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--keep-label", action="store_true")
    parser.add_argument("--keep-columns", nargs="+", default=[])
    parser.add_argument(
        "--classifier", type=Path, nargs="+", default=[], help="read the class for --keep-columns"
    )
    parser.add_argument(
        "--independent", type=Path, nargs="+", default=[], help="says whether the class keeps"
    )
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    if asked.keep_columns and not asked.classifier:
        parser.error("--keep-columns needs --classifier")
    begun = time.time()
    with settings.use(threads=1):
        data = Dataset.open(asked.data)
        read = None if asked.keep_columns else ["lumen", "has_lumen"]
        picker = column_reader(data, read, config=PICKER)
        others = [open_classifier(run, data.channels) for run in asked.independent]
        classes = [open_classifier(run, data.channels) for run in asked.classifier]
        judges = Judges(column_reader(data, config=JUDGE), class_reader(data, config=CLASSES))
        assert judges.columns is not None
        results = [row for run in asked.runs for row in one(run, picker, judges, asked, classes, others)]
        report = {
            "command": "python -m benchmarks.latent_concepts DATA RUN… --out FILE",
            "machine": describe_machine(Engine.from_settings()), "seconds": round(time.time() - begun),
            "data": {"name": data.name, "images": len(data), "size": data.size},
            "picker": dict(picker.checks), "judge": dict(judges.columns.checks),
            "classes": dict(judges.classes.checks), "bar": BAR, "results": results,  # type: ignore[union-attr]
        }  # fmt: skip
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(asked.out, report)
    print(
        json.dumps(
            [{k: v for k, v in row.items() if k != "effect"} for row in results], indent=1, default=str
        )
    )


if __name__ == "__main__":
    main()
