"""Feature extractors by name.

The offline default is the *domain* extractor: a small network fitted on the real `train` part alone. The
pretrained networks that papers use live in :mod:`plenish.metrics.pretrained` and need their weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.domains import DOMAINS, Symmetry
from plenish.errors import InputError, unknown
from plenish.metrics.domain import DomainConfig, DomainNetwork, fit_domain_network
from plenish.metrics.extractor import Extractor, resized
from plenish.metrics.pretrained import dinov2, inception
from plenish.networks.weights import read_with_digest
from plenish.progress import say
from plenish.training.engine import Engine

ExtractorName = Literal["domain", "inception", "dinov2"]
_VERSION = "1"
_ALL: Symmetry = "dihedral"


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
        return domain_extractor(dataset, split, seed=seed)
    return inception(weights) if name == "inception" else dinov2(weights)


def domain_extractor(
    dataset: Dataset, split: str = "default", *, seed: int = 0, config: DomainConfig | None = None
) -> Extractor:
    """A small network fitted on the real `train` part: from the cache, or fitted now, without the internet.

    Its 96 features (64 from the last layer, 32 from an early one, which sees texture and colour) are
    rescaled on `train`. They are few on purpose: a Fréchet distance needs a D×D covariance, and datasets
    this is made for have a few hundred test images.

    It learns to ignore flips left-right and upside down; of a Dataset that keeps a domain, no more of them
    than that allows, so that features of radiographs tell left from right.

    Args:
        dataset: a real Dataset.
        split: its split; only `train` is looked at.
        seed: seed of initialisation, data order and augmentation.
        config: size and length of the fit.

    Raises:
        InputError: fewer than 16 training images.
    """
    network, facts, engine = _domain_network(dataset, split, seed, config)
    side = network.config.side
    return Extractor(
        "domain", _VERSION, facts["resizer"], facts["task"], network.dim, facts["fitted_on"], facts["hash"],
        channels=(network.config.channels,), batch=256,
        network=lambda images: network.features(resized(engine.to_images(images), side)),
    )  # fmt: skip


def domain_features(dataset: Dataset, split: str = "default", *, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """The features of the domain extractor as a function that can be differentiated.

    Args:
        dataset: a real Dataset.
        split: its split; only `train` is looked at.
        seed: seed of the extractor's training.

    Returns:
        Images N×C×H×W in [-1, 1] on the engine's device → features N×96.

    Raises:
        InputError: fewer than 16 training images.
    """
    network, _, _ = _domain_network(dataset, split, seed, None)
    return lambda images: network.features(resized(images, network.config.side))


def _domain_network(
    dataset: Dataset, split: str, seed: int, config: DomainConfig | None
) -> tuple[DomainNetwork, dict[str, Any], Engine]:
    """The network of the domain extractor, from the cache or fitted now, and what is kept of its fit."""
    train = dataset.part("train", split, purpose="train")
    if len(train) < 16:
        raise InputError(
            f"{dataset.path} has {len(train)} training images and a domain extractor needs 16; "
            "add images or use --features inception."
        )
    config = config or _config(dataset)
    engine = Engine.from_settings()
    symmetry = _symmetry(dataset)
    key = _domain_key(dataset, split, seed, config)
    folder = dataset.cache_dir(f"domain-{key[:16]}")
    network = DomainNetwork(config, dataset.labels.width)
    facts = _cached(folder, network, key)
    if facts is None:
        say(f"fitting the domain extractor on {len(train)} training images (once for this split)")
        network = fit_domain_network(train, config, engine, seed, symmetry)
        facts = _store(folder, network, key, train)
    engine.to_module(network.eval().requires_grad_(False))
    return network, facts, engine


def is_fitted(dataset: Dataset, split: str = "default") -> bool:
    """Whether the domain extractor of a Dataset is in its cache, so that `domain_extractor` fits nothing."""
    if dataset.is_synthetic or split not in dataset.split_names():
        return False
    key = _domain_key(dataset, split, 0, _config(dataset))
    return (dataset.cache_dir("") / f"domain-{key[:16]}" / "extractor.json").is_file()


def _config(dataset: Dataset) -> DomainConfig:
    return DomainConfig(side=min(64, dataset.size), channels=dataset.channels)


def _symmetry(dataset: Dataset) -> Symmetry:
    return DOMAINS[dataset.domain].symmetry if dataset.domain else _ALL


def _domain_key(dataset: Dataset, split: str, seed: int, config: DomainConfig) -> str:
    """Of all that the domain extractor depends on."""
    symmetry = _symmetry(dataset)
    return files.config_hash(
        {
            "what": "domain-extractor", "version": _VERSION, "pixels": dataset.manifest.pixels_hash,
            "table": dataset.manifest.table_hash, "split": dataset.split(split).hash, "seed": seed,
            "config": dataclasses.asdict(config), **({"symmetry": symmetry} if symmetry != _ALL else {}),
        }
    )  # fmt: skip


def kept_features(images: Subset, extractor: Extractor) -> NDArray[np.float32] | None:
    """Features of images of a real Dataset from its cache; None where they are missing or damaged."""
    if images.dataset.is_synthetic:
        return None
    key, folder = _features_cache(images, extractor)
    try:
        facts = files.read_record(folder / "features.json")
        content = (folder / "features.npy").read_bytes()
        if (facts["key"], facts["sha256"]) != (key, hashlib.sha256(content).hexdigest()):
            return None
        found: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
    except (InputError, KeyError, OSError, ValueError):
        return None
    return found if found.shape == (len(images), extractor.dim) else None


def keep_features(images: Subset, extractor: Extractor, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put features of images of a real Dataset into its cache, as far as there is room; returns them."""
    if images.dataset.is_synthetic:
        return features
    key, folder = _features_cache(images, extractor)
    stream = io.BytesIO()
    np.save(stream, features, allow_pickle=False)
    content = stream.getvalue()
    with contextlib.suppress(OSError, InputError):
        files.write_bytes(folder / "features.npy", content)
        files.write_record(
            folder / "features.json", {"key": key, "sha256": hashlib.sha256(content).hexdigest()}
        )
    return features


