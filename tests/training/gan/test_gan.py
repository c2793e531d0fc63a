"""The loop: resuming, stopping, diverging."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from plenish import settings
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError
from plenish.latent.sampling import load_generator
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.failures import Failure
from plenish.training.gan import learner as gan
from plenish.training.gan.health import Health

TINY = [
    "network.width=4",
    "network.max_width=8",
    "network.z_dim=8",
    "schedule.log_kimg=0.05",
    "schedule.sample_kimg=0.2",
]


def _train(data: Dataset, run: Path, kimg: float, **more: object) -> Run:
    options = [*TINY, "adversarial.noise_sd=0.1", "adversarial.noise_kimg=1", "augment.symmetry=dihedral"]
    arguments: dict = {
        "recipe": "dcgan",
        "batch": 10,
        "checkpoint_kimg": 0.1,
        "validation": False,
        "options": options,
    }
    return train_gan(data.path, run, kimg=kimg, **(arguments | more))


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    return {
        f"{path.stem}.{k}": v for path in newest.glob("*.safetensors") for k, v in load_file(path).items()
    }


def _assert_equal(a: Path, b: Path) -> None:
    ours, theirs = _weights(a), _weights(b)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _log(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_s", "data_wait")} for line in lines]


def test_prolonged_equals_uninterrupted(stripes, tmp_path: Path) -> None:
    data = stripes()
    _train(data, tmp_path / "whole", 0.2)
    _train(data, tmp_path / "parts", 0.1)
    _train(data, tmp_path / "parts", 0.2)
    _assert_equal(tmp_path / "whole", tmp_path / "parts")
    _train(data, tmp_path / "other", 0.2, seed=1)
    with pytest.raises(AssertionError):
        _assert_equal(tmp_path / "whole", tmp_path / "other")


def test_a_damaged_newest_checkpoint_costs_time_and_nothing_else(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    _train(data, tmp_path / "whole", 0.4)
    _train(data, tmp_path / "hurt", 0.3)
    newest = checkpoints.list_checkpoints(tmp_path / "hurt" / "checkpoints")[-1]
    (newest / "opt_d.safetensors").write_bytes(b"")
    _train(data, tmp_path / "hurt", 0.4)
    assert f"{newest.name} damaged and skipped" in capsys.readouterr().err
    _assert_equal(tmp_path / "whole", tmp_path / "hurt")
    assert _log(tmp_path / "whole")[-3:] == _log(tmp_path / "hurt")[-3:]


def test_another_configuration_is_listed_and_refused(stripes, tmp_path: Path) -> None:
    data = stripes()
    _train(data, tmp_path / "run", 0.1)
    before = _weights(tmp_path / "run")
    for change, sentence in (
        ({"batch": 20}, "batch .*10 .*20"),
        ({"seed": 3}, "seed .*0 .*3"),
    ):
        with pytest.raises(InputError, match=sentence):
            _train(data, tmp_path / "run", 0.2, **change)
    with pytest.raises(InputError, match="stripes"):
        _train(stripes("others", n=80), tmp_path / "run", 0.2)
    after = _weights(tmp_path / "run")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_divergence_stops_at_the_last_good_checkpoint_and_is_not_replayed(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stripes()
    real_step = gan.step

    def poisoned(state, x, y, clock, **more):
        values = real_step(state, x, y, clock, **more)
        return (
            values | {"loss_g": torch.tensor(float("nan"))}
            if clock.nimg >= 250 and clock.attempt == 0
            else values
        )

    monkeypatch.setattr(gan, "step", poisoned)
    with pytest.raises(CheckFailed, match=r"loss_g .*kimg-00000\.200"):
        _train(data, tmp_path / "run", 0.4)
    assert Run.open(tmp_path / "run").status["state"] == "diverged"
    with pytest.raises(CheckFailed, match="--retry"):
        _train(data, tmp_path / "run", 0.4)
    run = _train(data, tmp_path / "run", 0.4, retry=True)
    assert run.status["state"] == "complete"
    assert run.status["attempt"] == 1


def test_rollback_goes_on_from_the_last_good_checkpoint_with_other_draws(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    real_step = gan.step

    def poisoned(state, x, y, clock, **more):
        values = real_step(state, x, y, clock, **more)
        return (
            values | {"loss_g": torch.tensor(float("nan"))}
            if clock.nimg >= 250 and clock.attempt < 2
            else values
        )

    monkeypatch.setattr(gan, "step", poisoned)
    forgiving = [*TINY, "schedule.on_failure=rollback"]
    run = _train(data, tmp_path / "run", 0.4, options=forgiving)
    assert (run.status["state"], run.status["attempt"], run.status["rollbacks"]) == ("complete", 2, 2)
    assert "message" not in run.summary(), "what went wrong is over"
    assert capsys.readouterr().err.count("kimg-00000.200") == 2
    with pytest.raises(CheckFailed, match="loss_g"):
        _train(data, tmp_path / "strict", 0.4, options=[*forgiving, "schedule.rollbacks=1"])


def test_a_rollback_goes_behind_the_beginning_of_the_failure(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints written while it already failed are not gone on from, and do not stay."""
    real_hear, told = Health.hear, []
    real_step, steps = gan.step, []

    def noted(state, x, y, clock, **more):
        steps.append((clock.nimg, clock.attempt))
        return real_step(state, x, y, clock, **more)

    def hear(self, line):
        if line["kimg"] >= 0.35 and "loss_g" in line and not told:
            told.append(line)
            folder = tmp_path / "run" / "checkpoints"
            assert (folder / "kimg-00000.300").is_dir()
            return Failure("losses-constant", 0.15)
        return real_hear(self, line)

    monkeypatch.setattr(gan, "step", noted)
    monkeypatch.setattr(Health, "hear", hear)
    run = _train(stripes(), tmp_path / "run", 0.4, options=[*TINY, "schedule.on_failure=rollback"])
    assert told
    assert "kimg-00000.100" in capsys.readouterr().err
    assert next(nimg for nimg, attempt in steps if attempt == 1) == 100
    assert (run.status["state"], run.status["attempt"]) == ("complete", 1)
    assert run.metrics()["kimg"].is_monotonic_increasing
    assert (run.metrics()["kimg"] == 0).sum() == 1, "the first look is told once"


