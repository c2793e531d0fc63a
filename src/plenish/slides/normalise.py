"""`plenish slides normalise`: a tile Dataset whose slides all have the stain of its train part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.wording import agree

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset, Split
    from plenish.slides.stain import Fit, Method

_TILES = 200
"""Tiles a source is measured on at most."""
_PIXELS = 2_000
"""Pixels of each of them."""
_BATCH_BYTES = 8 * 2**20
_NAMED = 1_000
"""Groups whose stains are kept at most; those of slides are all kept, for `slides heatmap`."""
_OF_ANOTHER = ("rejected", "warnings", "slides", "rows_without_slide", "slides_without_row", "import")
"""Facts of how a Dataset was made, which are not true of one made from it."""


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
    remarks: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The Dataset's facts and the fit; JSON-able."""
        shown = {key: value for key, value in self.stain.items() if key != "sources"}
        return self.dataset.summary() | {"stain": shown, "remarks": list(self.remarks)}


def normalise_stain(
    data: Path,
    out: Path,
    method: Literal["macenko", "reinhard", "none"] = "macenko",
    split: str = "default",
    per: Literal["auto", "slide", "group", "tile"] = "auto",
    perturb: float = 0.0,
    seed: int = 0,
) -> Normalised:
    """Make a Dataset whose tiles all have one stain, that of the train part, or vary it.

    Each slide's stain is measured on its own tiles and exchanged for the middle of those of the train
    part's slides; no other part has a say in the target. Only the split it was fitted for goes into the new
    Dataset. With --perturb, the strength of either stain is varied at random in train tiles alone. Killed
    and started again, it goes on.

    Args:
        data: The Dataset; its images are RGB.
        out: The Dataset's folder to make; must not exist.
        method: macenko exchanges the two stains' colours and strengths, reinhard matches mean and spread of
            colours, none leaves them (for --perturb alone).
        split: The split whose train part gives the target.
        per: What has a stain of its own: a slide (the column slide), a group, or each tile; auto takes the
            first of them that the Dataset has.
        perturb: Vary the concentrations in train tiles by up to this share, 0 to 1.
        seed: Of the perturbation, and of the pixels that are measured.

    Returns:
        The Dataset and the fit.

    Raises:
        InputError: the Dataset, its split or an option cannot be used, or the train part has no tissue.
    """
    from plenish.datasets.dataset import Dataset
    from plenish.datasets.writer import DatasetWriter

    dataset = Dataset.open(data)
    _check(dataset, method, perturb, seed)
    frozen = dataset.split(split)
    keys, by = _keys(dataset, per)
    config = {
        "verb": "slides normalise", "method": method, "per": by, "perturb": perturb, "seed": seed,
        "data": dataset.provenance(split),
    }  # fmt: skip
    about = dataset.manifest
    extra = {key: value for key, value in about.extra.items() if key not in _OF_ANOTHER}
    writer = DatasetWriter(
        Path(out), name=about.name, size=about.size, channels=3, labels=about.labels, config=config,
        licence=about.licence, source=about.source, intended_use=about.intended_use, extra=extra,
    )  # fmt: skip
    with writer:
        if "test" in set(frozen.part_of):
            dataset.part("test", split, purpose="export")  # Its reading is counted.
        change = _measure(dataset, frozen, keys, by, method, perturb, seed)
        change.facts.update(split=split, split_hash=frozen.hash, perturb=perturb, seed=seed)
        stain = change.facts
        writer.extra["stain"] = stain
        writer.splits = {split: frozen.part_of.tolist()}
        writer.split_manifest = {
            key: value for key, value in frozen.manifest.items() if key not in ("hash", "counts")
        } | {"copied_from": frozen.hash}
        _fill(writer, dataset, frozen, change, perturb, seed)
    return Normalised(writer.dataset, stain, _remarks(dataset, change))


