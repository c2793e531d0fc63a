"""Who answers in an attack on latents: the classifier attacked, the judge, and an auxiliary classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.latent.judges import Judge, class_judge, classifier_facts, judge_of_run, open_classifier
from plenish.latent.sampling import refuse_leaks
from plenish.latent.space import LatentSpace
from plenish.metrics.origin import check_origin, real_at
from plenish.robustness.latent_attack_options import LatentAttackOptions
from plenish.runs import Run
from plenish.training.classifier_model import Classifier

_JUDGE_SEED = 1
"""Of the small network that judges by default; not that of readers that other verbs train."""


@dataclasses.dataclass(frozen=True)
class LatentAttackModels:
    """Who answers; classes are numbered as the generator does.

    Attributes:
        victim: the classifier that is attacked.
        judge: who decides whether an image still shows its class.
        auxiliary: who must go on seeing the class during the search; or None.
        about: what a record keeps of each, by name.
    """

    victim: Classifier
    judge: Judge
    auxiliary: Classifier | None
    about: Mapping[str, Mapping[str, Any]]


def open_models(space: LatentSpace, classifier: Path, how: LatentAttackOptions) -> LatentAttackModels:
    """Open and check the classifier, the judge and the auxiliary classifier.

    Raises:
        InputError: the generator has no classes or was trained on other rows than train; a classifier has
            other classes or channels, or was trained on another Dataset or split; or the judge is the
            classifier itself.
    """
    labels = space.require_labels("An attack on latents", "categorical")
    refuse_leaks(space.loaded.run)
    channels = space.network.channels
    about: dict[str, Mapping[str, Any]] = {}

    def opened(what: str, path: Path) -> Classifier:
        model = open_classifier(path, channels)
        _check_classes(space, model.names, path, model.kind)
        _check_origin(space, path, what)
        about[what] = classifier_facts(path)
        return model

    victim = opened("classifier", classifier)
    auxiliary = None if how.auxiliary is None else opened("auxiliary", how.auxiliary)
    data = space.loaded.run.config["data"]
    if how.judge is not None:
        opened("judge", how.judge)
        judge = judge_of_run("judge", how.judge, channels)
    else:
        real = real_at(data)
        if real is None:
            raise InputError(
                f"The training images of {space.loaded.run.path} are not at {data.get('path')} any more, so "
                "no judge can be trained on them; give --judge RUN."
            )
        judge = class_judge("judge", real, str(data.get("split_name", "default")), seed=_JUDGE_SEED)
        about["judge"] = judge.about
    weights = about["judge"]["weights_sha256"]
    for what in ("classifier", "auxiliary"):
        if what in about and about[what]["weights_sha256"] == weights:
            raise InputError(
                f"The judge is the {what} itself; give --judge a Run of another seed or architecture."
            )
    order = [judge.classes.index(name) for name in labels.names]
    measure = judge.measure
    judge = dataclasses.replace(judge, classes=labels.names, measure=lambda images: measure(images)[:, order])
    return LatentAttackModels(victim, judge, auxiliary, about)


def _check_classes(space: LatentSpace, names: Sequence[str], path: Path, kind: str) -> None:
    mine = space.labels.names
    if kind != "categorical" or set(names) != set(mine):
        raise InputError(
            f"{path} tells {', '.join(names)} and the generator makes {', '.join(mine)}; both need the same "
            "classes, one for each image."
        )


def _check_origin(space: LatentSpace, path: Path, what: str) -> None:
    """Refuse a classifier that was trained on another Dataset or split than the generator."""
    mine, theirs = space.loaded.run.config["data"], Run.open(path).config["data"]
    real = real_at(mine)
    if real is not None:
        check_origin(theirs, real, str(mine["split_name"]), f"The {what} in {path}")
    elif any(theirs.get(key) != mine.get(key) for key in ("pixels_hash", "table_hash", "split_hash")):
        raise InputError(
            f"The {what} in {path} was trained on another Dataset or split than {space.loaded.run.path}; "
            "give Runs of one split."
        )
