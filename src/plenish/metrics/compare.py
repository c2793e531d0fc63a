"""What `plenish score` computes: the scores of one Dataset against another, and the search for copies.

The baseline is what training images score against the test part, at as many images as are synthetic. Where
there are more synthetic than training images it takes all of the latter, and `comparable` has the scores of
equally many synthetic ones: the pair to compare, because a Fréchet distance falls with the number of images.
`excess` is how far the synthetic images lie above the baseline at that number, with an interval of this
difference on the same resampled groups of test.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files, invocation
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics import copies, fidelity, leakage
from plenish.metrics.caveats import FEW_GROUPS, Caveat, about_groups
from plenish.metrics.extractor import Extractor
from plenish.metrics.features import domain_extractor, get_extractor, keep_features, kept_features
from plenish.metrics.likeness import labels_of, told_apart
from plenish.metrics.origin import check_pair
from plenish.metrics.panel import PAIRS, pairs_panel
from plenish.metrics.quality import NEAR_LEAST, Quality, QualityScorer, from_record, kimg_of
from plenish.metrics.result_files import real_record, synthetic_record, write_result
from plenish.metrics.score import ScoreConfig, ScoreResult
from plenish.metrics.words import FEW_HELD
from plenish.progress import progress
from plenish.runs import versions

_DIFFERENT_SHARES = 0.1  # a class's share of the synthetic images against its share of the test images


class NoSearch(InputError):
    """The images are too few, or all in train, for a search for copies."""


@dataclasses.dataclass(frozen=True)
class Side(copies.Views):
    """Images of one side of a comparison, with their thumbnails and features."""

    images: Subset

    @property
    def kind(self) -> str:
        """`synthetic`, or `other real` of images in their place."""
        return "synthetic" if self.images.dataset.is_synthetic else "other real"

    @classmethod
    def of(cls, images: Subset, extractor: Extractor) -> Side:
        """Read every image once."""
        pixels, found = [], []
        kept = kept_features(images, extractor)
        with progress(f"features of {images.dataset.name}, {images.part}", len(images)) as bar:
            for batch in images.batches(256):
                pixels.append(copies.thumbnails(batch))
                if kept is None:
                    found.append(extractor(batch))
                bar.advance(len(batch))
        features = keep_features(images, extractor, np.concatenate(found)) if kept is None else kept
        return cls(np.concatenate(pixels), features, images)


def compare_datasets(real: Path, synthetic: Path, out: Path, config: ScoreConfig) -> ScoreResult:
    """Score synthetic images against the test part, and search them for copies of the train part.

    Writes score.json, copies.png and told_apart.png. The reading of the test part is counted; the search
    for copies is calibrated on val.

    Args:
        real: the real Dataset, with a split.
        synthetic: the synthetic Dataset, or a real one as a baseline.
        out: folder to write; must not exist.
        config: how to compare.

    Raises:
        InputError: the two do not fit each other, the generator was trained on anything but this train
            part, there are too few images, or OUT exists; a `NoSearch` where copies cannot be searched for.
    """
    start = time.monotonic()
    originals, made = Dataset.open(real), Dataset.open(synthetic)
    known = check_pair(originals, made, config.split)
    asked = {
        "verb": "score", "real": originals.provenance(config.split), "synthetic": made.provenance(),
        **dataclasses.asdict(config), "weights": str(config.weights) if config.weights else None,
    }  # fmt: skip
    with files.atomic_dir(out, asked) as folder:
        content, panels = _compute(originals, made, config, known)
        for name, panel in panels.items():
            files.write_bytes(folder / name, panel)
        seconds = round(time.monotonic() - start, 1)
        content = write_result(folder, "score", content | {"seconds": seconds})
    return ScoreResult(out, content)


def _compute(
    real: Dataset, synthetic: Dataset, config: ScoreConfig, known: Sequence[Caveat]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What score.json holds, and its pictures by name."""
    extractor = get_extractor(config.features, real, config.split, weights=config.weights, seed=config.seed)
    train, test = (real.part(part, config.split, purpose="score") for part in ("train", "test"))
    rows = np.arange(len(synthetic), dtype=np.int64)
    everything = Subset(synthetic, rows, "train", "all", synthetic.manifest.pixels_hash)
    made, tested, trained = (Side.of(images, extractor) for images in (everything, test, train))
    scores, caveats = all_scores(made, tested, trained, extractor.name, config)
    has_val = True
    try:
        held = Side.of(real.part("val", config.split, purpose="score"), extractor)
    except InputError:  # a split without val images
        held, has_val = tested, False
        caveats.append(Caveat("calibrated-on-test"))
    if unknown := any(caveat.code == "unknown-origin" for caveat in known):
        caveats.append(Caveat("unknown-training-images", {"name": real.name}))
    found, copying, limits = _copies(made, held, trained, extractor, config)
    caveats += [*limits, *([] if real.reads_intact else [Caveat("reads-lost")])]
    sides = {"made": made, "train": trained, "test": tested, **({"val": held} if has_val else {})}
    sides = _in_domain_features(sides, config)
    quality = None
    if synthetic.is_synthetic and sides:
        quality, limits = _quality(sides["made"], sides["train"])
        caveats += limits
    pairs = {name: (side.images, side.features) for name, side in sides.items()}
    labels = (
        labels_of(pairs.pop("made"), pairs, resamples=config.resamples, seed=config.seed) if pairs else None
    )
    apart, panel = told_apart(
        (made.images, made.features), (trained.images, trained.features), (tested.images, tested.features),
        config.tell_apart, resamples=config.resamples, seed=config.seed,
    )  # fmt: skip
    content = {
        "command": invocation.record(), "real": real_record(train, test),
        "synthetic": synthetic_record(synthetic), "extractor": extractor.facts(), "seed": config.seed,
        "level": fidelity.LEVEL, "resamples": config.resamples, "scores": scores,
        "quality": None if quality is None else quality.record(), "labels": labels, "told_apart": apart,
        "copies": copying | {"unknown_origin": unknown},
        "test_reads": real.test_reads(config.split),
        "caveats": [dataclasses.asdict(caveat) for caveat in (*known, *caveats)], "versions": versions(),
    }  # fmt: skip
    closest = np.argsort(found.score, kind="stable")[:PAIRS]
    both = everything.images(closest), train.images(found.neighbour[closest])
    closest_pairs = pairs_panel(*both, found.score[closest], found.facts["threshold"], made.kind)
    return content, {"copies.png": closest_pairs, **({apart["panel"]: panel} if apart and panel else {})}


