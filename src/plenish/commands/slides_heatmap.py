"""`plenish slides heatmap`."""

from __future__ import annotations

from pathlib import Path

from plenish.invocation import command
from plenish.slides.canvas import Picture, PictureOptions
from plenish.slides.heatmap import HeatmapOptions
from plenish.slides.trained_tiles import TileOverrides


@command("slides heatmap", renamed={"limits": "range"})
def draw_heatmap(
    slide: Path, out: Path, *, run: list[Path] | None = None, annotations: Path | None = None,
    heatmap: HeatmapOptions, tiles: TileOverrides, picture: PictureOptions,
) -> Picture:  # fmt: skip
    """Draw the scores that a trained Run gives to every tile of a slide, and write a table of them.

    The Run is an autoencoder's (its error), a classifier's (the probability of each class), or a study of one
    autoencoder a class (both errors and their difference). Tiles are cut like those it was trained on.
    Besides the picture, a table with every tile's place, in pixels of level 0, and all its scores is written.

    Args:
        slide: the slide.
        out: the picture to write, .png or .jpg; the table gets the same name. Neither may exist.
        run: the Run; of several autoencoders each, whose errors are compared.
        annotations: the slide's annotations, or a folder with a file named like the slide; they are outlined,
            and the AUROC of the scores is computed.
        heatmap: which scores, and how they are drawn.
        tiles: how tiles are cut if not like those of training.
        picture: its size.
    """
    from plenish.metrics.tile_scores import draw_scores

    return draw_scores(slide, out, run or [], annotations, heatmap, tiles, picture)
