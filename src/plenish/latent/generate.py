"""`plenish generate`: a trained generator makes a Dataset that knows where every image comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from plenish.datasets.dataset import Dataset, Subset
    from plenish.datasets.schema import LabelSchema
    from plenish.networks.gan.contract import Generator
    from plenish.runs import Run
    from plenish.training.engine import Engine

_MOST = 10_000_000
"""Images one call may ask for."""
_BLOCK = 256
_PIECE = 64
"""Images made at once."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A generator with its provenance.

    Attributes:
        network: the moving-average generator, in evaluation mode on the engine's device.
        run: the Run it comes from.
        checkpoint: the checkpoint's folder.
        weights_sha256: checksum of the weights.
    """

    network: Generator
    run: Run
    checkpoint: Path
    weights_sha256: str

    def provenance(self) -> dict[str, Any]:
        """What a synthetic Dataset records of its generator."""
        return {
            "run": str(self.run.path.resolve()), "run_id": self.run.id,
            "recipe": self.run.config["config"]["recipe"],
            "family": self.run.config["config"]["family"], "checkpoint": self.checkpoint.name,
            "weights_sha256": self.weights_sha256, "data": dict(self.run.config["data"]),
        }  # fmt: skip


def load_generator(run: Path | str, checkpoint: str = "best") -> Loaded:
    """Load a trained generator.

    Args:
        run: a generator's Run.
        checkpoint: `best` on the val part, `last`, or a checkpoint's name.

    Raises:
        InputError: no such Run or checkpoint, or it is damaged.
    """
    from plenish.runs import Run

    opened = Run.open(run, "generator")  # Refused, where it must be, before torch is loaded.
    from plenish import files
    from plenish.networks.gan import family, network_config
    from plenish.training.checkpoints import find_checkpoint, load_module
    from plenish.training.engine import Engine

    path = find_checkpoint(opened, checkpoint)
    config = opened.config["config"]
    network = family(config["family"]).generator(network_config(config["family"], config["network"]))
    load_module(path, "ema", network)
    engine = Engine.from_settings()
    engine.to_module(network).eval().requires_grad_(False)
    return Loaded(network, opened, path, files.sha256_file(path / "ema.safetensors"))


def generate(
    run: Path, out: Path, n: int | None = None, *, label: str | None = None, like: Path | None = None,
    truncation: float = 1.0, checkpoint: str = "best", seed: int = 0, name: str | None = None,
) -> Dataset:  # fmt: skip
    """Make a synthetic Dataset from a trained generator.

    Image i depends on the seed and i alone, so a longer Dataset begins with a shorter one. Latents lie in
    arrays/z.npy, asked-for labels in arrays/y.npy; every row names generator, checkpoint and seed.

    Args:
        run: a generator's Run.
        out: the Dataset's folder; must not exist.
        n: number of images; with --like its number of train images by default, else 1000.
        label: make only this class.
        like: a Dataset whose labels in train are followed; without it and --label the classes get equal
            shares.
        truncation: psi; below 1 latents are drawn towards their mean: more typical, less varied images.
        checkpoint: best, last, or a checkpoint's name.
        seed: seed of the latents.
        name: name of the Dataset.

    Returns:
        The synthetic Dataset.

    Raises:
        InputError: the Run was trained on other rows than train, or the options do not fit it.
    """
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.writer import DatasetWriter
    from plenish.progress import progress

    if n is not None and n < 1:
        raise InputError(f"-n must be at least 1, not {n}.")
    if n is not None and n > _MOST:
        raise InputError(f"-n must be at most {_MOST:,}, not {n:,}.")
    if not 0 <= truncation <= 1:
        raise InputError(
            f"--truncation lies between 0 (the mean image) and 1 (untouched); {truncation} was given."
        )
    loaded = load_generator(run, checkpoint)
    _refuse_leaks(loaded.run)
    labels = loaded.network.labels
    followed = Dataset.open(like) if like is not None else None
    if n is None:
        n = len(_followed_part(followed, loaded.run)) if followed is not None else 1000
    if n < 1:
        raise InputError(f"{like} has no train images to follow; give -n.")
    y = _asked_labels(labels, n, label, _followed_part(followed, loaded.run) if followed else None, seed)
    z = _latents(loaded.network, n, seed)
    source = loaded.provenance() | {"seed": seed, "truncation": truncation}
    config = {"verb": "generate", "n": n, "label": label,
              "like": followed.manifest.table_hash if followed else None,
              **{k: v for k, v in source.items() if k != "run"}}  # fmt: skip
    parent = loaded.run.config["data"].get("name", "data")
    with DatasetWriter(
        out, name=name or f"synthetic {parent}", size=loaded.network.size, channels=loaded.network.channels,
        labels=labels, config=config, source=f"generated by {loaded.run.id} from {parent}",
        licence="as the training data",
        intended_use="training data for research and teaching; not for diagnosis",
        extra={"generator": source, **_inherited(loaded.run)},
    ) as writer:  # fmt: skip
        with progress("generating", n, "images", done=writer.skip) as bar:
            for start in range(writer.skip, n, _BLOCK):
                piece = slice(start, min(start + _BLOCK, n))
                asked = y[piece] if labels.width else None
                pixels = decode(loaded.network, z[piece], asked, truncation, seed=seed, first=start)
                writer.add(pixels, _rows(loaded, labels.decode(y[piece]), start, seed))
                bar.advance(len(pixels))
        writer.splits["default"] = ["train"] * n
        writer.split_manifest = {"method": "synthetic images are training data only"}
        about = {
            "model": loaded.run.id,
            "checkpoint": loaded.checkpoint.name,
            "weights_sha256": loaded.weights_sha256,
        }
        writer.array("z", z, {"space": "z", "seed": seed, **about})
        if labels.width:
            writer.array("y", y, {"space": "labels", "names": list(labels.names), **about})
    return writer.dataset


def _refuse_leaks(run: Run) -> None:
    part = run.config["data"].get("part")
    if part != "train":
        raise InputError(
            f"{run.path} was trained on {part or 'unknown'} rows; only generators trained on train may make "
            "data, so train one with 'plenish train generator'."
        )


def _inherited(run: Run) -> dict[str, Any]:
    """Facts of the training data that must follow their offspring, such as being a phantom."""
    from plenish.datasets.dataset import Dataset

    try:
        extra = Dataset.open(run.config["data"]["path"]).manifest.extra
    except (InputError, KeyError):
        return {}
    return {"phantom": True} if extra.get("phantom") else {}


def _followed_part(followed: Dataset, run: Run) -> Subset:
    """The train rows whose labels are followed: of the generator's own split where the Dataset has it."""
    name = run.config["data"].get("split_name", "default")
    return followed.part("train", name if name in followed.split_names() else "default", purpose="train")


