"""Hardened classifiers: a classifier's Learner that is trained on adversarial images.

The images of a batch are attacked after their augmentation, on the scale [0, 1]. While they are, the network
is in evaluation mode: normalisation uses its running statistics and nothing is dropped. The step itself is
taken in training mode. `free` alone attacks in training mode, since one gradient serves both. The starts of
the attacks derive from (seed, attempt, images seen) and an image's place in the batch. What decides on val is
how the classifier does on val images that PGD has attacked, also when to stop early (`patience`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from plenish.datasets.batches import Images
from plenish.datasets.pixels import chunks
from plenish.errors import InputError
from plenish.networks import shared_batch
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.gradients import Loss, Precision, logits_of, untouched, value_and_gradient
from plenish.robustness.hardening_config import HardeningConfig
from plenish.robustness.hardening_losses import divergence, mart
from plenish.robustness.target import FromUnitRange
from plenish.robustness.threat import Norm, Threat, project, steepest
from plenish.robustness.visited import plain_logits
from plenish.robustness.weight_perturbation import move, perturbable, whole_gradients
from plenish.training.classifier import ClassifierLearner, Shown, train_classifier
from plenish.training.classifier_columns import NO_COLUMNS, Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier, Floats
from plenish.training.classifier_scores import Plateau
from plenish.training.engine import Engine
from plenish.training.learner import Clock

_SMALL_START = 0.001
"""Standard deviation of the noise from which the attacks of TRADES and MART start."""
_BATCH = 256
"""Val images that are attacked at once."""


def train_hardened(
    config: ClassifierConfig, hardening: HardeningConfig, train: Images, val: Images, names: Sequence[str], *,
    precision: Precision | None = None, on_step: Callable[[int], None] | None = None,
) -> Classifier:  # fmt: skip
    """Harden a classifier in memory, and keep the weights that do best on attacked validation images.

    Args:
        config: how the classifier is trained; `share` is that of generated images in each batch.
        hardening: how it is hardened.
        train: training images, the real ones first.
        val: validation images, real.
        names: the K classes that `y` numbers.
        precision: the network's measured preference; None decides by the hardware.
        on_step: called after every step with its number, for a progress bar.

    Returns:
        The classifier; `history` has the validations, with `val_robust_balanced_accuracy`.

    Raises:
        InputError: see `training.classifier.train_classifier` and `check_hardening`.
        CheckFailed: the training diverged.
    """
    build = functools.partial(HardenedLearner, hardening=hardening)
    return train_classifier(config, train, val, names, precision=precision, on_step=on_step, build=build)


def check_hardening(
    config: ClassifierConfig, hardening: HardeningConfig, kind: str | None = None,
    shape: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Refuse what an attack on images has no meaning for.

    Args:
        config: how the classifier is trained.
        hardening: how it is hardened.
        kind: of the labels, if it is known.
        shape: size and channels of the images, if they are known.

    Raises:
        InputError: images with several tags, columns beside the images, mixed images for MART, or a radius
            beyond every change of such images.
    """
    if shape is not None:
        Threat(hardening.norm, hardening.radius).check_reach(*shape)
    if kind not in (None, "categorical"):
        raise InputError("Hardening is for images of one class each; these have several tags.")
    if config.columns:
        raise InputError("--columns are nothing that an attack on images can change; leave them out.")
    if hardening.method == "mart" and (config.mixup or config.cutmix):
        raise InputError("--method mart weighs each image by its one class; leave out --mixup and --cutmix.")


