"""A tile Dataset whose slides all have the stain of its train part, and other tiles with that stain."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from plenish.configuration import option
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Split
from plenish.datasets.tables import read_parquet
from plenish.datasets.writer import CORE_COLUMNS, DatasetWriter
from plenish.errors import InputError
from plenish.progress import progress
from plenish.slides.native import UnreadableRegion
from plenish.slides.planning import Plan
from plenish.slides.reader import Slide
from plenish.slides.remarks import Remark
from plenish.slides.stain import Fit, Macenko, Method, Reinhard, Unmeasurable, augment, average, fit, restain
from plenish.wording import Sentences

Change = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
_TILES = 200
"""Tiles a source is measured on at most."""
_PIXELS = 2_000
"""Pixels of each of them."""
_BATCH_BYTES = 8 * 2**20
_NAMED = 1_000
"""Groups whose stains are recorded at most; those of slides are all recorded, for `slides heatmap`."""
_OF_ANOTHER = ("rejected", "warnings", "slides", "rows_without_slide", "slides_without_row", "import")
"""Facts of how a Dataset was made, which do not hold for one made from it."""


@dataclasses.dataclass(frozen=True)
class Normalised:
    """What `plenish slides normalise` made.

    Attributes:
        dataset: the new Dataset.
        stain: the method, the target and what it was fitted on; also in dataset.json.
        remarks: what the user should know.
    """

    dataset: Dataset
    stain: Mapping[str, Any]
    remarks: tuple[Remark, ...]

    def summary(self) -> dict[str, Any]:
        """The Dataset's facts and the fit; JSON-able."""
        shown = {key: value for key, value in self.stain.items() if key != "sources"}
        return self.dataset.summary() | {"stain": shown, "remarks": Sentences(map(str, self.remarks))}


@dataclasses.dataclass(frozen=True)
class StainOptions:
    """How stains are normalised and varied.

    Attributes:
        method: macenko replaces the two stains' colours and strengths, reinhard matches mean and spread of
            colours, none leaves them (for --perturb alone).
        split: the split whose train part gives the target.
        per: what has a stain of its own: a slide (the column slide), a group, or each tile; auto takes the
            first of them that the Dataset has.
        perturb: vary the concentrations in train tiles by up to this share.
        seed: of the perturbation, and of the pixels that are measured.
    """

    method: Literal["macenko", "reinhard", "none"] = "macenko"
    split: str = "default"
    per: Literal["auto", "slide", "group", "tile"] = "auto"
    perturb: float = option(0.0, least=0, most=1)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method == "none" and self.perturb == 0:
            raise InputError("Nothing would change; give a --method, or --perturb.")


def normalise_stain(data: Path, out: Path, options: StainOptions) -> Normalised:
    """Make a Dataset whose tiles all have one stain, that of the train part, or vary it.

    Each slide's stain is measured on its own tiles and replaced by the median of those of the train part's
    slides; other parts do not influence the target. Only the split it was fitted for is copied to the new
    Dataset. With --perturb, the strength of each stain is varied at random in train tiles only. Resumes when
    started again after an interruption.

    Args:
        data: the Dataset; its images are RGB.
        out: the Dataset's folder to make; must not exist.
        options: how stains are normalised and varied.

    Returns:
        The Dataset and the fit.

    Raises:
        InputError: the Dataset, its split or an option cannot be used, or the train part has no tissue.
    """
    dataset, split = Dataset.open(data), options.split
    _check(dataset, options.method)
    frozen = dataset.split(split)
    keys, by = _keys(dataset, options.per)
    config = {
        "verb": "slides normalise", "method": options.method, "per": by, "perturb": options.perturb,
        "seed": options.seed, "data": dataset.provenance(split),
    }  # fmt: skip
    about = dataset.manifest
    extra = {key: value for key, value in about.extra.items() if key not in _OF_ANOTHER}
    writer = DatasetWriter(
        out, name=about.name, size=about.size, channels=3, labels=about.labels, config=config,
        licence=about.licence, source=about.source, intended_use=about.intended_use, extra=extra,
    )  # fmt: skip
    with writer:
        if "test" in set(frozen.part_of):
            dataset.part("test", split, purpose="export")  # Its reading is counted.
        change, stain = _measure(dataset, frozen, keys, by, options)
        stain.update(split=split, split_hash=frozen.hash, perturb=options.perturb, seed=options.seed)
        writer.extra["stain"] = stain
        writer.splits = {split: frozen.part_of.tolist()}
        writer.split_manifest = {
            key: value for key, value in frozen.manifest.items() if key not in ("hash", "counts")
        } | {"copied_from": frozen.hash}
        _write_tiles(writer, dataset, change)
    remarks = []
    if stain.get("unmeasured") and options.method != "none":
        remarks.append(Remark("stain-unmeasured", {"names": stain["unmeasured"], "per": by}))
    if set(dataset.split_names()) - {split}:
        remarks.append(Remark("splits-dropped", {"split": split}))
    if dataset.array_names():
        remarks.append(Remark("arrays-dropped"))
    return Normalised(writer.dataset, stain, tuple(remarks))


