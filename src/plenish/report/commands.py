"""The commands that make the same work again, from what its parts recorded of themselves."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish.report.inputs import ReportInputs

if TYPE_CHECKING:
    from plenish.runs import Run

# options of `plenish train gan` that have a name of their own: option -> key of the configuration
DIRECT = {
    "kimg": "schedule.kimg", "batch": "adversarial.batch", "width": "network.width",
    "checkpoint-kimg": "schedule.checkpoint_kimg", "keep": "schedule.keep",
}  # fmt: skip
STUDY_DEFAULTS = {
    "classifier": "small", "batch": 64, "ratio": 1.0, "fraction": 1.0, "orientation": "any",
    "resamples": 1000, "level": 0.95, "seed": 0, "split": "default",
}  # fmt: skip
PHANTOM_DEFAULTS = {"patients": 40, "tiles": 30, "size": 64, "seed": 0}
SCORE_DEFAULTS = {"features": "domain", "seed": 0, "resamples": 200, "split": "default"}


def commands(material: ReportInputs) -> list[str]:
    """Shell commands in the order to run them; those of absent parts are left out."""
    data = _path(material, "real", material.data)
    synthetic = _path(material, "synthetic", material.synthetic)
    lines = _data(material)
    if material.run is not None and data:
        lines.append(
            _train(material, data) if material.run.kind != "autoencoder" else _autoencoder(material.run, data)
        )
    own = _inside(synthetic, material.study_path)
    if material.run is not None and material.synthetic is not None and synthetic and not own:
        lines.append(_generate(material, data, synthetic))
    if material.score is not None and data and synthetic:
        score = material.score
        asked = {
            "split": (score.get("real") or {}).get("split"), "seed": score.get("seed"),
            "features": (score.get("extractor") or {}).get("name"), "resamples": score.get("resamples"),
        }  # fmt: skip
        out = _out(material.score_path, "SCORE")
        lines.append(shlex.join(["plenish", "score", data, synthetic, out, *_options(asked, SCORE_DEFAULTS)]))
    if material.study is not None and data:
        lines.append(_study(material, data, synthetic, own))
    return lines


def _data(material: ReportInputs) -> list[str]:
    """How the Dataset was made and split, as far as commands can say: a phantom, and a split by ratios."""
    if material.data is None:
        return []
    data, lines = material.data, []
    made = data.manifest.config
    if made.get("verb") == "phantom":
        options = _options({key: made.get(key) for key in PHANTOM_DEFAULTS}, PHANTOM_DEFAULTS)
        lines.append(shlex.join(["plenish", "phantom", str(data.path), *options]))
    if material.split in data.split_names():
        manifest = data.split(material.split).manifest
        ratios = manifest.get("ratios")
        if manifest.get("verb") == "split" and isinstance(ratios, Mapping) and not manifest.get("folds"):
            command = ["plenish", "split", str(data.path)]
            command += ["--ratios", *(_word(ratios.get(part, 0.0)) for part in ("train", "val", "test"))]
            asked = {"seed": manifest.get("seed"), "name": material.split}
            lines.append(shlex.join([*command, *_options(asked, {"seed": 0, "name": "default"})]))
    return lines


def _out(path: Path | None, fallback: str) -> str:
    return fallback if path is None else str(path).removesuffix(".partial")


def _inside(place: str | None, folder: Path | None) -> bool:
    """Whether a study made its synthetic images itself."""
    return bool(place and folder and Path(place).resolve().is_relative_to(folder.resolve()))


def _path(material: ReportInputs, side: str, opened: Any) -> str | None:
    if opened is not None:
        return str(opened.path)
    for result in (material.score, material.study):
        place = ((result or {}).get(side) or {}).get("path")
        if place:
            return str(place)
    return None


def _options(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """`--name value` for every value that is known and is not the default."""
    found: list[str] = []
    for key, value in values.items():
        if value is None or value == defaults.get(key):
            continue
        option = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            found.append(option if value else f"--no-{key.replace('_', '-')}")
        else:
            found += [option, _word(value)]
    return found


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _train(material: ReportInputs, data: str) -> str:
    run = material.run
    assert run is not None
    config = material.training
    record = run.config.get("data") or {}
    command = ["plenish", "train", "gan", data, str(run.path), "--recipe", str(config.get("recipe"))]
    changed = _changes(config)
    for option, key in DIRECT.items():
        if key in changed:
            command += [f"--{option}", _word(changed.pop(key))]
    conditional = (config.get("network") or {}).get("labels") or {}
    unlabelled = isinstance(conditional, Mapping) and conditional.get("kind") == "none"
    if unlabelled and material.data is not None and material.data.labels.kind != "none":
        command.append("--no-conditional")
    asked = {"split": record.get("split_name"), "seed": run.seed, "validation": config.get("validation")}
    command += _options(asked, {"split": "default", "seed": 0, "validation": True})
    if changed:
        command += ["--options", *(f"{key}={_word(value)}" for key, value in changed.items())]
    return shlex.join(command)


def _autoencoder(run: Run, data: str) -> str:
    """The command that trained an autoencoder; every setting is named, whatever the recipe says of it."""
    config, record = run.config["config"], run.config.get("data") or {}
    command = ["plenish", "train", "autoencoder", data, str(run.path)]
    if config.get("only"):
        command += ["--only", *map(str, config["only"])]
    asked = {"split": record.get("split_name"), "seed": run.seed}
    command += _options(asked, {"split": "default", "seed": 0})
    options = []
    for section in ("network", "training", "schedule"):
        for key, value in (config.get(section) or {}).items():
            if key not in ("size", "channels"):
                text = str(value).lower() if isinstance(value, bool) else _word(value)
                options.append(f"{section}.{key}={'none' if value is None else text}")
    return shlex.join([*command, "--options", *options])


def _changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the recipe's, or from the default where it states none, as section.name."""
    from plenish.errors import InputError
    from plenish.recipes import SECTIONS, load_recipe

    try:
        stated = load_recipe(str(config.get("recipe"))).sections
    except InputError:  # a recipe file that has moved
        return {}
    defaults = _defaults()
    changed = {}
    for section in SECTIONS:
        base = {**defaults.get(section, {}), **stated.get(section, {})}
        for key, value in (config.get(section) or {}).items():
            if key in base and value != base[key]:
                changed[f"{section}.{key}"] = value
    return changed


