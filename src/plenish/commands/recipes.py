"""`plenish recipe`: list and show recipes. `recipe run` is the verb of the recipe's kind (see `cli`)."""

from __future__ import annotations

from typing import Any

from plenish.invocation import command
from plenish.networks.families import BUILT_IN, family_names
from plenish.recipes import AUTO, KINDS, Recipe, load_recipe, recipe_names


@command("recipe list")
def list_recipes() -> dict[str, Any]:
    """List the recipes by name, those for GANs first, and the families of other packages."""
    order = list(KINDS)
    recipes = sorted(map(load_recipe, recipe_names()), key=lambda recipe: order.index(recipe.kind))
    rows = [{"name": r.name, "family": r.family, "about": r.about} for r in recipes]
    for name in family_names():
        if name not in BUILT_IN:
            rows.append(
                {"name": "–", "family": name, "about": f"of another package; train it with --family {name}"}
            )
    about = "chosen from the number, size and kind of the images and the machine, with reasons"
    return {"recipes": [{"name": AUTO, "family": "–", "about": about}, *rows]}


@command("recipe show")
def show_recipe(name: str) -> Recipe:
    """Show one recipe: its options and where they come from.

    Args:
        name: a name from `plenish recipe list`, or a YAML file.
    """
    return load_recipe(name)
