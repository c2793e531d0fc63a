"""Classifiers: how they are trained, kept and used.

Two trainings of one seed differ only in what they were given: every draw derives from the seed and the global
sample number. The checkpoint is chosen on the validation part; the test part is never read.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from plenish.datasets.batches import Batch, Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.domains import DEFAULT, DOMAINS
from plenish.errors import InputError
from plenish.networks.classifier import build_classifier, check_classifier, frozen_stages, stages
from plenish.networks.classifier_parts import freeze
from plenish.training.augment_classical import augment
from plenish.training.augment_policy import mix, rand_augment, stain_jitter
from plenish.training.classifier_columns import NO_COLUMNS, Columns
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions
from plenish.training.classifier_losses import build_loss, check_loss
from plenish.training.classifier_model import Classifier, Floats, head_of
from plenish.training.classifier_precision import Precision
from plenish.training.classifier_scores import Plateau, validation_scores
from plenish.training.drawing import DrawingPlan, check_enough, make_plan
from plenish.training.ema import update_ema
from plenish.training.engine import Engine, stable_seed
from plenish.training.learner import Clock, Learner
from plenish.training.schedules import Schedule
from plenish.training.trainer import Trainer
from plenish.wording import plural


class Shown(NamedTuple):
    """A batch as a classifier is trained on it.

    Attributes:
        images: N×C×H×W in [-1, 1], augmented.
        more: what the network takes beside them.
        targets: class numbers N, or tags N×K.
        losses: logits N×K float32 → a loss an image, N, that of the configuration; images that are mixed have
            those of both labels.
    """

    images: Tensor
    more: tuple[Tensor, ...]
    targets: Tensor
    losses: Callable[[Tensor], Tensor]


class ClassifierLearner(Learner):
    """A classifier with its optimiser.

    Best means the best value of the configuration's criterion on val, and the lowest class-balanced
    cross-entropy among equals.

    Attributes:
        model: the classifier; with --ema its network is the moving average.
        optimiser: AdamW, without decay on biases and normalisation.
    """

    unit = "step"
    loss = "train_loss"
    rate_option = "--learning-rate"
    smaller_network = "a smaller --classifier"

    def __init__(
        self, config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], engine: Engine,
        columns: Columns = NO_COLUMNS,
    ) -> None:  # fmt: skip
        """Build the network with its first weights.

        Args:
            config: how it is trained, resolved.
            train: training images; normalisation statistics come from them alone.
            val: validation images, real.
            names: the K classes or tags that `y` numbers.
            engine: device and precision.
            columns: what the inputs of the images are.

        Raises:
            InputError: fewer than two classes, an unknown network or loss, or weights that do not fit.
        """
        tags = train.y.ndim == 2
        found = len(names) if tags else len(np.unique(train.y))
        if found < 2 and not tags:
            raise InputError(f"A classifier needs training images of at least 2 classes, not {found}.")
        self.engine, self._config, self._val = engine, config, val
        self.criteria = config.decides
        self.notes = (("loss", "train_loss"), ("val", next(iter(self.criteria))))
        size, channels = train.read(np.array([0])).shape[2:]
        mean, std = channel_statistics(train)
        self._plan = _plan(config, train, len(names))
        with torch.random.fork_rng(devices=cuda_devices(engine)):
            torch.manual_seed(stable_seed(config.seed, "initialisation"))
            network = build_classifier(
                config.classifier, channels, size, len(names), pretrained=config.pretrained,
                head=head_of(config, columns),
            )  # fmt: skip
        kind = "multilabel" if tags else "categorical"
        check_loss(config, kind)
        trained = Classifier(
            network, config, tuple(names), channels, size, mean, std, engine.precision, kind, columns
        )
        self._module = engine.to_module(trained.module())
        self.model = trained
        if config.ema:
            self.model = dataclasses.replace(trained, network=copy.deepcopy(network).requires_grad_(False))
        self._network, self._stages = network, stages(network) if config.freeze != "none" else []
        self._frozen, self._plateau = _frozen(network, config), Plateau(config)
        self._set_mode(0)
        self.optimiser = torch.optim.AdamW(
            _decayed(network, config.weight_decay), lr=config.peak_rate, betas=(0.9, 0.99), fused=True
        )
        self._losses = [
            build_loss(config, phase.counts, engine.device, phase.distinct) for phase in self._plan.phases
        ]

    def modules(self) -> dict[str, nn.Module]:
        """The network that is kept, and the one that is trained where that is another."""
        kept = {"classifier": self.model.network}
        return kept | ({"trained": self._network} if self._config.ema else {})

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimiser by the name of its checkpoint file."""
        return {"optimiser": self.optimiser}

    def batch_size(self, nimg: int) -> int:
        """The same at every step."""
        return self._config.batch

    def position(self, nimg: int) -> dict[str, float]:
        """Steps taken."""
        return {"step": nimg // self._config.batch}

    def set_stage(self, nimg: int) -> None:
        """Freeze the stages that are frozen after `nimg` images."""
        if self._frozen_after(nimg) != self._frozen_now:
            self._set_mode(nimg)

    def _progress(self, nimg: int) -> float:
        """The share of the training that is done after `nimg` images."""
        assert self._config.steps is not None
        return nimg / (self._config.steps * self._config.batch)

    def _frozen_after(self, nimg: int) -> int:
        """How many stages are frozen after `nimg` images."""
        shares = self._config.unfreeze_at
        ahead = sum(self._progress(nimg) < share for share in shares)
        return self._frozen * ahead // len(shares) if shares else self._frozen

    def _set_mode(self, nimg: int) -> None:
        """Frozen stages in evaluation mode, all others in training mode."""
        self._module.train()
        self._frozen_now = self._frozen_after(nimg)
        if self._frozen:
            freeze(self._network, self._stages, self._frozen_now)

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Train on a batch; returns its loss."""
        config, engine = self._config, self.engine
        seed, step = _attempt_seed(clock.seed, clock.attempt), clock.nimg // config.batch
        progress = self._progress(clock.nimg)
        images = self._augmented(batch, seed)
        targets = torch.from_numpy(batch.y).to(engine.device, non_blocking=True)
        more: list[Tensor] = []
        if batch.inputs is not None:
            more.append(torch.from_numpy(batch.inputs).to(engine.device, non_blocking=True))
        mixes = config.mixup or config.cutmix
        if mixes:
            images, partner, share = mix(images, batch.numbers, seed, config.mixup, config.cutmix)
            more = [torch.lerp(values[partner], values, share[:, None]) for values in more]
        torch.manual_seed(stable_seed(seed, "dropout", step))
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(step, self._plateau.drops)
        formula = self._losses[self._plan.phase_at(clock.nimg)]

        def losses(logits: Tensor) -> Tensor:
            own = formula(logits, targets, progress)
            return torch.lerp(formula(logits, targets[partner], progress), own, share) if mixes else own

        values = self.learn(Shown(images, tuple(more), targets, losses), clock)
        if config.ema:
            keep = min(config.ema, (1 + step) / (10 + step))  # At first it follows closely.
            update_ema(self.model.network, self._network, keep, buffers=True)
        return values

    def learn(self, shown: Shown, clock: Clock) -> dict[str, Tensor]:
        """Take a step down the loss of a batch; returns scalars, among them `train_loss`."""
        loss = shown.losses(self.logits(shown.images, *shown.more)).mean()
        self.descend(loss)
        return {"train_loss": loss.detach()}

    def logits(self, images: Tensor, *more: Tensor) -> Tensor:
        """Logits N×K in float32 of images in [-1, 1], by the network that is trained, in its mode."""
        with self.engine.autocast():
            found: Tensor = self._module(images, *more)
        return found.float()

    def descend(self, loss: Tensor, before_step: Callable[[], None] | None = None) -> None:
        """Take a step of the optimiser down a loss and the penalties; see `Engine.minimise`."""
        penalised = loss + self._penalty() if self._config.l1 or self._config.l2 else loss
        self.engine.minimise(self.optimiser, penalised, before_step)

    def _augmented(self, batch: Batch, seed: int) -> Tensor:
        """The images of a batch, changed as the configuration asks."""
        config, domain = self._config, DOMAINS[self._config.domain or DEFAULT]
        pixels = batch.pixels
        if config.randaugment:
            raw = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
            pixels = rand_augment(raw, batch.numbers, seed, domain, config.randaugment)
        images = self.engine.to_images(pixels)
        if config.stain:
            images = stain_jitter(images, batch.numbers, seed, config.stain)
        if config.augmentation == "classical":
            images = augment(images, batch.numbers, seed, domain=domain, symmetry=config.symmetry)
        return images

    def _penalty(self) -> Tensor:
        """L1 and L2 of the weights that are trained, without biases and normalisation."""
        config = self._config
        weights = [p for p in self.optimiser.param_groups[0]["params"] if p.requires_grad]
        parts = [config.l1 * p.abs().sum() + config.l2 * p.square().sum() for p in weights]
        return torch.stack(parts).sum()

    def validate(self, clock: Clock) -> dict[str, float]:
        """Balanced accuracy, macro F1, AUROC and class-balanced cross-entropy on val."""
        found = self.classify_val(clock.seed)
        self._set_mode(clock.nimg)
        y, to_probabilities = self._val.y, self.model.to_probabilities
        named = [validation_scores(y, to_probabilities(logits), name) for name, logits in found.items()]
        return {name: value for scores in named for name, value in scores.items()}

    def classify_val(self, seed: int) -> dict[str, Floats]:
        """Logits N×K of the val images, by what the names of their scores begin with."""
        return {"val": self.model.logits(self._val)}

    def validated(self, line: Mapping[str, float]) -> None:
        """Lower the rate where validation has stopped improving, if the schedule does so."""
        self._plateau.add(line)


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels of the real images, on the scale [-1, 1]."""
    counts: Any = 0  # Those of the 256 values make the sums exact, whatever the order of the images.
    for index in chunks(images.n_real, 512):
        pixels = images.read(index)
        columns = pixels.reshape(-1, pixels.shape[-1]).T
        counts = counts + np.stack([np.bincount(column, minlength=256) for column in columns], axis=1)
    levels, n = np.arange(256), counts[:, 0].sum()
    mean = levels @ counts / n
    std = np.sqrt(np.maximum(levels**2 @ counts / n - mean**2, 1.0))
    return tuple(map(float, mean / 127.5 - 1)), tuple(map(float, std / 127.5))


def cuda_devices(engine: Engine) -> list[torch.device]:
    """The devices whose random states a training uses beside the CPU's."""
    return [engine.device] if engine.device.type == "cuda" else []


def _decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, not on biases and normalisation."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


def schedule_of(config: ClassifierConfig) -> Schedule:
    """The length of a training in images shown, and its checkpoints, one at each evaluation."""
    assert config.steps is not None
    total = config.steps * config.batch
    interval = math.ceil(total / config.evaluations) / 1000
    return Schedule(
        kimg=total / 1000, log_kimg=interval, sample_kimg=total / 1000, checkpoint_kimg=interval, keep=1,
        patience=config.patience,
    )  # fmt: skip


def training_images(images: Images, config: ClassifierConfig) -> Images:
    """Training images in the order in which a resolved configuration draws them.

    Args:
        images: the real ones first.
        config: how it is trained, resolved.
    """

    def draw(seed: int, attempt: int) -> Callable[[int], np.random.Generator]:
        key = _attempt_seed(seed, attempt)
        return lambda epoch: np.random.default_rng(stable_seed(key, "order", epoch))

    return dataclasses.replace(images, order=_plan(config, images), draw=draw)


def _plan(config: ClassifierConfig, images: Images, width: int = 0) -> DrawingPlan:
    """What is drawn when."""
    assert config.steps is not None
    return make_plan(config, images, config.batch, config.steps, width)


def _attempt_seed(seed: int, attempt: int) -> int:
    """The seed of all draws of an attempt."""
    return stable_seed(seed, attempt) if attempt else seed


def train_classifier(
    config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], *,
    precision: Precision | None = None, on_step: Callable[[int], None] | None = None,
    build: Callable[..., ClassifierLearner] = ClassifierLearner,
) -> Classifier:  # fmt: skip
    """Train a classifier in memory, and keep the weights that do best on the validation images.

    Args:
        config: how.
        train: training images.
        val: validation images, real.
        names: the K classes that `y` numbers.
        precision: the network's measured preference (`choose_precision`); None decides by the hardware.
        on_step: called after every step with its number, for a progress bar.
        build: makes the Learner, of the same arguments as `ClassifierLearner`.

    Raises:
        InputError: fewer than two classes, an unknown network or loss, weights that do not fit, or several
            processes.
        CheckFailed: the training diverged.
    """
    engine = Engine.from_settings(precision)
    if engine.world > 1:
        raise InputError("Several processes train in a Run only ('plenish train'); start this command once.")
    check_enough(config, train, names)
    config = config.settled(train).resolved(len(train.y))
    learner = build(config, train, val, names, engine)
    images, schedule = training_images(train, config), schedule_of(config)
    with torch.random.fork_rng(devices=cuda_devices(engine)):
        trainer = Trainer(learner, images, schedule, seed=config.seed, on_step=on_step)
        trainer.fit()
    return dataclasses.replace(
        learner.model, history=trainer.lines, step=int(trainer.scores.best.get("step", 0))
    )


