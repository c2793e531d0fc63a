from __future__ import annotations

import importlib
import shlex
from pathlib import Path

import pytest
from fabricate import Work, make_data, make_run

from plenish import cli
from plenish.options import read_options
from plenish.report.commands import commands
from plenish.report.inputs import gather


def parse(line: str) -> tuple[str, dict[str, object]]:
    """The verb and the values that the command line itself reads from a command of the report."""
    words = shlex.split(line)
    assert words[0] == "plenish"
    name = " ".join(words[1:3]) if " ".join(words[1:3]) in cli.VERBS else words[1]
    verb = cli.VERBS[name]
    module, function = verb.target.split(":")
    values, _ = read_options(
        f"plenish {name}",
        getattr(importlib.import_module(module), function),
        words[1 + len(name.split()) :],
        verb.rename,
        verb.positional,
    )
    return name, values


def test_every_command_is_understood_by_the_command_line_and_says_what_was_done(work: Work) -> None:
    """Paths with blanks, too: the real Dataset lies in "real tiles"."""
    lines = commands(gather(score=work.score, study=work.study))
    asked = dict(map(parse, lines))
    assert list(asked) == ["train gan", "generate", "score", "study"]
    train = asked["train gan"]
    assert Path(str(train["data"])) == work.data.path
    assert (train["recipe"], train["kimg"], train["width"], train["seed"]) == ("dcgan", 50.0, 48, 3)
    assert train["options"] == ["adversarial.smoothing=0.1"], "only what differs from the recipe"
    assert train["batch"] is None
    assert asked["generate"]["n"] == 40
    assert asked["generate"]["seed"] == 7
    assert asked["study"]["steps"] == 400
    assert list(asked["study"]["arms"])[:2] == ["real", "classical"]  # type: ignore[call-overload]
    assert Path(str(asked["score"]["real"])) == work.data.path


def test_a_study_that_made_its_own_images_names_the_generator(tmp_path: Path) -> None:
    from fabricate import make_study

    data = make_data(tmp_path / "data", ("a", "b"))
    run = make_run(tmp_path / "run", data)
    (tmp_path / "study").mkdir()
    record = {"run": str(run.path), "run_id": run.id}
    synthetic = make_data(tmp_path / "made", ("a", "b"), extra={"generator": record}, seed=1)
    make_study(tmp_path / "s", data, synthetic)
    inside = tmp_path / "s" / "synthetic"
    synthetic.path.rename(inside)
    text = (tmp_path / "s" / "study.json").read_text().replace(str(synthetic.path), str(inside))
    (tmp_path / "s" / "study.json").write_text(text)
    verbs = dict(map(parse, commands(gather(study=tmp_path / "s"))))
    assert list(verbs) == ["train gan", "study"]
    assert Path(str(verbs["study"]["generator"])) == run.path
    assert verbs["study"]["synthetic"] is None


@pytest.mark.parametrize("recipe", ["gone.yaml", "dcgan-small"])
def test_recipes_that_moved_are_no_trouble(tmp_path: Path, recipe: str) -> None:
    data = make_data(tmp_path / "data", ("a", "b"))
    make_run(tmp_path / "run", data, title=recipe)
    (line,) = commands(gather(run=tmp_path / "run"))
    assert recipe in line


def test_a_phantom_and_its_split_can_be_made_again(tmp_path: Path) -> None:
    from plenish.datasets.split import split_dataset
    from plenish.phantom.tiles import make_phantom

    path = tmp_path / "phantom"
    made = make_phantom(path, patients=6, tiles=2, size=16, seed=5)
    split_dataset(path, (0.5, 0.25, 0.25), seed=2)
    again = dict(map(parse, commands(gather(data=path))))
    assert list(again) == ["phantom", "split"]
    other = make_phantom(**{**again["phantom"], "out": tmp_path / "again"})  # type: ignore[arg-type]
    assert other.manifest.pixels_hash == made.manifest.pixels_hash
    split_dataset(**{**again["split"], "data": other.path})  # type: ignore[arg-type]
    assert other.split().hash == made.split().hash


def test_a_prolonged_run_is_repeated_at_its_last_length(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", ("a", "b"))
    run = make_run(tmp_path / "run", data)
    (line,) = commands(gather(run=run.path))
    assert parse(line)[1]["kimg"] == 50.0
    run.update_status(schedule={"kimg": 80.0, "log_kimg": 1.0})
    (line,) = commands(gather(run=run.path))
    assert parse(line)[1]["kimg"] == 80.0
