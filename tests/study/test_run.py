"""Studies with planted truths, what they keep, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from plenish import cli, settings
from plenish.commands import study as commands
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.runs import Run
from plenish.study import sources
from plenish.study.config import StudyConfig
from plenish.study.experiment import run_study
from plenish.study.summaries import Study

FAST: dict[str, Any] = {"steps": 4, "batch": 32, "resamples": 100}


def study(
    real: Path, out: Path, *, generator: Path | None = None, synthetic: Path | None = None, **how: Any
) -> Study:
    return run_study(real, out, StudyConfig(**how), generator=generator, synthetic=synthetic)


def _values(result: Study) -> dict[str, Any]:
    """What the caveats of a study name, by code."""
    return {caveat["code"]: caveat["values"] for caveat in result.content["caveats"]}


def _row(result: Any, key: str, arm: str, metric: str = "balanced_accuracy") -> Any:
    return next(r for r in result.content[key] if r["arm"] == arm and r["metric"] == metric)


def test_held_back_real_images_help(make_real: Any, make_synthetic: Any, tmp_path: Path) -> None:
    real = make_real(train=16, test=200)
    result = study(
        real, tmp_path / "study", synthetic=make_synthetic("more", real, n=400),
        arms=("real", "real+synthetic@20"),
        seeds=3, **{**FAST, "steps": 35, "resamples": 200},
    )  # fmt: skip
    assert _row(result, "verdicts", "real+synthetic@20")["verdict"] == "helps"
    main = {"arm": "real+synthetic@20", "real": True, "verdict": "helps"}
    assert result.content["verdict"] == main
    assert "real+synthetic@20" in result.verdict
    assert _row(result, "differences", "real+synthetic@20")["low"] > 0.05


def test_noise_with_random_labels_hurts(make_real: Any, make_synthetic: Any, tmp_path: Path) -> None:
    real = make_real(train=200)
    result = study(
        real, tmp_path / "study", synthetic=make_synthetic("noise", real, n=200, noise=True), seeds=3,
        arms=("real", "synthetic"), **{**FAST, "steps": 30, "resamples": 200},
    )  # fmt: skip
    assert _row(result, "verdicts", "synthetic")["verdict"] == "hurts"
    assert _row(result, "summary", "synthetic")["mean"] == pytest.approx(0.5, abs=0.12)
    assert result.content["verdict"] == {"arm": "synthetic", "real": False, "verdict": "hurts"}


def test_a_placebo_of_the_same_images_is_no_evidence(make_real: Any, tmp_path: Path) -> None:
    result = study(
        make_real(), tmp_path / "study", arms=("real", "duplicate"), seeds=3,
        **{**FAST, "steps": 15, "resamples": 200},
    )  # fmt: skip
    assert _row(result, "verdicts", "duplicate")["verdict"] == "no evidence"
    assert result.content["verdict"] is None


def test_an_altered_cell_is_refused_and_can_be_made_again(make_real: Any, tmp_path: Path) -> None:
    real, out = make_real(), tmp_path / "study"
    first = study(real, out, arms=("real", "duplicate"), seeds=1, **FAST)
    table = out / "cells/real-seed0.parquet"
    forged = pd.read_parquet(table)
    forged["predicted"] = forged["label"]
    forged.to_parquet(table, index=False)
    with pytest.raises(InputError, match=r"real-seed0\.parquet was altered"):
        study(real, out, arms=("real", "duplicate"), seeds=1, **FAST)
    table.unlink()
    table.with_suffix(".json").unlink()
    again = study(real, out, arms=("real", "duplicate"), seeds=1, **FAST)
    assert again.content["summary"] == first.content["summary"]


def test_a_study_grows_and_runs_no_cell_twice(make_real: Any, make_synthetic: Any, tmp_path: Path) -> None:
    real, out = make_real(), tmp_path / "study"
    synthetic = make_synthetic("fake", real, n=80)
    study(real, out, arms=("real", "classical"), seeds=1, **FAST)
    first = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(first) == 4
    grown = study(real, out, synthetic=synthetic, arms=("real+synthetic",), seeds=2, **FAST)
    assert grown.content["arms"] == ["real", "classical", "real+synthetic"]
    assert grown.content["seeds"] == [0, 1]
    now = {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(now) == 12
    assert all(now[name] == time for name, time in first.items())
    with pytest.raises(InputError, match="steps was 4 and is now 5"):
        study(real, out, synthetic=synthetic, seeds=2, **{**FAST, "steps": 5})
    with pytest.raises(InputError, match=f"{out} .*synthetic"):
        study(real, out, synthetic=make_synthetic("other", real, seed=5), seeds=2, **FAST)
    assert {path.name: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == now


def test_interrupted_and_gone_on_with_equals_never_stopped(
    make_real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plenish.study import cells

    real, options = make_real(), {"arms": ("real", "oversample"), "seeds": 2, **FAST}
    with settings.use(precision="float32"):
        whole = study(real, tmp_path / "whole", **options)
        genuine, count = cells.run_cell, iter(range(100))

        def stopping(*args: Any, **kwargs: Any) -> Any:
            if next(count) == 2:
                raise KeyboardInterrupt
            return genuine(*args, **kwargs)

        monkeypatch.setattr(cells, "run_cell", stopping)
        with pytest.raises(KeyboardInterrupt):
            study(real, tmp_path / "parts", **options)
        monkeypatch.setattr(cells, "run_cell", genuine)
        assert Run.open(tmp_path / "parts").status["state"] == "interrupted"
        assert not (tmp_path / "parts" / "study.json").exists()
        parts = study(real, tmp_path / "parts", **options)
    assert parts.content["summary"] == whole.content["summary"]
    assert parts.content["differences"] == whole.content["differences"]
    assert Run.open(tmp_path / "parts").status["state"] == "complete"


def test_arms_share_steps_and_initial_weights_and_get_what_they_name(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real = make_real(train=40)
    arms = (
        "real",
        "classical",
        "oversample",
        "real+synthetic",
        "real+synthetic@0.5",
        "synthetic",
        "shuffled",
        "duplicate",
    )
    result = study(
        real, tmp_path / "s", synthetic=make_synthetic("fake", real, n=60), arms=arms, seeds=1,
        **{**FAST, "steps": 3},
    )  # fmt: skip
    cells = {cell["arm"]: cell for cell in result.content["cells"]}
    assert {cell["steps"] for cell in cells.values()} == {3}
    expected = {
        "real": (40, 0, 0), "classical": (40, 0, 0), "oversample": (40, 0, 0), "real+synthetic": (40, 0, 40),
        "real+synthetic@0.5": (40, 0, 20), "synthetic": (0, 0, 40), "shuffled": (40, 0, 40),
        "duplicate": (40, 40, 0),
    }  # fmt: skip
    found = {
        arm: tuple(cell["trained_on"][k] for k in ("real", "duplicate", "synthetic"))
        for arm, cell in cells.items()
    }
    assert found == expected
    # A cell depends on its own arm and seed only, not on which other arms the study has.
    alone = study(real, tmp_path / "alone", arms=("real",), seeds=1, **{**FAST, "steps": 3})
    assert alone.content["cells"][0]["metrics"] == cells["real"]["metrics"]


def test_the_record_is_complete_and_the_test_part_counted(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real = make_real(group=4)
    result = commands.run_study(
        real, tmp_path / "study", synthetic=make_synthetic("fake", real), seeds=2,
        arms=("real", "real+synthetic"), **FAST,
    )  # fmt: skip
    content = json.loads((tmp_path / "study" / "study.json").read_text())
    assert content["kind"] == "study"
    assert content["test"] == {"n": 120, "groups": 30, "per_class": {"flat": 60, "upright": 60}}
    assert content["real"]["split_hash"] == Dataset.open(real).split().hash
    assert content["synthetic"]["generator"]["run"] == "planted"
    assert content["test_reads"] == Dataset.open(real).test_reads() == 1
    assert len(content["cells"]) == 4
    assert {row["metric"] for row in content["differences"]} == {"balanced_accuracy", "macro_f1", "auroc"}
    assert _values(result)["few-seeds"] == {"seeds": 2, "intervals": True}
    assert "few-groups" not in _values(result)
    assert len(result.summary()["caveats"]) == len(content["caveats"])
    assert Run.open(tmp_path / "study").kind == "study"
    assert result.report == tmp_path / "study" / "report.html"
    assert result.report.is_file()
    table = Dataset.open(real).table
    import pandas as pd

    predictions = pd.read_parquet(tmp_path / "study" / "cells" / "real-seed0.parquet")
    assert set(predictions["id"]) <= set(table["id"])
    assert np.allclose(predictions[["p:flat", "p:upright"]].sum(axis=1), 1)


def test_statistics_are_of_the_real_images_where_an_arm_has_any(make_real: Any, make_synthetic: Any) -> None:
    from plenish.study.arms import parse_arm
    from plenish.study.cells import compose
    from plenish.study.data import add_synthetic, open_real
    from plenish.training.classifier import channel_statistics

    real = make_real(train=40)
    dark = np.zeros((60, 16, 16, 3), np.uint8)
    data = add_synthetic(open_real(real, "default", 1.0, 0), make_synthetic("dark", real, pixels=dark))
    means = {}
    for name in ("real", "duplicate+synthetic", "real+synthetic", "synthetic"):
        images, counts = compose(parse_arm(name), data, 0)
        assert images.n_real == (counts["real"] + counts["duplicate"] or counts["synthetic"])
        means[name] = channel_statistics(images)[0]
    assert means["real+synthetic"] == means["duplicate+synthetic"] == means["real"]
    assert means["synthetic"] == pytest.approx((-1, -1, -1))


def test_a_dose_that_was_not_reached_is_drawn_where_it_was_trained(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real = make_real(train=40)
    result = study(
        real, tmp_path / "out", synthetic=make_synthetic("few", real, n=60), seeds=1,
        arms=("real", "real+synthetic", "real+synthetic@4"), **{**FAST, "steps": 1},
    )  # fmt: skip
    assert [point["dose"] for point in result.content["dose_curve"]] == [1.0, 1.5]
    assert _values(result)["fewer-synthetic"] == {"arm": "real+synthetic@4", "got": 60, "asked": 160}


def test_a_study_keeps_its_number_of_threads(make_real: Any, tmp_path: Path) -> None:
    real, how = make_real(train=16), {"arms": ("real",), **FAST, "steps": 1}
    with settings.use(threads=1):
        study(real, tmp_path / "out", seeds=1, **how)
    study(real, tmp_path / "out", seeds=2, **how)
    assert Run.open(tmp_path / "out").status["threads"] == 1
    with settings.use(threads=2):
        study(real, tmp_path / "out", seeds=2, **how)  # All cells are there.
        with pytest.raises(InputError, match=r"with 1 thread .*--threads 2"):
            study(real, tmp_path / "out", seeds=3, **how)
    assert not (tmp_path / "out/cells/real-seed2.json").exists()


def test_a_generator_of_unknown_origin_is_taken_with_a_caveat(make_real: Any, make_synthetic: Any) -> None:
    from plenish.study.data import add_synthetic, open_real

    real, generator = make_real(), {"name": "a", "version": "", "training_set": "", "data": {}}
    for stated in ("", "elsewhere"):
        made = make_synthetic(f"made{stated}", real, generator={**generator, "training_set": stated})
        caveats = add_synthetic(open_real(real, "default", 1.0, 0), made).caveats
        assert [caveat.code for caveat in caveats] == ["unknown-origin"]
        assert caveats[0].values.get("stated", "") == stated
        assert stated in str(caveats[0])


def test_a_fraction_is_of_whole_groups_and_nested(make_real: Any) -> None:
    from plenish.study.data import open_real

    real = make_real(train=120, group=6)
    whole, half, tenth = (open_real(real, "default", f, 0).train for f in (1.0, 0.5, 0.1))
    assert len(whole) == 120
    assert len(half) == 60
    assert set(tenth.ids) < set(half.ids) < set(whole.ids)
    assert all((half.groups == g).sum() == 6 for g in set(half.groups))


def test_the_primary_arm_stays_and_a_further_look_is_a_caveat(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real, out = make_real(train=40), tmp_path / "study"
    options = {"synthetic": make_synthetic("fake", real, n=60), "seeds": 1, **FAST, "steps": 3}
    study(real, out, arms=("real", "classical"), **options)
    assert Run.open(out).status["primary_arm"] is None
    first = study(real, out, arms=("real+synthetic@0.5",), **options)
    assert first.content["primary_arm"] == "real+synthetic@0.5"
    again = study(real, out, arms=("real+synthetic",), **options)
    assert again.content["arms"][-1] == "real+synthetic"
    assert again.content["primary_arm"] == Run.open(out).status["primary_arm"] == "real+synthetic@0.5"
    assert "p_holm" in _row(again, "differences", "real+synthetic")
    assert "p_holm" not in _row(again, "differences", "real+synthetic@0.5")
    assert {row["arm"] for row in again.content["comparisons"]} == {"real+synthetic@0.5"}
    assert _values(again)["primary"]["arm"] == "real+synthetic@0.5"
    assert _values(again)["looks"]["looks"] == [{"arms": n, "seeds": 1} for n in (2, 3, 4)]
    same = study(real, out, arms=("real",), **options)
    assert same.content["caveats"] == again.content["caveats"], "the same cells again are no further look"
    fresh = study(real, tmp_path / "once", arms=("real", "classical"), seeds=1, **{**FAST, "steps": 3})
    assert "looks" not in _values(fresh)


def test_a_fold_is_told_from_a_split(make_real: Any, tmp_path: Path) -> None:
    from plenish.datasets.split import split_dataset

    real, options = make_real(group=4), {"arms": ("real",), "seeds": 1, **FAST, "steps": 2}
    split_dataset(real, folds=3, name="cv")
    for split, fold in (("cv-1", True), ("default", False)):
        found = study(real, tmp_path / split, split=split, **options)
        assert ("one-fold" in _values(found)) == fold


def _refused(match: str, *args: Any, **options: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        study(*args, **{**FAST, "seeds": 1, **options})
    assert "\n" not in str(caught.value)
    assert not Path(args[1]).exists()


def test_refuses_real_datasets_unfit_for_a_study(make_real: Any, make_synthetic: Any, tmp_path: Path) -> None:
    out, arms = tmp_path / "out", ("real", "classical")
    one = make_real("one", labels=["flat"] * 240, names=("flat",))
    _refused("'flat'", one, out, arms=arms)
    _refused("--labels", make_real("none", labels=[None] * 240), out, arms=arms)
    labels = ["upright", *["flat"] * 59, *["flat", "upright"] * 90]
    _refused("Class 'upright' has 1 training image", make_real("lone", labels=labels), out, arms=arms)
    labels = [*["flat", "upright"] * 60, *["flat"] * 120]
    _refused("The test part", make_real("sided", labels=labels), out, arms=arms)
    real = make_real()
    _refused("fake", make_synthetic("fake", real), out, arms=arms)
    _refused("noval .*val", make_real("noval", parts=["train"] * 120 + ["test"] * 120), out, arms=arms)
    _refused("defualt", real, out, arms=arms, split="defualt")
    _refused("1 training image at", make_real("few", train=4), out, arms=arms, fraction=0.5)


def test_refuses_synthetic_datasets_that_do_not_belong(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real, out = make_real(), tmp_path / "out"
    _refused("real.synthetic. .*--generator", real, out)
    _refused("--generator and --synthetic", real, out, generator=real, synthetic=real)
    _refused("second", real, out, synthetic=make_real("second", seed=3))
    _refused("little have 8 px", real, out, synthetic=make_synthetic("little", real, size=8))
    _refused("alien has a, b", real, out, synthetic=make_synthetic("alien", real, names=("a", "b")))
    Dataset.open(real).add_split("other", ["train", "val", "test"] * 80, {})
    data = Dataset.open(real).provenance("other") | {"part": "train"}
    _refused(
        "'other'.*--split other",
        real,
        out,
        synthetic=make_synthetic("leak", real, data=data),
    )
    data = Dataset.open(real).provenance("default") | {"part": "test"}
    _refused("worse .*the test part", real, out, synthetic=make_synthetic("worse", real, data=data))
    data = Dataset.open(real).provenance("default") | {"part": "train", "table_hash": "0" * 64}
    _refused("labels .*table", real, out, synthetic=make_synthetic("labels", real, data=data))
    _refused("far .*far real", real, out, synthetic=make_synthetic("far", make_real("far real", seed=5)))
    stolen = Dataset.open(real).part("test", purpose="study").images()[:60]
    _refused("60 test images", real, out, synthetic=make_synthetic("copies", real, pixels=stolen))


def test_refuses_another_generator_than_that_of_the_images_it_has(
    make_real: Any, make_synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out = make_real(), tmp_path / "out"
    monkeypatch.setattr(sources, "check_generator", lambda path, data: None)  # They have no weights.
    data = Dataset.open(real).provenance("default") | {"part": "train"}
    first, second = (
        Run.open_or_create(tmp_path / name, "generator", {"seed": seed}, data=data, seed=seed)
        for seed, name in enumerate(("first", "second"))
    )
    how: dict[str, Any] = {**FAST, "arms": ("real", "synthetic"), "seeds": 1}
    out.mkdir()
    source = {"run": str(first.path), "run_id": first.id, "data": data}
    make_synthetic("out/synthetic", real, generator=source)
    with pytest.raises(InputError, match="second") as caught:
        study(real, out, generator=second.path, **how)
    assert first.id in str(caught.value)
    assert {path.name for path in out.iterdir()} == {"synthetic"}, "nothing else is written"


def test_refuses_options_and_used_folders(make_real: Any, tmp_path: Path) -> None:
    real, out = make_real(), tmp_path / "out"
    _refused("'classical'", real, out, arms=("real", "clasical"))
    _refused("'resnet18'", real, out, arms=("real", "classical"), classifier="resnet_18")
    _refused("--seeds", real, out, arms=("real",), seeds=0)
    _refused("--steps .* 1, not 0", real, out, arms=("real",), steps=0)
    used = tmp_path / "used"
    used.mkdir()
    (used / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=str(used)):
        study(real, used, arms=("real", "classical"), seeds=1, **FAST)
    assert (used / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pretrained", "typo.pth"], "typo.pth"),
        (["--classifier", "crossvit_9_240"], "crossvit_9_240"),
        (["--generator", "gan"], "--generator"),
        (["--batch", "0"], "--batch must be at least 2, not 0"),
        (["--batch", "1"], "--batch must be at least 2, not 1"),
        (["--seed", "-1"], "--seed must"),
        (["--seeds", "-1"], "--seeds must be at least 1, not -1"),
        (["--fraction", "1.5"], "--fraction must be"),
        (["--fraction", ".nan"], "--fraction must be"),
        (["--ratio", "0"], "--ratio must be"),
        (["--ratio", ".nan"], "--ratio must be"),
        (["--level", ".nan"], "--level must be"),
        (["--learning-rate", ".nan"], "--learning-rate must be"),
        (["--folds", "1"], "--folds must be at least 2"),
        (["--folds", "2"], "--folds must be at least 3"),
        (["--folds", "3", "--split", "cv"], "plenish split"),
        (["--workers", "0"], "--workers must"),
        (["--ratios", "0.5", "0"], "--ratios must be"),
        (["--ratios", "0.5"], "real+synthetic@0.5"),
        (["--kimg", "2"], "--cross-fit RECIPE"),
        (["--cross-fit", "dcgan"], "--kimg"),
        (["--cross-fit", "dcgna", "--kimg", "1"], "did you mean 'dcgan'"),
        (["--cross-fit", "one", "two"], "a Run for each fold"),
        (["--generator-sweep", "gan"], "at least two"),
        (["--test-data", "nowhere"], "nowhere"),
    ],
)
def test_the_command_line_refuses_in_one_sentence_and_leaves_nothing(
    words: list[str], sentence: str, make_real: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, out = make_real(), tmp_path / "out"
    code = cli.run(["study", str(real), str(out), "--arms", "real", "classical", "--quiet", *words])
    said = capsys.readouterr().err
    assert code == 2, said
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("out*"))