@dataclasses.dataclass(frozen=True)
class _Change:
    """What is to be done to every tile.

    Attributes:
        keys: of each row, the source whose stain it has.
        fits: stains by source; for single tiles they are measured when they are read.
        target: the stain that all shall have; None leaves them.
        colours: the two stains that are varied in train tiles; None varies nothing.
        method: how stains are measured.
        facts: for dataset.json.
    """

    keys: NDArray[np.object_] | None
    fits: Mapping[str, Fit]
    target: Fit | None
    colours: Fit | None
    method: Method
    facts: dict[str, Any]

    def apply(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Exchange the stains of tiles (N×H×W×3); those whose stain was not to be measured stay."""
        from plenish.slides.stain import Unmeasurable, fit, normalise

        if self.target is None:
            return images
        done = images.copy()
        for i, row in enumerate(rows.tolist()):
            try:
                source = fit(images[i], self.method) if self.keys is None else self.fits.get(self.keys[row])
            except Unmeasurable:
                continue
            if source is not None:
                done[i] = normalise(images[i], source, self.target)
        return done


def _check(dataset: Dataset, method: str, perturb: float, seed: int) -> None:
    if dataset.channels != 3:
        raise InputError(f"{dataset.path} holds grey images; stains need RGB.")
    if dataset.is_synthetic:
        raise InputError(f"{dataset.path} is synthetic; normalise the real Dataset that its generator saw.")
    if "stain" in dataset.manifest.extra and method != "none":
        raise InputError(f"{dataset.path} is normalised already; give the Dataset that it was made from.")
    if not 0 <= perturb <= 1:
        raise InputError(f"--perturb must lie in 0 to 1, not {perturb:g}.")
    if method == "none" and perturb == 0:
        raise InputError("Nothing would change; give a --method, or --perturb.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, not {seed}.")


def _keys(dataset: Dataset, per: str) -> tuple[NDArray[np.object_] | None, str]:
    """What each row's stain belongs to, None for each tile by itself; and the word for it."""
    if per == "tile":
        return None, "tile"
    for name in ("slide", "group") if per == "auto" else (per,):
        if name in dataset.table.columns and dataset.table[name].notna().all():
            return dataset.table[name].astype(str).to_numpy(object), name
    if per == "auto":
        return None, "tile"
    raise InputError(f"{dataset.path} does not say the {per} of every tile; choose another --per.")


def _measure(
    dataset: Dataset, frozen: Split, keys: NDArray[np.object_] | None, by: str, method: str, perturb: float,
    seed: int,
) -> _Change:  # fmt: skip
    """Measure every source; the target is in the middle of those of the train part."""
    train = frozen.rows("train")
    if keys is None:
        sources = {str(row): np.array([row]) for row in _some(train, 5 * _TILES, seed)}
        of_train = set(sources)
    else:
        of_train = set(keys[train])
        needed = of_train if method == "none" else set(keys)
        sources = {key: np.flatnonzero(keys == key) for key in sorted(needed)}
    how: Method = "reinhard" if method == "reinhard" else "macenko"
    fits = _fits(dataset, sources, how, by, seed)
    # A source may have tiles in other parts too: these have no say in the target.
    ours = {key: rows[np.isin(rows, train)] for key, rows in sources.items() if key in of_train}
    split_up = {key: rows for key, rows in ours.items() if len(rows) < len(sources[key])}
    of_its_train = {key: fits[key] for key in ours if key in fits and key not in split_up}
    of_its_train |= _fits(dataset, split_up, how, by, seed)
    target = _middle(dataset, of_its_train)
    colours: Fit | None = target if perturb else None
    if perturb and how != "macenko":
        colours = _middle(dataset, _fits(dataset, ours, "macenko", by, seed))
    facts: dict[str, Any] = {
        "method": method, "per": by, "fitted_on": "train", "sources_fitted": len(of_its_train),
        "target": dataclasses.asdict(target),
    }  # fmt: skip
    if keys is not None:
        facts["unmeasured"] = sorted(set(sources) - set(fits))
        kept = len(fits) if by == "slide" else min(_NAMED, len(fits))
        facts["sources"] = {key: dataclasses.asdict(one) for key, one in list(fits.items())[:kept]}
        facts["sources_left_out"] = len(fits) - kept
    return _Change(keys, fits, None if method == "none" else target, colours, how, facts)


def _fits(
    dataset: Dataset, sources: Mapping[str, NDArray[np.int64]], method: Method, by: str, seed: int
) -> dict[str, Fit]:
    """The stains of each source's rows, of those that have enough tissue."""
    from plenish.progress import progress

    fits: dict[str, Fit] = {}
    with progress("stains", len(sources), f"{by}s") as bar:
        for key, rows in sources.items():
            found = _fit_rows(dataset, _some(rows, _TILES, seed), method, seed)
            if found is not None:
                fits[key] = found
            bar.advance(1)
    return fits


def _middle(dataset: Dataset, fits: Mapping[str, Fit]) -> Fit:
    from plenish.slides.stain import average

    if not fits:
        raise InputError(f"The train part of {dataset.path} has no tile with stained tissue to measure.")
    return average([fits[key] for key in sorted(fits)])


def _fit_rows(dataset: Dataset, rows: NDArray[np.int64], method: Method, seed: int) -> Fit | None:
    from plenish.slides.stain import Unmeasurable, fit

    rng = np.random.default_rng([seed, int(rows[0]), 0x57A1])
    pixels = []
    for start in range(0, len(rows), 16):
        images = dataset.pixels.read(rows[start : start + 16])
        flat = images.reshape(len(images), -1, 3)
        if len(rows) > 1 and flat.shape[1] > _PIXELS:
            flat = flat[:, rng.choice(flat.shape[1], _PIXELS, replace=False)]
        pixels.append(flat.reshape(-1, 3))
    try:
        return fit(np.concatenate(pixels), method)
    except Unmeasurable:
        return None


def _some(rows: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of the rows, at random, in order."""
    if len(rows) <= most:
        return rows
    rng = np.random.default_rng([seed, int(rows[0]), len(rows)])
    return np.sort(rng.choice(rows, most, replace=False))


def _fill(writer: Any, dataset: Dataset, frozen: Split, change: _Change, perturb: float, seed: int) -> None:
    """Change all tiles and write them with their rows."""
    import pyarrow.parquet as pq

    from plenish.datasets.writer import CORE_COLUMNS
    from plenish.progress import progress
    from plenish.slides.stain import Macenko, augment

    table = pq.read_table(dataset.path / "samples.parquet").drop_columns(["sha256"])
    writer.types = {field.name: field.type for field in table.schema if field.name not in CORE_COLUMNS}
    varied = np.isin(np.arange(len(dataset)), frozen.rows("train"))
    step = max(1, min(256, _BATCH_BYTES // (3 * dataset.size**2)))
    with progress("normalise", len(dataset), done=writer.skip) as bar:
        for start in range(writer.skip, len(dataset), step):
            rows = np.arange(start, min(start + step, len(dataset)))
            images = change.apply(dataset.pixels.read(rows), rows)
            if isinstance(change.colours, Macenko):
                for i in np.flatnonzero(varied[rows]).tolist():
                    rng = np.random.default_rng([seed, start + i, 0xA06])
                    images[i] = augment(images[i][None], change.colours, rng, perturb)[0]
            writer.add(images, table.slice(start, len(rows)).to_pylist())
            bar.advance(len(rows))


def _remarks(dataset: Dataset, change: _Change) -> tuple[str, ...]:
    remarks = []
    left = [key for key in change.facts.get("unmeasured", ()) if change.target is not None]
    if left:
        named = ", ".join(left[:5]) + (" …" if len(left) > 5 else "")
        remarks.append(
            f"{agree(len(left), change.facts['per'], 'has', 'have')} too little stained tissue to measure "
            f"and {'was' if len(left) == 1 else 'were'} left as it is: {named}."
        )
    others = [name for name in dataset.split_names() if name != change.facts["split"]]
    if others:
        remarks.append(
            f"Of the splits only '{change.facts['split']}' was taken over, because the stain was fitted on "
            "its train part."
        )
    if dataset.array_names():
        remarks.append("Arrays were not taken over: they describe the pixels as they were.")
    return tuple(remarks)


__all__ = ["Normalised", "normalise_stain"]
