"""The scores that a trained Run gives to every tile of a slide, as a picture and a table."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets.rejections import Rejection
from plenish.errors import InputError
from plenish.metrics.scorers import Column, Scorer, open_scorer
from plenish.parallel import executor
from plenish.progress import progress
from plenish.slides import geojson
from plenish.slides.annotations import Annotations, find_annotations, read_annotations
from plenish.slides.canvas import TISSUE, Canvas, Picture, PictureOptions
from plenish.slides.heatmap import HeatmapOptions, colour_bar, colour_scale, paint, spread
from plenish.slides.names import SlideEntry
from plenish.slides.normalise import Restain, restain_like
from plenish.slides.planning import Plan, plan_slide
from plenish.slides.reader import Slide, open_slide
from plenish.slides.remarks import Remark
from plenish.slides.tile_jobs import TileWorker, map_tiles, tile_jobs
from plenish.slides.tiling_config import TilingConfig
from plenish.slides.tissue import resized, slide_tissue
from plenish.slides.trained_tiles import TileOverrides, TrainedTiles, trained_tiles
from plenish.training.roc import auroc_binary

_OUTLINES = ((0, 0, 0), (200, 0, 160), (220, 60, 0), (0, 110, 220))
"""Colours of annotations; all differ clearly from the colours of scores."""
_REMEDY = "give --assume-mpp, or score the tiles of a --level"


def draw_scores(
    slide: Path, out: Path, runs: Sequence[Path], annotations: Path | None, options: HeatmapOptions,
    tiles: TileOverrides, picture: PictureOptions,
) -> Picture:  # fmt: skip
    """Score every tile of a slide; draw the scores and write a table of them.

    Args:
        slide: the slide.
        out: the picture to write, .png or .jpg; the table gets the same name. Neither may exist.
        runs: a Run of an autoencoder, a classifier or a study of autoencoders; or several of autoencoders.
        annotations: the slide's annotations, or a folder with a file named like the slide.
        options: which scores, and how they are drawn.
        tiles: how tiles are cut if not like those of training.
        picture: its size.

    Returns:
        Both paths, quantiles of the scores, and with annotations their AUROC.

    Raises:
        InputError: the slide, the Run or an option cannot be used, or a file exists.
    """
    if not runs:
        raise InputError("Give --run: a Run of an autoencoder or a classifier, or a study of autoencoders.")
    rows_file = out.with_suffix(f".{options.table}")
    picture.check(out, rows_file)
    if tiles.mpp is not None and tiles.level is not None:
        raise InputError("Give either --mpp, the µm per pixel of tiles, or --level, and not both.")
    with open_slide(slide) as opened:
        file = annotations and find_annotations(annotations, opened.name, slide.stem, required=True)
        entry = SlideEntry(slide, opened.name, slide.name, annotations=file)
        scorer = open_scorer(runs, options.checkpoint)
        column = scorer.column(options.score)
        if scorer.channels != 3:
            raise InputError(f"{runs[0]} takes images of one channel, and tiles of slides have three.")
        trained = trained_tiles(scorer.data)
        config = trained.config_like(scorer.size, tiles)
        plan = plan_slide(opened, entry, config, out.with_name(f"{out.stem}.no-tissue.png"), _REMEDY)
        restain = restain_like(trained.stain, opened, plan) if options.stain and trained.stain else None
        scores, lost = _score_tiles(scorer, entry, plan, config, restain, options.workers)
        facts, remarks = _facts(opened, plan, scorer, trained, scores, lost, config, restain)
        facts |= {"picture": str(out), "table": str(rows_file), "shown": column.name}
        canvas = Canvas(*opened.thumbnail(picture.side))
        bar = _draw_scores(canvas, plan, scores[column.name], column, options.limits)
        mask, _, coarse = slide_tissue(opened, config.tissue, plan.facts["slide_mpp"])
        found = None
        if file is not None:
            found = read_annotations(file, (opened.width, opened.height), config.rules)
        _draw_outlines(canvas, mask, coarse, found)
    if (beside := picture.geojson_file(out)) is not None:
        facts["geojson"] = str(beside)
        geojson.write(beside, _features(plan, scores, lost, scorer, found, geojson.tissue(mask, coarse)))
    result = Picture(facts, remarks)
    about = result.summary() | {"models": [dict(model) for model in scorer.models]}
    canvas.save(out, [bar])
    files.write_bytes(rows_file, _encoded(_table(entry, plan, scores, lost), options.table, about))
    return result


def _score_tiles(
    scorer: Scorer, entry: SlideEntry, plan: Plan, config: TilingConfig, restain: Restain | None,
    workers: int | None,
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:  # fmt: skip
    """The scores of all tiles by column, NaN of those left out; and for each tile why, else an empty text.

    Tiles are read by processes that never load torch, and only a few batches are in memory at a time.
    """
    found = {column.name: np.full(len(plan), np.nan) for column in scorer.columns}
    lost: list[str] = []
    with (
        progress("score", len(plan), "tiles") as bar,
        executor(workers, TileWorker, (config,)) as pool,
    ):
        for job, result in map_tiles(pool, tile_jobs(entry, plan), config.grid.size):
            lost += [str(tile) if isinstance(tile, Rejection) else "" for tile in result.tiles]
            kept = [i for i in range(len(lost) - len(job.plan), len(lost)) if not lost[i]]
            if kept:
                images = restain(result.pixels) if restain else result.pixels
                for name, values in scorer(images).items():
                    found[name][kept] = values
            bar.advance(len(job.plan))
    if all(lost):
        raise InputError(f"No tile of {entry.path} could be scored; of the first: {lost[0]}.")
    return found, lost


def _table(
    entry: SlideEntry, plan: Plan, scores: Mapping[str, NDArray[np.float64]], lost: Sequence[str]
) -> pd.DataFrame:
    """A row a tile: its place (x, y, side: pixels of level 0), tissue, annotations and scores."""
    boxes, n = plan.boxes, len(plan)
    rows = pd.DataFrame(
        {
            "slide": np.full(n, entry.name, object), "row": plan.rows, "col": plan.columns, "x": boxes[:, 0],
            "y": boxes[:, 1], "side": plan.grid.side, "mpp": plan.grid.mpp, "level": plan.grid.level,
            "tissue": plan.tissue.round(6),
            **{f"coverage_{label}": plan.coverage[:, k].round(6) for k, label in enumerate(plan.labels)},
            **scores, "left_out": [reason or None for reason in lost],
        }
    )  # fmt: skip
    return rows.astype({"mpp": "float64", "left_out": "string"}).sort_values(
        ["row", "col"], ignore_index=True
    )


def _encoded(rows: pd.DataFrame, kind: str, about: Mapping[str, Any]) -> bytes:
    """The table as a file; a Parquet's metadata say where the scores are from."""
    if kind == "csv":
        return rows.to_csv(index=False).encode()
    metadata = {"plenish": json.dumps(about, ensure_ascii=False, default=str)}
    sink = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def _facts(
    slide: Slide, plan: Plan, scorer: Scorer, trained: TrainedTiles,
    scores: Mapping[str, NDArray[np.float64]], lost: Sequence[str], config: TilingConfig,
    restain: Restain | None,
) -> tuple[dict[str, Any], list[Remark]]:  # fmt: skip
    # The slide's own remarks are of the only slide here.
    remarks = [dataclasses.replace(remark, slide="") for remark in plan.remarks]
    left_out = [reason for reason in lost if reason]
    if left_out:
        remarks.append(Remark("tiles-left-out", {"count": len(left_out), "reason": left_out[0]}))
    parts = trained.parts_of(slide.name)
    if parts.get("train"):
        remarks.append(Remark("slide-trained-on", {"count": parts["train"]}))
    elif trained.missing:
        remarks.append(Remark("training-unknown", {"reason": trained.missing}))
    if trained.stain.get("method", "none") != "none" and restain is None:
        remarks.append(Remark("stain-differs"))
    quantiles = []
    for name, values in scores.items():
        low, middle, high = (float(value) for value in np.nanpercentile(values, (5, 50, 95)))
        quantiles.append({"score": name, "5 %": low, "median": middle, "95 %": high})
    facts: dict[str, Any] = {
        "slide": slide.name, "tiles": len(plan) - len(left_out), "left_out": len(left_out),
        "mpp": plan.grid.mpp, "level": plan.grid.level, "tile_px": plan.grid.size,
        "tile_side": plan.grid.side, "in_parts": parts or None, "stain": restain.about if restain else None,
        "scores": quantiles, "models": [model["run"] for model in scorer.models],
    }  # fmt: skip
    if plan.labels:
        facts["auroc"] = _aurocs(plan, scores, config.labels.label_threshold)
        remarks.append(Remark("auroc-of-one-slide"))
    return facts, remarks


