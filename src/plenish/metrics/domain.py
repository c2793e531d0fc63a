"""The small network behind the domain extractor, and its short training.

Two tasks share it: instance discrimination (NT-Xent between two augmented views; Chen et al., "SimCLR",
ICML 2020), which needs no labels and keeps features that tell images apart, and, where there are labels,
predicting them. A classifier alone would forget everything that does not separate the classes, and its
Fréchet distance with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plenish.datasets.parts import Subset
from plenish.domains import SYMMETRIES, Symmetry
from plenish.metrics.extractor import resized
from plenish.progress import progress
from plenish.training.engine import Engine, stable_seed, to_uint8

MOST_IMAGES = 10_000  # enough for a network this small, and bounded in memory
_EARLY, _LATE = 32, 64
_TEMPERATURE = 0.2


@dataclass(frozen=True)
class DomainConfig:
    """Size and length of the domain extractor's training.

    Attributes:
        side: input height and width, pixels.
        channels: 1 or 3.
        steps: optimiser steps.
        batch: images a step, each seen in two views.
        rate: peak learning rate of AdamW (one cycle).
    """

    side: int = 64
    channels: int = 3
    steps: int = 250
    batch: int = 48
    rate: float = 4e-3


def _block(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class DomainNetwork(nn.Module):
    """Four convolutions down to an eighth of the side, globally pooled; 96 features, rescaled on `train`.

    Args:
        config: input size.
        width: K, columns of the labels; 0 without labels.
    """

    mean: Tensor
    axes: Tensor

    def __init__(self, config: DomainConfig, width: int) -> None:
        super().__init__()
        self.config, self.dim = config, _EARLY + _LATE
        self.early = _block(config.channels, _EARLY, 2)
        self.late = nn.Sequential(_block(_EARLY, 48, 2), _block(48, 96, 2), _block(96, _LATE, 1))
        self.project = nn.Sequential(nn.Linear(_LATE, 64), nn.ReLU(), nn.Linear(64, 32))
        self.predict = nn.Linear(_LATE, width) if width else None
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("axes", torch.eye(self.dim))

    def pooled(self, x: Tensor) -> Tensor:
        """Features N×96 before they are rescaled, of images N×C×H×W in [-1, 1]."""
        early: Tensor = self.early(x)
        late: Tensor = self.late(early)
        return torch.cat([early.mean((2, 3)), late.mean((2, 3))], 1)

    def features(self, x: Tensor) -> Tensor:
        """Features N×96 on the principal axes of `train`."""
        return (self.pooled(x).float() - self.mean) @ self.axes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Unit projections N×32 for instance discrimination, and label logits N×K where there are labels."""
        late = self.pooled(x)[:, _EARLY:]
        projected: Tensor = self.project(late)
        logits: Tensor | None = None if self.predict is None else self.predict(late)
        return functional.normalize(projected.float(), dim=1), logits


