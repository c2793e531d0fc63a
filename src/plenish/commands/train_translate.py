"""`plenish train translate`: recipe, Dataset and options become a Run that makes pictures of sketches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish import settings
from plenish.commands.request import completed, request_hash, training
from plenish.configuration import apply_overrides, named_as_typed, option, option_names, overrides
from plenish.datasets.dataset import Dataset
from plenish.domains import choose_domain
from plenish.errors import InputError
from plenish.invocation import command
from plenish.policies import restricted
from plenish.progress import say
from plenish.recipes import KINDS, load_recipe
from plenish.runs import Run


@dataclasses.dataclass(frozen=True)
class TranslationOptions:
    """What is asked of a training; what is None is as the recipe has it.

    Attributes:
        recipe: a name from `plenish recipe list`, or a YAML file.
        split: the split whose train part is used.
        seed: seed of every random draw.
        kimg: length, in thousands of pictures shown; may be raised later.
        batch: pictures a step.
        width: feature maps at half the resolution; the cost grows with its square.
        lr: learning rate of both networks.
        checkpoint_kimg: interval of checkpoints, and of their difference on val.
        patience: end after this many checkpoints without a lower difference on val; 0 trains to the end.
        domain: kind of images: natural, histology, dermoscopy, radiology, fundus, industrial, comic, faces or
            text; decides how they may be turned and mirrored; by default the one kept with the Dataset.
        test: measure the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.
        options: further options as section.name=value, such as sketch.width_most=1.2; each is also an option
            by itself, such as --sketch.width_most 1.2.
    """

    recipe: str = "sketch-small"
    split: str = "default"
    seed: int = 0
    kimg: float | None = option(sets="schedule.kimg", above=0)
    batch: int | None = option(sets="training.batch", least=1)
    width: int | None = option(sets="network.width", least=1)
    lr: float | None = option(sets="training.lr", above=0)
    checkpoint_kimg: float | None = option(sets="schedule.checkpoint_kimg", above=0)
    patience: int | None = option(sets="schedule.patience", least=0)
    domain: str | None = option(decides="augment.policy augment.symmetry")
    test: bool = False
    retry: bool = False
    options: list[str] | None = None


@command("train translate")
def train_translate(data: Path, run: Path, *, how: TranslationOptions) -> Run:
    """Train a network that makes pictures of sketches on the train part of a Dataset, or go on training it.

    The sketches are made from the pictures themselves, with another width and threshold each time, so that
    those of a hand will do later (pix2pix). The same command again resumes from the newest checkpoint; on a
    CPU with the weights of a run never stopped, bit for bit. Ctrl-C writes a checkpoint first. The weights
    with the lowest mean absolute difference on val are kept. Then that of every val image is written to
    held_out.parquet, beside what comes of no translation at all: the mean training picture, the training
    picture with the nearest sketch, and the sketch itself; with --test also of the test part, and that
    reading is counted.

    Args:
        data: the Dataset; it must have been split.
        run: the Run's folder, made if it is not there.
        how: further options.

    Returns:
        The trained Run.
    """
    recipe = load_recipe(how.recipe, "translation")
    changes = overrides(how, KINDS["translation"], "sketch.width_most=1.2")
    Run.check_place(run)
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; a translation is trained on real images.")
    domain = choose_domain(how.domain, dataset.domain)
    augment = restricted(recipe.sections["augment"], domain)
    recipe = dataclasses.replace(recipe, sections={**recipe.sections, "augment": augment})
    request = request_hash(recipe, changes, dataset, how.split, how.seed, how.test)
    before = completed(run, "translation", request)
    if before is not None:
        say(f"{run} is complete; use a larger --kimg to train on.")
        return before
    from plenish.metrics.translation_errors import is_measured, write_held_out
    from plenish.report.build import write_own_report
    from plenish.training import translation_run

    with named_as_typed(how):
        plan = translation_run.plan(recipe.name, apply_overrides(recipe.sections, changes), dataset)
    train, val = translation_run.parts_of(dataset, how.split)
    is_new = not (run / "config.json").exists()
    opened = translation_run.open_run(run, plan, train, how.seed, option_names(TranslationOptions))
    if is_new:
        say(domain.sentence())
    with training(opened, request):
        translation_run.fit(opened, plan, train, val, how.retry)
        if settings.is_first_process():
            if not is_measured(opened, how.test):
                write_held_out(opened, train, how.test)
            write_own_report(run, "run")
    return opened
