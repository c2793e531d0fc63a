"""A trained generator makes a Dataset whose rows name the generator, the checkpoint and the seed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.schema import LabelSchema, Manifest
from plenish.datasets.synthetic import METHOD
from plenish.datasets.writer import DatasetWriter
from plenish.domains import kept_domain
from plenish.errors import InputError, coerce_type, unknown
from plenish.latent.points import Space
from plenish.networks.families import build_sampler, family
from plenish.networks.gan.contract import Generator
from plenish.networks.sampler import Sampler
from plenish.progress import progress, warn
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint, load_module
from plenish.training.engine import Engine, stable_seed, to_uint8

_BLOCK = 256
"""Latents drawn at once."""
_BATCH = 64
"""Images made at once."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A generator with its provenance.

    Attributes:
        network: the generator (of a GAN the moving average), in evaluation mode on the engine's device.
        run: the Run it comes from.
        checkpoint: the checkpoint's folder.
        weights_sha256: checksum of the weights.
    """

    network: Sampler
    run: Run
    checkpoint: Path
    weights_sha256: str

    def provenance(self) -> dict[str, Any]:
        """What a synthetic Dataset records of its generator."""
        config = self.run.config["config"]
        return {
            "run": str(self.run.path.resolve()), "run_id": self.run.id, "recipe": config.get("recipe"),
            "family": config["family"], "checkpoint": self.checkpoint.name,
            "weights_sha256": self.weights_sha256, "data": dict(self.run.config["data"]),
        }  # fmt: skip


def load_generator(run: Path | str, checkpoint: str = "best") -> Loaded:
    """Load a trained generator of any family.

    Args:
        run: a generator's Run.
        checkpoint: `best` on the val part, `last`, or a checkpoint's name.

    Raises:
        InputError: no such Run or checkpoint, or it is damaged.
    """
    opened = Run.open(run, "generator")
    path = find_checkpoint(opened, checkpoint)
    config = opened.config["config"]
    best = opened.status.get("best", {})
    if best.get("checkpoint") == path.name and best.get("copying"):
        warn(
            f"samples of {path}, and of every other checkpoint that was scored, look like copies of training "
            "images; train anew with shorter --checkpoint-kimg, and look at the copies audit."
        )
    name = family(config["family"]).weights
    network = build_sampler(config["family"], config["network"])
    load_module(path, name, network)
    Engine.from_settings().to_module(network).eval().requires_grad_(False)
    return Loaded(network, opened, path, files.sha256_file(path / f"{name}.safetensors"))


def make_dataset(
    loaded: Loaded, out: Path | str, n: int | None = None, *, label: str | None = None,
    like: Path | str | None = None, latents: NDArray[Any] | None = None, space: Space = "z",
    options: Mapping[str, Any] = {}, seed: int = 0, name: str | None = None,
) -> Dataset:  # fmt: skip
    """Make a synthetic Dataset from a trained generator.

    Image i depends on the seed and i alone, so a longer Dataset begins with a shorter one. Latents are kept
    in arrays/z.npy where they are smaller than the images (else the seed gives them again), labels in
    arrays/y.npy.

    Args:
        loaded: the generator.
        out: the Dataset's folder; must not exist.
        n: number of images; by default that of the latents, or of the train images of `like`, else 1000.
        label: make only this class.
        like: a Dataset whose labels in train are followed; without it and a label the classes get equal
            shares.
        latents: z, N×z_shape, or w, N×w_dim or N×num_ws×w_dim, to use in place of random ones.
        space: which of them the latents are.
        options: options of the family's `sample`, such as truncation.
        seed: seed of the latents and of noise.
        name: name of the Dataset.

    Raises:
        InputError: the Run was trained on other rows than train, or the options do not fit it.
    """
    refuse_leaks(loaded.run)
    network, labels = loaded.network, loaded.network.labels
    if latents is None and space != "z":
        raise InputError(f"--space {space} says what --latents holds; give both.")
    given = None if latents is None else checked_latents(network, latents, space)
    chosen = dict(network.sample_options) | checked_options(network, options)
    followed = None if like is None else _followed_part(Dataset.open(like), loaded.run)
    if n is None:
        n = len(given) if given is not None else 1000 if followed is None else len(followed)
    if n < 1:
        raise InputError(f"{like} has no train images to follow; give -n.")
    if given is not None and n > len(given):
        raise InputError(f"-n {n} is more than the {len(given)} latents of --latents.")
    y = _asked_labels(labels, n, label, followed, seed)
    source = loaded.provenance() | chosen | {"seed": seed}
    if given is not None:
        source |= {"space": space, "latents_sha256": hashlib.sha256(given.tobytes()).hexdigest()}
    like_hash = None if followed is None else followed.dataset.manifest.table_hash
    asked_for = {"verb": "generate", "n": n, "label": label, "like": like_hash}
    with synthetic_writer(loaded, Path(out), name, source, asked_for) as writer:
        with progress("generating", n, "images", done=writer.skip) as bar:
            for start in range(writer.skip, n, _BLOCK):
                piece = slice(start, min(start + _BLOCK, n))
                drawn = given[piece] if given is not None else draw_latents(network, seed, start, piece.stop)
                asked = y[piece] if labels.width else None
                pixels = decode(network, drawn, asked, seed=seed, first=start, space=space, **chosen)
                numbers = range(start, piece.stop)
                writer.add(pixels, synthetic_rows(loaded, labels.decode(y[piece]), numbers, seed))
                bar.advance(len(pixels))
        kept = given[:n] if given is not None else None
        if kept is None and network.stores_z:
            kept = draw_latents(network, seed, 0, n)
        keep_latents(writer, loaded, kept, y, space=space, seed=seed)
    loaded.run.note_use(loaded.checkpoint.name, Path(out))
    return writer.dataset


def synthetic_writer(
    loaded: Loaded, out: Path, name: str | None, source: Mapping[str, Any], asked: Mapping[str, Any],
    more: Mapping[str, Any] = {},
) -> DatasetWriter:  # fmt: skip
    """A writer whose Dataset tells of its generator and of what was asked of it.

    Args:
        loaded: the generator.
        out: the Dataset's folder; must not exist.
        name: name of the Dataset.
        source: the generator's provenance with its options, seed and latents.
        asked: the verb and what else decides the content; JSON-able.
        more: further facts for the manifest's `extra`.
    """
    run, network = loaded.run, loaded.network
    parent, manifest = run.config["data"].get("name", "data"), training_manifest(run)
    phantom = manifest is not None and manifest.extra.get("phantom")
    config = {**asked, **{key: value for key, value in source.items() if key != "run"}}
    return DatasetWriter(
        out, name=name or f"synthetic {parent}", size=network.size, channels=network.channels,
        labels=network.labels, config=config, source=f"generated by {run.id} from {parent}",
        licence="as the training data",
        intended_use="training data for research and teaching; not for diagnosis",
        extra={
            "generator": source, **({"phantom": True} if phantom else {}),
            **kept_domain({"domain": run.config["config"].get("domain")}),
            **kept_domain(manifest.extra if manifest is not None else {}), **more,
        },
    )  # fmt: skip


def keep_latents(
    writer: DatasetWriter, loaded: Loaded, latents: NDArray[Any] | None, y: NDArray[Any], *, space: Space,
    seed: int,
) -> None:  # fmt: skip
    """Let a writer keep latents and labels asked for, and make all its images training data.

    Args:
        writer: of as many images.
        loaded: the generator.
        latents: z or w; None where they are as large as the images.
        y: labels N×K.
        space: which of them.
        seed: of the draws.
    """
    writer.splits["default"] = ["train"] * len(y)
    writer.split_manifest = {"method": METHOD}
    model = {
        "checkpoint": loaded.checkpoint.name, "weights_sha256": loaded.weights_sha256, "model": loaded.run.id,
    }  # fmt: skip
    if latents is not None:
        writer.arrays[space] = latents, {"space": space, "seed": seed, **model}
    if loaded.network.labels.width:
        names = list(loaded.network.labels.names)
        writer.arrays["y"] = y, {"space": "labels", "names": names, **model}


def refuse_leaks(run: Run) -> None:
    """Refuse a generator that was trained on other rows than train."""
    part = run.config["data"].get("part")
    if part != "train":
        raise InputError(
            f"{run.path} was trained on {part or 'unknown'} rows; only generators trained on train may make "
            "data, so train one with 'plenish train generator'."
        )


def training_manifest(run: Run) -> Manifest | None:
    """The manifest of the training data; None where they are no longer there."""
    with contextlib.suppress(InputError, KeyError):
        return Dataset.open(run.config["data"]["path"]).manifest
    return None


def _followed_part(followed: Dataset, run: Run) -> Subset:
    """The train rows whose labels are followed: of the generator's own split where the Dataset has it."""
    name = run.config["data"].get("split_name", "default")
    return followed.part("train", name if name in followed.split_names() else "default", purpose="train")


