"""`plenish attack-latent`: images of a generator that a classifier gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.invocation import command
from plenish.latent.edit_options import GeneratorOptions
from plenish.metrics.advice import advice
from plenish.metrics.quality import of_run
from plenish.progress import warn
from plenish.robustness.latent_attack_options import LatentAttackOptions
from plenish.runs import Run

if TYPE_CHECKING:
    from plenish.robustness.latent_attack_dataset import LatentAttack


@command("attack-latent")
def attack_latent(
    generator: Path, classifier: Path, out: Path, *, how: LatentAttackOptions = LatentAttackOptions(),
    which: GeneratorOptions = GeneratorOptions(),
) -> LatentAttack:  # fmt: skip
    """Search the latents of a generator with classes for images that a classifier gets wrong.

    From each draw, the latent is moved until the classifier gives the image another class than the generator
    was asked for, no farther than --distance and no farther out than the prior's draws. A judge, which had no
    part in the search, says whether the image still shows that class; only such images are written, unless
    --keep-all. It is a classifier too: look at picture.png. Beside what was found stand two controls: the
    draws as they are, and random changes of the same lengths.

    OUT is a synthetic Dataset, for 'harden --generated' and 'train classifier --synthetic', with the columns
    classifier and confidence (its answer), judge, agrees, distance, iterations and typical (share of the
    prior's draws that lie farther out), latents and labels as arrays, picture.png and latent_attack.json.

    Args:
        generator: a generator's Run, trained with classes.
        classifier: Run of the classifier to attack, trained on the same split.
        out: the Dataset's folder; must not exist.
        how: further options.
        which: further options.

    Returns:
        What was found.

    Raises:
        InputError: the generator has no classes, or Runs do not fit each other.
        CheckFailed: nothing was found.
    """
    files.refuse_existing(out, unless_made=True)
    Run.open(generator, "generator")
    Run.open(classifier, "classifier")
    from plenish.latent.selection import load_space  # After what needs no torch.
    from plenish.robustness.latent_attack_dataset import attack_latents

    space = load_space(generator, which)
    quality = of_run(space.loaded.run, space.loaded.checkpoint.name)
    if quality is not None and quality.level == "undertrained":
        warn(f"the generator is undertrained: {quality} {advice(quality, space.loaded.run)}")
    return attack_latents(space, classifier, out, how)
