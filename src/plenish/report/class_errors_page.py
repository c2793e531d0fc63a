"""The page `plenish study autoencoders` writes, in the report's style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset, Subset
from plenish.metrics.caveats import describe
from plenish.metrics.reconstruction import Reconstructs
from plenish.metrics.words import number, with_interval
from plenish.report import figures
from plenish.report.blocks import Block, Card, Charts, Notes, Pictures, Section, Table, Text
from plenish.report.matrix import matrix
from plenish.report.page import render_page
from plenish.report.pictures import Picture, sheet
from plenish.study.class_errors import ClassErrors
from plenish.study.words import class_verdict

_SHOWN = 8


def class_errors_page(
    content: Mapping[str, Any], found: ClassErrors, test: Subset, models: Sequence[Reconstructs],
    dataset: Dataset,
) -> str:  # fmt: skip
    """The HTML page.

    Args:
        content: autoencoders.json.
        found: the errors it was made from.
        test: the test rows, in the order of `found`.
        models: an autoencoder for each class.
        dataset: where the images are from.
    """
    names = content["classes"]
    sections = [
        _errors(content, found),
        _telling(content, found),
        _images(found, test, models, float(content.get("noise") or 0.0)),
        Section("limits", "What limits this", [Notes("", describe(content["caveats"]))])
        if content["caveats"]
        else None,
        _models(content),
    ]
    control = ", classes permuted at random" if content["shuffled"] else ""
    return render_page(
        f"One autoencoder a class: {dataset.name}{control}",
        f"{content['images']:,} test images of {len(names)} classes"
        + (f" from {content['groups']:,} groups" if content["groups"] else ""),
        [section for section in sections if section is not None],
        [_card(content)],
        phantom=bool(content.get("phantom")),
        stated_use=dataset.manifest.intended_use,
    )


def _card(content: Mapping[str, Any]) -> Card:
    answer, number = class_verdict(content)
    tone = "good" if content["verdict"] == "apart" else "neutral"
    return Card("Do the errors tell the classes apart?", answer, f"{number[:1].upper()}{number[1:]}", tone)


def _errors(content: Mapping[str, Any], found: ClassErrors) -> Section:
    names = content["classes"]
    values = [
        [np.nan if cell["value"] is None else cell["value"] for cell in row] for row in content["matrix"]
    ]
    sd = content.get("noise")
    noisy = f", of images with noise of {sd:g} taken off" if sd else ""
    head = ["images of", *(f"model of {name}" for name in names)]
    rows = [[name, *(_cell(cell) for cell in row)] for name, row in zip(names, content["matrix"])]
    blocks: list[Block] = [
        Charts(
            [
                matrix(
                    "Mean error of each class's images under each class's autoencoder", names, values,
                    x_label="autoencoder of", y_label="images of",
                    caption=f"Mean squared error, pixels from 0 to 1{noisy}. Shades compare within a row.",
                )
            ]
        )
    ]  # fmt: skip
    table = Table(
        head, rows, caption=f"With {100 * content['level']:.0f} % intervals.", folded=len(names) > 3
    )
    return Section("errors", "Errors", [*blocks, table])


def _cell(cell: Mapping[str, Any]) -> str:
    return with_interval(cell["value"], cell["low"], cell["high"])


def _telling(content: Mapping[str, Any], found: ClassErrors) -> Section:
    names = content["classes"]
    blocks: list[Block] = []
    charts = []
    if len(names) == 2:
        charts += [_differences(found), _roc(found, content)]
    charts.append(
        matrix(
            "Which model's error is the lowest", names, content["confusion"], x_label="lowest error",
            y_label="images of", caption="Numbers of test images.",
        )
    )  # fmt: skip
    blocks.append(Charts(charts))
    rows = [["every image", *_line(content, names)]]
    if "by_group" in content:
        rows.append([f"means of {content['by_group']['units']:,} groups", *_line(content["by_group"], names)])
    first = ["AUROC of the difference", "AUROC of the log ratio"] if len(names) == 2 else []
    blocks.append(Table(["", *first, "accuracy of the lowest error", "balanced accuracy"], rows))
    return Section("telling", "Telling the classes apart", blocks)


def _line(content: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    keys = ["auroc", "auroc_log_ratio"] if len(names) == 2 else []
    return [_cell(content[key]) for key in (*keys, "accuracy", "balanced_accuracy")]


def _differences(found: ClassErrors) -> figures.Chart:
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


def _roc(found: ClassErrors, content: Mapping[str, Any]) -> figures.Chart:
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
        caption=f"Up: share of {found.names[1]} found. Area {_cell(content['auroc'])}.",
    )  # fmt: skip


def _images(found: ClassErrors, test: Subset, models: Sequence[Reconstructs], sd: float) -> Section:
    """Test images as every model gives them back; which images is decided by chance."""
    rng = np.random.default_rng(0)
    names, pictures = found.names, []
    few = len(names) <= 4
    if few:
        for k, name in enumerate(names):
            pictures.append(_strip(found, test, models, rng, k, f"images of {name}", sd))
        text = (
            "Originals above; below, as the models of " + ", ".join(names) + " give them back, in this order."
        )
    else:
        drawn = [rng.choice(np.flatnonzero(found.codes == k)) for k in range(len(names))]
        images = test.images(np.array(drawn))
        pictures.append(_sheet(images, models, "an image of each class", sd))
        text = (
            "An image of each class; below, row by row, as the models of " + ", ".join(names)
            + " give them back."
        )  # fmt: skip
    if sd:
        text += f" Each model is shown the image with noise of {sd:g}, the same for all."
    return Section("images", "Images and what the models make of them", [Text([text]), Pictures(pictures)])


def _strip(
    found: ClassErrors, test: Subset, models: Sequence[Reconstructs], rng: np.random.Generator, k: int,
    caption: str, sd: float,
) -> Picture:  # fmt: skip
    mine = np.flatnonzero(found.codes == k)
    drawn = np.sort(rng.choice(mine, min(_SHOWN, len(mine)), replace=False))
    return _sheet(test.images(drawn), models, caption, sd)


def _sheet(images: Any, models: Sequence[Reconstructs], caption: str, sd: float) -> Picture:
    rng = np.random.default_rng(0)
    noise = np.float32(sd) * rng.standard_normal(images.shape, np.float32) if sd else None
    rows = [images, *(_pixels(model.reconstruct(images, noise)) for model in models)]
    return sheet(
        np.concatenate(rows), f"Originals and reconstructions: {caption}", columns=len(images), tile=64,
        caption=caption,
    )  # fmt: skip


def _pixels(images: Any) -> Any:
    return np.clip(np.rint(255 * images), 0, 255).astype(np.uint8)


def _models(content: Mapping[str, Any]) -> Section:
    rows = [
        [
            model["class"], model["run"], f"{model['images']:,}",
            "–" if model["epoch"] is None else f"{model['epoch']:.4g}", number(model["val_mse"]),
        ]
        for model in content["models"]
    ]  # fmt: skip
    table = Table(
        ["class", "Run", "training images", "best epoch", "error on its val images"], rows,
        words=frozenset({1}),
    )  # fmt: skip
    note = f"The test part has been read {content['test_reads']} times so far."
    return Section("models", "Models", [table, Text([note])])
