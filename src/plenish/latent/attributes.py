"""Reading columns and classes off images, with small networks that are checked on held-out images themselves.

Edited images have no truth. What an edit changes is read off them by networks that were trained on real
images with the truth in their table, and is worth as much as these find on held-out groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.domains import DOMAINS, Symmetry
from plenish.errors import InputError, unknown
from plenish.metrics.extractor import resized
from plenish.metrics.statistics import bootstrap_interval
from plenish.networks.weights import read_with_digest
from plenish.progress import progress, say
from plenish.training.classifier_model import orientations
from plenish.training.engine import Engine, stable_seed
from plenish.training.roc import auroc_binary

Floats = NDArray[np.float64]
Kind = Literal["number", "flag", "class"]
MOST_IMAGES = 10_000
_SIDE = 64
_VERSION = 1
_RESERVED = {"id", "label", "group", "origin", "sha256", "source", "part", "generator", "seed", "latent_row"}


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """Size and length of the training.

    Attributes:
        steps: optimiser steps.
        batch: images a step.
        rate: peak learning rate of AdamW (one cycle).
        seed: of initialisation, order and orientations.
    """

    steps: int = 600
    batch: int = 48
    rate: float = 4e-3
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """What is read off an image.

    Attributes:
        name: of the column, or of the class.
        kind: a number, yes or no, or one of the classes.
        mean: of a number in training.
        std: its standard deviation.
    """

    name: str
    kind: Kind
    mean: float = 0.0
    std: float = 1.0


class _Network(nn.Module):
    """Five convolutions down to an eighth; mean and maximum over the image; a linear layer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        widths = ((channels, 32, 1), (32, 48, 2), (48, 64, 2), (64, 96, 2), (96, 96, 1))
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)
                )
                for a, b, stride in widths
            )
        )
        self.head = nn.Linear(2 * 96, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W in [-1, 1] → N×outputs."""
        h = self.body(x)
        with torch.autocast(x.device.type, enabled=False):  # Else small changes would be rounded away.
            out: Tensor = self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1).float())
        return out


@dataclasses.dataclass(frozen=True)
class Reader:
    """A network that reads columns or classes off images.

    Attributes:
        targets: what it reads, in the order of its outputs.
        side: height and width that images are brought to, pixels.
        network: images N×C×side×side in [-1, 1] → outputs.
        checks: what it is worth on held-out images, by name: `measure` (r2 or auroc), `value`, `low`,
            `high`, `n`.
        hash: SHA-256 of its weights.
    """

    targets: tuple[Target, ...]
    side: int
    network: _Network
    checks: Mapping[str, Mapping[str, Any]]
    hash: str

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, Floats]:
        """Numbers in the unit of their column, and probabilities of flags and classes, by name, N each.

        Args:
            images: uint8 N×H×W×C of any size.
        """
        engine, found = Engine.from_settings(), []
        with torch.no_grad(), engine.autocast():
            for start in range(0, len(images), 256):
                x = resized(engine.to_images(images[start : start + 256]), self.side)
                found.append(self.network(x).double().cpu().numpy())
        return _read(self.targets, np.concatenate(found))

    def target(self, name: str) -> Target:
        """A column or class by name.

        Raises:
            InputError: it reads none of that name.
        """
        by_name = {target.name: target for target in self.targets}
        if name not in by_name:
            raise unknown("column", name, by_name)
        return by_name[name]


def _read(targets: Sequence[Target], outputs: Floats) -> dict[str, Floats]:
    classes = [i for i, target in enumerate(targets) if target.kind == "class"]
    found = {}
    if classes:
        shares = np.exp(outputs[:, classes] - outputs[:, classes].max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        found = {targets[i].name: shares[:, k] for k, i in enumerate(classes)}
    for i, target in enumerate(targets):
        if target.kind == "number":
            found[target.name] = outputs[:, i] * target.std + target.mean
        elif target.kind == "flag":
            found[target.name] = 1 / (1 + np.exp(-outputs[:, i]))
    return found


def readable_columns(data: Dataset) -> dict[str, Kind]:
    """Columns of a Dataset's table that a network may learn to read off its images: numbers, and yes or no."""
    found: dict[str, Kind] = {}
    for name in data.table.columns:
        values = data.table[name].dropna()
        if name in _RESERVED or not len(values) or values.nunique() < 2:
            continue
        if values.map(type).isin([bool, np.bool_]).all():
            found[name] = "flag"
        elif pd.api.types.is_numeric_dtype(values):
            found[name] = "number"
    return found


def column_reader(
    data: Dataset, columns: Sequence[str] | None = None, split: str = "default",
    config: ReadingConfig = ReadingConfig(),
) -> Reader:  # fmt: skip
    """A network that reads columns off images, trained on train, checked on val; from the cache if it can be.

    Args:
        data: a real Dataset whose table holds the truth.
        columns: which; by default all that are numbers or yes and no.
        split: its split.
        config: size and length of the training.

    Raises:
        InputError: no such column, one that holds no numbers, or none at all.
    """
    known = readable_columns(data)
    wanted = list(known) if columns is None else list(columns)
    for name in wanted:
        if name not in known:
            raise unknown("column of numbers, or of yes and no,", name, known)
    if not wanted:
        raise InputError(f"{data.path} has no column of numbers, or of yes and no, that could be read.")
    return _reader(data, {name: known[name] for name in wanted}, split, config)


def class_reader(data: Dataset, split: str = "default", config: ReadingConfig = ReadingConfig()) -> Reader:
    """A network that tells the classes of images, trained on train, checked on val.

    Raises:
        InputError: the Dataset has no classes.
    """
    if data.labels.kind != "categorical":
        raise InputError(f"{data.path} has no classes to tell; give --classifier, or another Dataset.")
    return _reader(data, dict.fromkeys(data.labels.names, "class"), split, config)


def _reader(data: Dataset, kinds: Mapping[str, Kind], split: str, config: ReadingConfig) -> Reader:
    train, val = data.part("train", split, purpose="train"), data.part("val", split, purpose="select")
    if len(train) < 16 or len(val) < 2:
        raise InputError(
            f"{data.path} has {len(train)} images to train and {len(val)} to check a reading network on, and it "
            "needs 16 and 2; split it otherwise."
        )
    symmetry: Symmetry = DOMAINS[data.domain].symmetry if data.domain else "dihedral"
    side = min(_SIDE, data.size)
    key = files.config_hash(
        {
            "what": "reader", "version": _VERSION, "pixels": data.manifest.pixels_hash,
            "table": data.manifest.table_hash, "split": train.split_hash, "kinds": dict(kinds),
            "config": dataclasses.asdict(config), "symmetry": symmetry, "side": side,
        }
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("reader", config.seed))
        network = _Network(data.channels, len(kinds))
    folder = data.cache_dir(f"reader-{key[:16]}")
    record = _cached(folder, network, key)
    if record is None:
        say(f"training a network that reads {', '.join(kinds)} on {len(train)} images (once for this split)")
        targets = tuple(_target(name, kind, train) for name, kind in kinds.items())
        _fit(network, targets, train, side, symmetry, config)
        state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        files.write_bytes(folder / "weights.safetensors", save(state))
        reader = Reader(targets, side, network.eval(), {}, files.sha256_file(folder / "weights.safetensors"))
        record = {
            "key": key, "weights_sha256": reader.hash, "targets": [dataclasses.asdict(t) for t in targets],
            "checks": check(reader, val),
        }  # fmt: skip
        files.write_record(folder / "reader.json", record)
    Engine.from_settings().to_module(network.eval().requires_grad_(False))
    found = tuple(Target(**target) for target in record["targets"])
    return Reader(found, side, network, record["checks"], record["weights_sha256"])


def _cached(folder: Any, network: _Network, key: str) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = files.read_record(folder / "reader.json")
        state, digest = read_with_digest(folder / "weights.safetensors")
        if record["key"] != key or record["weights_sha256"] != digest:
            return None
        network.load_state_dict(state)
    except (InputError, KeyError, RuntimeError):
        return None
    return record


def truth(targets: Sequence[Target], rows: Subset) -> Floats:
    """What the table says, N×targets: numbers standardised, yes and classes as 1; NaN where it is unknown."""
    table = rows.dataset.table.iloc[rows.rows]
    found = []
    for target in targets:
        if target.kind == "class":
            found.append((table["label"] == target.name).to_numpy(np.float64))
        else:
            values = pd.to_numeric(table[target.name], errors="coerce").to_numpy(np.float64)
            found.append((values - target.mean) / target.std)
    return np.stack(found, 1)


def _target(name: str, kind: Kind, train: Subset) -> Target:
    if kind != "number":
        return Target(name, kind)
    values = truth([Target(name, kind)], train)[:, 0]
    return Target(name, kind, float(np.nanmean(values)), max(float(np.nanstd(values)), 1e-9))


def _fit(
    network: _Network, targets: Sequence[Target], train: Subset, side: int, symmetry: Symmetry,
    config: ReadingConfig,
) -> None:  # fmt: skip
    """Train; loss is smooth L1 of numbers, cross-entropy of flags and classes, each target with equal weight."""
    engine, rng = Engine.from_settings(), np.random.default_rng(stable_seed("reader-order", config.seed))
    some = train.where(np.sort(rng.permutation(len(train))[:MOST_IMAGES]))
    y = torch.from_numpy(truth(targets, some).astype(np.float32)).to(engine.device)
    kinds = {
        kind: [i for i, t in enumerate(targets) if t.kind == kind] for kind in ("number", "flag", "class")
    }
    engine.to_module(network.train())
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=config.steps)
    batch = min(config.batch, len(some))
    epochs = -(-config.steps * batch // len(some))
    order = np.concatenate([rng.permutation(len(some)) for _ in range(epochs)])
    with progress("reading network", config.steps, "steps") as bar:
        for step in range(config.steps):
            rows = order[step * batch : (step + 1) * batch]
            x = resized(engine.to_images(some.images(rows)), side)
            views = list(orientations(x, symmetry))
            with engine.autocast():
                out = network(views[rng.integers(len(views))])
            loss = _loss(out, y[torch.from_numpy(rows).to(engine.device)], kinds)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(1)


def _loss(out: Tensor, y: Tensor, kinds: Mapping[str, Sequence[int]]) -> Tensor:
    total, known = out.new_zeros(()), ~y.isnan()
    y = y.nan_to_num()
    if numbers := kinds["number"]:
        each = functional.smooth_l1_loss(out[:, numbers], y[:, numbers], reduction="none")
        total = total + (each * known[:, numbers]).mean(0).sum()
    if flags := kinds["flag"]:
        each = functional.binary_cross_entropy_with_logits(out[:, flags], y[:, flags], reduction="none")
        total = total + (each * known[:, flags]).mean(0).sum()
    if classes := kinds["class"]:
        total = total + functional.cross_entropy(out[:, classes], y[:, classes])
    return total


def check(reader: Reader, held_out: Subset) -> dict[str, dict[str, Any]]:
    """What a reader is worth on held-out images, with intervals over groups.

    Args:
        reader: the reader.
        held_out: images with truth.

    Returns:
        For each target `measure`, `value`, `low`, `high` and `n`: R² of numbers, AUROC of flags and classes.
    """
    found, real = reader(held_out.images()), truth(reader.targets, held_out)
    checks = {}
    for i, target in enumerate(reader.targets):
        known = np.isfinite(real[:, i])
        y, said = real[known, i] * target.std + target.mean, found[target.name][known]
        groups = list(held_out.groups[known])
        if target.kind == "number":

            def measured(w: NDArray[Any], y: Floats = y, said: Floats = said) -> Floats:
                total = w.sum(1, keepdims=True)
                middle = (w * y).sum(1, keepdims=True) / total
                return np.asarray(1 - (w * (y - said) ** 2).sum(1) / (w * (y - middle) ** 2).sum(1))
        else:

            def measured(w: NDArray[Any], y: Floats = y, said: Floats = said) -> Floats:
                return auroc_binary(y > 0.5, said, w)

        with np.errstate(invalid="ignore", divide="ignore"):
            interval = bootstrap_interval(measured, len(y), groups, resamples=500)
        measure = "r2" if target.kind == "number" else "auroc"
        checks[target.name] = {"measure": measure, **interval._asdict(), "n": len(y)}
    return checks
