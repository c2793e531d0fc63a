"""The page of `plenish attack`: what a classifier still answers right when images are changed on purpose."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish import files
from plenish.metrics.caveats import describe
from plenish.metrics.words import fixed, number, percent
from plenish.report.attack_figures import (
    convergence_charts,
    corruption_chart,
    eps_curve,
    gallery,
    recall_chart,
)
from plenish.report.attack_words import (
    UNTRIED,
    Gate,
    controls_alone,
    finding,
    flag_words,
    held,
    norm_words,
    triple,
    worst_at,
)
from plenish.report.page import (
    Card,
    Charts,
    Code,
    Facts,
    Notes,
    Pictures,
    Section,
    Table,
    Text,
    plain,
    render_page,
)
from plenish.report.record import duration
from plenish.robustness.radius import format_eps
from plenish.wording import plural

Row = Mapping[str, Any]
PAGE = "attack.html"
_LINE = 36
"""Letters in a line of a cell."""
_ON = {"all": "all right ones", "left": "what is left"}
_SIGNS = {"passed": "✓ passed", "failed": "✗ failed", "unknown": "– not known"}


def write_attack_page(folder: Path, content: Row, gate: Gate) -> Path:
    """Write attack.html into the folder of an attack, over an older one.

    Args:
        folder: with gallery.npz and examples.parquet.
        content: its attack.json.
        gate: the eps of the headline, and what is asked for.
    """
    data, classifier = content["data"], content["classifier"]
    sections = [
        _curve(content), _attacks(content), _recall(content, gate), _flags(content), _convergence(content),
        _corruptions(content), _gallery(folder, content), _limits(content), _made(content), _repeat(content),
    ]  # fmt: skip
    groups = f" of {plural(data['groups'], 'group')}" if data.get("groups") else ""
    html = render_page(
        f"Attacks on {classifier.get('name') or 'a classifier'}",
        f"{plural(data['images'], 'image')}{groups} of {data['name']} · "
        f"{plural(len(content['attacks']), 'attack')} · {content['threat']['norm']}",
        [section for section in sections if section], _cards(content, gate),
        phantom=bool(data.get("phantom")),
    )  # fmt: skip
    files.write_text(folder / PAGE, html)
    return folder / PAGE


def _cards(content: Row, gate: Gate) -> list[Card]:
    norm = content["threat"]["norm"]
    row = worst_at(content, gate.eps)
    at = format_eps(gate.eps, norm)
    if controls_alone(content):
        text = f"{held(content, row)}. {UNTRIED}"
    else:
        text = f"{held(content, row)}, each image under the worst of all attacks for it. {UNTRIED}"
    tone = "neutral"
    if gate.least is not None:
        tone = "bad" if gate.failed else "good"
        text += f" Asked for: at least {percent(gate.least)}."
    under = "noise" if controls_alone(content) else "attack"
    cards = [Card(f"How much is right under {under} (eps {at})?", percent(gate.accuracy), text, tone)]
    grid = [one for one in content["worst_case"] if one["eps"] > 0]
    clean = content["clean"]["accuracy"][0]
    half = next((one for one in grid if one["accuracy"][0] <= clean / 2), None)
    if half is None:
        answer, found = "more than was tried", "More than half of the right answers are left at every eps."
    else:
        answer = f"eps {format_eps(half['eps'], norm)}"
        found = "The smallest of the grid at which half of the right answers are gone or more."
    cards.append(Card("How small a change is enough?", answer, f"{found} With eps, {norm_words(norm)}."))
    cards.append(
        Card(
            "And without an attack?", percent(clean),
            f"On the same images, {triple(content['clean']['accuracy'])}; balanced over classes "
            f"{triple(content['clean']['balanced_accuracy'])}.",
        )
    )  # fmt: skip
    return [*cards, _flag_card(content)]


def _flag_card(content: Row) -> Card:
    failed = [finding(flag) for flag in content["flags"] if flag["status"] == "failed"]
    known = sum(flag["status"] != "unknown" for flag in content["flags"])
    question = "Can these numbers be believed?"
    if failed:
        text = f"{'. '.join(failed)}. See the checks."
        return Card(question, f"{len(failed)} of {plural(known, 'check')} failed", text, "bad")
    text = "None found a sign that the attacks were hindered. That is no proof that a stronger one fails."
    return Card(question, f"{plural(known, 'check')} passed", text, "good" if known else "neutral")


def _curve(content: Row) -> Section:
    norm, names = content["threat"]["norm"], list(content["attacks"])
    control, rows = controls_alone(content), []
    under, kept = ("noise", "right") if control else ("all attacks", "no attack succeeded")
    for row in content["worst_case"]:
        n = content["data"]["images"]
        by = sorted(row.get("found_by", {}).items(), key=lambda pair: -pair[1])
        found = ", ".join(f"{name}\u00a0{count:,}" for name, count in by if count)
        rows.append(
            {
                "eps": format_eps(row["eps"], norm),
                f"right under {under}, %": _in_two_lines(row["accuracy"], ".1f"),
                "balanced over classes, %": _in_two_lines(row["balanced_accuracy"], ".1f"),
                kept: f"{round(row['accuracy'][0] * n):,} of {n:,}",
                "found by": textwrap.fill(found, _LINE) or "–",
            }
        )  # fmt: skip
    counted = "random noise of that size, which is no attack, does not change that."
    if not control:
        counted = (
            f"none of {plural(len(names), 'attack')} changes that. 'Found by' is the first attack that "
            "succeeded."
        )
    lead = (
        f"Pixels are in [0, 1]; {norm_words(norm)}. An image counts as right if it is answered right and "
        f"{counted}"
    )
    words = list(rows[0])[1:]
    return Section("eps", f"How much is right under {'noise' if control else 'attack'}?", [
        Charts([eps_curve(content)], wide=True), Table(rows, "Worst case of each image", words=words),
    ], lead=lead)  # fmt: skip


def _attacks(content: Row) -> Section:
    norm = content["threat"]["norm"]
    grid = [row["eps"] for row in content["worst_case"]]
    rows, asked = [], []
    left = any(attack["on"] == "left" for attack in content["attacks"])
    for attack in content["attacks"]:
        by = {result["eps"]: result for result in attack["results"]}
        seconds = sum(result.get("seconds") or 0 for result in attack["results"])
        rows.append(
            {"attack": attack["name"], "kind, made on": f"{attack['kind']}\n{_ON[attack['on']]}"}
            | {
                format_eps(eps, norm): fixed(100 * by[eps]["accuracy"], ".1f") if eps in by else "–"
                for eps in grid
            }
        )  # fmt: skip
        options = {key.replace("_", " "): value for key, value in attack.get("parameters", {}).items()}
        words = ", ".join(f"{key}\u00a0{_short(value)}" for key, value in options.items())
        asked.append(
            {
                "attack": attack["name"], "time": duration(seconds),
                "options": textwrap.fill(words, 2 * _LINE) or "–",
            }
        )  # fmt: skip
    return Section("attacks", "What each attack leaves", [
        Table(rows, "Right answers, %, by eps", words=["kind, made on"]), Text(
            "Attacks on what is left see only the images on which those above them found nothing, at this or "
            "a smaller eps; their numbers are what is left after them all." if left else ""
        ),
        Table(asked, "Time and options of each attack", words=["time", "options"], folded=True),
    ])  # fmt: skip


def _recall(content: Row, gate: Gate) -> Section:
    norm = content["threat"]["norm"]
    names = list(content["worst_case"][0]["per_class"])
    rows = [
        {"class": name}
        | {
            format_eps(row["eps"], norm): _in_two_lines(row["per_class"][name])
            for row in content["worst_case"]
        }
        for name in names
    ]
    lead = (
        "The share of each class's images that is still answered right. A classifier can look robust on "
        "average and lose a rare class altogether."
    )
    words = list(rows[0])[1:]
    shown = gate.eps
    clean = content["clean"]["accuracy"][0]
    for row in content["worst_case"]:  # Where all is lost, a smaller eps shows more.
        if 0 < row["eps"] <= gate.eps and row["accuracy"][0] <= clean / 2:
            shown = row["eps"]
            break
    return Section("classes", "Which classes suffer?", [
        Charts([recall_chart(content, shown)], wide=True),
        Table(rows, "Recall, %, by eps, with intervals below", words=words, folded=len(rows) > 12),
    ], lead=lead)  # fmt: skip


def _flags(content: Row) -> Section:
    rows: list[dict[str, str]] = []
    advice: list[str] = []
    meanings: dict[str, str] = {}
    for flag in content["flags"]:
        words, failed = flag_words(flag["name"]), flag["status"] == "failed"
        sign = _SIGNS.get(flag["status"], flag["status"])
        measured = _values(flag["values"], content["threat"]["norm"])
        rows.append({"check": words.title, "result": sign, "measured": measured})
        advice += [f"{finding(flag)}. {words.meaning} {words.advice}"] if failed else []
        meanings |= {} if failed else {words.title: words.meaning}
    lead = (
        "A number from attacks is an upper bound of the true one: it is worth as much as the attacks. These "
        "checks show when they were hindered (masked gradients) or when the classifier is fragile otherwise."
    )
    blocks = [
        Table(rows, words=["result", "measured"]), Notes(advice, "What failed, and what to do"),
        Facts(meanings, "What the others would mean if they failed", folded=True),
    ]  # fmt: skip
    return Section("checks", "Can it be believed?", blocks, lead=lead if rows else "")


def _values(values: Row, norm: str) -> str:
    shown = []
    for key, value in values.items():
        if isinstance(value, dict) or value is None or (key == "eps" and isinstance(value, list)):
            continue
        if key == "eps":
            text = format_eps(value, norm)
        else:
            text = " · ".join(map(_short, value)) if isinstance(value, list) else _short(value)
        shown.append(f"{key.replace('_', ' ')} {text}")
    lists = any(isinstance(value, list) for value in values.values())
    return ("\n" if lists else ", ").join(shown) or "–"


def _in_two_lines(value: Sequence[float | None], spec: str = ".0f") -> str:
    """A share in %, its interval below it, so that a table has room for as many columns as there are eps."""
    share, low, high = (fixed(None if one is None else 100 * one, spec) for one in value)
    return share if low == "–" or high == "–" else f"{share}\n{low} to {high}"


def _short(value: Any) -> str:
    return number(value) if isinstance(value, float) else plain(value)


def _convergence(content: Row) -> Section | None:
    found = content.get("convergence")
    if not found:
        return None
    at = format_eps(found["eps"], content["threat"]["norm"])
    rows = [
        {"steps": steps, "right": percent(right)}
        for steps, right in zip(found["iterations"], found["accuracy"], strict=True)
    ]
    lead = f"PGD at eps {at}. Where the line still falls at its end, more steps would find more."
    return Section("convergence", "Were the attacks long enough?", [
        Charts(convergence_charts(found)), Table(rows, "By number of steps", folded=True),
    ], lead=lead)  # fmt: skip


def _corruptions(content: Row) -> Section | None:
    found = content.get("corruptions")
    if not found:
        return None
    kinds: dict[str, dict[int, str]] = {}
    for row in found:
        kinds.setdefault(row["name"], {})[row["severity"]] = _in_two_lines(row["accuracy"])
    levels = sorted({row["severity"] for row in found})
    rows = [
        {"corruption": name.replace("-", " ")} | {f"severity {s}": by.get(s, "–") for s in levels}
        for name, by in kinds.items()
    ]
    lead = (
        "Nobody means harm here: blur, noise, light, files and stain as they happen. Kinds and strengths "
        "after Hendrycks and Dietterich (2019) for images of this size; 1 is mild, 5 is severe."
    )
    return Section("corruptions", "And without an adversary?", [
        Charts([corruption_chart(content)], wide=True),
        Table(rows, "Right answers, %, with intervals below", words=list(rows[0])[1:]),
    ], lead=lead)  # fmt: skip


def _gallery(folder: Path, content: Row) -> Section | None:
    shown = gallery(folder, content)
    if not shown:
        return None
    norm = content["threat"]["norm"]
    scale = "a change by eps" if norm == "linf" else "the largest change of the image"
    lead = (
        "Each three: the original, the adversarial image, and what was added, amplified: grey is no change, "
        f"black and white are {scale}. The words are the classifier's answer before and after."
    )
    return Section("gallery", "What it looks like", [Pictures(shown, large=True)], lead=lead)


def _limits(content: Row) -> Section:
    notes = [
        f"{UNTRIED} These numbers are an upper bound of the accuracy under attack, and nothing here says "
        "that the classifier is safe.",
        "An attack that knows a defence of this classifier may find more than these, which know none.",
        *describe(content.get("caveats", ())),
    ]  # fmt: skip
    return Section("limits", "What this cannot tell", [Notes(notes)])


def _made(content: Row) -> Section:
    data, classifier = content["data"], content["classifier"]
    seconds = content.get("seconds")
    facts = {
        "Dataset": data["name"], "part": data["part"], "split": data["split"], "images": data["images"],
        "groups": data.get("groups"), "norm": content["threat"]["norm"], "seed": content["seed"],
        "precision": content.get("precision"), "batch": content.get("batch"), "device": content.get("device"),
        "time": None if seconds is None else duration(float(seconds)),
    }  # fmt: skip
    about = {key.replace("_", " "): value for key, value in classifier.items() if not isinstance(value, dict)}
    return Section("made", "How it was measured", [Facts(facts), Facts(about, "Classifier")], folded=True)


def _repeat(content: Row) -> Section | None:
    made = content.get("command")
    if not made:
        return None
    lead = "The same command with the same versions draws the same numbers, whatever the batch."
    return Section("repeat", "How to repeat it", [Code([made["repeat"]])], lead=lead)
