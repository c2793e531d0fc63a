"""`plenish score` on small pictures: the files it writes, the truths it must find, and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish import cli, files, settings
from plenish.commands import score as commands
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.metrics import features
from plenish.metrics.compare import compare_datasets
from plenish.metrics.domain import DomainConfig
from plenish.metrics.score import ScoreConfig, ScoreResult

Made = Callable[..., Dataset]


def score(real: Path, synthetic: Path, out: Path, **how: Any) -> ScoreResult:
    return compare_datasets(real, synthetic, out, ScoreConfig(**how))


def codes(content: Any) -> set[str]:
    return {caveat["code"] for caveat in content["caveats"]}


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with settings.use(quiet=True, precision="float32"):
        yield


def table(content: Any, scope: str = "overall") -> dict[str, Any]:
    return {row["name"]: row for row in content["scores"] if row["scope"] == scope}


def test_fresh_pictures_score_like_real_ones_and_noisy_ones_do_not(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    x, rows = make_discs(120, 50, groups=14)
    reads = real.test_reads()
    good = score(real.path, as_synthetic(x, rows).path, tmp_path / "good", resamples=40)
    noisy = np.clip(x + np.random.default_rng(0).normal(0, 30, x.shape), 0, 255).astype(np.uint8)
    bad = score(real.path, as_synthetic(noisy, rows, name="noisy").path, tmp_path / "bad", resamples=0)
    content = good.content
    assert content["test_reads"] == reads + 1
    assert bad.content["test_reads"] == reads + 2
    one, two = table(content), table(bad.content)
    assert list(one) == [
        "FD(domain)",
        "KID(domain)",
        "MIND(domain)",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    assert one["FD(domain)"]["value"] < 0.5 * two["FD(domain)"]["value"]
    assert one["coverage"]["value"] > two["coverage"]["value"] + 0.2
    for row in one.values():
        assert row["low"] <= row["value"] <= row["high"]
        assert row["real_baseline"] is not None
        assert (row["n_real"], row["n_synthetic"]) == (120, 120)
        assert (row["n_baseline"], row["comparable"]) == (120, None)
    assert two["recall"]["low"] is None
    assert table(content, "class:many")["recall"]["n_synthetic"] == 60
    assert content["copies"]["finding"] == "none"
    assert content["real"]["groups_test"] == 14
    assert content["real"]["split_hash"] == real.split().hash
    assert content["extractor"]["name"] == "domain"
    assert {p.name for p in (tmp_path / "good").iterdir()} == {
        ".plenish.json",
        "score.json",
        "copies.png",
        "told_apart.png",
    }
    assert files.read_json(tmp_path / "good" / "score.json")["kind"] == "score"
    assert "copies" in good.summary()
    assert len(good.summary()["scores"]) == 21


def test_the_level_rests_on_all_classes(real: Dataset, as_synthetic: Made, tmp_path: Path) -> None:
    train = real.part("train", purpose="train")
    order = np.argsort(train.codes, kind="stable")  # Images from class folders lie class by class.
    x, rows = train.images(order), [{"label": real.labels.names[k]} for k in train.codes[order]]
    good = score(real.path, as_synthetic(x, rows).path, tmp_path / "good", resamples=0).content
    x[150:] = np.random.default_rng(0).integers(0, 256, x[150:].shape)
    bad = score(real.path, as_synthetic(x, rows, name="noise").path, tmp_path / "bad", resamples=0).content
    assert good["quality"]["precision"] > 0.8 * good["quality"]["precision_real"]
    assert bad["quality"]["level"] == "undertrained"
    assert bad["quality"]["precision"] == pytest.approx(good["quality"]["precision"] / 2, abs=0.05)


def test_images_of_one_class_are_judged_by_what_was_asked_for(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    x, rows = make_discs(300, 50, groups=14)
    x, rows = x[::2], rows[::2]
    whole = score(real.path, as_synthetic(x, rows).path, tmp_path / "whole", resamples=0).content
    assert "classes-not-made" in codes(whole)
    asked = as_synthetic(x, rows, name="few", config={"label": "few"})
    part = score(real.path, asked.path, tmp_path / "part", resamples=0).content
    assert "one-class" in codes(part)
    assert "classes-not-made" not in codes(part)
    assert whole["quality"]["level"] == "undertrained"
    assert part["quality"]["coverage"] > 1.5 * whole["quality"]["coverage"]


def test_the_level_is_of_domain_features_whatever_is_asked_for(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other features have another scale, in which an absurd KID is another one."""
    x, rows = make_discs(120, 50, groups=14)
    made = as_synthetic(x, rows).path
    plain = score(real.path, made, tmp_path / "plain", resamples=0).content
    domain = features.domain_extractor(real)
    large = dataclasses.replace(domain, name="inception", network=lambda images: 100 * domain.network(images))
    monkeypatch.setattr("plenish.metrics.compare.get_extractor", lambda *_, **__: large)
    other = score(real.path, made, tmp_path / "other", resamples=0, features="inception").content
    assert other["quality"] == plain["quality"]
    assert table(other)["KID(inception)"]["value"] > 1000 * table(plain)["KID(domain)"]["value"]