def _features_cache(images: Subset, extractor: Extractor) -> tuple[str, Path]:
    """The key, of all that features depend on, and the folder."""
    engine = Engine.from_settings()
    key = files.config_hash(
        {
            "what": "features", "pixels": images.dataset.manifest.pixels_hash,
            "rows": hashlib.sha256(images.rows.tobytes()).hexdigest(), "extractor": extractor.facts(),
            "device": engine.device.type, "precision": engine.precision,
        }
    )  # fmt: skip
    return key, images.dataset.cache_dir(f"features-{key[:16]}")


def _cached(folder: Path, network: DomainNetwork, key: str) -> dict[str, Any] | None:
    """Load a network's weights from the cache; None where they are missing or damaged."""
    try:
        facts: dict[str, Any] = files.read_record(folder / "extractor.json")
        state, digest = read_with_digest(folder / "weights.safetensors")
        if facts["key"] != key or facts["weights_sha256"] != digest:
            return None
        network.load_state_dict(state)
    except (InputError, KeyError, RuntimeError):
        return None
    return facts


def _store(folder: Path, network: DomainNetwork, key: str, train: Subset) -> dict[str, Any]:
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    files.write_bytes(folder / "weights.safetensors", save(state))
    weights = files.sha256_file(folder / "weights.safetensors")
    labels = {
        "none": "", "categorical": " and the class labels", "multilabel": " and the tags",
        "continuous": " and the continuous labels",
    }[train.dataset.labels.kind]  # fmt: skip
    side = network.config.side
    facts = {
        "resizer": f"bilinear, antialiased, to {side}×{side}",
        "task": f"telling images apart under augmentation (self-supervised){labels}",
        "fitted_on": f"{len(train)} train images of {train.dataset.name}, split '{train.split_name}'",
        "key": key,
        "weights_sha256": weights,
        "hash": files.config_hash({"key": key, "weights": weights}),
    }
    files.write_record(folder / "extractor.json", facts)
    return facts
