"""Flow matching: a U-Net predicts the velocity that carries noise to images along straight lines.

x_t = (1 − t)·z + t·x with z ~ N(0, 1); the network predicts E[x − z | x_t], and an image is the end of the
ordinary differential equation dx = v(x, t) dt that starts at z (Lipman et al., ICLR 2023, arXiv 2210.02747;
Liu et al., ICLR 2023, arXiv 2209.03003). The same equation run backwards gives the z of an image.

The U-Net works on blocks of patch×patch pixels laid out as channels, since maps of three channels at full
size are what a CPU is slowest at.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import as_typed, check_fields, option
from plenish.errors import InputError
from plenish.networks.families import Family
from plenish.networks.sampler import Part, Sampler, SamplerConfig
from plenish.networks.solver import SOLVERS, check_solver, integrate, integrate_back

SHORTCUT = "shortcut"
STRIDES = 7
"""Lengths of the steps that shortcuts are taught: 1, 1/2, … 1/64 of the path."""
CONDITIONS = 18
"""Numbers that describe how an image was changed: of an affine map 6, a colour matrix 9, an offset 3."""
_GROUP = 16
"""Channels normalised together; torch is many times slower on fewer in bfloat16 on CPUs."""
_FREQUENCIES = 32
_HEAD = 64
"""Most channels of a head of attention."""


@dataclasses.dataclass(frozen=True)
class FlowConfig(SamplerConfig):
    """A velocity network.

    Attributes:
        width: feature maps at the highest resolution inside, a multiple of 16; each level has twice as many.
        max_width: most feature maps at any level.
        patch: side of the blocks of pixels that are laid out as channels; 1 works on pixels.
        levels: resolutions inside, each half of the one before; fewer where a side cannot be halved.
        blocks: residual blocks a level, on the way down and again on the way up.
        attention: maps of at most this side get self-attention; 0 for none.
        dropout: share of activations dropped in training.
        augmented: whether the network is told how a training image was changed.
        shortcuts: whether the network is told the length of a step, and can take long ones.
    """

    width: int = option(64, least=16)
    max_width: int = option(256, least=16)
    patch: int = option(2, least=1)
    levels: int = option(3, least=1)
    blocks: int = option(1, least=1)
    attention: int = option(0, least=0)
    dropout: float = option(0.0, least=0, below=1)
    augmented: bool = False
    shortcuts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "network")
        for name in ("width", "max_width"):
            if (maps := getattr(self, name)) % _GROUP:
                below, above = maps // _GROUP * _GROUP, (maps // _GROUP + 1) * _GROUP
                raise InputError(
                    as_typed(f"network.{name}")
                    + f" of a flow is a multiple of {_GROUP}, not {maps}; give {below} or "
                    f"{above}."
                )
        if self.width > self.max_width:
            raise InputError(
                as_typed("network.width")
                + f" {self.width} is more than network.max_width {self.max_width}; give both, "
                f"such as --network.max_width {2 * self.width}."
            )
        if self.size % self.patch:
            raise InputError(
                f"A flow with network.patch {self.patch} makes images whose side is a multiple of that, not "
                f"{self.size} px; set --network.patch 1, or import the data at --size "
                f"{max(1, self.size // self.patch) * self.patch}."
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Feature maps of each level, from the highest resolution down."""
        side = self.size // self.patch
        halvings = (side & -side).bit_length() - 1
        return tuple(min(self.width << i, self.max_width) for i in range(min(self.levels, halvings + 1)))

    @property
    def remark(self) -> str:
        """What a user should know of a choice that the size does not allow; nothing where all is as asked."""
        if len(self.widths) == self.levels:
            return ""
        side = self.size // self.patch
        return (
            f"network.levels {self.levels} are more than {side} px inside can be halved to; "
            f"{len(self.widths)} are built."
        )


