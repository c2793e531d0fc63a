"""Generators and classifiers that all users of a studio share, loaded when they are first asked for."""

from __future__ import annotations

import contextvars
import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError, PlenishError
from plenish.latent import concepts
from plenish.latent.concepts import Concept
from plenish.latent.directions import find_directions
from plenish.latent.judges import open_classifier
from plenish.latent.space import LatentSpace, Points
from plenish.studio.catalogue import Catalogue
from plenish.studio.pages import Studio
from plenish.training.classifier_model import CLASSIFIER, Classifier

Value = TypeVar("Value")
SEFA = "sefa"
DIRECTIONS = 4
"""Directions found without examples that are offered beside a Run's concepts: sefa-1 …"""
_MOST_LOADED = 4
_AT_ONCE = 2
"""Forward passes that are computed at the same time."""


class Generators:
    """Loaded generators, the newest few."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Load nothing yet."""
        self._catalogue = catalogue
        self._spaces: OrderedDict[str, LatentSpace] = OrderedDict()
        self._found: OrderedDict[str, tuple[int, dict[str, Concept], dict[str, Concept]]] = OrderedDict()
        self._models: OrderedDict[str, Classifier] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "plenish-studio-compute")

    def listed(self, kind: str) -> dict[str, Path]:
        """The finished enough Runs of a kind: a generator with a checkpoint, or a classifier."""
        found = {}
        for key, path in self._catalogue.runs().items():
            whole = any((path / "checkpoints").glob("*")) if kind == "generator" else (
                path / CLASSIFIER / "classifier.json").is_file()  # fmt: skip
            try:
                if whole and files.read_json(path / "config.json").get("kind") == kind:
                    found[key] = path
            except (PlenishError, AttributeError):
                continue
        return found

    def path(self, key: str, kind: str = "generator") -> Path:
        """The folder of a Run by id.

        Raises:
            InputError: there is none of that kind and id.
        """
        path = self._catalogue.runs().get(key)
        if path is None or path not in self.listed(kind).values():
            raise InputError(f"There is no such {kind} here (any longer).", code="missing")
        return path

    def space(self, key: str, truncation: float = 1.0) -> LatentSpace:
        """A generator by id, with so much truncation.

        Raises:
            InputError: there is none, or its family has no truncation.
        """
        with self._lock:
            cached: LatentSpace | None = _newest(self._spaces, key)
            if cached is None:
                path = self.path(key)
                cached = _kept(self._spaces, key, LatentSpace(path))
        space: LatentSpace = copy.copy(cached)
        if truncation != 1:
            if "truncation" not in space.network.sample_options:
                raise InputError(f"A {space.family} has no truncation.")
            space.options = {**space.options, "truncation": truncation}
        return space

    def directions(self, key: str) -> dict[str, Concept]:
        """The concepts of a generator by name, and directions found without examples: sefa-1 and so on."""
        space = self.space(key)
        folder = space.loaded.run.path / concepts.FOLDER
        stamp = folder.stat().st_mtime_ns if folder.is_dir() else 0
        with self._lock:
            known = _newest(self._found, key)
            if known is None or known[0] != stamp:
                own = _sefa(space) if known is None else known[1]
                known = _kept(self._found, key, (stamp, own, own | _learnt(space)))
        found: dict[str, Concept] = known[2]
        return found

    def classifier(self, key: str, channels: int) -> Classifier:
        """A classifier by id.

        Raises:
            InputError: there is none, or it does not take images of so many channels alone.
        """
        path = self.path(key, "classifier")
        with self._lock:
            found: Classifier | None = _newest(self._models, key)
            return found or _kept(self._models, key, open_classifier(path, channels))

    def compute(self, work: Callable[[], Value]) -> Value:
        """Do something that needs a network, as soon as one of a few threads is free.

        Each thread that computes keeps memory for it, so that those that answer requests do not.
        """
        return self._pool.submit(contextvars.copy_context().run, work).result()

    def images(self, space: LatentSpace, points: Points) -> NDArray[np.uint8]:
        """Images of points, as many as there are and no more."""
        return self.compute(lambda: space.images(points))


def generators_of(studio: Studio) -> Generators:
    """The generators that all users of a studio share."""
    found: Generators = studio.once(Generators, lambda: Generators(studio.catalogue))
    return found


def about(generators: Generators, key: str) -> dict[str, Any]:
    """What a page knows of a generator; JSON-able."""
    space = generators.space(key)
    axes = generators.directions(key)
    labels, unlearnt = space.labels, sefa_names(space)
    kind = labels.kind if labels.width else "none"
    return {
        "run": key, "name": space.loaded.run.path.name, "family": space.family, "size": space.network.size,
        "labels": {"kind": kind, "names": list(labels.names)}, "styles": space.has_styles,
        "truncation": "truncation" in space.network.sample_options,
        "directions": [
            {"name": name, "space": axis.space, "learnt": name not in unlearnt} for name, axis in axes.items()
        ],
    }  # fmt: skip


def sefa_names(space: LatentSpace) -> list[str]:
    """Names of the directions that are offered of every GAN, fewer of a narrow latent."""
    most = concepts.width(space, "w" if space.has_styles else "z")
    return [f"{SEFA}-{i + 1}" for i in range(min(DIRECTIONS, most))]


def _sefa(space: LatentSpace) -> dict[str, Concept]:
    names = sefa_names(space)
    try:
        found = find_directions(space, "sefa", len(names))
    except InputError:  # Of a flow, or of a family without a first layer that is known.
        return {}
    return {name: found.concept(space, i, name) for i, name in enumerate(names)}


def _learnt(space: LatentSpace) -> dict[str, Concept]:
    kept = {}
    for name in concepts.names(space.loaded.run.path):
        try:
            kept[name] = concepts.load(space, name)
        except PlenishError:  # Of another generator, or damaged: the command line says why.
            continue
    return kept


def _newest(cache: OrderedDict[str, Value], key: str) -> Value | None:
    if key not in cache:
        return None
    cache.move_to_end(key)
    return cache[key]


def _kept(cache: OrderedDict[str, Value], key: str, value: Value) -> Value:
    cache[key] = value
    while len(cache) > _MOST_LOADED:
        cache.popitem(last=False)
    return value
