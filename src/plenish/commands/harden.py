"""`plenish harden`: a classifier that is trained on adversarial images, in a Run like any classifier's."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from plenish.commands.train_classifier import Side, open_with_classes, train_and_tell
from plenish.invocation import command
from plenish.progress import say
from plenish.robustness.hardened_run import hardened
from plenish.robustness.hardening_config import HardeningConfig
from plenish.runs import Run
from plenish.training.classifier_columns import NO_COLUMNS
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing import check_enough

_SHARE = 0.7
"""Share of generated images in a batch where none is given."""


@command("harden")
def harden(
    data: Path, run: Path, *, split: str = "default", how: ClassifierConfig = ClassifierConfig(),
    against: HardeningConfig = HardeningConfig(), generated: Path | None = None, test: bool = False,
    retry: bool = False,
) -> Run:  # fmt: skip
    """Train a classifier that withstands small changes of its images, and keep it in a Run, or resume it.

    The images of each batch are attacked, and the classifier is trained on what that makes (adversarial
    training). The weights that do best on attacked val images are kept; --patience ends early by them. The
    Run is one of a classifier: 'plenish predict', 'plenish attack' and all others take it. The same command
    again resumes from the newest checkpoint. What it withstands other attacks, 'plenish attack' measures;
    what withstands all attacks that were tried need not withstand another.

    Args:
        data: the Dataset, with one class per image and a split.
        run: the Run's folder, made if it is not there.
        split: the split.
        how: further options of the classifier.
        against: how it is hardened.
        generated: a synthetic Dataset whose images are mixed in, such as adversarial ones of a generator too;
            its generator must have been trained on the train part of this split. They make up 0.7 of each
            batch unless --share, --doping, --draws or --drawing says what is drawn.
        test: classify the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.

    Returns:
        The Run; its summary has clean and robust accuracy on val.

    Raises:
        InputError: the Dataset has no classes or split, an option is impossible, or the Run was asked
            something else.
        CheckFailed: the training diverged.
    """
    Run.check_place(run)
    from plenish.metrics import beside
    from plenish.robustness import hardening
    from plenish.training import classifier, classifier_model, classifier_run

    dataset = open_with_classes(data, "--generated")
    classifier.check_names(how, dataset.labels.kind)
    shape = (dataset.size, dataset.channels)
    hardening.check_hardening(how, against, dataset.labels.kind, shape)
    train, val = (dataset.part(part, split, purpose="select") for part in ("train", "val"))
    how, against = beside.with_weights_of_run(how, dataset, split), against.resolved()
    if generated is not None and not (how.share or how.doping or how.draws or how.drawing):
        how = dataclasses.replace(how, share=_SHARE)
    images, held = (classifier_model.labelled_images(part) for part in (train, val))
    images, record, caveats = beside.training_side(images, dataset, train, split, generated)
    check_enough(how, images, dataset.labels.names, "--generated")
    config = how.settled(images).resolved(len(train), dataset.domain)
    caveats = (*caveats, *beside.about_mixed(images, dataset.labels.names, config.share, config.batch))
    side = Side(train, val, images, held, NO_COLUMNS, generated, record, caveats)
    return _told(
        train_and_tell(
            run, how, config, side, test=test, retry=retry,
            more={classifier_run.HARDENING: dataclasses.asdict(against)},
            build=functools.partial(hardening.HardenedLearner, hardening=against),
        )
    )  # fmt: skip


def _told(run: Run) -> Run:
    """The Run with how it was hardened, and what it scores on val, in its summary."""
    run.remarks |= hardened(run)
    if found := run.remarks.get("val"):
        clean, robust = found["balanced_accuracy"], found["robust_balanced_accuracy"]
        say(f"Balanced accuracy on val: {clean:.1%}, and {robust:.1%} against {found['attack']}.")
    return run
