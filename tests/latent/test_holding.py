"""Concepts on ways that hold something, with boundaries whose ways are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.latent.test_concepts import D, linear  # noqa: F401

from plenish import files, settings
from plenish.commands import concept as verbs
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.errors import InputError
from plenish.latent import concepts, holding
from plenish.latent.concept_effects import Judges, measure_effect
from plenish.latent.concept_options import EffectOptions
from plenish.latent.concepts import Concept
from plenish.latent.held_options import HeldOptions
from plenish.latent.held_steps import advance
from plenish.latent.holding import Held
from plenish.training.classifier_config import ClassifierConfig


def test_along_a_circle_the_way_is_known() -> None:
    start = torch.tensor([[0.0, 1.0, 7.0], [0.0, 2.0, -1.0]])
    direction = torch.tensor([[2.0, 0.0, 0.0]]).expand(2, 3)

    def radius(x: torch.Tensor) -> torch.Tensor:
        return x[:, :2].square().sum(1, keepdim=True)

    made = advance(radius, start, direction, [0.4, 0.0, -0.3], step=0.1)
    for x, amount in zip(made.points, (0.8, 0.0, -0.6), strict=True):
        expected = [[amount, (r**2 - amount**2) ** 0.5, there] for r, there in ((1.0, 7.0), (2.0, -1.0))]
        assert x == pytest.approx(np.array(expected), abs=1e-4)
    assert torch.stack(list(made.drift)).abs().max() < 1e-4
    assert torch.stack(list(made.short)).abs().max() < 1e-4


def test_what_grows_with_the_direction_alone_is_held_and_the_way_falls_short() -> None:
    start, direction = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    made = advance(lambda x: x[:, :1], start, direction, [1.0], step=0.5)
    assert made.points[0].isfinite().all()
    # Neither can be had whole: the two demands contradict each other.
    assert made.short[0].abs().item() + made.drift[0].abs().item() == pytest.approx(1, abs=1e-3)


def _curved(images: torch.Tensor) -> torch.Tensor:
    """Log-odds with a quadratic boundary."""
    x = images.flatten(1)
    return 8 * (x[:, :5].square().sum(1) - x[:, 5:10].square().sum(1) + x[:, 12])


def _tell(images: np.ndarray) -> dict[str, np.ndarray]:
    values = _curved(torch.from_numpy(images[..., 0].astype(np.float32) / 127.5 - 1)).double().numpy()
    return {"below": 1 / (1 + np.exp(values)), "above": 1 / (1 + np.exp(-values))}


def test_a_curved_class_is_held_locally_and_not_by_one_direction(linear) -> None:  # noqa: F811
    points = linear.draw(range(120))
    points = points.replaced(0.4 * points.values)  # Within [-1, 1], where the image is linear in z.
    far = np.abs(np.log(_tell(linear.images(points))["above"] / _tell(linear.images(points))["below"])) > 0.2
    points = points[np.flatnonzero(far)]
    concept = Concept("axis", np.eye(D, dtype=np.float32)[0], "z", 0.4)
    held = Held(("class",), (lambda first: lambda images: _curved(images)[:, None],), 0.25, {"by": "curve"})
    judges = Judges(classes=_tell)
    plain, kept = (
        measure_effect(linear, [(concept, 1.0)], [-1.0, 2.0], judges, points=points, held=one).facts
        for one in (None, held)
    )
    shares = [[level["changes"]["class"]["value"] for level in side["strengths"]] for side in (plain, kept)]
    assert max(shares[0]) < 0.95
    assert shares[1] == [1.0, 1.0]
    assert "held" not in plain
    assert kept["held"] == {"by": "curve"}
    for level in kept["strengths"]:
        assert level["held"]["drift"]["class"]["most"] < 1e-3
        assert level["held"]["missing_of_the_way"] < 1e-3
        assert level["held"]["images_off"] == 0
    moved = linear.move_holding(points, concept.vector, [0.8], held.bound)[0]
    assert moved.points.values[:, 0] - points.values[:, 0] == pytest.approx(0.8, abs=1e-3)


class _Brightness(torch.nn.Module):
    """What a reader would say of a column that is the mean grey level."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3))[:, None]


def test_the_verbs_hold_class_and_column_and_record_it(stripes, tmp_path, monkeypatch) -> None:
    data, gan, told = stripes(), tmp_path / "gan", tmp_path / "told"
    train_gan(data.path, gan, recipe="dcgan", kimg=0.1, batch=8, width=4, validation=False)
    train_classifier_run(data.path, told, how=ClassifierConfig(steps=20, batch=16))
    reader = SimpleNamespace(network=_Brightness(), side=16, checks={"grey": {"value": 1.0}}, hash="0")
    seeds = []
    monkeypatch.setattr(holding, "column_reader", lambda *args: seeds.append(args[-1].seed) or reader)
    verbs.learn(gan, "first", having=["0-4"], lacking=["5-9"])
    keeping = HeldOptions(keep_class=[told], keep_columns=["grey"], keep_from=data.path)
    asked = {"strength": (0.0, 0.5), "seeds": [3, 4, 5], "frames": 3}
    with settings.use(precision="float32"):
        made = verbs.edit(gan, tmp_path / "held", ["first"], keeping=keeping, **asked)
        verbs.edit(gan, tmp_path / "free", ["first"], **asked)
    held, free = (
        files.read_record(tmp_path / name / "edit.json")["result"].get("held") for name in ("held", "free")
    )
    assert free is None
    assert [level["images_off"] for level in held["at_strengths"]] == [0, 0]
    assert list(held["at_strengths"][1]["drift"]) == [f"class by {told}", "grey"]
    assert held["classifiers"][0]["run"] == str(told)
    assert held["columns"] == [{"column": "grey", "check": {"value": 1.0}}]
    assert seeds == [holding.HELD.seed]
    rows = made.shown()["held"]
    assert [(row["strength"], row["held"]) for row in rows[2:]] == [(0.5, f"class by {told}"), (0.5, "grey")]
    assert "vectors_sha256" in made.summary()
    assert "vectors_sha256" not in made.shown()
    assert holding.HELD.seed not in (0, 1)  # Those of the networks that judge.
    there = [np.load(tmp_path / name / "latents.npy").reshape(3, 2, -1) for name in ("held", "free")]
    assert there[0][:, 0] == pytest.approx(there[1][:, 0])
    assert np.abs(there[0][:, 1] - there[1][:, 1]).max() > 1e-3
    vector = concepts.read(gan, "first").vector
    assert there[0][:, 1] @ vector == pytest.approx(there[1][:, 1] @ vector, abs=2e-3)
    with pytest.raises(InputError, match="keep-from"):
        verbs.edit(gan, tmp_path / "no", ["first"], keeping=HeldOptions(keep_columns=["grey"]))
    with pytest.raises(InputError, match="keep-columns"):
        verbs.edit(gan, tmp_path / "no", ["first"], keeping=HeldOptions(keep_from=data.path))
    with pytest.raises(InputError, match="judge"):
        verbs.effect(gan, ["first"], options=EffectOptions(classifier=told), keeping=keeping)
    assert not (tmp_path / "no").exists()
