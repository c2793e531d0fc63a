"""The classifiers of a study under attack: which images, which attacks, and what they answer then.

An image is robust if none of the attacks changes its answer to a wrong one, so that an answer under attack is
the worst that was found for that image, not that of one attack.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.errors import InputError, unknown
from plenish.metrics.classification import weighted_metric
from plenish.robustness.gradients import Precision
from plenish.robustness.radius import parse_eps
from plenish.robustness.registry import ATTACKS, AttackSpec, spelled
from plenish.robustness.target import Target
from plenish.robustness.threat import Norm, Threat, project
from plenish.robustness.visited import plain_logits, predictions
from plenish.study.config import StudyConfig
from plenish.training.classifier_model import Classifier
from plenish.training.engine import Engine, stable_seed

Ints = NDArray[np.int64]
ATTACKED = "attacked"
"""Column of a cell's table: the answer under attack; none where an image was not attacked."""
ROBUST_METRICS = ("balanced_accuracy", "accuracy")
"""Metrics of answers under attack; their names there begin with `robust_`."""
_BATCH = 128


@dataclasses.dataclass(frozen=True)
class RobustTest:
    """How each classifier of a study is attacked.

    Attributes:
        threat: norm and radius.
        attacks: names of attacks, in order; each sees what those before it left.
        steps: of each attack that takes them.
        images: about how many test images are attacked; all where there are fewer.
        seed: the study's; images and draws derive from it and nothing else, so that all arms share them.
    """

    threat: Threat
    attacks: tuple[str, ...]
    steps: int
    images: int
    seed: int = 0

    @classmethod
    def of(cls, config: StudyConfig, data: Dataset) -> RobustTest | None:
        """What a study asks for; None where it attacks nothing.

        Args:
            config: of the study.
            data: whose images are attacked.

        Raises:
            InputError: an unknown attack, one that has not this norm or needs more classes, or a radius that
                is 0, none, or beyond every change of such images.
        """
        if config.robust is None:
            return None
        threat = Threat(config.robust_norm, parse_eps(config.robust, "--robust"))
        if not threat.eps:
            raise InputError("--robust 0 changes nothing; give a radius above 0, such as 4/255.")
        threat.check_reach(data.size, data.channels, "--robust")
        if not config.robust_attacks:
            raise InputError("--robust-attacks needs at least one attack, such as pgd.")
        attacks = tuple(dict.fromkeys(map(spelled, config.robust_attacks)))
        for name in attacks:
            _check(name, threat.norm, data.labels.width)
        return cls(threat, attacks, config.robust_steps, config.robust_images, config.seed)

    def record(self) -> dict[str, Any]:
        """What the study's Run is frozen with, and study.json holds."""
        return {
            "norm": self.threat.norm, "eps": self.threat.eps, "attacks": list(self.attacks),
            "steps": self.steps, "images": self.images,
        }  # fmt: skip

    def passes(self) -> int:
        """About how many images are classified in attacking one, counting a gradient as two."""
        return 1 + 3 * self.steps * len(self.attacks)

    def rows(self, codes: Ints) -> Ints:
        """Which test images are attacked, in order: of each class its share, and at least one.

        Args:
            codes: class numbers of the test images, N.
        """
        if len(codes) <= self.images:
            return np.arange(len(codes), dtype=np.int64)
        taken = []
        for k in np.unique(codes):
            members = np.flatnonzero(codes == k)
            rng = np.random.default_rng(stable_seed(self.seed, "robust", int(k)))
            taken.append(rng.permutation(members)[: math.ceil(len(members) * self.images / len(codes))])
        return np.sort(np.concatenate(taken)).astype(np.int64)

    def add(
        self, table: pd.DataFrame, metrics: dict[str, Any], model: Classifier, test: Subset, fold: int
    ) -> None:
        """Attack a classifier; its answers are a column of its table, their metrics join those of the cell.

        Args:
            table: of the predictions of the test images.
            metrics: of the cell.
            model: the classifier.
            test: the test images.
            fold: number of the fold, so that folds have draws of their own.
        """
        rows = self.rows(test.codes)
        number = {name: k for k, name in enumerate(model.names)}
        clean = np.array([number[name] for name in table["predicted"].iloc[rows]], np.int64)
        answers = self.answers(model, test.where(rows), clean, fold)
        column = np.full(len(table), None, object)
        column[rows] = [model.names[k] for k in answers]
        table[ATTACKED] = column
        hot = np.eye(len(model.names))[answers]
        for name in ROBUST_METRICS:
            metrics[f"robust_{name}"] = float(weighted_metric(name, test.codes[rows], hot)[0])

    def answers(self, model: Classifier, images: Subset, clean: Ints, fold: int = 0) -> Ints:
        """What a classifier answers under attack, N: a wrong class as soon as one attack finds any.

        Args:
            model: the classifier.
            images: what to attack.
            clean: its answers without attack, N.
            fold: number of the fold.
        """
        target = Target.of_classifier(model, {})
        codes, engine, found = images.codes, Engine.from_settings("float32"), clean.copy()
        for index in chunks(len(images), _BATCH):
            # All images, as those of another arm: with the right ones alone their draws would differ.
            pixels = engine.to_images(images.images(index)).add(1).div(2).clamp_(0, 1)
            labels = torch.from_numpy(codes[index]).to(pixels.device)
            for name in self.attacks:
                standing = found[index] == codes[index]
                if not standing.any():
                    break
                seed = stable_seed(self.seed, "robust", name, fold, int(index[0]))
                said = self._said(ATTACKS[name], target.module, pixels, labels, seed, model.precision)
                found[index] = np.where(standing, said, found[index])
        return found

    def _said(
        self, spec: AttackSpec, module: nn.Module, images: Tensor, labels: Tensor, seed: int,
        precision: Precision,
    ) -> Ints:  # fmt: skip
        """Answers in float32 to what an attack, which may compute in another precision, makes of images.

        Where logits are no numbers there is no answer, and a class that is wrong stands for it.
        """
        # What falls is known after its first wrong answer: it need not be attacked further.
        known: dict[str, Any] = {"steps": self.steps, "iterations": self.steps, "drop": True}
        takes = inspect.signature(spec.function).parameters
        more = {name: value for name, value in known.items() if name in takes}
        norm, eps = self.threat.norm, self.threat.eps
        changed = spec.function(
            module, images, labels, eps, norm=norm, seed=seed, precision=precision, **more
        )
        # No answer counts that was got from outside the ball.
        inside = project(images, changed, eps, norm)
        logits = plain_logits(module, inside)
        said = predictions(logits)
        found: Ints = torch.where(said < 0, (labels + 1) % logits.shape[1], said).cpu().numpy()
        return found


def _check(name: str, norm: Norm, classes: int) -> None:
    """Refuse an attack that cannot be made."""
    spec = ATTACKS.get(name)
    if spec is None:
        raise unknown("--robust-attacks", name, [*ATTACKS])
    if norm not in spec.norms:
        raise InputError(
            f"The attack {name} has no norm {norm}; give --robust-norm {' or '.join(spec.norms)}, or leave "
            "the attack out."
        )
    if classes < spec.fewest_classes:
        raise InputError(
            f"The attack {name} needs at least {spec.fewest_classes} classes and these labels have "
            f"{classes}; leave it out of --robust-attacks."
        )
