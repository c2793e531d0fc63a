"""The steps of a curation that need pixels and columns alone; each tells which rows stay, and why.

A step is a pure function of a Dataset and of the rows that earlier steps left. Thresholds follow the corpus:
median − 3.5 robust standard deviations (1.4826 · the median absolute deviation), but within fixed limits, so
that no ordinary image is dropped from a uniform corpus, and no faulty one stays in a mixed one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets import bands, image_measures
from plenish.datasets.crops import crop_clusters
from plenish.datasets.dataset import Dataset
from plenish.datasets.expressions import Columns, parse
from plenish.datasets.pixels import chunks
from plenish.errors import InputError, unknown
from plenish.progress import progress

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

DEVIATIONS = 3.5
"""Robust standard deviations from the median (Iglewicz and Hoaglin 1993)."""
_BATCH_BYTES = 8 * 2**20


@dataclasses.dataclass(frozen=True)
class Found:
    """What a step found of R rows.

    Attributes:
        keep: which stay, R.
        values: what decided of each, R: a number, a word, or the id of the image that stays in its place.
        parameters: what the step used: thresholds, tolerances, counts.
        distance: R, how far each is from being dropped, 0 and more, smallest first in the gallery of what
            stayed; None where nothing is nearer than another.
        kept_in_place: R row numbers of the image that stays in place of a dropped one; None without such.
        clusters: R numbers of clusters that belong together; None where the step knows of none.
    """

    keep: Mask
    values: NDArray[Any]
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    distance: NDArray[np.float64] | None = None
    kept_in_place: Ints | None = None
    clusters: Ints | None = None


class Corpus:
    """A Dataset under curation; measures and columns are made once for all steps.

    Attributes:
        dataset: the Dataset.
        seed: of what is drawn or trained.
        keep_clusters: whether near-duplicates stay, to be kept in one part.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, *, keep_clusters: bool = False) -> None:
        self.dataset, self.seed, self.keep_clusters = dataset, seed, keep_clusters
        self.columns = Columns(dataset.path / "samples.parquet")
        self._measures: NDArray[np.float32] | None = None
        self._is_recorded = False

    def record_read(self) -> None:
        """Record, once, that images of all parts of the splits there are were looked at."""
        if self.dataset.split_names() and not self._is_recorded:
            self.dataset.record_read("curate")
            self._is_recorded = True

    def measures(self, rows: Ints) -> NDArray[np.float32]:
        """The measures of images (see `image_measures`), R×5."""
        if self._measures is None:
            shape = (len(self.dataset), len(image_measures.NAMES))
            self._measures = np.full(shape, np.inf, np.float32)
        missing = rows[np.isinf(self._measures[rows, 0])]
        if len(missing):
            for piece, images in self.read(missing, "measures"):
                self._measures[piece] = image_measures.measure(images)
        return self._measures[rows]

    def read(self, rows: Ints, what: str) -> Any:
        """Row numbers and images, piece by piece, with a progress bar."""
        size = self.dataset.size**2 * self.dataset.channels
        with progress(what, len(rows)) as bar:
            for piece in chunks(len(rows), max(1, _BATCH_BYTES // size)):
                yield rows[piece], self.dataset.pixels.read(rows[piece])
                bar.advance(len(piece))

    def numbers(self, step: str, *names: str) -> list[NDArray[np.float64]]:
        """Columns of numbers, of all rows; InputError where there are none."""
        missing = [name for name in names if name not in self.columns.schema.names]
        if missing:
            raise InputError(
                f"--drop {step} needs {' and '.join(f'the column {name}' for name in missing)} of the "
                "original images, which this Dataset lacks; leave the step out."
            )
        return [np.asarray(self.columns[name].to_numpy(zero_copy_only=False), np.float64) for name in names]


Step = Callable[[Corpus, Ints, str], Found]
"""Corpus, rows that are left, the parameter as it was typed ('' without one) → what was found of them."""


def where(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Keep the rows that meet a condition (see `expressions`)."""
    met = parse(parameter)(corpus.columns)[rows]
    return Found(met, np.where(met, "meets it", "does not meet it"), {"condition": parameter})


def not_where(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop the rows that meet a condition."""
    if not parameter:
        raise InputError("--drop where needs a condition, as in --drop 'where:width < 64'.")
    met = parse(parameter)(corpus.columns)[rows]
    return Found(~met, np.where(met, "meets it", "does not meet it"), {"condition": parameter})


def number_of(step: str, parameter: str, low: float, high: float) -> float | None:
    """A parameter that is a number within bounds, None where it was not given; InputError otherwise."""
    if not parameter:
        return None
    try:
        value = float(parameter)
    except ValueError:
        value = np.nan
    if not low <= value <= high:
        raise InputError(f"--drop {step}:{parameter}: a number from {low:g} to {high:g} belongs there.")
    return value


def fence(values: NDArray[np.floating], low: float, high: float, *, upper: bool = False) -> float:
    """The threshold of a corpus: median ∓ `DEVIATIONS` robust standard deviations, within [low, high].

    Args:
        values: of all rows; NaN is left out.
        low: never drop what is on the good side of this.
        high: the same at the other end.
        upper: whether large values are dropped, not small ones.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return low
    middle = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - middle)))
    return float(np.clip(middle + (DEVIATIONS if upper else -DEVIATIONS) * spread, low, high))


@dataclasses.dataclass(frozen=True)
class _Below:
    """A step that drops images with a small measure.

    Attributes:
        name: of the step.
        measure: one of `image_measures.NAMES`.
        low: smallest threshold a corpus may give itself; below it an image is faulty in any.
        high: largest one.
    """

    name: str
    measure: str
    low: float
    high: float

    def __call__(self, corpus: Corpus, rows: Ints, parameter: str) -> Found:
        values = corpus.measures(rows)[:, image_measures.NAMES.index(self.measure)].astype(np.float64)
        given = number_of(self.name, parameter, 0, 1)
        threshold = fence(values, self.low, self.high) if given is None else given
        keep = ~(values < threshold)  # NaN stays: of a flat image sharpness is not known.
        about = {"measure": self.measure, "below": threshold}
        return Found(keep, values, about, distance=values - threshold)


def band(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop images with uniform bands: horizontal, vertical, frame, blank or any, then a tolerance."""
    kind, _, typed = parameter.partition(":")
    known = ("any", *(kind for kind in bands.KINDS if kind != "none"))
    if kind not in known:
        raise unknown("kind of bands in --drop bands", kind, known)
    given = number_of(f"bands:{kind}", typed, 0, 255)
    tolerance = bands.TOLERANCE if given is None else int(given)
    side, found, widths = corpus.dataset.size, [], []
    for _, images in corpus.read(rows, "bands"):
        wide = bands.bands(images, tolerance)
        found.append(bands.kinds(wide, side))
        widths.append(wide)
    of, wide = np.concatenate(found), np.concatenate(widths)
    keep = of == "none" if kind == "any" else of != kind
    values = np.array([f"{one} {'/'.join(map(str, w))}" for one, w in zip(of, wide.tolist())], object)
    nearest = np.where(of == "none", np.inf, 1.0)  # Bands of another kind come first.
    return Found(keep, values, {"kind": kind, "tolerance": tolerance}, distance=nearest)


def wrong_mode(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop grey images from a colour corpus, or coloured ones from a grey corpus; or those named."""
    if parameter not in ("", "grey", "colour"):
        raise unknown("mode in --drop wrong-mode", parameter, ("grey", "colour"))
    values = corpus.measures(rows)[:, image_measures.NAMES.index("colour")].astype(np.float64)
    grey = values <= GREY_SPREAD
    drop = parameter or ("grey" if grey.mean() < 0.5 else "colour")
    return Found(
        ~grey if drop == "grey" else grey, values, {"dropped": drop, "colour_above": GREY_SPREAD},
        distance=np.abs(values - GREY_SPREAD),
    )  # fmt: skip


GREY_SPREAD = 8 / 255
"""Difference of a pixel's channels up to which it is grey; JPEG of grey images stays within."""


def odd_size(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop images whose original is many times smaller or larger than is usual in the corpus."""
    width, height = corpus.numbers("odd-size", "width", "height")
    size = np.log(np.maximum(np.sqrt(width * height), 1))[rows]
    away = np.abs(size - np.nanmedian(size))
    given = number_of("odd-size", parameter, 1, 1e6)
    most = fence(away, np.log(4), np.log(64), upper=True) if given is None else np.log(given)
    values = np.exp(away)
    about = {"times_the_median_above": float(np.exp(most)), "median_side": float(np.exp(np.nanmedian(size)))}
    return Found(~(away > most), values, about, distance=most - away)


def odd_aspect(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Drop images whose original is much longer than it is wide, or the reverse."""
    width, height = corpus.numbers("odd-aspect", "width", "height")
    ratio = np.abs(np.log(np.maximum(width, 1) / np.maximum(height, 1)))[rows]
    given = number_of("odd-aspect", parameter, 1, 1e6)
    most = fence(ratio, np.log(2.5), np.log(20), upper=True) if given is None else np.log(given)
    values = np.exp(ratio)
    return Found(~(ratio > most), values, {"ratio_above": float(np.exp(most))}, distance=most - ratio)


def duplicates(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Keep one image of each set with the same pixels."""
    refuse_parameter("duplicates", parameter)
    hashes = corpus.columns["sha256"].dictionary_encode().indices.to_numpy()
    return one_of_each(corpus, rows, np.asarray(hashes, np.int64)[rows], {})


def near_duplicates(corpus: Corpus, rows: Ints, parameter: str) -> Found:
    """Keep one image of each picture; with `keep_clusters` all, known as clusters."""
    refuse_parameter("near-duplicates", parameter)
    clusters = crop_clusters(corpus.dataset, rows)
    found = one_of_each(corpus, rows, clusters, {"keep_clusters": corpus.keep_clusters})
    counts = np.bincount(clusters)
    about = {**found.parameters, "clusters": int((counts > 1).sum()), "images": int(counts[counts > 1].sum())}
    if corpus.keep_clusters:
        return Found(np.ones(len(rows), bool), clusters.astype(object), about, clusters=clusters)
    return dataclasses.replace(found, parameters=about)


def refuse_parameter(step: str, parameter: str) -> None:
    """InputError where a step that takes no parameter was given one."""
    if parameter:
        raise InputError(f"--drop {step} takes nothing behind it, not ':{parameter}'.")


def one_of_each(corpus: Corpus, rows: Ints, of: Ints, parameters: Mapping[str, Any]) -> Found:
    """Keep the largest original of each set, where columns width and height tell, else the first.

    Args:
        corpus: the corpus.
        rows: R row numbers, ascending.
        of: R numbers of sets.
        parameters: of the step.
    """
    area = np.zeros(len(rows))
    if {"width", "height"} <= {*corpus.columns.schema.names}:
        width, height = corpus.numbers("near-duplicates", "width", "height")
        area = np.nan_to_num(width * height)[rows]
    order = np.lexsort((np.arange(len(rows)), -area, of))
    first = np.concatenate([[True], np.diff(of[order]) != 0])
    best = np.empty(len(rows), np.int64)
    best[order] = order[np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))]
    keep = best == np.arange(len(rows))
    ids = np.asarray(corpus.columns["id"].to_numpy(zero_copy_only=False))
    return Found(keep, ids[rows[best]].astype(object), parameters, kept_in_place=rows[best])


STEPS: dict[str, Step] = {
    "where": not_where,
    "bands": band,
    "duplicates": duplicates,
    "near-duplicates": near_duplicates,
    "blurry": _Below("blurry", "sharpness", 0.15, 0.42),
    "dark": _Below("dark", "light", 0.05, 0.35),
    "bright": _Below("bright", "darkness", 0.02, 0.2),
    "low-contrast": _Below("low-contrast", "contrast", 0.02, 0.2),
    "wrong-mode": wrong_mode,
    "odd-size": odd_size,
    "odd-aspect": odd_aspect,
}
"""The steps that `--drop` knows here, by name; `plenish.metrics.curation` has those that need a network."""
