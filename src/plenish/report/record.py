"""Sections on how it all was made: limits, provenance, environment, and the commands to repeat it."""

from __future__ import annotations

from collections.abc import Mapping

from plenish.report import words
from plenish.report.blocks import Block, Code, Facts, Notes, Section
from plenish.report.commands import commands
from plenish.report.figures import number
from plenish.report.inputs import Material
from plenish.report.sections import plain

_RUNS = {"generator": "Generator's Run", "autoencoder": "Autoencoder's Run"}


def limits(material: Material) -> Section | None:
    """What the numbers cannot say."""
    items = words.limits(material.score, material.study)
    return Section("limits", "What this cannot tell", [Notes("", items)]) if items else None


def provenance(material: Material) -> Section | None:
    """Ids, hashes and versions that pin down what was measured."""
    blocks: list[Block] = []
    data, run, generator = material.data, material.run, material.generator
    if data is not None:
        pairs = [
            ("folder", str(data.path)),
            ("pixels", data.manifest.pixels_hash),
            ("table", data.manifest.table_hash),
        ]
        if material.split in data.split_names():
            pairs.append((f"split “{material.split}”", data.split(material.split).hash))
        blocks.append(Facts(pairs, heading="Real Dataset"))
    if run is not None:
        status = run.status
        best = status.get("best") or {}
        pairs = [
            ("folder", str(run.path)), ("id", run.id), ("made", str(run.config.get("created", ""))),
            ("seed", str(run.seed)), ("attempt", plain(status.get("attempt"))),
            ("state", run.state),
            ("best checkpoint", plain(best.get("checkpoint") if isinstance(best, Mapping) else best)),
        ]  # fmt: skip
        blocks.append(
            Facts([(k, v) for k, v in pairs if v not in ("", "–")], heading=_RUNS.get(run.kind, "Run"))
        )
    if material.synthetic is not None or generator:
        pairs = [] if material.synthetic is None else [
            ("folder", str(material.synthetic.path)), ("pixels", material.synthetic.manifest.pixels_hash),
        ]  # fmt: skip
        pairs += [
            (str(key).replace("_", " "), plain(value))
            for key, value in generator.items()
            if not isinstance(value, Mapping)
        ]
        blocks.append(Facts(pairs, heading=f"{material.others.capitalize()} Dataset"))
    score = material.score or {}
    if score.get("extractor"):
        pairs = [(key, plain(value)) for key, value in score["extractor"].items() if value not in (None, "")]
        blocks.append(Facts([*pairs, ("seed", plain(score.get("seed")))], heading="Feature extractor"))
    return Section("provenance", "Provenance", blocks) if blocks else None


def environment(material: Material) -> Section | None:
    """The machine, the versions and what it cost."""
    status = material.run.status if material.run is not None else {}
    pairs: list[tuple[str, str]] = []
    for label, stated in (
        ("training", status.get("engine")),
        ("study", (material.study or {}).get("environment")),
    ):
        if isinstance(stated, Mapping):
            pairs += [
                (f"{label}: {str(key).replace('_', ' ')}", plain(value)) for key, value in stated.items()
            ]
    wanted = {
        "device": "device", "threads": "threads", "precision": "precision", "seconds": "training time",
        "energy_kwh": "energy, kWh", "energy_j": "energy, J", "peak_rss_mb": "peak memory, MB",
    }  # fmt: skip
    for key, label in wanted.items():
        if status.get(key) is not None:
            pairs.append((label, duration(float(status[key])) if key == "seconds" else plain(status[key])))
    for label, result in (("scoring", material.score), ("study", material.study)):
        if result and result.get("seconds") is not None:
            pairs.append((f"{label} time", duration(float(result["seconds"]))))
    versions: dict[str, str] = {}
    for record in ((material.run.config if material.run else {}), material.score or {}, material.study or {}):
        versions |= {str(k): str(v) for k, v in (record.get("versions") or {}).items()}
    blocks: list[Block] = []
    if pairs:
        blocks.append(Facts(pairs, heading="Work and machine"))
    if versions:
        blocks.append(Facts(list(versions.items()), heading="Versions"))
    return Section("environment", "Environment", blocks) if blocks else None


def duration(seconds: float) -> str:
    """Seconds as `45 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{number(seconds, 2)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def repeat(material: Material) -> Section | None:
    """The commands which make the same again."""
    lines = commands(material)
    if not lines:
        return None
    lead = (
        "On the CPU, the same commands with the same versions, on the same machine with the same number of "
        "threads, give the same bits; elsewhere, the same within the intervals."
    )
    return Section("repeat", "How to repeat it", [Code(lines)], lead=lead)
