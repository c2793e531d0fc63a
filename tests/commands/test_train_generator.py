from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plenish import cli, settings
from plenish.commands.recipes import list_recipes
from plenish.commands.train_generator import train_gan
from plenish.configuration import build_config
from plenish.errors import InputError
from plenish.networks.families import network_config
from plenish.recipes import load_recipe, recipe_names
from plenish.runs import Run
from plenish.training.gan.method import Adversarial
from plenish.training.generator import Schedule, learner_class
from plenish.training.trainer import Stopped


@pytest.mark.parametrize("name", [name for name in recipe_names() if load_recipe(name).kind == "generator"])
def test_every_recipe_makes_valid_configurations(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.about
    assert recipe.provenance
    network_config(recipe.family, {**recipe.sections["network"], "size": 64})
    for section, kind in {**learner_class(recipe.family).sections, "schedule": Schedule}.items():
        build_config(kind, recipe.sections[section], section)


def test_the_published_histology_numbers() -> None:
    recipe = load_recipe("histology-cdcgan")
    rules = build_config(Adversarial, recipe.sections["adversarial"], "adversarial")
    assert (rules.lr_g, rules.lr_d, rules.beta1, rules.batch, rules.g_steps, rules.smoothing) == (
        2e-4,
        2e-4,
        0.5,
        64,
        2,
        0.1,
    )
    assert recipe.sections["schedule"]["keep"] == 20
    assert recipe.sections["network"]["prior"] == "uniform"
    assert recipe.sections["network"]["kernel"] == 5


def test_own_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("family: dcgan\nnetwork: {width: 8}\n")
    assert load_recipe(str(path)).sections["network"] == {"width": 8}
    assert "dcgan" in [row["name"] for row in list_recipes()["recipes"]]


@pytest.mark.parametrize("name", ["dcgan", "mnist-autoencoder"])
def test_a_recipe_shown_as_json_can_be_taken_as_a_start(tmp_path: Path, name: str) -> None:
    shown = load_recipe(name)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(shown.summary()))
    again = load_recipe(str(path))
    assert (again.family, again.kind, again.sections) == (shown.family, shown.kind, shown.sections)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("family: dcgan\nnetwrk: {}", "did you mean 'network'"),
        ("network: {}", "does not name its family"),
        ("family: [", "is not YAML .*line 1"),
        ("- 1", "holds no sections"),
        ("familly: dcgan", "did you mean 'family'"),
        ("family: dcgan\nnetwork: 3", "must hold options"),
    ],
)
def test_broken_recipes_are_told(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"options": ["growth.start=8"]}, "dcgan does not; leave it out"),
        ({"options": ["adversarial.lr_fall_to=2"]}, "adversarial.lr_fall_to is a share from 0 to 1, not 2"),
        ({"options": ["limits.window=0"]}, r"limits\.window .*not 0"),
        ({"options": ["adversarial.lr_fall_to=0.1"]}, "one does nothing alone: give both"),
        ({"options": ["network.width=16,max_width=128"]}, "must be a whole number, not '16,max_width=128'"),
        ({"options": ["limits.window=100"]}, r"limits\.window .*below 100, not 100"),
        ({"options": ["network.slope=steep"]}, "network.slope must be a number, not 'steep'"),
        ({"options": ["limits.explosion=-1"]}, r"limits\.explosion .*not -1"),
        ({"batch": 500}, "--batch 500 is more than"),
        ({"recipe": "dcgna"}, "did you mean 'dcgan'"),
        ({"options": ["adversarial.nois_sd=1"]}, "did you mean 'noise_sd'"),
        ({"options": ["noise_sd=1"]}, "section.name=value"),
        ({"options": ["adversarial.g_steps=two"]}, "must be a whole number"),
        ({"options": ["adversarial.objective=hings"]}, "Unknown objective"),
        ({"options": ["network.kernel=3"]}, "kernel.*Known: 4, 5"),
        ({"options": ["network.width=64.5"]}, "whole number"),
        ({"options": ["network.d_norm='no'"]}, "did you mean 'none'"),
        ({"options": ["network.prior=gaussian"]}, "Unknown network.prior"),
        ({"options": ["network.size=32"]}, "those of the data"),
        ({"options": ["adversarial.beta1=2"]}, r"adversarial\.beta1 .*not 2"),
        ({"options": ["penalty.path=2"]}, "for generators with styles"),
        ({"options": ["adversarial.noise_sd=0.1"]}, "noise_kimg"),
        ({"options": ["adversarial.noise_sd=-1"]}, r"adversarial\.noise_sd .*not -1"),
        ({"options": ["schedule.validate=1"]}, "at least 2"),
        ({"lr": float("nan")}, "number above 0"),
        ({"kimg": float("nan")}, "number above 0"),
        ({"batch": 1}, "--batch must be at least 2, not 1"),
        ({"width": 16, "options": ["network.max_width=abc"]}, "max_width must be a whole number, not 'abc'"),
        ({"options": ["network.width=0"]}, r"network\.width .*not 0"),
        ({"width": 1000}, "--width 1000 is more than network.max_width"),
        ({"batch": 1000}, "more than the 36 images"),
        ({"kimg": -1.0}, "above 0"),
        ({"split": "defualt"}, "did you mean 'default'"),
    ],
)
def test_refusals_leave_no_run(stripes, tmp_path: Path, more: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        train_gan(stripes().path, tmp_path / "run", **({"recipe": "dcgan", "validation": False} | more))
    assert not (tmp_path / "run").exists()


def test_data_without_a_split_are_refused(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plenish split"):
        train_gan(stripes(split=False).path, tmp_path / "run")


def test_what_validation_refuses_leaves_no_run(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="val images"):
        train_gan(stripes(n=16).path, tmp_path / "run", recipe="dcgan", batch=4)
    assert not (tmp_path / "run").exists()


def test_sizes_a_dcgan_cannot_make_are_refused(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--size"):
        train_gan(stripes(size=18).path, tmp_path / "run", recipe="dcgan")


def _short(data: Path, run: Path) -> list[str]:
    """The command line of a short training."""
    return [
        "train", "gan", str(data), str(run), "--recipe", "dcgan", "--kimg", "0.1", "--batch", "10",
        "--no-validation", "--options", "network.width=4", "network.max_width=8",
    ]  # fmt: skip


def test_from_the_command_line(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*_short(stripes().path, tmp_path / "run"), "--quiet"]
    assert cli.run(words) == 0
    assert cli.run(words) == 0  # nothing left to do is not an error
    assert "complete" in capsys.readouterr().out
    assert cli.run([*words, "--batch", "12", "--lr", "0.1", "--no-conditional"]) == 2
    said = capsys.readouterr().err
    assert "another configuration: --batch was 10 and is now 12, --lr was 0.0002 and is now 0.1, " in said
    assert "--conditional is another; use" in said


def test_a_finished_run_answers_at_once_in_one_line(stripes, tmp_path: Path) -> None:
    words = _short(stripes().path, tmp_path / "run")
    assert cli.run([*words, "--quiet"]) == 0
    code = f"import sys\nfrom plenish.cli import run\nassert run({words!r}) == 0\n"
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "run is complete: it has been trained for 0.1 kimg" in done.stderr


def test_a_finished_run_says_again_how_good_it_is_and_what_next(stripes, tmp_path: Path) -> None:
    data = stripes(n=60)
    tiny = {"recipe": "dcgan", "batch": 10, "width": 4, "options": ["schedule.validate=8"]}
    first = train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny)
    again = train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny)
    shorter = train_gan(data.path, tmp_path / "run", kimg=0.05, **tiny)
    assert "next" in first.remarks
    assert again.remarks == shorter.remarks == first.remarks
    assert again.summary()["next"] == first.remarks["next"]


def test_prolonging_interrupted_before_it_began_is_done_by_the_same_command(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tiny = stripes(), {"recipe": "dcgan", "validation": False, "batch": 10, "width": 4}
    run = train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny)
    with monkeypatch.context() as patch:
        patch.setattr("plenish.training.generator.train_generator", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_gan(data.path, run.path, kimg=0.2, **tiny)
    train_gan(data.path, run.path, kimg=0.2, **tiny)
    assert run.status["kimg"] == 0.2


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_an_existing_run_is_scored_only_when_it_is_trained_on(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tiny = (
        stripes(n=60),
        {"recipe": "dcgan", "batch": 10, "width": 4, "options": ["schedule.validate=8"]},
    )
    run, prepared = train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny), []

    def prepare(*_: object) -> None:
        prepared.append(True)
        with pytest.raises(InputError, match="being worked on"), run.lock():
            pass

    monkeypatch.setattr("plenish.metrics.validation.validator_of", prepare)
    with pytest.raises(InputError, match="another configuration"):
        train_gan(data.path, run.path, kimg=0.1, **(tiny | {"batch": 12}))
    train_gan(data.path, run.path, kimg=0.05, **tiny)
    assert not prepared
    train_gan(data.path, run.path, kimg=0.2, **tiny)
    assert prepared == [True]


@pytest.mark.parametrize(
    ("error", "reported"), [(Stopped, True), (KeyboardInterrupt, False), (MemoryError, False)]
)
def test_a_report_is_written_where_the_training_ended_by_itself_or_was_stopped(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], reported: bool
) -> None:
    def train(task: object, run: Run, **_: object) -> None:
        run.update_status(state="interrupted")
        raise error

    monkeypatch.setattr("plenish.training.generator.train_generator", train)
    with pytest.raises(error):
        train_gan(stripes().path, tmp_path / "run", recipe="dcgan", validation=False, batch=10, width=4)
    assert (tmp_path / "run" / "report.html").exists() == reported


def test_a_finished_run_is_asked_for_other_arithmetic(stripes, tmp_path: Path) -> None:
    data, tiny = stripes(), {"recipe": "dcgan", "validation": False, "batch": 10, "width": 4}
    train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny)
    with settings.use(deterministic=True), pytest.raises(InputError, match="deterministic"):
        train_gan(data.path, tmp_path / "run", kimg=0.1, **tiny)