def _copies(
    made: Side, held: Side, train: Side, extractor: Extractor, config: ScoreConfig
) -> tuple[copies.Copies, dict[str, Any], list[Caveat]]:
    """The search for copies, what score.json says of it, and what limits it."""
    try:
        search = copies.Search(held, train, held.images.groups)
        found = search(made, baseline=not made.images.dataset.is_synthetic)
    except ValueError as error:
        real = train.images.dataset.path
        text = f"No search for copies on {real}: {error}; make the split again."
        raise NoSearch(text, code="no-search", value=str(error)) from None
    caveats = []
    if found.facts["n_twins"]:
        caveats.append(Caveat("held-out-twins", {"images": found.facts["n_twins"]}))
    if len(held) < FEW_HELD:
        caveats.append(Caveat("few-held-out", {"images": len(held)}))
    if (groups := found.facts["n_groups"]) < FEW_GROUPS:
        caveats.append(Caveat("few-held-out-groups", {"groups": groups}))
    how: dict[str, Any] = {"level": fidelity.LEVEL, "resamples": config.resamples, "seed": config.seed}
    leaks = leakage.record(made, held, train, held.images.groups, train.images.groups, **how)
    leaks["planted"] = leakage.planted(
        search, train.images, lambda images: copies.views_of(images, extractor), len(made), config.seed
    )
    return found, copies.result(found, made.images.ids, train.images.ids) | leaks, caveats


def _in_domain_features(sides: dict[str, Side], config: ScoreConfig) -> dict[str, Side]:
    """The sides with domain features; none where they cannot be had."""
    if config.features == "domain":
        return sides
    try:
        extractor = domain_extractor(sides["train"].images.dataset, config.split, seed=config.seed)
    except InputError:  # Too few training images.
        return {}
    return {name: Side.of(side.images, extractor) for name, side in sides.items()}


def _quality(made: Side, train: Side) -> tuple[Quality | None, list[Caveat]]:
    """How good the images are, in domain features, and what limits that.

    Within the classes where both sides have the same; of images made for one class, against that class.
    """
    synthetic, labels = made.images.dataset, train.images.dataset.labels
    classes = labels.kind == "categorical" and labels == synthetic.labels
    only = synthetic.manifest.config.get("label") if classes else None
    y, reference, caveats = made.images.y() if classes else None, np.ones(len(train), dtype=bool), []
    if only in labels.names:
        reference = train.images.codes == labels.code(only)
        caveats.append(Caveat("one-class", {"name": only}))
    scorer = QualityScorer(train.features[reference], train.images.y()[reference] if classes else None)
    generator = generator_of(synthetic.manifest.extra)
    quality = from_record(scorer(made.features, y), kimg_of(generator.get("checkpoint")))
    if quality is None:
        return None, []
    groups = scorer.groups(y)
    for code, found in (("classes-not-made", groups.absent), ("classes-together", groups.together)):
        caveats += [Caveat(code, {"classes": [labels.names[k] for k in found]})] if found else []
    if quality.is_too_few:
        caveats.append(Caveat("few-to-judge", {"images": quality.n, "least": NEAR_LEAST}))
    return quality, [*quality.caveats("copies"), *caveats]


