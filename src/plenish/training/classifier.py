"""Classifiers: how they are trained, kept and used.

Two trainings of one seed differ only in what they were given: every draw derives from the seed and the global
sample number. The checkpoint is chosen on the validation part; the test part is never read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from scipy.special import softmax
from torch import Tensor, nn

from plenish import files, settings
from plenish.configuration import option_names
from plenish.datasets.batches import Batch, Images, check_divisible
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.domains import DEFAULT, DOMAINS
from plenish.errors import InputError
from plenish.networks.classifier import Normalised, build_classifier, check_classifier
from plenish.runs import Run
from plenish.training import checkpoints, ranks
from plenish.training.augment_classical import augment
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions
from plenish.training.classifier_losses import build_loss, check_loss
from plenish.training.classifier_precision import Precision, choose_precision
from plenish.training.confusion import balanced_accuracy, confusion_matrix
from plenish.training.drawing import Plan, check_enough, make_plan
from plenish.training.engine import Engine, stable_seed
from plenish.training.learner import Clock, Learner
from plenish.training.schedules import Schedule
from plenish.training.trainer import Trainer, train

CLASSIFIER = "classifier"
"""Folder in a classifier's Run that holds it."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier with all that is needed to use it.

    Attributes:
        network: N×C×H×W, normalised → logits N×K.
        config: how it was trained.
        names: the K classes.
        channels: channels of its images.
        size: height and width of its images.
        mean: per-channel mean of the training images, in [-1, 1].
        std: per-channel standard deviation.
        precision: `float32` or `bfloat16`.
        history: what was logged, where it was trained without a Run.
        step: the step of the checkpoint kept.
    """

    network: nn.Module
    config: ClassifierConfig
    names: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Precision
    history: Sequence[Mapping[str, Any]] = ()
    step: int = 0

    def module(self) -> nn.Module:
        """Images N×C×H×W in [-1, 1] → logits N×K, with the normalisation inside.

        It shares the weights, is in evaluation mode on the device the settings ask for, and can be
        differentiated with respect to its input, as attacks and counterfactuals do. It computes in float32
        unless it is called under autocast.
        """
        module = Normalised(self.network, self.mean, self.std)
        return Engine.from_settings(self.precision).to_module(module).eval()

    def logits(self, images: Images, batch: int = 256) -> NDArray[np.float64]:
        """Logits N×K of all images, in order; the batch size does not change them beyond rounding."""
        engine, module = Engine.from_settings(self.precision), self.module()
        parts = []
        for index in chunks(len(images.y), batch):
            with torch.inference_mode(), engine.autocast():
                found = module(engine.to_images(images.read(index)))
            parts.append(found.double().cpu().numpy())
        return np.concatenate(parts)

    def probabilities(self, images: Images, batch: int = 256) -> NDArray[np.float64]:
        """Class probabilities N×K of all images, in order."""
        return np.asarray(softmax(self.logits(images, batch), axis=1))

    def save(self, folder: Path) -> None:
        """Write `classifier.safetensors` and `classifier.json` into a folder."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "classifier.safetensors", save(state))
        about = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("network", "config")
        }
        config = dataclasses.asdict(self.config) | {"pretrained": bool(self.config.pretrained)}
        files.write_record(folder / "classifier.json", about | {"config": config})

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read what `save` wrote; InputError when it is missing or does not fit together."""
        about = files.read_record(folder / "classifier.json")
        try:
            config = ClassifierConfig(**about.pop("config"))
            for key in ("names", "mean", "std"):
                about[key] = tuple(about[key])
            with torch.random.fork_rng(devices=[]):
                network = build_classifier(
                    config.classifier, about["channels"], about["size"], len(about["names"])
                )
            network.load_state_dict(load_file(folder / "classifier.safetensors"))
            return cls(network=network, config=config, **about)
        except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"{folder} does not hold a whole classifier ({error}); train it again."
            ) from error


class ClassifierLearner(Learner):
    """A classifier with its optimiser.

    Best means the highest balanced accuracy on val, and the lowest class-balanced cross-entropy among equals.

    Attributes:
        model: the classifier.
        optimiser: AdamW, without decay on biases and normalisation.
    """

    criteria: Mapping[str, int] = {"val_balanced_accuracy": -1, "val_loss": 1}
    unit = "step"
    loss = "train_loss"
    rate_option = "--learning-rate"
    smaller_network = "a smaller --classifier"
    notes = (("loss", "train_loss"), ("val", "val_balanced_accuracy"))

    def __init__(
        self, config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], engine: Engine
    ) -> None:
        """Build the network with its first weights.

        Args:
            config: how it is trained, resolved.
            train: training images; normalisation statistics come from them alone.
            val: validation images, real.
            names: the K classes that `y` numbers.
            engine: device and precision.

        Raises:
            InputError: fewer than two classes, an unknown network or loss, or weights that do not fit.
        """
        found = np.unique(train.y)
        if len(found) < 2:
            raise InputError(f"A classifier needs training images of at least 2 classes, not {len(found)}.")
        self.engine, self._config, self._val = engine, config, val
        size, channels = train.read(np.array([0])).shape[2:]
        mean, std = channel_statistics(train)
        self._plan = _plan(config, train, len(names))
        with torch.random.fork_rng(devices=_cuda(engine)):
            torch.manual_seed(stable_seed(config.seed, "initialisation"))
            network = build_classifier(
                config.classifier, channels, size, len(names), pretrained=config.pretrained
            )
        self.model = Classifier(network, config, tuple(names), channels, size, mean, std, engine.precision)
        self._module = engine.to_module(self.model.module()).train()
        self.optimiser = torch.optim.AdamW(
            _decayed(network, config.weight_decay), lr=config.peak_rate, betas=(0.9, 0.99), fused=True
        )
        drawn = [phase.counts / phase.counts.sum() for phase in self._plan.phases]
        self._losses = [build_loss(config, shares, engine.device) for shares in drawn]

    def modules(self) -> dict[str, nn.Module]:
        """The network by the name of its checkpoint file."""
        return {"classifier": self.model.network}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimiser by the name of its checkpoint file."""
        return {"optimiser": self.optimiser}

    def batch_size(self, nimg: int) -> int:
        """The same at every step."""
        return self._config.batch

    def position(self, nimg: int) -> dict[str, float]:
        """Steps taken."""
        return {"step": nimg // self._config.batch}

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Train on a batch; returns its loss."""
        config, engine = self._config, self.engine
        seed, step = _attempt_seed(clock.seed, clock.attempt), clock.nimg // config.batch
        images = engine.to_images(batch.pixels)
        targets = torch.from_numpy(batch.y).to(engine.device, non_blocking=True)
        if config.augmentation == "classical":
            images = augment(
                images,
                batch.numbers,
                seed,
                domain=DOMAINS[config.domain or DEFAULT],
                symmetry=config.symmetry,
            )
        torch.manual_seed(stable_seed(seed, "dropout", step))
        for group in self.optimiser.param_groups:
            group["lr"] = config.rate(step)
        with engine.autocast():
            logits = self._module(images)
        loss = self._losses[self._plan.phase_at(clock.nimg)](logits.float(), targets)
        engine.minimise(self.optimiser, loss)
        return {"train_loss": loss.detach()}

    def validate(self, clock: Clock) -> dict[str, float]:
        """Balanced accuracy and class-balanced cross-entropy on val."""
        logits, codes = self.model.logits(self._val), self._val.y
        self._module.train()
        probabilities = softmax(logits, axis=1)
        losses = -np.log(np.maximum(probabilities[np.arange(len(codes)), codes], 1e-12))
        confusion = confusion_matrix(codes, logits.argmax(axis=1), logits.shape[1])
        return {
            "val_balanced_accuracy": float(balanced_accuracy(confusion)[0]),
            "val_loss": float(np.mean([losses[codes == k].mean() for k in np.unique(codes)])),
        }


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


def _cuda(engine: Engine) -> list[torch.device]:
    return [engine.device] if engine.device.type == "cuda" else []


def _decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, not on biases and normalisation."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


def _schedule(config: ClassifierConfig) -> Schedule:
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


def _plan(config: ClassifierConfig, images: Images, width: int = 0) -> Plan:
    """What is drawn when."""
    assert config.steps is not None
    return make_plan(config, images, config.batch, config.steps, width)


def _attempt_seed(seed: int, attempt: int) -> int:
    """The seed of all draws of an attempt."""
    return stable_seed(seed, attempt) if attempt else seed


def train_classifier(
    config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], *,
    precision: Precision | None = None, on_step: Callable[[int], None] | None = None,
) -> Classifier:  # fmt: skip
    """Train a classifier in memory, and keep the weights that do best on the validation images.

    Args:
        config: how.
        train: training images.
        val: validation images, real.
        names: the K classes that `y` numbers.
        precision: the network's measured preference (`choose_precision`); None decides by the hardware.
        on_step: called after every step with its number, for a progress bar.

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
    learner = ClassifierLearner(config, train, val, names, engine)
    images, schedule = training_images(train, config), _schedule(config)
    with torch.random.fork_rng(devices=_cuda(engine)):
        trainer = Trainer(learner, images, schedule, seed=config.seed, on_step=on_step)
        trainer.fit()
    return dataclasses.replace(
        learner.model, history=trainer.lines, step=int(trainer.scores.best.get("step", 0))
    )


def check_names(config: ClassifierOptions) -> None:
    """Refuse a classifier or loss that there is not, and options of another loss."""
    check_classifier(config.classifier)
    check_loss(config)


def check_weights(config: ClassifierConfig, dataset: Dataset) -> None:
    """Refuse a network that cannot take the images, or weights that cannot be had or do not fit."""
    with torch.random.fork_rng(devices=[]):
        build_classifier(
            config.classifier, dataset.channels, dataset.size, dataset.labels.width,
            pretrained=config.pretrained,
        )  # fmt: skip


def open_run(
    path: Path, config: ClassifierConfig, train_rows: Subset, synthetic: Mapping[str, Any] | None = None
) -> Run:
    """The Run of a training, made or resumed.

    Args:
        path: its folder.
        config: how, resolved.
        train_rows: training rows.
        synthetic: which synthetic images are mixed in, as it is kept in the Run.

    Raises:
        InputError: it was asked something else before, or the processes cannot share a batch equally.
    """
    check_divisible(config.batch, settings.process()[1])
    weights, dataset = config.pretrained, train_rows.dataset
    asked = dataclasses.asdict(config) | {
        "pretrained": files.sha256_file(weights) if isinstance(weights, Path) else weights,
        "precision": settings.current().precision, "recipe": config.classifier,
        **({} if synthetic is None else {"synthetic": dict(synthetic)}),
    }  # fmt: skip
    data = dataset.provenance(train_rows.split_name) | {"part": "train", "images": len(train_rows)}
    return Run.open_or_create(
        path, "classifier", asked, data=data, seed=config.seed, may_change=("evaluations", "patience"),
        typed=option_names(ClassifierConfig),
    )  # fmt: skip


def train_in_run(
    run: Run, config: ClassifierConfig, train_rows: Subset, val_rows: Subset, *, retry: bool = False,
    images: Images | None = None,
) -> Classifier:  # fmt: skip
    """Train a classifier in a Run, from the start or from its newest intact checkpoint, and save the best.

    Args:
        run: the Run; the caller holds its lock.
        config: how, resolved.
        train_rows: training rows.
        val_rows: rows that decide which checkpoint is best.
        retry: resume after a divergence, with other random draws.
        images: what is trained on, where it is more than the training rows.

    Returns:
        The best one on val.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        InputError: fewer than two classes, an unknown network or loss, or weights that do not fit.
        CheckFailed: the training diverged.
    """
    dataset = train_rows.dataset
    names = dataset.labels.names
    val = Images(val_rows.images, val_rows.codes)
    images = images or Images(train_rows.images, train_rows.codes)

    def precision() -> Precision:
        """Measured once, so that a resumed training computes as it began."""
        known: Precision | None = run.status.get("precision")
        return known or choose_precision(config, dataset.channels, dataset.size, len(names))

    with ranks.interrupted_when_lost(run):
        ranks.join(Engine.from_settings())
        found = ranks.from_main(Engine.from_settings(), precision)
    run.update_status(precision=found)
    engine = Engine.from_settings(found)
    build = functools.partial(ClassifierLearner, config, images, val, names, engine)
    facts = {"classes": list(names), "steps": config.steps}
    with torch.random.fork_rng(devices=_cuda(engine)):
        model = train(
            build, training_images(images, config), _schedule(config), run, retry=retry, facts=facts
        ).model
    if best := run.status.get("best"):
        checkpoints.load_module(run.path / "checkpoints" / best["checkpoint"], "classifier", model.network)
        model = dataclasses.replace(model, step=int(best["step"]))
    model.save(run.path / CLASSIFIER)
    return model
