"""`plenish train queue`: isolation, going on, the table."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from plenish import cli, settings
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.commands.train_queue import train_queue
from plenish.errors import InputError
from plenish.options import read_options
from plenish.runs import Run
from plenish.training import queue

COMMON = {
    "kind": "autoencoder-queue",
    "network": {"filters": [4, 4], "latent_features": 2},
    "training": {"batch": 8},
    "schedule": {"epochs": 1, "patience": 0},
}


def _file(tmp_path: Path, variants: dict, **more: object) -> str:
    path = tmp_path / "queue.yaml"
    path.write_text(yaml.safe_dump({**COMMON, **more, "variants": variants}))
    return str(path)


@pytest.fixture
def in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """From its call on, all variants but those named are trained here, which saves loading torch."""

    def patch(*but: str) -> None:
        def wait_for(command: list[str]) -> tuple[int, str]:
            words = command[command.index("train") :]
            if Path(words[3]).name in but:
                return in_a_process(command)
            code = cli.run(words)
            said = capsys.readouterr().err.strip()
            return code, said if code else ""

        in_a_process = queue.wait_for
        monkeypatch.setattr(queue, "wait_for", wait_for)

    return patch


def test_a_variant_that_fails_stops_no_other_and_is_tried_again(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_this_process: Callable[..., None]
) -> None:
    in_this_process("broken")
    data = stripes()
    variants = {
        "broken": {"network": {"latent_features": 4}, "training": {"batch": 500}},
        "one": {"network": {"latent_features": 3}, "only": ["class1"], "seed": 5},
    }
    words = [_file(tmp_path, variants), str(data.path), str(tmp_path / "q"), "--quiet", "--threads", "1"]
    assert cli.run(["train", "queue", *words]) == 0
    assert "--batch 500 is more than the 36 images" in capsys.readouterr().out
    rows = {row["variant"]: row for row in csv.DictReader((tmp_path / "q" / "results.csv").open())}
    assert rows["broken"]["state"] == "failed"
    assert rows["one"]["state"] == "complete"
    assert float(rows["one"]["val_mse"]) > 0 < float(rows["one"]["val_ssim"]) + 1
    assert not rows["one"]["test_mse"], "the test part is not read"
    run = Run.open(tmp_path / "q" / "one")
    assert (run.seed, run.config["config"]["only"]) == (5, ["class1"])
    assert run.config["config"]["network"]["latent_features"] == 3
    assert run.config["config"]["training"]["batch"] == 8
    variants["broken"]["training"]["batch"] = 8
    in_this_process()
    made = train_queue(_file(tmp_path, variants), data.path, tmp_path / "q", only=["broken"])
    assert {row["state"] for row in made.rows} == {"complete"}
    values = [row["val_mse"] for row in made.rows]
    assert values == sorted(values)
    assert made.summary()["failed"] == []


def test_a_process_is_waited_for() -> None:
    assert queue.wait_for([sys.executable, "-c", "print('done')"]) == (0, "")
    assert queue.wait_for([sys.executable, "-c", "raise SystemExit('plenish: no')"]) == (1, "no")


def test_a_queue_in_which_every_variant_fails_has_failed(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str], in_this_process: Callable[[], None]
) -> None:
    in_this_process()
    broken = {"training": {"batch": 500}}
    words = [_file(tmp_path, {"a": broken, "b": broken}), str(stripes().path), str(tmp_path / "q")]
    assert cli.run(["train", "queue", *words, "--quiet", "--threads", "1"]) == 3
    said = capsys.readouterr().err
    assert "No variant was trained" in said
    assert "--batch 500 is more than the 36 images" in said
    assert len(list(csv.DictReader((tmp_path / "q" / "results.csv").open()))) == 2


def test_every_setting_reaches_the_process_of_a_variant(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings.Settings("cpu", 1, "float32", quiet=True, json=True, deterministic=True)
    defaults = settings.Settings()
    assert all(getattr(asked, f.name) != getattr(defaults, f.name) for f in dataclasses.fields(asked))
    commands: list[list[str]] = []
    monkeypatch.setattr(
        "plenish.training.queue.wait_for", lambda command: commands.append(command) or (0, "")
    )
    with settings.use(**dataclasses.asdict(asked)):
        train_queue(_file(tmp_path, {"a": {}}), stripes().path, tmp_path / "q")
    (command,) = commands
    verb = command.index("autoencoder") + 1
    _, found = read_options("plenish train autoencoder", train_autoencoder, command[verb:])
    assert settings.Settings(**found) == asked


@pytest.mark.parametrize(
    ("variants", "sentence"),
    [
        ({}, "names no variants"),
        ({"../a": {}}, "cannot name a variant"),
        ({"a": 3}, "must hold sections"),
        ({"a": {"network": 3}}, "must hold options"),
        ({"a": {"netwrk": {}}}, "did you mean 'network'"),
    ],
)
def test_bad_files_are_told_before_anything_is_trained(
    stripes, tmp_path: Path, variants: dict, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        train_queue(_file(tmp_path, variants), stripes().path, tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_other_folders_other_data_and_unknown_variants_are_refused(stripes, tmp_path: Path) -> None:
    recipe = _file(tmp_path, {"a": {}})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(InputError, match="is not a queue"):
        train_queue(recipe, stripes().path, tmp_path / "full")
    with pytest.raises(InputError, match="Unknown variant 'b'"):
        train_queue(recipe, stripes("again").path, tmp_path / "q", only=["b"])
    with pytest.raises(InputError, match="for 'plenish train autoencoder'"):
        train_queue("autoencoder", stripes("third").path, tmp_path / "q")


def test_the_published_queue() -> None:
    from plenish.commands.train_queue import _variants
    from plenish.recipes import load_recipe

    found = _variants(load_recipe("tcga-autoencoders"))
    networks = [found[f"model_{i}"]["recipe"]["network"] for i in (1, 2, 3, 4)]
    assert [n["latent_features"] for n in networks] == [256, 512, 1024, 512]
    assert [n["filters"] for n in networks] == [[8, 16, 32]] * 3 + [[8, 16, 32, 64]]


def test_recipe_run_takes_the_verb_of_the_recipe(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    words = ["recipe", "run", "mnist-autoencoder", str(data.path), str(tmp_path / "run"), "--epochs", "1"]
    assert cli.run([*words, "--batch", "8", "--quiet", "--threads", "1"]) == 0
    assert Run.open(tmp_path / "run").kind == "autoencoder"
    assert cli.run(["recipe", "run", "mnist-autoencodr", str(data.path), str(tmp_path / "no")]) == 2
    assert "did you mean 'mnist-autoencoder'" in capsys.readouterr().err
