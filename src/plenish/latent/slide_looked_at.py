"""A slide as classifiers see it: its tiles with their probabilities, and the pixels of the deciding ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish.errors import InputError
from plenish.latent import slide_answer
from plenish.latent.slide_answer import Answer, Floats
from plenish.metrics.mixed_classifier import mixed_classifier
from plenish.metrics.predict_slides import SlideWork, scored_slide
from plenish.metrics.scored_tiles import ScoredTiles, draw_outlines
from plenish.metrics.scorers import Column
from plenish.slides.canvas import Canvas
from plenish.slides.names import SlideEntry
from plenish.slides.reader import Slide, open_slide
from plenish.slides.remarks import Remark
from plenish.slides.tissue import slide_tissue
from plenish.training.classifier_model import Classifier


@dataclasses.dataclass(frozen=True)
class LookedAt:
    """A slide whose tiles were classified.

    Attributes:
        entry: the slide.
        model: what classified it: the calibrated mixture of the classifiers.
        scored: its tiles, those that could not be read among them.
        known: which of these were scored, N positions.
        sure: calibrated probabilities N×K of these.
        answer: what their mean says, and the class that it is to become.
        chosen: n of the N, those that decide most first.
        pixels: of these, uint8 n×H×W×3, as the classifiers see them.
        names: of these: row and column.
        thumbnail: H×W×3 uint8, and the pixels of level 0 that one of its pixels measures.
        tissue: mask of the tissue, and the pixels of level 0 that one of its pixels measures.
        remarks: what the user should know of the slide's probabilities.
    """

    entry: SlideEntry
    model: Classifier
    scored: ScoredTiles
    known: NDArray[np.int64]
    sure: Floats
    answer: Answer
    chosen: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    names: tuple[str, ...]
    thumbnail: tuple[NDArray[np.uint8], float]
    tissue: tuple[NDArray[np.bool_], float]
    remarks: Sequence[Remark]

    @property
    def boxes(self) -> Floats:
        """Where the N tiles lie, N×4 (left, top, right, bottom), pixels of level 0."""
        return self.scored.plan.boxes[self.known]

    def tiles(self) -> pd.DataFrame:
        """A row for each of the N tiles: its place."""
        plan, boxes = self.scored.plan, self.boxes
        return pd.DataFrame(
            {
                "slide": self.entry.name, "row": plan.rows[self.known], "col": plan.columns[self.known],
                "x": boxes[:, 0], "y": boxes[:, 1], "side": plan.grid.side,
            }
        )  # fmt: skip

    def draw(self, canvas: Canvas, values: Floats) -> Image.Image:
        """Paint a probability of the N tiles over the slide; returns the colour bar."""
        name = self.model.names[self.answer.to]
        all_values = np.full(len(self.scored.plan), np.nan)
        all_values[self.known] = values
        column = Column(f"calibrated_{name}", f"calibrated probability of {name}", "share")
        shown = dataclasses.replace(self.scored, scores={column.name: all_values})
        bar = shown.draw(canvas, column)
        draw_outlines(canvas, *self.tissue)
        return bar


def look_at(
    entry: SlideEntry, work: SlideWork, aim: Callable[[Floats], Answer], picture: Path, *, most: int,
    confidence: float,
) -> LookedAt:  # fmt: skip
    """Classify a slide, and read the tiles that decide its answer.

    Args:
        entry: the slide.
        work: how it is cut and classified.
        aim: mean probabilities K → the answer, and the class that it is to become.
        picture: where to save a picture if the slide has no tissue.
        most: how many tiles are read.
        confidence: tiles that are of the class with this probability already are not chosen.

    Raises:
        InputError: the slide cannot be read or has no tissue.
    """
    if entry.rejection is not None:
        raise InputError(f"{entry.path}: {entry.rejection}.")
    model = mixed_classifier(work.ensemble)
    with open_slide(entry.path) as slide:
        scored = scored_slide(slide, entry, work, picture)
        known = np.flatnonzero([not reason for reason in scored.lost])
        sure = np.stack([scored.scores[f"calibrated_{name}"][known] for name in model.names], 1)
        answer = aim(sure.mean(0))
        order = slide_answer.decisive(sure, answer.to, tags=answer.tags)
        chosen = order[sure[order, answer.to] < confidence][:most]
        plan = scored.plan
        tiles = list(zip(plan.rows[known[chosen]].tolist(), plan.columns[known[chosen]].tolist()))
        pixels = _read(slide, scored, tiles)
        mask, _, coarse = slide_tissue(slide, work.tiling.tissue, plan.facts["slide_mpp"])
        thumbnail = slide.thumbnail(work.slides.side)
        remarks = scored.remarks(work.trained, work.trained.parts_of(entry.name))
    names = tuple(f"tile {row}, {column}" for row, column in tiles)
    return LookedAt(
        entry, model, scored, known, sure, answer, chosen, pixels, names, thumbnail, (mask, coarse), remarks
    )


def _read(slide: Slide, scored: ScoredTiles, tiles: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    """Pixels of tiles, with the stain that the classifiers were given."""
    pixels = np.stack([scored.plan.grid.read(slide, row, column) for row, column in tiles])
    return scored.restain(pixels) if scored.restain is not None else pixels
