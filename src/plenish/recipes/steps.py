"""Recipes of several steps: each a command in words, some of them once for every seed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.recipes import Recipe

_KNOWN = {"run", "row"}


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a recipe.

    Attributes:
        name: the step's name in the recipe.
        words: of the command, behind `plenish`.
        seed: which of the seeds it is for; None where it is done once.
        row: the row of the table that its classifier belongs to, or nothing.
        out: what it makes.
    """

    name: str
    words: tuple[str, ...]
    seed: int | None
    row: str
    out: Path

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(["plenish", *self.words])

    @property
    def key(self) -> str:
        """Its name with the seed."""
        return self.name if self.seed is None else f"{self.name} seed {self.seed}"


def steps_of(recipe: Recipe, data: Path, out: Path, split: str, seeds: int) -> list[Step]:
    """The steps in their order; what is done for each seed is done for all before the next begins.

    In the words of a step, {data}, {out}, {split} and {seed} stand for what is given; the first word that
    begins with {out} and is no option's value is what the step makes.

    Args:
        recipe: of the kind `steps`.
        data: the real Dataset.
        out: the folder of everything that is made.
        split: the split.
        seeds: how many seeds, 0, 1, 2, ….

    Raises:
        InputError: a step that is none.
    """
    found = []
    if not recipe.sections["steps"]:
        raise InputError(f"The recipe {recipe.name} names no steps; give at least one below 'steps'.")
    for name, said in recipe.sections["steps"].items():
        _check(recipe, name, said)
        template = shlex.split(said["run"])
        for seed in range(seeds) if "{seed}" in said["run"] else (None,):
            values = {"data": str(data), "out": str(out), "split": split, "seed": str(seed)}
            words = tuple(_filled(word, values) for word in template)
            made = Path(words[_made(template)])
            found.append(Step(name, words, seed, str(said.get("row", "")), made))
    return found


def _check(recipe: Recipe, name: str, said: Any) -> None:
    where = f"The step '{name}' of the recipe {recipe.name}"
    if not isinstance(said, Mapping) or not isinstance(said.get("run"), str) or set(said) - _KNOWN:
        raise InputError(
            f"{where} holds 'run', a command in words, and perhaps 'row', a name; see ham10000-all."
        )
    if not any(word.startswith("{out}") for word in shlex.split(said["run"])):
        raise InputError(f"{where} makes nothing below {{out}}; let it, such as {{out}}/{name}.")


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _made(template: list[str]) -> int:
    """The last word below {out} before the first option: inputs come first."""
    first = next((i for i, word in enumerate(template) if word.startswith("--")), len(template))
    return max((i for i in range(first) if template[i].startswith("{out}")), default=first - 1)
