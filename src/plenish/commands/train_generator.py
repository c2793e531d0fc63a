"""`plenish train generator`: recipe, Dataset and options become a Run, trained or resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import settings
from plenish.commands.request import completed, request_hash, training
from plenish.configuration import named_as_typed, option, option_names, overrides
from plenish.datasets.dataset import Dataset
from plenish.datasets.orders import Composition
from plenish.datasets.parts import Subset
from plenish.datasets.reads import unrecorded
from plenish.domains import Chosen, choose_domain
from plenish.errors import InputError
from plenish.invocation import command
from plenish.metrics.advice import remarks
from plenish.networks.families import GANS
from plenish.policies import restricted
from plenish.progress import plain_duration, say
from plenish.recipes import AUTO, Recipe, auto, family_recipe, load_recipe
from plenish.runs import Run
from plenish.wording import Sentences, significant

if TYPE_CHECKING:
    from plenish.training.generator import GeneratorTask
    from plenish.training.starting_point import StartingPoint
    from plenish.training.trial import Trial


@dataclasses.dataclass(frozen=True)
class GeneratorOptions:
    """What is asked of a training; what is None is as the recipe has it.

    Attributes:
        recipe: a name from `plenish recipe list`, or a YAML file; `auto` chooses by data and machine, and
            says why.
        family: a family by name, with its defaults and without a recipe; also one of another package.
        split: the split whose train part is used.
        seed: seed of every random draw.
        kimg: length, in thousands of real images shown; may be raised later.
        hours: length instead, in hours of this machine, found by some seconds of trying, with checkpoints
            spaced to it; the recipe auto takes one hour where neither is given.
        batch: images a step.
        width: feature maps at the highest resolution (dcgan: at half of it); the cost grows with its square.
        lr: learning rate, of a GAN that of both networks.
        order: which images a step takes: shuffled (each once an epoch), sequential, random (with
            replacement), fixed-batches, random-batches or preformed-batches; see docs/corpora.md.
        conditional: give the labels to the networks; by default whenever the data have labels.
        checkpoint_kimg: interval of checkpoints.
        keep: newest checkpoints kept, beside the best.
        start_from: a Run of the same networks and data, to start from its newest checkpoint, or from where
            `stage` began; its record is among the new Run's parents.
        stage: the stage of growth to start with, as the size of its images in pixels; its beginning is where
            the schedule of the new Run has it.
        validation: score each checkpoint against the val part, to know the best.
        retry: resume after a divergence, with other random draws.
        on_failure: what to do when the training diverges: `stop` at the last good checkpoint, as by default,
            or `rollback` to it and go on with other random draws, up to schedule.rollbacks times.
        domain: kind of images: natural, histology, dermoscopy, radiology, fundus, industrial, comic, faces or
            text; decides how they may be turned, mirrored and coloured; by default the one kept with the
            Dataset. A recipe by name is restricted to what the domain allows.
        dry_run: write nothing; show the networks, the memory they take, and how long the training would.
        options: further options as section.name=value, such as adversarial.smoothing=0.1; each is also an
            option by itself, such as --adversarial.smoothing 0.1.
    """

    recipe: str = AUTO
    family: str | None = None
    split: str = "default"
    seed: int = 0
    kimg: float | None = option(sets="schedule.kimg", above=0)
    hours: float | None = option(decides="schedule.kimg schedule.checkpoint_kimg", above=0)
    batch: int | None = option(sets="adversarial.batch", least=2)
    width: int | None = option(sets="network.width", least=1)
    lr: float | None = option(sets="adversarial.lr_g adversarial.lr_d", above=0)
    order: Composition | None = option(sets="schedule.order")
    conditional: bool | None = option(decides="network.labels.kind network.labels.names")
    checkpoint_kimg: float | None = option(sets="schedule.checkpoint_kimg", above=0)
    keep: int | None = option(sets="schedule.keep", least=1)
    start_from: Path | None = None
    stage: int | None = option(least=1)
    validation: bool = True
    retry: bool = False
    on_failure: Literal["stop", "rollback"] | None = option(sets="schedule.on_failure")
    domain: str | None = option(decides="domain")
    dry_run: bool = False
    options: list[str] | None = None


_AUTO_HOURS = 1.0
OPTIONS = option_names(GeneratorOptions)
"""The option that sets a configuration key, for messages."""


def _train_by_recipe(data: Path, run: Path, *, how: GeneratorOptions) -> Run | Trial:
    """Train a generator on the train part of a Dataset, or go on training it.

    The same command again resumes from the newest checkpoint; on a CPU with the weights of a run never
    stopped, bit for bit. Ctrl-C writes a checkpoint first. Stops with exit code 3 when the training diverges.

    Args:
        data: the Dataset; it must have been split.
        run: the Run's folder, made if it is not there.
        how: further options.

    Returns:
        The trained Run, or what a dry run found.
    """
    with unrecorded() if how.dry_run else contextlib.nullcontext():
        done = _asked(data, run, how)
    if isinstance(done, Run):
        done.remarks = remarks(done)
    return done


def _asked(data: Path, run: Path, how: GeneratorOptions) -> Run | Trial:
    if how.hours is not None and how.kimg is not None:
        raise InputError("--hours and --kimg both say how long to train; give one.")
    if not how.dry_run:
        Run.check_place(run)
    if how.family is not None and how.recipe != GeneratorOptions.recipe:
        raise InputError("--family goes with no --recipe, which names its own family; give one of them.")
    if how.stage is not None and how.start_from is None:
        raise InputError("--stage says where to start in the Run of --from; give that too.")
    if how.family is not None:
        chosen: Recipe | None = family_recipe(how.family)
    else:
        chosen = None if how.recipe == AUTO else load_recipe(how.recipe, "generator")
    changes = overrides(how, chosen.sections if chosen else auto.SECTIONS, "schedule.validate=500")
    if chosen is None and how.hours is None and "schedule.kimg" not in changes:
        how = dataclasses.replace(how, hours=_AUTO_HOURS)
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; a generator is trained on real images.")
    domain = choose_domain(how.domain, dataset.domain)
    if chosen is None:
        chosen = _choose(dataset, run, how, changes, domain)
    elif domain.origin != "assumed":
        chosen = _within_domain(chosen, domain, changes)
    request = request_hash(
        chosen, changes, dataset, how.split, how.seed, how.conditional, how.validation, how.hours,
        domain.name, str(how.start_from), how.stage,
    )  # fmt: skip
    before = None if how.dry_run else completed(run, "generator", request)
    if before is not None and _is_long_enough(before):
        return before
    return _train(dataset.part("train", how.split, purpose="train"), run, chosen, how, changes, request)


_RENAMED = {"start_from": "from"}
train_generator = command("train generator", renamed=_RENAMED)(_train_by_recipe)
train_gan = command("train gan", renamed=_RENAMED)(_train_by_recipe)


def _within_domain(recipe: Recipe, domain: Chosen, changes: Mapping[str, Any]) -> Recipe:
    """A recipe by name with no more augmentation than the domain allows; says what that changes."""
    if "augment" not in recipe.sections:
        return recipe
    own = recipe.sections["augment"]
    augment = restricted(own, domain)
    told = [
        f"{key} {augment[key] or 'none'} instead of {own[key]}"
        for key in ("symmetry", "diffaugment", "policy")
        if key in own and f"augment.{key}" not in changes and augment[key] != own[key]
    ]
    if told:
        say(f"{domain.sentence()} The recipe {recipe.name} is restricted to that: {', '.join(told)}.")
    return dataclasses.replace(recipe, sections={**recipe.sections, "augment": augment})


def _choose(
    dataset: Dataset, run: Path, how: GeneratorOptions, changes: Mapping[str, Any], domain: Chosen
) -> Recipe:
    """The recipe `auto`: the one chosen when the Run was made, or one for these data, with its reasons."""
    from plenish.networks.layers import base_and_stages

    if (run / "config.json").exists():
        before = auto.frozen(Run.open(run, "generator").config["config"])
        if before is not None:
            return before
    subset = dataset.part("train", how.split, purpose="train")
    facts = auto.facts_of(subset, domain, how.conditional is not False, changes, how.validation, how.hours)
    recipe = auto.choose(facts)
    if recipe.family in GANS:
        base_and_stages(dataset.size)  # Nothing need be said of a size that it cannot make.
    say(f"Recipe auto, chosen for these data and this machine; --recipe NAME takes another. {recipe.about}")
    for reason in [] if how.dry_run else recipe.choice["reasons"]:  # A dry run's result holds them.
        say(f"  {reason}")
    return recipe


def _scheduled(
    task: GeneratorTask, path: Path, how: GeneratorOptions, changes: Mapping[str, Any]
) -> GeneratorTask:
    """The task with the length asked for, which is said for a new Run.

    `--hours` is measured for a new Run, and in proportion for one that is there.
    """
    from plenish.training import budget

    is_new = not (path / "config.json").exists()
    if how.hours is None:
        task = budget.spaced(task, changes) if "schedule.kimg" in changes else task
        if is_new and not how.dry_run:
            budget.say_length(task, how.validation)
        return task
    if settings.process()[1] > 1:
        raise InputError("--hours is measured by one process, and several are at work; give --kimg.")
    if how.dry_run or is_new:
        return budget.within(task, how.hours, how.validation, changes)
    before = Run.open(path, "generator").config["config"]
    if not before.get("hours"):
        raise InputError(f"{path} was made without --hours; give --kimg to train it longer.")
    schedule = before["schedule"]
    kimg = significant(how.hours / before["hours"] * schedule["kimg"])
    return budget.with_length(task, kimg, schedule["checkpoint_kimg"], changes)


def _described(trial: Trial, recipe: Recipe, hours: float | None) -> Trial:
    """A dry run with the time for all first, then the recipe and its reasons."""
    facts = dict(trial.facts)
    measured = facts.pop("time_for_all")
    time = measured if hours is None else plain_duration(3600 * hours)
    reasons = {"reasons": Sentences(recipe.choice["reasons"])} if recipe.choice else {}
    facts = {"time_for_all": time, "recipe": recipe.name, **reasons, **facts}
    return dataclasses.replace(trial, facts=facts)


def _is_long_enough(run: Run, kimg: float = 0.0) -> bool:
    """Whether the Run is complete, with an intact checkpoint of its end, and `kimg` long; says so.

    Answers without torch, from the status and the newest checkpoint.
    """
    from plenish.training.checkpoints import load_state, newest_intact

    newest = newest_intact(run.path / "checkpoints") if run.state == "complete" else None
    trained = load_state(newest)["nimg"] / 1000 if newest is not None else 0.0
    if newest is None or trained < max(kimg, float(run.status.get("kimg", math.inf))):
        return False
    say(f"{run.path} is complete: it has been trained for {trained:g} kimg; use a larger --kimg to train on.")
    return True


def _train(
    subset: Subset, path: Path, recipe: Recipe, how: GeneratorOptions, changes: Mapping[str, Any],
    request: str,
) -> Run | Trial:  # fmt: skip
    from plenish.metrics.beside import classifier_behind
    from plenish.metrics.validation import validator_of
    from plenish.training.generator import CHANGEABLE, learner_class, plan_task
    from plenish.training.starting_point import starting_point
    from plenish.training.trial import try_out

    dataset, learner = subset.dataset, learner_class(recipe.family)
    domain = choose_domain(how.domain, dataset.domain)
    with named_as_typed(how, learner.option_keys):
        task = plan_task(recipe.family, recipe.sections, changes, subset, how.conditional, OPTIONS)
        classifier = getattr(task.sections.get("discriminator"), "run", None)
        parents = [classifier_behind(classifier, dataset, subset.split_name)] if classifier else []
        learner.check(task, changes)
    provenance = dataset.provenance(subset.split_name) | {"part": subset.part, "images": len(subset)}
    start, before = None, _started_from(path, how)
    if how.start_from is not None and before is None:
        start = starting_point(how.start_from, how.stage, task, provenance)
        before = start.record()
    task = _scheduled(task, path, how, changes)
    if start is not None:
        start.check_length(task.schedule)
    if how.dry_run:
        return _described(try_out(task), recipe, how.hours)
    config = _config_of(task, recipe, how, domain, parents) | ({"from": before} if before else {})
    parents += [start.parent()] if start else []
    validator = functools.cache(lambda: validator_of(dataset, subset.split_name) if how.validation else None)
    if not (path / "config.json").exists():  # What cannot be scored is refused before a Run is made.
        validator()
    run = Run.open_or_create(
        path,
        "generator",
        config,
        data=provenance,
        parents=parents,
        seed=how.seed,
        may_change=(*CHANGEABLE, "hours"),
        typed=OPTIONS,
    )
    if _is_long_enough(run, task.schedule.kimg):
        return run
    _train_in_run(task, validator, run, start, request, how.retry)
    return run


def _started_from(path: Path, how: GeneratorOptions) -> dict[str, Any] | None:
    """What a Run that has begun keeps of the Run that it was started from, if that is what is asked for.

    The other Run may have been trained on, or be gone, since.
    """
    if how.start_from is None or not (path / "config.json").exists():
        return None
    run = Run.open(path, "generator")
    before: dict[str, Any] | None = run.config["config"].get("from")
    asked = {"run": str(how.start_from.resolve()), "stage": how.stage}
    if run.has_begun and before and {key: before[key] for key in asked} == asked:
        return before
    return None


def _config_of(
    task: GeneratorTask, recipe: Recipe, how: GeneratorOptions, domain: Chosen,
    parents: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """What a Run keeps of a training; another configuration is refused when it is resumed.

    Of a classifier behind the discriminator that is the checksum of its weights, wherever they lie.
    """
    parts = {name: dataclasses.asdict(section) for name, section in task.sections.items()}
    own = parts.pop("discriminator", {})
    if parents:
        parts["discriminator"] = own | {"from_classifier": parents[0]["weights_sha256"]}
    schedule = dataclasses.asdict(task.schedule)
    if schedule["order"] == "shuffled":  # Runs of before there was a choice have no such key.
        del schedule["order"]
    return {
        "recipe": recipe.name, "family": recipe.family, "network": task.network.to_dict(), **parts,
        "schedule": schedule, "precision": task.engine.precision,
        "validation": how.validation, **({"auto": dict(recipe.choice)} if recipe.choice else {}),
        **({"hours": how.hours} if how.hours else {}),
        **({"domain": domain.name} if domain.origin != "assumed" or recipe.choice else {}),
    }  # fmt: skip


def _train_in_run(
    task: GeneratorTask,
    validator: Callable[[], Any],
    run: Run,
    start: StartingPoint | None,
    request: str,
    retry: bool,
) -> None:
    """Train, and write the Run's report, also of one that diverged."""
    from plenish.report.build import write_own_report
    from plenish.training.generator import train_generator
    from plenish.training.starting_point import begin
    from plenish.training.trainer import Stopped

    with training(run, request):
        begin(run, start)
        task = dataclasses.replace(task, validator=validator())
        try:
            train_generator(task, run, retry=retry)
        except Stopped:
            write_own_report(run.path, "run")
            raise
        write_own_report(run.path, "run")
