"""Arms and their names."""

import dataclasses

import pytest

from plenish.errors import InputError
from plenish.study.arms import KNOWN_ARMS, describe_arm, parse_arm, parse_arms, primary_arm
from plenish.study.config import StudyConfig
from plenish.training.classifier_config import ClassifierOptions


def test_every_known_name_parses_to_itself() -> None:
    arms = parse_arms(KNOWN_ARMS)
    assert sorted(arm.name for arm in arms) == sorted(KNOWN_ARMS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("real", (True, 0, 0, False, False, False)),
        ("classical", (True, 0, 0, False, True, False)),
        ("oversample", (True, 0, 0, False, False, True)),
        ("synthetic", (False, 2, 0, False, False, False)),
        ("real+synthetic@0.5+classical", (True, 0.5, 0, False, True, False)),
        ("duplicate", (True, 0, 2, False, False, False)),
        ("shuffled", (True, 2, 0, True, False, False)),
        ("doping", (True, 0, 0, False, False, False)),
        ("doping+shuffled+classical", (True, 0, 0, True, True, False)),
    ],
)
def test_words_and_doses(name: str, expected: tuple[object, ...]) -> None:
    arm = parse_arm(name, ratio=2)
    assert (arm.real, arm.synthetic, arm.duplicate, arm.shuffled, arm.classical, arm.balanced) == expected


def test_real_comes_first_always_and_the_primary_arm_is_the_mixture() -> None:
    arms = parse_arms(["synthetic", "real+synthetic@2", "classical", "real+synthetic"])
    assert arms[0].name == "real"
    primary = primary_arm(arms)
    assert primary is not None
    assert primary.name == "real+synthetic"
    assert primary_arm(parse_arms(["classical", "shuffled"])) is None


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["real+synthetc"], r"did you mean 'real\+synthetic'"),
        (["classic"], "did you mean 'classical'"),
        (["real+synthetic@lots"], "dose above 0"),
        (["real+synthetic@-1"], "dose above 0"),
        (["real@2"], "Unknown arm"),
        (["synthetic+shuffled"], "both as they are and shuffled"),
        (["real+synthetic", "real+synthetic@1"], "same under another name"),
        (["doping", "doping@1"], "same under another name"),
        (["doping@lots"], "a share of the largest class from 0.04 to 10"),
        (["doping@0"], "a share of the largest class"),
        (["doping@ham10000"], "decaying, ham10000-1, ham10000-2"),
        (["doping+synthetic"], "two doses"),
        (["doping+oversample"], "equally often"),
        (["doping+duplicate+shuffled"], "no generator"),
        (["doping:gan+duplicate"], "no generator"),
        (["doping+duplicate@2"], "gives duplicate a dose"),
        ([], "at least one arm"),
    ],
)
def test_refusals(names: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        parse_arms(names)


def test_ratio_must_be_one() -> None:
    for ratio in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--ratio"):
            StudyConfig(ratio=ratio)


def test_every_known_arm_is_described() -> None:
    said = {name: describe_arm(name) for name in KNOWN_ARMS}
    assert len(set(said.values())) == len(said)
    assert said["synthetic"] == "synthetic images"
    assert said["classical"].startswith("real training images; flips")
    assert "0.5 for each real one" in said["real+synthetic@0.5"]
    assert describe_arm("mine") == "as the file of arms says"


def test_doping_begins_with_a_share_of_the_largest_class_and_ends_with_real_images() -> None:
    half = parse_arm("doping@0.5")
    assert half.doping == ("50%x20%", "38%x20%", "25%x20%", "12%x20%", "realx20%")
    assert parse_arm("doping@ham10000-1").doping[0] == "2000x2"
    assert half.uses_synthetic
    assert not parse_arm("doping+duplicate").uses_synthetic


def test_each_generator_that_is_compared_has_an_arm_of_doping() -> None:
    names = [arm.name for arm in parse_arms(["doping@0.5", "doping+duplicate"], sources=["gan", "flow"])]
    assert names == ["real", "doping:gan@0.5", "doping:flow@0.5", "doping+duplicate"]


def test_the_mixture_is_primary_before_doping() -> None:
    for names, expected in ((["doping", "real+synthetic"], "real+synthetic"), (["doping"], "doping")):
        primary = primary_arm(parse_arms(names))
        assert primary is not None
        assert primary.name == expected


def test_a_study_has_no_option_of_its_own_under_the_name_of_a_classifiers() -> None:
    own = set(StudyConfig.__annotations__)
    assert not own & {field.name for field in dataclasses.fields(ClassifierOptions)} - {"seed"}
