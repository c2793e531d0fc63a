"""What a GAN training step changes and a checkpoint holds: networks, optimisers, average, running values."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from plenish.networks.gan.contract import Discriminator, Generator
from plenish.networks.shared_batch import draw, number_of_parts
from plenish.training.engine import Engine
from plenish.training.gan.graphs import Passes
from plenish.training.gan.growth import Stage
from plenish.training.gan.method import Method
from plenish.training.gan.objectives import objective
from plenish.training.schedules import cosine_fall


class RunningStatistics(nn.Module):
    """Running values that a step needs of the steps before it; they are saved like weights.

    Attributes:
        p: strength of the adaptive augmentation, 0 to 1.
        accuracy: the discriminator's share of right answers in the step before.
        path: running mean of path lengths.
    """

    p: Tensor
    accuracy: Tensor
    path: Tensor

    def __init__(self, p: float) -> None:
        """Begin with augmentation strength p and a discriminator that wins."""
        super().__init__()
        self.register_buffer("p", torch.tensor(float(p)))
        self.register_buffer("accuracy", torch.tensor(1.0))
        self.register_buffer("path", torch.tensor(0.0))


class GANState:
    """Both networks with their optimisers, the generator's moving average and running statistics."""

    def __init__(
        self, generator: Generator, discriminator: Discriminator, method: Method, engine: Engine
    ) -> None:
        """Move the networks to the device, at the first stage of growth, and make their optimisers."""
        self.g = engine.to_module(generator).train()
        self.d = engine.to_module(discriminator).train()
        self.ema = copy.deepcopy(self.g).eval().requires_grad_(False)
        self.statistics = RunningStatistics(method.augment.ada_p).to(engine.device)
        self.method, self.engine = method, engine
        rules, penalty = method.adversarial, method.penalty
        self.objective = objective(rules.objective)
        self.opt_g = self._adam(self.g, rules.lr_g, penalty.path_share(rules.g_steps))
        self.opt_d = self._adam(self.d, rules.lr_d, penalty.lazy_share())
        self.sizes = [self.g.stage_size(number) for number in range(self.g.stages)]
        self.passes = Passes(engine, rules.batch * self.g.size**2)
        # A network that grows computes something else at every step; sums over processes are not recorded.
        self.passes.recording &= len(self.sizes) == 1 and engine.world == 1
        self.grow(0)

    def _adam(self, network: nn.Module, lr: float, share: float) -> torch.optim.Adam:
        """Adam whose rates allow for the steps a lazy penalty adds (Karras et al. 2020, appendix B).

        The fused kernel is about three times the default loop over parameters, on a CPU too.
        """
        rules = self.method.adversarial
        betas = (rules.beta1**share, rules.beta2**share)
        return torch.optim.Adam(network.parameters(), lr * share, betas, fused=True)

    def stage_at(self, nimg: int) -> Stage:
        """The stage of growing networks after `nimg` images; the others have one stage."""
        return self.method.growth.at(nimg, self.sizes, self.method.adversarial.batch)

    def grow(self, nimg: int) -> None:
        """Put all networks at the stage of `nimg` images, which a step's clock names too."""
        self.d.set_images_seen(nimg)
        if len(self.sizes) > 1:
            stage = self.stage_at(nimg)
            for network in (self.g, self.d, self.ema):
                network.grow(stage.number, stage.alpha)

    def set_rates(self, nimg: int) -> None:
        """Give both optimisers the learning rates that hold after `nimg` images."""
        rules = self.method.adversarial
        share = cosine_fall(nimg, rules.lr_fall_to, rules.lr_fall_kimg)
        for optimiser in (self.opt_g, self.opt_d):
            for group in optimiser.param_groups:
                group["lr"] = share * optimiser.defaults["lr"]

    def synthesis(self, w: Tensor, y: Tensor | None) -> Tensor:
        """Images of styles, N×C×H×W, not to be differentiated twice."""
        return self.passes.run("synthesis", self.g, self.g.synthesis, w, y)

    def logits(self, images: Tensor, y: Tensor | None) -> Tensor:
        """The discriminator's logits, N, not to be differentiated twice."""
        return self.passes.run(f"logits {number_of_parts()}", self.d, self.d, images, y)

    def latents(self, n: int, *key: Any) -> Tensor:
        """Draw z, n×z_dim, for one purpose."""
        rng = self.engine.generator(*key, "z")
        return draw(lambda whole: self.g.sample_prior(whole[0], rng), (n,))
