"""`plenish train queue`: variants of an autoencoder from one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError, unknown
from plenish.invocation import command
from plenish.progress import say
from plenish.recipes import KINDS, Recipe, load_recipe
from plenish.training import queue

_OWN = ("only", "seed")
"""What a variant may say besides the sections of a recipe."""


@command("train queue")
def train_queue(
    recipe: str, data: Path, out: Path, *, split: str = "default", only: list[str] | None = None
) -> queue.Queue:
    """Train variants of an autoencoder from one YAML file; a variant that fails does not stop the others.

    The same command again resumes the variant that was being trained, and tries failed ones again. Choose by
    the error on val: after a choice by the test part, nothing is left to test with.

    Args:
        recipe: a name from `plenish recipe list`, or a YAML file: options as in a recipe, and `variants`, a
            name and other options for each.
        data: the Dataset; it must have been split.
        out: a folder; each variant gets a Run in it, and results.csv a row.
        split: the split.
        only: run these variants alone.

    Returns:
        The table.
    """
    chosen = load_recipe(recipe, "autoencoder-queue")
    variants = _variants(chosen)
    for name in only or []:
        if name not in variants:
            raise unknown("variant", name, variants)
    dataset = Dataset.open(data)
    dataset.part("train", split, purpose="train")
    queue.claim(out, dataset, split)
    for name in only or variants:
        say(f"Variant {name}:")
        queue.run_variant(out, name, variants[name], data, split)
        queue.write_results(out, variants)
    return queue.Queue(out, queue.write_results(out, variants))


def _variants(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Each variant as a recipe of its own: the common options with the variant's put over them."""
    if not recipe.sections["variants"]:
        raise InputError(f"The recipe {recipe.name} names no variants; give at least one below 'variants'.")
    found = {}
    for name, own in recipe.sections["variants"].items():
        name, own = str(name), own or {}
        if not name or name.startswith(".") or not all(c.isalnum() or c in "-_." for c in name):
            raise InputError(f"'{name}' cannot name a variant; use letters, digits, '-' and '_'.")
        if not isinstance(own, Mapping):
            raise InputError(f"The variant '{name}' of {recipe.name} must hold sections of a recipe.")
        made: dict[str, Any] = {"about": f"Variant {name} of {recipe.name}.", "kind": "autoencoder"}
        made["provenance"] = recipe.provenance
        for section in KINDS["autoencoder"]:
            made[section] = {**recipe.sections[section], **_section(own, section, name)}
        for key in own:
            if key not in (*KINDS["autoencoder"], *_OWN):
                raise unknown(f"section of the variant '{name}'", key, (*KINDS["autoencoder"], *_OWN))
        found[name] = {"recipe": made, **{key: own[key] for key in _OWN if key in own}}
    return found


def _section(own: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    values = own.get(section) or {}
    if not isinstance(values, Mapping):
        raise InputError(f"The section '{section}' of the variant '{name}' must hold options, one a line.")
    return values
