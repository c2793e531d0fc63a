"""`plenish encode`: an autoencoder's encodings of a Dataset's images, as an array beside its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.invocation import command
from plenish.runs import Run

if TYPE_CHECKING:
    from plenish.latent.encoding import Encoded


@command("encode")
def encode(run: Path, data: Path, *, name: str = "cae", checkpoint: str = "best") -> Encoded:
    """Encode every image of a Dataset with a trained autoencoder; adds arrays/NAME.npy beside its table.

    Row i of the array is image i, of whatever part. The array's manifest names the model and what it was
    trained on.

    Args:
        run: an autoencoder Run.
        data: the Dataset; its images must have the size and channels the autoencoder was trained on.
        name: name of the array.
        checkpoint: best, last, or a checkpoint's name.

    Raises:
        InputError: the images do not fit, or the Dataset already has an array of that name.
    """
    dataset = Dataset.open(data)
    files.check_name(name, "an array")
    if name in dataset.array_names():
        raise InputError(f"{data} already has an array '{name}'; choose another --name.")
    Run.open(run, "autoencoder")
    from plenish.latent.encoding import encode_dataset  # After what needs no torch.
    from plenish.training.autoencoder_model import load_autoencoder

    return encode_dataset(load_autoencoder(run, checkpoint), dataset, name)