class _Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the condition scales and shifts what the second one reads."""

    def __init__(self, width_in: int, width: int, condition: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(width_in // _GROUP, width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * width)
        self.norm2 = nn.GroupNorm(width // _GROUP, width, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """N×C×H×W and N×E → N×width×H×W."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, 1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        out: Tensor = self.shortcut(x) + self.conv2(self.dropout(F.silu(h)))
        return out


class _SelfAttention(nn.Module):
    """Attention over the positions of a map, beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // math.gcd(width, _HEAD)
        self.norm = nn.GroupNorm(width // _GROUP, width)
        self.inputs = nn.Conv2d(width, 3 * width, 1)
        self.output = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → the same shape."""
        n, _, height, width = x.shape
        parts = self.inputs(self.norm(x)).flatten(2).view(n, 3, self.heads, -1, height * width)
        query, key, value = parts.transpose(3, 4).unbind(1)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(2, 3)
        out: Tensor = x + self.output(seen.reshape(n, -1, height, width))
        return out


class _Level(nn.Module):
    """The blocks of one resolution, on the way down or up."""

    def __init__(self, width_in: int, width: int, config: FlowConfig, condition: int, side: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(width if number else width_in, width, condition, config.dropout)
            for number in range(config.blocks)
        )
        attends = side <= config.attention
        self.attention = nn.ModuleList(_SelfAttention(width) for _ in range(config.blocks if attends else 0))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """N×C×H×W and N×E → N×width×H×W."""
        for number, block in enumerate(self.blocks):
            x = block(x, condition)
            if self.attention:
                x = self.attention[number](x)
        return x


