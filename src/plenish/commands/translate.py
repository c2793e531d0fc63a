"""`plenish translate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.configuration import check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.inversion_options import ImageOptions
from plenish.runs import Run

if TYPE_CHECKING:
    from plenish.latent.translating import Translated

_MOST = 64


@command("translate")
def translate(
    paths: list[Path], *, sketch: bool = False, draws: int | None = None, seed: int = 0,
    checkpoint: str = "best", which: ImageOptions = ImageOptions(),
) -> Translated:  # fmt: skip
    """Make pictures of sketches by a Run of 'train translate'.

    Sketches are dark lines on white; coloured ones become grey. OUT gets pictures/ (a PNG an image, under its
    name), picture.png (what was given above what was made) and translation.json.

    Args:
        paths: the Run, then image files, a folder or archive of images or a Dataset, and last OUT, the folder
            to write.
        sketch: the images are pictures; sketches are made of them first, as in the training but of middle
            width and threshold.
        draws: pictures of each sketch, each with dropout of its own, 1 to 64; by default one without dropout.
        seed: of the dropout; what an image becomes depends on it and the image's name alone.
        checkpoint: best, last, or a checkpoint's name.
        which: further options.

    Returns:
        What was written.

    Raises:
        InputError: images cannot be read or do not fit, or OUT exists.
    """
    if len(paths) < 3:
        raise InputError("Give a Run of 'train translate', images, and last OUT, the folder to write.")
    check_bounds("--draws", draws, {"least": 1, "most": _MOST})
    run, *images, out = paths
    Run.open(run, "translation")
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.translating import translate_images  # After what needs no torch.
    from plenish.training.translation_model import load_translator

    model = load_translator(run, checkpoint)
    return translate_images(model, images, out, which, sketch=sketch, draws=draws, seed=seed)