def test_planted_copies_are_named(real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path) -> None:
    x, rows = make_discs(60, 51)
    train = real.part("train", purpose="train")
    x[[4, 9]] = train.images(np.array([17, 200]))[:, :, ::-1]
    made = as_synthetic(x, rows)
    content = score(real.path, made.path, tmp_path / "out", resamples=0).content
    assert content["copies"]["finding"] == "identical"
    assert content["copies"]["n_identical"] == 2
    named = {(s["synthetic_id"], s["train_id"]) for s in content["copies"]["suspects"]}
    assert {(made.table["id"][4], train.ids[17]), (made.table["id"][9], train.ids[200])} <= named
    again = score(real.path, made.path, tmp_path / "again", resamples=0).content
    drop = ("seconds", "test_reads")
    assert {k: v for k, v in again.items() if k not in drop} == {
        k: v for k, v in content.items() if k not in drop
    }


def test_real_images_are_a_baseline_with_a_warning_and_other_labels_are_scored_overall(
    real: Dataset, make_dataset: Made, make_discs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, _ = make_discs(40, 52)
    plain = make_dataset(tmp_path / "plain", x, [{"label": None}] * 40, LabelSchema())
    result = commands.score(real.path, plain.path, tmp_path / "out", resamples=0)
    content = result.content
    assert {row["scope"] for row in content["scores"]} == {"overall"}
    assert content["copies"]["baseline"] is True
    sentence = result.summary()["copies"]
    assert " 40 other real images" in sentence
    assert "synthetic" not in sentence
    assert "compared" in result.summary()
    assert content["synthetic"]["origin"] == "real"
    assert result.report == tmp_path / "out" / "report.html"
    page = result.report.read_text().casefold()
    assert "a baseline: real images compared with real ones." in page
    words = re.sub(r"<[^>]*>", " ", page.partition("</style>")[2])
    assert [line for line in words.splitlines() if "synthetic" in line or "copying" in line] == []
    assert {"baseline", "other-labels"} <= codes(content)
    assert len(result.summary()["caveats"]) == len(content["caveats"])
    assert capsys.readouterr().err == ""  # said once, in the result
    assert content["synthetic"]["generator"] is None


def test_more_synthetic_than_training_images_are_compared_at_the_same_number(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    n_train = len(real.part("train", purpose="score"))
    x, rows = make_discs(n_train + 200, 57)
    content = score(real.path, as_synthetic(x, rows).path, tmp_path / "out", resamples=4).content
    row = table(content)["FD(domain)"]
    assert (row["n_synthetic"], row["n_baseline"]) == (n_train + 200, n_train)
    fair = row["comparable"]
    assert fair["n_synthetic"] == n_train
    assert fair["low"] <= fair["value"] <= fair["high"]
    assert fair["value"] != row["value"]


def test_too_few_of_one_class_leave_it_out_with_a_warning(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    x, rows = make_discs(40, 53)
    keep = [i for i, row in enumerate(rows) if row["label"] == "few"] + [1, 3]
    made = as_synthetic(x[keep], [rows[i] for i in keep])
    content = score(real.path, made.path, tmp_path / "out", resamples=0).content
    assert {row["scope"] for row in content["scores"]} == {"overall", "class:few"}
    (few,) = (c["values"] for c in content["caveats"] if c["code"] == "too-few-images")
    assert (few["scope"], few["other"]) == ("class:many", 2)
    assert "class-shares" in codes(content)


def test_a_generator_of_other_data_or_another_split_or_part_is_refused_before_any_computing(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    x, rows = make_discs(20, 54)
    about = real.provenance("default")
    other = as_synthetic(x, rows, data=about | {"split_hash": "0" * 64, "split_name": "older"}, name="a")
    with pytest.raises(InputError, match=r"'older' .*'default'.* 'default'"):
        score(real.path, other.path, tmp_path / "out")
    moved = as_synthetic(x, rows, data=about | {"split_hash": "0" * 64}, name="a2")
    with pytest.raises(InputError, match=r"another split of .* 'default'"):
        score(real.path, moved.path, tmp_path / "out")
    labels = as_synthetic(x, rows, data=about | {"table_hash": "0" * 64}, name="a3")
    with pytest.raises(InputError, match="table"):
        score(real.path, labels.path, tmp_path / "out")
    leaking = as_synthetic(x, rows, data=about | {"part": "all"}, name="b")
    with pytest.raises(InputError, match="the all part"):
        score(real.path, leaking.path, tmp_path / "out")
    reads = real.test_reads()
    foreign = as_synthetic(x, rows, data=about | {"pixels_hash": "1" * 64, "path": "/else"}, name="c")
    with pytest.raises(InputError, match=rf"'discs' in /else.* {re.escape(str(real.path))}"):
        score(real.path, foreign.path, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    assert real.test_reads() == reads
    silent = as_synthetic(x, rows, data={}, name="d")
    content = score(real.path, silent.path, tmp_path / "out2", resamples=0).content
    assert "unknown-origin" in codes(content)


def test_a_generator_of_unknown_origin_that_saw_test_images_is_found_out(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path
) -> None:
    x, rows = make_discs(60, 57, groups=14)
    fresh = score(real.path, as_synthetic(x, rows, data={}, name="fresh").path, tmp_path / "a", resamples=0)
    assert {"unknown-origin", "unknown-training-images"} <= codes(fresh.content)
    assert "near-held-out" not in codes(fresh.content)
    test = real.split().rows("test")[:20]
    mirrored = np.clip(real.pixels.read(test)[:, :, ::-1].astype(int) + 5, 0, 255).astype(np.uint8)
    labels = [{"label": label} for label in real.table["label"][test]]
    leaking = as_synthetic(np.concatenate([x, mirrored]), rows + labels, data={}, name="leaking")
    content = score(real.path, leaking.path, tmp_path / "b", resamples=0).content
    found = {caveat["code"]: caveat["values"] for caveat in content["caveats"]}
    assert found["near-held-out"]["images"] == 20
    assert content["copies"]["n_identical"] == 0, "no image of train is among them"
    # Other real pictures, of another kind, have copied nothing; coming close is not held against them.
    other = np.random.default_rng(1).integers(0, 256, (60, 2, 2, 3)).repeat(x.shape[1] // 2, 1)
    blocks = other.repeat(x.shape[2] // 2, 2).astype(np.uint8)
    made = as_synthetic(blocks, rows, data={}, name="foreign")
    foreign = score(real.path, made.path, tmp_path / "c", resamples=0)
    assert "near-held-out" not in codes(foreign.content)
    assert foreign.content["copies"]["unknown_origin"]
    assert "are copied" not in foreign.summary()["copies"]


def test_refusals(
    real: Dataset, as_synthetic: Made, make_discs: Any, make_dataset: Made, tmp_path: Path
) -> None:
    x, rows = make_discs(20, 55)
    made = as_synthetic(x, rows)
    labels = made.labels
    small = make_dataset(tmp_path / "small", x[:, :16, :16], rows, labels)
    grey = make_dataset(tmp_path / "grey", x[..., :1], rows, labels)
    for other in (small, grey):
        with pytest.raises(InputError, match=f"{other.path.name} {other.size} px with {other.channels}"):
            score(real.path, other.path, tmp_path / "out")
    with pytest.raises(InputError, match="REAL SYNTHETIC OUT"):
        score(made.path, real.path, tmp_path / "out")
    with pytest.raises(InputError, match=f"{real.path} ?.*; give a synthetic"):
        score(real.path, real.path, tmp_path / "out")
    with pytest.raises(InputError, match="split"):
        score(real.path, made.path, tmp_path / "out", split="defualt")
    with pytest.raises(InputError, match="--resamples must be at least 0, not -1"):
        commands.score(real.path, made.path, tmp_path / "out", resamples=-1)
    reads = real.test_reads()
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="already exists"):
        score(real.path, made.path, tmp_path / "there")
    assert real.test_reads() == reads
    assert not list(tmp_path.glob("out*"))


def test_without_val_the_search_is_calibrated_on_test(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "DomainConfig", functools.partial(DomainConfig, steps=3))  # another split
    shutil.copytree(real.path, tmp_path / "copy")
    copy = Dataset.open(tmp_path / "copy")
    parts = ["test" if part == "val" else part for part in copy.split().part_of]
    copy.add_split("two", parts, {})
    x, rows = make_discs(20, 56)
    made = as_synthetic(x, rows, data=copy.provenance("two") | {"part": "train"})
    content = score(copy.path, made.path, tmp_path / "out", split="two", resamples=0).content
    assert "calibrated-on-test" in codes(content)
    assert content["copies"]["n_holdout"] == 240


def test_importing_the_command_is_cheap() -> None:
    code = (
        "import sys, plenish.commands.score; "
        "sys.exit(bool({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_of_a_larger_synthetic_dataset_fits_a_terminal(
    real: Dataset, as_synthetic: Made, make_discs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = score(
        real.path, as_synthetic(*make_discs(400, 50, groups=14)).path, tmp_path / "out", resamples=20
    )
    assert all(row["comparable"] for row in table(found.content).values())
    monkeypatch.setenv("COLUMNS", "80")
    cli._print(found)
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "overall" in line and "KID(domain)" in line)
    assert len(line) <= 80
    assert "lower" in line.split()
