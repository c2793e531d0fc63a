"""Every option of every training, study and tiling verb arrives, and the recorded command repeats it.

An option set to a value that is not its default must be in the recorded command, change the frozen
configuration and be in the report's line, which the command line reads as the same call. The trainings
themselves are left out there; at the end, one of each kind is run, repeated by its line, and compared.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish import cli, files, settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.generate import generate
from plenish.commands.slides import make_slides
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.differences import differences
from plenish.invocation import REQUIRED, Parameter
from plenish.options import read_options
from plenish.report.inputs import gather
from plenish.report.page import Code
from plenish.report.record import repeat
from plenish.runs import Run


class Stopped(Exception):
    """The work itself, which is not looked at here, would begin."""


WORK = {
    "train generator": "plenish.training.generator.train_generator",
    "train autoencoder": "plenish.training.autoencoder_run.fit",
    "train classifier": "plenish.training.classifier_run.train_in_run",
    "harden": "plenish.training.classifier_run.train_in_run",
    "train translate": "plenish.training.translation_run.fit",
    "study": "plenish.study.experiment._run_cells",
    "study autoencoders": "plenish.study.class_autoencoders.run_class_study",
}
"""What is left out of each verb that makes a Run."""
GENERATOR: dict[str, Any] = {
    "recipe": "dcgan-small", "family": "vanilla", "split": "other", "lr": 1e-3, "kimg": 0.5, "batch": 4,
    "hours": 0.05, "width": 16, "conditional": False, "checkpoint_kimg": 0.3, "keep": 2,
    "on_failure": "rollback", "domain": "faces", "start_from": Path("gan"), "order": "random",
    "options": ["adversarial.smoothing=0.2", "limits.window=3"],
}  # fmt: skip
CLASSIFIER: dict[str, Any] = {
    "split": "other", "classifier": "resnet10t", "steps": 7, "learning_rate": 1e-4, "loss": "focal",
    "order": "balanced", "pretrained": Path("weights.safetensors"), "symmetry": "none", "domain": "text",
    "augmentation": "classical", "drawing": ["90x2", "naturalx1"], "doping": ["30x2", "realx1"], "draws": 40,
    "epochs": 2.5, "synthetic": Path("synthetic"), "drop_rate": 0.2, "freeze": "1", "unfreeze_at": (0.5,),
    "columns": ("nuclei",), "share": 0.5,
}  # fmt: skip
VALUES: dict[str, dict[str, Any]] = {
    "train generator": GENERATOR,
    "train autoencoder": {
        "recipe": "mnist-autoencoder", "split": "other", "filters": [4, 4], "latent_features": "none",
        "variational": True, "denoise": 0.1, "only": ["tumour"], "epochs": 2.5, "batch": 4, "lr": 1e-2,
        "patience": 1, "options": ["network.norm=batch"],
    },
    "train classifier": CLASSIFIER,
    "harden": CLASSIFIER | {
        "generated": Path("synthetic"), "attack_steps": 3, "step_size": 0.01, "beta": 2.0,
        "eps": "2/255",
    },
    "train translate": {
        "recipe": "sketch", "split": "other", "kimg": 0.5, "batch": 2, "width": 16, "lr": 1e-3,
        "checkpoint_kimg": 0.3, "patience": 1, "domain": "radiology",
        "options": ["sketch.width_most=2", "network.d_layers=1"],
    },
    "study": CLASSIFIER | {
        "generator": Path("gan"), "synthetic": Path("synthetic"), "arms": ("real", "oversample"),
        "generator_sweep": [Path("gan"), Path("gan2")], "test_data": Path("elsewhere"), "folds": 3,
        "ratios": (0.5,), "arms_file": Path("arms.yaml"), "on": "ray", "robust": "4/255",
        "robust_attacks": ("apgd-ce",),
    },
    "study autoencoders": {
        "recipe": "two-autoencoders", "classes": ["tumour", "normal"], "split": "other", "epochs": 2.5,
        "batch": 4, "patience": 1, "level": 0.9, "options": ["network.norm=batch"],
    },
    "slides tile": {
        "annotations": Path("slides"), "size": 48, "mpp": 1.0, "level": 1, "stride": 20, "assume_mpp": 0.7,
        "priority": ["tumour"], "holes": ["none"], "rename": ["tumour=cancer"], "background": "rest",
        "metadata": Path("table.csv"), "group_column": "case_id", "label_column": "grade", "images": "png",
        "name": "tiles", "licence": "CC0", "intended_use": "teaching", "workers": 2, "tissue_dark": 0.2,
        "tissue_saturation": 0.05, "tissue_close_um": 20.0, "tissue_speck_um2": 5.0, "tissue_hole_um2": 7.0,
        "per_class": 9, "per_slide": 9, "quality": 70, "min_sharpness": 0.01,
    },
}  # fmt: skip
"""Values that are not the default, for options whose type does not say one."""
WITH: dict[str, dict[str, Any]] = {
    "domain": {"recipe": "auto"}, "train translate domain": {}, "variational": {"latent_features": 4},
    "synthetic": {"arms": ("synthetic",)}, "generator": {"arms": ("synthetic",)}, "mpp": {"level": None},
    "pretrained": {"classifier": "small"}, "symmetry": {"augmentation": "classical"},
    "generator_sweep": {"arms": ("synthetic",)}, "ratios": {"synthetic": Path("synthetic")},
    "rename": {"annotations": Path("slides")}, "priority": {"annotations": Path("slides")},
    "group_column": {"metadata": Path("table.csv")}, "label_column": {"metadata": Path("table.csv")},
    "start_from": {"recipe": "dcgan", "width": 4, "kimg": 0.2},
    "quality": {"images": "jpeg"}, "weight_power": {"loss": "weighted"}, "focal_gamma": {"loss": "focal"},
    "prior_power": {"loss": "logit-adjusted"}, "draws": {"order": "balanced"},
    "doping": {"synthetic": Path("synthetic")}, "share": {"synthetic": Path("synthetic")},
    "harden doping": {"generated": Path("synthetic")}, "harden share": {"generated": Path("synthetic")},
    "harden draws": {"generated": Path("synthetic"), "order": "balanced"},
    "harden drawing": {"generated": Path("synthetic")}, "harden awp_warmup": {"awp": 0.01},
    "ldam_margin": {"loss": "ldam"}, "ldam_scale": {"loss": "ldam"},
    "reweight_at": {"loss": "ldam"}, "unfreeze_at": {"freeze": "all"},
    "gamma_absent": {"loss": "asymmetric"}, "gamma_present": {"loss": "asymmetric"},
    "clip": {"loss": "asymmetric"}, "stain": {"domain": "histology"},
    "plateau_factor": {"schedule": "plateau"}, "plateau_patience": {"schedule": "plateau"},
    "robust_norm": {"robust": "4/255"}, "robust_attacks": {"robust": "4/255"},
    "robust_steps": {"robust": "4/255"}, "robust_images": {"robust": "4/255"},
}  # fmt: skip
"""Options that go only with others."""
BASE: dict[str, dict[str, Any]] = {
    "train generator": {"validation": False, "batch": 8},
    "study": {"arms": ("real",), "seeds": 1},
    "slides tile": {"size": 32, "level": 0, "min_tissue": 0.1, "workers": 1},
    "study autoencoders": {"batch": 8},
    "train autoencoder": {"batch": 8},
    "train translate": {"batch": 8, "options": ["network.d_layers=1"]},
}  # fmt: skip
ONLY_RECORDED = {
    "retry", "errors", "workers", "on", "generator", "synthetic", "generator_sweep", "recipe",
    # The study's Run is frozen without how its cells are analysed, which study.json holds.
    "study level", "study resamples",
}  # fmt: skip
"""Options that need not change the configuration: how the work is done, or where from."""
ELSEWHERE = {"study cross_fit", "study kimg", "train generator stage"}
"""Options that need generators trained first."""
REFUSED = {"harden columns", "harden gamma_absent", "harden gamma_present", "harden clip"}
"""Options of all classifiers that one verb has no use for, and says so."""


WRITE_NOTHING = ("dry_run", "show")
"""Options with which a verb does nothing that is kept."""


def cases() -> Iterator[Any]:
    for verb in (*WORK, "slides tile"):
        for parameter in cli.load_command(verb).parameters.values():
            named = f"{verb} {parameter.name}"
            writes = parameter.name not in WRITE_NOTHING and named not in ELSEWHERE | REFUSED
            if parameter.default is not REQUIRED and writes:
                value = other_value(verb, parameter)
                yield pytest.param(verb, parameter, value, id=f"{verb} {parameter.name}")
                also_bool = bool in getattr(parameter.hint, "__args__", ()) and not isinstance(value, bool)
                if also_bool and parameter.name != "pretrained":  # Weights are fetched before it begins.
                    yield pytest.param(verb, parameter, True, id=f"{verb} {parameter.name} true")


def other_value(verb: str, parameter: Parameter) -> Any:
    """A value that is not the default."""
    if parameter.name in VALUES[verb]:
        return VALUES[verb][parameter.name]
    default = parameter.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default * 0.75 if default else 0.25
    choices = getattr(parameter.hint, "__args__", ())
    others = [choice for choice in choices if isinstance(choice, str) and choice != default]
    assert others, f"no value for {verb} {parameter.name}"
    return others[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset with two splits, a generator, its images, slides, a table of them and weights."""
    home = tmp_path_factory.mktemp("home")
    with settings.use(quiet=True, threads=1):
        make_phantom(home / "data", patients=8, tiles=6, size=16)
        split_dataset(home / "data")
        split_dataset(home / "data", seed=3, name="other")
        make_slides(home / "slides", slides=1, width=512, height=512)
        train_gan(home / "data", home / "gan", recipe="dcgan", kimg=0.1, batch=8, width=4, validation=False)
        generate(home / "gan", home / "synthetic", 40)
        shutil.copytree(home / "gan", home / "gan2")
        make_elsewhere(home / "elsewhere")
    (home / "arms.yaml").write_text("smooth: {smoothing: 0.3}", encoding="utf-8")
    labels = LabelSchema("multilabel", ("a", "b"))
    with DatasetWriter(home / "tags", name="tags", size=16, channels=3, labels=labels, config={}) as writer:
        parts = ["train", "train", "val"] * 4
        rows = [{"label": ["ab"[k % 2]], "source": f"{k}.png", "part": parts[k]} for k in range(12)]
        writer.add(np.zeros((12, 16, 16, 3), np.uint8), rows)
    (home / "table.csv").write_text("slide_id,case_id,grade\nphantom-0000,a,low\n", encoding="utf-8")
    return home


