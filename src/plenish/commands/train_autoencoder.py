"""`plenish train autoencoder`: recipe, Dataset and options become a Run, and its errors image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from plenish.commands.request import completed, request_hash, training
from plenish.configuration import apply_overrides, named_as_typed, option, option_names, overrides
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.invocation import command
from plenish.progress import say
from plenish.recipes import KINDS, load_recipe
from plenish.runs import Run

ERRORS = "errors.parquet"


@dataclasses.dataclass(frozen=True)
class AutoencoderOptions:
    """What is asked of a training; what is None is as the recipe has it.

    Attributes:
        recipe: a name from `plenish recipe list`, or a YAML file.
        split: the split whose train part is used.
        seed: seed of every random draw.
        filters: feature maps of each convolution; each halves the side of the image.
        latent_features: numbers an image is compressed to, or none for no dense layers.
        variational: predict a distribution of each latent number.
        denoise: standard deviation of noise on the input, in units of [0, 1].
        only: train on these classes alone.
        epochs: length, in passes over the training images; may be raised later.
        batch: images a step.
        lr: learning rate.
        patience: end after this many evaluations without a lower error on val; 0 trains to the end.
        errors: measure every val image at the end.
        test: measure the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.
        options: further options as section.name=value, such as network.norm=batch; each is also an option by
            itself, such as --network.norm batch.
    """

    recipe: str = "autoencoder"
    split: str = "default"
    seed: int = 0
    filters: list[int] | None = option(sets="network.filters")
    latent_features: int | Literal["none"] | None = option(sets="network.latent_features")
    variational: bool | None = option(sets="network.variational")
    denoise: float | None = option(sets="training.denoise")
    only: list[str] | None = None
    epochs: float | None = option(sets="schedule.epochs", above=0)
    batch: int | None = option(sets="training.batch", least=1)
    lr: float | None = option(sets="training.lr", above=0)
    patience: int | None = option(sets="schedule.patience", least=0)
    errors: bool = True
    test: bool = False
    retry: bool = False
    options: list[str] | None = None


@command("train autoencoder")
def train_autoencoder(data: Path, run: Path, *, how: AutoencoderOptions) -> Run:
    """Train a convolutional autoencoder on the train part of a Dataset, or go on training it.

    The same command again resumes from the newest checkpoint; on a CPU with the weights of a run never
    stopped, bit for bit. Ctrl-C writes a checkpoint first. The weights with the lowest error on val are kept,
    and training ends when it has not fallen for --patience epochs. Then the errors of every val image are
    written to errors.parquet, in units of [0, 1]; with --test also those of the test part, and that reading
    is counted.

    Args:
        data: the Dataset; it must have been split.
        run: the Run's folder, made if it is not there.
        how: further options.

    Returns:
        The trained Run.
    """
    recipe = load_recipe(how.recipe, "autoencoder")
    changes = overrides(how, KINDS["autoencoder"], "network.norm=batch")
    Run.check_place(run)
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; an autoencoder is trained on real images.")
    request = request_hash(recipe, changes, dataset, how.split, how.seed, how.only, how.errors, how.test)
    if how.test and not how.errors:
        raise InputError("--test measures the test images, and --no-errors none; leave one of them out.")
    before = completed(run, "autoencoder", request)
    if before is not None and (not how.errors or _is_measured(before, how.test)):
        say(f"{run} is complete; use a larger --epochs to train on.")
        return before
    from plenish.metrics.reconstruction import write_errors
    from plenish.report.build import write_own_report
    from plenish.training import autoencoder_run
    from plenish.training.autoencoder_model import load_autoencoder

    with named_as_typed(how):
        plan = autoencoder_run.plan(recipe.name, apply_overrides(recipe.sections, changes), dataset)
    train, val = autoencoder_run.parts_of(dataset, how.split, how.only)
    more = {"only": list(how.only) if how.only else None}
    opened = autoencoder_run.open_run(run, plan, train, how.seed, more, option_names(AutoencoderOptions))
    with training(opened, request):
        autoencoder_run.fit(opened, plan, train, val, how.retry)
        if how.errors and not _is_measured(opened, how.test):
            errors = write_errors(run / ERRORS, load_autoencoder(run), dataset, how.split, how.test)
            opened.update_status(
                errors=errors, test_reads=dataset.test_reads(how.split), measured=_weights(opened.status)
            )
        write_own_report(run, "run")
    return opened


def _is_measured(run: Run, test: bool) -> bool:
    """Whether the errors of the best weights are there: the test part is not read again for the same."""
    there = {entry["part"] for entry in run.status.get("errors", [])}
    known = (run.path / ERRORS).is_file() and run.status.get("measured") == _weights(run.status)
    return known and (not test or "test" in there)


def _weights(status: Mapping[str, Any]) -> Any:
    """Names the weights that are used: the best checkpoint, or how far the newest was trained."""
    return status.get("best", {}).get("checkpoint") or status.get("kimg")
