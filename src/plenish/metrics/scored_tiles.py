"""The tiles of one slide with their scores: read and scored in batches, as a table, drawn over the slide."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from plenish.datasets.rejections import Rejection
from plenish.errors import InputError
from plenish.metrics.scorers import Column, Scorer
from plenish.parallel import executor
from plenish.progress import progress
from plenish.slides.annotations import Annotations
from plenish.slides.canvas import TISSUE, Canvas
from plenish.slides.heatmap import colour_bar, colour_scale, paint, spread
from plenish.slides.names import SlideEntry
from plenish.slides.normalise import Restain
from plenish.slides.planning import Plan
from plenish.slides.remarks import Remark
from plenish.slides.tile_jobs import TileWorker, map_tiles, tile_jobs
from plenish.slides.tiling_config import TilingConfig
from plenish.slides.tissue import resized
from plenish.slides.trained_tiles import TrainedTiles

_OUTLINES = ((0, 0, 0), (200, 0, 160), (220, 60, 0), (0, 110, 220))
"""Colours of annotations; all differ clearly from the colours of scores."""


@dataclasses.dataclass(frozen=True)
class ScoredTiles:
    """The tiles of a slide and what something trained says of each.

    Attributes:
        entry: the slide.
        plan: its N tiles.
        scores: N numbers of each column, NaN of tiles that were left out.
        lost: of each tile why it was left out, else an empty text.
        restain: how the tiles' stain was changed before they were scored, or None.
    """

    entry: SlideEntry
    plan: Plan
    scores: Mapping[str, NDArray[np.float64]]
    lost: Sequence[str]
    restain: Restain | None

    @property
    def left_out(self) -> list[str]:
        """Why tiles were left out, one text each."""
        return [reason for reason in self.lost if reason]

    def table(self) -> pd.DataFrame:
        """A row a tile: its place (x, y, side: pixels of level 0), tissue, annotations and scores."""
        plan, boxes, n = self.plan, self.plan.boxes, len(self.plan)
        rows = pd.DataFrame(
            {
                "slide": np.full(n, self.entry.name, object), "row": plan.rows, "col": plan.columns,
                "x": boxes[:, 0], "y": boxes[:, 1], "side": plan.grid.side, "mpp": plan.grid.mpp,
                "level": plan.grid.level, "tissue": plan.tissue.round(6),
                **{f"coverage_{one}": plan.coverage[:, k].round(6) for k, one in enumerate(plan.labels)},
                **self.scores, "left_out": [reason or None for reason in self.lost],
            }
        )  # fmt: skip
        return rows.astype({"mpp": "float64", "left_out": "string"}).sort_values(
            ["row", "col"], ignore_index=True
        )

    def remarks(self, trained: TrainedTiles, parts: Mapping[str, int]) -> list[Remark]:
        """What the user should know of these scores.

        Args:
            trained: what is known of the tiles that the Run was trained on.
            parts: how many of these are of this slide, by the part of their split.
        """
        # The slide's own remarks are of the only slide here.
        remarks = [dataclasses.replace(remark, slide="") for remark in self.plan.remarks]
        if self.left_out:
            values = {"count": len(self.left_out), "reason": self.left_out[0]}
            remarks.append(Remark("tiles-left-out", values))
        if parts.get("train"):
            remarks.append(Remark("slide-trained-on", {"count": parts["train"]}))
        elif parts.get("val"):
            remarks.append(Remark("slide-selected-by", {"count": parts["val"]}))
        elif trained.missing:
            remarks.append(Remark("training-unknown", {"reason": trained.missing}))
        if trained.stain.get("method", "none") != "none" and self.restain is None:
            remarks.append(Remark("stain-differs"))
        return remarks

    def draw(self, canvas: Canvas, column: Column, limits: Sequence[float] | None = None) -> Image.Image:
        """Paint the scores of a column over the slide.

        Args:
            canvas: drawn on.
            column: which scores.
            limits: lowest and highest score with a colour of its own; None for those of its kind.

        Returns:
            The colour bar.
        """
        values = self.scores[column.name]
        scale = colour_scale(values, column.kind, limits)
        height, width = canvas.pixels.shape[:2]
        paint(canvas, spread(values, self.plan.boxes, (height, width), canvas.downsample), scale)
        return colour_bar(width, canvas.letters, scale, f"{column.name}: {column.about}")


def score_tiles(
    scorer: Scorer, entry: SlideEntry, plan: Plan, config: TilingConfig, restain: Restain | None,
    workers: int | None,
) -> ScoredTiles:  # fmt: skip
    """Score all tiles of a slide.

    Tiles are read by processes that never load torch, and only a few batches are in memory at a time.

    Args:
        scorer: what scores them.
        entry: the slide.
        plan: its tiles.
        config: how they are cut and filtered.
        restain: how their stain is changed, or None.
        workers: processes that read; None for one a core.

    Raises:
        InputError: no tile can be read.
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
    return ScoredTiles(entry, plan, found, lost, restain)


def encoded(rows: pd.DataFrame, kind: str, about: Mapping[str, Any]) -> bytes:
    """The table as a file, `csv` or `parquet`; a Parquet's metadata say where the scores are from."""
    if kind == "csv":
        return rows.to_csv(index=False).encode()
    metadata = {"plenish": json.dumps(about, ensure_ascii=False, default=str)}
    sink = io.BytesIO()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def draw_outlines(
    canvas: Canvas, mask: NDArray[np.bool_], coarse: float, found: Annotations | None = None
) -> None:
    """Outline the tissue, a mask whose pixels measure `coarse` of level 0, and the annotations."""
    height, width = canvas.pixels.shape[:2]
    canvas.outline(resized(mask, coarse, (height, width), canvas.downsample), TISSUE, "tissue")
    if found is not None:
        for number, (label, area) in enumerate(found.raster(width, height, canvas.downsample).items()):
            canvas.outline(area, _OUTLINES[number % len(_OUTLINES)], label)