def make_elsewhere(path: Path) -> None:
    """Images like those of the phantom, of other patients."""
    rng = np.random.default_rng(5)
    schema = LabelSchema("categorical", ("normal", "tumour"))
    writer = DatasetWriter(path, name="elsewhere", size=16, channels=3, labels=schema, config={})
    with writer:
        rows = [{"label": schema.names[i % 2], "group": f"other{i}"} for i in range(8)]
        writer.add(rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8), rows)


@pytest.fixture(scope="module")
def weights(home: Path) -> Path:
    from safetensors.torch import save_file

    from plenish.networks.classifier import build_classifier

    save_file(build_classifier("small", 3, 16, 2).state_dict(), home / "weights.safetensors")
    return home / "weights.safetensors"


def ask(verb: str, home: Path, out: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]) -> None:
    """Call a verb up to where the work begins."""

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        if verb in WORK:
            patch.setattr(WORK[verb], stop)
            patch.setattr("plenish.ray_worker.is_installed", lambda: True)
        tags = asked.get("loss") == "asymmetric"
        source = home / ("slides" if verb == "slides tile" else "tags" if tags else "data")
        try:
            cli.load_command(verb)(source, out, **asked)
        except Stopped:
            assert verb in WORK


def frozen(out: Path) -> dict[str, Any]:
    """What a Run or a Dataset keeps for good, but for the command and what follows from the time."""
    name = "config.json" if (out / "config.json").exists() else "dataset.json"
    content = files.read_json(out / name)
    return {key: value for key, value in content.items() if key not in ("command", "created")}


