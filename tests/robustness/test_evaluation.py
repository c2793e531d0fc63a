"""An evaluation under attack: against linear classifiers, whose robust accuracy is known exactly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import plenish.robustness
from plenish import files
from plenish.errors import InputError
from plenish.metrics.statistics import bootstrap_interval, wilson_interval
from plenish.robustness.attack_plan import plan_of
from plenish.robustness.attacked_images import chosen_rows
from plenish.robustness.curves import GroupedIntervals
from plenish.robustness.evaluation import Evaluation, evaluate
from plenish.robustness.evaluation_config import EvaluationConfig
from plenish.robustness.threat import Norm, lengths

SIZE, N = 8, 40
FAST = {"attacks": "quick", "corruptions": False, "resamples": 100}


class Linear(nn.Module):
    """Two logits ±w·(x − ½)."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(SIZE * SIZE, generator=rng))

    def forward(self, images: Tensor) -> Tensor:
        half = (images.flatten(1) - 0.5) @ self.weight
        return torch.stack([-half, half], dim=1)


def near_grey() -> tuple[Tensor, Tensor, list[str]]:
    """Images whose pixels stay within [0, 1] under any change tried here, one in eight labelled wrongly."""
    images = torch.rand(N, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    labels = Linear()(images).argmax(dim=1)
    labels[::8] = 1 - labels[::8]
    return images, labels, [f"g{i // 4}" for i in range(N)]


def radii(norm: Norm) -> Tensor:
    """The distance of each image from the boundary, below 0 where it is on the wrong side."""
    model, (images, labels, _) = Linear(), near_grey()
    logits = model(images).detach()
    value = (logits[:, 1] - logits[:, 0]) / 2 * (2 * labels - 1)
    return value / (model.weight.abs().sum() if norm == "linf" else model.weight.norm()).detach()


@pytest.fixture(scope="module", params=["linf", "l2"])
def found(request: pytest.FixtureRequest) -> Evaluation:
    far = float(radii(request.param).quantile(0.8))
    eps = (0.3 * far, 0.7 * far)
    return evaluate(Linear().eval(), near_grey(), norm=request.param, eps=eps, **FAST)


def test_the_worst_case_of_a_linear_classifier_is_exact(found: Evaluation) -> None:
    far = radii(found.content["threat"]["norm"]).numpy()
    for row in found.content["worst_case"]:
        assert row["accuracy"][0] == pytest.approx((far > row["eps"]).mean())
    assert found.content["clean"]["accuracy"] == found.content["worst_case"][0]["accuracy"]


def test_an_honest_classifier_raises_no_flag(found: Evaluation) -> None:
    assert found.failed() == []
    assert {flag["status"] for flag in found.content["flags"]} == {"passed"}


def test_each_example_names_the_smallest_eps_and_what_found_it(found: Evaluation) -> None:
    far, table = radii(found.content["threat"]["norm"]).numpy(), found.examples
    grid = found.content["threat"]["eps"]
    wanted = [next((eps for eps in grid if eps >= r), np.nan) if r > 0 else np.nan for r in far]
    np.testing.assert_array_equal(table["eps"], wanted)
    hit = table["eps"].notna()
    assert hit.equals(table["attack"].notna())
    assert (table["adversarial_prediction"] != table["label"])[hit].all()
    last = found.worst()
    assert sum(last["found_by"].values()) == hit.sum()
    assert hit.sum() == round(N * (found.worst(0)["accuracy"][0] - last["accuracy"][0]))


def test_the_worst_case_is_below_every_attack(found: Evaluation) -> None:
    for attack in found.content["attacks"]:
        for result, worst in zip(attack["results"], found.content["worst_case"], strict=True):
            assert worst["accuracy"][0] <= result["accuracy"] + 1e-12
            assert result["low"] <= result["accuracy"] <= result["high"]


def test_the_gallery_shows_changes_within_the_ball(found: Evaluation) -> None:
    shown = found.gallery
    images = near_grey()[0].permute(0, 2, 3, 1).numpy()
    assert len(shown["rows"]) > 0
    np.testing.assert_array_equal(shown["originals"], (images[shown["rows"]] * 255).round().astype(np.uint8))
    change = torch.from_numpy(shown["adversarial"] - images[shown["rows"]])
    assert (lengths(change, found.content["threat"]["norm"]).numpy() <= shown["eps"] * (1 + 1e-4)).all()
    assert not shown["attack"].dtype.hasobject


def test_recall_of_the_classes_makes_the_balanced_accuracy(found: Evaluation) -> None:
    for row in found.content["worst_case"]:
        recalls = [value for value, _, _ in row["per_class"].values()]
        assert np.mean(recalls) == pytest.approx(row["balanced_accuracy"][0])


def test_what_is_written_is_read_again(found: Evaluation, tmp_path: Path) -> None:
    found.write(tmp_path / "out")
    kept = files.read_record(tmp_path / "out" / "attack.json")
    assert kept["worst_case"] == json.loads(json.dumps(found.content["worst_case"]))
    assert len(pd.read_parquet(tmp_path / "out" / "examples.parquet")) == N
    with np.load(tmp_path / "out" / "gallery.npz") as arrays:
        np.testing.assert_array_equal(arrays["adversarial"], found.gallery["adversarial"])
    (tmp_path / "there").mkdir()
    found.write(tmp_path / "there")
    assert (tmp_path / "there" / "attack.json").is_file()


def test_the_model_is_left_as_it_was_and_batches_change_nothing() -> None:
    model, data = Linear().train(), near_grey()
    before = model.weight.detach().clone()
    options = FAST | {"eps": (0.01,)}
    one = evaluate(model, data, batch=40, **options)
    other = evaluate(model, data, batch=7, **options)
    assert torch.equal(model.weight, before)
    assert (model.training, model.weight.grad, model.weight.requires_grad) == (True, None, True)
    pd.testing.assert_frame_equal(one.examples, other.examples)
    assert "training-mode" in {caveat["code"] for caveat in one.content["caveats"]}


def test_corruptions_are_measured_on_the_same_images() -> None:
    found = evaluate(Linear().eval(), near_grey(), eps=(0.01,), attacks=("fgsm",), resamples=100, images=10)
    rows = found.content["corruptions"]
    assert {row["severity"] for row in rows} == {1, 2, 3, 4, 5}
    assert all(0 <= row["accuracy"][1] <= row["accuracy"][0] <= row["accuracy"][2] <= 1 for row in rows)
    assert (found.content["data"]["images"], found.content["data"]["left_out"]) == (10, 30)


def test_intervals_are_those_of_the_cluster_bootstrap() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((60, 2)) < 0.6
    groups = [f"g{i // 5}" for i in range(60)]
    labels = np.arange(60) % 2
    ours = GroupedIntervals(labels, groups, 2, resamples=300, seed=4)
    for j, found in enumerate(ours.accuracy(right)):
        wanted = bootstrap_interval(lambda w, j=j: (w @ right[:, j]) / w.sum(axis=1), 60, groups,
                                    resamples=300, seed=4)  # fmt: skip
        np.testing.assert_allclose(found, wanted)
    assert ours.of(right).accuracy == ours.accuracy(right)
    ((value, low, high),) = ours.accuracy(np.zeros((60, 1), bool))
    assert (value, low) == (0, 0)
    assert high is not None
    assert high > 0


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    limit=st.integers(5, 60),
    seed=st.integers(0, 5),
)
def test_a_choice_of_images_keeps_the_classes_in_proportion(counts: list[int], limit: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = chosen_rows(labels, limit, seed)
    n = min(limit, len(labels))
    assert len(rows) == len(set(rows.tolist())) == n
    np.testing.assert_array_equal(rows, np.sort(rows))
    found = np.bincount(labels[rows], minlength=len(counts))
    assert (found >= 1).all()
    assert (np.abs(found - np.array(counts) * n / len(labels)) <= len(counts)).all()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_plans_fit_the_number_of_classes(classes: int) -> None:
    planned = plan_of(["standard"], classes, "linf").attacks
    kinds = [attack.kind for attack in planned]
    assert kinds == sorted(kinds, key=("control", "white-box", "black-box").index)
    assert {"noise", "fgsm", "pgd", "square"} <= {attack.name for attack in planned}
    without = plan_of(["standard"], classes, "linf", differentiable=False)
    assert {attack.kind for attack in without.attacks} == {"control", "black-box"}
    assert "pgd" in without.left_out


@pytest.mark.parametrize(
    "options",
    [
        {"eps": (1.5,)}, {"eps": (-0.1,)}, {"eps": ("4/0",)}, {"eps": ()}, {"eps": (0,)},
        {"attacks": ("pdg",)}, {"norm": "l1"},
        {"attacks": ("quick", "pgd")}, {"attacks": ("apgd_dlr",)}, {"images": 1}, {"batch": 0},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        evaluate(Linear().eval(), near_grey(), **(FAST | {"eps": (0.1,)} | options))


def test_eps_may_be_typed_as_text() -> None:
    assert EvaluationConfig(eps=("4/255", "0.5")).grid == (0.0, 4 / 255, 0.5)


def test_attacks_may_be_named_with_hyphens() -> None:
    planned = plan_of(["apgd-margin", "apgd_margin", "fgsm"], 2, "linf").attacks
    assert [attack.name for attack in planned] == ["apgd_margin", "fgsm"]


def test_what_was_found_is_shown_without_its_arrays(found: Evaluation) -> None:
    shown = repr(found)
    assert len(shown) < 1000
    assert "array" not in shown
    assert repr(found.summary()["images"]) in shown


def test_the_radii_of_no_eps_follow_the_norm() -> None:
    assert EvaluationConfig().grid[-1] == 16 / 255
    assert EvaluationConfig(norm="l2").grid[-1] == 4


@pytest.mark.parametrize(
    "eps", [np.float32(0.25), torch.tensor(0.25), 0.25, "1/4", np.array([0.25]), np.array(["1/4"])]
)
def test_eps_may_be_any_number(eps: object) -> None:
    images, labels, _ = near_grey()
    found = evaluate(Linear().eval(), (images, labels), eps=eps, **FAST)
    assert found.worst()["eps"] == 0.25


def test_none_is_as_not_given() -> None:
    data = near_grey()[:2]
    found = evaluate(Linear().eval(), data, eps=None, images=4, **FAST).content
    assert found["threat"]["eps"] == list(EvaluationConfig().grid)
    found = evaluate(Linear().eval(), data, eps=0.25, images=4, **FAST | {"attacks": None}).content
    assert "fab_targeted" in [attack["name"] for attack in found["attacks"]]


def test_a_radius_beyond_every_change_is_refused() -> None:
    with pytest.raises(InputError):
        evaluate(Linear().eval(), near_grey(), norm="l2", eps=SIZE + 0.1, **FAST)


def bad_data() -> list[object]:
    images, labels, groups = near_grey()
    return [
        (images * 3, labels), (images, labels + 5), (images, labels.float()), (images, labels[:3]),
        (images, labels, groups[:3]), (images[..., :4], labels), (images,), (images[:, 0], labels),
        (images[:, :, :4, :4], labels), (images.expand(-1, 3, -1, -1), labels), None, images[:2],
        (images, labels - 1), (0.5, 0), (images, None), (images, "labels"),
    ]  # fmt: skip


@pytest.mark.parametrize("data", bad_data())
def test_tensors_that_do_not_fit_are_refused(data: object) -> None:
    with pytest.raises(InputError):
        evaluate(Linear().eval(), data, **FAST)


def test_nothing_heavy_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys, plenish; plenish.robustness.EvaluationConfig(eps=('4/255',)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in plenish.robustness.__all__:
        assert getattr(plenish.robustness, name) is not None
    with pytest.raises(AttributeError):
        _ = plenish.robustness.nothing


def test_an_interval_without_variation_counts_the_groups_that_have_the_class() -> None:
    """One patient has all images of class 0, ten others those of class 1; all are right."""
    labels = np.repeat([0, 1], 50)
    groups = ["one"] * 50 + [f"g{i // 5}" for i in range(50)]
    shares = GroupedIntervals(labels, groups, 2, resamples=100).of(np.ones((100, 1), bool))
    first, second = shares.per_class[0]
    assert first == pytest.approx(wilson_interval(1, 1))
    assert second == pytest.approx(wilson_interval(10, 10))
    assert shares.accuracy[0] == pytest.approx(wilson_interval(11, 11))
    # The variance of a mean of two shares is (p₁(1 − p₁)/1 + p₂(1 − p₂)/10)/4.
    trials = 4 / (1 + 1 / 10)
    assert shares.balanced[0] == pytest.approx(wilson_interval(trials, trials))


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ("a", "b", "b")])
def test_names_that_do_not_fit_the_labels_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        evaluate(Linear().eval(), near_grey(), names=names, **FAST)


def test_labels_beyond_the_names_are_refused() -> None:
    images, labels, _ = near_grey()
    with pytest.raises(InputError):
        evaluate(Linear().eval(), (images, labels + 1), names=("a", "b"), **FAST)


def test_images_of_other_channels_than_corruptions_suit_are_attacked() -> None:
    images, labels, _ = near_grey()
    model = Linear().eval()
    found = evaluate(
        lambda x: model(x[:, :1]), (images.expand(-1, 2, -1, -1), labels), eps=(0.01,), attacks="fgsm",
        resamples=100,
    )  # fmt: skip
    assert found.content["corruptions"] == []
    assert found.gallery["originals"].shape[1:] == (SIZE, SIZE, 2)


def test_a_radius_that_was_not_measured_has_no_worst_case() -> None:
    images, labels, _ = near_grey()
    found = evaluate(Linear(), (images, labels), eps=(1 / 255, 4 / 255), attacks=("fgsm",), corruptions=False)
    assert found.worst(4 / 255)["eps"] == found.worst("4/255")["eps"] == found.worst(0.0156862)["eps"]
    for asked in (2 / 255, "2/255", 8 / 255, float("nan"), -1 / 255, "far"):
        with pytest.raises(InputError):
            found.worst(asked)
    with pytest.raises(InputError, match="1/255, 4/255"):
        found.worst(2 / 255)


def test_an_unknown_option_is_one_of_evaluate() -> None:
    images, labels, _ = near_grey()
    with pytest.raises(InputError, match="evaluate 'nomr'; did you mean 'norm'"):
        evaluate(Linear(), (images, labels), nomr="l2")
    with pytest.raises(InputError, match="fail_under"):
        evaluate(Linear(), (images, labels), fail_under=0.2)
    found = evaluate(
        Linear(), (images, labels), names=None, attacks=("fgsm",), eps=1 / 255, corruptions=False
    )
    assert found.content["classifier"]["classes"] == ["0", "1"]
