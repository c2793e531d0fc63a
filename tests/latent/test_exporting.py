from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from plenish import cli, files, settings
from plenish.commands.export_model import export_model
from plenish.commands.generate import generate
from plenish.commands.train_generator import train_gan
from plenish.errors import AlreadyMade, CheckFailed, InputError
from plenish.latent.sampling import load_generator
from plenish.runs import Run
from plenish.training import model_files
from plenish.training.model_files import load_exported

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.fixture(scope="module")
def trained(module_stripes, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A generator that no test changes."""
    with settings.use(quiet=True):
        return train_gan(
            module_stripes().path, tmp_path_factory.mktemp("trained") / "run", recipe="dcgan", kimg=0.04,
            batch=10, checkpoint_kimg=0.02, validation=False, options=TINY,
        )  # fmt: skip


def test_weights_alone_make_the_same_dataset(trained: Run, tmp_path: Path) -> None:
    made = export_model(trained.path, tmp_path / "model", format="safetensors")
    assert made.difference == 0
    assert sorted(p.name for p in made.path.iterdir()) == [
        ".plenish.json", "config.json", "generator.safetensors",
    ]  # fmt: skip
    images = generate(trained.path, tmp_path / "images", 4, label="class1")
    network = load_exported(made.path)
    z, y = torch.from_numpy(images.array("z")), torch.from_numpy(images.array("y"))
    again = network(z, y).mul(127.5).add(127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(again - images.pixels.read(np.arange(4))).mean() < 2  # those were made in bfloat16


def test_facts_lie_beside_the_model(trained: Run, tmp_path: Path) -> None:
    export_model(trained.path, tmp_path / "model", format="torchscript", checkpoint="last")
    facts = json.loads((tmp_path / "model" / "config.json").read_text())
    assert facts["inputs"]["z"] == {"shape": ["batch", 8], "type": "float32", "prior": "N(0, 1)"}
    assert facts["inputs"]["y"]["labels"]["names"] == ["class0", "class1"]
    assert facts["output"]["image"]["shape"] == ["batch", 3, 16, 16]
    assert facts["provenance"]["weights_sha256"] == load_generator(trained.path, "last").weights_sha256
    assert "not for diagnosis" in facts["intended_use"]
    assert facts["licence"].startswith("as the training data")
    assert facts["largest_difference"] <= model_files.TOLERANCE
    assert facts["sha256"] == files.sha256_file(tmp_path / "model" / facts["file"])
    assert "external_data" not in facts


def test_torchscript_needs_no_plenish(trained: Run, tmp_path: Path) -> None:
    export_model(trained.path, tmp_path / "model", format="torchscript")
    file = tmp_path / "model" / "generator.pt"
    call = f"torch.jit.load({str(file)!r})(torch.zeros(3, 8), torch.eye(2)[[0, 1, 0]])"
    probe = f"import sys, torch\nprint({call}.shape)\n"
    probe += "assert 'plenish' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=False
    )
    assert "[3, 3, 16, 16]" in done.stdout, done.stderr
    assert zipfile.is_zipfile(file)


def test_onnx_from_the_command_line(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    capsys.readouterr()
    words = [
        "export-model",
        str(trained.path),
        str(tmp_path / "m"),
        "--as",
        "onnx",
        "--opset",
        "19",
        "--json",
    ]
    assert cli.run(words) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out)["largest_difference_from_the_network"] <= 1e-4
    model = onnx.load(tmp_path / "m" / "generator.onnx")
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 19
    session = runtime.InferenceSession(model.SerializeToString())
    for n in (1, 7):
        z, y = np.random.default_rng(n).normal(size=(n, 8)).astype("f4"), np.eye(2, dtype="f4")[[0] * n]
        (images,) = session.run(None, {"z": z, "y": y})
        assert images.shape == (n, 3, 16, 16)


@pytest.mark.parametrize(
    ("format", "option", "said"),
    [
        ("torchscript", "noise=random", "noise=random is not for an export, whose noise is constant"),
        ("torchscript", "truncatoin=0.5", "did you mean 'truncation'"),
        ("safetensors", "truncation=0.5", "weights alone; give --options when images are made"),
    ],
)
def test_options_that_an_export_cannot_hold_are_refused(
    trained: Run, tmp_path: Path, format: str, option: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        export_model(trained.path, tmp_path / "model", format=format, options=[option])  # type: ignore[arg-type]
    assert not (tmp_path / "model").exists()


def test_options_are_used_and_kept(trained: Run, tmp_path: Path) -> None:
    export_model(trained.path, tmp_path / "model", format="torchscript", options=["truncation=0.5"])
    facts = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (facts["truncation"], facts["noise"]) == (0.5, "constant")
    script = torch.jit.load(tmp_path / "model" / "generator.pt")
    z, y = torch.randn(2, 8), torch.eye(2)
    network = load_generator(trained.path).network
    with torch.no_grad():
        images = network.sample(z, y, truncation=0.5, noise="constant")
        assert torch.allclose(script(z, y), images.float(), atol=1e-2)
        assert torch.allclose(script(z, y), script(z, y))


def test_weights_beside_an_onnx_file_are_hashed_too(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    save = functools.partialmethod(torch.onnx.ONNXProgram.save, external_data=True)
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", save)
    folder = export_model(trained.path, tmp_path / "model").path
    facts = json.loads((folder / "config.json").read_text())
    models = {path.name: files.sha256_file(path) for path in folder.glob("generator*")}
    assert len(models) == 2
    assert {facts["file"]: facts["sha256"], **facts["external_data"]} == models


def test_a_model_that_differs_is_not_written(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = model_files.write_model

    def wrong(model, *rest):
        real(model, *rest)
        with torch.no_grad():
            model.weights.project.weight.add_(1)

    monkeypatch.setattr(model_files, "write_model", wrong)
    with pytest.raises(CheckFailed, match=r"safetensors .* 0\.0001"):
        export_model(trained.path, tmp_path / "model", format="safetensors")
    assert not list(tmp_path.glob("model*"))


def test_a_missing_package_gets_one_sentence(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else real(name))
    with pytest.raises(InputError, match=r"onnx and onnxscript.*pip install 'plenish\[onnx\]'"):
        export_model(trained.path, tmp_path / "model")
    with pytest.raises(InputError, match=r"--opset .*18.* 3"):
        export_model(trained.path, tmp_path / "model", opset=3)


def test_a_changed_or_foreign_export_is_refused(trained: Run, tmp_path: Path) -> None:
    export_model(trained.path, tmp_path / "model", format="safetensors")
    with pytest.raises(AlreadyMade, match=str(tmp_path / "model")):
        export_model(trained.path, tmp_path / "model", format="safetensors")
    with pytest.raises(InputError, match=str(tmp_path / "model")):
        export_model(trained.path, tmp_path / "model", format="torchscript")
    file = tmp_path / "model" / "generator.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(InputError, match=r"/generator\.safetensors"):
        load_exported(tmp_path / "model")
    export_model(trained.path, tmp_path / "script", format="torchscript")
    with pytest.raises(InputError, match=r"script .*--as safetensors"):
        load_exported(tmp_path / "script")


def test_spectral_norm_is_divided_out() -> None:
    from plenish.networks.gan import build, network_config

    torch.manual_seed(0)
    g, _ = build("sagan", network_config("sagan", {"size": 16, "width": 4, "max_width": 8, "z_dim": 6}))
    with torch.no_grad():
        g.project.weight.mul_(7)
    z = torch.randn(3, 6)
    before = g.eval()(z)
    model_files.fold(g)
    assert torch.equal(g.project.normed(), g.project.weight)
    assert torch.allclose(g(z), before, atol=1e-6)


def test_weights_of_a_file_are_those_of_the_average(trained: Run, tmp_path: Path) -> None:
    export_model(trained.path, tmp_path / "model", format="safetensors")
    best = load_generator(trained.path)
    exported = load_file(tmp_path / "model" / "generator.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in best.network.state_dict().items())