class HardenedLearner(ClassifierLearner):
    """A classifier that is trained on adversarial images."""

    def __init__(
        self, config: ClassifierConfig, train: Images, val: Images, names: Sequence[str], engine: Engine,
        columns: Columns = NO_COLUMNS, *, hardening: HardeningConfig,
    ) -> None:  # fmt: skip
        """Build the network; see `ClassifierLearner`.

        Args:
            config: how it is trained, resolved.
            train: training images.
            val: validation images, real.
            names: the K classes that `y` numbers.
            engine: device and precision.
            columns: none.
            hardening: how it is hardened.
        """
        check_hardening(config, hardening, "multilabel" if train.y.ndim == 2 else "categorical")
        super().__init__(config, train, val, names, engine, columns)
        self._hardening = hardening.resolved()
        self._unit = FromUnitRange(self._module)
        if hardening.method != "none":
            self.criteria = {robust(name): sign for name, sign in self.criteria.items()}
            self._plateau = Plateau(config, self.criteria)
            self.notes = (*self.notes, ("robust", next(iter(self.criteria))))

    def learn(self, shown: Shown, clock: Clock) -> dict[str, Tensor]:
        """Attack the images of a batch, and take a step down the method's loss."""
        how = self._hardening
        if how.method == "none":
            return super().learn(shown, clock)
        images = shown.images.add(1).div(2).clamp_(0, 1)
        start = self._start(images, clock)
        if how.method == "free":
            return self._repeated(shown, images, start)
        changed = self._attacked(shown, images, start)

        def loss() -> Tensor:
            attacked = self._unit_logits(changed)
            if how.beta is None:
                return shown.losses(attacked).mean()
            clean = self._unit_logits(images)
            if how.method == "trades":
                return (shown.losses(clean) + how.beta * divergence(clean, attacked)).mean()
            return (shown.losses(attacked) + mart(clean, attacked, shown.targets, how.beta)).mean()

        return {"train_loss": self._descend(loss, clock)}

    def _unit_logits(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        return self.logits(images.mul(2).sub(1))

    def _start(self, images: Tensor, clock: Clock) -> Tensor:
        """Where the attack on each image starts."""
        rng = self.engine.generator(*clock.key, "attack")
        if self._hardening.method in ("trades", "mart"):
            noise = _SMALL_START * shared_batch.normal(images.shape, rng)
            return project(images, images + noise, self._hardening.radius, self._hardening.norm)
        return random_start(images, self._hardening.radius, self._hardening.norm, rng)

    def _attacked(self, shown: Shown, images: Tensor, start: Tensor) -> Tensor:
        """The adversarial images of a batch, N×C×H×W in [0, 1]."""
        how, precision = self._hardening, self.engine.precision
        with _evaluating(self._unit), untouched(self._unit):
            loss: Loss = lambda logits, _: shown.losses(logits)  # noqa: E731
            if how.method == "trades":
                with torch.no_grad():
                    clean = logits_of(self._unit, images, precision)
                loss = lambda logits, _: divergence(clean, logits)  # noqa: E731
            return ascend_from(self._unit, images, start, shown.targets, loss, how, precision)

    def _descend(self, loss: Callable[[], Tensor], clock: Clock) -> Tensor:
        """Take a step down a loss, where it is asked for from weights that raise it; returns its value."""
        how, restore = self._hardening, None
        if how.awp and self._progress(clock.nimg) >= how.awp_warmup:
            weights = perturbable(self.optimiser.param_groups[0]["params"])
            with _statistics_kept(self._module):
                gradients = whole_gradients(loss(), weights)
            restore = move(weights, gradients, how.awp)
        value = loss()
        self.descend(value, restore)
        return value.detach()

    def _repeated(self, shown: Shown, images: Tensor, changed: Tensor) -> dict[str, Tensor]:
        """Several steps on one batch, each of whose gradients also moves the images."""
        how, losses = self._hardening, []
        assert how.attack_steps is not None
        assert isinstance(how.step_size, float)
        for _ in range(how.attack_steps):
            given = changed.detach().requires_grad_(True)
            loss = shown.losses(self._unit_logits(given)).mean()
            self.descend(loss)
            assert given.grad is not None
            step = how.step_size * steepest(given.grad, how.norm)
            changed = project(images, given.detach() + step, how.radius, how.norm)
            losses.append(loss.detach())
        return {"train_loss": torch.stack(losses).mean()}

    def classify_val(self, seed: int) -> dict[str, Floats]:
        """Logits N×K of the val images, `val`, and of the same when PGD has attacked them, `val_robust`."""
        found = super().classify_val(seed)
        module = FromUnitRange(self.model.module())
        return found | {"val_robust": attacked_logits(module, self._val, self._hardening, self.engine, seed)}


def robust(name: str) -> str:
    """The name of a value on val when it is of attacked images: `val_auroc` → `val_robust_auroc`."""
    return name.replace("val_", "val_robust_", 1)


def random_start(images: Tensor, eps: float, norm: Norm, rng: torch.Generator) -> Tensor:
    """A point of each image's ball: uniform (linf), or at a uniform distance in a random direction (l2)."""
    if norm == "linf":
        change = shared_batch.uniform(images.shape, rng).mul_(2).sub_(1)
    else:
        distance = shared_batch.uniform((len(images), 1, 1, 1), rng)
        change = distance * steepest(shared_batch.normal(images.shape, rng), norm)
    return project(images, images + eps * change, eps, norm)


def ascend_from(
    model: nn.Module, images: Tensor, start: Tensor, labels: Tensor, loss: Loss, how: HardeningConfig,
    precision: Precision,
) -> Tensor:  # fmt: skip
    """Follow the steepest ascent of a loss within each image's ball.

    Args:
        model: images N×C×H×W in [0, 1] → logits N×K.
        images: originals.
        start: where it starts, in the ball.
        labels: N.
        loss: what is raised.
        how: ball, steps and their length; resolved.
        precision: of the network.
    """
    assert how.attack_steps is not None
    assert isinstance(how.step_size, float)
    found = start
    for _ in range(how.attack_steps):
        _, _, gradient = value_and_gradient(model, found, labels, loss, precision)
        found = project(images, found + how.step_size * steepest(gradient, how.norm), how.radius, how.norm)
    return found


def attacked_logits(
    module: nn.Module, images: Images, how: HardeningConfig, engine: Engine, seed: int
) -> Floats:
    """Logits N×K of images that PGD has attacked, from random starts of the seed; the hardest of its steps.

    Args:
        module: images in [0, 1] → logits, in evaluation mode.
        images: what is attacked.
        how: ball and `validation_steps`.
        engine: device and precision of the attack; the logits are in float32.
        seed: of the starts.
    """
    found = []
    for index in chunks(len(images.y), _BATCH):
        given = engine.to_images(images.read(index)).add_(1).div_(2)
        labels = torch.from_numpy(images.y[index]).to(engine.device)
        changed = pgd(
            module, given, labels, how.radius, norm=how.norm, seed=seed, precision=engine.precision,
            steps=how.validation_steps,
        )  # fmt: skip
        found.append(plain_logits(module, changed).double().cpu().numpy())
    return np.concatenate(found)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, each of whose modules gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextlib.contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """A network whose running statistics are as before afterwards."""
    kept = [buffer.clone() for buffer in module.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in zip(module.buffers(), kept, strict=True):
                buffer.copy_(before)
