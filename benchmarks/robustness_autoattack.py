"""AutoAttack and APGD of ours against the public ones, on the same networks and images.

Two networks are trained on a part of Fashion-MNIST, plainly and with PGD examples, and attacked in turn by
ours and by packages from a folder of their own (`autoattack`, `art`, `torchattacks`): robust accuracy, and
the CPU seconds of this process, interleaved. With 2, 3, 4 and 7 classes, where the public AutoAttack does not
run, ours is set against PGD with 100 steps and 5 restarts.

    python -m benchmarks.robustness_autoattack --oracles FOLDER --data FOLDER --out benchmarks/results/…json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.race import describe_machine
from plenish.robustness.apgd import apgd_ce
from plenish.robustness.autoattack import auto_attack, auto_attack_by
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.threat import Norm, lengths
from plenish.robustness.visited import misclassified
from plenish.training.engine import Engine

THREATS: dict[str, dict[Norm, float]] = {
    "hardened": {"linf": 0.1, "l2": 1.2},
    "plain": {"linf": 0.05, "l2": 0.8},
}
"""Radii at which neither all nor none of the images are fooled."""


def read(folder: Path, part: str, classes: int) -> tuple[Tensor, Tensor]:
    """Images N×1×28×28 in [0, 1] and labels of the first classes of Fashion-MNIST."""
    stored = np.load(folder / "fashion_mnist_small.npz")
    labels = stored[f"y_{part}"].astype(np.int64)
    kept = labels < classes
    images = stored[f"x_{part}"][kept, None].astype(np.float32) / 255
    return torch.from_numpy(images), torch.from_numpy(labels[kept])


def network(classes: int) -> nn.Module:
    """A small convolutional network for 28×28 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, classes),
    )  # fmt: skip


def trained(folder: Path, classes: int, hardened: bool, epochs: int, eps: float = 0.08) -> nn.Module:
    """Train on clean images, or on those of a few PGD steps."""
    torch.manual_seed(0)
    images, labels = read(folder, "train", classes)
    model = network(classes)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(100):
            x, y = images[rows], labels[rows]
            if hardened:
                change = torch.empty_like(x).uniform_(-eps, eps)
                for _ in range(4):
                    change.requires_grad_(True)
                    loss = functional.cross_entropy(model((x + change).clamp(0, 1)), y)
                    (gradient,) = torch.autograd.grad(loss, change)
                    change = (change.detach() + eps / 3 * gradient.sign()).clamp(-eps, eps)
                x = (x + change).clamp(0, 1)
            optimiser.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model.eval()


Attack = Callable[[nn.Module, Tensor, Tensor, float, Norm], Tensor]


def public_autoattack(attacks: tuple[str, ...]) -> Attack:
    """The authors' AutoAttack: with no names its standard version."""
    from autoattack import AutoAttack

    def attack(model: nn.Module, images: Tensor, labels: Tensor, eps: float, norm: Norm) -> Tensor:
        names = {"linf": "Linf", "l2": "L2"}
        adversary = AutoAttack(model, norm=names[norm], eps=eps, seed=0, verbose=False, device="cpu")
        if attacks:
            adversary.attacks_to_run = list(attacks)
        found: Tensor = adversary.run_standard_evaluation(images, labels, bs=len(images))
        return found

    return attack


def torchattacks_apgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, norm: Norm) -> Tensor:
    """APGD of torchattacks with the cross entropy, 100 steps."""
    import torchattacks

    names = {"linf": "Linf", "l2": "L2"}
    found: Tensor = torchattacks.APGD(model, norm=names[norm], eps=eps, steps=100, seed=0)(images, labels)
    return found


def art_apgd(model: nn.Module, images: Tensor, labels: Tensor, eps: float, norm: Norm) -> Tensor:
    """Auto-PGD of the Adversarial Robustness Toolbox with the cross entropy, 100 steps, 1 restart."""
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classes = model(images[:1]).shape[1]
    estimator = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(images.shape[1:]), classes, clip_values=(0, 1), device_type="cpu"
    )
    attack = AutoProjectedGradientDescent(
        estimator, norm=np.inf if norm == "linf" else 2, eps=eps, eps_step=2 * eps, max_iter=100,
        batch_size=len(images), nb_random_init=1, loss_type="cross_entropy", verbose=False,
    )  # fmt: skip
    np.random.seed(0)
    return torch.from_numpy(attack.generate(images.numpy(), functional.one_hot(labels, classes).numpy()))


def accuracy(
    model: nn.Module, images: Tensor, found: Tensor, labels: Tensor, eps: float, norm: Norm
) -> float:
    """Percent that stay right; a point outside the ball or [0, 1] counts as its original."""
    allowed = (lengths(found - images, norm) <= eps * (1 + 1e-4) + 1e-6) & (found.amin((1, 2, 3)) >= 0)
    allowed &= found.amax((1, 2, 3)) <= 1
    fooled = misclassified(model, torch.where(allowed.view(-1, 1, 1, 1), found, images), labels)
    return 100 * (1 - fooled.float().mean().item())


