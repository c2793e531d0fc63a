"""`plenish edit counterfactual`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.counterfactual_options import CounterfactualOptions, SlideTurnOptions, ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.render import FilmOptions
from plenish.slides.given import are_slides

if TYPE_CHECKING:
    from plenish.latent.counterfactual_edit import CounterfactualEdit


@command("edit counterfactual", positional=("images",))
def counterfactual(
    run: Path, out: Path, *, images: list[Path] | None = None, classifier: list[Path] | Path | None = None,
    which: PointOptions = PointOptions(), how: CounterfactualOptions = CounterfactualOptions(),
    inversion: ToInvert = ToInvert(), slides: SlideTurnOptions = SlideTurnOptions(),
    shown: FilmOptions = FilmOptions(),
) -> CounterfactualEdit:  # fmt: skip
    """Find the smallest change of images that turns a classifier, and measure what else it changes.

    The change is searched in the generator's latent space, so that what comes out is an image the generator
    makes, no farther from the middle of its prior than its other images. Where the generator knows the class,
    its label may change too. The result says how one classifier may be turned by this generator; it explains
    neither the classifier's cause nor the disease.

    Of a whole slide, the tiles that decide its answer are inverted and turned, most decisive first, and the
    slide's answer is followed: heatmaps before and after, its mean by the number of tiles turned and, beside
    it, of the same tiles inverted alone, and report.html.

    Args:
        run: a generator's Run; of a slide, one of tiles like the classifier's.
        out: the folder to write: picture.png (before, after, amplified difference), the film of the way,
            changes.csv with a row an image, latents.npy, labels.npy, edit.json.
        images: real images, or a slide, which are inverted first; by default points of --seeds, --latents or
            --data.
        classifier: the Run of the classifier to turn; of several, whose probabilities are mixed as in
            'predict', the mixture.
        which: further options.
        how: further options.
        inversion: further options.
        slides: further options.
        shown: further options.

    Returns:
        The edit.

    Raises:
        InputError: a Run, class or judge does not fit, all images are of the class already, or OUT exists.
        CheckFailed: the inversions of all tiles of a slide are of the class already.
    """
    files.refuse_existing(out, unless_made=True)
    if not classifier:
        raise InputError("Give --classifier, the Run of the classifier to turn.")
    runs = [classifier] if isinstance(classifier, Path) else [Path(one) for one in classifier]
    images = [Path(one) for one in images or []]
    of_slide = are_slides(images)
    if slides.given and not of_slide:
        raise InputError(f"{slides.given[0]} is of slides, and none is given; leave it out.")
    from plenish.latent.selection import load_space  # After what needs no torch.

    space = load_space(run, which)
    if of_slide:
        from plenish.report.slide_counterfactual_page import turned_with_page

        return turned_with_page(space, images, runs, out, how, slides, which, inversion, shown)
    from plenish.latent.counterfactual_edit import counterfactual as write
    from plenish.latent.starting import start_of

    return write(space, start_of(space, images, which, inversion), runs, out, how, shown)
