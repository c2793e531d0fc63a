"""Steps of a curation that need a small network: outliers, and labels that the images contradict.

For outliers it is the network of the domain extractor (`metrics.domain`), for labels the small classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.batches import Images
from plenish.datasets.curation_steps import Corpus, Found, number_of
from plenish.datasets.dataset import Dataset
from plenish.datasets.partition import connected_units
from plenish.datasets.parts import Subset
from plenish.domains import DOMAINS, Symmetry
from plenish.errors import InputError
from plenish.metrics.confident_learning import label_errors
from plenish.metrics.domain import DomainConfig, DomainNetwork, fit_domain_network
from plenish.metrics.extractor import resized
from plenish.progress import progress
from plenish.training.classifier import train_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import labelled_images
from plenish.training.engine import Engine

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FOLDS = 5
_BATCH = 256
_LEAST = 32
"""Images below which a network cannot be fitted on the others."""
_DEVIATIONS = 5.0
"""Robust standard deviations of the logarithm of the distance."""
_CORE, _SHRINK = 0.75, 0.1


class _Unlabelled(Subset):
    """Rows whose labels the network is not told."""

    def y(self) -> NDArray[np.float32]:
        return np.zeros((len(self), 0), np.float32)


@dataclass(frozen=True)
class _Features:
    """Features of images by a network that was fitted on some of them."""

    dataset: Dataset
    network: DomainNetwork
    engine: Engine

    @classmethod
    def fitted(cls, train: Subset, seed: int) -> _Features:
        dataset, engine = train.dataset, Engine.from_settings()
        symmetry: Symmetry = DOMAINS[dataset.domain].symmetry if dataset.domain else "dihedral"
        config = DomainConfig(side=min(64, dataset.size), channels=dataset.channels)
        network = fit_domain_network(train, config, engine, seed, symmetry)
        engine.to_module(network.eval().requires_grad_(False))
        return cls(dataset, network, engine)

    def __call__(self, rows: Ints) -> NDArray[np.float32]:
        """R×D."""
        out = np.empty((len(rows), self.network.dim), np.float32)
        with progress("features", len(rows)) as bar:
            for start in range(0, len(rows), _BATCH):
                images = self.dataset.pixels.read(rows[start : start + _BATCH])
                x = resized(self.engine.to_images(images), self.network.config.side)
                out[start : start + _BATCH] = self.network.features(x).float().cpu().numpy()
                bar.advance(len(images))
        return out


def outliers(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop images that are far from the others in the features of a network fitted on all, without labels.

    The distance is Mahalanobis' to the centre of the three quarters of images nearest to the median, with
    their covariance, shrunk. Its logarithm decides, in robust standard deviations from the median.
    """
    given = number_of("outliers", parameter, 0, 1000)
    most = _DEVIATIONS if given is None else given
    _enough(corpus, rows, "outliers")
    subset = _Unlabelled(corpus.dataset, rows, "train", "curation", "")
    values = robust_scores(_Features.fitted(subset, corpus.seed)(rows))
    return Found(~(values > most), values, {"deviations_above": most}, distance=most - values)


def robust_scores(features: NDArray[np.float32]) -> Floats:
    """How far each of N×D features is from the others, in robust standard deviations, N."""
    middle = np.median(features, axis=0)
    scale = 1.4826 * np.median(np.abs(features - middle), axis=0)
    near = (((features - middle) / np.maximum(scale, 1e-6)) ** 2).sum(axis=1)
    inside = near <= np.quantile(near, _CORE)
    core = features[inside].astype(np.float64)
    n, dim = core.shape
    covariance = (1 - _SHRINK) * np.cov(core.T)
    ridge = np.trace(covariance) / (1 - _SHRINK) / dim * _SHRINK
    inverse = np.linalg.inv(covariance + (ridge + 1e-12) * np.eye(dim))
    away = features - core.mean(axis=0)
    squares = np.einsum("nd,de,ne->n", away, inverse, away, optimize=True)
    # The core's own images pull mean and covariance to themselves, all the more the fewer there are. Each
    # is measured as if it were not in the core, by the Sherman-Morrison formula.
    outside = n / (n - 1)
    weight = (1 - _SHRINK) * outside / (n - 1)
    own = squares[inside]
    squares[inside] = outside**2 * own / np.maximum(1 - weight * own, 1e-9)
    distance = np.log(np.maximum(squares, 1e-12)) / 2
    spread = 1.4826 * np.median(np.abs(distance - np.median(distance)))
    return np.asarray((distance - np.median(distance)) / max(float(spread), 1e-9))


