"""Plenish fills up scarce image datasets, and says whether it helped.

Every command is also a function here: `plenish.import_dataset`, `plenish.train_gan`, `plenish.generate`,
`plenish.score`, `plenish.run_study`; paths may be given as strings. Names are loaded on first use, so that
`import plenish` stays cheap.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish._version import __version__
from plenish.errors import CheckFailed, InputError, PlenishError

if TYPE_CHECKING:
    from plenish.commands.datasets import export_dataset as export_dataset
    from plenish.commands.datasets import import_dataset as import_dataset
    from plenish.commands.datasets import make_phantom as make_phantom
    from plenish.commands.datasets import split_dataset as split_dataset
    from plenish.commands.demo import demo as demo
    from plenish.commands.encode import encode as encode
    from plenish.commands.export_model import export_model as export_model
    from plenish.commands.generate import generate as generate
    from plenish.commands.profile import profile_dataset as profile_dataset
    from plenish.commands.report import write_report as write_report
    from plenish.commands.score import score as score
    from plenish.commands.slides import tile_slides as tile_slides
    from plenish.commands.study import study as run_study  # noqa: F401
    from plenish.commands.study_autoencoders import study_autoencoders as study_autoencoders
    from plenish.commands.train_autoencoder import train_autoencoder as train_autoencoder
    from plenish.commands.train_gan import train_gan as train_gan
    from plenish.commands.train_gan import train_generator as train_generator
    from plenish.datasets.dataset import Dataset as Dataset
    from plenish.latent.exporting import load_exported as load_exported
    from plenish.latent.sampling import load_generator as load_generator
    from plenish.latent.sampling import make_dataset as make_dataset
    from plenish.runs import Run as Run
    from plenish.settings import use as use

_HOMES = {
    "Dataset": "plenish.datasets.dataset",
    "Run": "plenish.runs",
    "demo": "plenish.commands.demo",
    "encode": "plenish.commands.encode",
    "export_dataset": "plenish.commands.datasets",
    "export_model": "plenish.commands.export_model",
    "generate": "plenish.commands.generate",
    "import_dataset": "plenish.commands.datasets",
    "load_exported": "plenish.latent.exporting",
    "load_generator": "plenish.latent.sampling",
    "make_dataset": "plenish.latent.sampling",
    "make_phantom": "plenish.commands.datasets",
    "profile_dataset": "plenish.commands.profile",
    "run_study": "plenish.commands.study",
    "score": "plenish.commands.score",
    "study_autoencoders": "plenish.commands.study_autoencoders",
    "split_dataset": "plenish.commands.datasets",
    "tile_slides": "plenish.commands.slides",
    "train_autoencoder": "plenish.commands.train_autoencoder",
    "train_gan": "plenish.commands.train_gan",
    "train_generator": "plenish.commands.train_gan",
    "use": "plenish.settings",
    "write_report": "plenish.commands.report",
}

_NAMED_OTHERWISE = {"run_study": "study"}
"""`plenish.study` is the package: importing it would take the function's place."""

__all__ = ["InputError", "CheckFailed", "PlenishError", "__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(importlib.import_module(_HOMES[name]), _NAMED_OTHERWISE.get(name, name))
        plain = isinstance(found, type) or name == "use" or hasattr(found, "parameters")
        return found if plain else _taking_strings(found)
    raise AttributeError(f"module 'plenish' has no attribute '{name}'")


def _taking_strings(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its paths also accepted as strings."""
    paths = {name for name, kind in function.__annotations__.items() if kind in ("Path", "Path | None")}
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        for name in paths & given.arguments.keys():
            if isinstance(given.arguments[name], str):
                given.arguments[name] = Path(given.arguments[name])
        return function(*given.args, **given.kwargs)

    return call


def __dir__() -> list[str]:
    return __all__