def compare(
    attacks: dict[str, Attack],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    norm: Norm,
    rounds: int,
) -> dict[str, Any]:
    """Robust accuracy of each attack and its CPU seconds, the attacks taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in attacks}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name, attack in attacks.items():
            begun = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                points = attack(model, images, labels, eps, norm).detach()
            seconds[name].append(time.process_time() - begun)
            found[name] = {"robust": round(accuracy(model, images, points, labels, eps, norm), 2)}
    for name, taken in seconds.items():
        found[name] |= {"cpu_seconds": round(statistics.median(taken), 2), "all_seconds": taken}
    return found


def ours(precision: str) -> Attack:
    return lambda m, x, y, eps, norm: auto_attack(m, x, y, eps, norm=norm, precision=precision, batch=len(x))


def ten_classes(asked: argparse.Namespace, kind: str, norm: Norm) -> dict[str, Any]:
    """AutoAttack and APGD with the cross entropy against the public ones."""
    model = trained(asked.data, 10, kind == "hardened", asked.epochs)
    images, labels = (part[: asked.images] for part in shuffled(*read(asked.data, "test", 10)))
    eps = THREATS[kind][norm]
    whole = {"ours": ours("float32"), "public": public_autoattack(())}
    if asked.bfloat16:
        whole["ours, bfloat16"] = ours("bfloat16")
    single: dict[str, Attack] = {
        "ours": lambda m, x, y, e, n: apgd_ce(m, x, y, e, norm=n),
        "public": public_autoattack(("apgd-ce",)),
        "torchattacks": torchattacks_apgd,
        "art": art_apgd,
    }
    return {
        "network": kind, "norm": norm, "eps": eps, "images": len(images),
        "clean": round(accuracy(model, images, images, labels, eps, norm), 2),
        "apgd": compare(single, model, images, labels, eps, norm, 1),
        "autoattack": compare(whole, model, images, labels, eps, norm, asked.rounds),
    }  # fmt: skip


def few_classes(asked: argparse.Namespace, classes: int, kind: str, norm: Norm) -> dict[str, Any]:
    """AutoAttack against PGD with 100 steps and 5 restarts, and images that PGD alone fooled."""
    model = trained(asked.data, classes, kind == "hardened", asked.epochs)
    images, labels = (part[: asked.images] for part in shuffled(*read(asked.data, "test", classes)))
    eps = asked.wider * THREATS[kind][norm]
    by_pgd = misclassified(
        model, pgd(model, images, labels, eps, norm=norm, steps=100, restarts=5, drop=True), labels
    )
    found = auto_attack_by(model, images, labels, eps, norm=norm, queries=asked.queries, batch=len(images))
    by_ours = misclassified(model, found.images, labels)
    return {
        "classes": classes, "network": kind, "norm": norm, "eps": eps, "images": len(images),
        "robust": percent(~by_ours), "pgd-100x5": percent(~by_pgd),
        "pgd_alone": int((by_pgd & ~by_ours).sum()),
        "ours_alone": int((by_ours & ~by_pgd).sum()), "found_by": found.counts,
    }  # fmt: skip


def percent(right: Tensor) -> float:
    return round(100 * right.float().mean().item(), 2)


def shuffled(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]


def main() -> None:
    """Parse the options, attack, and publish a row for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracles", type=Path, required=True, help="folder with the public packages")
    parser.add_argument("--data", type=Path, required=True, help="folder with fashion_mnist_small.npz")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=1, help="how often each AutoAttack is timed")
    parser.add_argument("--bfloat16", action="store_true", help="time AutoAttack with bfloat16 too")
    parser.add_argument("--queries", type=int, default=500, help="of Square, with few classes")
    parser.add_argument("--wider", type=float, default=2.0, help="times the radii with few classes")
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 2, 3, 4, 7])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.oracles))
    torch.set_num_threads(1)
    command = "python -m benchmarks.robustness_autoattack " + " ".join(
        f"--{k} {getattr(asked, k)}" for k in ("images", "epochs", "rounds", "wider", "queries")
    )
    command += " --classes " + " ".join(str(classes) for classes in asked.classes)
    machine = describe_machine(Engine(torch.device("cpu"), "float32"))
    report: dict[str, Any] = {**machine, "command": command, "rows": []}
    for classes in asked.classes:
        for kind, norms in THREATS.items():
            for norm in norms:
                row = (
                    ten_classes(asked, kind, norm)
                    if classes == 10
                    else few_classes(asked, classes, kind, norm)
                )
                print(json.dumps(row), flush=True)
                report["rows"].append(row)
                if asked.out:
                    asked.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
