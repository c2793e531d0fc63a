"""One adversarial training step, put together from objective, penalty, augmentation and balance.

The discriminator sees reals and fakes in one pass. The generator's first update reuses the fakes the
discriminator saw; further updates draw their own. In the generator's update the discriminator's weights
need no gradients, and none are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plenish.networks import shared_batch
from plenish.networks.shared_batch import mean_over_processes, own_slice, whole_batch
from plenish.training.augment import orient
from plenish.training.ema import ema_weight, update_ema
from plenish.training.engine import stable_seed
from plenish.training.gan.augment import augment, next_p
from plenish.training.gan.growth import at_stage
from plenish.training.gan.penalties import (
    clip_weights,
    gradient_penalty,
    gradient_squares,
    path_lengths,
    r1_r2,
)
from plenish.training.gan.state import GANState
from plenish.training.learner import Clock

W_MEAN_RATE = 0.005
"""How fast the mean of w follows a batch (StyleGAN's 0.995)."""
PATH_MEAN_RATE = 0.01


class StepContext:
    """One step's inputs and random draws, all derived from its clock."""

    def __init__(self, state: GANState, x: Tensor, y: Tensor | None, clock: Clock, norms: bool) -> None:
        """Bring the real images to the stage of growth and into a random orientation."""
        self.state, self.y, self.clock, self.norms = state, y, clock, norms
        self.method, self.engine = state.method, state.engine
        self.n, self.total = len(x), len(x) * shared_batch.world()
        self.noise_sd = self.method.adversarial.noise_at(clock.nimg)
        stage = state.stage_at(clock.nimg)
        if len(state.sizes) > 1:
            x = at_stage(x, state.sizes[stage.number], stage.alpha)
        self.x = orient(x, self.method.augment.symmetry, self.rng("symmetry"))

    def rng(self, *purpose: Any) -> torch.Generator:
        """A random stream of this step for one purpose."""
        return self.engine.generator(*self.clock.key, *purpose)

    def fakes(self, update: int) -> Tensor:
        """Make fakes N×C×H×W with the labels of the reals."""
        g, share = self.state.g, self.method.adversarial.style_mixing
        w = g.mapping(self.state.latents(self.n, *self.clock.key, update), self.y)
        if g.num_ws > 1:
            g.w_mean.lerp_(mean_over_processes(w[:, 0].detach().float().mean(0)), W_MEAN_RATE)
        if g.num_ws > 1 and share:
            w = self._mixed(w, share, update)
        return self.state.synthesis(w, self.y)

    def _mixed(self, w: Tensor, share: float, update: int) -> Tensor:
        """Replace the later styles of some images by those of a second latent (Karras et al. 2019)."""
        g, rng = self.state.g, self.rng("mixing", update)
        other = g.mapping(self.state.latents(self.n, *self.clock.key, update, "mixing"), self.y)
        cut = shared_batch.integers(1, g.num_ws, (self.n,), rng)
        whole = shared_batch.uniform((self.n,), rng) >= share
        cut = torch.where(whole, g.num_ws, cut)
        later = torch.arange(g.num_ws, device=w.device) >= cut[:, None]
        return torch.where(later[:, :, None], other, w)

    def augmented(self, images: Tensor, *purpose: Any) -> Tensor:
        """Inputs of the discriminator: images augmented, then noisy."""
        settings = self.method.augment
        images = augment(images, settings, self.state.statistics.p, self.rng("augment", *purpose))
        if not self.noise_sd:
            return images
        rng = self.rng("noise", *purpose)

        def make(shape: list[int]) -> Tensor:
            drawn = images.new_empty(shape).to(memory_format=torch.channels_last)
            return drawn.normal_(generator=rng)

        return images.add(shared_batch.draw(make, images.shape), alpha=self.noise_sd)

    def due(self) -> bool:
        """Whether this discriminator step carries a gradient penalty."""
        return self.method.penalty.on_gradients and self.clock.step % self.method.penalty.interval == 0


def step(
    state: GANState, x: Tensor, y: Tensor | None, clock: Clock, *, norms: bool = False
) -> dict[str, Tensor]:
    """Train on one batch of real images: the discriminator, and after d_steps of these the generator.

    Args:
        state: what is trained, changed in place; its networks are at the stage of growth of the clock.
        x: real images, N×C×H×W in [-1, 1], channels_last.
        y: their labels, N×K, also those of the fakes; or None.
        clock: progress of the training; the source of every random draw.
        norms: also report the norms of the gradients, without those of lazy penalties.

    Returns:
        Scalars on the device: losses, mean logits or probabilities, accuracies of the discriminator.
    """
    rules = state.method.adversarial
    context = StepContext(state, x, y, clock, norms)
    state.set_rates(clock.nimg)
    # Dropout and synthesis noise draw from the default stream.
    torch.manual_seed(stable_seed(*clock.key, "default"))
    generator_due = (clock.step + 1) % rules.d_steps == 0
    with state.engine.autocast(), torch.set_grad_enabled(generator_due):
        fakes = context.fakes(0)
    values = _discriminator(context, fakes.detach())
    if generator_due:
        values |= _generator(context, fakes)
        seen = context.total * rules.d_steps
        update_ema(state.ema, state.g, ema_weight(seen, clock.nimg, rules.ema_kimg))
    return values


def _discriminator(context: StepContext, fakes: Tensor) -> dict[str, Tensor]:
    """Update the discriminator on the reals and these fakes."""
    state, method = context.state, context.method
    penalty = method.penalty
    reals, kept = _mix_in_fakes(context, fakes)
    with shared_batch.parts(2):
        inputs = context.augmented(torch.cat([reals, fakes]), "d")
    at_once = context.due() and penalty.interval == 1
    shared = at_once and penalty.r2 > 0
    inputs.requires_grad_(shared)
    with state.engine.autocast():
        logits = _judge_both(context, inputs, state.d if shared else state.logits)
        real, fake = logits.chunk(2)
        loss = state.objective.discriminator(real, fake, method.adversarial.smoothing)
        if penalty.drift:
            loss = loss + penalty.drift * real.square().mean()
    values = {"loss_d": loss.detach(), **discriminator_metrics(state, real.detach(), fake.detach(), kept)}
    extra = None
    if at_once:
        extra = _gradient_penalty(context, inputs, logits if shared else None)
        loss = loss + extra
    state.engine.minimise(state.opt_d, loss)
    if context.norms:
        values |= gradient_norms("d", state.d)
    if context.due() and not at_once:
        extra = _gradient_penalty(context, inputs, None)
        state.engine.minimise(state.opt_d, extra * penalty.interval)
    if penalty.clip:
        clip_weights(state.d, penalty.clip)
    if extra is not None:
        values["penalty"] = extra.detach()
    if method.augment.ada_target:
        sign = 2 * values["d_accuracy_real"] - 1
        raised = next_p(state.statistics.p, sign, method.augment, context.total)
        state.statistics.p.copy_(raised)
        values["ada_p"] = state.statistics.p.clone()
    state.statistics.accuracy.copy_((values["d_accuracy_real"] + values["d_accuracy_fake"]) / 2)
    return values


def _judge_both(context: StepContext, images: Tensor, judge: Callable[..., Tensor]) -> Tensor:
    """Logits of reals and fakes in a row, by the discriminator or its replayed pass."""
    y = None if context.y is None else torch.cat([context.y, context.y])
    with shared_batch.parts(2):
        return judge(images, y)


def _mix_in_fakes(context: StepContext, fakes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Reals, a share of them replaced by fakes while the discriminator is too accurate; and which are real.

    The second is N, 1 where the image is a real one; None where all are.
    """
    most = context.method.adversarial.fake_as_real
    if not most:
        return context.x, None
    share = most * ((context.state.statistics.accuracy - 0.5) / 0.5).clamp_min(0)
    rng = context.rng("fake as real")
    replaced = shared_batch.uniform((context.n,), rng) < share
    mixed = torch.where(replaced[:, None, None, None], fakes.to(context.x.dtype), context.x)
    return mixed, (~replaced).float()


def _gradient_penalty(context: StepContext, inputs: Tensor, logits: Tensor | None) -> Tensor:
    """The gradient penalties of this step.

    Args:
        context: the step.
        inputs: inputs of the discriminator, reals then fakes.
        logits: of `inputs`, where these need not be computed again.
    """
    state, penalty, y = context.state, context.method.penalty, context.y
    reals, fakes = inputs.detach().chunk(2)
    r1, r2 = penalty.gammas_at(context.clock.nimg)
    total = torch.zeros((), device=inputs.device)
    with state.engine.autocast():
        if logits is not None:
            total = r1_r2(logits, inputs, r1, r2)
        elif penalty.r2:
            leaf = inputs.detach().requires_grad_()
            total = r1_r2(_judge_both(context, leaf, state.d), leaf, r1, r2)
        elif penalty.r1:
            leaf = reals.clone(memory_format=torch.channels_last).requires_grad_()
            total = 0.5 * r1 * gradient_squares(state.d(leaf, y), leaf).mean()
        if penalty.gp:
            rng = context.rng("mixture")
            share = shared_batch.uniform((context.n,), rng)
            total = total + penalty.gp * gradient_penalty(state.d, reals, fakes, y, share)
    return total


def _generator(context: StepContext, fakes: Tensor) -> dict[str, Tensor]:
    """Update the generator, first through fakes that are there already."""
    state, rules = context.state, context.method.adversarial
    state.d.trainable(False)
    for update in range(rules.g_steps):
        with state.engine.autocast():
            if update:
                fakes = context.fakes(update)
            fooled = state.logits(context.augmented(fakes, "g", update), context.y)
            real = _logits_of_reals(context, update) if state.objective.paired else None
            loss = state.objective.generator(fooled, real)
        state.engine.minimise(state.opt_g, loss)
    state.d.trainable(True)
    values = {"loss_g": loss.detach()}
    if context.norms:
        values |= gradient_norms("g", state.g)
    g_steps_before = context.clock.step // rules.d_steps
    if context.method.penalty.path and g_steps_before % context.method.penalty.path_interval == 0:
        values["path_length"] = _regularise_path(context)
    return values


@torch.no_grad()
def _logits_of_reals(context: StepContext, update: int) -> Tensor:
    """What the reals of a batch are compared with fakes by, in an update of the generator."""
    logits: Tensor = context.state.d(context.augmented(context.x, "g", update, "real"), context.y)
    return logits


def _regularise_path(context: StepContext) -> Tensor:
    """Path length regularisation on half a batch, in an optimiser step of its own."""
    state, penalty = context.state, context.method.penalty
    half = max(1, context.total // 2)
    n = half // shared_batch.world()
    y = None if context.y is None else own_slice(whole_batch(context.y)[:half])
    with state.engine.autocast():
        ws = state.g.mapping(state.latents(n, *context.clock.key, "path"), y)
        images = state.g.synthesis(ws, y)
        noise = shared_batch.normal(images.shape, context.rng("path noise"))
        lengths = path_lengths(images, ws, noise)
    mean = state.statistics.path.lerp(mean_over_processes(lengths.detach().mean()), PATH_MEAN_RATE)
    state.statistics.path.copy_(mean)
    loss = (lengths - mean).square().mean()
    state.engine.minimise(state.opt_g, loss * penalty.path * penalty.path_interval)
    return lengths.detach().mean()


def discriminator_metrics(
    state: GANState, real: Tensor, fake: Tensor, kept: Tensor | None
) -> dict[str, Tensor]:
    """Mean probabilities or scores of the discriminator, and its accuracies.

    Where only differences of scores have a meaning, a pair of images is judged rightly if the real one scores
    higher. Fakes that stand among the reals do not count: calling them real would be the mistake.
    """
    middle, probability = state.objective.middle, state.objective.probability

    def of_reals(values: Tensor) -> Tensor:
        return values.mean() if kept is None else (values * kept).sum() / kept.sum().clamp_min(1)

    right_real = real > (fake if middle is None else middle)
    right_fake = fake < (real if middle is None else middle)
    of_all = {"score_real": of_reals(real), "d_accuracy_real": of_reals(right_real.float())}
    of_fakes = {"score_fake": fake.mean(), "d_accuracy_fake": right_fake.float().mean()}
    if probability is not None:
        of_all["d_real"], of_fakes["d_fake"] = of_reals(probability(real)), probability(fake).mean()
    counted = real.new_ones(()) if kept is None else kept.sum()
    return _over_processes(of_all, counted) | _over_processes(of_fakes, real.new_ones(()))


def _over_processes(values: dict[str, Tensor], counted: Tensor) -> dict[str, Tensor]:
    """Means over the whole batch of means over so many of a slice's images."""
    if shared_batch.world() == 1:
        return values
    sums = torch.stack([*values.values(), torch.ones_like(counted)]) * counted.clamp_min(1)
    sums[-1] = counted
    totals = shared_batch.sum_over_processes(sums)
    return dict(zip(values, totals[:-1] / totals[-1].clamp_min(1), strict=True))


@torch.no_grad()
def gradient_norms(letter: str, network: nn.Module) -> dict[str, Tensor]:
    """Euclidean norms of a network's gradients: `grad_<letter>`, and `grad_<letter>/<layer>` of each weight.

    The layers come in the order of the network; biases and gains count in the whole only.
    """
    graded = [(name, p.grad, p.ndim) for name, p in network.named_parameters() if p.grad is not None]
    if not graded:
        return {}
    each = torch.stack(torch._foreach_norm([gradient for _, gradient, _ in graded]))
    layers = {
        f"grad_{letter}/{name.removesuffix('.weight')}": norm
        for (name, _, ndim), norm in zip(graded, each.unbind(), strict=True)
        if ndim > 1
    }
    return {f"grad_{letter}": each.norm(), **layers}
