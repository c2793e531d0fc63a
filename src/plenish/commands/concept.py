"""`plenish concept …`: named directions of a generator's latent space; `plenish edit concept` shows them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.concept_options import EffectOptions, JudgeOptions, LearnOptions
from plenish.latent.edit_options import GeneratorOptions, PointOptions
from plenish.latent.held_options import HeldOptions
from plenish.latent.render import FilmOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plenish.latent.concept_effects import Effect
    from plenish.latent.edits import Edit


@dataclasses.dataclass(frozen=True)
class Listed:
    """Concepts, as rows."""

    rows: list[dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {"concepts": self.rows}

    def shown(self) -> dict[str, Any] | str:
        """The same for a terminal."""
        return self.summary() if self.rows else "no concepts; 'plenish concept learn' makes one"


@dataclasses.dataclass(frozen=True)
class Told:
    """Facts of a concept."""

    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return dict(self.facts)

    def shown(self) -> dict[str, Any]:
        """The same for a terminal: generator and Dataset by what a person calls them, without hashes."""
        shown = self.summary()
        if isinstance(model := shown.get("generator"), Mapping):
            shown["generator"] = f"{model['family']}, {model['checkpoint']}"
        if isinstance(data := shown.get("data"), Mapping):
            shown["data"] = data["path"]
        return shown


_SHOWN = ("name", "space", "scale", "method", "n_with", "n_without", "n", "column")


@command("concept learn", renamed={"having": "with", "lacking": "without", "truth": "from"})
def learn(
    run: Path, name: str, *, having: list[str] | None = None, lacking: list[str] | None = None,
    how: LearnOptions = LearnOptions(), truth: Path | None = None, split: str = "default",
    classifier: Path | None = None,
) -> Told:  # fmt: skip
    """Learn a concept from generated images with it and without, or from a column of a labelled Dataset.

    Args:
        run: a generator's Run, which keeps the concept.
        name: of the concept: letters, digits, - and _.
        having: examples with it: seeds (7, 0-19), .npy or .csv files of latents, ids of images of --data, or
            a .csv table with a column id.
        lacking: examples without it.
        how: further options.
        truth: a real Dataset with --column in its table.
        split: its split.
        classifier: a classifier's Run, for --column of one of its classes.

    Returns:
        The concept's facts.

    Raises:
        InputError: what is asked for does not fit together, or the name is taken.
    """
    from plenish.latent.concept_verbs import learn_concept

    by = JudgeOptions(truth=truth, split=split, classifier=classifier)
    return Told(learn_concept(run, name, having or [], lacking or [], how, by).about())


@command("concept list")
def list_concepts(run: Path) -> Listed:
    """List the concepts of a generator.

    Args:
        run: its Run.
    """
    from plenish.latent import concepts

    found = [concepts.read(run, name).about() for name in concepts.names(run)]
    return Listed([{key: one[key] for key in _SHOWN if one.get(key) is not None} for one in found])


@command("concept rm")
def remove(run: Path, name: str) -> Told:
    """Remove a concept from its generator's Run.

    Args:
        run: the Run.
        name: of the concept.

    Raises:
        InputError: there is none of that name.
    """
    from plenish.latent import concepts

    concepts.remove(run, name)
    return Told({"removed": name, "run": str(run)})


@command("concept export")
def export(run: Path, name: str, out: Path) -> Told:
    """Write a concept as one JSON file, to share it.

    Args:
        run: the generator's Run.
        name: of the concept.
        out: the file to write.

    Raises:
        InputError: there is no such concept, or the file exists.
    """
    from plenish.latent import concepts

    concepts.export(concepts.read(run, name), out)
    return Told({"file": str(out), "concept": name})


@command("concept import", renamed={"rename": "as"})
def import_concept(run: Path, file: Path, *, rename: str | None = None, replace: bool = False) -> Told:
    """Keep a concept from a file in a generator's Run.

    Args:
        run: the Run; of the generator that the concept was learnt for.
        file: what 'plenish concept export' wrote.
        rename: another name for it.
        replace: whether a concept of that name gives way.

    Raises:
        InputError: it is no concept, or one of another generator, or the name is taken.
    """
    from plenish.latent import concepts
    from plenish.runs import Run

    found = concepts.from_file(file)
    made_for, run_id = dict(found.facts.get("generator") or {}).get("run_id"), Run.open(run, "generator").id
    if made_for != run_id:
        raise InputError(
            f"The concept of {file} was learnt for the Run {made_for}, and {run} is {run_id}; latents of "
            "another generator mean other things."
        )
    found = dataclasses.replace(found, name=rename or found.name)
    return Told({"concept": str(concepts.keep(run, found, replace=replace)), **found.about()})


@command("concept effect", renamed={"truth": "from"})
def effect(
    run: Path, names: list[str], *, out: Path | None = None, options: EffectOptions = EffectOptions(),
    how: GeneratorOptions = GeneratorOptions(), keeping: HeldOptions = HeldOptions(),
) -> Effect:  # fmt: skip
    """Measure what concepts do to fresh images: how much their target changes, and everything else.

    Args:
        run: the generator's Run.
        names: concepts; a weight may follow, as in atypia=-0.5.
        out: a JSON file to write it to.
        options: further options.
        how: further options.
        keeping: further options.

    Raises:
        InputError: unknown concepts, nothing that reads images, or OUT exists.
    """
    if out is not None:  # Before minutes of work.
        files.refuse_existing(out)
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
    from plenish.latent.concept_verbs import concept_effect

    found = concept_effect(run, names, how, options, keeping)
    if out is not None:
        files.write_record(out, found.facts)
    return found


@command("edit concept")
def edit(
    run: Path, out: Path, names: list[str], *, strength: tuple[float, ...] = (-2.0, -1.0, 0.0, 1.0, 2.0),
    which: PointOptions = PointOptions(), how: FilmOptions = FilmOptions(),
    keeping: HeldOptions = HeldOptions(),
) -> Edit:  # fmt: skip
    """Show points with concepts at several strengths: a strip for each point, and a film.

    Args:
        run: a generator's Run with concepts.
        out: the folder to write: picture.png, the film, latents.npy, labels.npy, edit.json.
        names: concepts; a weight that the strengths multiply may follow, as in atypia=-0.5.
        strength: the strengths.
        which: further options.
        how: further options.
        keeping: further options.

    Returns:
        The edit.

    Raises:
        InputError: unknown concepts, what is to be kept does not fit, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.concept_verbs import edit_concept
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    return edit_concept(space, chosen_points(space, which), names, strength, out, how, keeping)
