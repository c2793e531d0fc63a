"""`plenish train classifier`: a classifier by itself, kept in a Run, with what it says of val and test."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plenish import files, settings
from plenish.commands.request import completed, training
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.reads import unrecorded
from plenish.datasets.show import png
from plenish.domains import choose_domain
from plenish.errors import InputError
from plenish.invocation import command
from plenish.progress import plain_duration, say, warn
from plenish.runs import Run
from plenish.training.classifier_columns import Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing import check_enough, pretend_synthetic
from plenish.training.drawing_preview import Preview, first_batches, preview
from plenish.wording import Sentences


@command("train classifier")
def train_classifier_run(
    data: Path, run: Path, *, split: str = "default", how: ClassifierConfig = ClassifierConfig(),
    synthetic: Path | None = None, test: bool = False, retry: bool = False, dry_run: bool = False,
    show: Path | None = None,
) -> Run | Preview:  # fmt: skip
    """Train a classifier on the train part of a Dataset and keep it in a Run, or resume it.

    The same command again resumes from the newest checkpoint; on a CPU with the weights of a run never
    stopped, bit for bit. Ctrl-C writes a checkpoint first. The weights that do best on val are kept, in
    classifier/ (safetensors and JSON). Then every val image is classified: predictions.parquet has the
    probabilities; with --test also those of the test part, whose reading is counted, and report.html shows
    all metrics with intervals. 'plenish predict' classifies other images. To learn whether
    other training data help, take 'plenish study'.

    Args:
        data: the Dataset, with classes and a split.
        run: the Run's folder, made if it is not there.
        split: the split.
        how: further options.
        synthetic: a synthetic Dataset whose images are mixed in, all of them or by --doping or --share; its
            generator must have been trained on the train part of this split.
        test: classify the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.
        dry_run: train nothing; show what each phase of the training draws, and how long it would take. With
            --doping and without --synthetic as if there were enough synthetic images.
        show: train nothing; show the same without the time, with a picture (PNG) of the first batch of each
            phase, synthetic images framed; --doping needs --synthetic for it.

    Returns:
        The Run, or what it would draw.

    Raises:
        InputError: the Dataset has no classes or split, an option is impossible, or the Run was asked
            something else.
        CheckFailed: the training diverged.
    """
    if show is not None:
        files.refuse_existing(show)
    elif not dry_run:
        Run.check_place(run)
    with unrecorded() if dry_run or show else contextlib.nullcontext():
        return _asked(open_with_classes(data), run, split, how, synthetic, test, retry, dry_run, show)


def _asked(
    dataset: Dataset, run: Path, split: str, how: ClassifierConfig, synthetic: Path | None, test: bool,
    retry: bool, dry_run: bool, picture: Path | None,
) -> Run | Preview:  # fmt: skip
    from plenish.metrics import beside
    from plenish.training import classifier, classifier_model, classifier_time

    classifier.check_names(how, dataset.labels.kind)
    train, val = (dataset.part(part, split, purpose="select") for part in ("train", "val"))
    how = beside.with_weights_of_run(how, dataset, split)
    columns = Columns.fit(dataset.table, train.rows, how.columns)
    images, held = (classifier_model.labelled_images(part, columns) for part in (train, val))
    images, record, caveats = beside.training_side(images, dataset, train, split, synthetic)
    if how.doping and synthetic is None and dry_run and picture is None:
        images = pretend_synthetic(how, images)
    check_enough(how, images, dataset.labels.names)
    config = how.settled(images).resolved(len(train), dataset.domain)
    caveats = (*caveats, *beside.about_mixed(images, dataset.labels.names, config.share, config.batch))
    if dry_run or picture:
        facts: dict[str, Any] = {"caveats": Sentences(map(str, caveats))} if caveats else {}
        if dry_run:
            fresh = dataclasses.replace(config, pretrained=False)
            step, image = classifier_time.measure(fresh, images, held, dataset.labels.names, None, columns)
            seconds = step * (config.steps or 0) + image * (config.evaluations + 1) * len(val)
            facts |= {"time_for_all": plain_duration(seconds), "seconds": float(f"{seconds:.3g}")}
        return _previewed(classifier.training_images(images, config), config, dataset, picture, facts)
    side = Side(train, val, images, held, columns, synthetic, record, caveats)
    return train_and_tell(run, how, config, side, test=test, retry=retry)


@dataclasses.dataclass(frozen=True)
class Side:
    """What a classifier is trained and chosen on.

    Attributes:
        train: training rows.
        val: rows that decide which checkpoint is best.
        images: training images, the real ones first.
        held: images of val.
        columns: what the inputs of the images are.
        synthetic: the synthetic Dataset among the training images, or None.
        record: what is kept of it.
        caveats: what is to be said of it.
    """

    train: Subset
    val: Subset
    images: Images
    held: Images
    columns: Columns
    synthetic: Path | None
    record: Mapping[str, Any] | None
    caveats: Sequence[Any]


def train_and_tell(
    run: Path, how: ClassifierConfig, config: ClassifierConfig, side: Side, *, test: bool, retry: bool,
    more: Mapping[str, Any] = MappingProxyType({}), build: Callable[..., Any] | None = None,
) -> Run:  # fmt: skip
    """Train a classifier in a Run or resume it, classify val, with `test` the test part, and write the page.

    Args:
        run: the Run's folder.
        how: how, as it was asked.
        config: the same, resolved.
        side: what it is trained and chosen on.
        test: classify the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.
        more: further sections of the Run's configuration.
        build: makes the Learner, where it is not that of a plain classifier.
    """
    from plenish.metrics import predictions, trained_on
    from plenish.report.prediction_page import write_run_page
    from plenish.training import classifier, classifier_model, classifier_run, classifier_time

    dataset, columns = side.train.dataset, side.columns
    learner: dict[str, Any] = {} if build is None else {"build": build}
    if config.augmentation == "classical":
        say(choose_domain(how.domain, dataset.domain).sentence(how.symmetry))
    is_new = not (run / "config.json").exists()
    if is_new:  # Weights that cannot be had are told before a Run is made.
        classifier.check_weights(config, dataset, columns)
    opened = classifier_run.open_run(run, config, side.train, side.record, more)
    request = files.config_hash(opened.config["config"])
    if completed(run, "classifier", request):
        if test:
            with opened.lock():
                model = classifier_model.Classifier.of_run(run)
                predictions.write_predictions(opened, model, side.val, test)
                write_run_page(opened)
        say(f"{run} is complete.")
        return opened
    for caveat in side.caveats:
        warn(str(caveat))
    if is_new and settings.process()[1] == 1:
        classifier_time.say_duration(
            config, side.images, side.held, dataset.labels.names, precision=None, columns=columns, **learner
        )
    with training(opened, request):
        if side.synthetic is not None:
            trained_on.keep(opened, Dataset.open(side.synthetic))
        if side.caveats:
            opened.update_status(caveats=list(side.caveats))
        model = classifier_run.train_in_run(
            opened, config, side.train, side.val, retry=retry, images=side.images, columns=columns, **learner
        )
        predictions.write_predictions(opened, model, side.val, test)
        write_run_page(opened)
    return opened


def _previewed(
    images: Images, config: ClassifierConfig, dataset: Dataset, picture: Path | None, facts: dict[str, Any]
) -> Preview:
    """What the training would draw, with the picture written."""
    assert config.steps is not None
    found = preview(images, config.seed, config.steps, config.batch, dataset.labels.names)
    if picture is not None:
        files.write_bytes(picture, png(first_batches(images, config.seed, config.batch)))
        facts["picture"] = str(picture)
    return dataclasses.replace(found, facts=facts)


def open_with_classes(data: Path, beside: str = "--synthetic") -> Dataset:
    """Open a Dataset of real images with classes; InputError for another.

    Args:
        data: its folder.
        beside: the option that takes a synthetic one.
    """
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; give the real Dataset first, and this one with {beside}.")
    kind, width = dataset.labels.kind, dataset.labels.width
    if kind not in ("categorical", "multilabel") or (kind == "categorical" and width < 2):
        raise InputError(
            f"{data} has no classes to tell apart; a classifier needs one class per image, and at least 2 "
            "classes, or tags."
        )
    return dataset
