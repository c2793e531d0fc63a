"""`plenish attack`: an evaluation under attack, with its page and its SARIF log in one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files, invocation
from plenish.configuration import option_name
from plenish.datasets.dataset import Dataset
from plenish.errors import AlreadyMade, InputError
from plenish.metrics.words import percent
from plenish.report.attack_options import AttackOptions
from plenish.report.attack_page import PAGE, write_attack_page
from plenish.report.attack_words import Gate, controls_alone, held, worst_at
from plenish.report.sarif import write_sarif
from plenish.robustness.attack_plan import CONTROL
from plenish.robustness.evaluation import evaluate
from plenish.robustness.evaluation_config import RESULT, EvaluationConfig
from plenish.robustness.registry import spelled
from plenish.training.classifier_model import CLASSIFIER

Row = Mapping[str, Any]
_ASKED = ("fail_under", "at")
"""Options that change what is said of a result, and not the result."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        content: attack.json.
        gate: what was asked for.
        page: attack.html.
    """

    content: Row
    gate: Gate
    page: Path

    @property
    def sentence(self) -> str:
        """Why it is not enough."""
        assert self.gate.least is not None
        row = worst_at(self.content, self.gate.eps)
        return (
            f"{held(self.content, row)}: {percent(self.gate.accuracy)} are right, and --fail-under asks for "
            f"{percent(self.gate.least)}; see {self.page}."
        )


def attack_with_page(
    source: str | Path, data: Path, out: Path, how: EvaluationConfig, options: AttackOptions
) -> Answer:
    """Attack a classifier, and write what was found.

    Args:
        source: a classifier's Run, timm:NAME, or a file.
        data: the Dataset.
        out: folder to make.
        how: how to attack.
        options: of a classifier that is no Run, and what is asked for.

    Raises:
        InputError: the classifier does not fit the Dataset, an option is impossible, or OUT exists.
    """
    _check_gate(options, {spelled(name) for name in how.attacks} <= {CONTROL} and options.perturber is None)
    at, dataset = options.chosen(how.grid, how.norm), Dataset.open(data)
    target = {name: value for name, value in dataclasses.asdict(options).items() if name not in _ASKED}
    made_of = {
        "classifier": str(source), "files": _files(source, options), "how": dataclasses.asdict(how),
        "options": target, "data": dataset.provenance(),
    }  # fmt: skip
    try:
        with files.atomic_dir(out, made_of, besides=[option_name(name)[2:] for name in _ASKED]) as folder:
            found = evaluate(
                source, dataset, how, weights=options.weights, mean=options.mean, std=options.std,
                perturber=options.perturber,
            )  # fmt: skip
            content = {**found.content, "command": invocation.record()}
            dataclasses.replace(found, content=content).write(folder)
            content = files.read_record(folder / RESULT)
            _check_gate(options, controls_alone(content))
            gate = Gate.of(content, options.fail_under, at)
            _write_answer(folder, content, gate)
    except AlreadyMade:  # What is asked of it may be another.
        content = files.read_record(out / RESULT)
        _check_gate(options, controls_alone(content))
        gate = Gate.of(content, options.fail_under, at)
        _write_answer(out, {**content, "command": invocation.record() or content.get("command")}, gate)
    return Answer(content, gate, out / PAGE)


def _check_gate(options: AttackOptions, controls: bool) -> None:
    """Refuse --fail-under where no attack is made, but random noise alone."""
    if controls and options.fail_under is not None:
        raise InputError(
            "--fail-under needs an attack, and random noise is a control; add one such as pgd or square to "
            "--attacks."
        )


def _write_answer(folder: Path, content: Row, gate: Gate) -> None:
    """Write the page and the log, over older ones."""
    write_attack_page(folder, content, gate)
    write_sarif(folder, content, gate)


def _files(source: str | Path, options: AttackOptions) -> list[str]:
    """Hashes of the names, sizes and times of a classifier's files, so that another one is told apart."""
    path = Path(source)
    weights = path / CLASSIFIER if path.is_dir() else path
    beside = weights.with_name(f"{weights.name}.data")  # Of an ONNX model beyond the limit of one file.
    trained = None if options.perturber is None else options.perturber / "checkpoints"
    used = (weights, beside, options.weights, trained)
    return [files.tree_hash(one) for one in used if one is not None and one.exists()]
