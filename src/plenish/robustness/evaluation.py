"""The whole protocol of an evaluation in one call: attacks, the worst case, curves, corruptions and checks.

Clean and robust accuracy are of the same images. The worst case counts an image as wrong where any attack
tried succeeded, at this radius or a smaller one, and is never a mean over attacks (Carlini et al., "On
evaluating adversarial robustness", 2019). What is left right withstood the attacks that were tried, and no
others.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish import files, settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.errors import InputError, unknown
from plenish.metrics.caveats import Caveat
from plenish.progress import progress
from plenish.robustness.attack_outcomes import AttackRunner, Outcomes
from plenish.robustness.attack_plan import AttackPlan, plan_of
from plenish.robustness.attacked_images import AttackedImages, Tensors, limits_of, of_tensors, rows_of
from plenish.robustness.corruptions import SEVERITIES, suitable
from plenish.robustness.curves import GroupedIntervals, Triple
from plenish.robustness.evaluation_config import (
    CONTROLS_ALONE,
    EXAMPLES,
    GALLERY,
    RESULT,
    EvaluationConfig,
)
from plenish.robustness.flags import Evidence, flags_of
from plenish.robustness.gradient_checks import MOST_IMAGES, GradientChecks, check_gradients, has_gradient
from plenish.robustness.gradients import Precision, untouched
from plenish.robustness.radius import measured_eps
from plenish.robustness.target import Target
from plenish.robustness.target_sources import Expected, exported_classifier, open_target, target_of_run
from plenish.robustness.threat import Threat
from plenish.robustness.trained_perturber import load_perturber
from plenish.robustness.visited import misclassified
from plenish.training.engine import Engine

FORMAT = 1
Model = Target | nn.Module | Callable[[Tensor], Tensor] | Path | str
Data = Dataset | Path | str | Tensors


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
    """What attacks found of a classifier.

    Attributes:
        content: what attack.json holds.
        examples: a row an image: id, group, label, prediction, and the smallest eps at which any attack
            succeeded, with that attack and the prediction then.
        gallery: originals uint8 N×H×W×C, adversarial float32 N×H×W×C in [0, 1], rows of the table, eps and
            attack.
    """

    content: Mapping[str, Any]
    examples: pd.DataFrame
    gallery: Mapping[str, NDArray[Any]]

    def __repr__(self) -> str:
        return f"Evaluation({', '.join(f'{name}={value!r}' for name, value in self.summary().items())})"

    def worst(self, eps: float | str | None = None) -> Mapping[str, Any]:
        """The worst case over all attacks at a radius that was measured, by default the largest.

        Raises:
            InputError: nothing was measured at this radius.
        """
        rows: dict[float, Mapping[str, Any]] = {row["eps"]: row for row in self.content["worst_case"]}
        return rows[max(rows) if eps is None else measured_eps(eps, rows, self.content["threat"]["norm"])]

    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [flag["name"] for flag in self.content["flags"] if flag["status"] == "failed"]

    def summary(self) -> dict[str, Any]:
        """JSON-able form of what a person wants first."""
        return {
            "images": self.content["data"]["images"], "norm": self.content["threat"]["norm"],
            "clean_accuracy": self.content["clean"]["accuracy"],
            "robust_accuracy": [
                {"eps": row["eps"], "accuracy": row["accuracy"]}
                for row in self.content["worst_case"] if row["eps"]
            ],
            "failed_checks": self.failed(),
            "caveats": [caveat["code"] for caveat in self.content["caveats"]],
        }  # fmt: skip

    def write(self, folder: Path | str) -> None:
        """Write attack.json, examples.parquet and gallery.npz, into a folder that is there or a new one.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        if folder.is_dir():
            self._write(folder)
        else:
            with files.atomic_dir(folder, {"attack": self.content["classifier"]}) as partial:
                self._write(partial)

    def _write(self, folder: Path) -> None:
        table, arrays = io.BytesIO(), io.BytesIO()
        self.examples.to_parquet(table, index=False)
        np.savez_compressed(arrays, allow_pickle=False, **self.gallery)
        files.write_bytes(folder / EXAMPLES, table.getvalue())
        files.write_bytes(folder / GALLERY, arrays.getvalue())
        files.write_record(folder / RESULT, self.content)


