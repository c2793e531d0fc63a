"""Autoencoders as a Learner: steps, reconstructions, errors on val; and their schedule, in epochs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish.configuration import option
from plenish.datasets.batches import Batch
from plenish.datasets.parts import Subset
from plenish.networks.autoencoder import Autoencoder
from plenish.networks.shared_batch import mean_over_processes, normal
from plenish.training.engine import Engine, to_uint8
from plenish.training.learner import Clock, Learner, Preview
from plenish.training.logs import paired_grid
from plenish.training.reconstruction import Method, squared_error
from plenish.training.schedules import Schedule as TrainerSchedule
from plenish.training.schedules import changeable, check_schedule

Key = tuple[Any, ...]
_PAIRS = 16
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Length and intervals of a training, in epochs: passes over the training images.

    Attributes:
        epochs: length of the training.
        evaluate_epochs: interval of the error on val and of checkpoints; one more is written every hour.
        sample_epochs: interval of pictures of reconstructions.
        patience: end after this many evaluations without a lower error on val; 0 never stops early.
        keep: newest checkpoints kept, beside the best.
        on_failure: `stop` at the last good checkpoint when the training diverges, or `rollback` to it and
            resume with other random draws.
        rollbacks: how often, before it stops all the same.
    """

    epochs: float = option(30.0, above=0)
    evaluate_epochs: float = option(1.0, above=0)
    sample_epochs: float = option(5.0, above=0)
    patience: int = option(3, least=0)
    keep: int = option(1, least=1)
    on_failure: str = "stop"
    rollbacks: int = option(3, least=0)

    def __post_init__(self) -> None:
        check_schedule(self)

    def in_kimg(self, images: int) -> TrainerSchedule:
        """The same for so many training images."""
        epoch = images / 1000
        return TrainerSchedule(
            kimg=self.epochs * epoch, log_kimg=self.evaluate_epochs * epoch,
            sample_kimg=self.sample_epochs * epoch, checkpoint_kimg=self.evaluate_epochs * epoch,
            keep=self.keep, patience=self.patience, on_failure=self.on_failure, rollbacks=self.rollbacks,
        )  # fmt: skip


CHANGEABLE = changeable(Schedule)


class AutoencoderLearner(Learner):
    """An autoencoder with its optimiser."""

    unit = "epoch"
    smaller_network = "smaller --filters"
    notes = (("mse", "mse"),)

    def __init__(
        self, network: Autoencoder, method: Method, engine: Engine, train: Subset | None = None,
        val: Subset | None = None,
    ) -> None:  # fmt: skip
        """Move the network to the device and make its optimiser.

        Args:
            network: the network.
            method: how it is trained.
            engine: device and precision.
            train: training rows, whose number is an epoch.
            val: rows the error is measured on, and whose reconstructions are previewed.
        """
        self.network = engine.to_module(network).train()
        self.method, self.engine, self.train, self.val = method, engine, train, val
        betas = (method.beta1, method.beta2)
        self.optimiser = torch.optim.Adam(self.network.parameters(), method.lr, betas, fused=True)
        config = network.config
        self.values = config.channels * config.size**2
        padded = config.padded > config.size
        self.real = network.real_blocks().to(engine.device) if padded else None
        if val is not None:
            self.criteria = {"val_loss" if config.variational else "val_mse": 1}

    def modules(self) -> dict[str, nn.Module]:
        """The network by the name of its checkpoint file."""
        return {"autoencoder": self.network}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimiser by the name of its checkpoint file."""
        return {"optimiser": self.optimiser}

    def batch_size(self, nimg: int) -> int:
        """Images a step."""
        return self.method.batch

    def position(self, nimg: int) -> dict[str, float]:
        """Passes over the training images."""
        return {"epoch": nimg / len(self.train)} if self.train is not None else {}

    def blocks(self, pixels: NDArray[np.uint8] | Tensor) -> Tensor:
        """uint8 N×H×W×C → blocks in [-1, 1] on the device."""
        raw = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
        raw = self.network.to_blocks(raw.to(self.engine.device, non_blocking=True).permute(0, 3, 1, 2))
        return raw.float().div_(127.5).sub_(1.0)

    def losses(self, blocks: Tensor, key: Key = (), *, draw: bool = True) -> dict[str, Tensor]:
        """Loss of a batch and what it is made of.

        Args:
            blocks: from `blocks`.
            key: seeds the draws.
            draw: with noise and drawn encodings, as in training; without, as the network is used.

        Returns:
            `loss`, `mse` in units of [0, 1] and, if variational, `kl` in nats an image.
        """
        method, config = self.method, self.network.config
        noisy = blocks
        if draw and method.denoise:
            noisy = blocks + 2 * method.denoise * self._noise(blocks, key, "denoise")
        with self.engine.autocast():
            latent = self.network.encode(noisy)
            code = latent.mean
            if draw and config.variational:
                code = latent.draw(self._noise(code, key, "latent"))
            made = self.network.decode(code)
        mse = mean_over_processes(squared_error(made, blocks, self.real)) / 4
        if not config.variational:
            return {"loss": mse, "mse": mse}
        kl = mean_over_processes(latent.divergence().mean())
        return {"loss": 0.5 * mse.log() + method.beta * kl / self.values, "mse": mse, "kl": kl}

    def _noise(self, like: Tensor, key: Key, purpose: str) -> Tensor:
        return normal(like.shape, self.engine.generator(*key, purpose))

    def update(self, blocks: Tensor, key: Key) -> dict[str, Tensor]:
        """Take a step on blocks; returns what `losses` does, without gradients."""
        losses = self.losses(blocks, key)
        self.engine.minimise(self.optimiser, losses["loss"])
        return {name: value.detach() for name, value in losses.items()}

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Take a step on a batch."""
        return self.update(self.blocks(batch.pixels), clock.key)

    @torch.no_grad()
    def validate(self, clock: Clock) -> dict[str, float]:
        """Means over the val images of what the loss is made of, without noise."""
        if self.val is None:
            return {}
        self.network.eval()
        sums: dict[str, float] = {}
        for pixels in self.val.batches(_AT_ONCE):
            for name, value in self.losses(self.blocks(pixels), draw=False).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(pixels)
        self.network.train()
        means = {f"val_{name}": total / len(self.val) for name, total in sums.items()}
        if not self.network.config.variational:
            means.pop("val_loss")  # The same as val_mse.
        return means

    @torch.no_grad()
    def preview(self, clock: Clock) -> Preview | None:
        """Images, of val where there is one, with their reconstructions below them."""
        subset = self.val or self.train
        if subset is None or not clock.nimg:
            return None
        order = np.random.default_rng(clock.seed).permutation(len(subset))
        images = subset.images(np.sort(order[:_PAIRS]))
        self.network.eval()
        with self.engine.autocast():
            made = self.network.decode(self.network.encode(self.blocks(images)).mean)
        pixels = to_uint8(self.network.to_images(made.float()))
        self.network.train()
        return Preview("reconstructions", paired_grid(images, pixels))
