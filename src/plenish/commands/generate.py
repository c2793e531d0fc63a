"""`plenish generate`: a synthetic Dataset from a trained generator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plenish import files
from plenish.configuration import assignments, check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.latent_files import read_latents
from plenish.metrics.advice import advice
from plenish.metrics.quality import of_run
from plenish.progress import warn
from plenish.runs import Run

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset

_MOST = 10_000_000
"""Images one call may ask for."""


@command("generate")
def generate(
    run: Path, out: Path, n: int | None = None, *, label: str | None = None, like: Path | None = None,
    latents: Path | None = None, space: Literal["z", "w"] = "z", truncation: float | None = None,
    options: list[str] | None = None, checkpoint: str = "best", seed: int = 0, name: str | None = None,
) -> Dataset:  # fmt: skip
    """Make a synthetic Dataset from a trained generator.

    Image i depends on the seed and i alone, so a longer Dataset begins with a shorter one. Latents are kept
    in arrays/z.npy (where they are smaller than the images), asked-for labels in arrays/y.npy; every row
    names generator, checkpoint and seed.

    Args:
        run: a generator's Run.
        out: the Dataset's folder; must not exist.
        n: number of images; by default that of --latents, or of the train images of --like, else 1000.
        label: make only this class.
        like: a Dataset whose labels in train are followed; without it and --label the classes get equal
            shares.
        latents: a .npy or .csv file of latents to use in place of random ones, one row an image.
        space: what the latents are; w, for GANs, is N×w_dim, or N×num_ws×w_dim with a style for each layer.
        truncation: psi; below 1, the default, latents are drawn towards their mean: more typical, less varied
            images.
        options: further options of the generator's family as name=value, such as noise=constant
            of a StyleGAN2 or steps=10 of a flow.
        checkpoint: best, last, or a checkpoint's name.
        seed: seed of the latents.
        name: name of the Dataset.

    Returns:
        The synthetic Dataset.

    Raises:
        InputError: the Run was trained on other rows than train, or the options do not fit it.
    """
    check_bounds("-n", n, {"least": 1})
    if n is not None and n > _MOST:  # Numbers this long are read with separators.
        raise InputError(f"-n must be at most {_MOST:,}, not {n:,}.")
    chosen = assignments(options or [])
    if truncation is not None:
        if not 0 <= truncation <= 1:
            raise InputError(
                f"--truncation must be from 0 (the mean image) to 1 (unchanged), not {truncation}."
            )
        chosen["truncation"] = truncation
    given = None if latents is None else read_latents(latents, space)[0]
    Run.open(run, "generator")
    from plenish.latent.sampling import load_generator, make_dataset  # After what needs no torch.

    loaded = load_generator(run, checkpoint)
    files.refuse_existing(out, unless_made=True)  # Before anything is said of the generator.
    if label is not None and loaded.network.labels.kind == "categorical":
        loaded.network.labels.code(label)
    quality = of_run(loaded.run, loaded.checkpoint.name)
    if quality is not None and quality.level == "undertrained":
        warn(f"the generator is undertrained: {quality} {advice(quality, loaded.run)}")
    return make_dataset(
        loaded, out, n, label=label, like=like, latents=given, space=space,
        options=chosen, seed=seed, name=name,
    )  # fmt: skip
