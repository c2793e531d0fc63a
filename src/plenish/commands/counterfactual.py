"""`plenish edit counterfactual`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.counterfactual_options import CounterfactualOptions, ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.render import FilmOptions

if TYPE_CHECKING:
    from plenish.latent.counterfactual_edit import CounterfactualEdit


@command("edit counterfactual", positional=("images",))
def counterfactual(
    run: Path, out: Path, *, images: list[Path] | None = None, classifier: Path | None = None,
    which: PointOptions = PointOptions(), how: CounterfactualOptions = CounterfactualOptions(),
    inversion: ToInvert = ToInvert(), shown: FilmOptions = FilmOptions(),
) -> CounterfactualEdit:  # fmt: skip
    """Find the smallest change of images that turns a classifier, and measure what else it changes.

    The change is searched in the generator's latent space, so that what comes out is an image the generator
    makes, no farther from the middle of its prior than its other images. Where the generator knows the class,
    its label may change too. The result says how one classifier may be turned by this generator; it explains
    neither the classifier's cause nor the disease.

    Args:
        run: a generator's Run.
        out: the folder to write: picture.png (before, after, amplified difference), the film of the way,
            changes.csv with a row an image, latents.npy, labels.npy, edit.json.
        images: real images, which are inverted first; by default points of --seeds, --latents or --data.
        classifier: the Run of the classifier to turn.
        which: further options.
        how: further options.
        inversion: further options.
        shown: further options.

    Returns:
        The edit.

    Raises:
        InputError: a Run, class or judge does not fit, all images are of the class already, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    if classifier is None:
        raise InputError("Give --classifier, the Run of the classifier to turn.")
    from plenish.latent.counterfactual_edit import counterfactual as write  # After what needs no torch.
    from plenish.latent.selection import load_space
    from plenish.latent.starting import start_of

    space = load_space(run, which)
    return write(space, start_of(space, images or [], which, inversion), classifier, out, how, shown)
