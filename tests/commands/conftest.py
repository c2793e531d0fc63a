"""Datasets that the tests of release and filter share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.commands.giving_away import pictures, quick_audits, real_dataset, synthetic_dataset

from plenish.datasets.dataset import Dataset


@pytest.fixture
def quick_audit() -> Iterator[None]:
    """See `quick_audits`."""
    with quick_audits():
        yield


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return real_dataset(tmp_path_factory.mktemp("clinic") / "clinic")


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory, clinic: Dataset) -> Dataset:
    return synthetic_dataset(tmp_path_factory.mktemp("honest") / "made", clinic, *pictures(120, 50))


@pytest.fixture(scope="session")
def copied(tmp_path_factory: pytest.TempPathFactory, clinic: Dataset) -> Dataset:
    """The first ten are mirrored training images."""
    x, labels = pictures(120, 51)
    train = clinic.part("train", purpose="train")
    x[:10], labels[:10] = train.images(np.arange(10))[:, :, ::-1], train.labels[:10]
    return synthetic_dataset(tmp_path_factory.mktemp("copied") / "made", clinic, x, labels)
