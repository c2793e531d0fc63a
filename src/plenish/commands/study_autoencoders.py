"""`plenish study autoencoders`: one autoencoder a class, and whether their errors tell the classes apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish import files
from plenish.commands.request import completed, request_hash
from plenish.configuration import apply_overrides, named_as_typed, option, overrides
from plenish.datasets.dataset import Dataset
from plenish.invocation import command
from plenish.metrics.result_files import read_result
from plenish.progress import say
from plenish.recipes import KINDS, load_recipe
from plenish.runs import Run
from plenish.study.config import ClassStudyConfig
from plenish.study.summaries import ClassStudy


@dataclasses.dataclass(frozen=True)
class ClassStudyOptions(ClassStudyConfig):
    """What is asked of a study of one autoencoder a class; what is None is as the recipe has it.

    Attributes:
        recipe: a name from `plenish recipe list`, or a YAML file.
        epochs: length of every training, in passes over its images.
        batch: images a step.
        patience: end a training after this many evaluations without a lower error on val.
        options: further options as section.name=value, such as network.norm=batch; each is also an option by
            itself, such as --network.norm batch.
    """

    recipe: str = "tcga-two-autoencoders"
    epochs: float | None = option(sets="schedule.epochs", above=0)
    batch: int | None = option(sets="training.batch", least=1)
    patience: int | None = option(sets="schedule.patience", least=0)
    options: list[str] | None = None


@command("study autoencoders")
def study_autoencoders(data: Path, out: Path, *, how: ClassStudyOptions = ClassStudyOptions()) -> ClassStudy:
    """Train one autoencoder on each class, and measure how well their errors tell the classes apart.

    Each is trained on the train rows of its class and stopped on the val rows of its class; all reconstruct
    every test image of the classes. The folder gets models/ (a Run each), scores.parquet (the errors of every
    test image under every model), autoencoders.json and report.html. The same command continues an
    interrupted study. Autoencoders trained on noisy images (training.denoise) are measured on noisy images,
    with the same noise for all: how well noise is removed tells more of a class than plain
    reconstruction.

    Args:
        data: the Dataset, with classes and a split.
        out: the study's folder; an unfinished study in it is continued.
        how: what to compare.

    Returns:
        The study.

    Raises:
        InputError: the Dataset has too few classes or images, or the folder has a study of something else.
    """
    recipe = load_recipe(how.recipe, "autoencoder-study")
    changes = overrides(how, KINDS["autoencoder"], "network.norm=batch")
    Run.check_place(out)
    dataset = Dataset.open(data)
    asked = (how.seed, how.classes, how.balance, how.shuffle, how.level, how.resamples, how.draws)
    request = request_hash(recipe, changes, dataset, how.split, *asked)
    if completed(out, "autoencoder-study", request):
        say(f"{out} is complete.")
        return ClassStudy(out, read_result(out, "autoencoder-study")[0])
    from plenish.report.class_errors_page import class_errors_page
    from plenish.study import class_autoencoders
    from plenish.training.autoencoder_run import plan as make_plan

    with named_as_typed(how):
        plan = make_plan(recipe.name, apply_overrides(recipe.sections, changes), dataset)
    run = class_autoencoders.open_study(out, dataset, plan, how)
    with run.lock():
        run.update_status(state="running", request=request)
        found = class_autoencoders.run_class_study(run, dataset, plan, how)
        files.write_text(run.path / "report.html", class_errors_page(found, dataset))
        study = ClassStudy(out, found.content)
        run.update_status(state="complete", message=study.verdict)
    return study
