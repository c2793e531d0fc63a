"""Sections on how it all was made: limits, provenance, environment, and the commands to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from plenish.datasets.dataset import Dataset
from plenish.energy import Footprint
from plenish.metrics.caveats import Caveat, describe
from plenish.metrics.words import number
from plenish.report.inputs import ReportInputs
from plenish.report.page import Code, Facts, Notes, Section
from plenish.report.results import has_intervals

_RUNS = {
    "generator": "Generator's Run", "autoencoder": "Autoencoder's Run", "translation": "Translation's Run",
    "perturber": "Perturber's Run",
}  # fmt: skip
_WORK = {"device": "device", "threads": "threads", "precision": "precision"}


def limits(inputs: ReportInputs) -> Section:
    """What the numbers cannot say: caveats of the results first, then those that always hold.

    What the study and the score have in common is said once, by the study.
    """
    known: dict[str, Mapping[str, Any]] = {}
    for result in (inputs.study, inputs.score):
        for caveat in result["caveats"] if result is not None else ():
            groups = f"{caveat['values']['groups']} groups" if caveat["code"] == "few-groups" else ""
            known.setdefault(groups or str(Caveat(**caveat)), caveat)
    items = describe(known.values())
    if inputs.study is not None:
        items.append(str(Caveat("study-scope", {"intervals": has_intervals(inputs.study["summary"])})))
    if inputs.score is not None:
        items += [str(Caveat("score-scope")), str(Caveat("copies-scope"))]
    return Section("limits", "What this cannot tell", [Notes(items)])


def provenance(inputs: ReportInputs) -> Section:
    """Ids, hashes and versions that pin down what was measured."""
    blocks = []
    data, run, made = inputs.data, inputs.run, inputs.synthetic
    if data is not None:
        facts = {"folder": data.path, "pixels": data.manifest.pixels_hash, "table": data.manifest.table_hash}
        if inputs.split in data.split_names():
            facts[f"split “{inputs.split}”"] = data.split(inputs.split).hash
        blocks.append(Facts(facts, "Real Dataset"))
    if run is not None:
        facts = {
            "folder": run.path, "id": run.id, "made": run.config["created"], "seed": run.seed,
            "attempt": run.status.get("attempt"), "state": run.state,
            "best checkpoint": (run.status.get("best") or {}).get("checkpoint"),
        }  # fmt: skip
        blocks.append(Facts(facts, _RUNS.get(run.kind, "Run")))
    facts = {} if made is None else {"folder": made.path, "pixels": made.manifest.pixels_hash}
    facts |= _named({k: v for k, v in inputs.generator.items() if not isinstance(v, Mapping)})
    blocks.append(Facts(facts, f"{inputs.kind.capitalize()} Dataset"))
    if inputs.score is not None:
        facts = _named({**inputs.score["extractor"], "seed": inputs.score["seed"]})
        blocks.append(Facts(facts, "Feature extractor"))
    return Section("provenance", "Provenance and hashes", blocks, folded=True)


def _named(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A record with its keys as words."""
    return {prefix + key.replace("_", " "): value for key, value in record.items()}


def environment(inputs: ReportInputs) -> Section:
    """The machine, the versions and what it cost."""
    run, score, study = inputs.run, inputs.score or {}, inputs.study or {}
    status = {} if run is None else run.status
    facts = _named(status.get("engine") or {}, "training: ") | _named(
        study.get("environment") or {}, "study: "
    )
    facts |= {label: status.get(key) for key, label in _WORK.items()}
    for label, record in {"training": status, "scoring": score, "study": study}.items():
        if record.get("seconds") is not None:
            facts[f"{label} time"] = duration(float(record["seconds"]))
    if (footprint := Footprint.of(status)) is not None:
        words = footprint.words()
        facts |= {"training energy": words["energy"], "training CO₂": words["co2"]}
    versions: dict[str, str] = {}
    for record in ({} if run is None else run.config, score, study):
        versions |= record.get("versions") or {}
    blocks = [Facts(facts, "Work and machine"), Facts(versions, "Versions")]
    return Section("environment", "Machine and versions", blocks, folded=True)


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{number(seconds, 2)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _made(synthetic: Dataset) -> Mapping[str, Any] | None:
    """The command of synthetic images, with their checkpoint by name: the best may be another by now."""
    made, generator = synthetic.manifest.command, synthetic.manifest.extra.get("generator")
    name = generator.get("checkpoint") if isinstance(generator, Mapping) else None
    if made is None or name is None or made.get("verb") != "generate":
        return made
    asked = str((made.get("options") or {}).get("checkpoint", "best"))
    line = made["repeat"].replace(f" --checkpoint {shlex.quote(asked)}", "")
    return {**made, "repeat": f"{line} --checkpoint {shlex.quote(str(name))}"}


def repeat(inputs: ReportInputs) -> Section:
    """The commands which make the same again, as the parts recorded them, in the order to run them."""
    records: list[Mapping[str, Any] | None] = []
    if inputs.data is not None:
        records.append(inputs.data.manifest.command)
        if inputs.split in inputs.data.split_names():
            records.append(inputs.data.split(inputs.split).manifest.get("command"))
    records += inputs.run.commands if inputs.run is not None else []
    records += [_made(inputs.synthetic)] if inputs.synthetic is not None else []
    records += [inputs.score.get("command")] if inputs.score is not None else []
    records += inputs.study.get("commands", []) if inputs.study is not None else []
    lines: list[str] = []
    folder = None
    for record in records:
        if record is None or record["repeat"] in lines:
            continue
        lines += [f"cd {shlex.quote(record['folder'])}"] if record["folder"] != folder else []
        lines.append(record["repeat"])
        folder = record["folder"]
    lead = (
        "On the CPU, the same commands with the same versions, on the same machine with the same number of "
        "threads, give the same bits; elsewhere, the last digits differ."
    )
    return Section("repeat", "How to repeat it", [Code(lines)], lead=lead if lines else "")
