"""The tissue phantom: a Dataset of procedural H&E-like tiles whose truth is known.

The built-in data of Plenish, the fixture of its tests and of experiments with a known answer. It is a
drawing, not tissue: `dataset.json` says so (`extra.phantom`), and reports repeat it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.configuration import check_bounds, option
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.phantom.layout import tissue_of
from plenish.phantom.painting import paint
from plenish.phantom.patient import (
    ATYPIA_MEANS,
    ATYPIA_SD,
    BEST_ACCURACY,
    CLASSES,
    FIELD_UM,
    patient_of,
)
from plenish.progress import progress

SIZES = (16, 512)
"""Least and greatest side of a tile in pixels."""
_VERSION = 1
_INTENDED_USE = (
    "Trying Plenish out, tests and experiments with a known truth. It is a phantom, not tissue: "
    "nothing learnt from it holds for patients."
)


def render_tile(
    seed: int, patient: int, tile: int, size: int = 64
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Render one tile of the phantom; a pure function of its arguments.

    The field of view is 64 µm at every size (1 µm per pixel at 64 px): the same tile at another size is the
    same tissue, sharper or coarser; only the camera's noise differs.

    Args:
        seed: Seed of the whole phantom, 0 or more.
        patient: Number of the patient, from 0.
        tile: Number of the tile within the patient, from 0.
        size: Pixels along the side.

    Returns:
        The picture (uint8, size×size×3) and its truth, JSON-able: `label`, `group`, `architecture`,
        `atypia` (hidden severity in [0, 1] through which alone the class acts), `nuclei` (centres in the
        field), `nuclei_density` (per mm²), `nuclear_area` (mean in µm², None without nuclei), `cellularity`
        (share of the area covered by nuclei), `lumen` (share that is tubule lumen), `has_lumen` (at least 1
        %), `stain_hue_h`, `stain_hue_e` (degrees), `stain_strength_h`, `stain_strength_e` (1 is average)
        and `mpp` (µm per pixel).

    Raises:
        InputError: an argument is out of range.
    """
    check_bounds("size", size, {"least": SIZES[0], "most": SIZES[1]})
    for name, number in (("seed", seed), ("patient", patient), ("tile", tile)):
        check_bounds(name, number, {"least": 0})
    who = patient_of(seed, patient)
    tissue = tissue_of(seed, who, patient, tile)
    picture, measured = paint(tissue, who, size, (seed, patient, tile))
    inside = tissue.nuclei.inside
    count = int(inside.sum())
    truth: dict[str, Any] = {
        "label": CLASSES[tissue.label],
        "group": who.name,
        "architecture": tissue.architecture,
        "atypia": tissue.atypia,
        "nuclei": count,
        "nuclei_density": count / (FIELD_UM / 1000.0) ** 2,
        "nuclear_area": float(tissue.nuclei.area[inside].mean()) if count else None,
        "cellularity": measured["cellularity"],
        "lumen": measured["lumen"],
        "has_lumen": measured["lumen"] >= 0.01,
        **who.stain_columns(),
        "mpp": FIELD_UM / size,
    }
    return picture, truth


@dataclasses.dataclass(frozen=True)
class PhantomOptions:
    """The phantom tiles to make.

    Attributes:
        patients: number of patients; they are the groups.
        tiles: tiles of each patient; with three or more, each patient has both classes.
        size: height and width of a tile, pixels.
        seed: the same seed gives the same pixels.
    """

    patients: int = option(40, least=1, most=9999)
    tiles: int = option(30, least=1, most=9999)
    size: int = option(64, least=SIZES[0], most=SIZES[1])
    seed: int = 0


def make_phantom(out: Path, options: PhantomOptions) -> Dataset:
    """Make a Dataset of procedural H&E-like tissue, tumour and normal, with the truth as columns.

    A phantom, not tissue: for trying Plenish, for tests and for experiments whose answer is known. Each
    patient has a stain of its own and tiles of both classes. The field of view is 64 µm at every size.
    Resumes when started again after an interruption.

    Args:
        out: folder of the new Dataset; must not exist.
        options: the tiles to make.

    Returns:
        The Dataset.

    Raises:
        InputError: a number is out of range, or `out` exists.
    """
    patients, tiles, size, seed = options.patients, options.tiles, options.size, options.seed
    total = patients * tiles
    files.require_space(out, total * size * size * 3)
    writer = DatasetWriter(
        out, name=f"phantom tissue, {patients} patients", size=size, channels=3,
        labels=LabelSchema("categorical", CLASSES),
        config={"verb": "phantom", "version": _VERSION, **dataclasses.asdict(options)}, licence="CC0-1.0",
        source="Plenish phantom (procedural, no tissue, no patients)", intended_use=_INTENDED_USE,
        extra={
            "phantom": True, "domain": "histology", "field_um": FIELD_UM, "mpp": FIELD_UM / size,
            "best_accuracy": BEST_ACCURACY,
            "atypia": {"means": dict(zip(CLASSES, ATYPIA_MEANS)), "sd": ATYPIA_SD},
        },
    )  # fmt: skip
    # Small batches keep memory flat; the writer joins them into shards.
    batch = max(1, min(64, (1 << 24) // (size * size * 3)))
    with writer, progress("phantom", total, done=writer.skip) as bar:
        for start in range(writer.skip, total, batch):
            stop = min(start + batch, total)
            made = [render_tile(seed, k // tiles, k % tiles, size) for k in range(start, stop)]
            rows = [
                {"id": f"p{k // tiles:04d}-t{k % tiles:04d}", "source": f"phantom:{seed}", **truth}
                for k, (_, truth) in zip(range(start, stop), made)
            ]
            writer.add(np.stack([picture for picture, _ in made]), rows)
            bar.advance(stop - start)
    return writer.dataset
