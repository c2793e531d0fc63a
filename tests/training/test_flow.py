"""A flow in training: paths, times and steps against closed forms, two dimensions, resuming, shortcuts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from plenish import cli, settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.generate import generate
from plenish.commands.score import score
from plenish.commands.train_generator import train_generator
from plenish.datasets.batches import Batch
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent.sampling import load_generator
from plenish.networks.flow import STRIDES, FlowConfig
from plenish.networks.solver import integrate
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.engine import Engine
from plenish.training.flow import FlowAugment, FlowLearner, FlowMethod, draw_times, on_the_way
from plenish.training.generator import GeneratorTask, Schedule
from plenish.training.learner import Clock

TINY = ["network.width=16", "network.max_width=16", "schedule.log_kimg=0.05", "schedule.sample_kimg=0.2"]


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _learner(**method: Any) -> FlowLearner:
    """A learner whose steps need no data beside their batch."""
    config = FlowConfig(size=16, width=16, levels=2, shortcuts=bool(method.get("shortcut_every")))
    sections = {"training": FlowMethod(**method), "augment": FlowAugment()}
    engine = Engine(torch.device("cpu"), "float32")
    return FlowLearner(GeneratorTask("flow", config, sections, Schedule(), None, engine))  # type: ignore[arg-type]


# Two dimensions


def _eight_gaussians(n: int, rng: torch.Generator) -> Tensor:
    angle = torch.randint(0, 8, (n,), generator=rng) * (math.pi / 4)
    centre = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centre + 0.1 * torch.randn(n, 2, generator=rng)


def _checkerboard(n: int, rng: torch.Generator) -> Tensor:
    """Every second field of a board of 4×4, each of side 2."""
    x = torch.rand(n, generator=rng) * 4 - 2
    y = torch.rand(n, generator=rng) + 2 * torch.randint(0, 2, (n,), generator=rng) - 2 + x.floor() % 2
    return 2 * torch.stack([x, y], 1)


class _Field(nn.Module):
    """A velocity field on the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(),
            nn.Linear(128, 2),
        )  # fmt: skip

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        made: Tensor = self.layers(torch.cat([x, t[:, None]], 1))
        return made


