"""Plenish fills up scarce image datasets, and says whether it helped.

Every command is also a function here: `plenish.import_dataset`, `plenish.train_gan`, `plenish.generate`,
`plenish.score`, `plenish.run_study`; paths may be given as strings. Names are loaded on first use, so that
`import plenish` stays cheap.
"""

from __future__ import annotations

import importlib
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
    from plenish.commands.filter import filter_dataset as filter_dataset
    from plenish.commands.generate import generate as generate
    from plenish.commands.profile import profile_dataset as profile_dataset
    from plenish.commands.release import release as release
    from plenish.commands.report import write_report as write_report
    from plenish.commands.score import score as score
    from plenish.commands.slides import tile_slides as tile_slides
    from plenish.commands.study import run_study as run_study
    from plenish.commands.study_autoencoders import study_autoencoders as study_autoencoders
    from plenish.commands.train_autoencoder import train_autoencoder as train_autoencoder
    from plenish.commands.train_generator import train_gan as train_gan
    from plenish.commands.train_generator import train_generator as train_generator
    from plenish.commands.train_translate import train_translate as train_translate
    from plenish.commands.translate import translate as translate
    from plenish.datasets.dataset import Dataset as Dataset
    from plenish.latent.exporting import load_exported as load_exported
    from plenish.latent.sampling import load_generator as load_generator
    from plenish.latent.sampling import make_dataset as make_dataset
    from plenish.latent.space import LatentSpace as LatentSpace
    from plenish.runs import Run as Run
    from plenish.settings import use as use

_HOMES = {
    "commands.datasets": ("export_dataset", "import_dataset", "make_phantom", "split_dataset"),
    "commands.demo": ("demo",),
    "commands.encode": ("encode",),
    "commands.export_model": ("export_model",),
    "commands.filter": ("filter_dataset",),
    "commands.generate": ("generate",),
    "commands.profile": ("profile_dataset",),
    "commands.report": ("write_report",),
    "commands.release": ("release",),
    "commands.score": ("score",),
    "commands.slides": ("tile_slides",),
    "commands.study": ("run_study",),
    "commands.study_autoencoders": ("study_autoencoders",),
    "commands.train_autoencoder": ("train_autoencoder",),
    "commands.train_generator": ("train_gan", "train_generator"),
    "commands.train_translate": ("train_translate",),
    "commands.translate": ("translate",),
    "datasets.dataset": ("Dataset",),
    "latent.exporting": ("load_exported",),
    "latent.sampling": ("load_generator", "make_dataset"),
    "latent.space": ("LatentSpace",),
    "runs": ("Run",),
    "settings": ("use",),
}
_MODULES = {name: f"plenish.{module}" for module, names in _HOMES.items() for name in names}

__all__ = ["InputError", "CheckFailed", "PlenishError", "__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'plenish' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
