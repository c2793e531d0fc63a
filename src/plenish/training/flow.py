"""Flow matching as a Learner: one network, one plain loss, a moving average."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from plenish.configuration import check_fields, option
from plenish.datasets.batches import Batch, check_divisible
from plenish.domains import SYMMETRIES
from plenish.errors import InputError, unknown
from plenish.networks.flow import STRIDES, Flow
from plenish.networks.shared_batch import integers, mean_over_processes, normal, own_slice, uniform, world
from plenish.policies import policy_of_names
from plenish.progress import warn
from plenish.training.augment import orient, vary
from plenish.training.ema import ema_weight, update_ema
from plenish.training.engine import stable_seed
from plenish.training.failures import Failure
from plenish.training.generator import GeneratorLearner, GeneratorTask, check_amount
from plenish.training.learner import Clock
from plenish.training.schedules import closer

_EPOCHS_BEFORE_COPIES = 200
"""Of 840 phantom images without augmentation, 180 passes were learnt without copies and 350 were not."""


@dataclasses.dataclass(frozen=True)
class FlowMethod:
    """How a flow is trained.

    Attributes:
        batch: images a step.
        lr: learning rate of Adam.
        beta2: decay of Adam's second moment.
        warmup_kimg: thousands of images over which the learning rate rises from 0.
        time_mean: mean of logit(t) (Esser et al. 2024, arXiv 2403.03206); above 0 trains more near the image.
        time_std: its standard deviation.
        unlabelled: share of images whose label is hidden, which guidance needs.
        ema_kimg: half-life of the moving average, thousands of images.
        shortcut_every: every so many-th image of a batch teaches long steps, for sampling in 1 to 64 of them
            (Frans et al. 2024, arXiv 2410.12557, who take every 4th); 0 for none.
    """

    batch: int = option(64, least=2)
    lr: float = option(1e-3, above=0)
    beta2: float = option(0.99, least=0, below=1)
    warmup_kimg: float = option(2.0, least=0)
    time_mean: float = 0.0
    time_std: float = option(1.0, above=0)
    unlabelled: float = option(0.1, least=0, below=1)
    ema_kimg: float = option(10.0, above=0)
    shortcut_every: int = option(0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "training")
        if self.shortcut_every == 1:
            raise InputError(
                "training.shortcut_every 1 leaves no image to learn the velocity from; 4 is usual, 0 is none."
            )


@dataclasses.dataclass(frozen=True)
class FlowAugment:
    """How training images are changed.

    Attributes:
        symmetry: images are shown in a random one of these orientations, also when sampling: `none`,
            `mirror` (left-right) or `dihedral` (all eight flips and right-angle rotations).
        p: probability of each further change. The network is told which it was, so that samples show none
            (Karras et al. 2022, arXiv 2206.00364).
        policy: which of these changes suit the images: a domain's name (`plenish.domains`), `ada`, or a comma
            list for the least of each.
    """

    symmetry: str = "none"
    p: float = option(0.0, least=0, most=1)
    policy: str = "natural"

    def __post_init__(self) -> None:
        check_fields(self, "augment")
        if self.symmetry not in SYMMETRIES:
            raise unknown("symmetry", self.symmetry, SYMMETRIES)
        policy_of_names(self.policy)


class FlowLearner(GeneratorLearner):
    """A velocity network with its moving average and its optimiser."""

    sections: ClassVar = {"training": FlowMethod, "augment": FlowAugment}
    option_keys: ClassVar = {"--batch": ("training.batch",), "--lr": ("training.lr",)}
    notes = (("loss", "loss"),)
    smaller_network = "a smaller --width"

    def __init__(self, task: GeneratorTask) -> None:
        """Build the network and its optimiser."""
        super().__init__(task)
        self.method: FlowMethod = task.sections["training"]
        self.augment: FlowAugment = task.sections["augment"]
        self._policy = policy_of_names(self.augment.policy)
        self._p = torch.tensor(self.augment.p, device=self.engine.device)
        self.network = self.engine.to_module(Flow(task.network)).train()
        self.ema = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), self.method.lr, (0.9, self.method.beta2), fused=True
        )

    @classmethod
    def adjust(cls, sections: dict[str, dict[str, Any]], changes: Mapping[str, Any]) -> None:
        """Give the network inputs for the changes of training images, and for the lengths of steps."""
        follows = {
            "augmented": ("augment.p", sections["augment"].get("p", FlowAugment.p)),
            "shortcuts": ("training.shortcut_every", sections["training"].get("shortcut_every", 0)),
        }
        for name, (key, value) in follows.items():
            if f"network.{name}" in changes:
                raise InputError(f"network.{name} follows from {key}; set --{key}.")
            sections["network"][name] = bool(value)

    @classmethod
    def check(cls, task: GeneratorTask, changes: Mapping[str, Any]) -> None:
        """Refuse a batch that is larger than the data, or leaves the processes unequal slices."""
        batch = task.sections["training"].batch
        check_amount(task.subset, batch, not {"training.batch", "adversarial.batch"}.isdisjoint(changes))
        check_divisible(batch, task.engine.world)
        if "network.levels" in changes and task.network.remark:
            warn(task.network.remark)
        first = 1000 * closer(task.schedule.checkpoint_kimg, task.schedule.kimg)
        n = len(task.subset)
        if first > _EPOCHS_BEFORE_COPIES * n:
            warn(
                f"the first checkpoint comes after {first / n:,.0f} passes over {n} images, when they may be "
                f"memorised already; --checkpoint-kimg {_EPOCHS_BEFORE_COPIES * n / 2000:.2g} gives earlier "
                "ones."
            )

    def modules(self) -> dict[str, nn.Module]:
        """The network and its moving average by the name of their checkpoint file."""
        return {"network": self.network, "ema": self.ema}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimiser by the name of its checkpoint file."""
        return {"optimiser": self.optimiser}

    def batch_size(self, nimg: int) -> int:
        """Images a step."""
        return self.method.batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Take a step towards the velocities of the straight lines from noise to a batch."""
        method, engine = self.method, self.engine
        warmup = min(1.0, (clock.nimg + batch.total) / max(1000 * method.warmup_kimg, 1e-9))
        for group in self.optimiser.param_groups:
            group["lr"] = method.lr * warmup
        rng = engine.generator(*clock.key, "flow")
        torch.manual_seed(stable_seed(*clock.key, "default"))
        x = orient(engine.to_images(batch.pixels), self.augment.symmetry, rng)
        y, changed = self.labels(batch.y), None
        if self.augment.p:
            x, changed = vary(x.contiguous(), self._policy, self._p, rng)
            x = x.contiguous(memory_format=torch.channels_last)
        labelled = uniform((len(x),), rng) >= method.unlabelled if y is not None else None
        told = {"y": y, "labelled": labelled, "augmentation": changed}
        t, level = draw_times(len(x), method, rng)
        z = normal(x.shape, rng).contiguous(memory_format=torch.channels_last)
        at, target = on_the_way(z, x, t)
        stride = None
        if method.shortcut_every:
            stride = _one_hot(level)
            rows = _every(len(x), method.shortcut_every)
            target[rows] = self._two_steps(at[rows], t[rows], level[rows] + 1, {
                name: value if value is None else value[rows] for name, value in told.items()
            })  # fmt: skip
        with engine.autocast():
            v = self.network(at, t, stride=stride, **told)
        loss = (v.float() - target).square().mean()
        engine.minimise(self.optimiser, loss)
        update_ema(self.ema, self.network, ema_weight(batch.total, clock.nimg, method.ema_kimg))
        return {"loss": mean_over_processes(loss.detach())}

    @torch.no_grad()
    def _two_steps(self, at: Tensor, t: Tensor, level: Tensor, told: Mapping[str, Tensor | None]) -> Tensor:
        """Mean velocity over two steps of length 2^-level of the moving average."""
        length, stride = torch.exp2(-level.float()), _one_hot(level)
        with self.engine.autocast():
            first = self.ema(at, t, stride=stride, **told).float()
            there = at + length[:, None, None, None] * first
            second = self.ema(there, t + length, stride=stride, **told).float()
        mean: Tensor = (first + second) / 2
        return mean

    def hear(self, line: Mapping[str, float]) -> Failure | None:
        """A loss that is no number is a failure."""
        finite = math.isfinite(line.get("loss", 0.0))
        return None if finite else Failure("loss-not-finite", line["kimg"])


def on_the_way(z: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Points of straight paths, and their velocity.

    Args:
        z: where paths begin, N×….
        x: where they end, N×….
        t: times, N, from 0 (z) to 1 (x).

    Returns:
        The points and the velocities, both N×….
    """
    return z.lerp(x, t.view(-1, *[1] * (x.dim() - 1))), x - z


def draw_times(n: int, method: FlowMethod, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Times and lengths of steps to train on.

    Args:
        n: how many.
        method: distribution of the times, and which images teach long steps.
        rng: source of every draw.

    Returns:
        t, n; and level, n int64: the step is 2^-level of the path and begins at a multiple of that;
        `STRIDES` where it is the velocity at t itself.
    """
    t = torch.sigmoid(method.time_mean + method.time_std * normal((n,), rng))
    level = torch.full((n,), STRIDES, device=t.device)
    if method.shortcut_every:
        rows = _every(n, method.shortcut_every)
        level[rows] = integers(0, STRIDES, (n,), rng)[rows]
        steps = torch.exp2(level[rows].float())
        t[rows] = (uniform((n,), rng)[rows] * steps).floor() / steps
    return t, level


def _every(n: int, interval: int) -> slice:
    """Every so many-th image of a whole batch, among this process's n."""
    start = int(own_slice(torch.arange(n * world()))[0])
    return slice(-start % interval, None, interval)


def _one_hot(level: Tensor) -> Tensor:
    """The network's input for lengths of steps; zeros for `STRIDES`."""
    return (level[:, None] == torch.arange(STRIDES, device=level.device)).float()
