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


def test_a_study_has_no_option_of_its_own_under_the_name_of_a_classifiers() -> None:
    own = set(StudyConfig.__annotations__)
    assert not own & {field.name for field in dataclasses.fields(ClassifierOptions)} - {"seed"}
