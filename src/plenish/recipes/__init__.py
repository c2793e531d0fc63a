"""Recipes: named configurations in YAML, each with its provenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.errors import InputError, unknown
from plenish.networks.families import GANS
from plenish.yaml_reader import read_yaml

SECTIONS = (
    "network", "adversarial", "penalty", "augment", "growth", "schedule", "limits", "discriminator",
)  # fmt: skip
"""What a recipe sets: the networks, the parts of the training method, its length, and when it has failed."""
FLOW_SECTIONS = ("network", "training", "augment", "schedule")
KINDS: dict[str, tuple[str, ...]] = {
    "generator": SECTIONS,
    "autoencoder": ("network", "training", "schedule"),
    "autoencoder-queue": ("network", "training", "schedule", "variants"),
    "autoencoder-study": ("network", "training", "schedule"),
    "translation": ("network", "training", "augment", "sketch", "schedule"),
    "slide-tiles": ("tiling",),
    "classifier": ("training",),
    "steps": ("steps",),
}
"""What a recipe can be for, and the sections of each kind; the default is a generator."""
VERBS = {
    "generator": "train generator", "autoencoder": "train autoencoder", "autoencoder-queue": "train queue",
    "autoencoder-study": "study autoencoders", "translation": "train translate", "slide-tiles": "slides tile",
    "classifier": "train classifier", "steps": "recipe steps",
}  # fmt: skip
"""The verb that each kind of recipe is for."""
AUTO = "auto"
"""Name of the recipe that is chosen by data and machine (see `recipes.auto`)."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A configuration by name.

    Attributes:
        name: the file's name without suffix.
        about: what it is for, a sentence.
        provenance: where its numbers come from, and what was changed.
        family: generator family; for other kinds, the kind.
        sections: options by section; what is not named has its default.
        choice: of a recipe chosen by data and machine, what a Run keeps of that: reasons, sections.
        kind: what it is for, one of KINDS.
    """

    name: str
    about: str
    provenance: str
    family: str
    sections: Mapping[str, Mapping[str, Any]]
    choice: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kind: str = "generator"

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "name": self.name, "about": self.about, "provenance": self.provenance, "family": self.family,
            **({} if self.kind == "generator" else {"kind": self.kind}),
            **{section: dict(options) for section, options in self.sections.items()},
        }  # fmt: skip


def recipe_names() -> list[str]:
    """Names of the recipes that ship with Plenish."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def load_recipe(name: str, kind: str | None = None) -> Recipe:
    """A recipe by name, or from a YAML file of the user's.

    Args:
        name: a name from `plenish recipe list`, or a YAML file.
        kind: the kind that is needed, where only one will do.

    Raises:
        InputError: no such recipe (the nearest is named), of another kind, or the file is not a recipe.
    """
    if name == AUTO:
        raise InputError(
            "The recipe auto is chosen for a Dataset; 'plenish train gan DATA RUN --recipe auto --dry-run' "
            "shows what it would be."
        )
    path, shipped = Path(name), recipe_names()
    if name in shipped:
        path = Path(__file__).parent / f"{name}.yaml"
    elif path.suffix not in (".yaml", ".yml"):
        fitting = [known for known in shipped if kind in (None, load_recipe(known).kind)]
        raise unknown("recipe", name, [*fitting, *([AUTO] if kind in (None, "generator") else [])])
    recipe = _read_recipe(path, kind)
    if kind is not None and recipe.kind != kind:
        raise InputError(
            f"The recipe {recipe.name} is for 'plenish {VERBS[recipe.kind]}', not for "
            f"'plenish {VERBS[kind]}'; take another, or that verb."
        )
    return recipe


def _read_recipe(path: Path, wanted: str | None = None) -> Recipe:
    content = read_yaml(path, "The recipe")
    start = "start from 'plenish recipe show dcgan --json'"
    if not isinstance(content, dict):
        raise InputError(f"The recipe {path} holds no sections; {start}.")
    kind = content.get("kind", "generator")
    if "kind" not in content and "family" not in content and wanted not in (None, "generator"):
        raise InputError(f"The recipe {path} does not say what it is for; add the line 'kind: {wanted}'.")
    if kind not in KINDS:
        raise unknown(f"kind of the recipe {path.name}", str(kind), KINDS)
    # A recipe that was shown as JSON, which YAML reads, names itself.
    of_a_family = kind == "generator" and "family" in content
    sections = family_sections(str(content["family"])) if of_a_family else KINDS[kind]
    known = ("name", "about", "provenance", "kind", "family", *sections)
    for key, value in content.items():
        if key not in known:
            raise unknown(f"section of the recipe {path.name}", key, known)
        if key in sections and not isinstance(value, dict):
            raise InputError(f"The section '{key}' of the recipe {path} must hold options, one a line.")
    if kind == "generator" and not of_a_family:
        raise InputError(f"The recipe {path} does not name its family; {start}.")
    return Recipe(
        path.stem,
        content.get("about", ""),
        content.get("provenance", ""),
        str(content.get("family", kind)),
        {section: dict(content.get(section, {})) for section in sections},
        kind=kind,
    )


def family_sections(family: str) -> tuple[str, ...]:
    """Sections of recipes for a family; those of another package are asked for."""
    if family in GANS:
        return SECTIONS
    if family == "flow":
        return FLOW_SECTIONS
    from plenish.training.generator import learner_class  # Needs torch, which recipes of Plenish do not.

    return "network", *learner_class(family).sections, "schedule"


def family_recipe(family: str) -> Recipe:
    """The recipe of a family with the default of every option."""
    return Recipe(family, "", "", family, {section: {} for section in family_sections(family)})
