"""The section on the training: curves, and the same latents decoded at intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from plenish.metrics.words import number, percent
from plenish.report import figures, pictures
from plenish.report.chart_canvas import Chart
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Charts, Notes, Pictures, Section, Table, Text, plain
from plenish.report.pictures import Picture
from plenish.runs import Run


class _Group(NamedTuple):
    """Quantities of the log that share a chart; a `share` lies in 0 to 1 and is ½ by chance."""

    title: str
    labels: Mapping[str, str]
    share: bool = False
    markers: bool = False


GROUPS = (
    _Group("Losses", {"loss_g": "generator", "loss_d": "discriminator"}),
    _Group(
        "Discriminator's accuracy", {"d_accuracy_real": "on real", "d_accuracy_fake": "on synthetic"}, True
    ),
    _Group(
        "Discriminator's mistakes", {"real_as_fake": "real as fake", "fake_as_real": "fake as real"}, True
    ),
    _Group("Discriminator's probability of “real”", {"d_real": "of real", "d_fake": "of synthetic"}, True),
    _Group("Scores of the discriminator", {"score_real": "of real", "score_fake": "of synthetic"}),
    _Group("KID (lower is better)", {"kid_val": "against val", "quality/kid": "against train"}, markers=True),
    _Group(
        "Like real images, by share",
        {"quality/precision": "precision", "quality/coverage": "coverage", "quality/recall": "recall"},
        markers=True,
    ),
    _Group("Samples that look like copies of training images", {"copies": "share"}, markers=True),
    _Group(
        "Mean absolute difference (lower is better)", {"l1": "on train", "val_l1": "on val"}, markers=True
    ),
    _Group(
        "On attacked val images",
        {
            "val_robust_balanced_accuracy": "balanced accuracy",
            "val_robust_macro_f1": "macro F1",
            "val_robust_auroc": "AUROC",
        },
        markers=True,
    ),
    _Group("Images that fool the classifier", {"fooled": "on train", "val_fooled": "on val"}, True, True),
    _Group("Lead of the wrong class, logits", {"margin": "on train", "val_margin": "on val"}, markers=True),
    _Group("Variety of the samples", {"variety": "variety"}),
    _Group("Speed, images/s", {"images_per_s": "images/s"}),
)
NETWORKS = {"g": "generator", "d": "discriminator"}
NOT_CURVES = {
    "kimg", "epoch", "step", "images", "data_wait", "noise_sd", "lr", "lr_g", "lr_d", "real_as_real",
    "fake_as_fake", "copying", "quality/precision_real", "quality/recall_real", "quality/coverage_real",
    "quality/kid_real", "quality/kid_low", "quality/kid_high", "quality/n", "quality/absurd",
}  # fmt: skip
MOST_OTHERS = 6
_WIDE_KINDS = ("translation", "perturber")
"""Kinds of Run whose pictures show triples of images, several beside each other."""
_WIDE_MOST, _WIDE_LEAST = 3, 760
"""How many of such pictures are shown, and the pixels that each is wide at least."""
_FIRST = {
    "Losses", "KID (lower is better)", "Like real images, by share",
    "Samples that look like copies of training images", "Mean absolute difference (lower is better)",
    "Images that fool the classifier",
}  # fmt: skip
_STRIP = {
    "generator": "The same latent vectors, decoded during training:",
    "autoencoder": "Images above their reconstructions during training:",
    "translation": "Sketches of val images, what was made of them and the images, during training:",
    "perturber": "Val images, perturbed ones and the amplified difference, during training:",
}


def training(inputs: ReportInputs) -> Section | None:
    """Curves, the confusion matrix of a discriminator, pictures, errors of an autoencoder."""
    run = inputs.run
    if run is None:
        return None
    table, status = run.metrics(), run.status
    stopped = [str(status.get("message") or "It diverged.")] if run.state == "diverged" else []
    charts = training_charts(table)
    scored = [chart for chart in charts if chart.title in _FIRST]
    others = [chart for chart in charts if chart not in scored]
    blocks: list[Block] = [
        Notes(stopped, "Training was stopped"), Charts(scored), Notes(single_values(table)),
        Charts(others, folded="More curves" if scored else ""),
        confusion_table(table),
    ]  # fmt: skip
    is_wide = run.kind in _WIDE_KINDS
    if strip := progress_strip(run, _WIDE_MOST, least=_WIDE_LEAST) if is_wide else progress_strip(run):
        blocks += [Text(_STRIP.get(run.kind, _STRIP["generator"])), Pictures(strip, wide=is_wide)]
    blocks.append(_errors_table(status.get("errors") or []))
    blocks += held_out(run, status.get("held_out") or [])
    blocks.append(_fooling_table(status.get("fooling") or []))
    return Section("training", "Training", blocks)


def _errors_table(errors: Sequence[Mapping[str, Any]]) -> Table:
    """Mean errors of an autoencoder on val and test."""
    rows = [
        {"part": row["part"], "images": row["images"]}
        | {key.upper(): row.get(key) for key in ("mse", "ssim", "psnr") if key in errors[0]}
        for row in errors
    ]
    return Table(
        rows, "Means over images, pixels from 0 to 1, by the best weights; errors.parquet has each image."
    )


def _fooling_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """How often a perturber fools its classifier, beside other attacks in the same ball.

    Rows of older Runs that name no attack are left out.
    """
    names = {"fgsm": "FGSM", "pgd": "PGD, 20 steps"}
    rows = [
        {
            "part": row["part"], "attack": names.get(row["attack"], row["attack"]),
            "classified right": f"{row['classified_right']} of {row['images']}",
            "fooled": percent(row["fooled"]), "from": percent(row["low"]), "to": percent(row["high"]),
        }
        for row in found if "attack" in row
    ]  # fmt: skip
    return Table(
        rows,
        "Of the images that are classified right, those that attacks of the same norm and radius make wrong, "
        "by the best weights, with 95 % intervals; fooling.parquet has each image.",
    )


def held_out(run: Run, found: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How near a translation comes to held-out pictures, beside three baselines, and some of them."""
    rows = [
        {
            "part": row["part"], "images": row["images"], "difference": row["l1"], "from": row["l1_low"],
            "to": row["l1_high"], "mean training picture": row["l1_mean"],
            "picture of the nearest sketch": row["l1_nearest"], "the sketch itself": row["l1_sketch"],
        }
        for row in found
    ]  # fmt: skip
    caption = (
        "Mean absolute difference to the real pictures, pixels from 0 to 1, by the best weights, with its "
        "95 % interval, beside three baselines that translate nothing; held_out.parquet has each image."
    )
    words = "Val: sketches, what is made of them, the real pictures, training pictures of nearest sketches"
    picture = pictures.from_file(run.path / "samples" / "held-out.png", words, words, least=560)
    return [Table(rows, caption), *([Pictures([picture], wide=True)] if rows and picture else [])]


