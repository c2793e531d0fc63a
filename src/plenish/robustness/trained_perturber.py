"""A trained perturber: as an attack, and how often it fools its classifier beside other attacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.datasets.schema import Part
from plenish.errors import InputError
from plenish.metrics.statistics import bootstrap_interval
from plenish.networks.perturber import Perturber, PerturberConfig
from plenish.robustness.advgan import AT_ONCE, perturbed, to_unit
from plenish.robustness.advgan_run import KIND, images_of
from plenish.robustness.gradient_attacks import fgsm, pgd
from plenish.robustness.gradients import Network, Precision
from plenish.robustness.noise import random_noise
from plenish.robustness.target import Target
from plenish.robustness.threat import Norm
from plenish.robustness.visited import misclassified, unmoved
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint, load_module
from plenish.training.engine import Engine

FOOLING = "fooling.parquet"
"""Of a Run: a row an image of val, with --test of the test part too."""
PGD_STEPS = 20


@dataclasses.dataclass(frozen=True)
class LoadedPerturber:
    """A trained perturber with its provenance.

    Attributes:
        network: in evaluation mode on the engine's device.
        norm: of the ball it was trained for.
        eps: the radius it was trained for.
        run: the Run it comes from.
        checkpoint: the checkpoint's folder.
        weights_sha256: checksum of the weights.
    """

    network: Perturber
    norm: Norm
    eps: float
    run: Run
    checkpoint: Path
    weights_sha256: str

    def __call__(
        self, model: Network, images: Tensor, labels: Tensor, eps: float, *, norm: Norm = "linf",
        seed: int = 0, precision: Precision = "float32",
    ) -> Tensor:  # fmt: skip
        """Perturb images: an attack like all others, that asks nothing of the model.

        Args:
            model: accepted as by all attacks; it is attacked as the classifier of the training was.
            images: N×C×H×W in [0, 1].
            labels: accepted as by all attacks; without effect.
            eps: radius of the ball; another than that of the training scales what was learnt for that one.
            norm: that of the training.
            seed: accepted as by all attacks; nothing is drawn.
            precision: of the perturber.

        Returns:
            Images like those given, in the ball and in [0, 1].

        Raises:
            InputError: another norm, or images of another size.
        """
        self.check(norm, images.shape[1], *images.shape[2:])
        if unmoved(images, eps, norm):
            return images.clone()
        network, half = self.network.to(images.device), precision == "bfloat16"
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            return perturbed(network, images, eps, norm, scale=eps / self.eps)

    def check(self, norm: Norm, channels: int, *sides: int) -> None:
        """Refuse another norm than that of the training, and images of another size.

        Raises:
            InputError: as it says.
        """
        if norm != self.norm:
            raise InputError(
                f"The perturber in {self.run.path} was trained for --norm {self.norm}, not {norm}; train one "
                f"with 'plenish train advgan --norm {norm}'."
            )
        config = self.network.config
        if channels != config.channels or set(sides) != {config.size}:
            raise InputError(
                f"The perturber in {self.run.path} takes images of {config.size} px with {config.channels} "
                f"channel(s), not {'×'.join(map(str, sides))} with {channels}."
            )

    def provenance(self) -> dict[str, Any]:
        """What a result records of it."""
        return {
            "kind": KIND, "run": str(self.run.path.resolve()), "run_id": self.run.id,
            "checkpoint": self.checkpoint.name, "weights_sha256": self.weights_sha256, "norm": self.norm,
            "eps": self.eps, "against": dict(self.run.config["config"]["against"]),
        }  # fmt: skip


def load_perturber(run: Path | str, checkpoint: str = "best") -> LoadedPerturber:
    """Load a trained perturber, which is an attack.

    Args:
        run: a Run of 'plenish train advgan'.
        checkpoint: `best` on the val part, `last`, or a checkpoint's name.

    Raises:
        InputError: no such Run or checkpoint, or it is damaged.
    """
    opened = Run.open(run, KIND)
    path, config = find_checkpoint(opened, checkpoint), opened.config["config"]
    network = Perturber(PerturberConfig.from_dict(config["network"]))
    load_module(path, "perturber", network)
    Engine.from_settings().to_module(network).eval().requires_grad_(False)
    sha256 = files.sha256_file(path / "perturber.safetensors")
    method = config["training"]
    return LoadedPerturber(network, method["norm"], float(method["eps"]), opened, path, sha256)


def is_measured(run: Run, test: bool) -> bool:
    """Whether the weights that are used were measured: the test part is not read again for the same."""
    status = run.status
    rows = status.get("fooling", [])
    # Rows of older Runs are of the perturber alone and name no attack.
    known = (run.path / FOOLING).is_file() and all("attack" in row for row in rows)
    same = status.get("measured") == _weights_used(status)
    return known and same and (not test or "test" in {row["part"] for row in rows})


def _weights_used(status: Mapping[str, Any]) -> Any:
    """Names the weights that are used: the best checkpoint, or how far the newest was trained."""
    return (status.get("best") or {}).get("checkpoint") or status.get("kimg")


def write_fooling(run: Run, target: Target, train: Subset, test: bool = False) -> list[dict[str, Any]]:
    """Measure how often a Run's best weights fool its classifier on val, and with `test` on the test part.

    Beside it stand noise of the same norm, FGSM and PGD, on the same images: those that the classifier gets
    right. Writes fooling.parquet, a row an image: `id`, `part`, `label`, `group`, `right`, and whether each
    attack fools it; and into the Run's status a row a part and attack: of `images`, how many are
    `classified_right`, and the share of these that is `fooled`, with its 95 % interval over groups, `low` to
    `high`.

    Args:
        run: the Run; the caller holds its lock.
        target: the classifier.
        train: its training rows.
        test: measure the test images too; that reading is counted.
    """
    perturber, dataset, split = load_perturber(run.path), train.dataset, train.split_name
    attacks: dict[str, Callable[..., Tensor]] = {
        "perturber": perturber, "noise": random_noise, "fgsm": fgsm, "pgd": _pgd,
    }  # fmt: skip
    parts: tuple[Part, ...] = ("val", "test") if test else ("val",)
    tables, results = [], []
    for part in parts:
        if not len(dataset.split(split).rows(part)):
            continue
        rows = dataset.part(part, split, purpose="score")
        found = _fooled(target, images_of(rows, target), attacks, perturber, run.seed)
        about = pd.DataFrame({"id": rows.ids, "part": part, "label": rows.labels, "group": rows.groups})
        table = about.join(found)
        attacked = table[table["right"]]
        counts = {"part": part, "images": len(table), "classified_right": len(attacked)}
        results += [counts | {"attack": name} | _fooled_share(attacked, name) for name in attacks]
        tables.append(table)
    if tables:
        files.write_bytes(
            run.path / FOOLING, pd.concat(tables, ignore_index=True).to_parquet(None, index=False)
        )
    run.update_status(
        fooling=results, measured=_weights_used(run.status), test_reads=dataset.test_reads(split)
    )
    return results


def _pgd(model: Network, images: Tensor, labels: Tensor, eps: float, **how: Any) -> Tensor:
    return pgd(model, images, labels, eps, steps=PGD_STEPS, **how)


def _fooled(
    target: Target, images: Images, attacks: Mapping[str, Callable[..., Tensor]], how: LoadedPerturber,
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Which images the classifier gets right, and by which attacks it is fooled then; all in float32."""
    engine, pieces = Engine.from_settings("float32"), []
    for place in chunks(len(images.y), AT_ONCE):
        shown = to_unit(engine.to_images(images.read(place)))
        labels = torch.from_numpy(images.y[place]).to(engine.device)
        right = ~misclassified(target.module, shown, labels)
        columns = {"right": right.cpu().numpy()}
        for name, attack in attacks.items():
            made = attack(target.module, shown, labels, how.eps, norm=how.norm, seed=seed)
            columns[name] = (right & misclassified(target.module, made, labels)).cpu().numpy()
        pieces.append(pd.DataFrame(columns))
    return pd.concat(pieces, ignore_index=True)


def _fooled_share(attacked: pd.DataFrame, name: str) -> dict[str, float | None]:
    """Share of the images that an attack fools, with its interval over groups; None without images."""
    if not len(attacked):
        return {"fooled": None, "low": None, "high": None}
    values = attacked[name].to_numpy(np.float64)
    found = bootstrap_interval(lambda w: (w @ values) / w.sum(axis=1), len(values), list(attacked["group"]))
    return {"fooled": found.value, "low": found.low, "high": found.high}