def test_of_several_processes_one_prints(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "gan",
        str(stripes().path),
        str(tmp_path / "run"),
        "--recipe",
        "dcgan",
        "--kimg",
        "0.1",
        "--batch",
        "10",
    ]
    words += ["--no-validation", "--width", "4", "--quiet", "--json"]
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "complete"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert cli.run(words) == 0  # It is complete, so nothing is trained.
    assert capsys.readouterr().out == ""


def test_a_finished_run_is_not_taken_for_another(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, options = stripes(), ["network.width=4", "network.max_width=8"]
    arguments: dict = {"recipe": "dcgan", "validation": False, "batch": 10, "options": options}
    run = train_gan(data.path, tmp_path / "run", kimg=0.1, **arguments)
    capsys.readouterr()
    with settings.use(quiet=False):
        train_gan(data.path, tmp_path / "run", kimg=0.05, **arguments)  # shorter: nothing left to do
    said = capsys.readouterr().err
    assert "complete" in said
    assert "kimg-" not in said
    for other in ({"seed": 1}, {"batch": 12}, {"conditional": False}):
        with pytest.raises(InputError, match="another configuration"):
            train_gan(data.path, run.path, kimg=0.1, **(arguments | other))
    train_gan(data.path, run.path, kimg=0.2, **arguments)
    assert run.status["kimg"] == 0.2
    newest = max((run.path / "checkpoints").iterdir())
    (newest / "g.safetensors").write_bytes(b"damaged")
    with settings.use(quiet=False):
        train_gan(data.path, run.path, kimg=0.2, **arguments)  # what was lost is trained again
    assert "kimg-00000.150" in capsys.readouterr().err