def fit_domain_network(
    train: Subset, config: DomainConfig, engine: Engine, seed: int, symmetry: Symmetry = "dihedral"
) -> DomainNetwork:
    """Train on (at most 10,000 images of) a training subset; the same seed gives the same network.

    Args:
        train: the real training images.
        config: size and length.
        engine: device and precision.
        seed: seed of initialisation, order and augmentation.
        symmetry: orientations that count as one image: what is shown flipped is not told apart.
    """
    rng = np.random.default_rng(stable_seed("domain", seed))
    subset = train.where(np.sort(rng.permutation(len(train))[:MOST_IMAGES]))
    small = [to_uint8(resized(engine.to_images(images), config.side)) for images in subset.batches(256)]
    pixels = torch.from_numpy(np.concatenate(small))
    labels = torch.from_numpy(subset.y()).to(engine.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("domain-init", seed))
        network = DomainNetwork(config, labels.shape[1])
    engine.to_module(network.train())
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=config.steps)
    draws = engine.generator("domain-augment", seed)
    batch = min(config.batch, len(subset))
    epochs = -(-config.steps * batch // len(subset))
    order = torch.from_numpy(np.concatenate([rng.permutation(len(subset)) for _ in range(epochs)]))
    with progress("domain extractor", config.steps, "steps") as bar:
        for step in range(config.steps):
            rows = order[step * batch : (step + 1) * batch]
            x = engine.to_images(pixels[rows])
            views = torch.cat([augmented(x, draws, symmetry) for _ in range(2)])
            with engine.autocast():
                projected, logits = network(views.contiguous(memory_format=torch.channels_last))
            loss = nt_xent(projected)
            if logits is not None:
                y = labels[rows.to(engine.device)].repeat(2, 1)
                loss = loss + _label_loss(logits.float(), y, train.dataset.labels.kind)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(1)
    _rescale(network.eval(), pixels, engine)
    return network


def augmented(x: Tensor, draws: torch.Generator, symmetry: Symmetry = "dihedral") -> Tensor:
    """Random flips as far as the symmetry allows, a crop of 60-100 % of the side, and a little light.

    No blur and no noise: features must keep seeing those, they are what generators do wrong.

    Args:
        x: N×C×H×W in [-1, 1].
        draws: source of randomness, on x's device.
        symmetry: `none`, `mirror` (left-right) or `dihedral` (also upside down).
    """
    n, device = len(x), x.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=draws, device=device) * (high - low) + low

    scale = uniform(0.6, 1.0, n)
    flips = torch.randint(0, 2, (n, 2), generator=draws, device=device) * 2.0 - 1.0
    flips[:, SYMMETRIES.index(symmetry) :] = 1.0
    room = (1 - scale)[:, None]
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = scale * flips[:, 0], scale * flips[:, 1]
    theta[:, :, 2] = uniform(-1.0, 1.0, n, 2) * room
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    contrast, brightness = uniform(0.85, 1.15, n, 1, 1, 1), uniform(-0.1, 0.1, n, 1, 1, 1)
    return x * contrast + brightness


def nt_xent(projected: Tensor) -> Tensor:
    """Normalised-temperature cross-entropy of 2N unit projections; rows i and i+N view one image."""
    n = len(projected) // 2
    similar = projected @ projected.T / _TEMPERATURE
    similar = similar.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=projected.device), float("-inf"))
    partner = torch.arange(2 * n, device=projected.device).roll(n)
    return functional.cross_entropy(similar, partner)


def _label_loss(logits: Tensor, y: Tensor, kind: str) -> Tensor:
    if kind == "categorical":
        return functional.cross_entropy(logits, y)
    if kind == "multilabel":
        return functional.binary_cross_entropy_with_logits(logits, y)
    spread = y.std(0, keepdim=True).clamp_min(1e-6)  # units must not decide the weight of the task
    return functional.smooth_l1_loss(logits, (y - y.mean(0, keepdim=True)) / spread)


def _rescale(network: DomainNetwork, pixels: Tensor, engine: Engine) -> None:
    """Turn features to their principal axes on `train` and divide each by the fourth root of its variance.

    Half-way between raw features, whose distances see little but overall brightness, and whitened ones, whose
    smallest axes are noise. The mean variance is brought to 1, the scale KID's kernel expects.
    """
    with torch.no_grad():
        parts = [network.pooled(engine.to_images(piece)).double().cpu() for piece in torch.split(pixels, 256)]
        pooled = torch.cat(parts)
        deviation = pooled.std(0).clamp_min(1e-6)
        values, vectors = torch.linalg.eigh(torch.cov((pooled / deviation).T))
        values = values.clamp_min(1e-4)
        axes = vectors / deviation[:, None] * values.pow(-0.25) / values.sqrt().mean().sqrt()
        network.mean.copy_(pooled.mean(0))
        network.axes.copy_(axes.flip(1))
