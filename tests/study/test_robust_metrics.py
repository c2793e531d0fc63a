"""Robust metrics of studies: a linear truth, the same images for all arms, what is kept and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from plenish import cli, settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.caveats import Caveat
from plenish.progress import told_to
from plenish.robustness.hardening_config import HardeningConfig
from plenish.robustness.threat import Threat
from plenish.study.arms import describe_arm, parse_arm, parse_arms
from plenish.study.arms_file import define_arms
from plenish.study.config import Given, StudyConfig
from plenish.study.estimate import estimate_study
from plenish.study.experiment import run_study
from plenish.study.hardened import check_hardened, hardening_of, slower, validated
from plenish.study.robust_results import one_apart
from plenish.study.robust_test import RobustTest
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier

SMALL: dict[str, Any] = {"train": 24, "val": 12, "test": 40}
FAST: dict[str, Any] = {"steps": 4, "batch": 8, "evaluations": 1, "seeds": 2, "resamples": 100}
ATTACK: dict[str, Any] = {"robust": "8/255", "robust_attacks": ("pgd",), "robust_steps": 3}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


class _Brightness(nn.Module):
    """Logits ±(mean − 0) of images in [-1, 1]: class 1 is what is brighter than grey."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


def _grey(folder: Path, levels: list[int]) -> Subset:
    """One-coloured images of 8 px; those above 127 are of the class `bright`."""
    schema = LabelSchema("categorical", ("dark", "bright"))
    writer = DatasetWriter(folder, name="grey", size=8, channels=3, labels=schema, config={})
    with writer:
        pixels = np.array(levels, np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
        rows = [{"label": "bright" if level > 127 else "dark", "part": "test"} for level in levels]
        writer.add(pixels, rows)
    data = Dataset.open(folder)
    return Subset(data, np.arange(len(levels), dtype=np.int64), "test", "default", "")


def _linear() -> Classifier:
    return Classifier(
        _Brightness(), ClassifierConfig(steps=1), ("dark", "bright"), 3, 8, (0.0,) * 3, (1.0,) * 3, "float32"
    )


@pytest.mark.parametrize(("norm", "eps"), [("linf", 10 / 255), ("l2", 10 / 255 * 192**0.5)])
def test_a_linear_classifier_falls_exactly_within_its_margin(tmp_path: Path, norm: Any, eps: float) -> None:
    levels = [20, 116, 119, 127, 129, 136, 139, 240]  # Grey is 127.5; those nearer than 10 can be turned.
    images = _grey(tmp_path / "grey", levels)
    test = RobustTest(Threat(norm, eps), ("pgd",), 5, 100)
    answers = test.answers(_linear(), images, images.codes)
    assert (answers == images.codes).tolist() == [abs(level - 127.5) > 10 for level in levels]
    wrong = images.codes.copy()
    wrong[[0, -1]] = [1, 0]
    assert test.answers(_linear(), images, wrong)[[0, -1]].tolist() == [1, 0], "wrong already, and stays so"


def test_images_are_drawn_by_class_and_by_nothing_but_the_seed() -> None:
    codes = np.repeat([0, 1, 2], [900, 95, 5])
    test = RobustTest(Threat("linf", 4 / 255), ("pgd",), 3, 100, seed=4)
    rows = test.rows(codes)
    assert np.bincount(codes[rows]).tolist() == [90, 10, 1]
    assert np.array_equal(rows, test.rows(codes))
    assert not np.array_equal(rows, RobustTest(Threat("linf", 4 / 255), ("pgd",), 3, 100, seed=5).rows(codes))
    assert np.array_equal(RobustTest(Threat("linf", 4 / 255), ("pgd",), 3, 1000).rows(codes), np.arange(1000))


def test_one_command_judges_arms_under_attack(
    make_real: Any, make_synthetic: Any, tmp_path: Path, capsys: Any
) -> None:
    real, out, arms = (
        make_real(**SMALL, group=4),
        tmp_path / "out",
        ["real", "hardened", "real+synthetic+hardened"],
    )
    words = [
        "study", str(real), str(out), "--synthetic", str(make_synthetic("made", real)), "--arms", *arms,
        "--seeds", "2", "--steps", "4", "--batch", "8", "--evaluations", "1", "--resamples", "100",
        "--robust", "8/255", "--robust-attacks", "pgd", "apgd-margin", "--robust-steps", "3",
        "--robust-images", "20",
        "--quiet", "--threads", "1", "--json",
    ]  # fmt: skip
    assert cli.run(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["arm"] for row in said["arms_under_attack"]] == arms
    robust = json.loads((out / "study.json").read_text(encoding="utf-8"))["robust"]
    assert robust["threat"] == {"norm": "linf", "eps": 8 / 255}
    assert robust["test"]["per_class"] == {"flat": 10, "upright": 10}
    tables = {path.stem: pd.read_parquet(path) for path in sorted((out / "cells").glob("*.parquet"))}
    shown = {name: table[table["attacked"].notna()] for name, table in tables.items()}
    (ids,) = {tuple(table["id"]) for table in shown.values()}
    assert len(ids) == 20
    for name, table in shown.items():
        record = json.loads((out / f"cells/{name}.json").read_text(encoding="utf-8"))
        right, before = table["attacked"] == table["label"], table["predicted"] == table["label"]
        assert not (right & ~before).any(), "an attack makes no answer right"
        assert record["metrics"]["robust_accuracy"] == pytest.approx(right.mean())
        recalls = right.groupby(table["label"]).mean()
        assert record["metrics"]["robust_balanced_accuracy"] == pytest.approx(recalls.mean())
        assert ("hardening" in record) == ("hardened" in name)
    means = {
        arm: np.mean([(shown[f"{arm}-seed{k}"].eval("attacked == label")).mean() for k in (0, 1)])
        for arm in ("real", "hardened")
    }
    rows = {(row["arm"], row["metric"]): row["mean"] for row in robust["differences"]}
    assert rows["hardened", "robust_accuracy"] == pytest.approx(means["hardened"] - means["real"])
    assert {v["metric"] for v in robust["verdicts"]} == {"robust_balanced_accuracy"}
    assert {(row["arm"], row["against"]) for row in robust["comparisons"]} == {(arms[2], arms[1])}
    assert "attacks-tried" in [caveat["code"] for caveat in robust["caveats"]]
    assert "Do they hold under attack?" in (out / "report.html").read_text(encoding="utf-8")
    assert cli.run([*words[:3], "--robust", "300/255"]) == 2


def test_a_cell_made_again_is_the_same_and_the_attack_is_frozen(make_real: Any, tmp_path: Path) -> None:
    real, out = make_real(**SMALL), tmp_path / "out"
    how = {**FAST, **ATTACK, "arms": ("real", "hardened"), "seeds": 1}
    first = run_study(real, out, StudyConfig(**how)).content["robust"]
    (out / "cells/hardened-seed0.json").unlink()
    assert run_study(real, out, StudyConfig(**how)).content["robust"] == first
    for change in ({"robust": "4/255"}, {"robust_steps": 4}, {"robust_norm": "l2"}, {"robust": None}):
        asked = {**how, **change}
        asked = {k: v for k, v in asked.items() if asked["robust"] or not k.startswith("robust_")}
        asked["arms"] = ("real", "hardened") if asked["robust"] else ("real",)
        with pytest.raises(InputError, match="robust"):
            run_study(real, out, StudyConfig(**asked))


@pytest.mark.parametrize("workers", [1, 2])
def test_images_of_a_hardened_arm_count_as_long_as_they_take(
    make_real: Any, tmp_path: Path, workers: int
) -> None:
    told: list[float] = []
    config = StudyConfig(**{**FAST, "seeds": 1}, **ATTACK, arms=("real", "hardened"), workers=workers)
    real = make_real(**SMALL)
    with told_to(told.append):
        run_study(real, tmp_path / "out", config)
    times = slower(parse_arm("hardened"), RobustTest.of(config, Dataset.open(real)))
    assert told[-1] == pytest.approx(1)
    assert any(share == pytest.approx(1 / (1 + times)) for share in told), "when `real` is done"


def test_a_study_without_attacks_holds_nothing_of_them(make_real: Any, tmp_path: Path) -> None:
    done = run_study(
        make_real(**SMALL), tmp_path / "out", StudyConfig(**{**FAST, "seeds": 1}, arms=("real",))
    )
    assert "robust" not in done.content
    assert not [key for key in done.summary() if "attack" in key]
    table = pd.read_parquet(tmp_path / "out/cells/real-seed0.parquet")
    assert [*table.columns] == ["id", "group", "label", "predicted", "p:flat", "p:upright"]
    assert "robust" not in (tmp_path / "out/config.json").read_text(encoding="utf-8")


def test_the_word_hardened_takes_the_attack_of_the_study() -> None:
    test = RobustTest(Threat("l2", 0.5), ("pgd",), 3, 10)
    found = hardening_of(parse_arm("real+synthetic+hardened"), test)
    assert isinstance(found, HardeningConfig)
    assert (found.norm, found.radius, found.method) == ("l2", 0.5, "trades")
    assert hardening_of(parse_arm("real"), test) is None
    assert slower(parse_arm("hardened"), test) > 2 > slower(parse_arm("real"), test)
    assert validated(parse_arms(["real"]), test) == 1
    assert validated(parse_arms(["real", "hardened"]), test) == (1 + 2 + 3 * found.validation_steps) / 2
    with pytest.raises(InputError, match="--robust"):
        hardening_of(parse_arm("hardened"), None)
    assert "against attacks" in describe_arm("hardened")


def test_another_norm_needs_a_radius_of_its_own() -> None:
    test = RobustTest(Threat("linf", 2 / 255), ("pgd",), 3, 10)
    arms = define_arms({"same": {"hardening": {"norm": "linf"}}, "other": {"hardening": {"norm": "l2"}}}, 1.0)
    found = hardening_of(arms["same"], test)
    assert found is not None
    assert found.radius == 2 / 255
    with pytest.raises(InputError, match="eps"):
        hardening_of(arms["other"], test)


def test_an_arms_file_says_how_an_arm_is_hardened(tmp_path: Path) -> None:
    own = {"words": "real+synthetic", "hardening": {"method": "mart", "eps": "2/255", "step_size": "1/255"}}
    arm = define_arms({"mart": own}, 1.0)["mart"]
    found = hardening_of(arm, RobustTest(Threat("linf", 4 / 255), ("pgd",), 3, 10))
    assert found is not None
    assert (found.method, found.radius, found.step_size) == ("mart", 2 / 255, 1 / 255)
    assert hardening_of(arm, None) == found
    assert "mart" in describe_arm("mart", own)
    bad: list[dict[str, Any]] = [
        {"method": "none-such"}, {"method": None}, {"method": "none"}, {"method": "pgd", "beta": 6},
        {"radius": 1}, {"eps": "far"}, {"eps": [1, 2]}, {"eps": True},
        {"step_size": "far"}, {"step_size": True}, {"attack_steps": 2.5}, {"beta": "six"}, {"awp": True},
    ]  # fmt: skip
    for hardening in bad:
        with pytest.raises(InputError, match="'own'"):
            hardening_of(
                define_arms({"own": {"hardening": hardening}}, 1.0)["own"],
                RobustTest(Threat("linf", 4 / 255), (), 3, 10),
            )
    mixed = define_arms({"own": {"hardening": {"method": "mart", "eps": "2/255"}, "mixup": 0.2}}, 1.0)
    with pytest.raises(InputError, match="'own'"):
        check_hardened([*mixed.values()], ClassifierConfig(steps=1), None)
    with pytest.raises(InputError, match="share"):
        define_arms({"own": {"words": "real", "share": 0.7}}, 1.0)
    with pytest.raises(InputError, match="mapping"):
        define_arms({"own": {"hardening": "trades"}}, 1.0)


def test_pairs_differ_in_hardening_or_in_synthetic_images() -> None:
    names = ("real", "real+synthetic", "classical", "hardened", "real+synthetic+hardened")
    test = RobustTest(Threat("linf", 4 / 255), ("pgd",), 3, 10)
    assert one_apart(parse_arms(names), test) == [
        ("real+synthetic+hardened", "real+synthetic"), ("real+synthetic+hardened", "hardened"),
    ]  # fmt: skip
    own = {"words": "real+synthetic+hardened", "share": 0.7}
    shared = define_arms({"both": own, "other": own | {"smoothing": 0.2}}, 1.0)
    found = one_apart([*parse_arms(("real", "hardened")), *shared.values()], test)
    assert found == [("both", "hardened")]
    spelled = define_arms({"mixed": {"words": "real+synthetic", "hardening": {"eps": "4/255"}}}, 1.0)
    assert one_apart([*parse_arms(("real", "hardened")), *spelled.values()], test) == [("mixed", "hardened")]


def test_what_cannot_be_attacked_is_refused_before_a_folder_is_made(make_real: Any, tmp_path: Path) -> None:
    real, out = make_real(**SMALL), tmp_path / "out"
    bad: list[dict[str, Any]] = [
        {"robust": "2"}, {"robust": "-1/255"}, {"robust": "0"}, {"robust": "much"},
        {"robust": float("nan")},
        {"robust": "1000", "robust_norm": "l2"},
        {"robust_attacks": ("pdg",)},
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(InputError):
            run_study(real, out, StudyConfig(**{**FAST, **ATTACK, **change}, arms=("real",)))
        assert not out.exists()
    with pytest.raises(InputError, match="--robust"):
        StudyConfig(robust_steps=3)
    with pytest.raises(InputError, match="--robust"):
        run_study(real, out, StudyConfig(**FAST, arms=("real", "hardened")))


def test_attacks_and_hardening_take_longer_and_a_dry_run_says_so(make_real: Any, tmp_path: Path) -> None:
    real, how = make_real(**SMALL), {**FAST, "seeds": 1}
    found = estimate_study(
        real, tmp_path / "out", StudyConfig(**how, **ATTACK, arms=("real", "hardened")), Given()
    )
    assert (found.facts["trainings"], found.facts["attacked_images"]) == (2, 40)
    assert not (tmp_path / "out").exists()
    folds = StudyConfig(**how, **ATTACK, robust_images=10, folds=3, arms=("real",))
    folded = estimate_study(real, tmp_path / "out", folds, Given())
    assert folded.facts["attacked_images"] == 30, "of each fold"


def test_noise_alone_is_said_to_be_no_attack() -> None:
    assert _told("noise") == str(Caveat("controls-alone"))
    assert "noise, pgd" in _told("noise", "pgd")


def _told(*attacks: str) -> str:
    return str(Caveat("attacks-tried", {"attacks": list(attacks), "steps": 3}))


def test_arms_hardened_alike_are_refused(make_real: Any, tmp_path: Path) -> None:
    real, file = make_real(**SMALL), tmp_path / "arms.yaml"
    file.write_text("own: {hardening: {method: trades, eps: 8/255}}\n", encoding="utf-8")
    how = {**FAST, **ATTACK, "arms_file": file}
    with pytest.raises(InputError, match="train alike"):
        run_study(real, tmp_path / "out", StudyConfig(**how, arms=("real", "hardened")))
    assert not (tmp_path / "out").exists()
    found = estimate_study(real, tmp_path / "out", StudyConfig(**how, arms=("real",)), Given())
    assert found.facts["arms"] == ["real", "own"]