def _check(dataset: Dataset, method: str) -> None:
    if dataset.channels != 3:
        raise InputError(f"{dataset.path} holds grey images; stains need RGB.")
    if dataset.is_synthetic:
        raise InputError(f"{dataset.path} is synthetic; normalise the real Dataset that its generator saw.")
    if "stain" in dataset.manifest.extra and method != "none":
        raise InputError(f"{dataset.path} is normalised already; give the Dataset that it was made from.")


def _keys(dataset: Dataset, per: str) -> tuple[NDArray[np.object_] | None, str]:
    """The source of each row's stain, None for each tile by itself; and what the source is."""
    for name in {"auto": ("slide", "group"), "tile": ()}.get(per, (per,)):
        if name in dataset.table.columns and dataset.table[name].notna().all():
            return dataset.table[name].astype(str).to_numpy(object), name
    if per in ("auto", "tile"):
        return None, "tile"
    raise InputError(f"{dataset.path} does not state the {per} of every tile; choose another --per.")


def _measure(
    dataset: Dataset, frozen: Split, keys: NDArray[np.object_] | None, by: str, options: StainOptions
) -> tuple[Change, dict[str, Any]]:
    """Measure every source; the target is the median of those of the train part.

    Returns:
        What is to be done to a tile, by its row, and the facts for dataset.json.
    """
    method, perturb, seed = options.method, options.perturb, options.seed
    train = frozen.rows("train")
    if keys is None:
        sources = {str(row): np.array([row]) for row in _some(train, 5 * _TILES, seed)}
        of_train = set(sources)
    else:
        of_train = set(keys[train])
        needed = of_train if method == "none" else set(keys)
        sources = {key: np.flatnonzero(keys == key) for key in sorted(needed)}
    how: Method = "reinhard" if method == "reinhard" else "macenko"
    fits = _fits(dataset, sources, how, seed)
    # A source may have tiles in other parts too: these must not influence the target.
    ours = {key: rows[np.isin(rows, train)] for key, rows in sources.items() if key in of_train}
    split_up = {key: rows for key, rows in ours.items() if len(rows) < len(sources[key])}
    of_its_train = {key: fits[key] for key in ours if key in fits and key not in split_up}
    of_its_train |= _fits(dataset, split_up, how, seed)
    target = _middle(dataset, of_its_train)
    colours = target
    if perturb and how != "macenko":
        colours = _middle(dataset, _fits(dataset, ours, "macenko", seed))
    facts: dict[str, Any] = {
        "method": method, "per": by, "fitted_on": "train", "sources_fitted": len(of_its_train),
        "target": dataclasses.asdict(target),
    }  # fmt: skip
    if keys is not None:
        facts["unmeasured"] = sorted(set(sources) - set(fits))
        kept = len(fits) if by == "slide" else min(_NAMED, len(fits))
        facts["sources"] = {key: dataclasses.asdict(one) for key, one in list(fits.items())[:kept]}
        facts["sources_left_out"] = len(fits) - kept
    varied = np.isin(np.arange(len(dataset)), train) & (perturb > 0)

    def change(image: NDArray[np.uint8], row: int) -> NDArray[np.uint8]:
        source = None if keys is None else fits.get(keys[row])
        if method != "none" and (keys is None or source is not None):
            image = restain(image, source, target)
        if varied[row] and isinstance(colours, Macenko):
            rng = np.random.default_rng([seed, row, 0xA06])
            image = augment(image, colours, rng, perturb)
        return image

    return change, facts


def _fits(
    dataset: Dataset, sources: Mapping[str, NDArray[np.int64]], method: Method, seed: int
) -> dict[str, Fit]:
    """The stains of each source that has enough tissue."""
    fits: dict[str, Fit] = {}
    with progress("stains", len(sources), "sources") as bar:
        for key, rows in sources.items():
            with contextlib.suppress(Unmeasurable):
                fits[key] = fit(_pixels(dataset, _some(rows, _TILES, seed), seed), method)
            bar.advance(1)
    return fits


