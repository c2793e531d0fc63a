"""A discriminator made of a trained classifier: its weights, freezing, resuming, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from plenish import files
from plenish.commands.datasets import split_dataset
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.classifier import build_classifier
from plenish.networks.gan import network_config
from plenish.networks.gan.from_classifier import ClassifierDiscriminator
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.gan.discriminator import DiscriminatorOptions, build_networks
from plenish.training.gan.penalties import gradient_penalty

LABELS = LabelSchema("categorical", ("class0", "class1"))


@pytest.fixture
def data(stripes, tmp_path: Path):
    made = stripes()
    train_classifier_run(made.path, tmp_path / "classifier", steps=6, batch=8)
    return made


def _train(data, run: Path, kimg: float = 0.064, **more: object) -> Run:
    options = ["network.width=4", "network.z_dim=8", "schedule.log_kimg=0.016"]
    options += [f"discriminator.from_classifier={run.parent / 'classifier'}", *more.pop("options", ())]
    arguments: dict = {
        "recipe": "dcgan", "kimg": kimg, "batch": 8, "checkpoint_kimg": 0.016, "validation": False, "keep": 9,
        "options": options,
    }  # fmt: skip
    return train_gan(data.path, run, **(arguments | more))


def _at(run: Run, kimg: float) -> dict[str, torch.Tensor]:
    return load_file(run.path / "checkpoints" / f"kimg-{kimg:09.3f}" / "d.safetensors")


def test_the_weights_are_those_of_the_classifier(data, tmp_path: Path) -> None:
    theirs = load_file(tmp_path / "classifier" / "classifier" / "classifier.safetensors")
    body = [name for name in theirs if not name.startswith("head.")]
    assert len(body) > 20
    for family in ("dcgan", "wgan-gp"):
        config = network_config(family, {"size": 16, "channels": 3, "labels": LABELS, "width": 4})
        _, made = build_networks(family, config, DiscriminatorOptions(str(tmp_path / "classifier")))
        ours = {name.removeprefix("body.network."): value for name, value in made.state_dict().items()}
        assert all(torch.equal(ours[name], theirs[name]) for name in body)
        assert set(ours) - set(body) == {"head.weight", "head.bias", "projection.weight"}
        assert ours["projection.weight"].shape == (128, 2)


@pytest.mark.parametrize("family", ["dcgan", pytest.param("wgan-gp", marks=pytest.mark.slow)])
def test_the_backbone_is_trained_later_and_a_prolonged_run_equals_an_uninterrupted_one(
    data, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plenish.report.build.write_own_report", lambda *_: None)
    more: dict = {"options": ["discriminator.freeze_kimg=0.04"], "recipe": "auto", "family": family}
    if family == "wgan-gp":
        more["options"] += ["penalty.gp=10", "adversarial.objective=wasserstein", "adversarial.d_steps=2"]
    run, parts = _train(data, tmp_path / "run", **more), _train(data, tmp_path / "parts", 0.032, **more)
    with pytest.raises(InputError, match=r"discriminator\.freeze_kimg"):
        _train(data, tmp_path / "parts", **(more | {"options": more["options"][1:]}))
    _train(data, tmp_path / "parts", **more)
    newest = [checkpoints.newest_intact(one.path / "checkpoints") for one in (run, parts)]
    for name in ("g", "d", "ema", "opt_g", "opt_d"):
        ours, others = (load_file(path / f"{name}.safetensors") for path in newest if path)
        assert ours.keys() == others.keys()
        assert all(torch.equal(ours[key], others[key]) for key in ours), name

    weights = tmp_path / "classifier" / "classifier" / "classifier.safetensors"
    theirs, first, second, last = load_file(weights), _at(run, 0.016), _at(run, 0.032), _at(run, 0.064)
    for name in ("features.0.weight", "features.1.weight", "features.1.running_mean"):
        assert torch.equal(first[f"body.network.{name}"], theirs[name])
        assert torch.equal(second[f"body.network.{name}"], theirs[name])
        assert torch.equal(last[f"body.network.{name}"], theirs[name]) == name.endswith("mean")
    for name in ("head.weight", "projection.weight"):
        assert not torch.equal(first[name], second[name])
    (parent,) = run.config["parents"]
    kept = run.config["config"]["discriminator"]["from_classifier"]
    assert parent["weights_sha256"] == kept == files.sha256_file(weights)
    assert parent["id"] == Run.open(tmp_path / "classifier").id


def test_a_logit_depends_on_its_image_alone_also_while_trained() -> None:
    torch.manual_seed(0)
    config = network_config("wgan-gp", {"size": 16, "channels": 3, "labels": LABELS, "width": 4})
    weights = build_classifier("small", 3, 16, 2).state_dict()
    made = ClassifierDiscriminator(config, "small", weights, (0.0,) * 3, (1.0,) * 3).train()
    images, y = torch.rand(4, 3, 16, 16), torch.eye(2).repeat(2, 1)
    torch.testing.assert_close(made(images, y)[1:2], made(images[1:2], y[1:2]))
    penalty = gradient_penalty(made, images, images.flip(0), y, torch.rand(4))
    penalty.backward()
    assert made.body.network.features[0].weight.grad.abs().sum() > 0


def test_features_are_those_that_timm_pools() -> None:
    torch.manual_seed(0)
    network = build_classifier("mobilenetv3_small_050", 1, 32, 5).eval()
    config = network_config("dcgan", {"size": 32, "channels": 1, "labels": LabelSchema(), "width": 4})
    made = ClassifierDiscriminator(
        config, "mobilenetv3_small_050", network.state_dict(), (0.2,), (0.5,)
    ).train()
    images = torch.rand(2, 1, 32, 32)
    expected = network.forward_head(network.forward_features((images - 0.2) / 0.5), pre_logits=True)
    torch.testing.assert_close(made.features(images), expected)
    assert made.projection is None


def test_what_does_not_fit_is_refused_before_a_run_is_made(data, tmp_path: Path, stripes) -> None:
    split_dataset(data.path, seed=5, name="other")
    cases = [
        (data, {"split": "other"}, "split"),
        (data, {"recipe": "celeba-progan"}, "grows"),
        (data, {"options": ["penalty.clip=0.01"]}, r"penalty\.clip"),
        (stripes("elsewhere", n=80), {}, "other images"),
    ]
    for given, more, said in cases:
        with pytest.raises(InputError, match=said):
            _train(given, tmp_path / "run", **more)
        assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="from_classifier"):
        DiscriminatorOptions(freeze_kimg=1)
    config = network_config("dcgan", {"size": 32, "channels": 3, "labels": LABELS})
    with pytest.raises(InputError, match="16×16×3"):
        build_networks("dcgan", config, DiscriminatorOptions(str(tmp_path / "classifier")))
    shutil.rmtree(tmp_path / "classifier" / "checkpoints")
    Run.open(tmp_path / "classifier").update_status(state="interrupted")
    with pytest.raises(InputError, match="to its end"):
        _train(data, tmp_path / "run")
