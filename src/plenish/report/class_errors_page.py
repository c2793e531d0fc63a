"""The page `plenish study autoencoders` writes, in the report's style."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.metrics.caveats import describe
from plenish.metrics.words import interval, percent
from plenish.report import figures
from plenish.report.chart_canvas import Chart
from plenish.report.page import Card, Charts, Notes, Pictures, Section, Table, Text, render_page
from plenish.report.pictures import Picture, sheet
from plenish.study.class_autoencoders import Found
from plenish.study.class_errors import ClassErrors
from plenish.study.verdicts import class_verdict
from plenish.wording import plural

_SHOWN = 8
_FEW_CLASSES = 4  # each of which gets several images
_OF_TWO = {"auroc": "AUROC of the difference", "auroc_log_ratio": "AUROC of the log ratio"}
_OF_ANY = {"accuracy": "accuracy of the lowest error", "balanced_accuracy": "balanced accuracy"}


def class_errors_page(found: Found, dataset: Dataset) -> str:
    """The HTML page.

    Args:
        found: what the study found.
        dataset: where the images are from.
    """
    content, errors = found.content, found.errors
    names, limits = content["classes"], Notes(describe(content["caveats"]))
    sections = [
        _errors(content), _telling(content, errors), _images(found),
        Section("limits", "What this cannot tell", [limits]), _models(content),
    ]  # fmt: skip
    control = ", classes permuted at random" if content["shuffled"] else ""
    groups = f" from {plural(content['groups'], 'group')}" if content["groups"] else ""
    return render_page(
        f"One autoencoder a class: {dataset.name}{control}",
        f"{plural(content['images'], 'test image')} of {plural(len(names), 'class')}{groups}", sections,
        [_card(content)], phantom=content["phantom"], stated_use=dataset.manifest.intended_use,
    )  # fmt: skip


def _card(content: Mapping[str, Any]) -> Card:
    answer, reason = class_verdict(content)
    tone = "good" if content["verdict"] == "apart" else "neutral"
    return Card("Do the errors tell the classes apart?", answer, f"{reason[:1].upper()}{reason[1:]}.", tone)


def _errors(content: Mapping[str, Any]) -> Section:
    names = content["classes"]
    values: Any = [[cell["value"] for cell in row] for row in content["matrix"]]
    noisy = f", of images with noise of {content['noise']:g} removed" if content["noise"] else ""
    chart = figures.matrix(
        "Mean error of each class's images under each class's autoencoder", names, values,
        x_label="autoencoder of", y_label="images of",
        caption=f"Mean squared error, pixels from 0 to 1{noisy}. Shades compare within a row.",
    )  # fmt: skip
    rows = [
        {"images of": name} | {f"model of {other}": interval(cell) for other, cell in zip(names, row)}
        for name, row in zip(names, content["matrix"])
    ]
    table = Table(rows, f"With {percent(content['level'], '.0f')} intervals.", folded=len(names) > 3)
    return Section("errors", "Errors", [Charts([chart]), table])


def _telling(content: Mapping[str, Any], errors: ClassErrors) -> Section:
    names = content["classes"]
    charts = [_differences(errors), _roc(errors, content)] if len(names) == 2 else []
    charts.append(
        figures.matrix(
            "Which model's error is the lowest", names, content["confusion"], x_label="lowest error",
            y_label="images of", caption="Numbers of test images.",
        )
    )  # fmt: skip
    by = {"every image": content}
    if "by_group" in content:
        by[f"means by group ({content['by_group']['units']:,} units)"] = content["by_group"]
    measures = _OF_TWO | _OF_ANY if len(names) == 2 else _OF_ANY
    rows = [
        {"": name} | {title: interval(of[key]) for key, title in measures.items()} for name, of in by.items()
    ]
    return Section("telling", "Telling the classes apart", [Charts(charts), Table(rows)])


def _differences(found: ClassErrors) -> Chart:
    difference = found.difference()
    low, high = np.quantile(difference, [0.002, 0.998])
    edges = np.linspace(float(low), float(high), 31)
    counts = {
        f"images of {name}": np.histogram(difference[found.codes == k], edges)[0]
        for k, name in enumerate(found.names)
    }
    return figures.histogram(
        "Difference of the two errors", edges, counts, threshold=0.0,
        x_label=f"error of the model of {found.names[0]} − of {found.names[1]}",
    )  # fmt: skip


def _roc(found: ClassErrors, content: Mapping[str, Any]) -> Chart:
    order = np.argsort(-found.difference(), kind="stable")
    second = found.codes[order] == 1
    hits = np.append(0, np.cumsum(second) / max(second.sum(), 1))
    alarms = np.append(0, np.cumsum(~second) / max((~second).sum(), 1))
    # The rate of hits at rates of false alarms a few apart; a step curve drawn as one line.
    at = np.linspace(0, 1, 81)
    return figures.curves(
        "ROC curve of the difference",
        {"errors": (at, np.interp(at, alarms, hits)), "chance": (at, at)},
        x_label=f"share of {found.names[0]} taken for {found.names[1]}", limits=(-0.03, 1.03),
        caption=f"Up: share of {found.names[1]} found. Area {interval(content['auroc'])}.",
    )  # fmt: skip


def _images(found: Found) -> Section:
    """Randomly drawn test images with their reconstructions by every model."""
    rng = np.random.default_rng(0)
    names, codes = found.errors.names, found.errors.codes
    each = [np.flatnonzero(codes == k) for k in range(len(names))]
    if len(names) <= _FEW_CLASSES:
        pictures = []
        for name, mine in zip(names, each):
            drawn = np.sort(rng.choice(mine, min(_SHOWN, len(mine)), replace=False))
            pictures.append(_sheet(found, drawn, f"images of {name}"))
        text = "Originals above; below, their reconstructions by the models of "
    else:
        drawn = np.array([rng.choice(mine) for mine in each])
        pictures = [_sheet(found, drawn, "an image of each class")]
        text = "An image of each class; below, row by row, the reconstructions by the models of "
    text += ", ".join(names) + ", in this order."
    if sd := found.content["noise"]:
        text += f" Each model is shown the image with noise of {sd:g}, the same for all."
    blocks = [Text(text), Pictures(pictures, wide=True)]
    return Section("images", "Images and their reconstructions", blocks)


def _sheet(found: Found, rows: NDArray[np.int64], caption: str) -> Picture:
    images, sd = found.test.images(rows), np.float32(found.content["noise"])
    noise = sd * np.random.default_rng(0).standard_normal(images.shape, np.float32) if sd else None
    made = [
        np.clip(np.rint(255 * m.reconstruct(images, noise)), 0, 255).astype(np.uint8) for m in found.models
    ]
    return sheet(
        np.concatenate([images, *made]), f"Originals and reconstructions: {caption}", columns=len(images),
        tile=64, caption=caption,
    )  # fmt: skip


def _models(content: Mapping[str, Any]) -> Section:
    rows = [
        {
            "class": model["class"], "Run": model["run"], "training images": model["images"],
            "best epoch": None if model["epoch"] is None else f"{model['epoch']:.4g}",
            "error on its val images": model["val_mse"],
        }
        for model in content["models"]
    ]  # fmt: skip
    note = f"The test part has been read {content['test_reads']} times so far."
    return Section("models", "Models", [Table(rows, words=["Run"]), Text(note)])
