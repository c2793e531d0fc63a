"""`plenish comic`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.comics.options import ComicOptions
from plenish.invocation import command

if TYPE_CHECKING:
    from plenish.comics.compose import Comic


@command("comic")
def make_comic(script: Path, out: Path, *, how: ComicOptions = ComicOptions()) -> Comic:
    """Draw comic pages from a script: panels, generated pictures, captions and balloons.

    Panels are filled by label, seed, latent or concepts of trained generators, or by picture files; a
    character keeps its latent from panel to panel. OUT.json beside the file says what pictures were made of.

    Args:
        script: a YAML file; docs/comics.md has an example.
        out: a .png (one page), .pdf or .cbz file.
        how: further options.

    Returns:
        What was written.

    Raises:
        InputError: the script or what it names does not fit, or OUT exists.
    """
    files.refuse_existing(out)
    from plenish.comics.compose import compose  # After what needs no torch.

    return compose(script, out, how)