def _defaults() -> dict[str, dict[str, Any]]:
    """What settings are when neither recipe nor user names them."""
    import dataclasses

    from plenish.training.gan.health import Limits
    from plenish.training.gan.method import Method
    from plenish.training.generator import Schedule

    kinds: dict[str, Any] = {"schedule": Schedule, "limits": Limits}
    return dataclasses.asdict(Method()) | {name: dataclasses.asdict(kind()) for name, kind in kinds.items()}


def _generate(material: ReportInputs, data: str | None, synthetic: str) -> str:
    run, made, generator = material.run, material.synthetic, material.generator
    assert run is not None
    assert made is not None
    config = made.manifest.config
    command = ["plenish", "generate", str(run.path), synthetic, "-n", str(len(made))]
    if config.get("label"):
        command += ["--label", str(config["label"])]
    followed = config.get("like")
    if data and material.data is not None and followed == material.data.manifest.table_hash:
        command += ["--like", data]
    checkpoint = generator.get("checkpoint")
    best = (run.status.get("best") or {}).get("checkpoint")
    asked = {
        "truncation": generator.get("truncation"), "seed": generator.get("seed"),
        "checkpoint": None if checkpoint == best else checkpoint,
    }  # fmt: skip
    return shlex.join([*command, *_options(asked, {"truncation": 1.0, "seed": 0})])


def _study(material: ReportInputs, data: str, synthetic: str | None, own: bool) -> str:
    result = material.study
    assert result is not None
    command = ["plenish", "study", data, _out(material.study_path, "STUDY")]
    run = material.run.path if material.run is not None else material.generator.get("run")
    if own and run:
        command += ["--generator", str(run)]
    elif synthetic:
        command += ["--synthetic", synthetic]
    arms: Sequence[Any] = result.get("arms") or []
    command += ["--arms", *map(str, arms)] if arms else []
    keys = ("classifier", "steps", "batch", "ratio", "fraction", "orientation", "level", "resamples", "seed")
    asked = {key: result.get(key) for key in keys} | {"split": (result.get("real") or {}).get("split")}
    seeds = len(result.get("seeds") or [])
    return shlex.join([*command, *_options({"seeds": seeds or None, **asked}, STUDY_DEFAULTS | {"seeds": 5})])
