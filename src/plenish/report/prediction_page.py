"""The pages of classifiers: what one said of the test part, and what `plenish predict` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from plenish import files
from plenish.errors import InputError
from plenish.metrics.caveats import describe
from plenish.metrics.predict import predict
from plenish.metrics.predict_config import PredictConfig, SlideOptions
from plenish.metrics.predict_slides import predict_slides
from plenish.metrics.predictions import MEASURED
from plenish.metrics.words import interval, number, percent
from plenish.report import pictures
from plenish.report.classification_sections import measured_sections
from plenish.report.page import Card, Facts, Notes, Pictures, Section, Table, Text, render_page
from plenish.report.slide_prediction_page import MOST_ROWS, made_section, write_slides_page
from plenish.robustness.hardened_run import hardened
from plenish.runs import Run
from plenish.slides.given import are_slides
from plenish.wording import plural


def write_run_page(run: Run) -> Path | None:
    """Write report.html of a classifier's Run that was tested, over an older one; None of another."""
    path = run.path / MEASURED
    if not path.is_file():
        return None
    measured = files.read_record(path)["parts"]["test"]
    data, config = run.config["data"], run.config["config"]
    facts = {
        "classifier": config["classifier"], "loss": config["loss"], "steps": config["steps"],
        "Dataset": data["name"], "split": data["split_name"], "images trained on": data["images"],
        "best step": run.status.get("best", {}).get("step"), "test part read": run.status.get("test_reads"),
        **_beside(config), **_hardening(run),
    }  # fmt: skip
    sections = [
        *measured_sections(measured, "test images"), Section("run", "How it was trained", [Facts(facts)]),
    ]  # fmt: skip
    html = render_page(
        f"A classifier of {data['name']}", f"{config['classifier']} · {plural(measured['n'], 'test image')}",
        sections, [_card(measured)], phantom=bool(run.status.get("phantom")),
    )  # fmt: skip
    files.write_text(run.path / "report.html", html)
    return run.path / "report.html"


def _beside(config: Mapping[str, Any]) -> dict[str, str]:
    """The generated images that a classifier was trained on, too."""
    made = config.get("synthetic")
    share = f", {percent(config['share'], '.0f')} of each batch" if config.get("share") else ""
    return {"generated images": f"{made['images']:,} of {made['name']}{share}"} if made else {}


def _hardening(run: Run) -> dict[str, str]:
    said = hardened(run)
    found = said.get("val")
    if not found:
        return said
    clean, robust = percent(found["balanced_accuracy"]), percent(found["robust_balanced_accuracy"])
    return said | {"val": f"balanced accuracy {clean}, and {robust} against {found['attack']}"}


def predict_with_page(
    runs: Sequence[Path], images: Sequence[Path], out: Path, how: PredictConfig, slides: SlideOptions
) -> tuple[Mapping[str, Any], Path | None]:
    """What `metrics.predict.predict` finds, of slides `predict_slides`, and the page that it asks for."""
    if are_slides(images):
        found = predict_slides(runs, images, out, how, slides)
        return found.content, write_slides_page(out, found.content) if how.report else None
    if slides.given:
        raise InputError(f"{slides.given[0]} is of slides, and none is given; leave it out.")
    found = predict(runs, images, out, how)
    page = write_prediction_page(out, found.content) if how.report or how.explain else None
    return found.content, page


def write_prediction_page(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write report.html of what `plenish predict` found into its folder."""
    measured, given = content.get("measured"), content["given"]
    sections = [
        _answers(content), _abstention(content), _explained(folder, content),
        *(measured_sections(measured, "images") if measured else []), _table(folder, content),
        Section("limits", "What limits this", [Notes(describe(content.get("caveats", ())))]),
        made_section(content),
    ]  # fmt: skip
    cards = [_card(measured, given.get("synthetic", False))] if measured else []
    html = render_page(
        f"Predictions for {given['name']}",
        f"{plural(content['images'], 'image')} · {plural(len(content['runs']), 'classifier')}",
        [section for section in sections if section], cards,
        phantom=content["phantom"],
    )  # fmt: skip
    files.write_text(folder / "report.html", html)
    return folder / "report.html"


def _card(measured: Mapping[str, Any], synthetic: bool = False) -> Card:
    row, auroc = measured["metrics"]["balanced_accuracy"], measured["metrics"]["auroc"]
    answer = f"{percent(row['value'])} balanced accuracy"
    sentence = "Balanced accuracy is the mean share of each class that is found"
    if row["low"] is not None:
        ends = f"{percent(row['low'])} to {percent(row['high'])}"
        sentence += f"; its {percent(measured['level'], '.0f')} interval is {ends}"
    sentence += f". AUROC {interval(auroc, '.3f')}."
    if synthetic:
        return Card("How good is it on generated images?", answer, sentence)
    return Card("How good is it?", answer, sentence)


def _answers(content: Mapping[str, Any]) -> Section:
    n = content["images"]
    rows = [
        {"class": name, "images": count, "share": percent(count / n)}
        for name, count in content["predicted"].items()
    ]
    lead = "Probabilities are calibrated on the val images of the training." if content["calibrated"] else ""
    return Section("answers", "What is predicted", [Table(rows)], lead=lead)


def _abstention(content: Mapping[str, Any]) -> Section | None:
    found = content.get("abstention")
    if found is None:
        return None
    text = (
        f"Images with a confidence below {number(found['threshold'])} are left to a person: "
        f"{found['abstained']:,} of {content['images']:,}. Chosen on {plural(found['images'], 'val image')}, "
        f"of which {percent(found['coverage'])} are answered, {percent(found['risk'])} of these wrongly."
    )
    if "measured_risk" in found:
        text += (
            f" Of these images {percent(found['measured_coverage'])} are answered, and "
            f"{percent(found['measured_risk'])} of the answers are wrong."
        )
    return Section("abstention", "Where it abstains", [Text(text)])


def _explained(folder: Path, content: Mapping[str, Any]) -> Section | None:
    shown = []
    for row in content.get("explained", ()):
        truth = row["label"]
        known = (
            "" if truth is None else f", labelled {', '.join(truth) if isinstance(truth, list) else truth}"
        )
        caption = f"{row['class']} ({percent(row['probability'], '.0f')}){known}"
        picture = pictures.from_file(folder / row["file"], f"{row['id']}: {caption}", caption, least=160)
        shown += [picture] if picture else []
    if not shown:
        return None
    lead = (
        "Grad-CAM: bright places speak most for the class that is named. It shows where the network's last "
        "features respond, coarsely, and not why. Wrong answers come first, then the surest, then the least "
        "sure."
    )
    return Section("explained", "Where it looks", [Pictures(shown)], lead=lead)


def _table(folder: Path, content: Mapping[str, Any]) -> Section:
    path = folder / content["table"]
    table = pd.read_csv(path, dtype={"id": str}) if path.suffix == ".csv" else pd.read_parquet(path)
    kept = [name for name in ("id", "label", "predicted", "abstained") if name in table]
    rows = [
        {name: str(row[name]) for name in kept} | {"confidence": f"{row['confidence']:.3f}"}
        for _, row in table.sort_values("confidence").head(MOST_ROWS).iterrows()
    ]
    caption = f"The {plural(len(rows), 'image')} with the least confidence; {content['table']} has all."
    return Section("table", "Least sure images", [Table(rows, caption, words=kept, folded=True)], folded=True)