def _train_field(draw: Any, path: Any, steps: int = 3000) -> _Field:
    """A field trained on pairs that `path` makes of noise, data and times."""
    torch.manual_seed(0)
    field, rng = _Field(), _rng()
    optimiser = torch.optim.Adam(field.parameters(), 2e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, z = draw(512, rng), torch.randn(512, 2, generator=rng)
        t = torch.rand(512, generator=rng)
        at, target = path(z, x, t)
        loss = (field(at, t) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
    return field


def _samples(field: Callable[[Tensor, Tensor], Tensor], n: int = 2000) -> Tensor:
    with torch.no_grad():
        return integrate(
            lambda x, t: field(x, torch.full((len(x),), float(t))), torch.randn(n, 2, generator=_rng(5)), 20
        )


def _energy_distance(a: Tensor, b: Tensor) -> float:
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def _exact(x: Tensor, t: Tensor) -> Tensor:
    """The velocity field between N(0, 1) and the eight Gaussians, a posterior mean in closed form."""
    angle = torch.arange(8, dtype=x.dtype) * (math.pi / 4)
    centre, t = 2 * torch.stack([angle.cos(), angle.sin()], 1), t[:, None, None]
    variance = (1 - t) ** 2 + (t * 0.1) ** 2
    apart = x[:, None] - t * centre
    weight = (-apart.square().sum(2, keepdim=True) / (2 * variance)).softmax(1)
    return (weight * (centre + (t * 0.1**2 - (1 - t)) / variance * apart)).sum(1)


def test_the_mean_of_what_is_taught_is_the_exact_velocity() -> None:
    rng, n = _rng(), 200_000
    x, z, t = _eight_gaussians(n, rng), torch.randn(n, 2, generator=rng), torch.rand(n, generator=rng)
    at, target = on_the_way(z, x, t)
    exact = _exact(at.double(), t.double())
    # What is left over is orthogonal to every function of the place and the time.
    left, times = target - exact, t[:, None]
    for known in (torch.ones(n, 1), times, at, at * times, at.sin(), at.square(), exact, exact * times):
        product = left * known
        assert bool((product.mean(0).abs() < 5 * product.std(0) / math.sqrt(n)).all())


def _check_eight_gaussians(made: Tensor) -> None:
    angle = torch.arange(8) * (math.pi / 4)
    apart = torch.cdist(made, 2 * torch.stack([angle.cos(), angle.sin()], 1))
    share = torch.bincount(apart.argmin(1), minlength=8) / len(made)
    assert float(share.min()) > 0.09
    assert float((apart.min(1).values < 0.4).float().mean()) > 0.93
    assert _energy_distance(made, _eight_gaussians(2000, _rng(9))) < 0.01


def test_the_solver_finds_all_of_eight_gaussians() -> None:
    _check_eight_gaussians(_samples(_exact))


@pytest.mark.slow
def test_a_trained_field_finds_all_of_eight_gaussians() -> None:
    _check_eight_gaussians(_samples(_train_field(_eight_gaussians, on_the_way)))


@pytest.mark.slow
def test_a_checkerboard_keeps_its_fields_apart() -> None:
    made = _samples(_train_field(_checkerboard, on_the_way))
    x, y = (made / 2).floor().unbind(1)
    assert float(((x + y) % 2 == 0).float().mean()) > 0.8
    assert _energy_distance(made, _checkerboard(2000, _rng(9))) < 0.02


@pytest.mark.parametrize("draw", [_eight_gaussians, _checkerboard])
def test_the_plane_is_learnt_as_well_as_with_torchcfm(draw: Any) -> None:
    """Skipped unless torchcfm is installed, whose many dependencies Plenish's tests do without."""
    matching = pytest.importorskip("torchcfm.conditional_flow_matching")

    def theirs(z: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        matcher = matching.ConditionalFlowMatcher(0.0)
        _, at, velocity = matcher.sample_location_and_conditional_flow(z, x, t)
        return at, velocity

    z, x, t = torch.randn(64, 3, 8, 8), torch.randn(64, 3, 8, 8), torch.rand(64)
    for ours, oracle in zip(on_the_way(z, x, t), theirs(z, x, t), strict=True):
        assert torch.allclose(ours, oracle, atol=1e-6)
    real = draw(2000, _rng(9))
    ours, oracle = (
        _energy_distance(_samples(_train_field(draw, path)), real) for path in (on_the_way, theirs)
    )
    assert ours < oracle + 2e-3


# Times and shortcuts


def test_times_are_logit_normal() -> None:
    t, level = draw_times(20_000, FlowMethod(time_mean=0.3, time_std=0.8), _rng())
    logit = torch.logit(t.double())
    assert float(logit.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(logit.std()) == pytest.approx(0.8, abs=0.02)
    assert bool((level == STRIDES).all())


def test_shortcuts_begin_at_multiples_of_their_length() -> None:
    t, level = draw_times(4096, FlowMethod(shortcut_every=4), _rng())
    taught = torch.arange(4096) % 4 == 0
    assert torch.equal(level < STRIDES, taught)
    steps = 2.0 ** level[taught]
    assert torch.equal(t[taught] * steps, (t[taught] * steps).round())
    assert bool((t[taught] + 1 / steps <= 1).all())
    assert torch.bincount(level[taught], minlength=STRIDES).min() > 80


def test_a_long_step_is_taught_as_the_mean_of_two_half_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = _learner(batch=4, shortcut_every=2)
    monkeypatch.setattr(learner, "ema", lambda x, t, **_: x)  # dx = x dt
    x, level = torch.randn(3, 1, 2, 2), torch.tensor([1, 3, STRIDES])
    length = 2.0 ** -level.double().view(-1, 1, 1, 1)
    mean = learner._two_steps(x, torch.zeros(3), level, {})
    assert torch.allclose(mean.double(), x * (1 + length / 2), atol=1e-6)


def test_shortcuts_are_taken_where_they_were_taught(stripes, tmp_path: Path) -> None:
    data = stripes()
    run = train_generator(
        data.path, tmp_path / "run", recipe="flow-small", batch=10, kimg=0.1, validation=False,
        options=[*TINY, "training.shortcut_every=5"],
    )  # fmt: skip
    assert isinstance(run, Run)
    flow = load_generator(run.path, "last").network
    z, y = flow.sample_prior(2, _rng()), torch.eye(2)
    images = [flow.sample(z, y, solver="shortcut", steps=steps) for steps in (1, 2)]
    assert not torch.allclose(*images)


def test_exported_from_a_run_with_options_of_its_own(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    train_generator(
        data.path, tmp_path / "run", recipe="flow-small", batch=10, kimg=0.05, validation=False, options=TINY
    )
    words = ["export-model", str(tmp_path / "run"), str(tmp_path / "model"), "--as", "torchscript"]
    for wrong in ("steps=0", "solver=foo", "solver=shortcut", "guidance=-1", "stepz=3"):
        assert cli.run([*words, "--options", wrong]) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert not (tmp_path / "model").exists()
    assert cli.run([*words, "--options", "steps=2", "--quiet"]) == 0
    facts = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (facts["steps"], facts["solver"], facts["guidance"]) == (2, "heun", 1.0)
    assert set(facts["parts"]) == {"velocity.pt"}
    assert set(facts["parts"]["velocity.pt"]["inputs"]) == {"x", "t", "y", "labelled"}
    made = generate(tmp_path / "run", tmp_path / "made", 3, options=["steps=2", "solver=euler"], seed=1)
    assert made.manifest.extra["generator"]["steps"] == 2
    assert not list((tmp_path / "made" / "arrays").glob("z*")), "seeds are kept, not z"


# Runs


def test_a_best_checkpoint_that_copies_is_warned_of(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([(1.0, 1.0), (0.0, 9.0)])

    def validator(*_: object) -> Any:
        def score(images: object, y: object) -> dict[str, float]:
            copying, value = next(scores)
            return {"kid_val": value, "copies": copying / 2, "copying": copying}

        return score

    monkeypatch.setattr("plenish.metrics.validation.validator_of", validator)
    options = [*TINY, "schedule.validate=20"]
    data, how = stripes(), {"recipe": "flow-small", "batch": 10, "checkpoint_kimg": 0.1, "options": options}
    with settings.use(quiet=False):
        run = train_generator(data.path, tmp_path / "run", kimg=0.1, **how)
        assert "50.0% of 20 samples look like copies" in capsys.readouterr().err
        assert isinstance(run, Run)
        assert run.status["best"]["copying"] == 1
        load_generator(run.path)
        assert "look like copies of training images; train anew" in capsys.readouterr().err
        again = train_generator(data.path, tmp_path / "run", kimg=0.2, **how)
        assert isinstance(again, Run)
        assert again.status["best"] == {"checkpoint": "kimg-00000.200", "copying": 0, "kid_val": 9}
        capsys.readouterr()
        load_generator(run.path)
        assert "copies" not in capsys.readouterr().err


def test_a_late_first_checkpoint_of_few_images_is_warned_of(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    with settings.use(quiet=False):
        train_generator(
            data.path, tmp_path / "run", recipe="flow-small", batch=10, kimg=80, validation=False,
            options=TINY, dry_run=True,
        )  # fmt: skip
    said = capsys.readouterr().err
    assert "the first checkpoint comes after 556 passes over 36 images" in said
    assert "--checkpoint-kimg 3.6" in said


@pytest.mark.parametrize("option", ["network.augmented=true", "network.shortcuts=false"])
def test_what_follows_from_other_options_cannot_be_set(stripes, tmp_path: Path, option: str) -> None:
    with pytest.raises(InputError, match=r"follows from (augment\.p|training\.shortcut_every); set --"):
        train_generator(stripes().path, tmp_path / "run", recipe="flow-small", options=[option])


def _tensors(run: Path) -> dict[str, Tensor]:
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    return {f"{p.stem}.{k}": v for p in newest.glob("*.safetensors") for k, v in load_file(p).items()}


@pytest.mark.parametrize(
    "more",
    [[], ["augment.p=0.5", "augment.symmetry=dihedral", "network.dropout=0.2", "training.shortcut_every=3"]],
)
def test_prolonged_equals_uninterrupted(stripes, tmp_path: Path, more: list[str]) -> None:
    data = stripes()

    def train(name: str, kimg: float, seed: int = 0) -> dict[str, Tensor]:
        train_generator(
            data.path, tmp_path / name, recipe="flow-small", batch=10, kimg=kimg, validation=False, seed=seed,
            checkpoint_kimg=0.05, options=[*TINY, *more],
        )  # fmt: skip
        return _tensors(tmp_path / name)

    whole = train("whole", 0.1)
    train("parts", 0.05)
    parts = train("parts", 0.1)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    other = train("other", 0.1, seed=1)
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


@pytest.mark.parametrize(
    ("labels", "channels"),
    [
        (LabelSchema(), 1),
        (LabelSchema("categorical", ("a", "b", "c")), 3),
        (LabelSchema("multilabel", ("a", "b")), 3),
        (LabelSchema("continuous", ("age",)), 1),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_any_labels_and_channels(labels: LabelSchema, channels: int) -> None:
    config = FlowConfig(size=16, channels=channels, labels=labels, width=16, levels=2)
    sections = {"training": FlowMethod(batch=8, lr=1e-2), "augment": FlowAugment()}
    engine = Engine(torch.device("cpu"), "float32")
    learner = FlowLearner(GeneratorTask("flow", config, sections, Schedule(), None, engine))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 16, 16, channels), np.uint8)
    y = rng.random((8, labels.width)).astype(np.float32)  # Soft, too.
    for number in range(6):
        learner.step(Batch(0, 8, np.arange(8), pixels, y, 0.0), Clock(0, 0, 8 * number, number))
    flow = learner.sampler
    z = flow.sample_prior(3, _rng())
    asked = [torch.full((3, labels.width), value) if labels.width else None for value in (0.1, 0.9)]
    images = [flow.sample(z, y, steps=2) for y in asked]
    assert images[0].shape == (3, channels, 16, 16)
    assert torch.equal(*images) == (not labels.width), "labels matter where there are any"


def test_what_cannot_be_is_refused() -> None:
    for section, wrong in (
        (FlowMethod, {"lr": 0.0}), (FlowMethod, {"batch": 1}), (FlowMethod, {"time_std": 0.0}),
        (FlowMethod, {"unlabelled": 1.0}), (FlowMethod, {"shortcut_every": 1}),
        (FlowAugment, {"symmetry": "spiral"}), (FlowAugment, {"p": 1.5}), (FlowAugment, {"policy": "cats"}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            section(**wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_sixty_images_learnt_by_heart_a_checkpoint_before_that_is_kept(tmp_path: Path) -> None:
    data = make_phantom(tmp_path / "data", patients=30, tiles=10, size=32)
    split_dataset(data.path, (0.2, 0.4, 0.4))
    assert len(data.part("train", purpose="train")) == 60
    run = train_generator(
        data.path, tmp_path / "run", recipe="flow-small", batch=32, kimg=60, checkpoint_kimg=4, keep=1,
        options=["augment.p=0", "schedule.patience=0", "schedule.sample_kimg=60"],
    )  # fmt: skip
    assert isinstance(run, Run)
    copying = run.metrics()["copying"].dropna()
    assert copying.iloc[0] == 0
    assert copying.iloc[-1] == 1
    found = {}
    for checkpoint in ("best", "last"):
        made = generate(run.path, tmp_path / checkpoint, 300, checkpoint=checkpoint)
        found[checkpoint] = score(data.path, made.path, tmp_path / f"score-{checkpoint}").content["copies"]
    assert found["best"]["finding"] == "none"
    assert found["last"]["finding"] != "none"
    assert found["last"]["share_suspect"] > 0.3