def check_names(config: ClassifierOptions, kind: str | None = None) -> None:
    """Refuse a classifier or loss that there is not or that is not for these labels, and others' options."""
    check_classifier(config.classifier)
    check_loss(config, kind)
    if isinstance(config, ClassifierConfig):
        config.check_kind(kind)


def check_weights(config: ClassifierConfig, dataset: Dataset, columns: Columns = NO_COLUMNS) -> None:
    """Refuse a network that cannot take the images, or weights that cannot be had or do not fit."""
    if config.stain and (dataset.channels != 3 or config.domain != "histology"):
        raise InputError("--stain is for histology in colour (--domain histology); leave it out.")
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(
            config.classifier, dataset.channels, dataset.size, dataset.labels.width,
            pretrained=config.pretrained, head=head_of(config, columns),
        )  # fmt: skip
    _frozen(network, config)


def _frozen(network: nn.Module, config: ClassifierConfig) -> int:
    """How many stages are frozen at first; InputError where --unfreeze-at has more shares than that."""
    found, shares = frozen_stages(network, config.freeze), len(config.unfreeze_at)
    if shares > found:
        raise InputError(
            f"--unfreeze-at has {shares} shares for {plural(found, 'frozen stage')} of --freeze "
            f"{config.freeze}; give at most one for each."
        )
    return found
