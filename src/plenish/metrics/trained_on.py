"""Which generated images a classifier was trained on: kept in its Run, and found among images it is given.

An image is found again by its pixels, whatever Dataset or file holds it, and by the draw it was made of, so
that the same latents with another label, truncation or checkpoint are found as well.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.datasets.synthetic import generator_of
from plenish.datasets.tables import read_parquet
from plenish.metrics.prediction_images import GivenImages
from plenish.runs import Run

TABLE = "synthetic.parquet"
_DRAW = ["generator", "latents", "seed", "latent_row"]
_AT_ONCE = 512


def keep(run: Run, synthetic: Dataset) -> None:
    """Keep in a Run which synthetic images are mixed in: a row each of its hash and its draw."""
    buffer = io.BytesIO()
    table = _identities(synthetic.table, latents_of(synthetic))
    table.to_parquet(buffer, index=False)
    files.write_bytes(run.path / TABLE, buffer.getvalue())


def latents_of(data: Dataset) -> str:
    """Hash of the latents that images were made of, where they were not drawn; else an empty text."""
    return str(generator_of(data.manifest.extra).get("latents_sha256") or "")


def seen(run: Run, given: GivenImages) -> NDArray[np.bool_]:
    """Which of N images a classifier was trained on, or were made of the same draws as one of those.

    Args:
        run: the classifier's Run.
        given: the images.
    """
    if not (run.path / TABLE).is_file():
        return np.zeros(len(given.table), bool)
    kept = read_parquet(run.path / TABLE).to_pandas()
    table = given.table
    if "sha256" not in table:
        table = table.assign(sha256=_hashes(given))
    mine = _identities(table, str(given.about.get("latents") or ""))
    found = mine["sha256"].isin(kept["sha256"]).to_numpy()
    if set(_DRAW) <= {*mine.columns} & {*kept.columns}:
        draws = pd.MultiIndex.from_frame(mine[_DRAW])
        found = found | draws.isin(pd.MultiIndex.from_frame(kept[_DRAW]))
    return np.asarray(found, bool)


def _identities(table: pd.DataFrame, latents: str) -> pd.DataFrame:
    """Hashes, and of images that a Run of ours made also their draws."""
    columns: dict[str, Any] = {"sha256": table["sha256"].astype(str)}
    drawn = [name for name in _DRAW if name != "latents"]
    if set(drawn) <= {*table.columns} and table[drawn].notna().all(axis=None):
        columns |= {"generator": table["generator"].astype(str), "latents": latents}
        columns |= {name: table[name].astype("int64") for name in ("seed", "latent_row")}
    return pd.DataFrame(columns)


def _hashes(given: GivenImages) -> list[str]:
    found: list[str] = []
    for index in chunks(len(given.table), _AT_ONCE):
        found += [
            hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() for one in given.read(index)
        ]
    return found
