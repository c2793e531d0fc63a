"""Commands: fields of configuration objects as options, bounds, and the record of a call."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any, Literal

import pytest

from plenish import invocation, settings
from plenish.configuration import option, option_names, overrides
from plenish.errors import InputError
from plenish.invocation import Command, command, fields_of
from plenish.options import convert, read_options
from plenish.training.classifier_config import ClassifierConfig


@dataclasses.dataclass(frozen=True)
class Rates:
    """How fast.

    Attributes:
        lr: learning rate,
            of both networks.
        batch: images a step.
        arms: what is compared.
        mode: which way.
        fast: whether to hurry.
        weights: a file.
        options: further options.
    """

    lr: float | None = option(sets="adversarial.lr_g adversarial.lr_d", above=0)
    batch: int = option(64, least=2)
    arms: tuple[str, ...] = ("real",)
    mode: Literal["up", "down"] = "up"
    fast: bool = False
    weights: Path | None = None
    options: list[str] | None = None


@command("race cars", renamed={"format": "as"})
def race(data: Path, out: Path, *, how: Rates = Rates(), format: str = "png") -> tuple[Any, ...]:
    """Race.

    Args:
        data: what is raced.
        out: where to.
        how: further options.
        format: of the picture.
    """
    return data, out, how, format, invocation.record()


def read(line: str, verb: Command[Any] = race) -> dict[str, Any]:
    return read_options("plenish race cars", verb, shlex.split(line))[0]


def test_fields_are_keywords_and_options_and_paths_may_be_strings() -> None:
    data, _, how, _, _ = race("a", "b", batch=8, weights="w")
    assert data == Path("a")
    assert how == Rates(batch=8, weights=Path("w"))
    assert race("a", "b", how=Rates(lr=0.5), batch=9)[2] == Rates(lr=0.5, batch=9)
    assert read("a b --batch 8 --weights w --fast") == {
        "data": Path("a"), "out": Path("b"), "batch": 8, "weights": Path("w"), "fast": True,
    }  # fmt: skip
    assert race.parameters["lr"].about == "learning rate, of both networks."


def test_inherited_fields_keep_what_their_class_says_of_them() -> None:
    fields = {parameter.name: parameter.about for parameter in fields_of(ClassifierConfig)}
    assert all(fields.values())
    assert fields.keys() > {"loss", "order"}, "of the base class and its own"


def test_a_call_is_recorded_with_all_options_and_the_line_that_repeats_it() -> None:
    with settings.use(threads=3), invocation.typed(["plenish", "race", "cars", "a"]):
        record = race("a b", "c", lr=1e-3, arms=("real", "-x"), fast=True, format="gif")[-1]
    assert record["verb"] == "race cars"
    assert record["argv"] == ["plenish", "race", "cars", "a"]
    assert record["options"]["batch"] == 64
    assert record["options"]["as"] == "gif"
    assert shlex.split(record["repeat"]) == [
        "plenish", "race", "cars", "a b", "c", "--lr", "0.001", '--arms=["real", "-x"]', "--fast", "--as",
        "gif", "--threads", "3",
    ]  # fmt: skip
    assert race("a", "b")[-1]["argv"] is None
    assert invocation.record() is None


def test_the_repeated_line_reads_as_the_same_call() -> None:
    asked = {"lr": 3e-05, "arms": ("x", "-y z"), "mode": "down", "options": ["a.b=[1, 2]"], "weights": "-w"}
    first = race("a", "b", **asked)
    again = race(**read(first[-1]["repeat"].removeprefix("plenish race cars ")))
    assert again[2:4] == first[2:4]


def test_the_innermost_command_is_the_one_recorded() -> None:
    @command("outer")
    def outer() -> Any:
        """Call another."""
        return invocation.record(), race("a", "b")[-1], invocation.record()

    with invocation.typed(["plenish", "outer"]):
        before, inner, after = outer()
    assert before == after
    assert (before["verb"], before["argv"]) == ("outer", ["plenish", "outer"])
    assert (inner["verb"], inner["argv"]) == ("race cars", None)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("a b --batch 1", "--batch"),
        ("a b --lr 0", "--lr"),
        ("a b --lr nan", "--lr"),
        ("a b --mode left", "--mode"),
        ("a b --btach 3", "--batch"),
        ("a b c", "'c'"),
        ("a", "out"),
        ("a b --fast perhaps", "--fast"),
        ("a b --batch", "--batch"),
        ("a b --fast=", "--fast must be true or false, not empty"),
        ("a b --fast a", "--fast must be true or false, not a"),
        ("a b a --fast", "do with 'a'"),
        ("a b --mode up c --fast", "do with 'c'"),
        ("a b --fats.x 3", "fats.x=3"),
    ],
)
def test_bad_options_are_refused_by_name(line: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        overrides(race(**read(line))[2], ("adversarial",), "adversarial.batch=3")


def test_sections_are_reached_by_name_and_short_options_set_their_keys() -> None:
    how = race(**read("a b --adversarial.fast-as=2 --lr 0.5 --options adversarial.batch=3"))[2]
    assert how.options == ["adversarial.fast_as=2", "adversarial.batch=3"]
    assert overrides(how, ("adversarial",), "") == {
        "adversarial.lr_g": 0.5, "adversarial.lr_d": 0.5, "adversarial.fast_as": 2, "adversarial.batch": 3,
    }  # fmt: skip
    assert option_names(Rates)["adversarial.lr_d"] == "--lr"


def test_options_of_a_file_count_after_those_typed(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("batch: 3\nlr: 1e-3\narms: [u, v]\nas: gif\n")
    found = read(f"a b --batch 4 --config {tmp_path / 'f.yaml'}")
    assert (found["batch"], found["lr"], found["arms"], found["format"]) == (4, 1e-3, ("u", "v"), "gif")
    (tmp_path / "f.yaml").write_text("btach: 3\n")
    with pytest.raises(InputError, match="batch"):
        read(f"a b --config {tmp_path / 'f.yaml'}")


@pytest.mark.parametrize(
    "word", ["-1e-3", "-5", "-5.", "-.5", "-1.e3", "-5,3", "-.inf", "-"]
)  # fmt: skip
def test_negative_numbers_are_values(word: str) -> None:
    assert read(f"a b --weights {word} --arms {word} 1 {word} --fast") == {
        "data": Path("a"), "out": Path("b"), "weights": Path(word), "arms": (word, "1", word), "fast": True,
    }  # fmt: skip
    assert read(f"{word} b")["data"] == Path(word)


@pytest.mark.parametrize(
    ("words", "fast"),
    [("--fast", True), ("--fast=true", True), ("--fast False", False), ("--no-fast", False),
     ("--no-fast=true", False), ("--fast --options fast=3", True)],
)  # fmt: skip
def test_switches_stand_alone_or_with_a_value(words: str, fast: bool) -> None:
    found = read(f"a b {words}")
    assert found["fast"] is fast
    assert found.get("options", ["fast=3"]) == ["fast=3"]


@pytest.mark.parametrize(
    ("hint", "word", "value"),
    [
        (float, "-1e-3", -0.001),
        (float, ".inf", math.inf),
        (float | None, "-.inf", -math.inf),
        (tuple[float, ...], ["-.inf", ".inf"], (-math.inf, math.inf)),
        (Path, ".inf", Path(".inf")),
        (int | Literal["none"] | None, "none", "none"),
        (int | Literal["none"] | None, "12", 12),
        (list[float], ["1", "2e3"], [1.0, 2000.0]),
        (tuple[int, int], ["1", "2"], (1, 2)),
        (Literal[1, 3] | None, "3", 3),
        (bool | None, "False", False),
        (float, 3, 3.0),
    ],
)
def test_words_become_values(hint: Any, word: Any, value: Any) -> None:
    found = convert(hint, word)
    assert found == value
    assert type(found) is type(value)
    assert math.isnan(convert(float, ".nan"))


@pytest.mark.parametrize(
    ("hint", "word", "wanted"),
    [
        (int, "3.5", "whole"),
        (tuple[int, int], ["1"], "2"),
        (bool, 1, "true"),
        (Literal["a", "c"], "b", "a, c"),
    ],
)
def test_other_words_are_refused(hint: Any, word: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        convert(hint, word)
