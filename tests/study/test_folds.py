"""Studies by folds, with several generators, on another Dataset; and leaks that were planted."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from plenish import files, settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.origin import check_origin
from plenish.runs import Run
from plenish.study import sources
from plenish.study.config import Given, StudyConfig, named_sweep
from plenish.study.data import add_external, open_real
from plenish.study.experiment import run_study
from plenish.study.folds import open_folds
from plenish.study.summaries import Study

FAST: dict[str, Any] = {"steps": 3, "batch": 16, "resamples": 100, "seeds": 1}


def study(real: Path, out: Path, how: dict[str, Any], **given: Any) -> Study:
    return run_study(real, out, StudyConfig(**{**FAST, **how}), **given)


def _caveats(result: Study) -> dict[str, Any]:
    return {caveat["code"]: caveat["values"] for caveat in result.content["caveats"]}


def _pictures(n: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Pictures that the perceptual hash can tell apart: grey patches of 8 and of 2 pixels."""
    rng = np.random.default_rng(seed)
    coarse, fine = (
        rng.integers(60, 196, (n, size // 8, size // 8)),
        rng.integers(-50, 50, (n, size // 2, size // 2)),
    )
    grey = np.kron(coarse, np.ones((8, 8), int)) + np.kron(fine, np.ones((2, 2), int))
    return np.stack([grey] * 3, axis=-1).astype(np.uint8)


def _dataset(
    path: Path, pixels: NDArray[np.uint8], groups: list[str], parts: list[str] | None = None
) -> Path:
    names = ("a", "b")
    writer = DatasetWriter(
        path,
        name=path.name,
        size=pixels.shape[1],
        channels=3,
        labels=LabelSchema("categorical", names),
        config={},
    )
    with writer:
        rows = [{"label": names[i % 2], "group": group} for i, group in enumerate(groups)]
        if parts is not None:
            rows = [row | {"part": part} for row, part in zip(rows, parts)]
        writer.add(pixels, rows)
    return path


def test_every_group_is_tested_once_and_the_metric_is_of_all_predictions(
    make_real: Any, tmp_path: Path
) -> None:
    real = make_real(train=30, val=30, test=30, group=6)
    result = study(real, tmp_path / "out", {"folds": 3, "arms": ("real", "weighted")})
    data = Dataset.open(real)
    assert result.content["test"] == {"n": 90, "groups": 15, "per_class": {"flat": 45, "upright": 45}}
    assert data.split_names() == ["default", "folds3-0", "folds3-1", "folds3-2"]
    tables = [pd.read_parquet(tmp_path / f"out/cells/weighted-seed0-fold{k}.parquet") for k in range(3)]
    everything = pd.concat(tables)
    assert sorted(everything["id"]) == sorted(data.table["id"])
    for k, table in enumerate(tables):
        assert set(table["group"]).isdisjoint(set(everything["group"]) - set(table["group"]))
        assert list(table["id"]) == list(data.table["id"][data.split(f"folds3-{k}").rows("test")])
    row = next(r for r in result.content["summary"] if r["arm"] == "weighted")
    assert row["mean"] == pytest.approx(balanced_accuracy_score(everything["label"], everything["predicted"]))
    cell = next(cell for cell in result.content["cells"] if cell["arm"] == "weighted")
    assert [one["fold"] for one in cell["folds"]] == [0, 1, 2]
    assert _caveats(result)["folds"] == {"folds": 3}


def test_folds_of_what_the_generator_did_not_see(make_real: Any, make_synthetic: Any, tmp_path: Path) -> None:
    real = make_real(train=30, val=30, test=30, group=6)
    arms = {"folds": 2, "arms": ("real", "real+synthetic"), "ratios": (1.0, 2.0)}
    result = study(real, tmp_path / "out", arms, synthetic=make_synthetic("fake", real, n=90))
    data = Dataset.open(real)
    held = [data.split(f"default-held2-{k}") for k in range(2)]
    train = data.split().rows("train")
    assert all(np.array_equal(split.rows("train"), train) for split in held)
    tested = np.concatenate([split.rows("test") for split in held])
    assert sorted(tested) == sorted(set(range(90)) - set(train))
    assert np.array_equal(held[0].rows("val"), held[1].rows("test"))
    assert _caveats(result)["held-out-folds"] == {"folds": 2, "split": "default", "groups": 10}
    assert result.content["arms"] == ["real", "real+synthetic", "real+synthetic@2"]
    doses = [(point["arm"], point["dose"]) for point in result.content["dose_curve"]]
    assert doses == [("real+synthetic", 1.0), ("real+synthetic@2", 2.0)]
    cells = [files.read_record(tmp_path / f"out/cells/real-seed0-fold{k}.json") for k in range(2)]
    losses = [[line["train_loss"] for line in cell["history"] if "train_loss" in line] for cell in cells]
    assert losses[0]
    assert losses[0] != losses[1], "the same train part, but two trainings"
    (record,) = (one for one in result.content["cells"] if one["arm"] == "real")
    assert record["metrics"]["auroc"] == pytest.approx(np.mean([c["metrics"]["auroc"] for c in cells]))
    summary = {row["metric"]: row["mean"] for row in result.content["summary"] if row["arm"] == "real"}
    assert summary["auroc"] == pytest.approx(record["metrics"]["auroc"])


def test_folds_announced_before_test_all_groups_whatever_the_fraction(make_real: Any, tmp_path: Path) -> None:
    real = make_real(train=120, val=30, test=30, group=6)
    result = study(real, tmp_path / "out", {"arms": ("real",), "fraction": 0.25, "steps": 1})
    assert result.content["real"]["n_train"] == 30
    assert result.content["power"]["planned"]["all_groups"]["groups"] == 30


def test_one_generator_of_one_fold_is_refused_for_all(
    make_real: Any, make_synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = make_real(train=30, val=30, test=30, group=6)
    split_dataset(real, folds=3, name="folds3")
    data = Dataset.open(real)
    runs = [
        Run.open_or_create(
            tmp_path / f"gan{k}", "generator", {}, data=data.provenance(f"folds3-{k}") | {"part": "train"}
        )
        for k in range(3)
    ]
    fake = make_synthetic("fake", real, data=data.provenance("folds3-1") | {"part": "train"})
    how = {"folds": 3, "arms": ("real", "synthetic")}
    for given in ({"synthetic": fake}, {"generator": runs[1].path}):
        with pytest.raises(InputError, match=r"one fold of 3.*--cross-fit"):
            study(real, tmp_path / "out", how, **given)
    with pytest.raises(InputError, match=r"--split folds3-0"):
        study(real, tmp_path / "out", how, cross_fit=[runs[1].path, runs[2].path])
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(sources, "check_generator", lambda path, fold: None)  # They have no weights.
    given = Given(cross_fit=[run.path for run in (runs[2], runs[0], runs[1])])
    folds = open_folds(real, StudyConfig(folds=3), given)
    assert [maker.run.name for maker in sources.makers_of(given, folds)] == ["gan0", "gan1", "gan2"]


def test_a_generator_of_a_part_of_train_may_serve_and_no_other(make_real: Any) -> None:
    real = Dataset.open(make_real(train=30, val=30, test=30))
    real.add_split("less", ["train"] * 20 + ["val"] * 30 + ["test"] * 40, {})
    less, whole = (real.provenance(name) | {"part": "train"} for name in ("less", "default"))
    assert check_origin(less, real, "default", "It") == []
    with pytest.raises(InputError, match="may have seen images that 'less' tests on"):
        check_origin(whole, real, "less", "It")


def test_generators_are_compared_by_arms_of_their_own(make_real: Any, tmp_path: Path) -> None:
    from plenish.study.design import Design

    given = Given(sweep=named_sweep([tmp_path / "gan+a", tmp_path / "flow"]))
    design = Design.of(StudyConfig(ratios=(0.5,)), tmp_path / "out", [*given.sweep])
    expected = ["real", "real+synthetic:gan-a", "real+synthetic:flow", "real+synthetic:gan-a@0.5",
                "real+synthetic:flow@0.5"]  # fmt: skip
    assert design.names == expected
    assert [arm.source for arm in design.arms] == ["", "gan-a", "flow", "gan-a", "flow"]
    given.check(design.arms, None)
    with pytest.raises(InputError, match="called 'flow'"):
        Given(generator=tmp_path).check(design.arms[2:3], None)
    for runs, match in (
        ([tmp_path], "at least two"),
        ([tmp_path / "a", tmp_path / "b/../a"], "called the same"),
    ):
        with pytest.raises(InputError, match=match):
            named_sweep(runs)


def test_another_dataset_has_a_verdict_of_its_own(make_real: Any, tmp_path: Path) -> None:
    real, other = make_real(train=30, val=30, test=30, group=6), _dataset_of_bars(tmp_path / "other")
    result = study(real, tmp_path / "out", {"arms": ("real", "duplicate"), "folds": 3}, test_data=other)
    external = result.content["external"]
    assert external["test"] == {"n": 40, "groups": 10, "per_class": {"flat": 20, "upright": 20}}
    tables = [pd.read_parquet(tmp_path / f"out/cells/real-seed0-fold{k}.external.parquet") for k in range(3)]
    mean = sum(table[["p:flat", "p:upright"]].to_numpy() for table in tables) / 3
    predicted = np.array(["flat", "upright"])[mean.argmax(axis=1)]
    row = next(r for r in external["summary"] if r["arm"] == "real")
    assert row["mean"] == pytest.approx(balanced_accuracy_score(tables[0]["label"], predicted))
    assert {r["arm"] for r in external["verdicts"]} == {"duplicate"}
    assert "verdict_on_other" in result.summary()
    assert "fold-ensemble" in [caveat["code"] for caveat in external["caveats"]]
    with pytest.raises(InputError, match="test_data"):
        study(real, tmp_path / "out", {"arms": ("real", "duplicate"), "folds": 3})


def _dataset_of_bars(path: Path) -> Path:
    from tests.study.conftest import NAMES, SIZE, bars

    pixels, labels = bars(40, 17)
    schema = LabelSchema("categorical", NAMES)
    with DatasetWriter(path, name=path.name, size=SIZE, channels=3, labels=schema, config={}) as writer:
        writer.add(pixels, [{"label": label, "group": f"h{i // 4}"} for i, label in enumerate(labels)])
    return path


def _jpeg(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return np.asarray(Image.open(buffer))


CHANGED: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "same": lambda image: image, "mirrored": lambda image: image[:, ::-1], "encoded again": _jpeg,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_a_patient_in_train_and_test_under_two_names_is_told(change: str, tmp_path: Path) -> None:
    pixels, parts = _pictures(36), ["train"] * 12 + ["val"] * 12 + ["test"] * 12
    honest = _dataset(tmp_path / "honest", pixels, [f"p{i // 4}" for i in range(36)], parts)
    assert open_real(honest, "default", 1.0, 0).caveats == ()
    pixels[24:28] = [CHANGED[change](image) for image in pixels[:4]]  # Patient p6 is patient p0.
    leaky = _dataset(tmp_path / "leaky", pixels, [f"p{i // 4}" for i in range(36)], parts)
    (caveat,) = open_real(leaky, "default", 1.0, 0).caveats
    assert (caveat.code, caveat.values) == ("test-twins", {"images": 4})
    split_dataset(leaky, ratios=(0.5, 0.25, 0.25), name="anew")
    assert open_real(leaky, "anew", 1.0, 0).caveats == ()
    study_side = open_real(honest, "default", 1.0, 0)
    other = _pictures(8, seed=5)
    add_external([study_side], _dataset(tmp_path / "other", other, [f"q{i}" for i in range(8)]))
    other[3] = CHANGED[change](pixels[1])
    with pytest.raises(InputError, match=r"1 image of the same picture"):
        add_external([study_side], _dataset(tmp_path / "seen", other, [f"q{i}" for i in range(8)]))
    with pytest.raises(InputError, match=r"1 group .* such as 'p0'"):
        add_external([study_side], _dataset(tmp_path / "known", _pictures(8, seed=6), ["p0"] * 8))


def test_what_is_trained_does_not_depend_on_test_images(tmp_path: Path) -> None:
    """Statistics of the images come from train alone, and so do the class weights."""
    parts, groups = ["train"] * 12 + ["val"] * 12 + ["test"] * 12, [f"p{i // 4}" for i in range(36)]
    histories = []
    for name, seed in (("one", 1), ("two", 2)):
        pixels = _pictures(36)
        pixels[24:] = _pictures(12, seed=seed) // 3
        real = _dataset(tmp_path / name, pixels, groups, parts)
        result = study(real, tmp_path / f"study {name}", {"arms": ("weighted",)})
        histories.append([cell["history"] for cell in result.content["cells"]])
    keys = {"train_loss", "val_loss", "val_balanced_accuracy"}
    one, two = (
        [[{key: line[key] for key in keys & line.keys()} for line in cell] for cell in cells]
        for cells in histories
    )
    assert one == two
    assert any(one[0])


ARMS = """
focal-half:
  words: real+synthetic+classical
  dose: 0.5
  loss: focal
  focal_gamma: 1.5
smooth:
  smoothing: 0.3
"""


def test_arms_of_a_file_are_trained_as_it_says_and_kept(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    from plenish.study.arms_file import configured
    from plenish.study.design import Design
    from plenish.training.classifier_config import ClassifierConfig

    file = tmp_path / "arms.yaml"
    file.write_text(ARMS)
    real = make_real(train=40)
    result = study(real, tmp_path / "out", {"arms_file": file}, synthetic=make_synthetic("fake", real, n=60))
    assert result.content["arms"] == ["real", "focal-half", "smooth"]
    assert result.content["primary_arm"] == "focal-half"
    cells = {cell["arm"]: cell["trained_on"] for cell in result.content["cells"]}
    assert cells["focal-half"] == {"real": 40, "duplicate": 0, "synthetic": 20}
    design = Design.of(StudyConfig(arms=("real",)), tmp_path / "out")
    assert design.names == ["real", "focal-half", "smooth"], "without the file it is known"
    first, second = (configured(arm, ClassifierConfig()) for arm in design.arms[1:])
    assert (first.loss, first.focal_gamma, first.augmentation) == ("focal", 1.5, "classical")
    assert (second.loss, second.smoothing, second.augmentation) == ("cross-entropy", 0.3, "none")
    file.write_text(ARMS.replace("0.3", "0.2"))
    with pytest.raises(InputError, match="'smooth' was defined otherwise"):
        Design.of(StudyConfig(arms_file=file), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "defines no arms"),
        ("a: [1]", "needs words"),
        ("real: classical", "known already"),
        ("a: {steps: 5}", "--steps to the study"),
        ("a: {los: focal}", "did you mean 'loss'"),
        ("a: {smoothing: much}", "smoothing of the arm 'a'"),
        ("a: {smoothing: 1.5}", "The arm 'a': --smoothing"),
        ("a: {words: classical, augmentation: none}", "says twice"),
        ("a: {words: real+synthetic, dose: 0}", "dose of the arm 'a'"),
        ("a: real", "same as real"),
        ("'a b': classical", "cannot name an arm"),
        ("a: {loss: focl}", "did you mean 'focal'"),
        ("a: weighted\nb: {loss: weighted}", "a and b would train alike"),
        ("a: {symmetry: 3}", "symmetry of the arm 'a' must be a word"),
        ("a: {symmetry: miror}", "did you mean 'mirror'"),
        ("a: {smoothing: [1]}", "smoothing of the arm 'a' must be a number"),
        ("a: {freeze: stem, unfreeze_at: 0.5}", "must be a list"),
        ("a: {freeze: stem, unfreeze_at: [0.3, 0.6]}", "The arm 'a': --unfreeze-at"),
        ("a: {freeze: 9}", "The arm 'a': --freeze 9"),
        ("a: {loss: asymmetric}", "several tags"),
        ("a: {stain: 0.1}", "The arm 'a': --stain"),
        ("a: {epochs: 3}", "the same --steps"),
        ("a: {doping: [20x2]}", "The arm 'a': --doping"),
        ("a: {doping: [20], words: classical}", "name no doping"),
        ("a: {doping: [20], words: doping@0.5}", "says twice"),
        ("a: {doping: [20], balanced: true}", "The arm 'a': --doping"),
        ("a: {columns: [age]}", "sets columns"),
        ("a: {drawing: [naturalx2, 20x2]}", "must end with natural"),
    ],
)
def test_arms_files_that_are_refused(text: str, match: str, make_real: Any, tmp_path: Path) -> None:
    file = tmp_path / "arms.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=match):
        study(make_real(), tmp_path / "out", {"arms_file": file})
    assert not (tmp_path / "out").exists()


def test_lists_of_an_arms_file_are_taken_and_a_loss_of_tags_is_not(make_real: Any, tmp_path: Path) -> None:
    from plenish.study.arms_file import configured, define_arms
    from plenish.training.classifier_config import ClassifierConfig

    said = {"a": {"freeze": 1, "unfreeze_at": [0.3, 0.6], "drawing": ["60x50%", "naturalx50%"]}}
    arm = define_arms(said, 1.0)["a"]
    hash(arm)
    found = configured(arm, ClassifierConfig(loss="ldam", ldam_scale=20.0))
    assert (found.freeze, found.unfreeze_at, found.loss) == ("1", (0.3, 0.6), "ldam")
    focal = define_arms({"b": {"loss": "focal"}}, 1.0)["b"]
    other = configured(focal, ClassifierConfig(loss="ldam", ldam_scale=20.0))
    assert (other.loss, other.ldam_scale) == ("focal", 30.0)
    real = make_real()
    with pytest.raises(InputError, match="several tags"):
        study(real, tmp_path / "out", {"arms": ("real", "classical"), "loss": "asymmetric"})
    with pytest.raises(InputError, match="names no generator"):
        study(real, tmp_path / "out", {"folds": 2, "arms": ("real", "synthetic")}, cross_fit=[])
    assert not (tmp_path / "out").exists()


@dataclasses.dataclass
class Interrupted:
    """A training of generators that is stopped at once."""

    trained: dict[str, Any]

    def plan(self, *_: Any) -> None:
        """All can be trained."""

    def __call__(self, *_: Any) -> None:
        """Stop."""
        raise KeyboardInterrupt


def test_generators_of_another_length_are_refused(make_real: Any, tmp_path: Path) -> None:
    real, how = make_real(), {"folds": 3, "arms": ("real", "synthetic")}

    def begin(kimg: float) -> None:
        train = Interrupted({"recipe": "dcgan", "kimg": kimg})
        study(real, tmp_path / "out", how, cross_fit=[], train=train)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            begin(1.0)
    with pytest.raises(InputError, match="kimg"):
        begin(2.0)


@pytest.mark.slow
def test_cells_in_several_processes_are_those_of_one(make_real: Any, tmp_path: Path) -> None:
    real, how = make_real(), {"arms": ("real", "oversample"), "seeds": 2}
    with settings.use(threads=1):
        alone = study(real, tmp_path / "alone", how)
        together = study(real, tmp_path / "together", {**how, "workers": 2})
    for path in (tmp_path / "alone/cells").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "together/cells" / path.name).read_bytes()
    assert together.content["summary"] == alone.content["summary"]