def evaluate(
    model: Model, data: Data, config: EvaluationConfig | None = None, *, names: Sequence[str] | None = None,
    weights: Path | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
    perturber: Path | None = None, precision: Literal["auto", "float32", "bfloat16"] | None = None,
    **options: Any,
) -> Evaluation:  # fmt: skip
    """Attack a classifier, and measure what is left.

    Args:
        model: a classifier's Run, `timm:NAME`, a file of ONNX, TorchScript or torch.export, a Target, or a
            module or function from images, a torch.Tensor float32 N×C×H×W in [0, 1], to logits, a
            torch.Tensor N×K (of a function in NumPy, `torch.from_numpy` makes one; only attacks without
            gradients are tried then). A module is attacked in the mode it is in.
        data: a Dataset or its folder, or images N×C×H×W in [0, 1] with class numbers N, and perhaps N groups.
        config: how; its fields may also be given as `options`.
        names: classes, where the data are tensors; by default their numbers.
        weights: of a timm network.
        mean: subtracted from images in [0, 1] for a timm network or a file; see `target_sources.Expected`.
        std: by which they are then divided.
        perturber: a Run of `train advgan`, whose perturbations are tried too.
        precision: of gradients and queries; by default that of the settings, which for `auto` is bfloat16 for
            Runs on hardware that has it, else float32. Every success is confirmed in float32.
        **options: fields of `EvaluationConfig`: part, split, norm, eps, attacks, images, seed, batch, …

    Raises:
        InputError: data and classifier do not fit each other, or an option is none.
    """
    config, names = _config(config, options), names or ()
    for eps in config.grid:
        Threat(config.norm, eps)
    start = time.perf_counter()
    trained = None if perturber is None else load_perturber(perturber)
    target, images = _opened(model, data, config, names, weights, mean, std)
    if trained is not None:
        trained.check(config.norm, target.channels, target.size)
    if config.eps is not None:
        Threat(config.norm, config.grid[-1]).check_reach(target.size, target.channels)
    whole = len(images)
    images = images.limited(config.images, config.seed)
    chosen = _precision(target, precision)
    runner = AttackRunner(target, images, config.norm, config.grid, config.seed, config.batch, chosen)
    differentiable = target.differentiable and _differentiable(runner)
    plan = plan_of(config.attacks, len(target.names), config.norm, differentiable=differentiable)
    if trained is not None:
        plan = plan.with_perturber(trained)
    found = runner.run(plan)
    content = _content(runner, plan, found, config, differentiable)
    if trained is not None:
        content["perturber"] = trained.provenance()
    content["data"]["left_out"] = whole - len(images)
    content |= {"seconds": time.perf_counter() - start}
    return Evaluation(content, _examples(images, found), _gallery(found, images))


def _config(config: EvaluationConfig | None, options: Mapping[str, Any]) -> EvaluationConfig:
    given, known = dict(options), [field.name for field in dataclasses.fields(EvaluationConfig)]
    for name in given:
        if name not in known:
            own = [each for each in inspect.signature(evaluate).parameters if each != "options"]
            raise unknown("option of evaluate", name, [*known, *own])
    if given.get("attacks", ()) is None:  # As where they are not given.
        del given["attacks"]
    for name in ("attacks", "eps"):
        if given.get(name) is not None:
            value = given[name]
            given[name] = (value,) if np.ndim(value) == 0 else tuple(value)
    if config is None:
        return EvaluationConfig(**given)
    return dataclasses.replace(config, **given) if given else config


def _opened(
    model: Model, data: Data, config: EvaluationConfig, names: Sequence[str], weights: Path | None,
    mean: Sequence[float] | None, std: Sequence[float] | None,
) -> tuple[Target, AttackedImages]:  # fmt: skip
    """The classifier and its images, in the order of its classes."""
    target = model if isinstance(model, Target) else None
    if isinstance(model, (str, Path)) and Path(model).is_dir():
        if weights is not None or mean is not None or std is not None:
            raise InputError(
                f"{model} is a Run, which has its own weights and normalisation; leave out others."
            )
        target = target_of_run(Path(model))
    facts = exported_classifier(Path(model)) if isinstance(model, (str, Path)) and target is None else None
    if isinstance(data, (Dataset, Path, str)):
        origin = target.about.get("data") if target else facts and facts["provenance"]["data"]
        images = rows_of(data, config, origin)
    else:
        images = of_tensors(data, names)
    if target is None and isinstance(model, (str, Path)):
        known = images.names or (facts["classes"] if facts else ())
        if not known:
            raise InputError(f"Give the names of the classes of {model}, since the data do not say them.")
        expected = Expected(known, images.size, images.channels, weights, mean, std)
        target = open_target(model, expected, exported=facts or {})
    elif target is None:
        assert not isinstance(model, (str, Path, Target))
        target = Target.of_module(model, images.size, images.channels, images.names)
    return target, images.for_target(target)


