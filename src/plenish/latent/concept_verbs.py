"""What the verbs of concepts do: learn, show, measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError, unknown
from plenish.latent import concepts
from plenish.latent.attributes import (
    Reader,
    ReadingConfig,
    class_reader,
    column_reader,
    readable_columns,
)
from plenish.latent.concept_effects import FIRST_SEED, ClassReader, Effect, Judges, measure_effect
from plenish.latent.concept_learning import (
    Kept,
    column_directions,
    default_space,
    learn,
    learn_from_values,
)
from plenish.latent.concept_options import EffectOptions, JudgeOptions, LearnOptions
from plenish.latent.concepts import Concept
from plenish.latent.edits import Edit, write_edit
from plenish.latent.held_options import HeldOptions
from plenish.latent.holding import concepts_added, open_held
from plenish.latent.path_edits import images_of_ways, tell_shown
from plenish.latent.points import Points, Space
from plenish.latent.render import FILMED, SHOWN, FilmOptions, Row, figure, film_beside
from plenish.latent.selection import example_points, load_space
from plenish.latent.space import LatentSpace
from plenish.metrics.features import domain_extractor
from plenish.metrics.scorers import open_scorer
from plenish.wording import signed

Floats = NDArray[np.float64]
CLASS = "class"
"""The name in --keep-columns for the class of an image."""


def learn_concept(
    run: Path, name: str, having: Sequence[str], lacking: Sequence[str], how: LearnOptions, by: JudgeOptions
) -> Concept:
    """Learn a concept and keep it in the Run.

    Args:
        run: the generator's Run.
        name: of the concept.
        having: examples with it, see `example_points`.
        lacking: examples without.
        how: the options.
        by: what reads images, for `how.column`.

    Raises:
        InputError: what is asked for does not fit together or cannot be had.
    """
    concepts.check_name(name)
    if name in concepts.names(run) and not how.replace:
        raise InputError(f"{run} has a concept '{name}' already; choose another name, or give --replace.")
    space = load_space(run, how)
    of = how.space or default_space(space)
    kept = Kept(
        [concepts.load(space, other) for other in how.keep or []], how.keep_label,
        _directions_read(space, how, by, of) if how.keep_columns else {},
    )  # fmt: skip
    if how.column is not None:
        if having or lacking:
            raise InputError(
                "--column learns from a column, and --with and --without from examples; give one."
            )
        points = _read_points(space, how)
        values, about = _values(space, space.images(points), how.column, by)
        made = learn_from_values(space, name, points, values, of=of, kept=kept, facts=about)
    else:
        sides = [
            example_points(space, words, option, data=how.data, label=how.label, of=of)
            for words, option in ((having, "--with"), (lacking, "--without"))
        ]
        facts = {"examples": {"with": list(sides[0].names), "without": list(sides[1].names)}}
        made = learn(space, name, *sides, method=how.method, of=of, kept=kept, facts=facts)
    concepts.keep(run, made, replace=how.replace)
    return made


def _read_points(space: LatentSpace, how: LearnOptions) -> Points:
    y = None if how.label is None else space.label(how.label)
    return space.draw(range(how.seed, how.seed + how.images), y)


def _directions_read(space: LatentSpace, how: LearnOptions, by: JudgeOptions, of: Space) -> dict[str, Floats]:
    """Directions of --keep-columns.

    Raises:
        InputError: there is nothing that reads them, or no such column.
    """
    names = list(dict.fromkeys(how.keep_columns or []))
    columns = [name for name in names if name != CLASS]
    if by.truth is None and (columns or by.classifier is None):
        raise InputError("--keep-columns needs --from, a Dataset with them, or --classifier for 'class'.")
    data = None if by.truth is None else Dataset.open(by.truth)
    points = _read_points(space, how)
    images, values = space.images(points), dict[str, Floats]()
    if CLASS in names:
        tell: ClassReader
        if by.classifier is not None:
            tell = _classifier(by.classifier, space)
        else:
            assert data is not None
            tell = class_reader(data, by.split)
        values |= class_log_odds(tell(images))
    if columns:
        assert data is not None
        reader = column_reader(data, columns, by.split)
        values |= column_values(reader, images)
    return column_directions(space, points, values, of)


def class_log_odds(chances: Mapping[str, Floats]) -> dict[str, Floats]:
    """Log-odds of each class but the first, by `class NAME`, for regressions."""
    return {f"{CLASS} {name}": log_odds(p) for name, p in list(chances.items())[1:]}


def column_values(reader: Reader, images: NDArray[np.uint8]) -> dict[str, Floats]:
    """What is read of each column, by name: numbers, or log-odds of yes, for regressions."""
    found = reader(images)
    return {t.name: log_odds(found[t.name]) if t.kind == "flag" else found[t.name] for t in reader.targets}


def log_odds(p: Floats) -> Floats:
    """Log-odds of probabilities, within ±9.2."""
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(p / (1 - p)))


def _values(
    space: LatentSpace, images: NDArray[np.uint8], column: str, by: JudgeOptions
) -> tuple[Floats, dict[str, Any]]:
    """What is read off images for a column or a class, and the facts of what read it."""
    if by.truth is None and by.classifier is None:
        raise InputError("--column needs --from, a Dataset with that column, or --classifier for a class.")
    if by.classifier is not None:
        classes = _classifier(by.classifier, space)
        if column in classes.names:
            return classes(images)[column], {"column": column, "classifier": classes.run_id}
        if by.truth is None:
            raise unknown(f"class of {by.classifier}:", column, classes.names)
    assert by.truth is not None
    data = Dataset.open(by.truth)
    if data.labels.kind == "categorical" and column in data.labels.names:
        reader = class_reader(data, by.split)
    else:
        reader = column_reader(data, [column], by.split)
    return reader(images)[column], {
        "column": column,
        "check": reader.checks[column],
        "data": data.provenance(by.split),
    }


@dataclasses.dataclass(frozen=True)
class _Classifier:
    """A classifier's Run as what tells classes: probabilities by class."""

    run_id: str
    score: Any
    names: tuple[str, ...]

    def __call__(self, images: NDArray[np.uint8]) -> Mapping[str, Floats]:
        found = self.score(images)
        return {name: found[f"p_{name}"] for name in self.names}


