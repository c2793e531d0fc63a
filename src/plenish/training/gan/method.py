"""How a GAN is trained, as independent parts: objective and balance, penalty, augmentation, growth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.training.gan.augment import Augment
from plenish.training.gan.growth import Growth
from plenish.training.gan.objectives import objective
from plenish.training.gan.penalties import Penalty
from plenish.training.schedules import check_fall


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """How the two networks are trained against each other.

    Attributes:
        objective: name of the loss pair.
        batch: images a step.
        lr_g: learning rate of the generator.
        lr_d: learning rate of the discriminator; unequal ones are the two-time-scale rule (Heusel 2017).
        lr_fall_to: share of both learning rates, 0 to 1, that is left from `lr_fall_kimg` on.
        lr_fall_kimg: thousands of images in which they fall, by half a cosine wave; 0 keeps them constant.
        beta1: Adam's first momentum.
        beta2: Adam's second momentum.
        g_steps: generator updates in a row.
        d_steps: discriminator updates, each on real images of its own, before those of the generator.
        smoothing: one-sided label smoothing; the real target is 1 − smoothing.
        noise_sd: standard deviation of the Gaussian noise on every discriminator input at the start, where
            images have the range [-1, 1]; it falls linearly to 0.
        noise_kimg: thousands of images after which that noise is 0.
        fake_as_real: largest share of the real half of a batch that is replaced by fakes, to slow down a
            discriminator that wins; the share follows its accuracy, 0 at one half and less.
        style_mixing: share of fakes made from two latents, for generators with several styles.
        ema_kimg: half-life of the generator's moving average, thousands of images.
    """

    objective: str = "nonsaturating"
    batch: int = option(64, least=2)  # Batch norm compares the images of a batch.
    lr_g: float = option(2e-4, above=0)
    lr_d: float = option(2e-4, above=0)
    lr_fall_to: float = 1.0
    lr_fall_kimg: float = option(0.0, least=0)
    beta1: float = option(0.5, least=0, below=1)
    beta2: float = option(0.999, least=0, below=1)
    g_steps: int = option(1, least=1)
    d_steps: int = option(1, least=1)
    smoothing: float = option(0.0, least=0, below=0.5)
    noise_sd: float = option(0.0, least=0)
    noise_kimg: float = option(0.0, least=0)
    fake_as_real: float = option(0.0, least=0, below=0.5)
    style_mixing: float = option(0.0, least=0, most=1)
    ema_kimg: float = option(5.0, above=0)

    def __post_init__(self) -> None:
        objective(self.objective)
        check_fields(self, "adversarial")
        if self.noise_sd > 0 and self.noise_kimg == 0:
            raise InputError(
                "adversarial.noise_sd falls to 0 over adversarial.noise_kimg, which is 0; give that too."
            )
        check_fall("adversarial.lr_fall", self.lr_fall_to, self.lr_fall_kimg)

    def noise_at(self, nimg: int) -> float:
        """Standard deviation of the instance noise after `nimg` images."""
        if self.noise_sd <= 0 or self.noise_kimg <= 0:
            return 0.0
        return self.noise_sd * max(0.0, 1 - nimg / (1000 * self.noise_kimg))


@dataclasses.dataclass(frozen=True)
class Method:
    """The parts together; each can be exchanged without the others.

    Attributes:
        adversarial: objective, batch, optimisers and balance.
        penalty: penalties on gradients.
        augment: what discriminator inputs go through.
        growth: schedule of resolutions, for networks that grow.
    """

    adversarial: Adversarial = dataclasses.field(default_factory=Adversarial)
    penalty: Penalty = dataclasses.field(default_factory=Penalty)
    augment: Augment = dataclasses.field(default_factory=Augment)
    growth: Growth = dataclasses.field(default_factory=Growth)

    def __post_init__(self) -> None:
        if self.adversarial.fake_as_real and (
            self.adversarial.objective == "relativistic" or self.augment.ada_target
        ):
            raise InputError(
                "adversarial.fake_as_real goes neither with the relativistic objective, whose pairs "
                "would hold an image twice, nor with augment.ada_target, which would take fakes for reals."
            )
        if self.adversarial.objective == "wasserstein":
            for name, value in (
                ("augment.ada_target", self.augment.ada_target),
                ("adversarial.fake_as_real", self.adversarial.fake_as_real),
            ):
                if value:
                    raise InputError(
                        f"{name} follows how often the discriminator is right, which a Wasserstein critic is "
                        "meant to be; leave it out or take another objective."
                    )

    @classmethod
    def of(cls, sections: Mapping[str, Any]) -> Method:
        """The parts among the sections of a training's configuration."""
        return cls(**{name: sections[name] for name in PARTS})

    def turns(self) -> list[tuple[range, float]]:
        """The kinds of turns of both networks, by which penalties are due: steps of the first, and its share.

        The first kind is that of turn 0, in which everything is due.
        """
        penalty, d_steps = self.penalty, self.adversarial.d_steps
        interval = penalty.interval if penalty.on_gradients else 1
        path = penalty.path_interval if penalty.path else 1
        period = math.lcm(interval // math.gcd(interval, d_steps), path)
        found: dict[tuple[int, bool], list[range]] = {}
        for turn in range(period):
            steps = range(turn * d_steps, (turn + 1) * d_steps)
            due = sum(step % interval == 0 for step in steps), turn % path == 0
            found.setdefault(due, []).append(steps)
        return [(turns[0], len(turns) / period) for turns in found.values()]


PARTS: dict[str, type[Adversarial | Penalty | Augment | Growth]] = {
    "adversarial": Adversarial,
    "penalty": Penalty,
    "augment": Augment,
    "growth": Growth,
}
"""The parts by the name of their section in recipes and configurations."""
