"""Attacks of ours beside those of foolbox, ART, adv-lib and torchattacks, on the same classifiers and images.

FGSM: the largest difference between images. PGD: robust accuracy, in points. Attacks for the smallest change:
optimality as AttackBench defines it (A. E. Cinà et al., 2025): the area over the curve of robust accuracy,
relative to that of the best change known of each image over all attacks, up to the size at which that fools
every image.

    python -m benchmarks.robustness_oracles --oracles FOLDER --data fashion_mnist_small.npz --out FILE
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.race import describe_machine, publish
from benchmarks.robustness_models import TRAINED, Attacked, attacked, find_oracles
from plenish.robustness.carlini_wagner import minimal_carlini_wagner
from plenish.robustness.deepfool import minimal_deepfool
from plenish.robustness.fab import minimal_fab
from plenish.robustness.fmn import minimal_fmn
from plenish.robustness.gradient_attacks import Keep, fgsm, pgd
from plenish.robustness.threat import NORMS, Norm, lengths
from plenish.training.engine import Engine

Attack = Callable[[Attacked], Tensor]
LP: Mapping[Norm, float] = {"linf": math.inf, "l2": 2}
RADII: Mapping[Norm, tuple[float, ...]] = {"linf": (4 / 255, 16 / 255), "l2": (0.5, 1.5)}
PGD_STEPS = 20


def in_art(model: Attacked) -> Any:
    """The classifier as ART takes it."""
    from art.estimators.classification import PyTorchClassifier

    classes = model.module(model.images[:1]).shape[1]
    return PyTorchClassifier(
        model.module, torch.nn.CrossEntropyLoss(), tuple(model.images.shape[1:]), classes, clip_values=(0, 1)
    )


def with_art(attack: Callable[[Any], Any]) -> Attack:
    """One of ART's attacks: numpy in and out, labels as vectors."""

    def run(model: Attacked) -> Tensor:
        estimator = in_art(model)
        labels = np.eye(estimator.nb_classes, dtype=np.float32)[model.labels.numpy()]
        return torch.from_numpy(attack(estimator).generate(model.images.numpy(), labels))

    return run


def with_foolbox(attack: Any, eps: float | None) -> Attack:
    """One of foolbox's attacks."""

    def run(model: Attacked) -> Tensor:
        import foolbox

        wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
        found: Tensor = attack(wrapped, model.images, model.labels, epsilons=eps)[1]
        return found.detach()

    return run


def single_steps(norm: Norm, eps: float) -> dict[str, Attack]:
    """FGSM of each package that has it."""
    import foolbox
    from art.attacks.evasion import FastGradientMethod

    theirs = (
        foolbox.attacks.LinfFastGradientAttack if norm == "linf" else foolbox.attacks.L2FastGradientAttack
    )
    found = {
        "foolbox": with_foolbox(theirs(random_start=False), eps),
        "art": with_art(lambda c: FastGradientMethod(c, norm=LP[norm], eps=eps, batch_size=512)),
    }
    return found


def iterated(norm: Norm, eps: float) -> dict[str, Attack]:
    """PGD of each package, with equal steps and step sizes and one random start."""
    import foolbox
    import torchattacks
    from adv_lib.attacks import pgd_linf
    from art.attacks.evasion import ProjectedGradientDescent

    size = 2.5 * eps / PGD_STEPS
    theirs = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD

    def art(estimator: Any) -> Any:
        return ProjectedGradientDescent(
            estimator, norm=LP[norm], eps=eps, eps_step=size, max_iter=PGD_STEPS, num_random_init=1,
            batch_size=512, verbose=False,
        )  # fmt: skip

    found: dict[str, Attack] = {
        "foolbox": with_foolbox(theirs(abs_stepsize=size, steps=PGD_STEPS, random_start=True), eps),
        "art": with_art(art),
    }
    if norm == "linf":
        found["adv_lib"] = lambda m: pgd_linf(
            m.module, m.images, m.labels, ε=eps, steps=PGD_STEPS, absolute_step_size=size
        )
        found["torchattacks"] = lambda m: torchattacks.PGD(m.module, eps=eps, alpha=size, steps=PGD_STEPS)(
            m.images, m.labels
        )
    else:
        found["torchattacks"] = lambda m: torchattacks.PGDL2(m.module, eps=eps, alpha=size, steps=PGD_STEPS)(
            m.images, m.labels
        )
    return found