def _score(kid: float, copying: float = 0.0) -> dict[str, float]:
    return {"kid_val": kid, "copies": copying, "copying": copying}


def _scored(monkeypatch: pytest.MonkeyPatch, scores: dict[int, float]) -> None:
    """Let checkpoints be scored by the images seen."""

    seen = []
    real = gan.GANLearner.validate

    def validate(self, clock):
        seen.append(clock.nimg)
        return real(self, clock)

    monkeypatch.setattr(gan.GANLearner, "validate", validate)
    monkeypatch.setattr(
        "plenish.metrics.validation.validator_of", lambda *_: lambda images, y: _score(scores[seen[-1]])
    )


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("kimg", [0.2, 0.4], ids=["at the end", "on the way"])
def test_a_kill_behind_the_best_score_does_not_lose_it(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kimg: float
) -> None:
    _scored(monkeypatch, {100: 5.0, 200: 1.0, 300: 4.0, 400: 3.0})
    data, options = stripes(), [*TINY, "schedule.keep=1"]
    real = checkpoints.prune_checkpoints

    def dying(folder: Path, *keep):
        removed = real(folder, *keep)
        if (folder / "kimg-00000.200").exists():
            raise _Killed
        return removed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "prune_checkpoints", dying)
        with pytest.raises(_Killed):
            _train(data, tmp_path / "run", kimg, validation=True, options=options)
    run = _train(data, tmp_path / "run", kimg, validation=True, options=options)
    assert run.status["best"] == {"checkpoint": "kimg-00000.200", "copying": 0.0, "kid_val": 1.0}
    assert (run.path / "checkpoints" / "kimg-00000.200").is_dir()


