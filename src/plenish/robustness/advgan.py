"""AdvGAN as a Learner: a network that perturbs images within a ball so that a classifier is wrong.

Xiao et al., "Generating Adversarial Examples with Adversarial Networks" (IJCAI 2018, arXiv 1801.02610): the
loss is that of the attack, the margin of Carlini and Wagner, plus that of a discriminator of real and
perturbed images. Their third part, a hinge on the length of the perturbation, is a projection here: every
perturbation lies in the ball, so nothing is to be weighed against its length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import as_typed, check_fields, option
from plenish.datasets.batches import Batch, Images
from plenish.datasets.pixels import chunks
from plenish.domains import SYMMETRIES
from plenish.errors import InputError
from plenish.latent.render import amplified_difference
from plenish.networks.perturber import PerturbationDiscriminator, Perturber, PerturberConfig
from plenish.networks.shared_batch import mean_over_processes
from plenish.robustness.gradients import logits_of
from plenish.robustness.losses import margin
from plenish.robustness.radius import parse_eps
from plenish.robustness.threat import Norm, Threat, project
from plenish.robustness.visited import judged_margin, misclassified, predictions
from plenish.training.augment import orient
from plenish.training.engine import Engine, to_uint8
from plenish.training.learner import Clock, Learner, Preview
from plenish.training.schedules import Schedule, changeable
from plenish.training.translation import discriminate, in_threes

AT_ONCE = 128
"""Images that are perturbed at once."""
CHANGEABLE = changeable(Schedule)
FOOLED, MARGIN = "val_fooled", "val_margin"
_SHOWN = 16


@dataclasses.dataclass(frozen=True)
class AdvGANMethod:
    """How a perturber is trained.

    Attributes:
        norm: of the ball that perturbations stay in: linf or l2.
        eps: its radius, in units of [0, 1], above 0; `PERTURBED_EPS` has usual ones.
        batch: images a step.
        lr: learning rate of both networks' Adam.
        beta1: decay of Adam's first moment.
        beta2: decay of Adam's second moment.
        confidence: lead in logits of a wrong class beyond which an image adds nothing to the loss (κ).
        gan: weight of the discriminator's loss; 0 trains by the margin alone.
        symmetry: training images are shown in a random one of these orientations.
    """

    norm: Norm
    eps: float
    batch: int = option(32, least=1)
    lr: float = option(1e-3, above=0)
    beta1: float = option(0.5, least=0, below=1)
    beta2: float = option(0.999, least=0, below=1)
    confidence: float = option(5.0, least=0)
    gan: float = option(0.1, least=0)
    symmetry: str = option("none", choices=SYMMETRIES)

    def __post_init__(self) -> None:
        check_fields(self, "training")
        object.__setattr__(self, "eps", parse_eps(self.eps, as_typed("training.eps")))
        Threat(self.norm, self.eps)
        if not self.eps:
            raise InputError("--eps 0 leaves images as they are; give a radius above 0, such as 8/255.")


def perturbed(network: nn.Module, images: Tensor, eps: float, norm: Norm, *, scale: float = 1) -> Tensor:
    """Images changed as a perturber says, inside the ball and in [0, 1]; differentiable.

    In the L∞ norm its directions, which lie in [-1, 1], are scaled by eps; in the L2 norm they are shortened
    to the ball where they are longer.

    Args:
        network: images → directions, both N×C×H×W.
        images: in [0, 1].
        eps: radius of the ball.
        norm: of the ball.
        scale: factor of directions in the L2 norm: eps over that of the training, where it is another.
    """
    directions = network(images).float()
    change = (eps if norm == "linf" else scale) * directions
    return project(images, images + change, eps, norm)


class AdvGANLearner(Learner):
    """A perturber and its discriminator, against a classifier that stays as it is."""

    notes = (("fooled", "fooled"), ("margin", "margin"))
    loss = "loss_g"
    smaller_network = "a smaller --width"

    def __init__(
        self, config: PerturberConfig, method: AdvGANMethod, victim: nn.Module, engine: Engine, val: Images
    ) -> None:
        """Build the networks and their optimisers.

        Args:
            config: of both networks.
            method: how they are trained.
            victim: the classifier, images in [0, 1] → logits, on the engine's device; no gradients of its
                weights are computed.
            engine: device and precision.
            val: images with class numbers on which the best checkpoint is chosen.
        """
        self.method, self.engine, self.val = method, engine, val
        self.victim = victim.eval().requires_grad_(False)
        self.perturber = engine.to_module(Perturber(config)).train()
        self.discriminator = engine.to_module(PerturbationDiscriminator(config)).train()
        self.criteria = {FOOLED: -1, MARGIN: -1}
        betas = (method.beta1, method.beta2)
        self.opt_g, self.opt_d = (
            torch.optim.Adam(network.parameters(), method.lr, betas, fused=True)
            for network in (self.perturber, self.discriminator)
        )

    def modules(self) -> dict[str, nn.Module]:
        """The networks by the name of their checkpoint file."""
        return {"perturber": self.perturber, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by the name of their checkpoint file."""
        return {"opt_g": self.opt_g, "opt_d": self.opt_d}

    def batch_size(self, nimg: int) -> int:
        """Images a step."""
        return self.method.batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Update the discriminator, then the perturber."""
        method = self.method
        real = to_unit(self.engine.to_images(batch.pixels))
        real = orient(real, method.symmetry, self.engine.generator(*clock.key, "symmetry"))
        labels = torch.from_numpy(batch.y).to(self.engine.device)
        with self.engine.autocast():
            made = perturbed(self.perturber, real, method.eps, method.norm)
            lead = margin(self.victim(made).float(), labels)
        loss = F.relu(method.confidence - lead).mean()
        values = {"margin": lead.detach().mean(), "fooled": (lead.detach() > 0).float().mean()}
        if method.gan:
            values |= discriminate(self.discriminator, self.opt_d, self.engine, [real], [made.detach()])
            self.discriminator.requires_grad_(False)
            with self.engine.autocast():
                adversarial = F.softplus(-self.discriminator(made)).mean()
            loss = loss + method.gan * adversarial
            values["adversarial"] = adversarial.detach()
        self.engine.minimise(self.opt_g, loss)
        self.discriminator.requires_grad_(True)
        return {name: mean_over_processes(value) for name, value in values.items()} | {
            "loss_g": mean_over_processes(loss.detach())
        }

    def validate(self, clock: Clock) -> dict[str, float]:
        """The share of val images that are fooled, of those the classifier gets right, and their margin.

        An answer that is NaN or infinite is wrong, as for every attack, and has no margin to average.
        """
        fooled, leads = list[NDArray[np.bool_]](), list[NDArray[np.float32]]()
        for images, labels in self._of_val():
            with torch.no_grad():
                made = perturbed(self.perturber, images, self.method.eps, self.method.norm)
                logits = logits_of(self.victim, made)
                right = ~misclassified(self.victim, images, labels)
            fooled.append((predictions(logits) != labels)[right].cpu().numpy())
            leads.append(judged_margin(logits, labels)[right].cpu().numpy())
        share, lead = np.concatenate(fooled), np.concatenate(leads)
        if not len(share):
            return {}
        finite = lead[np.isfinite(lead)]
        return {FOOLED: float(share.mean())} | ({MARGIN: float(finite.mean())} if len(finite) else {})

    def preview(self, clock: Clock) -> Preview | None:
        """Val images in threes: as they are, perturbed, and the amplified difference."""
        if not clock.nimg:
            return None
        rows = np.sort(np.random.default_rng(clock.seed).permutation(len(self.val.y))[:_SHOWN])
        before = np.asarray(self.val.read(rows))
        with torch.no_grad():
            images = to_unit(self.engine.to_images(before))
            made = perturbed(self.perturber, images, self.method.eps, self.method.norm)
        after = to_uint8(made.mul(2).sub(1))
        difference, factor = amplified_difference(before, after)
        return Preview(f"image, perturbed, difference × {factor:g}", in_threes(before, after, difference))

    def _of_val(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Val images in [0, 1] and their labels, piece by piece."""
        for place in chunks(len(self.val.y), AT_ONCE):
            images = to_unit(self.engine.to_images(self.val.read(place)))
            yield images, torch.from_numpy(self.val.y[place]).to(self.engine.device)


def to_unit(images: Tensor) -> Tensor:
    """Images in [-1, 1] as images in [0, 1]."""
    return images.add(1).div(2)
