"""`plenish edit directions`: directions of a generator's latent space that need no examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.invocation import command
from plenish.latent.concept_options import DirectionOptions
from plenish.latent.edit_options import PointOptions

if TYPE_CHECKING:
    from plenish.latent.edits import Edit


@command("edit directions")
def directions(
    run: Path, out: Path, *, which: PointOptions = PointOptions(), how: DirectionOptions = DirectionOptions()
) -> Edit:
    """Find directions of the latent space without examples, and show them on a contact sheet.

    Args:
        run: a GAN's Run.
        out: the folder to write: picture.png, directions.npy, latents.npy, labels.npy, edit.json.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: the generator has no such directions, a name is taken, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.directions import edit_directions
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    return edit_directions(space, chosen_points(space, which, default=1), out, how)
