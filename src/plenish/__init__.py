"""Plenish fills up scarce image datasets, and says whether it helped.

Every command is also a function here: `plenish.import_dataset`, `plenish.train_gan`, `plenish.generate`,
`plenish.score`, `plenish.study`. Names are loaded on first use, so that `import plenish` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plenish._version import __version__
from plenish.errors import InputError, NegativeAnswer, PlenishError

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset as Dataset
    from plenish.datasets.exporting import export_dataset as export_dataset
    from plenish.datasets.importing import import_dataset as import_dataset
    from plenish.datasets.phantom import make_phantom as make_phantom
    from plenish.datasets.profile import profile_dataset as profile_dataset
    from plenish.datasets.split import split_dataset as split_dataset
    from plenish.latent.generate import generate as generate
    from plenish.latent.generate import load_generator as load_generator
    from plenish.metrics.score import score as score
    from plenish.recipes.demo import demo as demo
    from plenish.recipes.train import train_gan as train_gan
    from plenish.report.build import write_report as write_report
    from plenish.runs import Run as Run
    from plenish.settings import use as use
    from plenish.study.run import study as study

_HOMES = {
    "Dataset": "plenish.datasets.dataset",
    "Run": "plenish.runs",
    "demo": "plenish.recipes.demo",
    "export_dataset": "plenish.datasets.exporting",
    "generate": "plenish.latent.generate",
    "import_dataset": "plenish.datasets.importing",
    "load_generator": "plenish.latent.generate",
    "make_phantom": "plenish.datasets.phantom",
    "profile_dataset": "plenish.datasets.profile",
    "score": "plenish.metrics.score",
    "split_dataset": "plenish.datasets.split",
    "study": "plenish.study.run",
    "train_gan": "plenish.recipes.train",
    "use": "plenish.settings",
    "write_report": "plenish.report.build",
}

__all__ = ["InputError", "NegativeAnswer", "PlenishError", "__version__", *sorted(_HOMES)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'plenish' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