def _asked_labels(
    labels: LabelSchema, n: int, label: str | None, followed: Subset | None, seed: int
) -> NDArray[np.float32]:
    import numpy as np

    if label is not None and followed is not None:
        raise InputError("--label and --like contradict each other; give one of them.")
    if not labels.width:
        if label is not None:
            raise InputError(
                "This generator has no labels, so --label cannot be asked of it; train it on labelled data."
            )
        return np.zeros((n, 0), np.float32)
    if label is not None:
        row = np.eye(labels.width, dtype=np.float32)[labels.code(label)]
        return np.tile(row, (n, 1))
    if followed is not None:
        theirs = followed.dataset.labels
        if theirs != labels:
            raise InputError(
                f"{followed.dataset.path} has the labels {', '.join(theirs.names) or 'none'}, the generator "
                f"{', '.join(labels.names)}; give --like the Dataset it was trained on."
            )
        y = followed.y()
        order = np.concatenate(
            [np.random.default_rng((seed, epoch)).permutation(len(y)) for epoch in range(-(-n // len(y)))]
        )
        wanted: NDArray[np.float32] = y[order[:n]]
        return wanted
    if labels.kind != "categorical":
        raise InputError(
            f"For {labels.kind} labels say which to make: --like DATA follows those of a Dataset."
        )
    even: NDArray[np.float32] = np.eye(labels.width, dtype=np.float32)[np.arange(n) % labels.width]
    return even


def _latents(network: Generator, n: int, seed: int) -> NDArray[np.float32]:
    """z, n×z_dim, drawn in fixed blocks on the CPU so that row i never depends on n or the device."""
    import numpy as np
    import torch

    from plenish.training.engine import stable_seed

    blocks = []
    for block in range(-(-n // _BLOCK)):
        rng = torch.Generator().manual_seed(stable_seed(seed, "generate", block))
        blocks.append(network.sample_prior(_BLOCK, rng).numpy())
    return np.concatenate(blocks)[:n]


def decode(
    network: Generator, z: NDArray[np.float32], y: NDArray[np.float32] | None, truncation: float = 1.0,
    *, seed: int = 0, first: int = 0,
) -> NDArray[np.uint8]:  # fmt: skip
    """Make images.

    Args:
        network: the generator.
        z: latents N×z_dim.
        y: labels N×K, or None.
        truncation: psi.
        seed: of the noise, for families that have noise inputs.
        first: number of the first image; its noise depends on the seed and that number alone.

    Returns:
        uint8 N×H×W×C.
    """
    import numpy as np
    import torch

    from plenish.training.engine import Engine, to_uint8

    engine, made = Engine.from_settings(), []
    with torch.no_grad():
        for block in range(first // _PIECE, -(-(first + len(z)) // _PIECE)):
            start = max(block * _PIECE, first)
            rows = slice(start - first, (block + 1) * _PIECE - first)
            places = slice(start - block * _PIECE, start - block * _PIECE + len(z[rows]))
            engine.seed_everything(seed, "noise", block)
            with engine.autocast():
                asked = None if y is None else _whole_block(y[rows], places, engine)
                w = network.mapping(_whole_block(z[rows], places, engine), asked)
                images = network.synthesis(network.truncate(w, truncation), asked, noise="random")
            made.append(to_uint8(network.full_size(images[places])))
    return np.concatenate(made)


def _whole_block(rows: NDArray[np.float32], places: slice, engine: Engine) -> torch.Tensor:
    """Rows at their places in a block that is always of the same size, so that noise is drawn alike."""
    import torch

    block = torch.zeros(_PIECE, rows.shape[1])
    block[places] = torch.from_numpy(rows)
    return block.to(engine.device)


def _rows(loaded: Loaded, labels: list[Any], start: int, seed: int) -> list[Mapping[str, Any]]:
    return [
        {
            "id": f"s{start + i:07d}", "label": label, "group": None, "origin": "synthetic",
            "source": f"{loaded.run.id}/{loaded.checkpoint.name}", "generator": loaded.run.id,
            "checkpoint": loaded.checkpoint.name, "seed": seed, "latent_row": start + i,
        }
        for i, label in enumerate(labels)
    ]  # fmt: skip


if TYPE_CHECKING:
    _ = torch
