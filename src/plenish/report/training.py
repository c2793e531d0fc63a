"""The section on the training: curves, and the same latents decoded as it went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from plenish.metrics.words import number
from plenish.report import figures, pictures
from plenish.report.blocks import Block, Charts, Notes, Pictures, Section, Table, Text
from plenish.report.figures import Chart
from plenish.report.inputs import ReportInputs
from plenish.report.pictures import Picture
from plenish.report.sections import plain
from plenish.runs import Run

GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("Losses", (("loss_g", "generator"), ("loss_d", "discriminator"))),
    ("Discriminator's accuracy", (("d_accuracy_real", "on real"), ("d_accuracy_fake", "on synthetic"))),
    ("Discriminator's mistakes", (("real_as_fake", "real as fake"), ("fake_as_real", "fake as real"))),
    ("Discriminator's belief in “real”", (("d_real", "of real"), ("d_fake", "of synthetic"))),
    ("Scores of the discriminator", (("score_real", "of real"), ("score_fake", "of synthetic"))),
    ("KID on validation images", (("kid_val", "KID"),)),
    (
        "Variety of the samples",
        (("variety", "variety"), ("sample_variety", "variety"), ("diversity", "variety")),
    ),
    ("Speed, images/s", (("images_per_s", "images/s"),)),
)
NETWORKS = {"g": "generator", "d": "discriminator"}
NOT_CURVES = {
    "kimg", "step", "images", "n_images", "seconds", "time", "attempt", "tick", "epoch", "lr", "lr_g", "lr_d",
    "timestamp", "wall_s", "noise_std", "noise_sd", "ema_beta", "data_wait",
    "real_as_real", "fake_as_fake",
}  # fmt: skip

_STRIP = {
    "generator": "The same latent vectors, decoded as training went on:",
    "autoencoder": "Images, and below them what was made of them, as training went on:",
}


def training(inputs: ReportInputs) -> Section | None:
    """Curves and the same latents decoded as training went on."""
    run = inputs.run
    if run is None:
        return None
    table = run.metrics()
    blocks: list[Block] = []
    charts = training_charts(table)
    if charts:
        blocks.append(Charts(charts))
    confusion = confusion_table(table)
    if confusion:
        blocks.append(confusion)
    strip = progress_strip(run)
    if strip:
        blocks += [Text([_STRIP.get(run.kind, _STRIP["generator"])]), Pictures(strip)]
    errors = run.status.get("errors")
    if errors:
        blocks.append(_errors_table(errors))
    message = run.status.get("message")
    if run.state == "diverged":
        blocks.insert(0, Notes("Training was stopped", [str(message or "It diverged.")]))
    return Section("training", "Training", blocks) if blocks else None


def _errors_table(errors: Sequence[Mapping[str, Any]]) -> Table:
    """Mean errors of an autoencoder on val and test."""
    measures = [key for key in ("mse", "ssim", "psnr") if key in errors[0]]
    rows = [
        [str(row["part"]), f"{row['images']:,}", *(number(row.get(key)) for key in measures)]
        for row in errors
    ]
    head = ["part", "images", *(key.upper() for key in measures)]
    caption = "Means over images, pixels from 0 to 1, by the best weights; errors.parquet has each image."
    return Table(head, rows, caption=caption)


def training_charts(table: pd.DataFrame) -> list[Chart]:
    """Small multiples of everything numeric in metrics.jsonl, the well-known quantities first and grouped.

    Args:
        table: one row a log line, with `kimg` or `step` to plot against; cells may be missing.
    """
    against = next((key for key in ("kimg", "step", "epoch") if key in table), None)
    if against is None:
        return []
    numbers = table.apply(pd.to_numeric, errors="coerce")
    have = [str(c) for c in numbers.columns if numbers[c].notna().any() and c not in NOT_CURVES]
    x_label = "thousand real images shown (kimg)" if against == "kimg" else against
    charts = []
    gradients = _gradient_charts(numbers, against, x_label, have)
    have = [key for key in have if not key.startswith(("grad_g", "grad_d"))]
    if "d_real" in have:
        have = [
            key for key in have if key not in ("score_real", "score_fake")
        ]  # The same, before the sigmoid.
    for title, members in GROUPS:
        mine = [(key, label) for key, label in members if key in have]
        if mine:
            accuracy = title.startswith("Discriminator's")
            charts.append(
                figures.curves(
                    title,
                    {label: _series(numbers, against, key) for key, label in mine},
                    x_label=x_label,
                    limits=(-0.03, 1.03) if accuracy else None,
                    level=0.5 if accuracy else None,
                    markers="kid" in mine[0][0],
                )
            )
            have = [key for key in have if key not in dict(mine)]
    charts += gradients
    for key in have[:6]:
        charts.append(
            figures.curves(key.replace("_", " "), {key: _series(numbers, against, key)}, x_label=x_label)
        )
    return charts


def _gradient_charts(numbers: pd.DataFrame, against: str, x_label: str, have: Sequence[str]) -> list[Chart]:
    """Gradient norms of each network, of all and of a few layers."""
    charts = []
    for letter, whose in NETWORKS.items():
        shown = layers(have, letter)
        if shown:
            charts.append(
                figures.curves(
                    f"Gradients of the {whose}",
                    {label: _series(numbers, against, key) for key, label in shown},
                    x_label=x_label,
                    log=True,
                )
            )
    return charts


def layers(have: Sequence[str], letter: str) -> list[tuple[str, str]]:
    """Gradient norms to show of a network, and their labels: of all, and of its first, middle and last layer.

    Args:
        have: names of what was logged, layers in the order of the network.
        letter: g or d.
    """
    shown = [(f"grad_{letter}", "all")] if f"grad_{letter}" in have else []
    older = [(f"grad_{letter}_{place}", place) for place in ("first", "last")]
    shown += [(key, place) for key, place in older if key in have]
    each = [key for key in have if key.startswith(f"grad_{letter}/")]
    places = {0: "first", len(each) // 2: "middle", len(each) - 1: "last"} if len(each) > 2 else {}
    return shown + [(each[i], f"{place}: {each[i].partition('/')[2]}") for i, place in places.items()]


def confusion_table(table: pd.DataFrame) -> Table | None:
    """The discriminator's confusion matrix in the last logged interval, as counts and shares of each row."""
    wanted = ["images", "real_as_real", "real_as_fake", "fake_as_real", "fake_as_fake"]
    if not set(wanted) <= set(table):
        return None
    rows = table[wanted].dropna()
    if rows.empty:
        return None
    last = rows.iloc[-1]
    n = float(last["images"])

    def cell(name: str) -> str:
        return f"{round(n * last[name]):,} ({100 * last[name]:.1f} %)"

    return Table(
        ["Discriminator", "taken for real", "taken for synthetic"],
        [
            ["real images", cell("real_as_real"), cell("real_as_fake")],
            ["synthetic images", cell("fake_as_real"), cell("fake_as_fake")],
        ],
        caption="How the discriminator judged the training images of the last logged interval.",
    )


def _series(numbers: pd.DataFrame, against: str, key: str) -> tuple[Any, Any]:
    rows = numbers[[against, key]].dropna()
    return rows[against].to_numpy(float), rows[key].to_numpy(float)


def progress_strip(run: Run, most: int = 6) -> list[Picture]:
    """Up to `most` of the fixed-latent grids of `samples/`, evenly spaced, with the kimg under each."""
    found = sorted((run.path / "samples").glob("kimg-*.png"))
    strip = []
    for i in pictures.pick(len(found), most):
        at = _kimg(found[i].stem)
        picture = pictures.from_file(
            found[i], f"Samples after {at} thousand images", widest=420, caption=f"{at} kimg"
        )
        if picture is not None:
            strip.append(picture)
    return strip


def _kimg(stem: str) -> str:
    text = stem.removeprefix("kimg-")
    try:
        return plain(round(float(text), 1))
    except ValueError:
        return text
