"""AutoAttack for any number of classes: APGD, targeted APGD, targeted FAB and Square in turn.

F. Croce, M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020. The published ensemble takes nine target classes and a loss that needs four logits;
here two and three classes have losses of their own, and no more targets are taken than other classes exist.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from plenish.robustness.apgd import ITERATIONS, TARGETS, apgd_ce, apgd_margin, apgd_targeted
from plenish.robustness.fab import fab_targeted
from plenish.robustness.gradients import Network, Precision, untouched
from plenish.robustness.square import QUERIES, square
from plenish.robustness.threat import Norm, Threat, check_counts
from plenish.robustness.visited import misclassified, plain_logits, predictions

BATCH = 256
_FEW_CLASSES_RESTARTS = 5

CLEAN, NOT_FOUND = "clean", ""
Member = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class AutoAttackResult:
    """What an ensemble of attacks found.

    Attributes:
        images: N×C×H×W; originals where no attack succeeded.
        found_by: for each image the attack that succeeded first, `clean` where the original is misclassified,
            and an empty name where none succeeded.
    """

    images: Tensor
    found_by: tuple[str, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Images that each attack found, none left out."""
        return dict(Counter(self.found_by))


def auto_attack(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    iterations: int = ITERATIONS,
    queries: int = QUERIES,
    targets: int = TARGETS,
    batch: int = BATCH,
) -> Tensor:
    """Misclassified images in the ball, and originals where no attack of the ensemble succeeded.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of random starts and squares.
        precision: of the gradients of APGD and the queries of Square; every success is confirmed in float32.
        iterations: steps of APGD and FAB.
        queries: of Square, an image.
        targets: classes that targeted attacks lead to, at most K − 1.
        batch: images that are attacked at once.
    """
    return auto_attack_by(
        model, images, labels, eps, norm=norm, seed=seed, precision=precision, iterations=iterations,
        queries=queries, targets=targets, batch=batch,
    ).images  # fmt: skip


def auto_attack_by(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    iterations: int = ITERATIONS,
    queries: int = QUERIES,
    targets: int = TARGETS,
    batch: int = BATCH,
) -> AutoAttackResult:
    """`auto_attack`, with the attack that found each image."""
    Threat(norm, eps)
    check_counts(iterations=iterations, queries=queries, targets=targets, batch=batch)
    if not len(images):
        return AutoAttackResult(images.clone(), ())
    points, by = images.clone(), [NOT_FOUND] * len(images)
    with untouched(model):
        logits = torch.cat([plain_logits(model, part) for part in images.split(batch)])
        wrong = predictions(logits) != labels
        for row in wrong.nonzero()[:, 0].tolist():
            by[row] = CLEAN
        left = (~wrong).nonzero()[:, 0]
        if not eps or not len(left):
            return AutoAttackResult(points, tuple(by))
        for name, attack in ensemble(logits.shape[1], iterations, queries, targets).items():
            survivors = []
            for rows in left.split(batch):
                given = labels[rows]
                tried = attack(model, images[rows], given, eps, norm=norm, seed=seed, precision=precision)
                fooled = misclassified(model, tried, given)
                points[rows[fooled]] = tried[fooled]
                for row in rows[fooled].tolist():
                    by[row] = name
                survivors.append(rows[~fooled])
            left = torch.cat(survivors)
            if not len(left):
                break
    return AutoAttackResult(points, tuple(by))


def ensemble(classes: int, iterations: int, queries: int, targets: int) -> dict[str, Member]:
    """The attacks of AutoAttack by name, in their order, for a number of classes K ≥ 2.

    With two classes the cross entropy rises where the margin does, so one of them is enough: the margin,
    whose gradient does not vanish where a softmax is saturated. With three, the margin leads to targets. As
    both have few targets, more random starts are made. From four classes on the ensemble is as published.
    """
    finish: dict[str, Member] = {
        "fab_targeted": functools.partial(fab_targeted, iterations=iterations, targets=targets),
        "square": functools.partial(square, queries=queries),
    }
    if classes == 2:
        starts = _FEW_CLASSES_RESTARTS
        return {
            "apgd_margin": functools.partial(apgd_margin, iterations=iterations, restarts=starts),
            **finish,
        }
    starts = _FEW_CLASSES_RESTARTS if classes == 3 else 1
    return {
        "apgd_ce": functools.partial(apgd_ce, iterations=iterations, restarts=starts),
        "apgd_targeted": functools.partial(
            apgd_targeted, iterations=iterations, targets=targets, loss="margin" if classes == 3 else "dlr"
        ),
        **finish,
    }