def _middle(dataset: Dataset, fits: Mapping[str, Fit]) -> Fit:
    if not fits:
        raise InputError(f"The train part of {dataset.path} has no tile with stained tissue to measure.")
    return average([fits[key] for key in sorted(fits)])


def _pixels(dataset: Dataset, rows: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """Some pixels of each tile, or all of a single one, N×3."""
    rng = np.random.default_rng([seed, int(rows[0]), 0x57A1])
    pixels = []
    for start in range(0, len(rows), 16):
        images = dataset.pixels.read(rows[start : start + 16])
        flat = images.reshape(len(images), -1, 3)
        if len(rows) > 1 and flat.shape[1] > _PIXELS:
            flat = flat[:, rng.choice(flat.shape[1], _PIXELS, replace=False)]
        pixels.append(flat.reshape(-1, 3))
    return np.concatenate(pixels)


def _some(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the rows, at random, in order."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng([seed, int(rows[0]), len(rows)])
    return np.sort(rng.choice(rows, most, replace=False))


def _write_tiles(writer: DatasetWriter, dataset: Dataset, change: Change) -> None:
    """Change all tiles and write them with their rows."""
    table = read_parquet(dataset.path / "samples.parquet").drop_columns(["sha256"])
    writer.types = {field.name: field.type for field in table.schema if field.name not in CORE_COLUMNS}
    step = max(1, min(256, _BATCH_BYTES // (3 * dataset.size**2)))
    with progress("normalise", len(dataset), done=writer.skip) as bar:
        for start in range(writer.skip, len(dataset), step):
            rows = np.arange(start, min(start + step, len(dataset)))
            images = dataset.pixels.read(rows)
            changed = np.stack([change(image, row) for image, row in zip(images, rows.tolist())])
            writer.add(changed, table.slice(start, len(rows)).to_pylist())
            bar.advance(len(rows))


@dataclasses.dataclass(frozen=True)
class Restain:
    """What is done to tiles before they are scored.

    Attributes:
        source: the slide's stains; None measures each tile by itself.
        target: the stains they shall have.
        about: the method, and where the slide's stains are from.
    """

    source: Fit | None
    target: Fit
    about: str

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles N×H×W×3 uint8 with the other stain; those that cannot be measured stay as they are."""
        return np.stack([restain(tile, self.source, self.target) for tile in tiles])


def restain_like(facts: Mapping[str, Any], slide: Slide, plan: Plan) -> Restain | None:
    """How to give a slide's tiles the stain of a Dataset; None if that left the stain unchanged.

    A slide of the Dataset keeps the stains that were measured then; another is measured on its tiles, as it
    would have been.

    Args:
        facts: `extra.stain` of the Dataset.
        slide: the open slide.
        plan: its tiles.

    Raises:
        InputError: the slide has too little stained tissue to measure, or the facts are incomplete.
    """
    if facts.get("method") not in ("macenko", "reinhard"):
        return None
    method = cast("Method", facts["method"])
    try:
        target = _fit_of(method, facts["target"])
        known = facts.get("sources", {}).get(slide.name) if facts.get("per") == "slide" else None
        source = _fit_of(method, known) if known else None
    except (KeyError, TypeError):
        raise InputError(
            "The Dataset's dataset.json does not state which stain its tiles have; make it again."
        ) from None
    about = f"{method}, each tile by itself"
    if source is not None:
        about = f"{method}, as measured of the Dataset's slide {slide.name}"
    elif facts.get("per") != "tile":
        source, about = _measured(method, slide, plan), f"{method}, measured on this slide"
    return Restain(source, target, about)


def _fit_of(method: Method, facts: Mapping[str, Any]) -> Fit:
    kind = Macenko if method == "macenko" else Reinhard
    return kind(**{field.name: tuple(facts[field.name]) for field in dataclasses.fields(kind)})


def _measured(method: Method, slide: Slide, plan: Plan) -> Fit:
    rng = np.random.default_rng([0, 0x57A1])
    pixels = [np.empty((0, 3), np.uint8)]
    for i in np.sort(rng.permutation(len(plan))[:_TILES]):
        try:
            flat = plan.grid.read(slide, int(plan.rows[i]), int(plan.columns[i])).reshape(-1, 3)
        except UnreadableRegion:
            continue
        pixels.append(flat[rng.choice(len(flat), min(_PIXELS, len(flat)), replace=False)])
    try:
        return fit(np.concatenate(pixels), method)
    except Unmeasurable as error:
        raise InputError(
            f"The stain of {slide.path} cannot be measured ({error}), and the Run was trained on normalised "
            "tiles; give --no-stain to score its tiles unchanged."
        ) from None