def wrong_labels(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop images whose class a classifier that never saw them contradicts (confident learning).

    Five folds, with groups and equal images in one fold; see `out_of_fold`.
    """
    margin = number_of("label-errors", parameter, 0, 1) or 0.0
    dataset = corpus.dataset
    if dataset.labels.kind != "categorical":
        raise InputError(
            f"--drop label-errors needs one class an image, and {dataset.path} has "
            f"{dataset.labels.kind.replace('none', 'no')} labels; leave it out."
        )
    _enough(corpus, rows, "label-errors")
    codes = dataset.y()[rows].argmax(axis=1).astype(np.int64)
    names = dataset.labels.names
    probabilities = out_of_fold(corpus, rows, _folds(corpus, rows, codes))
    wrong, suggested = label_errors(probabilities, codes)
    at = np.arange(len(rows))
    lead = probabilities[at, suggested] - probabilities[at, codes]
    drop = wrong & (lead >= margin)
    values = np.array(
        [f"{names[c]} > {names[s]} {p:.2f}" for c, s, p in zip(codes, suggested, lead)], object
    )  # fmt: skip
    about = {"folds": FOLDS, "agreement": float((probabilities.argmax(axis=1) == codes).mean())}
    return Found(~drop, values, about | {"margin": margin}, distance=-lead)


def out_of_fold(corpus: Corpus, rows: Ints, folds: Ints) -> Floats:
    """Probabilities R×K of each image by classifiers that were not trained on it nor on its fold.

    They are the mean of two: that of its fold, and one whose best checkpoint was chosen on its fold.

    Args:
        corpus: the corpus.
        rows: R row numbers.
        folds: R numbers of folds, from 0 on.
    """
    dataset = corpus.dataset
    # Without a domain it is not known whether a mirrored image is still one of its class.
    config = ClassifierConfig(
        seed=corpus.seed, augmentation="classical", domain=dataset.domain,
        symmetry=None if dataset.domain else "none",
    )  # fmt: skip

    def images(chosen: NDArray[np.bool_]) -> Images:
        return labelled_images(Subset(dataset, rows[chosen], "train", "curation", ""))

    found = np.zeros((len(rows), dataset.labels.width))
    with progress("classifiers", FOLDS, "folds") as bar:
        for k in range(FOLDS):
            held, chosen = folds == k, folds == (k + 1) % FOLDS
            if held.any() and chosen.any():
                model = train_classifier(
                    config, images(~held & ~chosen), images(chosen), dataset.labels.names
                )  # fmt: skip
                for seen in (held, chosen):
                    found[seen] += model.probabilities(images(seen)) / 2
            bar.advance(1)
    return found


def _enough(corpus: Corpus, rows: Ints, step: str) -> None:
    """Refuse too few images, and record that a network sees all parts of the splits there are."""
    if len(rows) < _LEAST:
        raise InputError(f"--drop {step} needs {_LEAST} images, and {len(rows)} are left; leave it out.")
    corpus.record_read()


def _folds(corpus: Corpus, rows: Ints, codes: Ints) -> Ints:
    """The fold of each row, of evenly many units of each class."""
    keys = []
    for name in ("group", "sha256"):
        cells = corpus.columns[name].to_pylist()
        own = [cells[row] if cells[row] is not None else f"\0{row}" for row in rows.tolist()]
        keys.append(np.unique(np.array(own), return_inverse=True)[1].astype(np.int64))
    unit = connected_units(*keys)
    _, first = np.unique(unit, return_index=True)
    order = np.random.default_rng([corpus.seed, 0xF01D]).permutation(len(first))
    order = order[np.argsort(codes[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    if len(first) < FOLDS:
        raise InputError(
            f"--drop label-errors needs {FOLDS} groups of images, since a classifier is trained without each "
            f"fifth, and there are {len(first)}; leave it out."
        )
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[unit]
