"""`plenish attack` through the command line: what it writes, its exit codes, and input it refuses."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plenish import cli, files, settings
from plenish.commands.attack import attack
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.metrics.caveats import Caveat
from plenish.report.attack_words import FLAGS

FEW = ["--eps", "0", "2/255", "64/255", "--attacks", "noise", "fgsm", "pgd", "--no-corruptions"]
QUICK = [*FEW, "--images", "12", "--device", "cpu", "--precision", "float32", "--threads", "1", "--quiet"]


def stripes(out: Path, names: tuple[str, ...] = ("across", "down"), size: int = 16) -> None:
    """Write a Dataset of stripes, whose direction is the class, in six groups a part."""
    rng = np.random.default_rng(0)
    code = np.arange(120) % 2
    line = (np.arange(size) // 2 % 2 * 40 + 108).astype(float)
    pixels = np.where(code[:, None, None] == 0, line[None, None, :], line[None, :, None])
    pixels = (pixels[..., None] + rng.normal(0, 12, (120, size, size, 3))).clip(0, 255).astype(np.uint8)
    parts = np.array(["train", "train", "val", "val", "test"])[np.arange(120) // 4 % 5]
    rows = [{"label": names[code[i]], "group": f"g{i // 4}", "part": str(parts[i])} for i in range(120)]
    labels = LabelSchema("categorical", names)
    with DatasetWriter(out, name=out.name, size=size, channels=3, labels=labels, config={}) as writer:
        writer.add(pixels, rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset, a Run, and a TorchScript file of the direction in which an image changes more."""
    home = tmp_path_factory.mktemp("home")
    stripes(home / "data")
    stripes(home / "others", ("left", "right"))
    stripes(home / "larger", size=20)
    with settings.use(quiet=True, threads=1, precision="float32", device="cpu"):
        train_classifier_run(home / "data", home / "run", steps=30, batch=16, evaluations=1)

    def direction(images: torch.Tensor) -> torch.Tensor:
        across = images.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return 40 * torch.stack([across, images.diff(dim=2).abs().mean(dim=(1, 2, 3))], dim=1)

    with warnings.catch_warnings(action="ignore"):  # PyTorch wants to be rid of TorchScript; users have it.
        torch.jit.trace(direction, torch.rand(2, 3, 16, 16)).save(str(home / "direction.pt"))
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def run(*words: str) -> int:
    return cli.run(["attack", *words, *QUICK])