def all_scores(
    made: Side, test: Side, train: Side, extractor: str, config: ScoreConfig
) -> tuple[list[dict[str, Any]], list[Caveat]]:
    """Scores overall and, where both sides have the same classes, of each class; and what limits them."""
    sides = (test, made, train)
    scopes = {"overall": [np.ones(len(side), dtype=bool) for side in sides]}
    groups, labels = test.images.groups, test.images.dataset.labels
    caveats = []
    if labels.kind == "categorical" and labels == made.images.dataset.labels:
        codes = [side.images.codes for side in sides]
        for k, label in enumerate(labels.names):
            scopes[f"class:{label}"] = [found == k for found in codes]
        test_shares, shares, _ = (np.bincount(found, minlength=labels.width) / len(found) for found in codes)
        if np.abs(test_shares - shares).max() > _DIFFERENT_SHARES:
            caveats.append(Caveat("class-shares", {"kind": made.kind}))
    rows, few = [], {}
    for scope, masks in scopes.items():
        real, other, baseline = (side.features[mask] for side, mask in zip(sides, masks))
        if not fidelity.enough_rows(len(real), len(other)):
            values = {"scope": scope, "real": len(real), "other": len(other), "kind": made.kind}
            caveats.append(Caveat("too-few-images", values))
            continue
        if fidelity.is_biased(len(real), len(other), real.shape[1]):
            few[scope] = min(len(real), len(other))
        against_test = functools.partial(
            fidelity.compare, real, groups=groups[masks[0]], extractor=extractor, seed=config.seed
        )
        of_others = None if made.images.dataset.is_synthetic else made.images.groups[masks[1]]
        of_train = None if of_others is None else train.images.groups[masks[2]]
        for row in _scores(against_test, (other, of_others), (baseline, of_train), config):
            rows.append({"name": row["name"], "scope": scope, **row})
    if few:
        features = test.features.shape[1]
        caveats.append(Caveat("fewer-images-than-features", {"scopes": few, "features": features}))
    units = len({group for group in groups if group is not None})
    return rows, caveats + about_groups(units, intervals=any(np.isfinite(row["low"]) for row in rows))


_Rows = tuple[NDArray[np.float32], NDArray[np.object_] | None]
"""Features with their groups, where rows are not independent."""


def _scores(
    against_test: Callable[..., list[fidelity.Score]], made: _Rows, train: _Rows, config: ScoreConfig
) -> list[dict[str, Any]]:
    """The scores of some images, with those of training images as their baseline.

    Synthetic images and the training images in their place are both taken as draws from what a generator
    makes: independent, although the training images are of some groups.
    """
    rng = np.random.default_rng([config.seed, 0xBA5E])
    drawn = rng.permutation(len(train[0]))[: len(made[0])]
    has_baseline = fidelity.enough_rows(len(train[0]), len(made[0]))
    baseline = (
        {"baseline": train[0][drawn], "baseline_groups": _some(train[1], drawn)} if has_baseline else {}
    )
    fewer = has_baseline and len(drawn) < len(made[0])
    found = against_test(
        made[0], synthetic_groups=made[1], resamples=config.resamples, **({} if fewer else baseline)
    )
    few = rng.permutation(len(made[0]))[: len(drawn)] if fewer else None
    fair = found
    if few is not None:  # Fewer images raise an FD, so the baseline is compared at its own number.
        fair = against_test(
            made[0][few], synthetic_groups=_some(made[1], few), resamples=config.resamples, **baseline
        )
    return [_row(row, same, len(drawn), fewer) for row, same in zip(found, fair)]


def _some(groups: NDArray[np.object_] | None, rows: NDArray[np.int64]) -> NDArray[np.object_] | None:
    return None if groups is None else groups[rows]


def _row(row: fidelity.Score, fair: fidelity.Score, n_baseline: int, fewer: bool) -> dict[str, Any]:
    """A row of score.json; `fair` is the score at the number of images of the baseline."""
    content = dataclasses.asdict(row)
    content.pop("baseline"), content.pop("excess")
    same = {"value": fair.value, "low": fair.low, "high": fair.high, "n_synthetic": fair.n_synthetic}
    return {
        **content, "real_baseline": fair.baseline, "n_baseline": n_baseline,
        "comparable": same if fewer else None,
        "excess": None if fair.excess is None else dataclasses.asdict(fair.excess),
    }  # fmt: skip
