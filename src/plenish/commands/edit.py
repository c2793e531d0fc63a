"""`plenish edit …`: tools of the latent space, each of which writes a picture or a film and the latents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.invocation import command
from plenish.latent.edit_options import PointOptions
from plenish.latent.render import FilmOptions

if TYPE_CHECKING:
    from plenish.latent.edits import Edit


@command("edit flip")
def flip(
    run: Path, out: Path, *, to: str | None = None, which: PointOptions = PointOptions(),
    how: FilmOptions = FilmOptions(),
) -> Edit:  # fmt: skip
    """Show generated images with another class at the same latents: two rows, and a film of the soft way.

    Args:
        run: a generator's Run, trained with classes.
        out: the folder to write: picture.png, the film, latents.npy, labels.npy, edit.json.
        to: the class to go to; by default the next one of the list, which is the other one of two.
        which: further options.
        how: further options.

    Returns:
        The edit.

    Raises:
        InputError: the generator has no classes, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.class_change import flip as write  # After what needs no torch.
    from plenish.latent.selection import chosen_points, load_space

    space = load_space(run, which)
    return write(space, chosen_points(space, which), out, to, how)
