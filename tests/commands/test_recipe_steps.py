"""`plenish recipe steps`: commands one after another, gone on with, and a table that is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from plenish import cli
from plenish.commands import recipe_steps
from plenish.errors import CheckFailed, InputError
from plenish.options import read_options
from plenish.recipes import load_recipe, recipe_names, steps_run
from plenish.recipes.steps import steps_of

STEPS = """
kind: steps
about: Two rows.
steps:
  first:
    run: >-
      train classifier {data} {out}/first-{seed} --seed {seed} --split {split} --steps 4 --batch 8 --test
      --evaluations 1
    row: baseline
  second:
    run: >-
      train classifier {data} {out}/second-{seed} --seed {seed} --steps 4 --batch 8 --test --evaluations 1
      --learning-rate 1e-4
    row: slower
  picture:
    run: train classifier {data} {out}/none --show {out}/picture.png --steps 4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "two.yaml").write_text(STEPS, encoding="utf-8")
    return str(tmp_path / "two.yaml")


def _tested(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "predictions.parquet").query("part == 'test'")


def _mean(score: Callable[..., float], tables: list[pd.DataFrame]) -> float:
    return sum(score(table["label"], table["predicted"]) for table in tables) / len(tables)


def in_process(words: list[str]) -> tuple[int, str]:
    """Instead of a process of its own."""
    code = cli.run([*(word for word in words[3:] if word != "--json"), "--precision", "float32"])
    return code, f"code {code}."


def test_steps_are_done_once_and_their_classifiers_make_a_table(
    recipe: str, stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = stripes(n=120, classes=3), tmp_path / "out"
    asked: list[str] = []

    def run(words: list[str]) -> tuple[int, str]:
        asked.append(words[6])
        if len(asked) == 3:
            return 3, "stopped."
        return in_process(words)

    monkeypatch.setattr(steps_run, "wait_for", run)
    with pytest.raises(CheckFailed, match="second seed 0"):
        recipe_steps.run_steps(recipe, data.path, out, seeds=2, only=["first", "second"])
    capsys.readouterr()
    found = recipe_steps.run_steps(recipe, data.path, out, seeds=2, only=["first", "second"])
    made = [Path(path).name for path in asked]
    assert made == ["first-0", "first-1", "second-0", "second-0", "second-1"]
    rows = {row["row"]: row for row in found.summary()["table"]}
    first, second = ([_tested(out / f"{name}-{k}") for k in (0, 1)] for name in ("first", "second"))
    mean, other = (_mean(partial(f1_score, average="macro"), tables) for tables in (first, second))
    assert rows["baseline"]["macro_f1"] == pytest.approx(mean)
    assert rows["slower"]["against"] == pytest.approx(other - mean)
    for key, score in (("balanced_accuracy", balanced_accuracy_score), ("accuracy", accuracy_score)):
        assert rows["slower"][key] == pytest.approx(_mean(score, second))
    assert rows["slower"]["seeds"] == 2
    assert rows["slower"]["against_low"] <= rows["slower"]["against"] <= rows["slower"]["against_high"]
    assert list(pd.read_csv(out / "table.csv")["row"]) == ["baseline", "slower"]
    assert found.shown()["steps"][0]["done"] == "2 of 2"
    with pytest.raises(InputError, match="recipe two"):
        recipe_steps.run_steps("mnist-augmentation", data.path, out)


@pytest.mark.parametrize(("code", "ends"), [(2, 2), (1, 1), (3, 3), (-9, 1)])
def test_a_step_that_fails_ends_with_its_own_code(
    code: int, ends: int, recipe: str, stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_run, "wait_for", lambda words: (code, "no."))
    assert cli.run(["recipe", "steps", recipe, str(stripes().path), str(tmp_path / "out"), "--quiet"]) == ends


def test_a_dry_run_does_nothing_and_adds_up_times(
    recipe: str, stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_run, "_tried", lambda step: 7.0 if step.name == "first" else None)
    found = recipe_steps.run_steps(recipe, stripes().path, tmp_path / "out", seeds=3, dry_run=True)
    assert found.summary()["seconds_expected"] == 21
    assert "at least" in found.shown()["time for all"]
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_a_classifier_says_how_long_it_takes(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "classifier", str(stripes().path), str(tmp_path / "run"), "--batch", "8", "--dry-run"]
    assert cli.run([*words, "--steps", "9", "--json", "--quiet", "--precision", "float32"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0
    assert found["steps"] == 9
    assert cli.run([*words, "--doping", "90"]) == 2  # Both classes are the largest.
    assert "adds nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["a", "--synthetic", "no/where", "b"], ["a", "b"]),
        (["--synthetic", ".", "b"], ["--synthetic", ".", "b"]),
        (["a", "--pretrained=no/where"], ["a"]),
        (["--pretrained", "x"], ["--pretrained", "x"]),
    ],
)
def test_a_dry_run_leaves_out_what_is_yet_to_be_made(words: list[str], kept: list[str]) -> None:
    assert steps_run.without_missing(words) == kept


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("{}", "names no steps"),
        ("{a: {ran: b}}", "'run'"),
        ("{a: {run: 'profile {data} x'}}", "below {out}"),
    ],
)
def test_bad_steps_are_refused(said: str, named: str, stripes, tmp_path: Path) -> None:
    data = stripes().path
    (tmp_path / "bad.yaml").write_text(f"kind: steps\nsteps: {said}\n", encoding="utf-8")
    with pytest.raises(InputError, match=named):
        recipe_steps.run_steps(str(tmp_path / "bad.yaml"), data, tmp_path / "out")
    with pytest.raises(InputError, match="'frist'"):
        recipe_steps.run_steps("ham10000-64", data, tmp_path / "out", only=["frist"])


def shipped(kind: str) -> list[str]:
    return [name for name in recipe_names() if load_recipe(name).kind == kind]


@pytest.mark.parametrize("name", shipped("classifier"))
def test_the_options_of_classifier_recipes_are_known(name: str) -> None:
    verb, words = cli._by_recipe([name, "data", "run"])
    values, _ = read_options("plenish train classifier", cli.load_command(verb), words)
    given = load_recipe(name).sections["training"]
    listed = {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
    assert {key: listed[key] for key in given} == dict(given)


@pytest.mark.parametrize("name", shipped("steps"))
def test_the_words_of_shipped_steps_can_be_typed(name: str, tmp_path: Path) -> None:
    steps = steps_of(load_recipe(name), Path("data"), tmp_path, "default", 2)
    assert len({step.out for step in steps}) == len(steps)
    for step in steps:
        verb, words = cli._find_verb(list(step.words))
        if verb == "recipe run":
            verb, words = cli._by_recipe(words)
        values, _ = read_options(f"plenish {verb}", cli.load_command(verb), words)
        assert step.out in [value for value in values.values() if isinstance(value, Path)]
        json.dumps(step.line)
