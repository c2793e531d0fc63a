"""The scores that a trained Run gives to every tile of a slide, as a picture and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError
from plenish.metrics.scored_tiles import ScoredTiles, draw_outlines, encoded, score_tiles
from plenish.metrics.scorers import Scorer, open_scorer
from plenish.slides import geojson
from plenish.slides.annotations import Annotations, find_annotations, read_annotations
from plenish.slides.canvas import Canvas, Picture, PictureOptions
from plenish.slides.heatmap import HeatmapOptions
from plenish.slides.names import SlideEntry
from plenish.slides.normalise import restain_like
from plenish.slides.planning import Plan, plan_slide
from plenish.slides.reader import Slide, open_slide
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import TilingConfig
from plenish.slides.tissue import slide_tissue
from plenish.slides.trained_tiles import TileOverrides, TrainedTiles, trained_tiles
from plenish.training.roc import auroc_binary

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
        scored = score_tiles(scorer, entry, plan, config, restain, options.workers)
        facts, remarks = _facts(opened, scored, scorer, trained, config)
        facts |= {"picture": str(out), "table": str(rows_file), "shown": column.name}
        canvas = Canvas(*opened.thumbnail(picture.side))
        bar = scored.draw(canvas, column, options.limits)
        mask, _, coarse = slide_tissue(opened, config.tissue, plan.facts["slide_mpp"])
        found = None
        if file is not None:
            found = read_annotations(file, (opened.width, opened.height), config.rules)
        draw_outlines(canvas, mask, coarse, found)
    if (beside := picture.geojson_file(out)) is not None:
        facts["geojson"] = str(beside)
        geojson.write(beside, _features(scored, scorer, found, geojson.tissue(mask, coarse)))
    result = Picture(facts, remarks)
    about = result.summary() | {"models": [dict(model) for model in scorer.models]}
    canvas.save(out, [bar])
    files.write_bytes(rows_file, encoded(scored.table(), options.table, about))
    return result


def _facts(
    slide: Slide, found: ScoredTiles, scorer: Scorer, trained: TrainedTiles, config: TilingConfig
) -> tuple[dict[str, Any], list[Remark]]:  # fmt: skip
    plan, parts = found.plan, trained.parts_of(slide.name)
    remarks = found.remarks(trained, parts)
    quantiles = []
    for name, values in found.scores.items():
        low, middle, high = (float(value) for value in np.nanpercentile(values, (5, 50, 95)))
        quantiles.append({"score": name, "5 %": low, "median": middle, "95 %": high})
    facts: dict[str, Any] = {
        "slide": slide.name, "tiles": len(plan) - len(found.left_out), "left_out": len(found.left_out),
        "mpp": plan.grid.mpp, "level": plan.grid.level, "tile_px": plan.grid.size,
        "tile_side": plan.grid.side, "in_parts": parts or None,
        "stain": found.restain.about if found.restain else None,
        "scores": quantiles, "models": [model["run"] for model in scorer.models],
    }  # fmt: skip
    if plan.labels:
        facts["auroc"] = _aurocs(plan, found.scores, config.labels.label_threshold)
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


def _features(
    scored: ScoredTiles, scorer: Scorer, found: Annotations | None, tissue: list[dict[str, Any]]
) -> list[dict[str, Any]]:  # fmt: skip
    """Tissue, annotations and the tiles that were scored, which a classifier gives a class."""
    outlined = {} if found is None else found.shapes()
    plan, scores, lost = scored.plan, scored.scores, scored.lost
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