def minimal(norm: Norm, steps: int) -> dict[str, Attack]:
    """Attacks of each package for the smallest change, with equal numbers of steps in a run."""
    import adv_lib.attacks as adv
    import foolbox.attacks as fb
    from art.attacks.evasion import CarliniL2Method, CarliniLInfMethod, DeepFool

    p = LP[norm]
    found: dict[str, Attack] = {
        "adv_lib fmn": lambda m: adv.fmn(m.module, m.images, m.labels, norm=p, steps=steps),
        "adv_lib fab": lambda m: adv.fab(m.module, m.images, m.labels, norm=p, n_iter=steps),
        "adv_lib pdpgd": lambda m: adv.pdpgd(m.module, m.images, m.labels, norm=p, num_steps=steps),
        "adv_lib df": lambda m: adv.df(m.module, m.images, m.labels, norm=p),
        "foolbox fmn": with_foolbox(
            (fb.L2FMNAttack if norm == "l2" else fb.LInfFMNAttack)(steps=steps), None
        ),
        "foolbox deepfool": with_foolbox(
            (fb.L2DeepFoolAttack if norm == "l2" else fb.LinfDeepFoolAttack)(steps=50), None
        ),
    }
    if norm == "l2":
        found |= {
            "adv_lib ddn": lambda m: adv.ddn(m.module, m.images, m.labels, steps=steps, levels=None),
            "adv_lib alma": lambda m: adv.alma(m.module, m.images, m.labels, num_steps=steps),
            "adv_lib pdgd": lambda m: adv.pdgd(m.module, m.images, m.labels, num_steps=steps),
            "adv_lib sdf": lambda m: adv.sdf(m.module, m.images, m.labels),
            "adv_lib cw": lambda m: adv.carlini_wagner_l2(
                m.module, m.images, m.labels, binary_search_steps=5, max_iterations=steps
            ),
            "foolbox ddn": with_foolbox(fb.DDNAttack(steps=steps), None),
            "foolbox cw": with_foolbox(fb.L2CarliniWagnerAttack(5, steps), None),
            "art deepfool": with_art(lambda c: DeepFool(c, batch_size=512, verbose=False)),
            "art cw": with_art(lambda c: CarliniL2Method(c, batch_size=512, verbose=False)),
        }
    else:
        found |= {
            "adv_lib cw": lambda m: adv.carlini_wagner_linf(
                m.module, m.images, m.labels, max_iterations=steps
            ),
            "art cw": with_art(lambda c: CarliniLInfMethod(c, batch_size=512, verbose=False)),
        }
    return found


def our_minimal(norm: Norm, steps: int) -> dict[str, Attack]:
    """Ours."""
    found: dict[str, Attack] = {
        "plenish fmn": lambda m: minimal_fmn(m.module, m.images, m.labels, norm=norm, steps=steps),
        "plenish fab": lambda m: minimal_fab(m.module, m.images, m.labels, norm=norm, iterations=steps),
        "plenish deepfool": lambda m: minimal_deepfool(m.module, m.images, m.labels, norm=norm),
    }
    if norm == "l2":
        found["plenish carlini_wagner"] = lambda m: minimal_carlini_wagner(
            m.module, m.images, m.labels, searches=5, steps=steps
        )
    return found


def accuracy(model: Attacked, images: Tensor) -> float:
    """Share of the images that are classified correctly, in percent."""
    with torch.inference_mode():
        return 100 * (model.module(images).argmax(dim=1) == model.labels).float().mean().item()


def distances(model: Attacked, found: Tensor, norm: Norm) -> Tensor:
    """Lengths of the changes that fool, N; infinite for others."""
    found = found.float().clamp(0, 1)
    with torch.inference_mode():
        fooled = model.module(found).argmax(dim=1) != model.labels
    return torch.where(fooled, lengths(found - model.images, norm), torch.inf)


def optimality(found: Mapping[str, Tensor]) -> dict[str, float]:
    """AttackBench's measure of each attack, from distances N: 1 where no attack found a smaller change."""
    best = torch.stack(list(found.values())).amin(dim=0)
    last = best[best.isfinite()].max()
    whole = (last - best).clamp_min(0).sum()
    return {name: ((last - d).clamp_min(0).sum() / whole).item() for name, d in found.items()}