def _aurocs(plan: Plan, scores: Mapping[str, NDArray[np.float64]], threshold: float) -> list[dict[str, Any]]:
    """For each label, the AUROC of each score: tiles that it covers far enough against all others."""
    rows = []
    for k, label in enumerate(plan.labels):
        row: dict[str, Any] = {"label": label}
        for name, values in scores.items():
            known = np.isfinite(values)
            positive = plan.coverage[known, k] >= threshold - 1e-9
            row |= {"tiles": int(positive.sum()), "others": int((~positive).sum())}
            both = 0 < positive.sum() < len(positive)
            row[name] = float(auroc_binary(positive, values[known])[0]) if both else None
        rows.append(row)
    return rows


def _draw_outlines(canvas: Canvas, mask: NDArray[np.bool_], coarse: float, found: Annotations | None) -> None:
    """Outline the tissue, a mask whose pixels measure `coarse` of level 0, and the annotations."""
    height, width = canvas.pixels.shape[:2]
    canvas.outline(resized(mask, coarse, (height, width), canvas.downsample), TISSUE, "tissue")
    if found is not None:
        for number, (label, area) in enumerate(found.raster(width, height, canvas.downsample).items()):
            canvas.outline(area, _OUTLINES[number % len(_OUTLINES)], label)


def _features(
    plan: Plan, scores: Mapping[str, NDArray[np.float64]], lost: Sequence[str], scorer: Scorer,
    found: Annotations | None, tissue: list[dict[str, Any]],
) -> list[dict[str, Any]]:  # fmt: skip
    """Tissue, annotations and the tiles that were scored, which a classifier gives a class."""
    outlined = {} if found is None else found.shapes()
    colours = geojson.class_colours([*outlined, *scorer.classes])
    kept = np.array([not reason for reason in lost], bool)
    classes: list[str | None] = [None] * int(kept.sum())
    if scorer.classes:
        shares = np.stack([scores[column.name][kept] for column in scorer.columns])
        classes = [scorer.classes[k] for k in shares.argmax(0)]
    coverage = {f"coverage_{label}": plan.coverage[kept, k] for k, label in enumerate(plan.labels)}
    measured = {"tissue": plan.tissue[kept], **coverage, **{key: v[kept] for key, v in scores.items()}}
    drawn = geojson.tiles(plan.boxes[kept], classes, measured, colours)
    return [*tissue, *geojson.areas(outlined, colours), *drawn]


def _draw_scores(
    canvas: Canvas, plan: Plan, values: NDArray[np.float64], column: Column, limits: Sequence[float] | None
) -> Image.Image:
    """Paint the scores over the slide; returns the colour bar."""
    scale = colour_scale(values, column.kind, limits)
    height, width = canvas.pixels.shape[:2]
    paint(canvas, spread(values, plan.boxes, (height, width), canvas.downsample), scale)
    return colour_bar(width, canvas.letters, scale, f"{column.name}: {column.about}")