@pytest.fixture(scope="module")
def out(home: Path) -> Path:
    """What the command writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert run("run", "data", "--out", "found") == 0
    return home / "found"


def test_it_writes_everything(out: Path) -> None:
    assert {path.name for path in out.iterdir()} >= {
        "attack.json", "attack.html", "attack.sarif", "examples.parquet", "gallery.npz"
    }  # fmt: skip
    content = files.read_record(out / "attack.json")
    assert content["threat"]["eps"] == pytest.approx([0, 2 / 255, 64 / 255])
    worst = [row["accuracy"][0] for row in content["worst_case"]]
    assert worst[0] == content["clean"]["accuracy"][0]
    assert worst[0] >= worst[1] >= worst[2]
    assert content["command"]["repeat"].startswith("plenish attack run data")
    assert "2/255 64/255" in content["command"]["repeat"]
    table = pd.read_parquet(out / "examples.parquet")
    assert len(table) == content["data"]["images"] == 12
    page = (out / "attack.html").read_text(encoding="utf-8")
    assert "64/255" in page
    log = json.loads((out / "attack.sarif").read_text(encoding="utf-8"))
    location = log["runs"][0]["results"][0]["locations"][0] if log["runs"][0]["results"] else None
    if location is not None:
        assert location["physicalLocation"]["artifactLocation"]["uri"] == "run/config.json"


def test_the_same_command_again_gives_the_same(out: Path) -> None:
    before = (out / "attack.json").read_bytes()
    assert run("run", "data", "--out", "found") == 0
    assert (out / "attack.json").read_bytes() == before
    assert run("run", "data", "--out", "found", "--seed", "3") == 2


def test_too_little_accuracy_is_exit_code_3_after_everything_is_written(
    capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    words = ["direction.pt", "data", "--out", "gated", "--fail-under", "0.9"]
    for _ in range(2):  # The answer of the same command is the same, too.
        assert run(*words, "--json") == 3
        printed = json.loads(capsys.readouterr().out)
        assert printed["worst_case"][-1]["accuracy"] < 0.9
    log = json.loads(Path("gated/attack.sarif").read_text(encoding="utf-8"))
    rules = [result["ruleId"] for result in log["runs"][0]["results"]]
    assert "robust-accuracy" in rules
    assert Path("gated/attack.html").is_file()
    # What is asked of a result is no part of it: the page and the log follow, and nothing is attacked again.
    made = Path("gated/attack.json").read_bytes()
    words = ["direction.pt", "data", "--out", "gated", "--fail-under"]
    assert run(*words, "0.01", "--at", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["found"].startswith("At eps 0 ")
    log = json.loads(Path("gated/attack.sarif").read_text(encoding="utf-8"))
    assert "robust-accuracy" not in {result["ruleId"] for result in log["runs"][0]["results"]}
    assert "--fail-under 0.01" in Path("gated/attack.html").read_text(encoding="utf-8")
    assert run(*words, "0.9") == 3
    assert Path("gated/attack.json").read_bytes() == made
    # At eps 0 it is asked of images as they are.
    assert run("direction.pt", "data", "--out", "clean", "--fail-under", "0.9", "--at", "0") == 0


def test_a_torchscript_file() -> None:
    assert run("direction.pt", "data", "--out", "script", "--part", "test") == 0
    content = files.read_record(Path("script/attack.json"))
    assert content["data"]["part"] == "test"
    assert content["clean"]["accuracy"][0] > 0.9
    assert content["worst_case"][-1]["accuracy"][0] < 0.5


def test_a_radius_that_is_not_attacked_is_named_as_typed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["attack", "run", "data", *QUICK, "--at", "8/255", "--fail-under", "0.4", "--out", "refused"]
    assert cli.run(words) == 2
    assert "8/255" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "data", "--eps", "0", "1.5"],
        ["run", "data", "--eps", "0", "400/255"],
        ["run", "data", "--eps", "-0.1"],
        ["run", "data", "--eps", "-4/255"],
        ["run", "data", "--eps", "small"],
        ["run", "data", "--eps", "4/0"],
        ["run", "data", "--eps", "nan"],
        ["run", "data", "--eps", "0"],
        ["run", "data", "--eps"],
        ["run", "data", "--at", "3/255", "--fail-under", "0.4"],
        ["run", "data", "--at", "small"],
        ["run", "data", "--at", "nan", "--fail-under", "0.4"],
        ["run", "data", "--at", "inf"],
        ["run", "data", "--fail-under", "nan"],
        ["run", "data", "--attacks", "noise", "--fail-under", "0.4"],
        ["run", "data", "--fail-under", "40"],
        ["run", "data", "--attacks", "pdg"],
        ["run", "data", "--attacks"],
        ["run", "data", "--norm", "l1"],
        ["run", "data", "--images", "0"],
        ["run", "data", "--part", "validation"],
        ["run", "data", "--split", "folds"],
        ["run", "others"],
        ["run", "larger"],
        ["run", "nowhere"],
        ["nowhere", "data"],
        ["data", "data"],
        ["data/dataset.json", "data"],
        ["direction.pt", "larger", "--weights", "direction.pt"],
        ["direction.pt", "data", "--std", "0"],
        ["direction.pt", "data", "--std", "nan"],
        ["direction.pt", "data", "--std", "inf"],
        ["direction.pt", "data", "--mean", "nan"],
        ["direction.pt", "data", "--mean", "0.5", "0.5", "inf"],
        ["direction.pt", "data", "--mean", "127", "--std", "50"],
        ["direction.pt", "data", "--mean", "-0.1"],
        ["timm:resnet18", "data", "--weights", "direction.pt", "--std", "nan"],
        ["run"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_used_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    # What was typed last counts, so the options come behind the quick ones.
    assert cli.run(["attack", *words[:2], *QUICK, *words[2:], "--out", "refused"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("plenish: ")
    assert "Traceback" not in said
    assert not list(Path.cwd().glob("refused*"))


def test_a_control_alone_is_said_to_be_no_attack(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["direction.pt", "data", *QUICK, "--attacks", "noise", "--out", "control"]
    assert cli.run(["attack", *words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "no attack tried succeeded" not in said["found"]
    assert ["right_under_noise" in row for row in said["worst_case"]] == [True] * len(said["worst_case"])
    assert not any("no_attack_succeeded_on" in row for row in said["worst_case"])
    content = files.read_record(Path("control/attack.json"))
    told = str(Caveat("controls-alone"))
    assert "controls-alone" in [caveat["code"] for caveat in content["caveats"]]
    assert told in said["caveats"]
    page = Path("control/attack.html").read_text(encoding="utf-8")
    assert told in page
    assert "right under noise" in page
    for words_of_attacks in ("no attack succeeded", "under all attacks", "right under attack"):
        assert words_of_attacks not in page
    log = json.loads(Path("control/attack.sarif").read_text(encoding="utf-8"))
    notes = log["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert "controls-alone" in [note["descriptor"]["id"] for note in notes]
    assert cli.run(["attack", *words, "--fail-under", "0.4"]) == 2  # Of a result that is there, too.


def test_other_weights_beside_a_file_make_another_classifier() -> None:
    Path("apart.pt").write_bytes(Path("direction.pt").read_bytes())
    Path("apart.pt.data").write_bytes(b"weights")
    words = ["apart.pt", "data", "--out", "apart", "--attacks", "noise"]
    assert run(*words) == 0
    assert run(*words) == 0  # It is there.
    Path("apart.pt.data").write_bytes(b"other weights")
    assert run(*words) == 2


def test_a_file_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["direction.pt", "data", "--out", "holed", "--attacks", "fgsm"]
    assert run(*words) == 0
    Path("holed/gallery.npz").unlink()
    assert run(*words) == 2
    assert "gallery.npz" in capsys.readouterr().err


def test_a_failed_check_is_told_with_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    def saturated(images: torch.Tensor) -> torch.Tensor:
        across = images.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return 1e6 * torch.stack([across, images.diff(dim=2).abs().mean(dim=(1, 2, 3))], dim=1)

    with warnings.catch_warnings(action="ignore"):
        torch.jit.trace(saturated, torch.rand(2, 3, 16, 16)).save("saturated.pt")
    assert run("saturated.pt", "data", "--out", "saturated", "--json") == 0
    said = next(one for one in json.loads(capsys.readouterr().out)["failed"] if "softmax" in one)
    assert "100.0\u00a0%" in said
    assert FLAGS["softmax"].title not in said
    assert said.endswith(FLAGS["softmax"].advice)
    page = Path("saturated/attack.html").read_text(encoding="utf-8")
    assert FLAGS["softmax"].failed in page


def test_the_python_of_the_docs_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").symlink_to(home / "run")
    (tmp_path / "tiles").symlink_to(home / "data")
    page = Path(__file__).parents[2] / "docs" / "robustness.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 1
    with settings.use(quiet=True, threads=1, precision="float32", device="cpu"):
        for block in blocks:
            exec(compile(block, str(page), "exec"), {})


def test_numbers_may_be_given_in_python(home: Path) -> None:
    with settings.use(quiet=True, threads=1, precision="float32", device="cpu"):
        how: dict[str, Any] = {"attacks": ("fgsm",), "images": 8, "corruptions": False}
        found = attack(
            home / "run", home / "data", out=home / "python", eps=(0.0, 4 / 255), at=4 / 255, **how
        )
    assert found.summary()["images"] == 8
    shutil.rmtree(home / "python")


@pytest.mark.parametrize("words", [["--part", "test"], ["--split", "default"]])
def test_a_synthetic_dataset_has_no_parts(
    honest: Dataset, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", str(honest.path), "--out", "refused", *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not list(Path.cwd().glob("refused*"))
