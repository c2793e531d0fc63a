"""One adversarial training step, put together from objective, penalty, augmentation and balance.

The discriminator sees reals and fakes in one pass. The generator's first update reuses the fakes the
discriminator was shown; further updates draw their own. In the generator's update the discriminator's weights
need no gradients, and none are computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from plenish.training.ema import ema_weight, update_ema
from plenish.training.gan.augment import augment, next_p, orient
from plenish.training.gan.growth import at_stage
from plenish.training.gan.penalties import (
    clip_weights,
    gradient_penalty,
    gradient_squares,
    path_lengths,
    r1_r2,
)
from plenish.training.gan.state import Players

W_MEAN_RATE = 0.005
"""How fast the mean of w follows a batch (StyleGAN's 0.995)."""
PATH_MEAN_RATE = 0.01


class Turn:
    """One step's inputs and random draws, all derived from (seed, attempt, images seen)."""

    def __init__(
        self, players: Players, x: Tensor, y: Tensor | None, nimg: int, key: tuple[int, int], number: int,
        norms: bool,
    ) -> None:  # fmt: skip
        """Bring the real images to the stage of growth and into a random orientation."""
        self.players, self.y, self.nimg, self.key, self.number = players, y, nimg, key, number
        self.method, self.engine, self.norms = players.method, players.engine, norms
        self.n = len(x)
        self.noise_sd = self.method.adversarial.noise_at(nimg)
        stage = players.grow(nimg)
        if len(players.sizes) > 1:
            x = at_stage(x, players.sizes[stage.number], stage.alpha)
        self.x = orient(x, self.method.augment.symmetry, self.rng("symmetry"))

    def rng(self, *purpose: Any) -> torch.Generator:
        """A random stream of this step for one purpose."""
        return self.engine.generator(*self.key, self.nimg, *purpose)

    def fakes(self, update: int) -> Tensor:
        """Make fakes N×C×H×W with the labels of the reals."""
        g, share = self.players.g, self.method.adversarial.style_mixing
        w = g.mapping(self.players.latents(self.n, *self.key, self.nimg, update), self.y)
        if g.num_ws > 1:
            g.w_mean.lerp_(w[:, 0].detach().float().mean(0), W_MEAN_RATE)
        if g.num_ws > 1 and share:
            w = self._mixed(w, share, update)
        return g.synthesis(w, self.y)

    def _mixed(self, w: Tensor, share: float, update: int) -> Tensor:
        """Replace the later styles of some images by those of a second latent (Karras et al. 2019)."""
        g, rng = self.players.g, self.rng("mixing", update)
        other = g.mapping(self.players.latents(self.n, *self.key, self.nimg, update, "mixing"), self.y)
        cut = torch.randint(1, g.num_ws, (self.n,), generator=rng, device=rng.device)
        whole = torch.rand(self.n, generator=rng, device=rng.device) >= share
        cut = torch.where(whole, g.num_ws, cut)
        later = torch.arange(g.num_ws, device=w.device) >= cut[:, None]
        return torch.where(later[:, :, None], other, w)

    def shown(self, images: Tensor, *purpose: Any) -> Tensor:
        """What the discriminator is shown of images: augmented, then noisy."""
        settings = self.method.augment
        images = augment(images, settings, self.players.memory.p, self.rng("augment", *purpose))
        if not self.noise_sd:
            return images
        noise = torch.empty_like(images, memory_format=torch.channels_last)
        return images.add(noise.normal_(generator=self.rng("noise", *purpose)), alpha=self.noise_sd)

    def twice(self) -> Tensor | None:
        """Labels of reals and fakes in a row."""
        return None if self.y is None else torch.cat([self.y, self.y])

    def due(self) -> bool:
        """Whether this discriminator step carries a gradient penalty."""
        return self.method.penalty.on_gradients and self.number % self.method.penalty.interval == 0


def step(
    players: Players, x: Tensor, y: Tensor | None, nimg: int, key: tuple[int, int], number: int | None = None,
    *, norms: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Train on one batch of real images: the discriminator, and when it is its turn the generator.

    Args:
        players: what is trained, changed in place.
        x: real images, N×C×H×W in [-1, 1], channels_last.
        y: their labels, N×K, also asked of the fakes; or None.
        nimg: images seen before this batch; with `key` the source of every random draw.
        key: (seed, attempt).
        number: how many steps came before this one; counted from nimg where batches are of one size.
        norms: also report the norms of the gradients, without those of lazy penalties.

    Returns:
        Scalars on the device: losses, mean logits or probabilities, accuracies of the discriminator.
    """
    rules = players.method.adversarial
    number = nimg // len(x) if number is None else number
    turn = Turn(players, x, y, nimg, key, number, norms)
    players.set_rates(nimg)
    players.engine.seed_everything(*key, nimg)  # Dropout and synthesis noise draw from the default stream.
    generators_turn = (number + 1) % rules.d_steps == 0
    with players.engine.autocast(), torch.set_grad_enabled(generators_turn):
        fakes = turn.fakes(0)
    values = _discriminator(turn, fakes.detach())
    if generators_turn:
        values |= _generator(turn, fakes)
        seen = turn.n * rules.d_steps
        update_ema(players.ema, players.g, ema_weight(seen, nimg, rules.ema_kimg))
    return values


def _discriminator(turn: Turn, fakes: Tensor) -> dict[str, Tensor]:
    """Update the discriminator on the reals and these fakes."""
    players, method = turn.players, turn.method
    penalty = method.penalty
    reals, kept = _with_fakes(turn, fakes)
    shown = turn.shown(torch.cat([reals, fakes]), "d")
    at_once = turn.due() and penalty.interval == 1
    shared = at_once and penalty.r2 > 0
    shown.requires_grad_(shared)
    with players.engine.autocast():
        logits = players.d(shown, turn.twice(), parts=2)
        real, fake = logits.chunk(2)
        loss = players.objective.discriminator(real, fake, method.adversarial.smoothing)
        if penalty.drift:
            loss = loss + penalty.drift * real.square().mean()
    values = {"loss_d": loss.detach(), **_verdict(players, real.detach(), fake.detach(), kept)}
    extra = None
    if at_once:
        extra = _gradient_penalty(turn, shown, logits if shared else None)
        loss = loss + extra
    _update(players.opt_d, loss)
    if turn.norms:
        values |= gradient_norms("d", players.d)
    if turn.due() and not at_once:
        extra = _gradient_penalty(turn, shown, None)
        _update(players.opt_d, extra * penalty.interval)
    if penalty.clip:
        clip_weights(players.d, penalty.clip)
    if extra is not None:
        values["penalty"] = extra.detach()
    if method.augment.ada_target:
        sign = 2 * values["d_accuracy_real"] - 1
        players.memory.p.copy_(next_p(players.memory.p, sign, method.augment, turn.n))
        values["ada_p"] = players.memory.p.clone()
    players.memory.accuracy.copy_((values["d_accuracy_real"] + values["d_accuracy_fake"]) / 2)
    return values


def _with_fakes(turn: Turn, fakes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Reals, a share of them replaced by fakes while the discriminator is too accurate; and which are real.

    The second is N, 1 where the image is a real one; None where all are.
    """
    most = turn.method.adversarial.fake_as_real
    if not most:
        return turn.x, None
    share = most * ((turn.players.memory.accuracy - 0.5) / 0.5).clamp_min(0)
    rng = turn.rng("fake as real")
    replaced = torch.rand(turn.n, generator=rng, device=rng.device) < share
    mixed = torch.where(replaced[:, None, None, None], fakes.to(turn.x.dtype), turn.x)
    return mixed, (~replaced).float()


def _gradient_penalty(turn: Turn, shown: Tensor, logits: Tensor | None) -> Tensor:
    """The gradient penalties of this step.

    Args:
        turn: the step.
        shown: what the discriminator was shown, reals then fakes.
        logits: of `shown`, where these need not be computed again.
    """
    players, penalty, y = turn.players, turn.method.penalty, turn.y
    reals, fakes = shown.detach().chunk(2)
    r1, r2 = penalty.gammas_at(turn.nimg)
    total = torch.zeros((), device=shown.device)
    with players.engine.autocast():
        if logits is not None:
            total = r1_r2(logits, shown, r1, r2)
        elif penalty.r2:
            leaf = shown.detach().requires_grad_()
            total = r1_r2(players.d(leaf, turn.twice(), parts=2), leaf, r1, r2)
        elif penalty.r1:
            leaf = reals.clone(memory_format=torch.channels_last).requires_grad_()
            total = 0.5 * r1 * gradient_squares(players.d(leaf, y), leaf).mean()
        if penalty.gp:
            rng = turn.rng("mixture")
            share = torch.rand(turn.n, generator=rng, device=rng.device)
            total = total + penalty.gp * gradient_penalty(players.d, reals, fakes, y, share)
    return total


def _generator(turn: Turn, fakes: Tensor) -> dict[str, Tensor]:
    """Update the generator, first through fakes that are there already."""
    players, rules = turn.players, turn.method.adversarial
    players.train_d(False)
    for update in range(rules.g_steps):
        with players.engine.autocast():
            if update:
                fakes = turn.fakes(update)
            loss = players.objective.generator(*_logits_for_generator(turn, fakes, update))
        _update(players.opt_g, loss)
    players.train_d(True)
    values = {"loss_g": loss.detach()}
    if turn.norms:
        values |= gradient_norms("g", players.g)
    turns_before = turn.number // rules.d_steps
    if turn.method.penalty.path and turns_before % turn.method.penalty.path_interval == 0:
        values["path_length"] = _regularise_path(turn)
    return values


def _logits_for_generator(turn: Turn, fakes: Tensor, update: int) -> tuple[Tensor, Tensor | None]:
    d, y = turn.players.d, turn.y
    fooled = d(turn.shown(fakes, "g", update), y)
    if not turn.players.objective.paired:
        return fooled, None
    with torch.no_grad():
        return fooled, d(turn.shown(turn.x, "g", update, "real"), y)


def _regularise_path(turn: Turn) -> Tensor:
    """Path length regularisation on half a batch, in an optimiser step of its own."""
    players, penalty = turn.players, turn.method.penalty
    n = max(1, turn.n // 2)
    y = None if turn.y is None else turn.y[:n]
    with players.engine.autocast():
        ws = players.g.mapping(players.latents(n, *turn.key, turn.nimg, "path"), y)
        images = players.g.synthesis(ws, y)
        noise = torch.randn(images.shape, generator=turn.rng("path noise"), device=images.device)
        lengths = path_lengths(images, ws, noise)
    mean = players.memory.path.lerp(lengths.detach().mean(), PATH_MEAN_RATE)
    players.memory.path.copy_(mean)
    loss = (lengths - mean).square().mean()
    _update(players.opt_g, loss * penalty.path * penalty.path_interval)
    return lengths.detach().mean()


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _verdict(players: Players, real: Tensor, fake: Tensor, kept: Tensor | None) -> dict[str, Tensor]:
    """How the discriminator judged: mean probabilities or scores, and shares of right answers.

    Where only differences of scores have a meaning, a pair of images is judged rightly if the real one scores
    higher. Fakes that stand among the reals do not count: calling them real would be the mistake.
    """
    middle, probability = players.objective.middle, players.objective.probability

    def of_reals(values: Tensor) -> Tensor:
        return values.mean() if kept is None else (values * kept).sum() / kept.sum().clamp_min(1)

    values = {"score_real": of_reals(real), "score_fake": fake.mean()}
    if probability is not None:
        values |= {"d_real": of_reals(probability(real)), "d_fake": probability(fake).mean()}
    right_real = real > (fake if middle is None else middle)
    right_fake = fake < (real if middle is None else middle)
    return values | {
        "d_accuracy_real": of_reals(right_real.float()),
        "d_accuracy_fake": right_fake.float().mean(),
    }


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


__all__ = ["Turn", "gradient_norms", "step"]
