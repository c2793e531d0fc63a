"""Arms whose images follow a schedule: what is mixed in and when, what is told of it, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish.errors import InputError
from plenish.report.build import with_report
from plenish.study import cells
from plenish.study.arms import describe_arm, parse_arm
from plenish.study.config import StudyConfig
from plenish.study.data import add_synthetic, open_real
from plenish.study.experiment import run_study
from plenish.study.schedules import check_schedules, copies, filled_classes
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing import DrawingPlan

STEPS = 30
LABELS = ["upright" if i % 4 == 0 else "flat" for i in range(60)] + ["flat", "upright"] * 90
"""45 and 15 images in train."""


@pytest.fixture
def pair(make_real: Any, make_synthetic: Any) -> tuple[Path, Path]:
    """A real Dataset with few images of one class, and synthetic ones, 40 of each."""
    real = make_real(labels=LABELS)
    return real, make_synthetic("made", real, n=80)


def study(real: Path, out: Path, arms: tuple[str, ...] = ("real",), **options: Any) -> Any:
    given = {"synthetic": options.pop("synthetic", None)}
    config = StudyConfig(
        **{"arms": arms, "seeds": 1, "steps": STEPS, "batch": 16, "resamples": 100, **options}
    )
    return run_study(real, out, config, **given)


def test_doping_decays_to_the_real_images_and_is_told_in_steps(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = pair
    trained = {}
    genuine = cells.train_classifier

    def spying(config: Any, train: Any, *rest: Any, **more: Any) -> Any:
        trained[bool(config.doping), train.real] = config, train
        return genuine(config, train, *rest, **more)

    monkeypatch.setattr(cells, "train_classifier", spying)
    found = study(real, tmp_path / "out", ("real", "doping"), synthetic=made)
    phases = found.content["schedules"]["doping"]
    assert [phase["target"] for phase in phases] == [45, 34, 22, 11, None]
    assert [phase["added"] for phase in phases] == [30, 19, 7, 0, 0], "15 real ones are more than 11"
    assert [phase["steps"] for phase in phases] == [6] * 5
    cell = next(cell for cell in found.content["cells"] if cell["arm"] == "doping")
    assert cell["trained_on"] == {"real": 60, "duplicate": 0, "synthetic": 40}, "of the rare class alone"
    assert {cell["steps"] for cell in found.content["cells"]} == {STEPS}
    (config, train), (plain, _) = trained[True, 60], trained[False, None]
    assert (config.steps, config.batch, config.seed) == (plain.steps, plain.batch, plain.seed)
    order = cells_order(config, train)(np.arange(STEPS * 16))
    assert (order[: 6 * 16] >= 60).sum() == pytest.approx(6 * 16 * 30 / 90, abs=12)
    assert (train.y[order[order >= 60]] == 1).all()
    assert (order[24 * 16 :] < 60).all()
    page = with_report(found, "study").report.read_text()
    assert "steps 1 to 6: up to 45 images a class (100%)" in page
    assert "steps 25 to 30: real images alone" in page


def cells_order(config: Any, train: Any) -> Any:
    """The order in which a configuration draws."""
    from plenish.training.classifier import training_images

    images = training_images(train, config)
    assert isinstance(images.order, DrawingPlan)
    return images.order(images.y, images.draw(config.seed, 0))


def test_placebos_fill_the_classes_with_copies_or_with_permuted_labels(pair: tuple[Path, Path]) -> None:
    data = add_synthetic(open_real(pair[0], "default", 1.0, 0), pair[1])
    images, counts = cells.compose(parse_arm("doping+duplicate"), data, 3)
    assert counts == {"real": 60, "duplicate": 30, "synthetic": 0}
    assert (images.real, np.bincount(images.y[60:]).tolist()) == (60, [0, 30])
    train = data.train.images(np.arange(60))
    added = images.read(np.arange(60, 90))
    repeats = [int((train == one).all(axis=(1, 2, 3)).argmax()) for one in added]
    assert np.bincount(repeats, minlength=60)[data.train.codes == 1].tolist() == [2] * 15
    plain, _ = cells.compose(parse_arm("doping"), data, 3)
    mixed, _ = cells.compose(parse_arm("doping+shuffled"), data, 3)
    assert np.bincount(mixed.y).tolist() == np.bincount(plain.y).tolist()
    assert mixed.y[60:].tolist() == [1] * 40, "one class is filled"
    made = data.synthetic[""]
    pictures = made.rows.images()
    truth = [
        int(made.codes[(pictures == one).all(axis=(1, 2, 3)).argmax()])
        for one in mixed.read(np.arange(60, 100))
    ]
    assert 10 <= truth.count(0) <= 30, "half of the pictures have the label of the other class"


def test_labels_of_one_class_cannot_be_shuffled(pair: tuple[Path, Path]) -> None:
    data = add_synthetic(open_real(pair[0], "default", 1.0, 0), pair[1])
    alone = dataclasses.replace(data.synthetic[""], codes=np.ones(80, np.int64))
    fold = dataclasses.replace(data, synthetic={"": alone})
    config = ClassifierConfig(steps=STEPS, batch=16)
    with pytest.raises(InputError, match=r"'doping.shuffled': labels can be shuffled only among"):
        check_schedules([parse_arm("doping+shuffled")], config, [fold])


def test_copies_are_as_many_as_wanted_and_even() -> None:
    codes = np.array([0, 0, 0, 1, 1, 2])
    found = copies(codes, np.array([0, 5, 2]), 7)
    assert np.bincount(codes[found], minlength=3).tolist() == [0, 5, 2]
    assert sorted(np.bincount(found, minlength=6)[3:5]) == [2, 3]
    assert filled_classes(parse_arm("doping"), codes).tolist() == [0, 1, 2]
    assert filled_classes(parse_arm("real"), codes).tolist() == [0, 0, 0]


def test_schedules_of_a_file_are_followed_and_described(pair: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "arms.yaml"
    file.write_text(
        "filled: {words: doping+classical, doping: 40x50% realx50%}\n"
        "scheduled: {drawing: [200%x40%, naturalx60%], smoothing: 0.2}\n"
        "often: {drawing: 240x2 naturalx2}\n"
    )
    found = study(pair[0], tmp_path / "out", arms_file=file, synthetic=pair[1])
    told = found.content["schedules"]
    assert [(phase["target"], phase["steps"]) for phase in told["filled"]] == [(40, 15), (None, 15)]
    assert [(phase["target"], phase["steps"]) for phase in told["scheduled"]] == [(120, 12), (None, 18)]
    assert [phase["steps"] for phase in told["often"]] == [24, 6], "epochs are drawn out to the same steps"
    said = describe_arm("scheduled", found.content["definitions"]["scheduled"], told["scheduled"])
    assert said == (
        "real training images; smoothing 0.2; steps 1 to 12: 120 draws an epoch, all classes alike (200%); "
        "steps 13 to 30: images as they are"
    )
    assert "flips" in describe_arm("filled", found.content["definitions"]["filled"], told["filled"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"arms": ("doping",)}, "--synthetic DATA"),
        ({"arms": ("doping@2",), "few": True}, "The arm 'doping@2': .*up to 90 .*upright .40 of 75"),
        ({"arms": ("doping+duplicate",), "even": True}, "'doping.duplicate': .*adds nothing"),
        ({"arms": ("doping+duplicate",), "steps": 3}, "5 levels do not fit into 3 steps"),
        ({"arms": ("doping@ham10000-1",), "many": True}, "6 levels do not fit into 30 steps"),
    ],
)
def test_schedules_that_cannot_be_followed_are_refused(
    options: dict[str, Any], match: str, pair: tuple[Path, Path], make_real: Any,
    make_synthetic: Any, tmp_path: Path,
) -> None:  # fmt: skip
    real = make_real("even") if options.pop("even", False) else pair[0]
    given = pair[1] if options.pop("few", False) else None
    if options.pop("many", False):
        given = make_synthetic("many", real, n=4000)
    with pytest.raises(InputError, match=match):
        study(real, tmp_path / "out", synthetic=given, **options)
    assert not (tmp_path / "out").exists()
