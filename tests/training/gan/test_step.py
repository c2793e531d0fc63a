"""One training step against closed forms.

The discriminator is D(x) = a/2·‖x‖² − c, whose gradient by the image is a·x, and the generator makes a
multiple of its latent. Both learn by plain gradient descent, so that every update can be written down.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from plenish.datasets.schema import LabelSchema
from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
from plenish.networks.shared_batch import number_of_parts
from plenish.training.engine import Engine
from plenish.training.gan.augment import Augment
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.gan.step import PATH_MEAN_RATE, W_MEAN_RATE, gradient_norms, step
from plenish.training.learner import Clock

RATE = 0.01
KEY = (3, 0)
STILL = 1e-30
"""A rate at which no weight moves."""
FAR = 10**9
"""Images after which no average is warming up any more."""


class Multiple(Generator):
    """scale·w as an image, w being the mean of its styles; it keeps what it is asked and what it makes.

    `drawn` is what each image took of torch's default stream, as dropout would.
    """

    def __init__(self, config: NetworkConfig, scale: float, styles: int) -> None:
        super().__init__(config)
        self.num_ws = styles
        self.bend, self.scale = nn.Parameter(torch.ones(())), nn.Parameter(torch.tensor(scale))
        self.mapped: list[tuple[Tensor, Tensor | None]] = []
        self.styles: list[Tensor] = []
        self.made: list[Tensor] = []
        self.drawn: list[Tensor] = []

    def mapping(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        self.mapped.append((z, y))
        return self.bend * super().mapping(z, y)

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        self.styles.append(w.detach())
        self.drawn.append(torch.rand(3))
        image = self.scale * w.mean(1).view(-1, 1, self.size, self.size)
        self.made.append(image)
        return image


@dataclasses.dataclass
class Look:
    """What a discriminator was shown at a time, and whether it could learn from it."""

    images: Tensor
    y: Tensor | None
    parts: int
    learns: bool


class Bowl(Discriminator):
    """a/2·‖x‖² − level; it keeps what it is shown."""

    def __init__(self, config: NetworkConfig, a: float, level: float) -> None:
        super().__init__(config)
        self.a, self.level = nn.Parameter(torch.tensor(a)), level
        self.looks: list[Look] = []

    def forward(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        self.looks.append(Look(image.detach().clone(), y, number_of_parts(), self.a.requires_grad))
        return 0.5 * self.a * _squares(image) - self.level


class Play:
    """Both as state; `a` and `scales` list their weights behind every update of an optimiser."""

    def __init__(
        self, rules: dict | None = None, penalty: dict | None = None, augment: dict | None = None, *,
        a: float = 1.0, level: float = 0.0, scale: float = 0.5, side: int = 4, styles: int = 1,
        lr_d: float = STILL, lr_g: float = STILL, labels: LabelSchema | None = None,
    ) -> None:  # fmt: skip
        config = NetworkConfig(size=side, channels=1, z_dim=side**2, labels=labels or LabelSchema())
        rules, weights = {"objective": "wasserstein", **(rules or {})}, Penalty(**(penalty or {}))
        # The rates as they are once corrected for lazy penalties.
        rules["lr_d"] = lr_d / weights.lazy_share()
        rules["lr_g"] = lr_g / weights.path_share(rules.get("g_steps", 1))
        method = Method(Adversarial(**rules), weights, Augment(**(augment or {})))
        self.g, self.d = Multiple(config, scale, styles), Bowl(config, a, level)
        self.state = GANState(self.g, self.d, method, Engine(torch.device("cpu"), "float32"))
        self.state.opt_g = torch.optim.SGD(self.g.parameters(), lr_g)
        self.state.opt_d = torch.optim.SGD(self.d.parameters(), lr_d)
        self.a: list[float] = []
        self.scales: list[float] = []
        self.state.opt_d.register_step_post_hook(lambda *_: self.a.append(self.d.a.item()))
        self.state.opt_g.register_step_post_hook(lambda *_: self.scales.append(self.g.scale.item()))

    def step(
        self, x: Tensor, number: int = 0, *, nimg: int | None = None, y: Tensor | None = None,
        key: tuple[int, int] = KEY, norms: bool = False,
    ) -> dict[str, float]:  # fmt: skip
        """One step; what was kept is of this step alone."""
        g, d = self.g, self.d
        for kept in (g.mapped, g.styles, g.made, g.drawn, d.looks, self.a, self.scales):
            kept.clear()
        nimg = FAR + len(x) * number if nimg is None else nimg
        values = step(self.state, x, y, Clock(*key, nimg, number), norms=norms)
        return {name: value.item() for name, value in values.items()}


def _squares(images: Tensor) -> Tensor:
    return images.square().sum((1, 2, 3))


def _mean_square(images: Tensor) -> float:
    return _squares(images.detach()).mean().item()


def _images(n: int, side: int = 4, seed: int = 1) -> Tensor:
    return 1.5 * torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("gammas", [{"r1": 0.06}, {"r2": 0.4}, {"r1": 0.06, "r2": 0.4}], ids=str)
def test_a_lazy_penalty_counts_interval_times_in_a_step_of_its_own(gammas: dict, interval: int) -> None:
    noisy = {"noise_sd": 0.5, "noise_kimg": 2e6}
    play = Play(noisy, {**gammas, "interval": interval}, lr_d=RATE)
    for number in range(7):
        before, x, due = play.d.a.item(), _images(8, seed=number), number % interval == 0
        values = play.step(x, number)
        real, fake = map(_mean_square, play.d.looks[0].images.chunk(2))  # As they are shown.
        by_a = 0.5 * (fake - real)  # Of the Wasserstein loss.
        squares = gammas.get("r1", 0) * real + gammas.get("r2", 0) * fake  # R1 + R2 is a²/2 of it.
        updated = before - RATE * (by_a + before * squares * (due and interval == 1))
        expected = [updated]
        if due and interval > 1:
            expected.append(updated - RATE * interval * updated * squares)
        assert play.a == pytest.approx(expected, rel=1e-4)
        assert ("penalty" in values) == due
        if due:
            slope = before if interval == 1 else updated
            assert values["penalty"] == pytest.approx(0.5 * slope**2 * squares, rel=1e-4)


@pytest.mark.parametrize("interval", [1, 2])
def test_the_gradient_penalty_is_an_integral_between_reals_and_fakes(interval: int) -> None:
    # Reals of norm 4 and fakes of 0: ∫(4as − 1)² ds from 0 to 1 is 16/3·a² − 4a + 1.
    x = _images(8192)
    x = 4 * x / _squares(x).sqrt()[:, None, None, None]
    play = Play(penalty={"gp": 10.0, "interval": interval}, scale=0.0, lr_d=1e-3)
    values = play.step(x)
    slope = 1.0 if interval == 1 else play.a[0]
    expected = 10 * (16 / 3 * slope**2 - 4 * slope + 1)
    assert values["penalty"] == pytest.approx(expected, rel=0.05)
    moved = -1e-3 * interval * 10 * (32 / 3 * slope - 4)
    assert play.a[-1] - (1 + 1e-3 * 8 if interval == 1 else slope) == pytest.approx(moved, rel=0.05)


def test_path_length_counts_interval_times_in_a_step_of_its_own_and_its_mean_follows() -> None:
    # The length of scale·w is scale·c with a c near 1, as the noise has variance 1. Half a batch of 2 is one
    # image, whose reported length tells c exactly. The discriminator is flat and teaches nothing.
    play = Play({"d_steps": 2}, {"path": 3.0, "path_interval": 2}, a=0.0, scale=0.5, side=64, lr_g=RATE)
    mean, taken = 0.0, []
    for number in range(10):
        before, x = play.g.scale.item(), _images(2, 64, number)
        values = play.step(x, number)
        if "path_length" not in values:
            assert play.scales == [before] * (number % 2)
            continue
        taken.append(number)
        length = values["path_length"]
        assert length == pytest.approx(before, rel=0.05)
        mean += 0.01 * (length - mean)
        assert play.state.statistics.path.item() == pytest.approx(mean, rel=1e-5)
        by_scale = 2 * (length - mean) * length / before
        expected = before - RATE * 3.0 * 2 * by_scale
        assert play.scales == pytest.approx([before, expected], rel=1e-5)
        assert [len(image) for image in play.g.made] == [2, 1]
        assert not torch.equal(play.g.styles[0][:1], play.g.styles[1]), "of latents of its own"
    assert taken == [1, 5, 9]
    assert PATH_MEAN_RATE == 0.01


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mixing_replaces_the_styles_from_a_cut_on(share: float) -> None:
    n, styles = 600, 5
    play = Play({"style_mixing": share, "g_steps": 2}, side=2, styles=styles)
    play.step(_images(n, 2))
    draws = [z[:, None].expand(-1, styles, -1) for z, _ in play.g.mapped]
    updates = [(draws[0], None), (draws[1], None)] if not share else [draws[:2], draws[2:]]
    assert len(draws) == (4 if share else 2), "share 0 draws no second latent"
    cuts = []
    for (own, other), shown in zip(updates, play.g.styles, strict=True):
        cut = (shown == own).all(2).sum(1).tolist()
        by_hand = own.clone()
        for i in range(n):
            if cut[i] < styles:
                by_hand[i, cut[i] :] = other[i, cut[i] :]
        assert torch.equal(shown, by_hand)
        cuts.append(cut)
    if not share:
        return
    assert cuts[0] != cuts[1]
    counts = torch.bincount(torch.tensor(cuts).flatten(), minlength=styles + 1)[1:] / (2 * n)
    expected = [*[share / (styles - 1)] * (styles - 1), 1 - share]
    assert counts.tolist() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / (2 * n)))
    assert counts[-1] == 0 or share < 1
    assert min(map(min, cuts)) >= 1, "the first style is never replaced"


def test_the_mean_of_w_follows_the_styles_before_they_are_mixed() -> None:
    play = Play({"style_mixing": 1.0}, styles=3)
    play.step(_images(6))
    assert torch.allclose(play.g.w_mean, W_MEAN_RATE * play.g.mapped[0][0].mean(0))
    assert W_MEAN_RATE == 0.005
    alone = Play()
    alone.step(_images(6))
    assert not alone.g.w_mean.any(), "the edit space of one style is centred"


@pytest.mark.parametrize("accuracy", [0.2, 0.5, 0.75, 1.0])
def test_reals_give_way_to_fakes_as_the_discriminator_wins(accuracy: float) -> None:
    n, most = 20_000, 0.4
    play = Play({"objective": "nonsaturating", "fake_as_real": most}, side=1)
    play.state.statistics.accuracy.fill_(accuracy)
    x = torch.full((n, 1, 1, 1), 7.0)
    play.step(x)
    shown, fakes = play.d.looks[0].images.chunk(2)
    assert torch.equal(fakes, play.g.made[0])
    replaced = shown != x
    assert torch.equal(shown[replaced], fakes[replaced]), "by the fake of the same label"
    share = most * max(0.0, (accuracy - 0.5) / 0.5)
    assert replaced.float().mean().item() == pytest.approx(share, abs=0.014 if share else 0)  # Four sd.
    untouched = Play({"objective": "nonsaturating"}, side=1)
    untouched.step(x)
    assert torch.equal(untouched.d.looks[0].images[:n], x)


@pytest.mark.parametrize("objective", ["nonsaturating", "hinge"])
def test_fakes_among_the_reals_do_not_count_as_mistakes(objective: str) -> None:
    # Reals have the logit 49/2 − 8, fakes one below 0 but for |z| > 4.
    play = Play({"objective": objective, "fake_as_real": 0.4}, level=8.0, scale=1.0, side=1)
    x = torch.full((1_000, 1, 1, 1), 7.0)
    for _ in range(3):
        values = play.step(x)
        assert (values["d_accuracy_real"], values["score_real"]) == pytest.approx((1.0, 16.5))
        assert values["d_accuracy_fake"] > 0.99
    replaced = [look.images[:1_000] != x for look in play.d.looks if len(look.images) == 2_000]
    assert 0.33 < replaced[-1].float().mean() < 0.47, "the largest share, at a discriminator that is right"


def test_accuracy_is_the_share_on_the_right_side_and_remembered() -> None:
    # Reals 2 have the logit 1.5; fakes have ½z² − ½, which is below 0 for |z| < 1.
    n, within = 20_000, math.erf(math.sqrt(0.5))
    x = torch.full((n, 1, 1, 1), 2.0)
    play = Play({"objective": "nonsaturating"}, level=0.5, scale=1.0, side=1)
    values = play.step(x)
    assert (values["d_accuracy_real"], values["score_real"]) == pytest.approx((1.0, 1.5))
    assert values["d_accuracy_fake"] == pytest.approx(within, abs=0.014)
    assert play.state.statistics.accuracy.item() == pytest.approx((1 + values["d_accuracy_fake"]) / 2)
    assert values["score_fake"] == pytest.approx(0, abs=0.03)
    assert values["d_real"] == pytest.approx(1 / (1 + math.exp(-1.5)))
    fakes = play.g.made[0].detach()
    assert values["d_fake"] == pytest.approx(torch.sigmoid(0.5 * _squares(fakes) - 0.5).mean().item())
    # A critic's scores have no middle: of each pair the real one must be higher, by whatever level.
    values = Play(level=9.0, scale=1.0, side=1).step(x / 2)
    assert values["d_accuracy_real"] == values["d_accuracy_fake"] == pytest.approx(within, abs=0.014)
    assert "d_real" not in values


@pytest.mark.parametrize(("nimg", "sd"), [(0, 0.5), (500, 0.25), (900, 0.05), (1_000, 0.0), (FAR, 0.0)])
def test_instance_noise_has_the_level_of_the_moment(nimg: int, sd: float) -> None:
    n, rules = 250, {"objective": "relativistic", "noise_sd": 0.5, "noise_kimg": 1.0, "g_steps": 2}
    play = Play(rules, scale=0.0, side=8)
    play.step(torch.zeros(n, 1, 8, 8), nimg=nimg)
    # Reals and fakes in the discriminator's update; fakes, then reals in each of the generator's.
    seen = [part.flatten() for look in play.d.looks for part in look.images.chunk(look.parts)]
    assert len(seen) == 6
    for images in seen:
        assert images.var().item() == pytest.approx(sd**2, rel=0.05)
        assert images.mean().item() == pytest.approx(0, abs=0.04 * sd)
    for one, other in itertools.combinations(seen, 2):
        assert (one * other).mean().item() == pytest.approx(0, abs=0.04 * sd**2), "noise of its own"


@pytest.mark.parametrize("d_steps", [1, 2, 5])
def test_the_average_forgets_half_in_its_half_life_however_often_the_generator_moves(d_steps: int) -> None:
    play = Play({"d_steps": d_steps, "ema_kimg": 0.1})
    with torch.no_grad():
        play.state.ema.scale.fill_(1.0)
        play.g.scale.fill_(0.0)
    averages = [1.0]
    for number in range(10):
        play.step(_images(10), number, nimg=FAR + 10 * number)
        averages.append(play.state.ema.scale.item())
        assert (averages[-1] != averages[-2]) == ((number + 1) % d_steps == 0)
    assert averages[-1] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("g_steps", [1, 3])
@pytest.mark.parametrize("d_steps", [1, 3])
def test_the_generator_moves_on_its_turn_alone_and_as_often_as_asked(d_steps: int, g_steps: int) -> None:
    play = Play({"d_steps": d_steps, "g_steps": g_steps}, a=0.1, lr_g=RATE)
    for number in range(6):
        before, x = play.g.scale.item(), _images(6, seed=number)
        values = play.step(x, number)
        assert torch.equal(play.d.looks[0].images, torch.cat([x, play.g.made[0].detach()]))
        if (number + 1) % d_steps:
            assert play.scales == []
            assert "loss_g" not in values
            assert not play.g.made[0].requires_grad, "no graph is built that nobody needs"
            continue
        # The loss −a/2·s²·‖z‖² falls by a·s·‖z‖² with s.
        squares = [_mean_square(w[:, 0].view(-1, 1, 4, 4)) for w in play.g.styles]
        expected = [before]
        for square in squares:
            expected.append(expected[-1] * (1 + RATE * 0.1 * square))
        assert play.scales == pytest.approx(expected[1:], rel=1e-5)
        assert values["loss_g"] == pytest.approx(-0.05 * expected[-2] ** 2 * squares[-1], rel=1e-5)
        assert len({tuple(z.flatten().tolist()) for z, _ in play.g.mapped}) == g_steps, "latents of their own"
        assert torch.equal(play.d.looks[1].images, play.g.made[0].detach()), "the first those of the step"


@pytest.mark.parametrize("part", ["smoothing", "drift"])
def test_smoothing_and_drift_reach_the_loss_and_the_weight(part: str) -> None:
    x, lr = _images(8), 0.5
    results = []
    for weight in (0.0, 0.2):
        rules = {"objective": "nonsaturating", **({"smoothing": weight} if part == "smoothing" else {})}
        play = Play(rules, {"drift": weight} if part == "drift" else {}, a=0.1, lr_d=lr)
        results.append((play.step(x)["loss_d"], play.a[0]))
    (plain, after_plain), (loss, after) = results
    halves = 0.5 * _squares(x)
    logits, fakes = 0.1 * halves, 0.05 * _squares(play.g.made[0].detach())
    assert plain == pytest.approx((softplus(-logits).mean() + softplus(fakes).mean()).item(), rel=1e-5)
    if part == "smoothing":
        added, by_a = logits.mean(), halves.mean()
    else:
        added, by_a = logits.square().mean(), (2 * logits * halves).mean()
    assert loss - plain == pytest.approx(0.2 * added.item(), rel=1e-4)
    assert after - after_plain == pytest.approx(-lr * 0.2 * by_a.item(), rel=1e-4)


def test_weights_are_clipped_behind_the_last_update() -> None:
    # The lazy penalty throws the weight from one side far to the other.
    settings = {"r1": 1.0, "interval": 2}
    clipped, free = (Play(penalty={**settings, "clip": clip}, a=0.2, lr_d=0.1) for clip in (0.3, 0.0))
    for play in (clipped, free):
        play.step(_images(8))
        assert play.a[0] > 0.3
        assert play.a[1] < -0.3
    assert clipped.d.a.item() == pytest.approx(-0.3)
    assert free.d.a.item() == free.a[1]
    clipped.step(2 * _images(8), 1)
    assert clipped.a[0] > 0.3
    assert clipped.d.a.item() == pytest.approx(0.3), "without a penalty as well"


@pytest.mark.parametrize("objective", ["nonsaturating", "relativistic"])
def test_each_update_computes_gradients_of_its_own_network_alone(objective: str) -> None:
    rules = {"objective": objective, "g_steps": 2}
    play = Play(rules, {"r1": 0.1, "interval": 2, "path": 1.0}, lr_d=RATE, lr_g=RATE)
    counted: list[str] = []
    play.d.a.register_post_accumulate_grad_hook(lambda _: counted.append("d"))
    play.g.scale.register_post_accumulate_grad_hook(lambda _: counted.append("g"))
    play.step(_images(8))
    assert counted == ["d", "d", "g", "g", "g"]  # The step and its penalty; two updates and path length.
    assert play.d.a.item() == play.a[-1]
    assert len(play.a) == 2
    of_g = play.d.looks[2:]
    assert len(of_g) == (4 if objective == "relativistic" else 2)
    assert [look.learns for look in play.d.looks] == [True] * 2 + [False] * len(of_g)
    assert play.d.a.requires_grad


def test_a_paired_generator_is_compared_with_reals_as_they_are() -> None:
    x = _images(8)
    play = Play({"objective": "relativistic"}, lr_g=RATE)
    values = play.step(x)
    _, of_fakes, of_reals = play.d.looks
    assert torch.equal(of_reals.images, x)
    difference = 0.5 * (_squares(of_fakes.images) - _squares(x))
    assert values["loss_g"] == pytest.approx(softplus(-difference).mean().item(), rel=1e-5)
    by_scale = (-torch.sigmoid(-difference) * _squares(of_fakes.images) / 0.5).mean().item()
    assert play.scales == pytest.approx([0.5 - RATE * by_scale], rel=1e-5)


def test_fakes_are_asked_for_the_labels_of_the_reals() -> None:
    y = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    labels = LabelSchema("multilabel", ("a", "b", "c"))
    more = {"r1": 0.1, "interval": 2, "path": 1.0}
    play = Play({"style_mixing": 1.0}, more, styles=2, labels=labels)
    play.step(_images(6), y=y)
    at_once, lazy, of_g = play.d.looks
    assert torch.equal(at_once.y, torch.cat([y, y]))
    assert (at_once.parts, lazy.parts, of_g.parts) == (2, 1, 1)
    assert torch.equal(lazy.y, y)
    assert torch.equal(of_g.y, y)
    own, mixed, path = (asked for _, asked in play.g.mapped)
    assert torch.equal(own, y)
    assert torch.equal(mixed, y)
    assert torch.equal(path, y[:3])


@pytest.mark.parametrize(
    "other", [{"key": (4, 0)}, {"key": (3, 1)}, {"nimg": 6}], ids=["seed", "attempt", "images"]
)
def test_draws_depend_on_seed_attempt_and_images_seen_alone(other: dict) -> None:
    def draws(number: int, stream: int, *, nimg: int = 0, key: tuple[int, int] = KEY) -> list[Tensor]:
        torch.manual_seed(stream)
        turned = Play(augment={"symmetry": "dihedral"}, scale=0.0)
        turned.step(_images(6), number, nimg=nimg, key=key)
        noisy = Play({"noise_sd": 0.2, "noise_kimg": 1.0, "g_steps": 2}, scale=0.0)
        noisy.step(torch.zeros(6, 1, 4, 4), number, nimg=nimg, key=key)
        shown = [look.images for look in (turned.d.looks[0], *noisy.d.looks)]
        return [*shown, *(z for z, _ in noisy.g.mapped), *noisy.g.drawn]

    first = draws(0, 0)
    assert len(first) == 4 + 2 + 2
    assert all(map(torch.equal, first, draws(5, 1)))
    assert not any(map(torch.equal, first, draws(0, 0, **other)))


@pytest.mark.parametrize(("a", "direction"), [(1.0, 1), (-1.0, -1)])
def test_augmentation_adapts_to_the_reals_by_the_images_seen(a: float, direction: int) -> None:
    settings = {"ada_target": 0.6, "ada_p": 0.1, "ada_kimg": 1.0}
    play = Play({"objective": "nonsaturating"}, augment=settings, a=a)
    values = [play.step(_images(8), number)["ada_p"] for number in range(3)]
    assert values == pytest.approx([0.1 + direction * 0.008 * k for k in (1, 2, 3)])
    assert play.state.statistics.p.item() == pytest.approx(values[-1])


def test_norms_are_those_of_the_losses_without_lazy_penalties() -> None:
    x = _images(8)
    play = Play(penalty={"r1": 1.0, "interval": 2, "path": 1.0})
    values = play.step(x, norms=True)
    fake = _mean_square(play.g.made[0])
    assert values["grad_d"] == pytest.approx(abs(0.5 * (fake - _mean_square(x))), rel=1e-5)
    # By scale ½ and by bend 1 the loss −(scale·bend)²/2·‖z‖² falls by 2·‖fake‖² and by ‖fake‖².
    assert values["grad_g"] == pytest.approx(math.sqrt(5) * fake, rel=1e-5)
    assert not any(name.startswith("grad") for name in play.step(x))


def test_norms_come_by_layer_in_the_order_of_the_network() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.Linear(1, 1))
    first, second = network[0], network[2]
    assert gradient_norms("g", network) == {}
    for parameter, value in (
        (first.weight, 1.0), (first.bias, 2.0), (second.weight, 3.0), (second.bias, 4.0)
    ):  # fmt: skip
        parameter.grad = torch.full_like(parameter, value)
    norms = gradient_norms("g", network)
    assert list(norms) == ["grad_g", "grad_g/0", "grad_g/2"]
    whole = math.sqrt(6 * 1 + 3 * 4 + 3 * 9 + 16)
    assert [norm.item() for norm in norms.values()] == pytest.approx([whole, math.sqrt(6), math.sqrt(27)])
