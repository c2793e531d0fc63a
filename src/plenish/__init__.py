"""Plenish fills up scarce image datasets, and says whether it helped.

Every command is also a function here: `plenish.import_dataset`, `plenish.train_gan`, `plenish.generate`,
`plenish.score`, `plenish.run_study`, `plenish.edit_flip`; paths may be given as strings. Names are loaded on
first use, so that `import plenish` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plenish._version import __version__
from plenish.errors import CheckFailed, InputError, PlenishError

if TYPE_CHECKING:
    from plenish.commands.attack import attack as attack
    from plenish.commands.attack_latent import attack_latent as attack_latent
    from plenish.commands.bench import bench as bench
    from plenish.commands.bench import bench_autoencoder as bench_autoencoder
    from plenish.commands.bench import bench_flow as bench_flow
    from plenish.commands.comic import make_comic as make_comic
    from plenish.commands.compare import compare_runs as compare_runs
    from plenish.commands.curate import curate as curate
    from plenish.commands.datasets import export_dataset as export_dataset
    from plenish.commands.datasets import import_dataset as import_dataset
    from plenish.commands.datasets import make_phantom as make_phantom
    from plenish.commands.datasets import refit_dataset as refit_dataset
    from plenish.commands.datasets import split_dataset as split_dataset
    from plenish.commands.demo import demo as demo
    from plenish.commands.doctor import doctor as doctor
    from plenish.commands.encode import encode as encode
    from plenish.commands.export_model import export_model as export_model
    from plenish.commands.filter import filter_dataset as filter_dataset
    from plenish.commands.generate import generate as generate
    from plenish.commands.harden import harden as harden
    from plenish.commands.latent import draw_encodings as draw_encodings
    from plenish.commands.latent import find_nearest as find_nearest
    from plenish.commands.predict import predict as predict
    from plenish.commands.profile import profile_dataset as profile_dataset
    from plenish.commands.recipe_steps import run_steps as run_steps
    from plenish.commands.recipes import list_recipes as list_recipes
    from plenish.commands.recipes import show_recipe as show_recipe
    from plenish.commands.release import release as release
    from plenish.commands.report import write_report as write_report
    from plenish.commands.runs import list_runs as list_runs
    from plenish.commands.runs import prune_runs as prune_runs
    from plenish.commands.runs import remove_run as remove_run
    from plenish.commands.runs import show_run as show_run
    from plenish.commands.runs import tree_of_runs as tree_of_runs
    from plenish.commands.score import score as score
    from plenish.commands.score_edits import score_edits as score_edits
    from plenish.commands.slides import draw_overlay as draw_overlay
    from plenish.commands.slides import inspect_slides as inspect_slides
    from plenish.commands.slides import make_slides as make_slides
    from plenish.commands.slides import normalise_stain as normalise_stain
    from plenish.commands.slides import select_slides as select_slides
    from plenish.commands.slides import tile_slides as tile_slides
    from plenish.commands.slides_heatmap import draw_heatmap as draw_heatmap
    from plenish.commands.study import run_study as run_study
    from plenish.commands.study_autoencoders import study_autoencoders as study_autoencoders
    from plenish.commands.train_advgan import train_advgan as train_advgan
    from plenish.commands.train_autoencoder import train_autoencoder as train_autoencoder
    from plenish.commands.train_generator import train_gan as train_gan
    from plenish.commands.train_generator import train_generator as train_generator
    from plenish.commands.train_queue import train_queue as train_queue
    from plenish.commands.train_translate import train_translate as train_translate
    from plenish.commands.translate import translate as translate
    from plenish.datasets.dataset import Dataset as Dataset
    from plenish.invocation import Command as _Command
    from plenish.latent.sampling import load_generator as load_generator
    from plenish.latent.sampling import make_dataset as make_dataset
    from plenish.latent.space import LatentSpace as LatentSpace
    from plenish.runs import Run as Run
    from plenish.settings import use as use
    from plenish.training.model_files import load_exported as load_exported

    edit_anonymise: _Command[Any]
    concept_effect: _Command[Any]
    concept_export: _Command[Any]
    concept_import: _Command[Any]
    concept_learn: _Command[Any]
    concept_list: _Command[Any]
    concept_remove: _Command[Any]
    edit_concept: _Command[Any]
    edit_counterfactual: _Command[Any]
    edit_directions: _Command[Any]
    edit_arithmetic: _Command[Any]
    edit_flip: _Command[Any]
    edit_grid: _Command[Any]
    edit_interpolate: _Command[Any]
    edit_mix: _Command[Any]
    edit_walk: _Command[Any]
    edit_invert: _Command[Any]
    open_studio: _Command[Any]
    train_classifier: _Command[Any]

_HOMES = {
    "commands.attack": ("attack",),
    "commands.attack_latent": ("attack_latent",),
    "commands.comic": ("make_comic",),
    "commands.compare": ("compare_runs",),
    "commands.curate": ("curate",),
    "commands.bench": ("bench", "bench_autoencoder", "bench_flow"),
    "commands.datasets": (
        "export_dataset",
        "import_dataset",
        "make_phantom",
        "refit_dataset",
        "split_dataset",
    ),
    "commands.demo": ("demo",),
    "commands.doctor": ("doctor",),
    "commands.encode": ("encode",),
    "commands.export_model": ("export_model",),
    "commands.filter": ("filter_dataset",),
    "commands.generate": ("generate",),
    "commands.harden": ("harden",),
    "commands.latent": ("draw_encodings", "find_nearest"),
    "commands.predict": ("predict",),
    "commands.profile": ("profile_dataset",),
    "commands.recipe_steps": ("run_steps",),
    "commands.recipes": ("list_recipes", "show_recipe"),
    "commands.release": ("release",),
    "commands.report": ("write_report",),
    "commands.runs": ("list_runs", "prune_runs", "remove_run", "show_run", "tree_of_runs"),
    "commands.score": ("score",),
    "commands.score_edits": ("score_edits",),
    "commands.slides": (
        "draw_overlay",
        "inspect_slides",
        "make_slides",
        "normalise_stain",
        "select_slides",
        "tile_slides",
    ),
    "commands.slides_heatmap": ("draw_heatmap",),
    "commands.study": ("run_study",),
    "commands.study_autoencoders": ("study_autoencoders",),
    "commands.train_advgan": ("train_advgan",),
    "commands.train_autoencoder": ("train_autoencoder",),
    "commands.train_generator": ("train_gan", "train_generator"),
    "commands.train_queue": ("train_queue",),
    "commands.train_translate": ("train_translate",),
    "commands.translate": ("translate",),
    "datasets.dataset": ("Dataset",),
    "latent.sampling": ("load_generator", "make_dataset"),
    "latent.space": ("LatentSpace",),
    "runs": ("Run",),
    "settings": ("use",),
    "training.model_files": ("load_exported",),
}
_RENAMED = {
    "commands.anonymise": {"edit_anonymise": "anonymise"},
    "commands.concept": {
        "concept_effect": "effect",
        "concept_export": "export",
        "concept_import": "import_concept",
        "concept_learn": "learn",
        "concept_list": "list_concepts",
        "concept_remove": "remove",
        "edit_concept": "edit",
    },
    "commands.counterfactual": {"edit_counterfactual": "counterfactual"},
    "commands.directions": {"edit_directions": "directions"},
    "commands.edit": {
        "edit_arithmetic": "arithmetic",
        "edit_flip": "flip",
        "edit_grid": "grid",
        "edit_interpolate": "interpolate",
        "edit_mix": "mix",
        "edit_walk": "walk",
    },
    "commands.invert": {"edit_invert": "invert"},
    "commands.studio": {"open_studio": "studio"},
    "commands.train_classifier": {"train_classifier": "train_classifier_run"},
}
"""Names of functions that say too little outside their module."""
_FOUND = {name: (module, name) for module, names in _HOMES.items() for name in names}
_FOUND |= {name: (module, inner) for module, names in _RENAMED.items() for name, inner in names.items()}

__all__ = ["InputError", "CheckFailed", "PlenishError", "__version__", *sorted(_FOUND)]


def __getattr__(name: str) -> Any:
    if name in _FOUND:
        module, inner = _FOUND[name]
        return getattr(importlib.import_module(f"plenish.{module}"), inner)
    if name == "robustness":  # A room that users call by its name: plenish.robustness.evaluate.
        return importlib.import_module("plenish.robustness")
    raise AttributeError(f"module 'plenish' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
