"""Answers that are no numbers: an image whose largest logit is NaN or infinite counts as misclassified."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from plenish.robustness import evaluate
from plenish.robustness.apgd import apgd_ce, apgd_margin, apgd_targeted
from plenish.robustness.autoattack import auto_attack
from plenish.robustness.carlini_wagner import minimal_carlini_wagner
from plenish.robustness.deepfool import minimal_deepfool
from plenish.robustness.fab import minimal_fab
from plenish.robustness.fmn import minimal_fmn
from plenish.robustness.gradient_attacks import bim, fgsm, pgd, steps_of_pgd
from plenish.robustness.gradients import Precision
from plenish.robustness.losses import margin
from plenish.robustness.registry import Attack
from plenish.robustness.square import square
from plenish.robustness.threat import Norm, lengths
from plenish.robustness.visited import exact_margins, judged_margin, misclassified, predictions

INF, NAN = float("inf"), float("nan")
LOGITS = torch.tensor(
    [
        [2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [3.0, -INF, -INF], [INF, 0.0, 0.0], [0.0, INF, 0.0],
        [NAN, 1.0, 0.0], [2.0, NAN, 0.0], [-INF, 0.0, 1.0], [-INF, -INF, -INF], [INF, INF, 0.0],
    ]
)  # fmt: skip
ANSWERED = torch.tensor([True, True, True, False, False, False, False, True, False, False])
SIDE = 8


class Overflowing(nn.Module):
    """Logits ±(mean − level), which are NaN of images with a mean below or above some limit."""

    def __init__(self, level: float = 0.1, *, below: float = -1.0, above: float = 2.0) -> None:
        super().__init__()
        self.level, self.limits = level, (below, above)

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        low, high = self.limits
        lead = torch.where((mean < low) | (mean > high), torch.nan, mean - self.level)
        return torch.stack([lead, -lead], dim=1)


def greys(count: int = 12) -> tuple[Tensor, Tensor]:
    """Noisy images of mean 0.5, all of class 0, far from the other one."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, SIDE, SIDE, generator=rng) * 0.2
    images += 0.5 - images.mean(dim=(1, 2, 3), keepdim=True)
    return images, torch.zeros(count, dtype=torch.int64)


def test_a_prediction_is_the_class_of_a_largest_logit_that_is_finite() -> None:
    assert predictions(LOGITS).tolist() == [0, 1, 0, -1, -1, -1, -1, 2, -1, -1]


@pytest.mark.parametrize("label", [0, 1, 2])
def test_points_without_a_prediction_are_the_hardest(label: int) -> None:
    labels = torch.full((len(LOGITS),), label)
    found = judged_margin(LOGITS, labels)
    assert torch.equal(found[ANSWERED], margin(LOGITS, labels)[ANSWERED])
    assert bool((found[~ANSWERED] == INF).all())
    model = nn.Linear(3, 3, bias=False)
    margins, fooled = exact_margins(model, LOGITS[:, None, None], labels, LOGITS, "float32")
    assert torch.equal(margins, found)
    assert torch.equal(fooled, predictions(LOGITS) != labels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.05 * SIDE * 3**0.5)])
@pytest.mark.parametrize("attack", [fgsm, bim, pgd, apgd_ce, apgd_margin, apgd_targeted, square, auto_attack])
def test_attacks_within_a_ball_find_where_logits_become_nan(
    attack: Attack, norm: Norm, eps: float, precision: Precision
) -> None:
    images, labels = greys()
    model = Overflowing(below=0.49)  # No other class lies within the ball.
    known = {"iterations": 10, "queries": 300}
    options = {key: value for key, value in known.items() if key in inspect.signature(attack).parameters}
    found = attack(model, images, labels, eps, norm=norm, precision=precision, **options)
    assert bool(misclassified(model, found, labels).all())
    assert bool((lengths(found - images, norm) <= eps * (1 + 1e-5)).all())
    assert not misclassified(Overflowing(), found, labels).any()


@pytest.mark.parametrize("attack", [minimal_carlini_wagner, minimal_deepfool, minimal_fab, minimal_fmn])
def test_attacks_for_the_smallest_change_find_where_logits_become_nan(attack: Attack) -> None:
    images, labels = greys()
    found = attack(Overflowing(0.44, below=0.48), images, labels, norm="l2")
    assert bool(found.isfinite().all())
    # Somewhere beyond the limit of 0.48; the other class begins at 0.44.
    assert bool((found.mean(dim=(1, 2, 3)) < 0.48).all())


def test_an_evaluation_counts_them_as_wrong_and_says_how_many_there_were() -> None:
    images, labels = greys()
    images[:2] += 0.3
    content = evaluate(
        Overflowing(below=0.48, above=0.6), (images, labels), eps=(0.01, 0.05), attacks="quick", resamples=100
    )
    right = [row["accuracy"][0] for row in content.content["worst_case"]]
    assert right == pytest.approx([10 / 12, 10 / 12, 0])
    flags = {flag["name"]: flag for flag in content.content["flags"]}
    assert flags["finite-logits"]["status"] == "failed"
    assert flags["finite-logits"]["values"]["images"] == [2, 0, 10]
    table = content.examples
    assert table["prediction"].isna().tolist() == [True] * 2 + [False] * 10
    assert table["adversarial_prediction"].isna().all()
    assert table["attack"].notna().tolist() == [False] * 2 + [True] * 10
    # Brightness of severity 5 leads all beyond the upper limit.
    by = {(row["name"], row["severity"]): row["accuracy"][0] for row in content.content["corruptions"]}
    assert by["brightness", 5] == 0
    assert by["contrast", 5] == pytest.approx(10 / 12)


def test_a_curve_falls_where_logits_become_nan() -> None:
    images, labels = greys()
    fooled, _ = steps_of_pgd(Overflowing(below=0.48), images, labels, 0.05, steps=20)
    assert not fooled[0].any()
    assert fooled[-1].all()
