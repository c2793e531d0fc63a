"""What a training of a classifier is asked, made whole by the Dataset and refused before a Run is made."""

from __future__ import annotations

from plenish import settings
from plenish.datasets.parts import Subset
from plenish.domains import choose_domain
from plenish.progress import say
from plenish.training.classifier import check_names, check_weights
from plenish.training.classifier_columns import Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import labelled_images
from plenish.training.classifier_time import say_duration


def resolve(how: ClassifierConfig, train: Subset) -> ClassifierConfig:
    """The configuration with what follows from the training rows; says what augmentation does.

    Raises:
        InputError: a name that there is not, or an option that does not fit the labels.
    """
    dataset = train.dataset
    check_names(how, dataset.labels.kind)
    config = how.resolved(len(train), dataset.domain)
    if config.augmentation == "classical":
        say(choose_domain(how.domain, dataset.domain).sentence(how.symmetry))
    return config


def check_new(config: ClassifierConfig, train: Subset) -> None:
    """Refuse columns, networks and weights that cannot be had, before a Run is made."""
    check_weights(config, train.dataset, Columns.fit(train.dataset.table, train.rows, config.columns))


def say_how_long(config: ClassifierConfig, train: Subset, val: Subset) -> None:
    """Say how long the training takes; of several processes none tries."""
    if settings.process()[1] == 1:
        columns = Columns.fit(train.dataset.table, train.rows, config.columns)
        shown, held = (labelled_images(part, columns) for part in (train, val))
        names = train.dataset.labels.names
        say_duration(config, shown, held, names, precision=None, columns=columns)