def _precision(target: Target, asked: str | None) -> Precision:
    asked = asked or settings.current().precision
    if asked == "auto":
        # Files were made for one precision, and somebody's function may do anything.
        asked = Engine.from_settings().precision if target.about.get("kind") in ("run", "timm") else "float32"
    return "bfloat16" if asked == "bfloat16" else "float32"


def _differentiable(runner: AttackRunner) -> bool:
    return has_gradient(runner.target.module, *runner.read(np.arange(min(2, len(runner.images)))))


def _content(
    runner: AttackRunner, plan: AttackPlan, found: Outcomes, config: EvaluationConfig, differentiable: bool
) -> dict[str, Any]:
    target, images = runner.target, runner.images
    intervals = GroupedIntervals(
        images.labels, images.groups, len(images.names), resamples=config.resamples, seed=config.seed,
        level=config.level,
    )  # fmt: skip
    worst = intervals.of(np.stack([found.right_at(eps) for eps in runner.grid], axis=1))
    rows = [
        {
            "eps": eps, "accuracy": worst.accuracy[j], "balanced_accuracy": worst.balanced[j],
            "per_class": dict(zip(images.names, worst.per_class[j], strict=True)),
            "found_by": found.found_by(eps),
        }
        for j, eps in enumerate(runner.grid)
    ]  # fmt: skip
    curve = runner.curve(found) if differentiable else None
    checks = _checks(runner, found)
    flags = flags_of(_evidence(runner, found, plan, curve, checks, differentiable))
    known = {group for group in images.groups if group is not None}
    return {
        "format": FORMAT,
        "classifier": {
            **target.about, "classes": list(target.names), "size": target.size, "channels": target.channels
        },
        "data": {**images.about, "images": len(images), "groups": len(known) or None},
        "threat": {"norm": runner.norm, "eps": list(runner.grid)},
        "level": config.level, "seed": config.seed, "precision": runner.precision, "batch": config.batch,
        "device": str(target.device),
        "attacks": _attacks(runner, plan, found, intervals, worst.accuracy[0]),
        "clean": {"accuracy": worst.accuracy[0], "balanced_accuracy": worst.balanced[0]},
        "worst_case": rows, "convergence": curve,
        "corruptions": _corruptions(runner, intervals) if config.corruptions else [],
        "flags": [dataclasses.asdict(flag) for flag in flags],
        "caveats": [dataclasses.asdict(one) for one in _caveats(runner, plan, found, differentiable)],
    }  # fmt: skip


def _attacks(
    runner: AttackRunner, plan: AttackPlan, found: Outcomes, intervals: GroupedIntervals, clean: Triple
) -> list[dict[str, Any]]:
    """A record an attack, with its accuracy at every radius."""
    shares = intervals.accuracy(np.stack([one.right for one in found.per_attack], axis=1))
    results = {attack.name: [_result(0.0, clean, 0, 0.0)] for attack in plan.attacks}
    for one, share in zip(found.per_attack, shares, strict=True):
        results[one.attack.name].append(_result(one.eps, share, one.attacked, one.seconds))
    return [
        {
            "name": attack.name, "kind": attack.kind, "on": "all" if attack.all_images else "left",
            "parameters": attack.parameters, "results": results[attack.name],
        }
        for attack in plan.attacks
    ]  # fmt: skip


def _result(eps: float, share: Triple, attacked: int, seconds: float) -> dict[str, Any]:
    value, low, high = share
    return {"eps": eps, "accuracy": value, "low": low, "high": high, "attacked": attacked, "seconds": seconds}


def _checks(runner: AttackRunner, found: Outcomes) -> GradientChecks | None:
    right = np.flatnonzero(found.right)[:MOST_IMAGES]
    if not len(right):
        return None
    target = runner.target
    return check_gradients(
        target.module, *runner.read(right), seed=runner.seed, differentiable=target.differentiable
    )


