"""`plenish train advgan`: what is measured, resumed, used as an attack, and refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from plenish import cli, settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.train_advgan import train_advgan
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.judges import open_classifier
from plenish.options import read_options
from plenish.robustness.target import Target
from plenish.robustness.threat import lengths
from plenish.robustness.trained_perturber import is_measured, load_perturber
from plenish.runs import Run
from plenish.training import checkpoints

LINE = (
    "train advgan @data @{} --against @victim --eps 64/255 --kimg {} --batch 8 --width 4 "
    "--lr 0.01 --checkpoint-kimg 0.02 --options network.d_width=4 schedule.log_kimg=0.01"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset with two splits, classifiers, and a perturber with its test part measured."""
    home = tmp_path_factory.mktemp("advgan")
    pages = "plenish.report.prediction_page.write_run_page"
    quiet = settings.use(quiet=True, threads=1, precision="float32")
    with pytest.MonkeyPatch.context() as patch, quiet:
        patch.setattr(pages, lambda *_: None)
        make_phantom(home / "data", patients=8, tiles=6, size=16)
        split_dataset(home / "data")
        split_dataset(home / "data", seed=3, name="other")
        train_classifier_run(home / "data", home / "victim", steps=30, batch=8, evaluations=1)
        train_classifier_run(home / "data", home / "same", steps=20, batch=8, evaluations=1, seed=1)
        train_classifier_run(home / "data", home / "elsewhere", steps=2, batch=8, split="other")
        assert ask(home, LINE.format("run", 0.08) + " --test") == 0
    return home


def ask(home: Path, line: str) -> int:
    words = [word.replace("@", f"{home}/") for word in shlex.split(line)]
    return cli.run([*words, "--quiet", "--threads", "1", "--precision", "float32"])


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    return {f"{p.stem}.{k}": v for p in newest.glob("*.safetensors") for k, v in load_file(p).items()}


def test_a_prolonged_run_equals_one_never_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.report.build.write_own_report", lambda *_: None)
    monkeypatch.setattr("plenish.robustness.trained_perturber.write_fooling", lambda *_: None)
    assert ask(home, LINE.format("parts", 0.04)) == 0
    assert ask(home, LINE.format("parts", 0.08)) == 0
    whole, parts = weights(home / "run"), weights(home / "parts")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    first, second = (Run.open(home / name).status for name in ("run", "parts"))
    assert first["best"] == second["best"]


def test_fooling_is_measured_beside_other_attacks_on_the_same_images(home: Path) -> None:
    run, data = Run.open(home / "run", "perturber"), Dataset.open(home / "data")
    table = pd.read_parquet(home / "run" / "fooling.parquet")
    parts = {part: data.part(part, purpose="report") for part in ("val", "test")}
    assert table["id"].tolist() == parts["val"].ids + parts["test"].ids
    attacks = ["perturber", "noise", "fgsm", "pgd"]
    assert not table.loc[~table["right"], attacks].to_numpy().any()
    assert table["pgd"].sum() >= table["fgsm"].sum()
    for row in run.status["fooling"]:
        mine = table[table["part"] == row["part"]]
        assert (row["images"], row["classified_right"]) == (len(mine), int(mine["right"].sum()))
        assert row["fooled"] == pytest.approx(mine.loc[mine["right"], row["attack"]].mean())
        assert {"low", "high"} <= row.keys()
    of_val = run.status["fooling"][0]
    assert (of_val["part"], of_val["attack"]) == ("val", "perturber")
    assert of_val["fooled"] > 0
    assert of_val["fooled"] == pytest.approx(run.status["best"]["val_fooled"])
    page = (home / "run" / "report.html").read_text()
    assert "FGSM" in page
    shown = re.findall(r'alt="Samples after [^"]*" width="(\d+)"', page)
    assert shown
    assert min(map(int, shown)) >= 760
    assert run.config["parents"][0]["id"] == run.config["config"]["against"]["id"]


def test_the_same_command_reads_the_test_part_no_more(home: Path) -> None:
    reads = Dataset.open(home / "data").test_reads()
    assert ask(home, LINE.format("run", 0.08) + " --test") == 0
    assert Dataset.open(home / "data").test_reads() == reads


