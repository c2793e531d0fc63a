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
from plenish.robustness.attack_plan import ITERATIVE, Plan, Step
from plenish.robustness.attacked_images import AttackedImages
from plenish.robustness.gradient_attacks import STEP_SHARE, pgd, steps_of_pgd
from plenish.robustness.gradients import Precision, untouched
from plenish.robustness.radius import distance
from plenish.robustness.target import Target
from plenish.robustness.threat import Norm, lengths
from plenish.robustness.visited import plain_logits

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
CURVE_STEPS, CURVE_IMAGES = 100, 100
_CURVE_STEPS_ACROSS = 20
"""Steps within which the curve can reach every point of the ball, as PGD with so many steps does."""
_SHOWN, _SHOWN_OF_A_CLASS = 4, 2
"""Examples kept of a radius, and of one class among them."""
_HALF_IMAGES, _HALF_STEPS = 64, 50


@dataclasses.dataclass(frozen=True)
class Made:
    """One attack at one radius.

    Attributes:
        step: the attack.
        eps: the radius.
        attacked: how many images it was made on.
        right: which images of all are right: under this attack alone where it is made on all, else under it
            and all before it.
        seconds: it took.
    """

    step: Step
    eps: float
    attacked: int
    right: Bools
    seconds: float


@dataclasses.dataclass(frozen=True)
class Shown:
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
        clean: predicted classes N without an attack.
        right: which are right.
        eps: the smallest radius at which any attack succeeded, N; NaN where none did or none was needed.
        by: which attack found it first; empty where none did.
        then: the class predicted then, N; -1 where none was found.
        made: every attack at every radius.
        shown: examples.
        only_black_box: at each radius above 0, images that an attack without gradients found alone.
    """

    clean: Ints
    right: Bools
    eps: NDArray[np.float64]
    by: list[str]
    then: Ints
    made: list[Made] = dataclasses.field(default_factory=list)
    shown: list[Shown] = dataclasses.field(default_factory=list)
    only_black_box: list[int] = dataclasses.field(default_factory=list)

    def right_at(self, eps: float) -> Bools:
        """Which images are right under every attack of at most this radius."""
        return self.right & ~(self.eps <= eps)

    def found_by(self, eps: float) -> dict[str, int]:
        """How many images each attack found first, up to a radius."""
        return dict(Counter(self.by[row] for row in np.flatnonzero(self.eps <= eps)))


@dataclasses.dataclass(frozen=True)
class Campaign:
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

    def predictions(self, rows: Ints) -> Ints:
        """Classes of the images as they are."""
        with untouched(self.target.module):
            found = [self._classes(self.read(rows[piece])[0]) for piece in chunks(len(rows), self.batch)]
        return np.concatenate([piece.cpu().numpy() for piece in found])

    def _classes(self, images: Tensor) -> Tensor:
        return plain_logits(self.target.module, images).argmax(dim=1)

    def run(self, plan: Plan) -> Outcomes:
        """Make all attacks at all radii, and keep what was found first."""
        n = len(self.images)
        clean = self.predictions(np.arange(n, dtype=np.int64))
        right = clean == self.images.labels
        found = Outcomes(clean, right, np.full(n, np.nan), [""] * n, np.full(n, -1, np.int64))
        radii, count = self.grid[1:], int(right.sum())
        with progress("attack", len(radii) * len(plan.steps) * count) as bar:
            for eps in radii:
                found.only_black_box.append(0)
                for step in plan.steps:
                    self._make(step, eps, found, bar)
                    bar.advance(count - found.made[-1].attacked)
        return found

    def _make(self, step: Step, eps: float, found: Outcomes, bar: Bar) -> None:
        start = time.perf_counter()
        rows = np.flatnonzero(found.right if step.all_images else found.right_at(eps))
        right = found.right.copy() if step.all_images else found.right_at(eps)
        for piece in chunks(len(rows), self.batch):
            bar.note(f"{step.name} at eps {distance(eps, self.norm)}")
            here = rows[piece]
            images, labels = self.read(here)
            tried = step.function(
                self.target.module,
                images,
                labels,
                eps,
                norm=self.norm,
                seed=self.seed,
                precision=self.precision,
            )
            with untouched(self.target.module):
                classes = self._classes(tried)
            fooled = (classes != labels) & self._inside(images, tried, eps)
            right[here[fooled.cpu().numpy()]] = False
            self._note(step, eps, found, here, (images, tried), (fooled, classes))
            bar.advance(len(piece))
        self._wait()
        found.made.append(Made(step, eps, len(rows), right, time.perf_counter() - start))

    def _wait(self) -> None:
        if self.target.device.type == "cuda":
            torch.cuda.synchronize(self.target.device)

    def _inside(self, images: Tensor, tried: Tensor, eps: float) -> Tensor:
        """Which images lie in the ball and in [0, 1]; what lies outside is not counted."""
        near = lengths(tried - images, self.norm) <= eps * (1 + 1e-5) + 1e-6
        return near & ((tried >= 0) & (tried <= 1)).flatten(1).all(dim=1)

    def _note(
        self, step: Step, eps: float, found: Outcomes, rows: Ints, images: tuple[Tensor, Tensor],
        answers: tuple[Tensor, Tensor],
    ) -> None:  # fmt: skip
        """Keep what was found first."""
        fooled, classes = (answer.cpu().numpy() for answer in answers)
        for place in np.flatnonzero(fooled):
            row = int(rows[place])
            if found.eps[row] <= eps:
                continue
            found.eps[row], found.by[row], found.then[row] = eps, step.name, classes[place]
            found.only_black_box[-1] += step.kind == "black-box"
            same = [one.row for one in found.shown if one.eps == eps]
            label = self.images.labels[row]
            if (
                len(same) < _SHOWN
                and sum(self.images.labels[one] == label for one in same) < _SHOWN_OF_A_CLASS
            ):
                pair = (one[place].detach().float().cpu() for one in images)
                found.shown.append(Shown(row, eps, step.name, *pair))

    def curve(self, found: Outcomes) -> dict[str, Any] | None:
        """How PGD converges at the radius that leaves about half of the right answers; None without any.

        Returns:
            `eps`, `iterations` 0 to 100, `accuracy` (of all images, under any iterate so far), `loss` (the
            mean cross entropy) and `images`, how many of those that are right were taken.
        """
        right = np.flatnonzero(found.right)
        left = {made.eps: int(made.right.sum()) for made in found.made if made.step.name == ITERATIVE}
        if not len(right) or not left:
            return None
        eps = min(left, key=lambda radius: abs(left[radius] - len(right) / 2))
        rows = right[np.linspace(0, len(right) - 1, min(len(right), CURVE_IMAGES)).round().astype(np.int64)]
        fooled, losses = [], []
        for piece in chunks(len(rows), self.batch):
            images, labels = self.read(rows[piece])
            ours, theirs = steps_of_pgd(
                self.target.module, images, labels, eps, norm=self.norm, seed=self.seed,
                precision=self.precision, steps=CURVE_STEPS, step_size=STEP_SHARE * eps / _CURVE_STEPS_ACROSS,
            )  # fmt: skip
            fooled.append(ours.cummax(dim=0).values.cpu().numpy())
            losses.append(theirs.float().cpu().numpy())
        kept = 1 - np.concatenate(fooled, axis=1).mean(axis=1)
        mean = np.nan_to_num(np.concatenate(losses, axis=1).astype(np.float64)).mean(axis=1)
        return {
            "eps": eps, "iterations": list(range(CURVE_STEPS + 1)),
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
        rows = left[np.linspace(0, len(left) - 1, min(len(left), _HALF_IMAGES)).round().astype(np.int64)]
        eps = 0.5 if self.norm == "linf" else 0.5 * (self.images.channels * self.images.size**2) ** 0.5
        withstood = 0
        for piece in chunks(len(rows), self.batch):
            images, labels = self.read(rows[piece])
            tried = pgd(
                self.target.module, images, labels, eps, norm=self.norm, seed=self.seed,
                precision=self.precision, steps=_HALF_STEPS,
            )  # fmt: skip
            with untouched(self.target.module):
                withstood += int((self._classes(tried) == labels).sum())
        return withstood / len(rows) * len(left) / len(self.images)
