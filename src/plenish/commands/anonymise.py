"""`plenish edit anonymise`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.counterfactual_options import AnonymiseOptions, ToInvert
from plenish.latent.edit_options import PointOptions

if TYPE_CHECKING:
    from plenish.latent.anonymise import AnonymisedEdit


@command("edit anonymise", positional=("images",))
def anonymise(
    run: Path, out: Path, *, images: list[Path] | None = None, against: Path | None = None,
    which: PointOptions = PointOptions(), how: AnonymiseOptions = AnonymiseOptions(),
    inversion: ToInvert = ToInvert(),
) -> AnonymisedEdit:  # fmt: skip
    """Move images away from the patients they show, until the search for copies no longer objects.

    Each image is inverted and moved in the latent space to the nearest point found that all tests accept: the
    search for copies; where the Dataset has groups, that of re-identification; and the nearest known picture
    must be another than the image itself, which counts as one, and of another patient. Class and chosen
    concepts stay. This tests what these can see, with the features of the domain network, and guarantees no
    more: a stronger test may still find the patient.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png, images.csv, latents.npy, labels.npy, edit.json.
        images: real images, which are inverted first; by default points of --seeds, --latents or --data.
        against: a real Dataset with a split, whose train part images must not resemble; val calibrates.
        which: further options.
        how: further options.
        inversion: further options.

    Returns:
        The edit.

    Raises:
        InputError: images, Dataset, classifier or concept do not fit, or OUT exists.
        CheckFailed: none of the images could be moved so.
    """
    files.refuse_existing(out, unless_made=True)
    if against is None:
        raise InputError("Give --against, the Dataset whose patients images must not show.")
    from plenish.latent.anonymise import anonymise as write  # After what needs no torch.
    from plenish.latent.anonymise import check_before
    from plenish.latent.selection import load_space
    from plenish.latent.starting import start_of

    space = load_space(run, which)
    check_before(space, against, how)
    return write(space, start_of(space, images or [], which, inversion), against, out, how)
