"""Training a classifier for a fixed number of steps, the same data order and draws for the same seed.

Everything random derives from (seed, global sample index), so two trainings of one seed differ only in what
they were given. The checkpoint is chosen on the validation part; the test part never comes near.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish import files, settings
from plenish.errors import InputError, unknown
from plenish.networks.classifier import SMALL, Normalised, build_classifier
from plenish.training.augment_classical import Orientation, augment
from plenish.training.classifier_losses import LossConfig, build_loss
from plenish.training.confusion import balanced_accuracy, confusion_matrix
from plenish.training.engine import Engine, native_bfloat16, stable_seed
from plenish.training.labelled import Labelled, Sampler, channel_statistics

Augmentation = Literal["none", "classical"]


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(LossConfig):
    """How a classifier is trained, with the options of its loss.

    Attributes:
        name: `small` or a timm name.
        steps: optimiser steps.
        batch: images a step.
        seed: seed of initialisation, data order, augmentation.
        learning_rate: peak of AdamW's; None takes 1e-3, and 3e-4 with given weights.
        weight_decay: AdamW's.
        warmup: share of the steps over which the rate rises linearly; it then falls by a cosine to 0.
        balanced: draw every class equally often.
        augmentation: `none` or `classical`.
        orientation: what `classical` may do to the orientation; see `augment_classical.augment`.
        evaluations: how often the validation part is looked at; the best of these checkpoints is kept.
        pretrained: a file of weights, True for timm's own, or False.
    """

    name: str = SMALL
    steps: int = 300
    batch: int = 64
    seed: int = 0
    learning_rate: float | None = None
    weight_decay: float = 0.02
    warmup: float = 0.1
    balanced: bool = False
    augmentation: Augmentation = "none"
    orientation: Orientation = "any"
    evaluations: int = 5
    pretrained: bool | Path = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("steps", "batch", "evaluations"):
            if getattr(self, field) < 1:
                raise InputError(f"{field} must be at least 1, not {getattr(self, field)}.")
        if self.batch < 2:
            raise InputError(
                "batch must be at least 2, because batch normalisation needs more than one image."
            )
        for field, value, choices in (
            ("augmentation", self.augmentation, ("none", "classical")),
            ("orientation", self.orientation, ("any", "upright", "fixed")),
        ):
            if value not in choices:
                raise unknown(field, value, choices)

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.pretrained else 1e-3

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0…steps−1."""
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.peak_rate * (step + 1) / rise
        progress = (step - rise) / max(1, self.steps - rise)
        return float(self.peak_rate * 0.5 * (1 + np.cos(np.pi * progress)))


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
        history: one row per look at the validation part.
        step: the step of the checkpoint kept.
    """

    network: nn.Module
    config: ClassifierConfig
    names: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Literal["float32", "bfloat16"]
    history: Sequence[Mapping[str, float]] = ()
    step: int = 0

    def module(self) -> nn.Module:
        """Images N×C×H×W in [-1, 1] → logits N×K, with the normalisation inside.

        It shares the weights, is in evaluation mode on the device the settings ask for, and can be
        differentiated with respect to its input, as attacks and counterfactuals do. It computes in float32
        unless it is called under autocast.
        """
        module = Normalised(self.network, self.mean, self.std)
        return Engine.from_settings(self.precision).to_module(module).eval()

    def logits(self, images: Labelled, batch: int = 256) -> NDArray[np.float64]:
        """Logits N×K of all images, in order; the batch size does not change them beyond rounding."""
        engine, module = Engine.from_settings(self.precision), self.module()
        parts = []
        for start in range(0, len(images.codes), batch):
            index = np.arange(start, min(start + batch, len(images.codes)))
            with torch.inference_mode(), engine.autocast():
                found = module(engine.to_images(images.read(index)))
            parts.append(found.double().cpu().numpy())
        return np.concatenate(parts)

    def probabilities(self, images: Labelled, batch: int = 256) -> NDArray[np.float64]:
        """Class probabilities N×K of all images, in order."""
        return softmax(self.logits(images, batch))

    def save(self, folder: Path) -> None:
        """Write `classifier.safetensors` and `classifier.json` into a folder."""
        from safetensors.torch import save

        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "classifier.safetensors", save(state))
        about = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("network", "config")
        }
        config = dataclasses.asdict(self.config)
        config["pretrained"] = (
            str(config["pretrained"]) if isinstance(config["pretrained"], Path) else config["pretrained"]
        )
        files.write_json(folder / "classifier.json", about | {"config": config})

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read what `save` wrote; InputError when it is missing or does not fit together."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        about = files.read_json(folder / "classifier.json")
        try:
            config = ClassifierConfig(**about.pop("config"))
            for key in ("names", "mean", "std"):
                about[key] = tuple(about[key])
            with torch.random.fork_rng(devices=[]):
                network = build_classifier(config.name, about["channels"], about["size"], len(about["names"]))
            network.load_state_dict(load_file(folder / "classifier.safetensors"))
            return cls(network=network, config=config, **about)
        except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"{folder} does not hold a whole classifier ({error}); train it again."
            ) from error


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities N×K of logits N×K."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def train_classifier(
    config: ClassifierConfig, train: Labelled, val: Labelled, names: Sequence[str], *,
    precision: Literal["float32", "bfloat16"] | None = None, on_step: Callable[[int], None] | None = None,
) -> Classifier:  # fmt: skip
    """Train a classifier and keep the checkpoint that does best on the validation images.

    Best means the highest balanced accuracy, and the lowest class-balanced cross-entropy among equals.

    Args:
        config: how.
        train: training images; normalisation statistics come from them alone.
        val: validation images, real.
        names: the K classes that `codes` number.
        precision: the network's measured preference (`choose_precision`); None decides by the hardware.
        on_step: called after every step with its number, for a progress bar.

    Raises:
        InputError: fewer than two classes, an unknown network, or weights that do not fit.
    """
    if len(names) < 2 or len(np.unique(train.codes)) < 2:
        raise InputError("A classifier needs training images of at least two classes.")
    engine = Engine.from_settings(precision)
    size, channels = train.read(np.array([0])).shape[2:]
    mean, std = channel_statistics(train)
    with torch.random.fork_rng(devices=_cuda(engine)):
        torch.manual_seed(stable_seed(config.seed, "initialisation"))
        network = build_classifier(config.name, channels, size, len(names), pretrained=config.pretrained)
        network = engine.to_module(network)
        model = Classifier(network, config, tuple(names), channels, size, mean, std, engine.precision)
        best, history = _fit(model, engine, train, val, on_step)
    network.load_state_dict(best[1])
    return dataclasses.replace(model, history=history, step=best[0])


def _cuda(engine: Engine) -> list[torch.device]:
    return [engine.device] if engine.device.type == "cuda" else []


def _fit(
    model: Classifier, engine: Engine, train: Labelled, val: Labelled, on_step: Callable[[int], None] | None
) -> tuple[tuple[int, dict[str, Tensor]], list[dict[str, float]]]:
    config, network = model.config, model.network
    codes = train.codes
    targets = torch.from_numpy(codes).to(engine.device)
    optimiser = torch.optim.AdamW(
        _decayed(network, config.weight_decay), lr=config.peak_rate, betas=(0.9, 0.99), fused=True
    )
    module = model.module().train()
    sampler = Sampler(codes, config.seed, balanced=config.balanced)
    loss_of = build_loss(config, sampler.frequencies(len(model.names)), engine.device)
    looks = {round(config.steps * (k + 1) / config.evaluations) for k in range(config.evaluations)}
    history: list[dict[str, float]] = []
    best_key, best = (-1.0, 0.0), (0, copy.deepcopy(network.state_dict()))
    losses = torch.zeros((), device=engine.device)
    seen, start = 0, time.monotonic()
    network.train()
    for step in range(config.steps):
        index = np.arange(step * config.batch, (step + 1) * config.batch)
        positions = sampler(index)
        images = engine.to_images(train.read(positions))
        if config.augmentation == "classical":
            images = augment(images, index, config.seed, orientation=config.orientation)
        torch.manual_seed(stable_seed(config.seed, "dropout", step))
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        with engine.autocast():
            logits = module(images)
        loss = loss_of(logits.float(), targets[torch.from_numpy(positions).to(engine.device)])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses, seen = losses + loss.detach(), seen + 1
        if step + 1 in looks:
            row = {"step": float(step + 1), "train_loss": float(losses) / seen, **validate(model, val)}
            history.append(row | {"seconds": time.monotonic() - start})
            losses, seen = torch.zeros((), device=engine.device), 0
            key = (row["val_balanced_accuracy"], -row["val_loss"])
            if key > best_key:
                best_key, best = key, (step + 1, copy.deepcopy(network.state_dict()))
            network.train()
        if on_step:
            on_step(step + 1)
    return best, history


def _decayed(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only, not on biases and normalisation."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": decay}, {"params": free, "weight_decay": 0.0}]


def validate(model: Classifier, val: Labelled) -> dict[str, float]:
    """Balanced accuracy and class-balanced cross-entropy on validation images."""
    logits, codes = model.logits(val), val.codes
    probabilities = softmax(logits)
    losses = -np.log(np.maximum(probabilities[np.arange(len(codes)), codes], 1e-12))
    confusion = confusion_matrix(codes, logits.argmax(axis=1), logits.shape[1])
    per_class = [losses[codes == k].mean() for k in np.unique(codes)]
    return {
        "val_balanced_accuracy": float(balanced_accuracy(confusion)[0]),
        "val_loss": float(np.mean(per_class)),
    }


def choose_precision(
    config: ClassifierConfig, channels: int, size: int, num_outputs: int
) -> Literal["float32", "bfloat16"]:
    """The faster precision of this network on this machine, by three timed steps of each, interleaved.

    Networks of depthwise convolutions are slower in bfloat16 on CPUs that compute it natively, others faster;
    only a measurement tells. `small` is known (1.6 times as fast) and on CUDA bfloat16 is, so nothing is
    measured there.
    """
    engine = Engine.from_settings()
    decided = settings.current().precision != "auto" or config.name == SMALL
    if decided or engine.device.type != "cpu" or not native_bfloat16(engine.device):
        return engine.precision
    with torch.random.fork_rng(devices=[]):
        network = engine.to_module(build_classifier(config.name, channels, size, num_outputs))
        images = torch.randn(config.batch, channels, size, size).to(memory_format=torch.channels_last)
        times: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            for half in times:
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    loss = network(images).float().square().mean()
                loss.backward()
                times[half].append(time.perf_counter() - start)
    return "bfloat16" if min(times[True]) < min(times[False]) else "float32"