def _classifier(run: Path, space: LatentSpace) -> _Classifier:
    scorer = open_scorer([run])
    if not scorer.classes:
        raise InputError(f"--classifier {run} is no classifier; 'plenish train classifier' makes one.")
    if (scorer.size, scorer.channels) != (space.network.size, space.network.channels):
        raise InputError(
            f"--classifier {run} takes images of {scorer.size} pixels and {scorer.channels} channels, and "
            f"this generator makes {space.network.size} and {space.network.channels}."
        )
    return _Classifier(str(scorer.models[0]["run_id"]), scorer, scorer.classes)


def judges(space: LatentSpace, options: EffectOptions) -> Judges:
    """What reads edited images, from the options.

    Raises:
        InputError: neither a Dataset nor a classifier is given, or they do not fit.
    """
    if options.truth is None and options.classifier is None:
        raise InputError(
            "An effect needs --from, a Dataset with the truth in its table, or --classifier, or both."
        )
    classes = None if options.classifier is None else _classifier(options.classifier, space)
    if options.truth is None:
        return Judges(None, classes, None)
    data = Dataset.open(options.truth)
    by_class = classes is not None and not options.columns and options.target is None
    reader = None
    if not by_class or readable_columns(data):  # A classifier tells something where no column does.
        reader = column_reader(data, options.columns, options.split)
    if classes is None and data.labels.kind == "categorical":
        return Judges(
            reader, class_reader(data, options.split, ReadingConfig(seed=1)),
            domain_extractor(data, options.split) if options.features else None,
        )  # fmt: skip
    return Judges(reader, classes, domain_extractor(data, options.split) if options.features else None)


def weighted(space: LatentSpace, words: Sequence[str]) -> list[tuple[Concept, float]]:
    """Concepts by name, each with a weight where one is given: `lumen`, `atypia=-0.5`.

    Raises:
        InputError: an unknown name, a weight that is no number, or a name twice.
    """
    found: dict[str, tuple[Concept, float]] = {}
    for word in words:
        name, _, weight = word.partition("=")
        try:
            value = float(weight or 1)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise InputError(f"'{weight}' of '{word}' is no weight; write a number, such as {name}=-0.5.")
        if name in found:
            raise InputError(f"The concept '{name}' is named twice; name it once, with its weight.")
        found[name] = concepts.load(space, name), value
    return list(found.values())


def concept_effect(
    run: Path, words: Sequence[str], how: Any, options: EffectOptions, keeping: HeldOptions = HeldOptions()
) -> Effect:
    """Measure what concepts of a Run do to fresh images.

    Raises:
        InputError: unknown concepts, nothing that reads images, or a classifier that is held and judges.
    """
    space = load_space(run, how)
    amounts = weighted(space, words)
    label = None if options.label is None else space.label(options.label)
    space.draw([FIRST_SEED], label)  # A label that is missing is told before networks are trained.
    judge = options.classifier
    if judge is not None and judge.resolve() in [run.resolve() for run in keeping.keep_class or []]:
        raise InputError(
            f"--keep-class holds what {judge} says, so that it cannot judge whether the class keeps; give "
            "another --classifier."
        )
    return measure_effect(
        space, amounts, options.strength, judges(space, options), target=options.target, n=options.n,
        label=label, held=open_held(space, keeping),
    )  # fmt: skip


def edit_concept(
    space: LatentSpace, points: Points, words: Sequence[str], strengths: Sequence[float], out: Path,
    options: FilmOptions, keeping: HeldOptions = HeldOptions(),
) -> Edit:  # fmt: skip
    """Write points with concepts at several strengths: a row for each point, and a film of the way.

    Raises:
        InputError: unknown concepts, no strength, what is to be kept does not fit, or OUT exists.
    """
    if not strengths or not np.isfinite(strengths).all():
        raise InputError("--strength takes finite numbers, such as -2 -1 0 1 2.")
    amounts, held = weighted(space, words), open_held(space, keeping)
    tell_shown(len(points), filmed=FILMED)
    columns, kept = concepts_added(space, points, amounts, strengths, held)
    images = images_of_ways(space, [column[:SHOWN] for column in columns])
    captions = [", ".join(f"{c.name} {signed(s * weight)}" for c, weight in amounts) for s in strengths]
    rows = [Row(name, images[:, i], captions) for i, name in enumerate(points.names[:SHOWN])]
    way = [float(s) for s in np.linspace(strengths[0], strengths[-1], options.frames)]
    moved, _ = concepts_added(space, points[:FILMED], amounts, way, held)
    film = film_beside(images_of_ways(space, moved), options)
    made = Points.joined([column[[i]] for i in range(len(points)) for column in columns])
    result = {
        "concepts": {concept.name: weight for concept, weight in amounts}, "strengths": list(strengths),
        "vectors_sha256": {concept.name: concept.hash for concept, _ in amounts},
    }  # fmt: skip
    if held is not None:
        result["held"] = dict(held.facts) | {"at_strengths": kept}
    return write_edit(out, space, made, figure(rows), result=result, film=film, film_format=options.film)
