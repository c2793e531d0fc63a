"""How near a translation comes to pictures it has not seen, beside what needs no translation.

Mean absolute differences, images as numbers in [0, 1]. There are three baselines: the mean of all training
pictures, whatever the sketch; the training picture whose sketch is nearest to the given one; the sketch
itself, taken for the picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch.nn import functional as F

from plenish import files
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.datasets.schema import Part
from plenish.datasets.show import png
from plenish.metrics.kernels import squared_distances
from plenish.metrics.statistics import bootstrap_interval
from plenish.runs import Run
from plenish.training.logs import sample_grid
from plenish.training.translation import mean_difference
from plenish.training.translation_model import LoadedTranslator, load_translator

Pixels = NDArray[np.uint8]
TABLE, PICTURE = "held_out.parquet", "held-out.png"
"""Of a Run: a row an image; and sketches, translations, real pictures, nearest training pictures below each
other."""
BASELINES = ("mean", "nearest", "sketch")
_SHOWN, _AT_ONCE = 16, 256
_COARSE = 16
"""Side to which sketches are reduced before they are compared: lines that are a pixel apart then meet."""


def is_measured(run: Run, test: bool) -> bool:
    """Whether the weights that are used were measured: the test part is not read again for the same."""
    status = run.status
    there = {row["part"] for row in status.get("held_out", [])}
    known = (run.path / TABLE).is_file() and status.get("measured") == _weights(status)
    return known and (not test or "test" in there)


def _weights(status: Mapping[str, Any]) -> Any:
    """Names the weights that are used: the best checkpoint, or how far the newest was trained."""
    return (status.get("best") or {}).get("checkpoint") or status.get("kimg")


def write_held_out(run: Run, train: Subset, test: bool = False) -> list[dict[str, Any]]:
    """Measure a Run's best weights on val, and with `test` on the test part, whose reading is counted.

    Writes held_out.parquet, a row an image: `id`, `part`, `label`, `group`, `l1`, `l1_mean`, `l1_nearest`,
    `l1_sketch` and `nearest`, the id of the nearest training picture; a picture of some; and the means with
    the 95 % intervals of the translation's over groups into the Run's status.

    Args:
        run: the Run; the caller holds its lock.
        train: its training rows.
        test: measure the test images too.
    """
    model, dataset, split = load_translator(run.path), train.dataset, train.split_name
    known = _Known.of(model, train)
    parts: tuple[Part, ...] = ("val", "test") if test else ("val",)
    tables, results = [], []
    for part in parts:
        if not len(dataset.split(split).rows(part)):
            continue
        rows = dataset.part(part, split, purpose="score")
        found = [_differences(model, known, rows, place, run.seed) for place in chunks(len(rows), _AT_ONCE)]
        label = {"label": rows.labels} if dataset.labels.kind == "categorical" else {}
        about = pd.DataFrame({"id": rows.ids, "part": part, **label, "group": rows.groups})
        tables.append(about.join(pd.concat(found, ignore_index=True)))
        results.append({"part": part, "images": len(rows)} | _means(tables[-1], rows.groups))
        files.write_bytes(
            run.path / "samples" / (PICTURE if part == "val" else f"{part}.png"),
            png(_below_each_other(model, known, rows, run.seed)),
        )
    if tables:
        table = pd.concat(tables, ignore_index=True)
        files.write_bytes(run.path / TABLE, table.to_parquet(None, index=False))
    run.update_status(held_out=results, measured=_weights(run.status), test_reads=dataset.test_reads(split))
    return results


@dataclasses.dataclass(frozen=True)
class _Known:
    """What the baselines know: the training pictures, their mean, uint8 H×W×C, and their sketches, N×256."""

    train: Subset
    mean: Pixels
    sketches: NDArray[np.float64]

    @classmethod
    def of(cls, model: LoadedTranslator, train: Subset) -> _Known:
        total, coarse = 0.0, []
        for pictures in train.batches(_AT_ONCE):
            total = total + pictures.sum(axis=0, dtype=np.float64)
            coarse.append(_coarse(model.sketches(pictures)))
        mean = np.rint(total / len(train)).astype(np.uint8)
        return cls(train, mean, np.concatenate(coarse))

    def nearest(self, given: Pixels) -> NDArray[np.int64]:
        """Training rows whose sketches are nearest to these."""
        found: NDArray[np.int64] = squared_distances(_coarse(given), self.sketches).argmin(axis=1)
        return found


def _differences(
    model: LoadedTranslator, known: _Known, rows: Subset, place: NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """Mean absolute differences of some held-out images and of their baselines."""
    real = rows.images(place)
    given = model.fixed_sketches(real, seed, place)
    where = known.nearest(given)
    others = {
        "l1": model.translate(given), "l1_mean": np.broadcast_to(known.mean, real.shape),
        "l1_nearest": known.train.images(where), "l1_sketch": np.broadcast_to(given, real.shape),
    }  # fmt: skip
    found = pd.DataFrame({name: mean_difference(other, real) for name, other in others.items()})
    return found.assign(nearest=np.asarray(known.train.ids)[where])


def _below_each_other(model: LoadedTranslator, known: _Known, rows: Subset, seed: int) -> Image:
    """Up to 16 held-out images drawn by the seed: sketches, translations, real, nearest training pictures."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:_SHOWN])
    real = rows.images(chosen)
    given = model.fixed_sketches(real, seed, chosen)
    each = (np.broadcast_to(given, real.shape), model.translate(given), real)
    return sample_grid(np.concatenate([*each, known.train.images(known.nearest(given))]), len(chosen))


def _means(table: pd.DataFrame, groups: NDArray[Any]) -> dict[str, float]:
    """Mean differences of the translation, with its interval over groups, and of the baselines."""
    values = table["l1"].to_numpy()
    interval = bootstrap_interval(lambda w: (w @ values) / w.sum(axis=1), len(values), list(groups))
    baselines = {f"l1_{name}": float(table[f"l1_{name}"].mean()) for name in BASELINES}
    return {"l1": float(values.mean()), "l1_low": interval.low, "l1_high": interval.high, **baselines}


def _coarse(sketches: Pixels) -> NDArray[np.float64]:
    """Sketches uint8 N×H×W×1 as mean darkness of 16×16 places, N×256."""
    ink = 1 - torch.from_numpy(sketches).permute(0, 3, 1, 2).double() / 255
    found: NDArray[np.float64] = F.adaptive_avg_pool2d(ink, _COARSE).flatten(1).numpy()
    return found
