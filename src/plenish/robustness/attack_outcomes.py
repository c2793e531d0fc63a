"""A plan of attacks, made at every radius: what is left right, and what was found first."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.pixels import chunks
from plenish.progress import Bar, progress
from plenish.robustness.attack_plan import ITERATIVE, AttackPlan, PlannedAttack
from plenish.robustness.attacked_images import AttackedImages
from plenish.robustness.gradient_attacks import STEP_SHARE, pgd, steps_of_pgd
from plenish.robustness.gradients import Precision, untouched
from plenish.robustness.radius import format_eps
from plenish.robustness.target import Target
from plenish.robustness.threat import Norm, lengths
from plenish.robustness.visited import plain_logits, predictions

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_CURVE_STEPS, _CURVE_IMAGES = 100, 100
_CURVE_STEPS_ACROSS = 20
"""Steps within which the curve can reach every point of the ball, as PGD with so many steps does."""
_SHOWN, _SHOWN_OF_A_CLASS = 4, 2
"""Examples kept of a radius, and of one class among them."""
_HALF_IMAGES, _HALF_STEPS = 64, 50


@dataclasses.dataclass(frozen=True)
class AttackOutcome:
    """What one attack did at one radius.

    Attributes:
        attack: which.
        eps: the radius.
        attacked: how many images it was made on.
        right: which images of all are right: under this attack alone where it is made on all, else under it
            and all before it.
        seconds: it took.
    """

    attack: PlannedAttack
    eps: float
    attacked: int
    right: Bools
    seconds: float


@dataclasses.dataclass(frozen=True)
class GalleryExample:
    """An example for the gallery: its row, radius, attack, and both images C×H×W."""

    row: int
    eps: float
    attack: str
    original: Tensor
    adversarial: Tensor


@dataclasses.dataclass
class Outcomes:
    """What was found of N images.

    Attributes:
        clean: predictions N without an attack (see `visited.predictions`).
        right: which are right.
        eps: the smallest radius at which any attack succeeded, N; NaN where none did or none was needed.
        by: which attack found it first; empty where none did.
        then: the prediction then, N; -1 where none was found.
        not_finite: whether a logit was NaN or infinite, N; at each radius, the first of which is 0, under any
            attack.
        per_attack: every attack at every radius.
        examples: some of the images, for the gallery.
        only_black_box: at each radius above 0, images that an attack without gradients found alone.
    """

    clean: Ints
    right: Bools
    eps: NDArray[np.float64]
    by: list[str]
    then: Ints
    not_finite: list[Bools]
    per_attack: list[AttackOutcome] = dataclasses.field(default_factory=list)
    examples: list[GalleryExample] = dataclasses.field(default_factory=list)
    only_black_box: list[int] = dataclasses.field(default_factory=list)

    def right_at(self, eps: float) -> Bools:
        """Which images are right under every attack of at most this radius."""
        return self.right & ~(self.eps <= eps)

    def found_by(self, eps: float) -> dict[str, int]:
        """How many images each attack found first, up to a radius."""
        return dict(Counter(self.by[row] for row in np.flatnonzero(self.eps <= eps)))


@dataclasses.dataclass(frozen=True)
class AttackRunner:
    """Attacks on the images of one classifier.

    Attributes:
        target: the classifier.
        images: what is attacked.
        norm: of the balls.
        grid: radii, rising, from 0 on.
        seed: of every draw.
        batch: images at once.
        precision: of gradients and queries; every success is confirmed in float32.
    """

    target: Target
    images: AttackedImages
    norm: Norm
    grid: tuple[float, ...]
    seed: int
    batch: int
    precision: Precision

    def read(self, rows: Ints) -> tuple[Tensor, Tensor]:
        """Images and class numbers of some rows, on the classifier's device."""
        device = self.target.device
        return self.images.read(rows).to(device), torch.from_numpy(self.images.labels[rows]).to(device)

    def _answers(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions N, and whether a logit is NaN or infinite, N."""
        with untouched(self.target.module):
            logits = plain_logits(self.target.module, images)
        return predictions(logits), ~logits.isfinite().all(dim=1)

    def _clean(self) -> Outcomes:
        """The images as they are."""
        n = len(self.images)
        found = [self._answers(self.read(piece)[0]) for piece in chunks(n, self.batch)]
        clean, not_finite = (torch.cat(each).cpu().numpy() for each in zip(*found, strict=True))
        right = clean == self.images.labels
        return Outcomes(
            clean, right, np.full(n, np.nan), [""] * n, np.full(n, -1, np.int64), [not_finite]
        )  # fmt: skip

    def run(self, plan: AttackPlan) -> Outcomes:
        """Make all attacks at all radii, and keep what was found first."""
        found = self._clean()
        radii, count = self.grid[1:], int(found.right.sum())
        with progress("attack", len(radii) * len(plan.attacks) * count) as bar:
            for eps in radii:
                found.only_black_box.append(0)
                found.not_finite.append(np.zeros(len(self.images), bool))
                for attack in plan.attacks:
                    self._make(attack, eps, found, bar)
                    bar.advance(count - found.per_attack[-1].attacked)
        return found

    def _make(self, attack: PlannedAttack, eps: float, found: Outcomes, bar: Bar) -> None:
        start = time.perf_counter()
        right = found.right.copy() if attack.all_images else found.right_at(eps)
        rows = np.flatnonzero(right)
        for piece in chunks(len(rows), self.batch):
            bar.note(f"{attack.name} at eps {format_eps(eps, self.norm)}")
            here = rows[piece]
            images, labels = self.read(here)
            tried = attack.function(
                self.target.module, images, labels, eps, norm=self.norm, seed=self.seed,
                precision=self.precision,
            )  # fmt: skip
            classes, not_finite = self._answers(tried)
            inside = self._inside(images, tried, eps)
            fooled = (classes != labels) & inside
            right[here[fooled.cpu().numpy()]] = False
            found.not_finite[-1][here] |= (not_finite & inside).cpu().numpy()
            self._note(attack, eps, found, here, (images, tried), (fooled, classes))
            bar.advance(len(piece))
        self._wait()
        found.per_attack.append(AttackOutcome(attack, eps, len(rows), right, time.perf_counter() - start))

    def _wait(self) -> None:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)

    def _inside(self, images: Tensor, tried: Tensor, eps: float) -> Tensor:
        """Which images lie in the ball and in [0, 1]; what lies outside is not counted."""
        near = lengths(tried - images, self.norm) <= eps * (1 + 1e-5) + 1e-6
        return near & ((tried >= 0) & (tried <= 1)).flatten(1).all(dim=1)

    def _note(
        self, attack: PlannedAttack, eps: float, found: Outcomes, rows: Ints, images: tuple[Tensor, Tensor],
        answers: tuple[Tensor, Tensor],
    ) -> None:  # fmt: skip
        """Keep what was found first."""
        fooled, classes = (answer.cpu().numpy() for answer in answers)
        for place in np.flatnonzero(fooled):
            row = int(rows[place])
            if found.eps[row] <= eps:
                continue
            found.eps[row], found.by[row], found.then[row] = eps, attack.name, classes[place]
            found.only_black_box[-1] += attack.kind == "black-box"
            labels = [self.images.labels[one.row] for one in found.examples if one.eps == eps]
            if len(labels) < _SHOWN and labels.count(self.images.labels[row]) < _SHOWN_OF_A_CLASS:
                pair = (one[place].detach().float().cpu() for one in images)
                found.examples.append(GalleryExample(row, eps, attack.name, *pair))

    def curve(self, found: Outcomes) -> dict[str, Any] | None:
        """How PGD converges at the radius that leaves about half of the right answers; None without any.

        Returns:
            `eps`, `iterations` 0 to 100, `accuracy` (of all images, under any iterate so far), `loss` (the
            mean cross entropy) and `images`, how many of those that are right were taken.
        """
        right = np.flatnonzero(found.right)
        left = {one.eps: int(one.right.sum()) for one in found.per_attack if one.attack.name == ITERATIVE}
        if not len(right) or not left:
            return None
        eps = min(left, key=lambda radius: abs(left[radius] - len(right) / 2))
        rows = _evenly(right, _CURVE_IMAGES)
        fooled, losses = [], []
        for piece in chunks(len(rows), self.batch):
            images, labels = self.read(rows[piece])
            ours, theirs = steps_of_pgd(
                self.target.module, images, labels, eps, norm=self.norm, seed=self.seed,
                precision=self.precision, steps=_CURVE_STEPS,
                step_size=STEP_SHARE * eps / _CURVE_STEPS_ACROSS,
            )  # fmt: skip
            fooled.append(ours.cummax(dim=0).values.cpu().numpy())
            losses.append(theirs.float().cpu().numpy())
        kept = 1 - np.concatenate(fooled, axis=1).mean(axis=1)
        mean = np.nan_to_num(np.concatenate(losses, axis=1).astype(np.float64)).mean(axis=1)
        return {
            "eps": eps, "iterations": list(range(_CURVE_STEPS + 1)),
            "accuracy": (kept * found.right.mean()).tolist(), "loss": mean.tolist(), "images": len(rows),
        }  # fmt: skip

    def at_largest_change(self, found: Outcomes) -> float:
        """Accuracy under PGD that may turn every image grey; of those left at the largest radius of the grid.

        Within 0.5 of every value (or the L2 length of such a change) lies an image that is the same for all,
        which cannot be classified better than by chance. An attack that fails there fails for a reason of
        its own.
        """
        left = np.flatnonzero(found.right_at(self.grid[-1]))
        if not len(left):
            return 0.0
        rows = _evenly(left, _HALF_IMAGES)
        eps = 0.5 if self.norm == "linf" else 0.5 * (self.images.channels * self.images.size**2) ** 0.5
        withstood = 0
        for piece in chunks(len(rows), self.batch):
            images, labels = self.read(rows[piece])
            tried = pgd(
                self.target.module, images, labels, eps, norm=self.norm, seed=self.seed,
                precision=self.precision, steps=_HALF_STEPS,
            )  # fmt: skip
            withstood += int((self._answers(tried)[0] == labels).sum())
        return withstood / len(rows) * len(left) / len(self.images)


def _evenly(rows: Ints, most: int) -> Ints:
    """At most so many of some rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64)]
