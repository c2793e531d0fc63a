"""What studies found, as the terminal shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from plenish.metrics.advice import LEVELS
from plenish.metrics.caveats import describe
from plenish.metrics.quality import from_record
from plenish.metrics.result_files import Result
from plenish.metrics.words import interval, with_interval
from plenish.study.verdicts import (
    METRIC_NAMES,
    PRIMARY_METRIC,
    ROBUST_METRIC,
    ROBUST_NAMES,
    arm_verdict,
    class_verdict,
    find_row,
    pair_verdict,
    radius,
    study_verdict,
)
from plenish.study.ways import accuracies
from plenish.wording import Sentences

_MOST_SHOWN = 6  # classes whose matrix of errors has room in a terminal


@dataclasses.dataclass(frozen=True)
class Study(Result):
    """A finished study; its content is study.json."""

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        return study_verdict(self.content)

    def summary(self) -> dict[str, Any]:
        """The answer, a row per arm, and what limits it."""
        return {
            **self._studied(), "verdict": self.verdict, **self._elsewhere(), **self._under_attack(),
            "arms": [self._shown(arm) for arm in self.content["arms"]],
            "caveats": describe(self.content["caveats"]), "study": str(self.path),
            "report": str(self.report) if self.report else None,
        }  # fmt: skip

    def _studied(self) -> dict[str, Any]:
        """What was studied, before what was found: how good the generators are, where that is known."""
        rows = generator_rows(self.content)
        if not rows:
            return {}
        said = Sentences(_described(row, alone=len(rows) == 1) for row in rows)
        return {"images": said} | ({"generators": rows} if len(rows) > 1 else {})

    def _elsewhere(self) -> dict[str, Any]:
        """The verdict on the other Dataset, where there is one."""
        external = self.content["external"]
        if not external:
            return {}
        if external.get("generated"):
            rows = {"on_real_and_generated": accuracies(self.content)}
            return {**rows, "on_generated": describe(external["caveats"])}
        return {f"verdict_on_{external['name']}": study_verdict({**self.content, **external})}

    def _under_attack(self) -> dict[str, Any]:
        """Verdicts and a row per arm under attack, where classifiers were attacked."""
        robust = self.content.get("robust")
        if not robust:
            return {}
        return {
            "under_attack": Sentences(robust_verdicts(self.content)),
            "arms_under_attack": [robust_row(self.content, arm) for arm in self.content["arms"]],
            "robust_caveats": describe(robust["caveats"]),
        }  # fmt: skip

    def _shown(self, arm: str) -> dict[str, str]:
        """Metrics of an arm with their intervals, and how it compares with `real`."""
        shown = {"arm": arm}
        for metric in METRIC_NAMES:
            row = find_row(self.content["summary"], metric, arm=arm)
            shown[metric] = with_interval(row["mean"], row["low"], row["high"], ".3f")
        row = find_row(self.content["differences"], arm=arm)
        if row:
            shown["against_real"] = with_interval(row["mean"], row["low"], row["high"], "+.3f")
            shown["verdict"] = find_row(self.content["verdicts"], arm=arm)["verdict"]
        return shown

    def shown(self) -> dict[str, Any]:
        """The same for a terminal, which has room for one metric."""
        columns = {"arm": "arm", PRIMARY_METRIC: "mean and interval", "against_real": "against real",
                   "verdict": "verdict"}  # fmt: skip
        summary = self.summary()
        rows = [{name: row.get(key, "") for key, name in columns.items()} for row in summary.pop("arms")]
        summary = {key.replace("verdict_on_", "verdict on "): value for key, value in summary.items()}
        summary = {**summary, METRIC_NAMES[PRIMARY_METRIC]: rows}
        attacked = summary.pop("arms_under_attack", None)
        if attacked:
            columns = {"arm": "arm", ROBUST_METRIC: "mean and interval", "against_real": "against real",
                       "verdict": "verdict"}  # fmt: skip
            shown = [{name: row.get(key, "") for key, name in columns.items()} for row in attacked]
            summary[f"{ROBUST_NAMES[ROBUST_METRIC]} ({radius(self.content['robust']['threat'])})"] = shown
        return summary


def robust_row(content: Mapping[str, Any], arm: str) -> dict[str, str]:
    """Metrics of an arm under attack and without, of the same images, and how it compares with `real`.

    Args:
        content: study.json of a study that attacked.
        arm: which.
    """
    robust, shown = content["robust"], {"arm": arm}
    for metric in (PRIMARY_METRIC, *ROBUST_NAMES):
        row = find_row(robust["summary"], metric, arm=arm)
        shown[metric] = with_interval(row["mean"], row["low"], row["high"], ".3f")
    row = find_row(robust["differences"], ROBUST_METRIC, arm=arm)
    if row:
        shown["against_real"] = with_interval(row["mean"], row["low"], row["high"], "+.3f")
        shown["verdict"] = find_row(robust["verdicts"], ROBUST_METRIC, arm=arm)["verdict"]
    return shown


def robust_verdicts(content: Mapping[str, Any]) -> list[str]:
    """What a study says of its arms under attack, in sentences: each against `real`, then pairs of others.

    Args:
        content: study.json of a study that attacked.
    """
    robust = content["robust"]
    result = {**content, **robust}
    said = [arm_verdict(result, row["arm"], ROBUST_METRIC) for row in robust["verdicts"]]
    pairs = [row for row in robust["comparisons"] if row["metric"] == ROBUST_METRIC]
    return said + [pair_verdict(row, content["level"]) for row in pairs]


def _described(row: Mapping[str, Any], *, alone: bool) -> str:
    """A generator and how good its images are: `gan (dcgan, 200 kimg): usable, but not like real ones`."""
    facts = [row["family"], *([] if row["kimg"] is None else [f"{row['kimg']:g} kimg"])]
    name = ", ".join(facts) if alone else f"{row['generator']} ({', '.join(facts)})"
    return f"{name}: {row['images'][0].lower()}{row['images'][1:]}"


def generator_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each generator of a study: which, how good its images are, and then what its arm showed.

    Args:
        content: study.json.
    """
    rows = []
    for record in content["generators"]:
        quality = from_record(record["quality"])
        fold = "one" if record["fold"] is None else f"fold {record['fold']}"
        row = {
            "generator": record["source"] or fold, "family": record["family"] or "unknown",
            "kimg": record["kimg"],
            "images": LEVELS[quality.level] if quality is not None else "not measured",
        }  # fmt: skip
        arm = f"real+synthetic:{record['source']}"
        if found := find_row(content["differences"], arm=arm):
            row["against real"] = with_interval(found["mean"], found["low"], found["high"], "+.3f")
            row["verdict"] = find_row(content["verdicts"], arm=arm)["verdict"]
        rows.append(row)
    return rows