def _evidence(
    runner: AttackRunner, found: Outcomes, plan: AttackPlan, curve: Mapping[str, Any] | None,
    checks: GradientChecks | None, differentiable: bool,
) -> Evidence:  # fmt: skip
    n, right = len(runner.images), int(found.right.sum())
    left = {
        attack.name: [right, *(int(one.right.sum()) for one in found.per_attack if one.attack is attack)]
        for attack in plan.attacks if attack.all_images
    }  # fmt: skip
    worst = [int(found.right_at(eps).sum()) for eps in runner.grid]
    both = {"white-box", "black-box"} <= {attack.kind for attack in plan.attacks}
    needed = worst[-1] / n > 1 / len(runner.images.names)
    return Evidence(
        n, len(runner.images.names), runner.grid, left, worst,
        [0, *found.only_black_box] if both else None,
        runner.at_largest_change(found) if needed and differentiable else None,
        curve["accuracy"] if curve else (), [int(which.sum()) for which in found.not_finite], checks,
    )  # fmt: skip


def _corruptions(runner: AttackRunner, intervals: GroupedIntervals) -> list[dict[str, Any]]:
    """Accuracy of the same images under each common corruption that suits them."""
    images, module = runner.images, runner.target.module
    kinds = [(kind, severity) for kind in suitable(images.channels, images.domain) for severity in SEVERITIES]
    columns = []
    with progress("corrupt", len(kinds) * len(images)) as bar, untouched(module):
        for kind, severity in kinds:
            right = []
            for piece in chunks(len(images), runner.batch):
                given, labels = runner.read(piece)
                changed = kind.apply(given, severity, numbers=piece, seed=runner.seed)
                right.append((~misclassified(module, changed, labels)).cpu().numpy())
                bar.advance(len(piece))
            columns.append(np.concatenate(right))
    if not columns:
        return []
    shares = intervals.accuracy(np.stack(columns, axis=1))
    return [
        {"name": kind.name, "severity": severity, "accuracy": share}
        for (kind, severity), share in zip(kinds, shares, strict=True)
    ]


def _caveats(runner: AttackRunner, plan: AttackPlan, found: Outcomes, differentiable: bool) -> list[Caveat]:
    target, chance = runner.target, 1 / len(runner.images.names)
    caveats = limits_of(runner.images)
    accuracy = float(found.right.mean())
    if any(module.training for module in target.module.modules()):
        caveats.append(Caveat("training-mode"))
    if target.about.get("assumed_input"):
        caveats.append(Caveat("assumed-input"))
    if not differentiable:
        why = target.about.get("not_differentiable", "no gradient reaches the image")
        caveats.append(Caveat("not-differentiable", {"why": why, "attacks": list(plan.left_out)}))
    if {attack.kind for attack in plan.attacks} == {"control"}:
        caveats.append(Caveat(CONTROLS_ALONE))
    if accuracy <= chance:
        caveats.append(Caveat("clean-near-chance", {"accuracy": accuracy, "chance": chance}))
    return caveats


def _examples(images: AttackedImages, found: Outcomes) -> pd.DataFrame:
    names = np.array([*images.names, None], object)  # None at -1, for an answer that is no number.
    return pd.DataFrame(
        {
            "id": list(images.ids), "group": [None if g is None else str(g) for g in images.groups],
            "label": names[images.labels], "prediction": names[found.clean], "eps": found.eps,
            "attack": [by or None for by in found.by],
            "adversarial_prediction": names[found.then],
        }
    )  # fmt: skip


def _gallery(found: Outcomes, images: AttackedImages) -> dict[str, NDArray[Any]]:
    shown, side = found.examples, (images.size, images.size, images.channels)

    def stacked(tensors: Sequence[Tensor]) -> NDArray[np.float32]:
        if not tensors:
            return np.empty((0, *side), np.float32)
        return torch.stack(list(tensors)).permute(0, 2, 3, 1).contiguous().numpy()

    originals = stacked([one.original for one in shown])
    return {
        "originals": (originals * 255).round().astype(np.uint8),
        "adversarial": stacked([one.adversarial for one in shown]),
        "rows": np.array([one.row for one in shown], np.int64),
        "eps": np.array([one.eps for one in shown], np.float64),
        "attack": np.array([one.attack for one in shown], np.str_),
    }