def _asked_labels(
    labels: LabelSchema, n: int, label: str | None, followed: Subset | None, seed: int
) -> NDArray[np.float32]:
    """Labels y of the images, n×K."""
    if label is not None and followed is not None:
        raise InputError("--label and --like contradict each other; give one of them.")
    if not labels.width:
        if label is not None:
            raise InputError(
                "This generator has no labels, so --label cannot be asked of it; train it on labelled data."
            )
        return np.zeros((n, 0), np.float32)
    classes: NDArray[np.float32] = np.eye(labels.width, dtype=np.float32)
    if label is not None:
        return np.tile(classes[labels.code(label)], (n, 1))
    if followed is not None:
        theirs = followed.dataset.labels
        if theirs != labels:
            raise InputError(
                f"{followed.dataset.path} has the labels {', '.join(theirs.names) or 'none'}, the generator "
                f"{', '.join(labels.names)}; give --like the Dataset it was trained on."
            )
        rows, epochs = len(followed), range(-(-n // len(followed)))
        order = [np.random.default_rng((seed, epoch)).permutation(rows) for epoch in epochs]
        return followed.y()[np.concatenate(order)[:n]]
    if labels.kind != "categorical":
        raise InputError(
            f"For {labels.kind} labels say which to make: --like DATA follows those of a Dataset"
            + (", --label NAME makes images of one." if labels.kind == "multilabel" else ".")
        )
    return classes[np.arange(n) % labels.width]


def checked_options(network: Sampler, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a family's `sample`, each of the type of its default.

    Raises:
        InputError: an option the family does not have, or an impossible value.
    """
    known = network.sample_options
    for key in options:
        if key not in known:
            raise unknown("option of this generator", key, known)
    checked = {key: coerce_type(key, value, known[key]) for key, value in options.items()}
    network.check_options({**known, **checked})
    return checked


def checked_latents(
    network: Sampler, latents: NDArray[Any], space: Space, option: str = "--latents"
) -> NDArray[np.float32]:
    """Latents as float32 N×z_shape, or w as N×w_dim or N×num_ws×w_dim; rows that are flat get their shape.

    Args:
        network: the generator.
        latents: the numbers.
        space: which of them.
        option: the option that gave them, for messages.

    Raises:
        InputError: they are not finite numbers (as float32) of the width the network takes.
    """
    if space == "z":
        shapes: list[tuple[int, ...]] = [network.z_shape]
    elif isinstance(network, Generator):
        shapes = [(network.w_dim,), (network.num_ws, network.w_dim)]
    else:
        raise InputError(f"This generator has no w; give z in {option}, with --space z.")
    widths = {math.prod(shape): shape for shape in reversed(shapes)}
    if latents.ndim == 2 and latents.shape[1] in widths:
        latents = latents.reshape(len(latents), *widths[latents.shape[1]])
    if latents.dtype.kind not in "fiu" or latents.shape[1:] not in shapes or not len(latents):
        wanted = " or ".join("×".join(["N", *map(str, shape)]) for shape in shapes)
        found = "×".join(map(str, latents.shape)) or "1"
        raise InputError(f"{option} must hold numbers {space} of {wanted}, not {latents.dtype} {found}.")
    with np.errstate(over="ignore"):
        exact = np.ascontiguousarray(latents, np.float32)
    wrong = np.asarray(~np.isfinite(exact.reshape(len(exact), -1)).all(1))
    if wrong.any():
        raise InputError(
            f"{option} holds values that are not finite in {wrong.sum()} of {len(wrong)} rows, the first of "
            f"them row {wrong.argmax()}."
        )
    return exact


def draw_latents(network: Sampler, seed: int, start: int, stop: int) -> NDArray[np.float32]:
    """Latents z of the images from number `start` to `stop`.

    They are drawn in fixed blocks on the CPU, so that each depends on the seed and its number alone.
    """
    blocks = []
    for block in range(start // _BLOCK, -(-stop // _BLOCK)):
        rng = torch.Generator().manual_seed(stable_seed(seed, "generate", block))
        blocks.append(network.sample_prior(_BLOCK, rng).numpy())
    first = start - start % _BLOCK
    return np.concatenate(blocks)[start - first : stop - first]


def decode(
    network: Sampler, latents: NDArray[np.float32], y: NDArray[np.float32] | None, *, seed: int = 0,
    first: int = 0, space: Space = "z", **options: Any,
) -> NDArray[np.uint8]:  # fmt: skip
    """Make images.

    Args:
        network: the generator.
        latents: z, N×z_shape; or w, N×w_dim or N×num_ws×w_dim.
        y: labels N×K, or None.
        seed: of the noise, for families that draw some.
        first: number of the first image; its noise depends on the seed and that number alone.
        space: which the latents are, `z` or `w`.
        options: of the family's `sample`, such as truncation.

    Returns:
        uint8 N×H×W×C.
    """
    engine, made, lead = Engine.from_settings(), [], first % _BATCH
    sample: Callable[..., torch.Tensor] = network.sample
    if space == "w":
        assert isinstance(network, Generator)
        sample, shape = network.sample_w, (len(latents), network.num_ws, network.w_dim)
        latents = np.broadcast_to(latents.reshape(len(latents), -1, network.w_dim), shape)

    def batches(rows: NDArray[np.float32]) -> Iterable[torch.Tensor]:
        """Rows at their places in batches that are all of the same size, so that noise is drawn alike."""
        ends = [(lead, -(lead + len(rows)) % _BATCH), *[(0, 0)] * (rows.ndim - 1)]
        whole = torch.from_numpy(np.pad(rows, ends)).to(engine.device)
        return torch.split(whole, _BATCH)

    labels = itertools.repeat(None) if y is None else batches(y)
    with torch.no_grad():
        for block, (z, asked) in enumerate(zip(batches(latents), labels), first // _BATCH):
            with engine.autocast():
                images = sample(z, asked, seed=stable_seed(seed, "noise", block, "default"), **options)
            made.append(to_uint8(images))
    return np.concatenate(made)[lead : lead + len(latents)]


def synthetic_rows(
    loaded: Loaded, labels: Sequence[Any], numbers: Iterable[int], seed: int
) -> list[dict[str, Any]]:
    """Rows of a synthetic Dataset's table.

    Args:
        loaded: the generator.
        labels: what was asked for, N.
        numbers: of the latents among all of the seed, or of the file, N.
        seed: of the latents.
    """
    return [
        {
            "id": f"s{number:07d}", "label": label, "group": None, "origin": "synthetic",
            "source": f"{loaded.run.id}/{loaded.checkpoint.name}", "generator": loaded.run.id,
            "checkpoint": loaded.checkpoint.name, "seed": seed, "latent_row": number,
        }
        for number, label in zip(numbers, labels, strict=True)
    ]  # fmt: skip
