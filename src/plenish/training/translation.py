"""Translation of pictures as a Learner: sketches of the training images in, the images out (pix2pix).

The generator minimises the adversarial loss and, weighted, the mean absolute difference; the discriminator's
loss is halved, as published (Isola et al. 2017, section 3.3). On val the difference is stated in units of
[0, 1], half of that of images in [-1, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import check_fields, option
from plenish.datasets.batches import Batch
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.domains import SYMMETRIES
from plenish.networks.shared_batch import mean_over_processes
from plenish.networks.translation import PatchDiscriminator, TranslationConfig, Translator
from plenish.policies import policy_of_names
from plenish.training.augment import geometry, orient, resample
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.learner import Clock, Learner, Preview
from plenish.training.logs import sample_grid
from plenish.training.schedules import Schedule, changeable
from plenish.training.sketches import SketchOptions

AT_ONCE = 64
"""Pictures that are translated at once."""
CHANGEABLE = changeable(Schedule)
CRITERION = "val_l1"
_SHOWN, _BESIDE = 16, 4
"""Pictures in a preview, and how many of them in a row."""


@dataclasses.dataclass(frozen=True)
class Method:
    """How a translation is trained; the defaults but for the batch are the published numbers.

    Attributes:
        batch: pictures a step.
        lr: learning rate of both networks' Adam.
        beta1: decay of Adam's first moment.
        beta2: decay of Adam's second moment.
        l1: weight of the mean absolute difference (λ); images have the range [-1, 1].
        adversarial: weight of the adversarial loss; 0 trains by the difference alone.
    """

    batch: int = option(4, least=1)
    lr: float = option(2e-4, above=0)
    beta1: float = option(0.5, least=0, below=1)
    beta2: float = option(0.999, least=0, below=1)
    l1: float = option(100.0, least=0)
    adversarial: float = option(1.0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "training")


@dataclasses.dataclass(frozen=True)
class Augment:
    """How training pictures are changed before they are sketched; colours stay.

    Attributes:
        symmetry: pictures are shown in a random one of these orientations: `none`, `mirror` (left-right) or
            `dihedral` (all eight flips and right-angle rotations).
        p: probability of each shift, zoom, stretch and turn, in place of the published crops of enlarged
            pictures.
        policy: which of these suit the images: a domain's name (`plenish.domains`), `ada`, or a comma list
            for the least of each.
    """

    symmetry: str = option("none", choices=SYMMETRIES)
    p: float = option(0.0, least=0, most=1)
    policy: str = "natural"

    def __post_init__(self) -> None:
        check_fields(self, "augment")
        policy_of_names(self.policy)

    def apply(self, pictures: Tensor, engine: Engine, *key: Any) -> Tensor:
        """Pictures N×C×H×W of a batch in random orientations and places."""
        pictures = orient(pictures, self.symmetry, engine.generator(*key, "symmetry"))
        if not self.p:
            return pictures
        # Mirroring and right angles are the symmetry's.
        policy = policy_of_names(self.policy)._replace(flip_x=0.0, flip_y=0.0, rot90=0.0)
        p, rng = torch.tensor(self.p, device=pictures.device), engine.generator(*key, "moves")
        affine, moved = geometry(len(pictures), pictures.shape[2], policy, p, rng)
        shifted = resample(pictures.contiguous(), affine, "bilinear", "reflection")
        return torch.where(moved[:, None, None, None], shifted, pictures)


class TranslationLearner(Learner):
    """A translator and the judge of its patches at training."""

    notes = (("L1", "l1"), ("G", "loss_g"), ("D", "loss_d"))
    loss = "loss_g"
    smaller_network = "a smaller --width"

    def __init__(
        self, config: TranslationConfig, method: Method, augment: Augment, sketch: SketchOptions,
        engine: Engine, val: Subset | None = None,
    ) -> None:  # fmt: skip
        """Build the networks and their optimisers.

        Args:
            config: of both networks.
            method: how they are trained.
            augment: how training pictures are changed.
            sketch: how sketches are drawn.
            engine: device and precision.
            val: rows the difference is measured on, and whose translations are previewed.
        """
        self.method, self.augment, self.sketch = method, augment, sketch
        self.engine, self.val = engine, val
        self.translator = engine.to_module(Translator(config)).train()
        self.discriminator = engine.to_module(PatchDiscriminator(config)).train()
        betas = (method.beta1, method.beta2)
        self.opt_g, self.opt_d = (
            torch.optim.Adam(network.parameters(), method.lr, betas, fused=True)
            for network in (self.translator, self.discriminator)
        )
        if val is not None:
            self.criteria = {CRITERION: 1}

    def modules(self) -> dict[str, nn.Module]:
        """The networks by the name of their checkpoint file."""
        return {"translator": self.translator, "discriminator": self.discriminator}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by the name of their checkpoint file."""
        return {"opt_g": self.opt_g, "opt_d": self.opt_d}

    def batch_size(self, nimg: int) -> int:
        """Pictures a step."""
        return self.method.batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Update the discriminator, then the translator, on sketches drawn anew of the batch."""
        real = self.augment.apply(self.engine.to_images(batch.pixels), self.engine, *clock.key)
        given = self.sketch.drawn(real, self.engine.generator(*clock.key, "sketch"))
        torch.manual_seed(stable_seed(*clock.key, "default"))  # Dropout draws from the default stream.
        with self.engine.autocast():
            made = self.translator(given)
        l1 = (made - real).abs().mean()
        values = {"l1": l1.detach() / 2}
        loss = self.method.l1 * l1
        if self.method.adversarial:
            pictures = (given, real), (given, made.detach())
            values |= discriminate(self.discriminator, self.opt_d, self.engine, *pictures)
            self.discriminator.requires_grad_(False)
            with self.engine.autocast():
                fooled = F.softplus(-self.discriminator(given, made)).mean()
            loss = loss + self.method.adversarial * fooled
            values["adversarial"] = fooled.detach()
        self.engine.minimise(self.opt_g, loss)
        self.discriminator.requires_grad_(True)
        return {name: mean_over_processes(value) for name, value in values.items()} | {
            "loss_g": mean_over_processes(loss.detach())
        }

    def validate(self, clock: Clock) -> dict[str, float]:
        """Mean absolute difference on val in units of [0, 1], of the same sketches every time."""
        if self.val is None:
            return {}
        found = [
            mean_difference(made, real)
            for _, made, real in self._of_val(clock.seed, np.arange(len(self.val)))
        ]
        return {CRITERION: float(np.concatenate(found).mean())}

    def preview(self, clock: Clock) -> Preview | None:
        """Val images in threes: sketch, made, real."""
        if self.val is None or not clock.nimg:
            return None
        rows = np.sort(np.random.default_rng(clock.seed).permutation(len(self.val))[:_SHOWN])
        (triple,) = self._of_val(clock.seed, rows)
        return Preview("sketch, made, real", in_threes(*triple))

    def _of_val(self, seed: int, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.uint8], ...]]:
        """Sketch, made and real picture of val images, uint8 N×H×W×C each, piece by piece."""
        assert self.val is not None
        for place in chunks(len(rows), AT_ONCE):
            pixels = self.val.images(rows[place])
            real = self.engine.to_images(pixels)
            given = fixed_sketches(self.sketch, real, self.engine, seed, rows[place])
            with self.engine.autocast():
                made = self.translator.translate(given)
            yield to_uint8(given), to_uint8(made), pixels


def discriminate(
    discriminator: nn.Module, optimiser: torch.optim.Optimizer, engine: Engine, real: Sequence[Tensor],
    made: Sequence[Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    """Update a discriminator of patches once on real and once on made pictures; what is logged of it.

    Args:
        discriminator: pictures → logits.
        optimiser: of its weights.
        engine: device and precision.
        real: the pictures of a batch that are to be called real, with what stands beside them.
        made: the others, without gradients, in the same order.
    """
    with engine.autocast():
        both = discriminator(*(torch.cat(pair) for pair in zip(real, made, strict=True)))
        of_real, of_made = both.chunk(2)
        loss = (F.softplus(-of_real).mean() + F.softplus(of_made).mean()) / 2
    engine.minimise(optimiser, loss)
    return {
        "loss_d": loss.detach(), "d_accuracy_real": (of_real.detach() > 0).float().mean(),
        "d_accuracy_fake": (of_made.detach() < 0).float().mean(),
    }  # fmt: skip


def mean_difference(made: NDArray[np.uint8], real: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute difference of images uint8 N×H×W×C in units of [0, 1], N."""
    difference = np.abs(np.subtract(made, real, dtype=np.int16))
    return np.asarray(difference.mean(axis=(1, 2, 3), dtype=np.float64) / 255)


def fixed_sketches(
    sketch: SketchOptions, images: Tensor, engine: Engine, seed: int, rows: NDArray[np.int64]
) -> Tensor:
    """Sketches N×1×H×W of images that are measured; each depends on the seed and the image's row alone."""
    each = [
        sketch.drawn(image[None], engine.generator(seed, "fixed sketch", int(row)))
        for image, row in zip(images, rows, strict=True)
    ]
    return torch.cat(each)


def in_threes(given: NDArray[np.uint8], made: NDArray[np.uint8], real: NDArray[np.uint8]) -> Any:
    """A picture of images N×H×W×C in threes, four in a row: what was given, made and real."""
    channels = max(given.shape[3], made.shape[3])
    each = [x if x.shape[3] == channels else x.repeat(channels, 3) for x in (given, made, real)]
    columns = 3 * min(_BESIDE, len(real))
    return sample_grid(np.stack(each, 1).reshape(-1, *each[0].shape[1:]), columns)
