"""The section of images: generated ones beside real ones, with the kimg they were made at."""

from __future__ import annotations

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.metrics.quality import kimg_of
from plenish.report import pictures
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Pairs, Pictures, Section, Text
from plenish.report.pictures import Picture
from plenish.runs import Run
from plenish.wording import images_shown

MOST_CLASSES = 8
TILES = 18
_LEAST_WIDE = 560


def samples(inputs: ReportInputs) -> Section | None:
    """Synthetic images beside real ones of the same class, drawn by chance, in equal grids."""
    data, synthetic, kind = inputs.data, inputs.synthetic, inputs.kind
    if synthetic is None and inputs.run is not None and inputs.run.kind == "generator":
        return _of_run(inputs.run, inputs.checkpoint)
    shown = data if data is not None else synthetic
    if shown is None:
        return None
    names = shown.labels.names if shown.labels.kind == "categorical" else ()
    pairs = [
        (name, _some(data, inputs.split, name, "real"), _some(synthetic, "", name, kind))
        for name in names[:MOST_CLASSES] or ("",)
    ]
    pairs = [pair for pair in pairs if any(pair[1:])]
    if not pairs:
        return None
    both = (
        f": real training images beside {kind} ones of the same class"
        if None not in (data, synthetic)
        else ""
    )
    kimg = kimg_of(inputs.checkpoint) if kind == "synthetic" and synthetic is not None else None
    blocks: list[Block] = [Pairs(pairs, kind if kimg is None else f"{kind}, after {images_shown(kimg)}")]
    if len(names) > MOST_CLASSES:
        blocks.append(Text(f"The first {MOST_CLASSES} of {len(names)} classes are shown."))
    return Section("samples", "Images", blocks, lead=f"Drawn at random{both}.")


def _of_run(run: Run, checkpoint: str | None) -> Section | None:
    """What a Run generates, first and large, at the checkpoint asked for; the real training images follow."""
    folder = run.path / "samples"
    looks = {kimg: path for path in folder.glob("kimg-*.png") if (kimg := kimg_of(path.stem)) is not None}
    if not looks:
        return None
    wanted = kimg_of(checkpoint)
    nearest = max(looks) if wanted is None else min(looks, key=lambda kimg: abs(kimg - wanted))
    what = f"Generated, after {images_shown(nearest)}"
    shown = [
        pictures.from_file(looks[nearest], "Generated images", what, widest=900, least=_LEAST_WIDE),
        pictures.from_file(
            folder / "reals.png",
            "Real training images",
            "Real training images",
            widest=900,
            least=_LEAST_WIDE,
        ),
    ]
    best = "the best checkpoint" if nearest == wanted else "the picture nearest to the best checkpoint"
    lead = f"Generated images of {best if wanted is not None else 'the end of training'}, beside real ones."
    return Section("samples", "Images", [Pictures([one for one in shown if one], large=True)], lead=lead)


def _some(data: Dataset | None, split: str, name: str, what: str) -> Picture | None:
    """A sheet of images drawn by chance, of a class or, where its name is empty, of all."""
    if data is None:
        return None
    rows = np.arange(len(data), dtype=np.int64)
    if not data.is_synthetic and split in data.split_names():
        # Test images are not shown: looking at them while tuning is reading the test part.
        rows = data.split(split).rows("train")
    if name:
        rows = rows[(data.table["label"] == name).to_numpy()[rows]]
    rows = pictures.choose(rows, TILES, seed=0)
    if not len(rows):
        return None
    alt = f"{len(rows)} {what} images" + (f" of class {name}" if name else "")
    return pictures.sheet(data.pixels.read(rows), alt)
