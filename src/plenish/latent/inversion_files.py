"""What an inversion leaves: an edit's folder with the errors of the images, their curve and a figure."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.latent.edits import Edit, write_edit
from plenish.latent.given_images import RealImages
from plenish.latent.inversion import Inverted, invert
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.pivotal import check_number, tune
from plenish.latent.render import Row, figure
from plenish.latent.space import LatentSpace
from plenish.progress import say

ORIGIN = "origin.json"
"""Where the images come from, and how the encoder was trained."""
SHOWN = 12
"""Images in the figure, at most."""
AMPLIFIED = 4
"""What differences are multiplied by in the figure."""


def write_inversion(space: LatentSpace, real: RealImages, out: Path, how: InversionOptions) -> Edit:
    """Invert images and write what was found.

    Raises:
        InputError: the images or options do not fit the generator, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    if how.tune:
        check_number(len(real.names))
    y = real.y if how.label is None else None
    found = invert(space, real.pixels, how, y, names=real.names)
    table, curve, rows = _table(space, real, found), found.curve, _rows(real, found)
    tuned = tune(space, found.points, real.pixels, how.tune) if how.tune else None
    steps = pd.DataFrame(curve, columns=list(real.names))
    steps.insert(0, "evaluations", np.arange(1, len(curve) + 1))
    result = {
        "images": len(found.error), "space": how.space, "mse_median": float(np.median(found.error)),
        "mse_largest": float(found.error.max()), "unit": "mean squared error, pixels in [0, 1]",
        "below_0.001": int((found.error < 1e-3).sum()), "evaluations": found.evaluations,
        "precision": "float32", "label_from": _labels_from(space, how, y is not None),
        "images_sha256": real.pixels_sha256,
    }  # fmt: skip
    about = {"images": dict(real.about), "encoder": dict(found.encoder)}
    if tuned is not None:
        table["mse_tuned"] = tuned.error
        result["mse_tuned_median"] = float(np.median(tuned.error))
        rows.insert(2, Row("tuned", tuned.images[:SHOWN], [f"{e:.2g}" for e in tuned.error[:SHOWN]]))
    more = {
        "inversion.csv": table.to_csv(index=False).encode(),
        "curve.csv": steps.to_csv(index=False, float_format="%.6g").encode(),
        "curve.png": _chart(curve),
        ORIGIN: (json.dumps(about, indent=2, default=str) + "\n").encode(),
    }
    for i, weights in enumerate(() if tuned is None else tuned.weights):
        more[f"tuned-{i:02d}.safetensors"] = weights
    if len(real.names) > SHOWN:
        say(f"picture.png shows the first {SHOWN} of {len(real.names)} images; inversion.csv has all.")
    return write_edit(out, space, found.points, figure(rows), result=result, more=more)


def _labels_from(space: LatentSpace, how: InversionOptions, known: bool) -> str:
    if not space.labels.width:
        return "none"
    return "of the images" if known else how.label or "search"


def _table(space: LatentSpace, real: RealImages, found: Inverted) -> pd.DataFrame:
    """A row an image: id, mse, psnr, the label found and that of the image, where it won."""
    columns: dict[str, Any] = {
        "id": real.names, "mse": found.error, "psnr": -10 * np.log10(np.maximum(found.error, 1e-12)),
        "start": found.starts,
    }  # fmt: skip
    if found.points.y is not None:
        columns["label"] = space.labels.decode(found.points.y)
    if real.y is not None:
        columns["label_of_image"] = space.labels.decode(real.y)
    return pd.DataFrame(columns)


def _rows(real: RealImages, found: Inverted) -> list[Row]:
    originals, made = real.pixels[:SHOWN], found.images[:SHOWN]
    off = AMPLIFIED * np.abs(originals.astype(np.int16) - made)
    errors = [f"{error:.2g}" for error in found.error[:SHOWN]]
    return [
        Row("original", originals), Row("inverted", made, errors),
        Row(f"difference × {AMPLIFIED}", np.clip(off, 0, 255).astype(np.uint8)),
    ]  # fmt: skip


def _chart(curve: NDArray[np.float64]) -> bytes:
    """The error over evaluations: the median image, and the range of the middle 80 %."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(6.4, 3.6), dpi=120, layout="constrained")
    axes = picture.add_subplot()
    x = np.arange(1, len(curve) + 1)
    low, middle, high = np.quantile(curve, (0.1, 0.5, 0.9), axis=1)
    if curve.shape[1] > 1:
        axes.fill_between(x, low, high, color="#0072b2", alpha=0.2, linewidth=0, label="80 % of the images")
    axes.plot(x, middle, color="#0072b2", label="median" if curve.shape[1] > 1 else "the image")
    axes.set(
        xlabel="evaluations of the generator", ylabel="mean squared error, pixels in [0, 1]", yscale="log"
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    content = io.BytesIO()
    picture.savefig(content, format="png")
    return content.getvalue()
