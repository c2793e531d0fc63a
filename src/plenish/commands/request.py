"""What a training was asked, as one hash: the same command again answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plenish import files, settings
from plenish._version import __version__
from plenish.recipes import Recipe

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset


def request_hash(recipe: Recipe, changes: Mapping[str, Any], dataset: Dataset, split: str, *more: Any) -> str:
    """Hash of all that was asked; two commands with the same one ask for the same Run."""
    data = {key: value for key, value in dataset.provenance(split).items() if key not in ("path", "name")}
    return files.config_hash(
        {
            "recipe": recipe.summary(), "domain": recipe.choice.get("domain"), "changes": dict(changes),
            "data": data, "more": more, "precision": settings.current().precision, "version": __version__,
        }
    )  # fmt: skip
