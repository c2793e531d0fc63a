"""`plenish edit invert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.invocation import command
from plenish.latent.edit_options import GeneratorOptions
from plenish.latent.inversion_options import ImageOptions, InversionOptions

if TYPE_CHECKING:
    from plenish.latent.edits import Edit


@command("edit invert")
def invert(
    run: Path, out: Path, images: list[Path], *, generator: GeneratorOptions = GeneratorOptions(),
    which: ImageOptions = ImageOptions(), how: InversionOptions = InversionOptions(),
) -> Edit:  # fmt: skip
    """Find the latents and labels whose images are nearest to real ones, so that they can be edited.

    OUT gets picture.png (original, inverted, amplified difference), latents.npy and labels.npy, which every
    other tool takes by --latents, inversion.csv (a row an image; errors are mean squared, pixels in [0, 1]),
    curve.csv and curve.png (the error over evaluations of the generator) and edit.json.

    Args:
        run: a generator's Run.
        out: the folder to write.
        images: a Dataset, a folder or archive of images, or image files.
        generator: further options.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: images do not fit the generator, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.given_images import real_images  # After what needs no torch.
    from plenish.latent.inversion_files import write_inversion
    from plenish.latent.selection import load_space

    space = load_space(run, generator)
    return write_inversion(space, real_images(space, images, which), out, how)