@pytest.fixture(scope="module")
def plain(home: Path) -> dict[str, dict[str, Any]]:
    """Configurations without an option, made once each."""
    return {}


def located(value: Any, home: Path) -> Any:
    """A value with its paths in the folder of the tests."""
    if isinstance(value, list):
        return [located(one, home) for one in value]
    return home / value if isinstance(value, Path) else value


@pytest.mark.parametrize(("verb", "parameter", "value"), list(cases()))
def test_an_option_arrives_and_is_repeated(
    verb: str, parameter: Parameter, value: Any, home: Path, weights: Path,
    plain: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name, command = parameter.name, cli.load_command(verb)
    value = located(value, home)
    assert value != parameter.default
    others = WITH.get(f"{verb} {name}", WITH.get(name, {}))
    known = {key: home / v if isinstance(v, Path) else v for key, v in others.items()}
    base = BASE.get(verb, {}) | {key: v for key, v in known.items() if key in command.parameters}
    out = tmp_path / "out"
    ask(verb, home, out, monkeypatch, base | {name: value})
    if f"{verb} {name}" not in ONLY_RECORDED and name not in ONLY_RECORDED:
        start = BASE[verb] if name == "mpp" else {k: v for k, v in base.items() if (k, v) != (name, value)}
        key = f"{verb} {sorted(start.items())}"
        if key not in plain:
            ask(verb, home, tmp_path / "plain", monkeypatch, start)
            plain[key] = frozen(tmp_path / "plain")
        found = {d.key for d in differences(plain[key], frozen(out))}
        assert found, f"--{name} changes nothing that is kept"
    (line,) = lines_of(verb, out)
    record = Run.open(out).commands[0] if verb in WORK else Dataset.open(out).manifest.command
    assert record is not None
    assert record["repeat"] == line
    option = command.option(name).lstrip("-")
    assert record["options"][option] == files_value(value)
    words = shlex.split(line)
    assert words[: 1 + len(verb.split())] == ["plenish", *verb.split()]
    again, _ = read_options(f"plenish {verb}", command, words[1 + len(verb.split()) :])
    expected = base | {name: value}
    assert {key: again.get(key) for key in expected} == {
        key: v if v != command.parameters[key].default else None for key, v in expected.items()
    }  # fmt: skip


def files_value(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, (tuple, list)):
        return [*map(files_value, value)]
    return str(value) if isinstance(value, Path) else value


def lines_of(verb: str, out: Path) -> list[str]:
    """The lines of the report's "how to repeat it" that run the verb."""
    part = {"data": out} if verb == "slides tile" else {"run": out}
    (code,) = repeat(gather(**part)).blocks
    assert isinstance(code, Code)
    return [line for line in code.lines if line.startswith(f"plenish {verb} ")]


REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "train generator": ("checkpoints", {
        "kimg": 0.1, "batch": 8, "width": 4, "validation": False, "seed": 3, "lr": 1e-3,
        "options": ["adversarial.smoothing=0.2"],
    }),
    "train autoencoder": ("errors.parquet", {
        "recipe": "mnist-autoencoder", "batch": 8, "epochs": 1.0, "filters": [4], "only": ["tumour"],
        "denoise": 0.2,
    }),
    "train translate": ("held_out.parquet", {
        "kimg": 0.05, "batch": 8, "width": 4, "options": ["network.d_width=4", "network.d_layers=1"],
    }),
    "train classifier": ("predictions.parquet", {
        "steps": 4, "batch": 8, "loss": "focal", "focal_gamma": 1.0,
    }),
    "harden": ("predictions.parquet", {
        "steps": 3, "batch": 8, "attack_steps": 2, "eps": "2/255", "validation_steps": 1, "evaluations": 1,
    }),
    "study": ("cells", {
        "arms": ("real", "oversample"), "seeds": 1, "steps": 4, "batch": 8, "resamples": 100,
        "learning_rate": 0.01, "level": 0.9,
    }),
    "study autoencoders": ("scores.parquet", {
        "batch": 8, "epochs": 1.0, "options": ["network.filters=[4]"], "shuffle": True, "resamples": 20,
    }),
    "slides tile": ("pixels", {
        "size": 32, "mpp": 1.0, "per_slide": 9, "seed": 5, "annotations": Path("slides"), "workers": 1,
    }),
}  # fmt: skip
"""What is run twice: the file or folder that must be the same, and options."""


@pytest.mark.parametrize("verb", REAL)
def test_the_recorded_command_makes_the_same_again(verb: str, home: Path, tmp_path: Path) -> None:
    result, asked = REAL[verb]
    asked = {key: home / value if isinstance(value, Path) else value for key, value in asked.items()}
    source = home / ("slides" if verb == "slides tile" else "data")
    with settings.use(quiet=True, threads=1):
        cli.load_command(verb)(source, tmp_path / "out", **asked)
    (line,) = lines_of(verb, tmp_path / "out")
    words = shlex.split(line.replace(str(tmp_path / "out"), str(tmp_path / "again")))[1:]
    assert cli.run([*words, "--quiet"]) == 0
    made = [content_of(tmp_path / name / result) for name in ("out", "again")]
    assert made[0]
    assert made[0] == made[1]


def content_of(path: Path) -> dict[str, bytes]:
    """The tensors, arrays and tables in a file or below a folder; JSON says when and where it was made."""
    found = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
    kept = (".safetensors", ".npy", ".npz", ".parquet")
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in found if p.suffix in kept}