def compare_steps(model: Attacked, norm: Norm, seeds: int) -> dict[str, Any]:
    """FGSM and PGD at each radius; what PGD leaves right is the mean over seeds."""
    rows: dict[str, Any] = {"fgsm": [], "pgd": []}
    for eps in RADII[norm]:
        ours = fgsm(model.module, model.images, model.labels, eps, norm=norm)
        row: dict[str, Any] = {"eps": eps, "accuracy": accuracy(model, ours)}
        for name, attack in single_steps(norm, eps).items():
            gap = (attack(model) - ours).abs()
            row[name] = {"largest": gap.max().item(), "share_above_1e-6": (gap > 1e-6).float().mean().item()}
        rows["fgsm"].append(row)
        found = [iterated_once(model, norm, eps, seed) for seed in range(seeds)]
        means = {name: statistics.fmean(draw[name] for draw in found) for name in found[0]}
        rows["pgd"].append({"eps": eps, **means, "draws": found})
        print(f"{norm} {eps:.4g} {means}", file=sys.stderr)
    return rows


def iterated_once(model: Attacked, norm: Norm, eps: float, seed: int) -> dict[str, float]:
    """Percent that PGD of ours and of each package leaves right, with one random start."""

    def ours(keep: Keep) -> float:
        found = pgd(
            model.module, model.images, model.labels, eps, norm=norm, steps=PGD_STEPS, keep=keep, seed=seed
        )
        return accuracy(model, found)

    left = {"plenish": ours("last"), "plenish, best of all steps": ours("best")}
    for name, attack in iterated(norm, eps).items():
        torch.manual_seed(seed)
        np.random.seed(seed)
        left[name] = accuracy(model, attack(model))
    return left


def compare_minimal(model: Attacked, norm: Norm, steps: int, left_out: list[str]) -> dict[str, Any]:
    """Optimality, median size, share fooled and seconds of each attack."""
    found, seconds = {}, {}
    for name, attack in {**our_minimal(norm, steps), **minimal(norm, steps)}.items():
        if name in left_out:
            continue
        torch.manual_seed(0)
        begun = time.process_time()
        found[name] = distances(model, attack(model), norm)
        seconds[name] = time.process_time() - begun
        print(f"{norm} {name}: median {found[name].median():.4g}, {seconds[name]:.1f} s", file=sys.stderr)
    scores = optimality(found)
    return {
        name: {
            "optimality": scores[name], "median": distance.median().item(),
            "fooled": distance.isfinite().float().mean().item(), "cpu_seconds": seconds[name],
        }
        for name, distance in sorted(found.items(), key=lambda pair: -scores[pair[0]])
    }  # fmt: skip


def main() -> None:
    """Parse the options, compare, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracles", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="images to attack")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument(
        "--eps", type=float, default=16 / 255, help="what one of the classifiers is trained against"
    )
    parser.add_argument("--seeds", type=int, default=3, help="random starts of PGD, one after the other")
    parser.add_argument("--models", type=Path, help="folder that keeps the trained classifiers")
    parser.add_argument("--parts", nargs="+", default=["steps", "minimal"], choices=["steps", "minimal"])
    parser.add_argument("--leave-out", nargs="+", default=[], help="attacks for the smallest change, by name")
    parser.add_argument("--classifiers", nargs="+", default=list(TRAINED), choices=TRAINED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    find_oracles(asked.oracles)
    rows = []
    for model in attacked(asked.data, asked.count, asked.eps, asked.models, asked.threads):
        if model.name not in asked.classifiers:
            continue
        row: dict[str, Any] = {
            "model": model.name,
            "clean_accuracy": model.clean,
            "images": len(model.images),
        }
        for norm in NORMS:
            row[norm] = {}
            if "steps" in asked.parts:
                row[norm] |= compare_steps(model, norm, asked.seeds)
            if "minimal" in asked.parts:
                row[norm]["minimal"] = compare_minimal(model, norm, asked.steps, asked.leave_out)
        rows.append(row)
    about = {
        "data": asked.data.name,
        "count": asked.count,
        "steps": asked.steps,
        "seeds": asked.seeds,
        "eps_trained": asked.eps,
    }
    publish({**describe_machine(Engine.from_settings("float32")), **about, "models": rows}, asked.out)


if __name__ == "__main__":
    main()
