"""`plenish train queue`: variants of an autoencoder from one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError, unknown
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

    Raises:
        CheckFailed: every variant failed.
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
    rows = queue.write_results(out, variants)
    failed = {row["variant"]: row["message"] for row in rows if row["message"]}
    if all(name in failed for name in only or variants):
        raise CheckFailed(
            f"No variant was trained; {out / queue.RESULTS} says why of each. Of {next(iter(failed))}: "
            f"{next(iter(failed.values()))}"
        )
    return queue.Queue(out, rows)


def _variants(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Each variant as a recipe of its own: the common options with the variant's put over them."""
    if not recipe.sections["variants"]:
        raise InputError(f"The recipe {recipe.name} names no variants; give at least one below 'variants'.")
    sections, found = KINDS["autoencoder"], {}
    for name, own in recipe.sections["variants"].items():
        name, own = str(name), own or {}
        files.check_name(name, "a variant")
        if not isinstance(own, Mapping):
            raise InputError(f"The variant '{name}' of {recipe.name} must hold sections of a recipe.")
        for key, value in own.items():
            if key not in (*sections, *_OWN):
                raise unknown(f"section of the variant '{name}'", key, (*sections, *_OWN))
            if key in sections and not isinstance(value or {}, Mapping):
                raise InputError(
                    f"The section '{key}' of the variant '{name}' must hold options, one a line."
                )
        about = {"about": f"Variant {name} of {recipe.name}.", "kind": "autoencoder"}
        both = {section: {**recipe.sections[section], **(own.get(section) or {})} for section in sections}
        found[name] = {"recipe": about | {"provenance": recipe.provenance} | both}
        found[name] |= {key: own[key] for key in _OWN if key in own}
    return found
