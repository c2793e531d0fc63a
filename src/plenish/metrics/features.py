"""Feature extractors: what a score is computed on, with a name that says so.

The offline default is the *domain* extractor: a small network fitted on the real `train` part alone. The
pretrained networks that papers use live in :mod:`plenish.metrics.pretrained` and need their weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset, Subset
from plenish.errors import InputError, unknown
from plenish.metrics.domain import DomainConfig, DomainNetwork, fit_domain_network, resized
from plenish.metrics.pretrained import DinoV2Extractor, InceptionExtractor
from plenish.metrics.weights import read_weights
from plenish.progress import progress, say
from plenish.training.engine import Engine

ExtractorName = Literal["domain", "inception", "dinov2"]


class Extractor(Protocol):
    """Images to features, and the facts that make its scores comparable.

    Attributes:
        name: what scores are named after, as in ``FD(<name>)``.
        version: raised whenever features of the same images change.
        resizer: how images come to the network's input size.
        task: what the network was trained to do.
        dim: D, number of features.
        fitted_on: the data it was trained on.
        hash: SHA-256 over weights and configuration.
    """

    name: str
    version: str
    resizer: str
    task: str
    dim: int
    fitted_on: str
    hash: str

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features N×D of images N×H×W×C uint8 of any size."""


def describe(extractor: Extractor) -> dict[str, Any]:
    """The facts about an extractor that a result file holds."""
    names = ("name", "version", "resizer", "task", "dim", "fitted_on", "hash")
    return {name: getattr(extractor, name) for name in names}


def extract(extractor: Extractor, subset: Subset, *, batch: int = 256) -> NDArray[np.float32]:
    """Features N×D of all images of a subset, read in pieces."""
    out = np.empty((len(subset), extractor.dim), dtype=np.float32)
    with progress(f"features of {subset.part}", len(subset)) as bar:
        done = 0
        for images in subset.batches(batch):
            out[done : done + len(images)] = extractor(images)
            done += len(images)
            bar.advance(len(images))
    return out


def get_extractor(
    name: str, dataset: Dataset, split: str = "default", *, weights: Path | None = None, seed: int = 0
) -> Extractor:
    """An extractor by name.

    Args:
        name: `domain`, `inception` or `dinov2`.
        dataset: the real Dataset; the domain extractor is fitted on its `train` part.
        split: name of the split.
        weights: local weights of a pretrained network, in place of a download.
        seed: seed of the domain extractor's training.

    Raises:
        InputError: an unknown name, or weights that cannot be had.
    """
    if name not in get_args(ExtractorName):
        raise unknown("feature extractor", name, get_args(ExtractorName))
    if name == "domain":
        if weights is not None:
            raise InputError(
                f"--weights {weights} goes with --features inception or dinov2; "
                "the domain extractor makes its own."
            )
        return DomainExtractor.of(dataset, split, seed=seed)
    return InceptionExtractor.load(weights) if name == "inception" else DinoV2Extractor.load(weights)


class DomainExtractor:
    """Features of a small network fitted on the real `train` part; works without a network connection.

    Its 96 features (64 from the last layer, 32 from an early one, which sees texture and colour) are
    rescaled on `train`. They are few on purpose: a Fréchet distance needs a D×D covariance, and datasets
    this is made for have a few hundred test images.
    """

    name = "domain"
    version = "1"

    def __init__(self, network: DomainNetwork, facts: dict[str, Any], engine: Engine) -> None:
        """Use :meth:`of`."""
        self._network, self._engine = network, engine
        self.resizer = str(facts["resizer"])
        self.task = str(facts["task"])
        self.fitted_on = str(facts["fitted_on"])
        self.hash = str(facts["hash"])
        self.dim = network.dim

    @classmethod
    def of(
        cls, dataset: Dataset, split: str = "default", *, seed: int = 0, config: DomainConfig | None = None
    ) -> DomainExtractor:
        """The extractor of a Dataset and split: from the cache, or fitted now.

        Args:
            dataset: a real Dataset.
            split: its split; only `train` is looked at.
            seed: seed of initialisation, data order and augmentation.
            config: size and length of the fit.

        Raises:
            InputError: fewer than 16 training images.
        """
        train = dataset.part("train", split, purpose="train")
        if len(train) < 16:
            raise InputError(
                f"{dataset.path} has {len(train)} training images and a domain extractor needs 16; "
                "add images or use --features inception."
            )
        config = config or DomainConfig(side=min(64, dataset.size), channels=dataset.channels)
        engine = Engine.from_settings()
        key = files.config_hash(
            {
                "what": "domain-extractor", "version": cls.version, "pixels": dataset.manifest.pixels_hash,
                "table": dataset.manifest.table_hash, "split": train.split_hash, "seed": seed,
                "config": config.__dict__,
            }
        )  # fmt: skip
        folder = dataset.cache_dir(f"domain-{key[:16]}")
        network = DomainNetwork(config, dataset.labels.width)
        facts = _cached(folder, network, key)
        if facts is None:
            say(f"fitting the domain extractor on {len(train)} training images (once for this split)")
            network = fit_domain_network(train, config, engine, seed)
            facts = _store(folder, network, key, _facts(train, config))
        engine.to_module(network.eval().requires_grad_(False))
        return cls(network, facts, engine)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features N×96 of images N×H×W×C uint8; other sizes are brought to the network's own."""
        if images.ndim != 4 or images.shape[3] != self._network.config.channels:
            raise ValueError(
                f"expected N×H×W×{self._network.config.channels} images, got shape {images.shape}"
            )
        parts = [np.empty((0, self.dim), np.float32)]
        with torch.no_grad():
            for start in range(0, len(images), 256):
                x = resized(self._engine.to_images(images[start : start + 256]), self._network.config.side)
                parts.append(self._network.features(x).float().cpu().numpy())
        return np.concatenate(parts)


def _facts(train: Subset, config: DomainConfig) -> dict[str, Any]:
    kind = train.dataset.labels.kind
    also = {
        "none": "", "categorical": " and the class labels", "multilabel": " and the tags",
        "continuous": " and the continuous labels",
    }[kind]  # fmt: skip
    return {
        "resizer": f"bilinear, antialiased, to {config.side}×{config.side}",
        "task": f"telling images apart under augmentation (self-supervised){also}",
        "fitted_on": f"{len(train)} train images of {train.dataset.name}, split '{train.split_name}'",
    }


def _cached(folder: Path, network: DomainNetwork, key: str) -> dict[str, Any] | None:
    about, weights = folder / "extractor.json", folder / "weights.safetensors"
    if not (about.exists() and weights.exists()):
        return None
    try:
        facts: dict[str, Any] = files.read_json(about)
        state, digest = read_weights(weights)
        if facts["key"] != key or facts["weights_sha256"] != digest:
            return None
        network.load_state_dict(state)
    except (InputError, KeyError, RuntimeError):
        return None  # a damaged cache is made again
    return facts


def _store(folder: Path, network: DomainNetwork, key: str, facts: dict[str, Any]) -> dict[str, Any]:
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    files.write_bytes(folder / "weights.safetensors", save(state))
    weights = files.sha256_file(folder / "weights.safetensors")
    facts = facts | {
        "key": key,
        "weights_sha256": weights,
        "hash": files.config_hash({"key": key, "weights": weights}),
    }
    files.write_json(folder / "extractor.json", facts)
    return facts
