"""From a recipe's options and the command line's to the configuration a Run freezes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plenish import settings
from plenish._version import __version__
from plenish.errors import InputError, coerce_type, unknown
from plenish.progress import warn

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.recipes import Recipe
    from plenish.runs import Run


def check_numbers(least: Mapping[str, int], **given: float | None) -> None:
    """Refuse impossible numbers by the option that was typed, before anything slow is imported.

    Args:
        least: parameters that are whole numbers, and the smallest each may be.
        given: what was typed, by parameter; None where it was not.
    """
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if value is None:
            continue
        if name in least and value < least[name]:
            raise InputError(f"{option} must be at least {least[name]}, not {value:g}.")
        if name not in least and not 0 < value < math.inf:
            raise InputError(f"{option} must be a number above 0, not {value:g}.")


def parse_overrides(options: Sequence[str], sections: Sequence[str], example: str) -> dict[str, Any]:
    """`section.name=value` words as dotted key → value.

    Raises:
        InputError: a word of another form, or of no section there is.
    """
    import yaml

    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key.split(".")[0] not in sections or "." not in key:
            raise InputError(
                f"'{option}' is not section.name=value with a section among {', '.join(sections)}, "
                f"such as {example}."
            )
        found[key] = yaml.safe_load(value) if value.strip() else ""
    return found


def apply_overrides(
    sections: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """A recipe's sections with options by dotted key put in."""
    result = {name: dict(values) for name, values in sections.items()}
    for key, value in changes.items():
        section, name = key.split(".", 1)
        result[section][name] = value
    return result


def build_config(kind: Any, values: Mapping[str, Any], section: str) -> Any:
    """Build a configuration dataclass; unknown options and values of another type are refused."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    typed = {}
    for name, value in values.items():
        if name not in fields:
            raise unknown(f"option in {section}", name, fields)
        typed[name] = coerce_type(f"{section}.{name}", value, fields[name].default)
    return kind(**typed)


def request_hash(recipe: Recipe, changes: Mapping[str, Any], dataset: Dataset, split: str, *more: Any) -> str:
    """Hash of all that was asked; two commands with the same one ask for the same Run."""
    from plenish.files import config_hash

    data = {key: value for key, value in dataset.provenance(split).items() if key not in ("path", "name")}
    return config_hash(
        {
            "recipe": recipe.summary(), "domain": recipe.choice.get("domain"), "changes": dict(changes),
            "data": data, "more": more, "precision": settings.current().precision, "version": __version__,
        }
    )  # fmt: skip


def warn_of_other_machine(run: Run, engine: Mapping[str, Any]) -> None:
    """Say when a Run goes on on another device or with other threads."""
    before = run.status.get("engine")
    changed = [k for k in ("device", "threads") if before and before.get(k) != engine.get(k)]
    if changed:
        what = " and ".join(f"{k} (was {before[k]}, is {engine[k]})" for k in changed)  # type: ignore[index]
        warn(f"the Run goes on with another {what}; its weights will differ in the last bits.")
