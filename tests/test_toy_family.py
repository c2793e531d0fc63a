"""A family of another package, found by its entry point, through every verb without a change in Plenish."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from plenish import cli
from plenish.commands.recipes import list_recipes
from plenish.datasets.dataset import Dataset
from plenish.latent.sampling import draw_latents, load_generator
from plenish.networks.families import family_names
from plenish.runs import Run
from plenish.training import footprint, generator, trial


@dataclasses.dataclass(frozen=True)
class Rules:
    batch: int = 4


PACKAGE = Path(__file__).parent / "toy_family"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGE)
        yield


def _run(*words: object) -> None:
    assert cli.run([*map(str, words), "--quiet"]) == 0, words


@pytest.fixture(scope="module")
def trained(module_stripes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A Dataset and a generator of it, which no test changes."""
    data, run = module_stripes(n=120), tmp_path_factory.mktemp("trained") / "run"
    _run(
        "train", "generator", data.path, run, "--family", "gaussian", "--kimg", 2,
        "--options", "training.lr=0.1", "schedule.validate=20", "schedule.log_kimg=0.5",
    )  # fmt: skip
    return data, run


def test_the_whole_chain_on_the_command_line(trained: tuple[Dataset, Path], tmp_path: Path) -> None:
    data, run = trained
    opened = Run.open(run, "generator")
    assert opened.state == "complete"
    assert opened.config["config"]["training"] == {"batch": 12, "lr": 0.1}
    assert "--family gaussian" in opened.config["command"]["repeat"]
    assert {"kimg", "loss", "variety", "kid_val"} <= set(opened.metrics().columns)
    _run("generate", run, tmp_path / "made", "-n", 40)
    made = Dataset.open(tmp_path / "made")
    assert made.array_names() == ["y"]  # z is as large as an image, so the seed is kept in its place.
    means = [made.pixels.read(np.flatnonzero(made.y()[:, k] > 0)).mean((0, 3)) for k in (0, 1)]
    real = data.part("train", purpose="train")
    for k in (0, 1):
        theirs = real.images(np.flatnonzero(real.codes == k)).mean((0, 3))
        apart = [np.abs(mean - theirs).mean() for mean in means]
        assert apart[k] < 15 < apart[1 - k]
    _run("score", data.path, made.path, tmp_path / "score", "--resamples", 20)
    _run(
        "study", data.path, tmp_path / "study", "--generator", run, "--arms", "real", "real+synthetic",
        "--seeds", 1, "--steps", 4, "--resamples", 100,
    )  # fmt: skip
    _run(
        "report", tmp_path / "page.html", "--run", run, "--score", tmp_path / "score",
        "--study", tmp_path / "study",
    )  # fmt: skip
    page = (tmp_path / "page.html").read_text()
    assert "gaussian" in page
    assert json.loads((tmp_path / "study" / "study.json").read_text())["verdict"]


def test_its_weights_are_exported_and_its_latents_drawn_again(
    trained: tuple[Dataset, Path], tmp_path: Path
) -> None:
    _, run = trained
    _run("export-model", run, tmp_path / "exported", "--as", "torchscript")
    facts = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert facts["largest_difference"] <= 1e-4
    assert facts["inputs"]["z"]["shape"] == ["batch", 3, 16, 16]
    network = load_generator(run).network
    z = draw_latents(network, 3, 250, 260)
    np.save(tmp_path / "z.npy", z)
    _run("generate", run, tmp_path / "given", "--latents", tmp_path / "z.npy", "--label", "class1")
    _run("generate", run, tmp_path / "drawn", "-n", 260, "--seed", 3, "--label", "class1")
    given, drawn = Dataset.open(tmp_path / "given"), Dataset.open(tmp_path / "drawn")
    assert given.array("z").shape == (10, 3, 16, 16)
    difference = given.pixels.read(np.arange(10)).astype(int) - drawn.pixels.read(np.arange(250, 260))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--batch", "4"], "gaussian .*adversarial.batch.*--batch"),
        (["--options", "training.rate=1"], "'rate'"),
        (["--options", "penalty.r1=1"], "penalty"),
        (["--recipe", "mnist-dcgan"], "--recipe"),
    ],
)
def test_options_that_the_family_does_not_have(
    stripes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    value: str,
) -> None:
    data, run = stripes().path, tmp_path / "run"
    monkeypatch.setattr(generator.learner_class("gaussian"), "option_keys", {})
    assert cli.run(["train", "generator", str(data), str(run), "--family", "gaussian", *words]) == 2
    assert re.search(value, capsys.readouterr().err)
    assert not run.exists()


def test_batch_and_rate_set_the_familys_own_keys(stripes, tmp_path: Path) -> None:
    options = ("--batch", 6, "--lr", 0.02, "--kimg", 0.06, "--no-validation")
    _run("train", "generator", stripes().path, tmp_path / "run", "--family", "gaussian", *options)
    assert Run.open(tmp_path / "run").config["config"]["training"] == {"batch": 6, "lr": 0.02}


def test_a_dry_run_needs_no_code_of_the_family(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = stripes(), tmp_path / "run"
    monkeypatch.setattr(trial.try_out, "__defaults__", (0.1,))
    words = ["train", "generator", str(data.path), str(run), "--family", "gaussian", "--dry-run", "--quiet"]
    assert cli.run([*words, "--json", "--batch", "6"]) == 0
    found = json.loads(capsys.readouterr().out)
    parameters = 2 * 2 * 3 * 16**2  # Mean and spread of both classes.
    assert found["ema"][-1]["parameters"] == found["parameters_ema"] == parameters
    assert (found["batch"], found["memory_average_mib"]) == (6, 0)
    monkeypatch.setattr(footprint, "available_bytes", lambda _: 2**20)
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert "smaller network" in said
    assert "--width" not in said
    assert not run.exists()


def test_a_section_named_like_one_of_a_gan(stripes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Adversary(generator.GeneratorLearner):
        sections: ClassVar = {"adversarial": Rules}

    monkeypatch.setattr(generator, "learner_class", lambda name: Adversary)
    sections: dict[str, dict[str, Any]] = {"network": {}, "adversarial": {}, "schedule": {}}
    subset = stripes().part("train", purpose="train")
    task = generator.plan_task("gaussian", sections, {"adversarial.batch": 6}, subset)
    assert task.sections == {"adversarial": Rules(batch=6)}


def test_truncation_and_w_belong_to_other_families(
    trained: tuple[Dataset, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = trained
    np.save(tmp_path / "w.npy", np.zeros((2, 8), np.float32))
    for words in (["--truncation", "0.5"], ["--space", "w", "--latents", str(tmp_path / "w.npy")]):
        assert cli.run(["generate", str(run), str(tmp_path / "made"), *words]) == 2
        assert words[0].strip("-") in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_recipe_of_the_users_names_the_family(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("family: gaussian\ntraining: {batch: 6}\nschedule: {kimg: 0.06, validate: 10}\n")
    _run("train", "generator", stripes().path, tmp_path / "run", "--recipe", recipe, "--no-validation")
    assert Run.open(tmp_path / "run").config["config"]["training"]["batch"] == 6
    capsys.readouterr()
    recipe.write_text("family: gaussian\nadversarial: {batch: 6}\n")
    assert cli.run(["recipe", "show", str(recipe)]) == 2
    assert "'adversarial'" in capsys.readouterr().err


def test_it_is_listed() -> None:
    assert "gaussian" in family_names()
    assert "gaussian" in [row["family"] for row in list_recipes()["recipes"]]
