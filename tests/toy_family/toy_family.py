"""A family in a package of its own: for each class a Gaussian in pixel space, trained by likelihood."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn

from plenish.datasets.batches import Batch
from plenish.networks.families import Family
from plenish.networks.sampler import Sampler, SamplerConfig
from plenish.training.generator import GeneratorLearner, GeneratorTask
from plenish.training.learner import Clock


class Gaussian(Sampler):
    def __init__(self, config: SamplerConfig) -> None:
        super().__init__(config)
        shape = (max(1, config.labels.width), *self.z_shape)
        self.mean, self.log_sd = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def moments(self, y: Tensor | None) -> tuple[Tensor, Tensor]:
        self.check_labels(y)
        y = y if y is not None else self.mean.new_ones(1, 1)
        return torch.tensordot(y, self.mean, 1), torch.tensordot(y, self.log_sd, 1).exp()

    def sample(self, z: Tensor, y: Tensor | None = None, *, seed: int = 0) -> Tensor:
        mean, sd = self.moments(y)
        return (mean + sd * z).clamp(-1, 1)


@dataclasses.dataclass(frozen=True)
class Likelihood:
    batch: int = 12
    lr: float = 0.05


class GaussianLearner(GeneratorLearner):
    sections: ClassVar = {"training": Likelihood}
    option_keys: ClassVar = {"--batch": ("training.batch",), "--lr": ("training.lr",)}

    def __init__(self, task: GeneratorTask) -> None:
        super().__init__(task)
        self.method = task.sections["training"]
        self.network = self.engine.to_module(Gaussian(task.network))
        self.adam = torch.optim.Adam(self.network.parameters(), self.method.lr)

    def modules(self) -> dict[str, nn.Module]:
        return {"ema": self.network}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adam": self.adam}

    def batch_size(self, nimg: int) -> int:
        return self.method.batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        mean, sd = self.network.moments(self.labels(batch.y))
        x = self.engine.to_images(batch.pixels)
        loss = ((x - mean) / sd).square().mul(0.5).add(sd.log()).mean()
        self.engine.minimise(self.adam, loss)
        return {"loss": loss.detach()}


FAMILY = Family(SamplerConfig, Gaussian, "toy_family:GaussianLearner")