def test_after_a_rollback_the_best_is_among_what_is_left(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {100: 3.0, 200: 1.0}
    _scored(monkeypatch, scores)
    real_step, real_hear = gan.step, Health.hear

    def poisoned(state, x, y, clock, **more):
        values = real_step(state, x, y, clock, **more)
        return (
            values | {"loss_g": torch.tensor(float("nan"))}
            if clock.nimg == 230 and clock.attempt == 0
            else values
        )

    def begun_earlier(self, line):
        failure = real_hear(self, line)
        if failure:
            scores.update({200: 9.0, 300: 5.0})  # Of the second attempt.
        return failure and dataclasses.replace(failure, since=0.15)

    monkeypatch.setattr(gan, "step", poisoned)
    monkeypatch.setattr(Health, "hear", begun_earlier)
    options = [*TINY, "schedule.on_failure=rollback"]
    run = _train(stripes(), tmp_path / "run", 0.3, validation=True, options=options)
    assert run.status["attempt"] == 1
    assert run.status["best"] == {"checkpoint": "kimg-00000.100", "copying": 0.0, "kid_val": 3.0}


def test_a_checkpoint_that_copies_is_never_the_best(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([_score(5.0), _score(3.0), _score(1.0, 1.0), _score(4.0)])
    monkeypatch.setattr("plenish.metrics.validation.validator_of", lambda *_: lambda images, y: next(scores))
    run = _train(stripes(), tmp_path / "run", 0.4, validation=True, options=TINY)
    assert run.status["best"] == {"checkpoint": "kimg-00000.200", "copying": 0.0, "kid_val": 3.0}


def test_patience_ends_a_training_that_no_longer_improves(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    scores = iter([5.0, 3.0, 4.0, 4.0, 2.0, 1.0])
    monkeypatch.setattr(
        "plenish.metrics.validation.validator_of", lambda *_: lambda images, y: _score(next(scores))
    )
    options = [*TINY, "schedule.patience=2"]
    data = stripes()
    run = _train(data, tmp_path / "run", 1.0, validation=True, options=options)
    assert run.status["kimg"] == pytest.approx(0.4)
    assert run.status["best"] == {"checkpoint": "kimg-00000.200", "copying": 0.0, "kid_val": 3.0}
    again = _train(data, tmp_path / "run", 1.0, validation=True, options=options)
    assert again.status["kimg"] == pytest.approx(0.4), "the same command does not go on"


@pytest.mark.parametrize(
    "parts",
    [
        [
            "adversarial.objective=relativistic",
            "penalty.r1=1",
            "penalty.r2=1",
            "penalty.fall_to=0.1",
            "penalty.fall_kimg=0.15",
            "adversarial.lr_fall_to=0.1",
            "adversarial.lr_fall_kimg=0.15",
        ],
        [
            "adversarial.objective=wasserstein",
            "penalty.gp=10",
            "penalty.drift=0.001",
            "adversarial.d_steps=3",
        ],
        ["penalty.r1=1", "penalty.interval=3", "augment.ada_target=0.6", "augment.ada_kimg=1"],
        ["adversarial.objective=hinge", "adversarial.fake_as_real=0.1", "adversarial.g_steps=2"],
        ["augment.diffaugment='color,translation,cutout'", "adversarial.objective=lsgan"],
        ["schedule.order=preformed-batches"],
    ],
    ids=["relativistic", "wasserstein", "lazy and adaptive", "fake as real", "diffaugment", "batches"],
)
def test_every_part_of_the_method_resumes_bit_for_bit(stripes, tmp_path: Path, parts: list[str]) -> None:
    data = stripes()
    options = [*TINY, *parts]
    _train(data, tmp_path / "whole", 0.2, options=options)
    _train(data, tmp_path / "parts", 0.1, options=options)
    _train(data, tmp_path / "parts", 0.2, options=options)
    _assert_equal(tmp_path / "whole", tmp_path / "parts")


def test_the_order_of_batches_is_kept_and_needs_one_size(stripes, tmp_path: Path) -> None:
    data = stripes()
    run = _train(data, tmp_path / "run", 0.01, options=[*TINY, "schedule.order=random"])
    assert run.config["config"]["schedule"]["order"] == "random"
    with pytest.raises(InputError, match="was 'random' and is now 'sequential'"):
        _train(data, tmp_path / "run", 0.04, options=[*TINY, "schedule.order=sequential"])
    plain = _train(data, tmp_path / "plain", 0.01, options=TINY)
    assert "order" not in plain.config["config"]["schedule"], "as Runs of before there was a choice"
    several = ["growth.batches='10,5'", "schedule.order=fixed-batches"]
    with pytest.raises(InputError, match="one batch for all steps"):
        _train(data, tmp_path / "grown", 0.02, recipe="celeba-progan", batch=None, options=several)


def test_resuming_across_growth_steps_is_bit_for_bit(stripes, tmp_path: Path) -> None:
    data = stripes()
    growing = [
        "network.width=4", "network.max_width=8", "network.z_dim=8", "growth.fade_kimg=0.04",
        "growth.stable_kimg=0.03", "growth.batches='10,10,5'", "schedule.log_kimg=0.05",
    ]  # fmt: skip
    more = {"recipe": "celeba-progan", "options": growing, "batch": None, "checkpoint_kimg": 0.02}
    whole = _train(data, tmp_path / "whole", 0.2, **more)
    for kimg in (0.04, 0.06, 0.12, 0.2):  # Within the first stage, and in the fades of the second and third.
        _train(data, tmp_path / "parts", kimg, **more)
    _assert_equal(tmp_path / "whole", tmp_path / "parts")
    assert {8.0, 16.0} <= set(whole.metrics()["size"].dropna()), "it grew"
    grids = [Image.open(path).size for path in (whole.path / "samples").glob("kimg-*.png")]
    assert len(set(grids)) == 1, "samples of small stages are shown at full size"


def test_resuming_with_mixing_path_length_and_lazy_penalties_is_bit_for_bit(stripes, tmp_path: Path) -> None:
    data = stripes()
    options = [
        "network.width=4", "network.max_width=8", "network.z_dim=8", "network.w_dim=8", "penalty.path=2",
        "penalty.path_interval=2", "penalty.interval=3", "adversarial.style_mixing=0.9",
        "augment.ada_target=0.6", "augment.ada_kimg=1", "augment.ada_p=0.3", "schedule.log_kimg=0.05",
    ]  # fmt: skip
    more = {"recipe": "small-stylegan2", "options": options, "checkpoint_kimg": 0.05}
    _train(data, tmp_path / "whole", 0.15, **more)
    for kimg in (0.05, 0.1, 0.15):
        _train(data, tmp_path / "parts", kimg, **more)
    _assert_equal(tmp_path / "whole", tmp_path / "parts")


def test_broken_weights_are_never_saved(stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_step = gan.step

    def poisoned(state, x, y, clock, **more):
        values = real_step(state, x, y, clock, **more)
        if clock.nimg == 150:
            state.ema.project.weight.data[0, 0] = float("inf")
        return values

    monkeypatch.setattr(gan, "step", poisoned)
    with pytest.raises(CheckFailed, match="'ema'"):
        _train(stripes(), tmp_path / "run", 0.4, options=[*TINY, "adversarial.ema_kimg=1000"])
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "kimg-00000.100"
    ]


def test_what_a_run_leaves(stripes, tmp_path: Path) -> None:
    run = _train(stripes(channels=1), tmp_path / "run", 0.5, keep=2)
    assert len(checkpoints.list_checkpoints(run.path / "checkpoints")) == 2
    assert {p.name for p in (run.path / "samples").iterdir()} >= {
        "reals.png",
        "kimg-00000.000.png",
        "kimg-00000.500.png",
    }
    assert list((run.path / "tensorboard").glob("events*"))
    table = run.metrics()
    assert {"loss_g", "loss_d", "d_accuracy_real", "grad_g", "images_per_s", "data_wait", "variety"} <= set(
        table
    )
    assert table["kimg"].max() == pytest.approx(0.5)
    assert run.status["state"] == "complete"


def test_the_average_is_saved_with_batch_norm_statistics_of_its_own(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan, "STATISTICS", 512)
    # Few of its steps away from the start, the average's activations differ much from the newest weights'.
    _train(stripes(), tmp_path / "run", 0.3, conditional=False, lr=0.01)
    loaded = load_generator(tmp_path / "run", "last")
    seen: list[torch.Tensor] = []
    loaded.network.norms[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    z = loaded.network.sample_prior(4000, torch.Generator().manual_seed(3))
    with torch.no_grad():
        loaded.network.synthesis(loaded.network.mapping(z, None), None)
    followed = load_file(loaded.checkpoint / "g.safetensors")

    def off(mean: torch.Tensor, variance: torch.Tensor) -> float:
        """Largest error that the statistics bring to a normalised activation, in standard deviations."""
        true_mean, true_sd = seen[0].mean((0, 2, 3)), seen[0].std((0, 2, 3))
        return float(
            torch.maximum((mean - true_mean).abs() / true_sd, (variance.sqrt() / true_sd).log().abs()).max()
        )

    saved = off(loaded.network.norms[0].running_mean, loaded.network.norms[0].running_var)
    assert saved < 0.1
    assert saved < 0.5 * off(followed["norms.0.running_mean"], followed["norms.0.running_var"])


def test_unlabelled_data_train_an_unconditional_network(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes(classes=0)
    with settings.use(quiet=False):
        run = _train(data, tmp_path / "run", 0.1)
    assert run.config["config"]["network"]["labels"]["kind"] == "none"
    assert str(data.path) in capsys.readouterr().err
    with settings.use(quiet=False):
        labelled = _train(stripes("labelled"), tmp_path / "other", 0.1, conditional=False)
    assert labelled.config["config"]["network"]["labels"]["kind"] == "none"
    assert str(tmp_path / "labelled") not in capsys.readouterr().err, "it was asked for"


def test_the_process_keeps_no_signal_handler(stripes, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), os.getpid()
    _train(stripes(), tmp_path / "run", 0.1)
    assert (signal.getsignal(signal.SIGINT), os.getpid()) == before
