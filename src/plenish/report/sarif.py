"""Failed checks of an attack as a SARIF 2.1.0 log, which code hosts and editors show beside the code.

The format is that of the OASIS standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plenish import files
from plenish._version import __version__
from plenish.metrics.caveats import describe
from plenish.report.attack_words import UNTRIED, Gate, finding, flag_words, held, norm_words
from plenish.robustness.radius import format_eps

FILE = "attack.sarif"
ACCURACY = "robust-accuracy"
"""The rule of too little accuracy under attack; the others are named after the flags."""
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BASE = "%SRCROOT%"
_INSIDE = ("config.json", "dataset.json")
"""The file that stands for a Run or a Dataset, since a location is a file."""


def write_sarif(folder: Path, content: Mapping[str, Any], gate: Gate, base: Path | None = None) -> Path:
    """Write attack.sarif into the folder of an attack, over an older one.

    Args:
        folder: of the attack.
        content: its attack.json.
        gate: the accuracy that is asked for.
        base: the folder that locations are relative to; by default the one the command was started in.
    """
    files.write_json(folder / FILE, sarif(content, gate, base or Path.cwd()))
    return folder / FILE


def sarif(content: Mapping[str, Any], gate: Gate, base: Path) -> dict[str, Any]:
    """The log: a result for each failed flag, and for each eps with less accuracy than asked for."""
    names = [flag["name"] for flag in content["flags"]]
    rules = [_accuracy_rule(content), *map(_flag_rule, names)]
    places = {rule["id"]: number for number, rule in enumerate(rules)}
    locations = _locations(content, base)
    results = [
        {**result, "ruleIndex": places[result["ruleId"]], "locations": locations}
        for result in (*_accuracies(content, gate), *_failed(content))
    ]
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if made := content.get("command"):
        invocation["commandLine"] = made["repeat"]
    if caveats := content.get("caveats"):
        invocation["toolExecutionNotifications"] = [
            {"level": "note", "descriptor": {"id": caveat["code"]}, "message": {"text": text}}
            for caveat, text in zip(caveats, describe(caveats), strict=True)
        ]
    run = {
        "tool": {"driver": {"name": "Plenish", "semanticVersion": __version__, "rules": rules}},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "threat": content["threat"], "images": content["data"]["images"],
            "cleanAccuracy": content["clean"]["accuracy"],
        },
    }  # fmt: skip
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _accuracy_rule(content: Mapping[str, Any]) -> dict[str, Any]:
    return _rule(
        ACCURACY, "The accuracy under attack is as asked for",
        f"The share of images that are answered right and on which no attack tried succeeded, where "
        f"{norm_words(content['threat']['norm'])}. {UNTRIED}",
        "Harden the classifier (adversarial training), or ask for less with --fail-under.", "error",
    )  # fmt: skip


def _flag_rule(name: str) -> dict[str, Any]:
    words = flag_words(name)
    return _rule(name, words.title, words.meaning or words.title, words.advice or words.title, "warning")


def _rule(name: str, title: str, meaning: str, advice: str, level: str) -> dict[str, Any]:
    return {
        "id": name, "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": f"{title}."}, "fullDescription": {"text": meaning},
        "help": {"text": f"{meaning} {advice}"}, "defaultConfiguration": {"level": level},
    }  # fmt: skip


def _accuracies(content: Mapping[str, Any], gate: Gate) -> Iterator[dict[str, Any]]:
    if gate.least is None:
        return
    norm = content["threat"]["norm"]
    for row in content["worst_case"]:
        accuracy = float(row["accuracy"][0])
        if row["eps"] > gate.eps or accuracy >= gate.least:
            continue
        text = (
            f"{held(content, row)}: {100 * accuracy:.1f} % are right, and at least {100 * gate.least:.1f} % "
            f"are asked for{'' if row['eps'] == gate.eps else ' at a larger eps'}."
        )
        yield {
            "ruleId": ACCURACY, "level": "error", "message": {"text": text},
            "partialFingerprints": {"accuracyAt/v1": f"{norm} {format_eps(row['eps'], norm)}"},
            "properties": {
                "eps": row["eps"], "accuracy": row["accuracy"], "asked": gate.least,
                "worstClass": worst_class(row),
            },
        }  # fmt: skip


def _failed(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for flag in content["flags"]:
        if flag["status"] != "failed":
            continue
        text = f"{finding(flag)}. {flag_words(flag['name']).meaning}"
        yield {
            "ruleId": flag["name"], "level": "warning",
            "message": {"text": text.rstrip()},
            "partialFingerprints": {"flag/v1": flag["name"]},
            "properties": {"values": flag["values"]},
        }  # fmt: skip


def worst_class(row: Mapping[str, Any]) -> str | None:
    """The class of which the least is still found; None where no recall is known."""
    known = {name: value[0] for name, value in row["per_class"].items() if value[0] is not None}
    return min(known, key=lambda name: known[name]) if known else None


def _locations(content: Mapping[str, Any], base: Path) -> list[dict[str, Any]]:
    """The classifier's file first, then the Dataset's: files, relative to where the command was started."""
    paths = [content["classifier"].get("path"), content["data"].get("path")]
    found = [_location(Path(path), base) for path in paths if path]
    return found or [{"physicalLocation": {"artifactLocation": {"uri": "attack.json"}}}]


def _location(path: Path, base: Path) -> dict[str, Any]:
    inner = next((path / name for name in _INSIDE if (path / name).is_file()), path)
    relative = os.path.relpath(Path(base, inner), base)
    if relative.startswith(os.pardir):  # A log may name nothing above its base.
        relative = os.path.relpath(inner, path.parent)
    uri = quote(relative.replace(os.sep, "/"))
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri, "uriBaseId": _BASE},
            "region": {"startLine": 1},
        }
    }


__all__ = ["ACCURACY", "FILE", "sarif", "worst_class", "write_sarif"]
