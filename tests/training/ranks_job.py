"""Trains every kind of model for some steps, alone or as one process of several; saves gradients and weights.

usage: ranks_job.py OUT STEPS CASE...
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from plenish import settings
from plenish.datasets.batches import Images
from plenish.datasets.schema import LabelSchema
from plenish.networks import gan as networks
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.networks.flow import FlowConfig
from plenish.networks.sampler import SamplerConfig
from plenish.networks.shared_batch import sharing
from plenish.networks.translation import TranslationConfig
from plenish.robustness.hardening import HardenedLearner
from plenish.robustness.hardening_config import HardeningConfig
from plenish.training import flow as flows
from plenish.training import ranks
from plenish.training.autoencoder import AutoencoderLearner
from plenish.training.classifier import ClassifierLearner
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.engine import Engine
from plenish.training.gan.augment import Augment
from plenish.training.gan.growth import Growth
from plenish.training.gan.health import Limits
from plenish.training.gan.learner import GANLearner
from plenish.training.gan.method import Adversarial
from plenish.training.gan.penalties import Penalty
from plenish.training.generator import GeneratorTask, Schedule
from plenish.training.learner import Clock, Learner
from plenish.training.reconstruction import Method as AutoencoderMethod
from plenish.training.sketches import SketchOptions
from plenish.training.translation import Augment as TranslationAugment
from plenish.training.translation import Method as TranslationMethod
from plenish.training.translation import TranslationLearner

TOY_FAMILY = Path(__file__).parents[1] / "toy_family"
N, SIZE, BATCH = 48, 16, 16
LABELS = LabelSchema("categorical", ("a", "b", "c"))
Make = Callable[[Engine], Learner]


class NoSubset:
    """Stands for the training rows, of which a step needs none."""


def pixels() -> np.ndarray:
    """The training images, N×H×W×C uint8."""
    return np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), np.uint8)


def gan(
    family: str, penalty: dict[str, Any] | None = None, augment: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None, **rules: Any,
) -> Make:  # fmt: skip
    """A GAN that goes through three stages of growth, if its family grows."""

    def make(engine: Engine) -> Learner:
        options = {"width": 8, "max_width": 16, "z_dim": 8, **(network or {})}
        config = networks.network_config(family, {**options, "size": SIZE, "channels": 3, "labels": LABELS})
        sections = {
            "adversarial": Adversarial(batch=BATCH, **rules), "penalty": Penalty(**(penalty or {})),
            "augment": Augment(**(augment or {})), "growth": Growth(fade_kimg=0.05, stable_kimg=0.02),
            "limits": Limits(),
        }  # fmt: skip
        schedule = Schedule(log_kimg=0.016)
        return GANLearner(GeneratorTask(family, config, sections, schedule, NoSubset(), engine))  # type: ignore[arg-type]

    return make


def autoencoder(variational: bool = False, **method: float) -> Make:
    """An autoencoder with batch norm."""

    def make(engine: Engine) -> Learner:
        config = AutoencoderConfig(
            size=SIZE, channels=3, filters=(4, 4), latent_features=4, variational=variational, norm="batch"
        )
        return AutoencoderLearner(
            Autoencoder(config),
            AutoencoderMethod(batch=BATCH, **method),
            engine,  # type: ignore[arg-type]
        )

    return make


def classifier(hardening: HardeningConfig | None = None, **options: Any) -> Make:
    """A classifier with batch norm, dropout and augmentation; a hardened one where it is said how."""

    def make(engine: Engine) -> Learner:
        config = ClassifierConfig(
            batch=BATCH, steps=20, augmentation="classical", symmetry="dihedral", seed=1, **options
        )
        images = Images(pixels().__getitem__, np.arange(N) % 3)
        given = config.resolved(N), images, images, ("a", "b", "c"), engine
        return HardenedLearner(*given, hardening=hardening) if hardening else ClassifierLearner(*given)

    return make


def translation(engine: Engine) -> Learner:
    """A translation with everything that draws: orientations, moves, sketches, dropout."""
    config = TranslationConfig(SIZE, 1, 3, width=8, max_width=16, d_width=8, d_layers=1)
    augment = TranslationAugment("mirror", 0.5, "comic")
    return TranslationLearner(config, TranslationMethod(batch=BATCH), augment, SketchOptions(), engine)


def other_package(engine: Engine) -> Learner:
    """A family of another package."""
    sys.path.append(str(TOY_FAMILY))
    learner = importlib.import_module("toy_family").GaussianLearner
    config = SamplerConfig(size=SIZE, channels=3, labels=LABELS)
    sections = {"training": learner.sections["training"](batch=BATCH)}
    made: Learner = learner(GeneratorTask("gaussian", config, sections, Schedule(), NoSubset(), engine))  # type: ignore[arg-type]
    return made


def flow(engine: Engine) -> Learner:
    """A flow with everything that draws: augmentation, dropout, hidden labels, shortcuts."""
    config = FlowConfig(
        size=SIZE, channels=3, labels=LABELS, width=16, levels=2, dropout=0.2, augmented=True, shortcuts=True
    )
    sections = {
        "training": flows.FlowMethod(batch=BATCH, lr=1e-4, shortcut_every=3),
        "augment": flows.FlowAugment(symmetry="dihedral", p=0.3),
    }
    return flows.FlowLearner(GeneratorTask("flow", config, sections, Schedule(), NoSubset(), engine))  # type: ignore[arg-type]


CASES: dict[str, Callable[[Engine], Learner]] = {
    "dcgan": gan("dcgan", noise_sd=0.1, noise_kimg=1.0),
    "dcgan, ADA": gan("dcgan", {"r1": 1, "interval": 3}, {"ada_target": 0.6, "ada_p": 0.3, "ada_kimg": 0.1}),
    "dcgan, fake as real": gan(
        "dcgan", None, {"diffaugment": "color,translation,cutout", "symmetry": "dihedral"}, {"dropout": 0.25},
        fake_as_real=0.2,
    ),
    "vanilla": gan("vanilla", network={"dropout": 0.3}, objective="vanilla"),
    "wgan-gp": gan("wgan-gp", {"gp": 10, "drift": 1e-3}, objective="wasserstein", d_steps=2),
    "sagan": gan("sagan", objective="hinge", lr_g=1e-4),
    "r3gan": gan("r3gan", {"r1": 1, "r2": 1}, objective="relativistic"),
    "progan": gan("progan", {"gp": 10, "drift": 1e-3}, objective="wasserstein", beta1=0.0),
    "stylegan2": gan(
        "stylegan2", {"r1": 1, "interval": 4, "path": 2, "path_interval": 2},
        {"ada_target": 0.6, "ada_p": 0.3, "ada_kimg": 0.1}, {"w_dim": 8}, style_mixing=0.9,
    ),
    "flow": flow,
    "autoencoder": autoencoder(denoise=0.1),
    "variational autoencoder": autoencoder(variational=True),
    "classifier": classifier(loss="weighted", order="balanced"),
    "hardened classifier": classifier(
        HardeningConfig("pgd", attack_steps=3, awp=0.01, awp_warmup=0.0), learning_rate=1e-4
    ),
    "freely hardened classifier": classifier(HardeningConfig("free", attack_steps=2)),
    "other package": other_package,
    "translation": translation,
    "timm classifier": classifier(classifier="mobilenetv3_small_050"),
}  # fmt: skip


def run(case: str, engine: Engine, steps: int) -> dict[str, torch.Tensor]:
    """Gradients after the first step, weights and buffers after the last one, and what each step reported."""
    torch.manual_seed(0)
    learner = CASES[case](engine)
    is_classifier = isinstance(learner, ClassifierLearner)
    codes = np.arange(N) % 3
    y = codes if is_classifier else np.eye(3, dtype=np.float32)[codes]
    data = pixels()
    images = Images(lambda index: data[index], y)
    found: dict[str, torch.Tensor] = {}
    feed = images.batches(learner.batch_size, seed=1, rank=engine.rank, world=engine.world, ahead=0)
    nimg = 0
    for number, batch in zip(range(steps), feed, strict=False):
        learner.set_stage(nimg)
        with sharing(engine.rank, engine.world):
            values = learner.step(batch, Clock(1, 0, nimg, number, engine.rank, engine.world))
        nimg += batch.total
        values = ranks.mean_line(engine, {name: float(value) for name, value in values.items()})
        found |= {f"value.{number}.{name}": torch.tensor(value) for name, value in values.items()}
        if number == 0:
            for name, module in learner.modules().items():
                grads = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
                found |= {f"gradient.{name}.{key}": grad.clone() for key, grad in grads.items()}
    for name, module in learner.modules().items():
        found |= {f"weight.{name}.{key}": value.clone() for key, value in module.named_parameters()}
        found |= {f"buffer.{name}.{key}": value.clone() for key, value in module.named_buffers()}
    return {name: value.detach().contiguous() for name, value in found.items()}


if __name__ == "__main__":
    out, steps, cases = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    engine = Engine(torch.device("cpu"), "float32", *settings.process())
    ranks.join(engine)
    for case in cases:
        save_file(run(case, engine, steps), out / f"{case}-{engine.rank}-of-{engine.world}.safetensors")
    try:
        ranks.leave(engine)
    finally:
        threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
        assert not any("gloo" in name for name in threads), threads