def test_an_older_measurement_is_shown_no_more_and_made_again(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert is_measured(run, test=True)
    run.update_status(fooling=[{"part": "val", "images": 12, "fooled": 0.5}, *run.status["fooling"]])
    assert not is_measured(run, test=False)
    run.update_status(fooling=run.status["fooling"][:1])
    assert not is_measured(run, test=False)
    assert "classified right" in (home / "run" / "report.html").read_text(encoding="utf-8").lower()
    assert cli.run(["report", str(tmp_path / "page.html"), "--run", str(run.path), "--quiet"]) == 0
    assert "classified right" not in (tmp_path / "page.html").read_text(encoding="utf-8").lower()


def test_a_trained_perturber_is_an_attack(home: Path) -> None:
    attack = load_perturber(home / "run")
    val = Dataset.open(home / "data").part("val", purpose="report")
    images = torch.from_numpy(val.images()).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(val.codes)
    model = Target.of_classifier(open_classifier(home / "victim", 3), {}).module
    made = attack(model, images, labels, 64 / 255)
    assert bool((lengths(made - images, "linf") <= 64 / 255 + 1e-6).all())
    fooled = (model(made).argmax(1) != labels) & (model(images).argmax(1) == labels)
    table = pd.read_parquet(home / "run" / "fooling.parquet")
    np.testing.assert_array_equal(fooled.numpy(), table.loc[table["part"] == "val", "perturber"])
    assert torch.equal(attack(model, images, labels, 0.0), images)
    smaller = attack(model, images, labels, 4 / 255, seed=3, precision="float32")
    assert bool((lengths(smaller - images, "linf") <= 4 / 255 + 1e-6).all())
    with pytest.raises(InputError):
        attack(model, images, labels, 0.5, norm="l2")
    with pytest.raises(InputError):
        attack(model, images[:, :, :8, :8], labels, 4 / 255)


def test_an_evaluation_tries_a_perturber_too(home: Path) -> None:
    line = (
        "attack @victim @data --out @attacked --perturber @run --attacks noise --eps 64/255 --no-corruptions"
    )
    assert ask(home, line) == 0
    content = json.loads((home / "attacked" / "attack.json").read_text(encoding="utf-8"))
    (row,) = [attack for attack in content["attacks"] if attack["name"] == "perturber"]
    table = pd.read_parquet(home / "run" / "fooling.parquet").query("part == 'val'")
    withstood = table["right"] & ~table["perturber"]
    assert row["results"][-1]["accuracy"] == pytest.approx(withstood.mean())
    assert content["perturber"]["run_id"] == Run.open(home / "run").id


class Stopped(Exception):
    """The training itself would begin."""


def test_every_option_arrives_and_is_repeated(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr("plenish.robustness.advgan_run.fit", stop)
    asked = {
        "against": home / "elsewhere", "eps": "0.25", "norm": "l2", "split": "other", "seed": 3, "kimg": 0.5,
        "batch": 4, "width": 8, "lr": 0.02, "gan": 0.3, "confidence": 2.0, "checkpoint_kimg": 0.1,
        "patience": 2, "domain": "faces", "options": ["network.d_layers=1"],
    }  # fmt: skip
    with pytest.raises(Stopped), settings.use(quiet=True):
        train_advgan(home / "data", home / "options", **asked)
    run = Run.open(home / "options")
    config = run.config["config"]
    assert run.seed == 3
    assert config["training"] == {
        "norm": "l2", "eps": 0.25, "batch": 4, "lr": 0.02, "beta1": 0.5, "beta2": 0.999, "confidence": 2.0,
        "gan": 0.3, "symmetry": "mirror",
    }  # fmt: skip
    assert (config["network"]["width"], config["network"]["d_layers"]) == (8, 1)
    assert [config["schedule"][key] for key in ("kimg", "checkpoint_kimg", "patience")] == [0.5, 0.1, 2]
    command = cli.load_command("train advgan")
    values, _ = read_options("train advgan", command, shlex.split(run.commands[0]["repeat"])[3:])
    assert {key: values[key] for key in asked} == asked


@pytest.mark.parametrize(
    ("typed", "norm", "eps"),
    [
        ("", "linf", 8 / 255), ("--norm l2", "l2", 0.5), ("--options training.norm=l2", "l2", 0.5),
        ("--norm l2 --eps 8/255", "l2", 8 / 255),
    ],
)  # fmt: skip
def test_the_default_radius_is_one_of_the_norm(
    home: Path, tmp_path: Path, typed: str, norm: str, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise InputError("The training itself would begin.")

    monkeypatch.setattr("plenish.robustness.advgan_run.fit", stop)
    assert ask(home, f"train advgan @data {tmp_path}/run --against @victim --batch 8 {typed}") == 2
    method = Run.open(tmp_path / "run").config["config"]["training"]
    assert (method["norm"], method["eps"]) == (norm, pytest.approx(eps))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train advgan @data @x", "--against"),
        ("train advgan @data @x --against @victim --eps 2", "eps"),
        ("train advgan @data @x --against @victim --eps 0", "eps"),
        ("train advgan @data @x --against @victim --eps four", "eps"),
        ("train advgan @data @x --against @victim --options training.eps=0", "eps"),
        ("train advgan @data @x --against @victim --norm l2 --eps 28", "eps"),
        ("train advgan @data @run --against @victim --norm l2", "--norm"),
        ("train advgan @data @run --against @same --eps 64/255", "--against"),
        ("attack @victim @data --out @x --norm l2 --eps 28", "eps"),
        ("train advgan @data @x --against @elsewhere", "split"),
        ("train advgan @data @x --against @data", "Run"),
        ("train advgan @data @x --against @victim --batch 100", "--batch"),
        ("train advgan @data @x --against @victim --options network.widht=2", "width"),
        ("train advgan @data @run --against @victim --eps 8/255", "eps"),
        ("train advgan @nowhere @x --against @victim", "nowhere"),
        ("attack @victim @data --out @x --perturber @run --norm l2", "l2"),
        ("attack @victim @data --out @x --perturber @victim", "victim"),
    ],
)
def test_bad_input_gets_one_sentence(
    home: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, line) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1
    assert not (home / "x").exists()