@dataclasses.dataclass(frozen=True)
class ClassStudy(Result):
    """A finished study of one autoencoder a class; its content is autoencoders.json."""

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        return "".join(f"{text}{end}" for text, end in zip(class_verdict(self.content), (": ", ".")))

    def summary(self) -> dict[str, Any]:
        """The answer, the matrix of errors, and what limits them."""
        content, names = self.content, self.content["classes"]
        measures = {key: content[key] for key in ("auroc", "accuracy", "balanced_accuracy") if key in content}
        if "by_group" in content:
            key = "auroc" if len(names) == 2 else "balanced_accuracy"
            measures[f"{key}_by_group"] = content["by_group"][key]
        return {
            "verdict": self.verdict,
            **{key: interval(m, ".3f") for key, m in measures.items()},
            "caveats": describe(content["caveats"]), "study": str(self.path),
            "report": str(self.path / "report.html"),
            "mean_errors": [
                {"images_of": name, **{f"model_{p}": cell["value"] for p, cell in zip(names, row)}}
                for name, row in zip(names, content["matrix"])
            ],
        }  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """The same for a terminal, where the matrix of more than a few classes has no room."""
        summary = self.summary()
        errors = summary.pop("mean_errors")
        return summary | ({"mean error under each model": errors} if len(errors) <= _MOST_SHOWN else {})
