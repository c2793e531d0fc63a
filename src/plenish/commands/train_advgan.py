"""`plenish train advgan`: a network that perturbs images so that a classifier is wrong, trained in a Run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from plenish import files, settings
from plenish.commands.request import completed, training
from plenish.configuration import apply_overrides, named_as_typed, option, option_names, overrides
from plenish.datasets.dataset import Dataset
from plenish.domains import choose_domain
from plenish.errors import InputError
from plenish.invocation import command
from plenish.progress import say
from plenish.robustness.radius import PERTURBED_EPS, parse_eps
from plenish.runs import Run

SECTIONS = ("network", "training", "schedule")
_DEFAULTS = {
    "network": {}, "training": {},
    "schedule": {"kimg": 50.0, "log_kimg": 1.0, "sample_kimg": 10.0, "checkpoint_kimg": 5.0, "keep": 1},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AdvGANOptions:
    """How perturbations are bounded and learnt.

    Attributes:
        against: Run of the classifier that is to be fooled, trained on the same split.
        eps: radius of the ball that perturbations stay in, pixels from 0 to 1: 8/255, 0.03; by default
            8/255, in the norm l2 0.5, which suits images of 32 px and grows with their side.
        norm: of that ball: linf (no value changes by more) or l2 (the length of the change of an image).
        split: the split whose train part is used.
        seed: seed of every random draw.
        kimg: length, in thousands of images shown; may be raised later.
        batch: images a step.
        width: feature maps at half the resolution; the cost grows with its square.
        lr: learning rate of both networks.
        gan: weight of the discriminator's loss; 0 trains without one.
        confidence: lead in logits of a wrong class beyond which an image adds nothing to the loss.
        checkpoint_kimg: interval of checkpoints, and of their fooling rate on val.
        patience: end after this many checkpoints without a better fooling rate on val; 0 trains to the end.
        domain: kind of images, which decides how training images may be turned and mirrored: natural,
            histology, dermoscopy, radiology, fundus, industrial, comic, faces or text; by default the one
            kept with the Dataset.
        test: measure the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.
        options: further options as section.name=value, such as training.beta1=0.
    """

    against: Path | None = None
    eps: str | None = option(decides="training.eps")
    norm: Literal["linf", "l2"] = option("linf", decides="training.norm")
    split: str = "default"
    seed: int = 0
    kimg: float | None = option(sets="schedule.kimg", above=0)
    batch: int | None = option(sets="training.batch", least=1)
    width: int | None = option(sets="network.width", least=1)
    lr: float | None = option(sets="training.lr", above=0)
    gan: float | None = option(sets="training.gan", least=0)
    confidence: float | None = option(sets="training.confidence", least=0)
    checkpoint_kimg: float | None = option(sets="schedule.checkpoint_kimg", above=0)
    patience: int | None = option(sets="schedule.patience", least=0)
    domain: str | None = option(decides="training.symmetry")
    test: bool = False
    retry: bool = False
    options: list[str] | None = None


@command("train advgan")
def train_advgan(data: Path, run: Path, *, how: AdvGANOptions) -> Run:
    """Train a network that perturbs images so that a classifier is wrong, or go on training it.

    All perturbations lie in the ball of --eps and images in [0, 1] (AdvGAN, Xiao et al. 2018). The same
    command again resumes from the newest checkpoint; on a CPU with the weights of a run never stopped, bit
    for bit. Ctrl-C writes a checkpoint first. The weights that fool the classifier most often on val are
    kept. Then the share of val images that are fooled, of those it gets right, is written to fooling.parquet
    and the report, beside noise of the same norm, FGSM and PGD; with --test also of the test part, and that
    reading is counted. 'plenish attack --perturber RUN' takes it among its attacks.

    Args:
        data: the Dataset, with classes and a split.
        run: the Run's folder, made if it is not there.
        how: further options.

    Returns:
        The trained Run.
    """
    if how.against is None:
        raise InputError("Give --against, the Run of the classifier to fool.")
    changes = overrides(how, SECTIONS, "training.beta1=0")
    Run.check_place(run)
    dataset = Dataset.open(data)
    _check_data(dataset, data)
    from plenish.report.build import write_own_report
    from plenish.robustness import advgan_run, trained_perturber

    domain = choose_domain(how.domain, dataset.domain)
    norm = str(changes.get("training.norm", how.norm))
    eps = PERTURBED_EPS.get(norm, PERTURBED_EPS["linf"]) if how.eps is None else parse_eps(how.eps, "--eps")
    fixed = {"training": {"norm": how.norm, "eps": eps, "symmetry": domain.domain.symmetry}}
    defaults = {key: values | fixed.get(key, {}) for key, values in _DEFAULTS.items()}
    sections = apply_overrides(defaults, changes)
    with named_as_typed(how):
        plan = advgan_run.plan(sections, dataset, how.split, how.against)
    train, val = (dataset.part(part, how.split, purpose="select") for part in ("train", "val"))
    advgan_run.check_val(plan, val)
    is_new = not (run / "config.json").exists()
    opened = advgan_run.open_run(run, plan, train, how.seed, option_names(AdvGANOptions))
    request = files.config_hash({"config": opened.config["config"], "test": how.test})
    if completed(run, advgan_run.KIND, request):
        say(f"{run} is complete; use a larger --kimg to train on.")
        return opened
    if is_new:
        say(domain.sentence())
    with training(opened, request):
        advgan_run.fit(opened, plan, train, val, how.retry)
        if settings.is_first_process():
            if not trained_perturber.is_measured(opened, how.test):
                trained_perturber.write_fooling(opened, plan.target, train, how.test)
            write_own_report(run, "run")
    return opened


def _check_data(dataset: Dataset, data: Path) -> None:
    """InputError for a Dataset that is synthetic or has no classes."""
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; a perturber is trained on real images.")
    if dataset.labels.kind != "categorical" or dataset.labels.width < 2:
        raise InputError(
            f"{data} has no classes to tell apart; it needs one class per image, and at least 2."
        )