class Flow(Sampler):
    """A velocity network, and images by solving its differential equation."""

    config: FlowConfig
    sample_options: ClassVar[Mapping[str, Any]] = {"steps": 20, "solver": "heun", "guidance": 1.0}

    def __init__(self, config: FlowConfig) -> None:
        """Build the U-Net."""
        super().__init__(config)
        widths, pixels = config.widths, config.channels * config.patch**2
        side, condition = config.size // config.patch, 4 * config.width
        known = 2 * _FREQUENCIES + (STRIDES if config.shortcuts else 0)
        self.time = nn.Sequential(nn.Linear(known, condition), nn.SiLU(), nn.Linear(condition, condition))
        if config.labels.width:
            self.label = nn.Linear(config.labels.width, condition, bias=False)
            self.unlabelled = nn.Parameter(torch.zeros(condition))
        if config.augmented:
            self.augmentation = nn.Linear(CONDITIONS, condition, bias=False)
        self.first = nn.Conv2d(pixels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            _Level(widths[max(level - 1, 0)], width, config, condition, side >> level)
            for level, width in enumerate(widths)
        )
        self.middle = _Block(widths[-1], widths[-1], condition, config.dropout)
        # From the lowest resolution up; each level's maps are added to those from the way down.
        levels = list(enumerate(widths))[::-1]
        self.project = nn.ModuleList(
            nn.Conv2d(lower, width, 1) if lower != width else nn.Identity()
            for (_, lower), (_, width) in itertools.pairwise(levels)
        )
        self.up = nn.ModuleList(
            _Level(width, width, config, condition, side >> level) for level, width in levels
        )
        self.last_norm = nn.GroupNorm(widths[0] // _GROUP, widths[0])
        self.last = nn.Conv2d(widths[0], pixels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, *, labelled: Tensor | None = None,
        augmentation: Tensor | None = None, stride: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Predict velocities, or mean velocities over a step.

        Args:
            x: points of the paths, N×C×H×W.
            t: their times, N, from 0 (noise) to 1 (image).
            y: labels N×K; None without labels, or for the velocity of images of any label.
            labelled: of which images the label is told, N bool; None for all.
            augmentation: how the images were changed, N×18, zeros where not; None for not at all.
            stride: the length of each image's step, N × `STRIDES` one-hot, longest first, or all 0 for the
                velocity at t itself; None for that of all.

        Returns:
            N×C×H×W.
        """
        condition = self.of_time(t, stride)
        if self.labels.width:
            condition = condition + self.of_label(t.shape[0], y, labelled)
        if augmentation is not None:
            condition = condition + self.augmentation(augmentation)
        condition = F.silu(condition)
        h = self.first(F.pixel_unshuffle(x, self.config.patch))
        skips = []
        for level, down in enumerate(self.down):
            h = down(F.avg_pool2d(h, 2) if level else h, condition)
            skips.append(h)
        h = self.up[0](self.middle(h, condition) + skips.pop(), condition)
        for project, up in zip(self.project, self.up[1:], strict=True):
            h = up(F.interpolate(project(h), scale_factor=2.0) + skips.pop(), condition)
        out = self.last(F.silu(self.last_norm(h)))
        return F.pixel_shuffle(out, self.config.patch)

    def of_time(self, t: Tensor, stride: Tensor | None) -> Tensor:
        """What the blocks are told of time and length of step, N×E."""
        frequencies = torch.exp(torch.linspace(0, -math.log(10_000), _FREQUENCIES, device=t.device))
        angles = 1000 * t[:, None] * frequencies
        known = [angles.cos(), angles.sin()]
        if self.config.shortcuts:
            known.append(t.new_zeros(t.shape[0], STRIDES) if stride is None else stride)
        condition: Tensor = self.time(torch.cat(known, 1))
        return condition

    def of_label(self, n: int, y: Tensor | None, labelled: Tensor | None) -> Tensor:
        """What the blocks are told of n images' labels, n×E."""
        if y is None:
            return self.unlabelled.expand(n, -1)
        told: Tensor = self.label(y)
        if labelled is None:
            return told
        return torch.where(labelled[:, None], told, self.unlabelled.to(told.dtype))

    def velocity(
        self, x: Tensor, t: float | Tensor, y: Tensor | None, guidance: float = 1.0,
        stride: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Velocity at one time for all images, float32, with classifier-free guidance.

        The velocity of a label's images, away from that of all images where guidance exceeds 1 (Ho & Salimans
        2022, arXiv 2207.12598).

        Args:
            x: N×C×H×W.
            t: time, 0 to 1.
            y: labels N×K, or None.
            guidance: 1 leaves the label's velocity as it is, 0 is that of all images.
            stride: for the mean velocity over a step of 2^-stride; None for the velocity at t itself.
        """
        times = x.new_ones(x.shape[:1]) * t
        steps = None
        if stride is not None:  # Nothing is written into, which the loop of an exported graph cannot hold.
            numbers = torch.arange(STRIDES, device=x.device)
            steps = (numbers == stride).to(x.dtype).expand(x.shape[0], STRIDES)
        v: Tensor = self(x, times, y, stride=steps).float()
        if guidance == 1 or y is None:
            return v
        free: Tensor = self(x, times, stride=steps).float()
        return free.lerp(v, guidance)

    def sample(self, z: Tensor, y: Tensor | None = None, *, seed: int = 0, **options: Any) -> Tensor:
        """Make images: solve the differential equation from t = 0 to 1 in equal steps.

        Args:
            z: N×C×H×W.
            y: labels N×K, or None.
            seed: of no effect; nothing is drawn beside z.
            options: `steps` of the solver, 20; `solver`, `heun` (second order, two evaluations of the network
                a step but the last), `euler` (first order, one) or `shortcut` (one; for few steps, where the
                network was taught them); `guidance`, how strongly the label is followed, see `velocity`.

        Returns:
            N×C×H×W in [-1, 1].

        Raises:
            InputError: fewer than one step, an unknown solver, or shortcuts that were not taught.
        """
        self.check_labels(y)
        self._check_shape("z", z, y)
        for name in options.keys() - self.sample_options.keys():
            raise TypeError(f"sample() got an unexpected option '{name}'")
        chosen = {**self.sample_options, **options}
        if not torch.compiler.is_exporting():  # Values are not known while a graph is made.
            self.check_options(chosen)
        steps, solver, guidance = (chosen[name] for name in ("steps", "solver", "guidance"))
        stride = None
        if solver == SHORTCUT:
            stride, solver = steps.bit_length() - 1, "euler"

        def velocity(x: Tensor, t: float | Tensor) -> Tensor:
            return self.velocity(x, t, y, guidance, stride)

        return integrate(velocity, z, steps, solver).clamp(-1, 1)

    def parts(self) -> dict[str, Part]:
        """The velocity, for solvers of one's own; `labelled` is false where that of all labels is wanted."""

        def inputs(n: int) -> dict[str, Tensor]:
            rng = torch.Generator().manual_seed(n)
            made = {"x": self.sample_prior(n, rng), "t": torch.rand(n, generator=rng)}
            if self.labels.width:
                made["y"] = torch.rand(n, self.labels.width, generator=rng).softmax(1)
                made["labelled"] = torch.arange(n) % 2 == 0
            return made

        return {"velocity": Part(_Velocity(self), inputs, "velocity")}

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse impossible steps, solvers and guidance.

        Raises:
            InputError: with what is possible.
        """
        steps, solver, guidance = (options[name] for name in ("steps", "solver", "guidance"))
        check_solver(steps, solver, (*SOLVERS, SHORTCUT))
        if not 0 <= guidance < math.inf:
            raise InputError(f"guidance must be a number from 0, not {guidance}; 1 is none.")
        if guidance != 1 and not (self.labels.width and self.unlabelled.any()):
            raise InputError(
                "This flow was trained without labels, or without hiding any of them, so that guidance has "
                "nothing to compare with; leave it out."
            )
        if solver != SHORTCUT:
            return
        if not self.config.shortcuts:
            raise InputError(
                f"This flow was not taught the solver {SHORTCUT}; use heun, or train one with "
                "--training.shortcut_every 4."
            )
        if guidance != 1:
            raise InputError(f"The solver {SHORTCUT} follows no guidance; use heun or euler.")
        known = [2**stride for stride in range(STRIDES)]
        if steps not in known:
            raise InputError(
                f"The solver {SHORTCUT} takes {', '.join(map(str, known))} steps, not {steps}; give steps=4."
            )

    def _check_shape(self, name: str, x: Tensor, y: Tensor | None) -> None:
        """Refuse what has not the shape of the flow's images, or not as many labels; InputError."""
        if torch.compiler.is_exporting():
            return
        if x.shape[1:] != (self.channels, self.size, self.size) or (y is not None and len(y) != len(x)):
            labels = "" if y is None else f", with {len(y)} labels"
            raise InputError(
                f"{name} must be N×{self.channels}×{self.size}×{self.size}, with N labels where there are "
                f"any, not {'×'.join(map(str, x.shape))}{labels}."
            )

    def invert(
        self, images: Tensor, y: Tensor | None = None, *, steps: int = 50, corrections: int = 2
    ) -> Tensor:
        """The z that `sample` makes these images of, with Heun's steps.

        Each step backwards solves for the point that the step forwards takes to the present one, by
        fixed-point iteration; a plain step backwards has the solver's error instead.

        Args:
            images: N×C×H×W in [-1, 1].
            y: their labels N×K, or None.
            steps: steps of the solver; as many as `sample` is then given.
            corrections: iterations a step.

        Returns:
            z, N×C×H×W.

        Raises:
            InputError: images of another shape than the flow's.
        """
        self.check_labels(y)
        self._check_shape("images", images, y)

        def velocity(x: Tensor, t: float | Tensor) -> Tensor:
            return self.velocity(x, t, y)

        return integrate_back(velocity, images, steps, corrections)


class _Velocity(nn.Module):
    """`Flow.forward` with arguments by position, as exporters call it."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, labelled: Tensor | None = None
    ) -> Tensor:
        v: Tensor = self.flow(x, t, y, labelled=labelled)
        return v


FAMILY = Family(FlowConfig, Flow, learner="plenish.training.flow:FlowLearner")