def training_charts(table: pd.DataFrame, draw: Callable[..., Chart] = figures.curves) -> list[Chart]:
    """Small multiples of everything numeric in metrics.jsonl, the well-known quantities first and grouped.

    Args:
        table: one row a log line, with `kimg` to plot against; cells may be missing.
        draw: what draws a chart, of the arguments of `figures.curves`.
    """
    if "kimg" not in table:
        return []
    numbers = table.apply(pd.to_numeric, errors="coerce")
    have = [str(c) for c in numbers.columns if numbers[c].notna().any() and c not in NOT_CURVES]
    if "d_real" in have:  # the scores are the same before the sigmoid
        have = [key for key in have if key not in ("score_real", "score_fake")]

    have = [name for name in have if numbers[name].notna().sum() > 1]  # A single value is said in words.

    def curves(title: str, labels: Mapping[str, str], **options: Any) -> Chart:
        series = {label: (numbers["kimg"], numbers[key]) for key, label in labels.items()}
        return draw(title, series, **options)

    charts = []
    for group in GROUPS:
        if shown := {key: label for key, label in group.labels.items() if key in have}:
            limits, level = ((-0.03, 1.03), 0.5) if group.share else (None, None)
            charts.append(curves(group.title, shown, limits=limits, level=level, markers=group.markers))
    for letter, whose in NETWORKS.items():
        if norms := dict(layers(have, letter)):
            charts.append(curves(f"Gradients of the {whose}", norms, log=True))
    known = {key for group in GROUPS for key in group.labels}
    others = [key for key in have if key not in known and not key.startswith(("grad_g", "grad_d"))]
    return charts + [curves(key.replace("_", " "), {key: key}) for key in others[:MOST_OTHERS]]


def single_values(table: pd.DataFrame) -> list[str]:
    """What was logged once, as sentences: a curve of one point shows nothing."""
    said = []
    for group in GROUPS:
        for key, label in group.labels.items():
            line = table[["kimg", key]].dropna() if {"kimg", key} <= set(table) else table[:0]
            if len(line) == 1:
                value = pd.to_numeric(line[key], errors="coerce").iloc[0]
                where = plain(round(float(line["kimg"].iloc[0]), 1))
                said.append(f"{group.title}, {label}: {number(value)} at {where} kimg, the only value.")
    return said


def layers(have: Sequence[str], letter: str) -> list[tuple[str, str]]:
    """Gradient norms to show of a network, and their labels: of all, and of its first, middle and last layer.

    Args:
        have: names of what was logged, layers in the order of the network.
        letter: g or d.
    """
    shown = [(f"grad_{letter}", "all")] if f"grad_{letter}" in have else []
    each = [key for key in have if key.startswith(f"grad_{letter}/")]
    places = {0: "first", len(each) // 2: "middle", len(each) - 1: "last"} if len(each) > 2 else {}
    return shown + [(each[i], f"{place}: {each[i].partition('/')[2]}") for i, place in places.items()]


def confusion_table(table: pd.DataFrame) -> Table:
    """The discriminator's confusion matrix in the last logged interval, as counts and shares of each row."""
    wanted = ["images", "real_as_real", "real_as_fake", "fake_as_real", "fake_as_fake"]
    logged = table[wanted].dropna().tail(1) if set(wanted) <= set(table) else table[:0]
    rows = [
        {"Discriminator": f"{name} images"}
        | {
            f"taken for {other}": f"{round(last['images'] * last[key]):,} ({percent(last[key])})"
            for other, key in (("real", f"{fake}_as_real"), ("synthetic", f"{fake}_as_fake"))
        }
        for _, last in logged.iterrows()
        for name, fake in (("real", "real"), ("synthetic", "fake"))
    ]
    return Table(rows, "How the discriminator judged the training images of the last logged interval.")


def progress_strip(run: Run, most: int = 6, *, least: int = 0) -> list[Picture]:
    """Up to `most` of the pictures of `samples/`, evenly spaced, with the kimg under each.

    Args:
        run: the Run.
        most: how many.
        least: width in pixels that each has at least; without one they are thumbnails.
    """
    found = sorted((run.path / "samples").glob("kimg-*.png"))
    strip = []
    for path in (found[i] for i in pictures.pick(len(found), most)):
        kimg = plain(round(float(path.stem.removeprefix("kimg-")), 1))
        alt = f"Samples after {kimg} thousand images"
        widest = max(420, 2 * least)
        strip.append(pictures.from_file(path, alt, widest=widest, least=least, caption=f"{kimg} kimg"))
    return [picture for picture in strip if picture is not None]
