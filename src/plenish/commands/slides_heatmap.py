"""`plenish slides heatmap`: what a trained Run says of every tile of a slide, as a picture and a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plenish import files
from plenish.errors import InputError
from plenish.progress import progress
from plenish.slides.canvas import SUFFIXES, TISSUE, Canvas, encoded, resized
from plenish.wording import agree

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from plenish.metrics.scorers import Scorer
    from plenish.slides.planning import Plan, Wanted
    from plenish.slides.reader import Slide
    from plenish.slides.restain import Restain
    from plenish.slides.settings import TilingSettings
    from plenish.slides.trained_tiles import TrainedTiles

_SIDES = (200, 10_000)
_OUTLINES = ((0, 0, 0), (200, 0, 160), (220, 60, 0), (0, 110, 220))
"""Colours of annotations, which no colour of the numbers comes close to."""


@dataclasses.dataclass(frozen=True)
class Heatmap:
    """What `plenish slides heatmap` made.

    Attributes:
        facts: picture, table, tiles, scores; JSON-able.
    """

    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return dict(self.facts)


def draw_heatmap(
    slide: Path, out: Path, *, run: list[Path] | None = None, score: str | None = None,
    checkpoint: str = "best", mpp: float | None = None, level: int | None = None, stride: int | None = None,
    assume_mpp: float | None = None, annotations: Path | None = None, label_threshold: float | None = None,
    priority: list[str] | None = None, holes: list[str] | None = None, min_tissue: float | None = None,
    tissue_saturation: float | None = None, stain: bool = True, limits: list[float] | None = None,
    side: int = 2000, table: Literal["parquet", "csv"] = "parquet", workers: int | None = None,
) -> Heatmap:  # fmt: skip
    """Draw what a trained Run says of every tile of a slide, and write it down.

    The Run is an autoencoder's (its error), a classifier's (the probability of each class), or a study of one
    autoencoder a class (both errors and their difference). Tiles are cut as those it was trained on. Beside
    the picture lies a table with every tile's place, in pixels of level 0, and all its numbers.

    Args:
        slide: the slide.
        out: the picture to write, .png or .jpg; the table gets the same name. Neither may exist.
        run: the Run; of several autoencoders each, whose errors are compared.
        score: the number to draw; by default the one that says most.
        checkpoint: of autoencoders: best, last, or a checkpoint's name.
        mpp: µm per pixel of tiles; by default as the Run was trained.
        level: or a level of the slide that is taken as it is.
        stride: from one tile to the next, pixels of tiles; left out, they lie side by side.
        assume_mpp: µm per pixel at level 0 if the slide does not say.
        annotations: the slide's annotations, or a folder with a file named like the slide; they are outlined,
            and the AUROC of the numbers is told.
        label_threshold: share of a tile that an annotation must cover; by default as in training, else 0.5.
        priority: annotations' labels; where they overlap, the one named first counts.
        holes: annotations' labels that are holes in the others.
        min_tissue: least share of tissue of a tile; by default as in training, else 0.5.
        tissue_saturation: saturation (0 to 1) above which there is tissue; left out, it is found.
        stain: give tiles the stain of the Run's Dataset, where that was normalised.
        limits: lowest and highest number with a colour of its own.
        side: longer side of the picture, pixels.
        table: parquet or csv.
        workers: processes that read; left out, one a core.

    Returns:
        Both paths, how the numbers are spread, and with annotations their AUROC.

    Raises:
        InputError: the slide, the Run or an option cannot be used, or something is in the way.
    """
    slide, out = Path(slide), Path(out)
    if not run:
        raise InputError("Give --run: a Run of an autoencoder or a classifier, or a study of autoencoders.")
    _check(out, table, side, workers, limits, mpp, level)
    from plenish.metrics.scorers import open_scorer
    from plenish.slides.annotations import the_annotations
    from plenish.slides.planning import Wanted, plan_slide
    from plenish.slides.reader import open_slide, require_libraries
    from plenish.slides.trained_tiles import trained_tiles

    require_libraries()
    with open_slide(slide) as opened:
        drawn_on = annotations and the_annotations(Path(annotations), opened.name, slide.stem)
        picture = out.with_name(f"{out.stem}.no-tissue.png")
        named = None if drawn_on is None else str(drawn_on)
        wanted = Wanted(str(slide), opened.name, None, named, str(picture))
        scorer = open_scorer(run, checkpoint)
        column = scorer.column(score)
        if scorer.channels != 3:
            raise InputError(f"{run[0]} takes images of one channel, and tiles of slides have three.")
        trained = trained_tiles(scorer.data)
        how = trained.like(
            scorer.size, mpp, level, stride=stride, assume_mpp=assume_mpp, min_tissue=min_tissue,
            saturation=tissue_saturation, label_threshold=label_threshold,
            priority=None if priority is None else tuple(priority),
            holes=None if holes is None else tuple(holes),
        )  # fmt: skip
        plan = plan_slide(opened, wanted, how, "give --assume-mpp, or score the tiles of a --level")
        restain = _restain(trained, opened, plan) if stain else None
        scores, lost = _scores(scorer, wanted, plan, how, restain, workers)
        rows = _table(opened.name, plan, scores, lost)
        facts = _facts(opened, plan, scorer, trained, scores, lost, how, restain)
        facts |= {"picture": str(out), "table": str(out.with_suffix(f".{table}")), "shown": column.name}
        layers = _layers(opened, plan, how, wanted, side)
        _lay(layers, plan, scores[column.name], column, limits)
    _write(out, table, rows, layers, facts)
    return Heatmap(facts)


def _check(
    out: Path, table: str, side: int, workers: int | None, limits: Sequence[float] | None, mpp: float | None,
    level: int | None,
) -> None:  # fmt: skip
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"The picture {out} must end in .png or .jpg.")
    for path in (out, out.with_suffix(f".{table}")):
        if path.exists():
            raise InputError(f"{path} already exists; choose another name or remove it first.")
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise InputError(f"--side must be {_SIDES[0]} to {_SIDES[1]} pixels, not {side}.")
    if workers is not None and workers < 1:
        raise InputError(f"--workers must be at least 1, not {workers}.")
    if mpp is not None and level is not None:
        raise InputError("Give either --mpp, the µm per pixel of tiles, or --level, and not both.")
    if limits is not None and not (len(limits) == 2 and limits[0] < limits[1]):
        raise InputError("--range takes two rising numbers, such as --range 0 0.02.")


def _restain(trained: TrainedTiles, slide: Slide, plan: Plan) -> Restain | None:
    from plenish.slides.restain import restain_like

    return restain_like(trained.stain, slide, plan) if trained.stain else None


def _scores(
    scorer: Scorer, wanted: Wanted, plan: Plan, how: TilingSettings, restain: Restain | None,
    workers: int | None,
) -> tuple[dict[str, NDArray[np.float64]], list[str]]:  # fmt: skip
    """The numbers of all tiles by column, NaN of those that were not looked at; and why not, else empty.

    Tiles are read by processes that never load torch, and only a few batches of them are there at a time.
    """
    from plenish.slides.sheets import crew, jobs_of
    from plenish.slides.workers import Order, do_all

    found = {column.name: np.full(len(plan), np.nan) for column in scorer.columns}
    lost = [""] * len(plan)
    start = 0
    with progress("score", len(plan), "tiles") as bar:
        for job, answer in do_all(jobs_of(wanted, plan, 0), Order(how), crew(workers)):
            if answer.error:
                raise InputError(answer.error)
            reasons = [item if isinstance(item, str) else "" for item in answer.items]
            lost[start : start + len(reasons)] = reasons
            kept = start + np.flatnonzero([not reason for reason in reasons])
            if len(kept):
                tiles = restain(answer.pixels) if restain else answer.pixels
                for name, values in scorer(tiles).items():
                    found[name][kept] = values
            start += len(job.tiles)
            bar.advance(len(job.tiles))
    if all(lost):
        raise InputError(f"No tile of {wanted.path} could be looked at; of the first: {lost[0]}.")
    return found, lost


def _table(
    name: str, plan: Plan, scores: Mapping[str, NDArray[np.float64]], lost: Sequence[str]
) -> pd.DataFrame:
    """A row a tile: where it lies (x, y, side: pixels of level 0), what covers it, and its numbers."""
    import pandas as pd

    boxes, n = plan.grid.boxes(plan.rows, plan.columns), len(plan)
    rows = pd.DataFrame(
        {
            "slide": np.full(n, name, object), "row": plan.rows, "col": plan.columns, "x": boxes[:, 0],
            "y": boxes[:, 1], "side": plan.grid.side, "mpp": plan.grid.mpp, "level": plan.grid.level,
            "tissue": plan.tissue.round(6),
            **{f"coverage_{label}": plan.coverage[:, k].round(6) for k, label in enumerate(plan.labels)},
            **scores, "left_out": [reason or None for reason in lost],
        }
    )  # fmt: skip
    return rows.astype({"mpp": "float64", "left_out": "string"}).sort_values(
        ["row", "col"], ignore_index=True
    )


def _facts(
    slide: Slide, plan: Plan, scorer: Scorer, trained: TrainedTiles,
    scores: Mapping[str, NDArray[np.float64]], lost: Sequence[str], how: TilingSettings,
    restain: Restain | None,
) -> dict[str, Any]:  # fmt: skip
    remarks = list(plan.about["remarks"])
    gone = [reason for reason in lost if reason]
    if gone:
        remarks.append(f"{agree(len(gone), 'tile', 'was', 'were')} left out; the first because {gone[0]}.")
    parts = trained.parts_of(slide.name)
    if parts.get("train"):
        remarks.append(
            f"{agree(parts['train'], 'tile', 'was', 'were')} trained on that came from a slide of this name; "
            "if it is this one, what is said of it is no measure of how well the Run does on others."
        )
    elif trained.missing:
        remarks.append(f"Whether this slide was trained on is not known: {trained.missing}.")
    if trained.stain.get("method", "none") != "none" and restain is None:
        remarks.append("The Run was trained on tiles of a normalised stain, and these have their own.")
    quantiles = {}
    for name, values in scores.items():
        low, middle, high = np.nanpercentile(values, (5, 50, 95))
        quantiles[name] = {"5 %": float(low), "median": float(middle), "95 %": float(high)}
    facts: dict[str, Any] = {
        "slide": slide.name, "tiles": len(plan) - len(gone), "left_out": len(gone), "mpp": plan.grid.mpp,
        "level": plan.grid.level, "tile_px": plan.grid.size, "tile_side": plan.grid.side,
        "in_parts": parts or None, "stain": restain.about if restain else None,
        "scores": [{"score": name, **values} for name, values in quantiles.items()],
    }  # fmt: skip
    if plan.labels:
        facts["auroc"] = _aurocs(plan, scores, how.label_threshold)
        remarks.append(
            "The AUROC is of this slide's tiles alone and has no interval: they are not independent of each "
            "other."
        )
    models = [dict(model) for model in scorer.models]
    return facts | {"remarks": remarks, "models": [model["run"] for model in models], "_models": models}


def _aurocs(plan: Plan, scores: Mapping[str, NDArray[np.float64]], threshold: float) -> list[dict[str, Any]]:
    """For each label, whether tiles that it covers far enough have higher numbers than all others."""
    from plenish.metrics.classification import auroc_binary

    rows = []
    for k, label in enumerate(plan.labels):
        row: dict[str, Any] = {"label": label}
        for name, values in scores.items():
            known = np.isfinite(values)
            positive = plan.coverage[known, k] >= threshold - 1e-9
            row |= {"tiles": int(positive.sum()), "others": int((~positive).sum())}
            there = 0 < positive.sum() < len(positive)
            row[name] = float(auroc_binary(positive, values[known])[0]) if there else None
        rows.append(row)
    return rows


def _layers(slide: Slide, plan: Plan, how: TilingSettings, wanted: Wanted, side: int) -> _Layers:
    """The slide in small, and the maps of its tissue and annotations, which are drawn last."""
    from plenish.slides.annotations import read_annotations
    from plenish.slides.tissue import thumbnail_side, tissue_mask

    mpp = plan.about["slide_mpp"]
    rgb, coarse = slide.thumbnail(thumbnail_side(slide.width, slide.height, mpp))
    mask = tissue_mask(rgb, how.tissue(), None if mpp is None else mpp * coarse)
    picture, downsample = slide.thumbnail(side)
    height, width = picture.shape[:2]
    outlines = {}
    if wanted.annotations is not None:
        found = read_annotations(
            Path(wanted.annotations), size=(slide.width, slide.height), holes=how.holes,
            priority=how.priority, rename=dict(how.rename),
        )  # fmt: skip
        maps = found.raster(width, height, downsample)
        outlines = {label: maps[label] for label in found.labels}
    canvas = Canvas(picture, downsample)
    return _Layers(canvas, resized(mask, coarse, (height, width), downsample), outlines)


@dataclasses.dataclass
class _Layers:
    """What the picture consists of."""

    canvas: Canvas
    tissue: NDArray[np.bool_]
    annotations: Mapping[str, NDArray[np.bool_]]
    strips: tuple[Any, ...] = ()


def _lay(
    layers: _Layers, plan: Plan, values: NDArray[np.float64], column: Any, limits: Sequence[float] | None
) -> None:
    from plenish.slides.heatmap import colour_bar, colour_scale, paint, spread

    canvas = layers.canvas
    height, width = canvas.pixels.shape[:2]
    scale = colour_scale(values, column.kind, None if limits is None else (limits[0], limits[1]))
    boxes = plan.grid.boxes(plan.rows, plan.columns)
    paint(canvas, spread(values, boxes, (height, width), canvas.downsample), scale)
    canvas.outline(layers.tissue, TISSUE, "tissue")
    for number, (label, there) in enumerate(layers.annotations.items()):
        canvas.outline(there, _OUTLINES[number % len(_OUTLINES)], label)
    layers.strips = (colour_bar(width, canvas.letters, scale, f"{column.name}: {column.about}"),)


def _write(out: Path, kind: str, rows: pd.DataFrame, layers: _Layers, facts: dict[str, Any]) -> None:
    """Write table and picture; the table holds where its numbers come from, if it is Parquet."""
    import io

    models = facts.pop("_models")
    with files.reporting_disk(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    if kind == "csv":
        content = rows.to_csv(index=False).encode()
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(rows, preserve_index=False)
        about = json.dumps(facts | {"models": models}, ensure_ascii=False, default=str)
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"plenish": about}), sink)
        content = sink.getvalue()
    files.write_bytes(out.with_suffix(f".{kind}"), content)
    files.write_bytes(out, encoded(layers.canvas.finished(layers.strips), out.suffix))


__all__ = ["Heatmap", "draw_heatmap"]
