"""`plenish score`: are synthetic images close to held-out real ones, and do they copy training images?

The baseline is what training images score against the test part, at as many images as are synthetic. Where
there are more synthetic than training images it takes all of the latter, and `comparable` holds the scores of
equally many synthetic ones: the pair to compare, because a Fréchet distance falls with the number of images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import files, invocation
from plenish.errors import InputError
from plenish.metrics.origin import check_pair
from plenish.metrics.validation import ValidationKID
from plenish.progress import progress
from plenish.wording import agree, plural, times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from plenish.datasets.dataset import Dataset, Subset
    from plenish.metrics.copies import Copies, Views
    from plenish.metrics.features import Extractor

    Sides = Mapping[str, tuple[Subset, NDArray[np.float32]]]

__all__ = ["ScoreResult", "ValidationKID", "score"]

LEVEL = 0.95
_FEW_GROUPS = 12


@dataclass(frozen=True)
class ScoreResult:
    """What `plenish score` found.

    Attributes:
        path: the folder written.
        content: score.json.
        report: its report, where one was written.
    """

    path: Path
    content: Mapping[str, Any]
    report: Path | None = None

    def summary(self) -> dict[str, Any]:
        """The table of scores, the sentence on copies and where the report lies."""

        def shown(row: Mapping[str, Any]) -> dict[str, str]:
            low, high, floor = row["low"], row["high"], row["real_baseline"]
            baseline, fair = "none" if floor is None else _number(floor), row.get("comparable")
            if fair:
                baseline += f" (these {_number(fair['value'])}, {row['n_baseline']} images each)"
            return {
                "scope": row["scope"],
                "score": row["name"],
                "value": _number(row["value"]),
                "95 % interval": "none" if low is None else f"{_number(low)} to {_number(high)}",
                "real vs real": baseline,
                "better": row["better"],
            }

        compared = {}
        if self.content["synthetic"]["origin"] == "real":
            compared = {"compared": "real images with real ones: a baseline, not a generator's scores"}
        return {
            **compared,
            "scores": [shown(row) for row in self.content["scores"]],
            "extractor": f"{self.content['extractor']['name']}: {self.content['extractor']['task']}",
            "copies": self.content["copies"]["sentence"],
            "test_part_read": f"{times(self.content['test_reads'])} so far",
            **({"warnings": list(self.content["warnings"])} if self.content["warnings"] else {}),
            "score": str(self.path),
            "report": str(self.report) if self.report else None,
        }


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def score(
    real: Path,
    synthetic: Path,
    out: Path,
    *,
    split: str = "default",
    features: Literal["domain", "inception", "dinov2"] = "domain",
    weights: Path | None = None,
    seed: int = 0,
    resamples: int = 200,
) -> ScoreResult:
    """Compare synthetic images with the real test part, and look for copies of the training part.

    Writes score.json and copies.png, and as a command report.html. The test part is the reference and its
    reading is counted; the search for copies compares with train, calibrated on val.

    Args:
        real: the real Dataset, with a split.
        synthetic: the synthetic Dataset; a real one is allowed, as a baseline.
        out: folder to write; must not exist.
        split: name of the split of the real Dataset.
        features: domain is a small network fitted on the real train part and needs no network connection;
            inception (FID) and dinov2 are pretrained and are downloaded on first use.
        weights: local weights file for inception or dinov2.
        seed: seed of the domain extractor, of resamples and of the baseline's draw.
        resamples: bootstrap resamples behind the intervals; 0 for none.

    Raises:
        InputError: the two do not fit each other, the generator was trained on anything but this train
            part, or OUT exists.
    """
    from plenish.datasets.dataset import Dataset

    start = time.monotonic()
    if resamples < 0:
        raise InputError(f"--resamples must not be negative, and {resamples} was given.")
    originals, made = Dataset.open(real), Dataset.open(synthetic)
    warnings = check_pair(originals, made, split)
    config = {
        "verb": "score", "real": originals.provenance(split), "synthetic": made.provenance(),
        "features": features, "weights": str(weights) if weights else None, "seed": seed,
        "resamples": resamples,
    }  # fmt: skip
    with files.atomic_dir(out, config) as folder:
        content, panel = _compute(originals, made, split, features, weights, seed, resamples, warnings)
        content["seconds"] = round(time.monotonic() - start, 1)
        files.write_bytes(folder / "copies.png", panel)
        files.write_json(folder / "score.json", content)
    return ScoreResult(out, files.read_json(out / "score.json"))


def _compute(
    real: Dataset, synthetic: Dataset, split: str, features: str, weights: Path | None, seed: int,
    resamples: int, warnings: list[str],
) -> tuple[dict[str, Any], bytes]:  # fmt: skip
    from plenish.metrics.copies import FEW_HELD, result, search
    from plenish.metrics.features import describe, get_extractor

    extractor = get_extractor(features, real, split, weights=weights, seed=seed)
    train = real.part("train", split, purpose="score")
    test = real.part("test", split, purpose="score")
    made = everything(synthetic)
    train_views, made_views = views(extractor, train), views(extractor, made)
    test_views = views(extractor, test)
    held, held_views = _holdout(real, split, extractor, test, test_views, warnings)
    sides = {
        "test": (test, test_views.features), "made": (made, made_views.features),
        "train": (train, train_views.features),
    }  # fmt: skip
    scores = _all_scores(sides, extractor.name, seed, resamples, warnings)
    if min(len(held), len(train)) < 3:
        raise InputError(f"{real.path} has too few val or train images to look for copies; use other ratios.")
    try:
        copies = search(made_views, held_views, train_views, level=LEVEL, baseline=not synthetic.is_synthetic)
    except ValueError as error:
        raise InputError(f"No search for copies on {real.path}: {error}; make the split anew.") from None
    if copies.n_twins:
        twins = agree(copies.n_twins, "held-out image", "has", "have")
        warnings.append(f"{twins} a twin in train; see plenish profile.")
    if len(held) < FEW_HELD:
        warnings.append(f"The search for copies is calibrated on only {plural(len(held), 'held-out image')}.")
    content = {
        "schema": 1, "kind": "score", "command": invocation.record(),
        "real": _about_real(real, split, train, test), "synthetic": _about(synthetic),
        "extractor": describe(extractor), "seed": seed, "level": LEVEL, "resamples": resamples,
        "scores": scores,
        "copies": result(copies, made.ids, train.ids, extractor.name),
        "test_reads": real.test_reads(split), "warnings": warnings, "versions": _versions(),
    }  # fmt: skip
    return content, _panel(copies, made, train)


def everything(dataset: Dataset) -> Subset:
    """All rows of a Dataset that stands on the synthetic side of a comparison."""
    import numpy as np

    from plenish.datasets.dataset import Subset

    rows = np.arange(len(dataset), dtype=np.int64)
    return Subset(dataset, rows, "train", "all", dataset.manifest.pixels_hash)


def views(extractor: Extractor, subset: Subset) -> Views:
    """Thumbnails and features of a subset, each image read once."""
    import numpy as np

    from plenish.metrics.copies import Views, thumbnails

    pixels, features = [], []
    with progress(f"features of {subset.dataset.name}, {subset.part}", len(subset)) as bar:
        for images in subset.batches(256):
            pixels.append(thumbnails(images))
            features.append(extractor(images))
            bar.advance(len(images))
    return Views(np.concatenate(pixels), np.concatenate(features))


def _holdout(
    real: Dataset, split: str, extractor: Extractor, test: Subset, test_views: Views, warnings: list[str]
) -> tuple[Subset, Views]:
    try:
        held = real.part("val", split, purpose="score")
    except InputError:
        warnings.append("The split has no val images, so the search for copies is calibrated on test.")
        return test, test_views
    return held, views(extractor, held)


def _all_scores(
    sides: Sides, extractor: str, seed: int, resamples: int, warnings: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Scores overall and, where both sides have the same classes, of each class."""
    import numpy as np

    test, made = sides["test"][0], sides["made"][0]
    whole = {name: np.ones(len(subset), dtype=bool) for name, (subset, _) in sides.items()}
    scopes = {"overall": whole}
    if test.dataset.labels.kind == "categorical" and test.dataset.labels == made.dataset.labels:
        codes = {name: subset.codes for name, (subset, _) in sides.items()}
        names = test.dataset.labels.names
        for code, label in enumerate(names):
            scopes[f"class:{label}"] = {name: found == code for name, found in codes.items()}
        shares = [
            np.bincount(codes[name], minlength=len(names)) / len(codes[name]) for name in ("test", "made")
        ]
        if np.abs(shares[0] - shares[1]).max() > 0.1:
            warnings.append(
                f"Class shares of the {_kind(made.dataset)} and the test images differ; trust the scores "
                "per class."
            )
    rows = []
    for scope, masks in scopes.items():
        rows += _scope_scores(scope, sides, masks, extractor, seed, resamples, warnings)
    units = len({group for group in test.groups if group is not None})
    warnings += about_groups(units, intervals=any(np.isfinite(row["low"]) for row in rows))
    return rows


def about_groups(units: int, *, intervals: bool) -> list[str]:
    """What few groups in the test part can promise.

    Args:
        units: how many there are; 0 where images have none.
        intervals: whether any score has an interval to speak of.
    """
    if not 0 < units < _FEW_GROUPS:
        return []
    text = f"The test part has only {plural(units, 'group')}"
    if intervals:
        return [f"{text}, so intervals are rough and may be too narrow."]
    if units == 1:
        return [f"{text}, which tells nothing of how scores vary among groups, so there are no intervals."]
    return [f"{text}, and scores on so few cannot promise much for groups of another kind."]


def _scope_scores(
    scope: str, sides: Sides, masks: Mapping[str, NDArray[np.bool_]],
    extractor: str, seed: int, resamples: int, warnings: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    import numpy as np

    from plenish.metrics import fidelity

    test, made, train = (sides[name][1][masks[name]] for name in ("test", "made", "train"))
    if not fidelity.enough_rows(len(test), len(made)):
        warnings.append(
            f"{_in_words(scope)}: {len(test)} test and "
            f"{plural(len(made), _kind(sides['made'][0].dataset) + ' image')} are too few to be scored."
        )
        return []
    if min(len(test), len(made)) < test.shape[1] + 2:
        warnings.append(
            f"{_in_words(scope)}: fewer images than features ({min(len(test), len(made))} and "
            f"{test.shape[1]}), so the Fréchet distance is strongly biased upwards; read it against the real "
            "baseline or use KID."
        )
    groups = sides["test"][0].groups[masks["test"]]
    found = fidelity.compare(
        test, made, groups=groups, extractor=extractor, resamples=resamples, seed=seed, level=LEVEL
    )
    rng = np.random.default_rng([seed, 0xBA5E])
    drawn = rng.permutation(len(train))[: len(made)]
    base: list[float | None] = [None] * len(found)
    fair: list[dict[str, Any] | None] = [None] * len(found)
    if fidelity.enough_rows(len(test), len(drawn)):
        floor = fidelity.compare(test, train[drawn], extractor=extractor, resamples=0)
        base = [row.value for row in floor]
        if len(drawn) < len(made):  # fewer images raise an FD, so the baseline is compared at its own number
            few = made[rng.permutation(len(made))[: len(drawn)]]
            again = fidelity.compare(
                test, few, groups=groups, extractor=extractor, resamples=resamples, seed=seed, level=LEVEL
            )
            fair = [
                {"value": row.value, "low": row.low, "high": row.high, "n_synthetic": row.n_synthetic}
                for row in again
            ]
    return [
        {
            "name": row.name, "scope": scope, "value": row.value, "low": row.low, "high": row.high,
            "n_real": row.n_real, "n_synthetic": row.n_synthetic, "better": row.better,
            "real_baseline": floor, "n_baseline": len(drawn), "comparable": same_number,
        }
        for row, floor, same_number in zip(found, base, fair)
    ]  # fmt: skip


def _kind(dataset: Dataset) -> str:
    return "synthetic" if dataset.is_synthetic else "other real"


def _in_words(scope: str) -> str:
    return scope.replace("class:", "class ", 1)


def _about_real(real: Dataset, split: str, train: Subset, test: Subset) -> dict[str, Any]:
    return {
        "path": str(real.path.resolve()), "name": real.name, "pixels_hash": real.manifest.pixels_hash,
        "table_hash": real.manifest.table_hash, "split": split, "split_hash": test.split_hash,
        "n_train": len(train), "n_test": len(test),
        "groups_test": len({group for group in test.groups if group is not None}),
        "phantom": bool(real.manifest.extra.get("phantom")),
    }  # fmt: skip


def _about(synthetic: Dataset) -> dict[str, Any]:
    return {
        "path": str(synthetic.path.resolve()), "name": synthetic.name, "n": len(synthetic),
        "origin": "synthetic" if synthetic.is_synthetic else "real",
        "pixels_hash": synthetic.manifest.pixels_hash,
        "generator": synthetic.manifest.extra.get("generator") or None,
    }  # fmt: skip


def _panel(copies: Copies, made: Subset, train: Subset) -> bytes:
    import numpy as np

    from plenish.metrics.panel import PAIRS, pairs_panel

    closest = np.argsort(copies.score, kind="stable")[:PAIRS]
    partners = copies.neighbour[closest]
    captions = [
        (f"distance {copies.score[i]:.2f}", bool(copies.score[i] < copies.threshold)) for i in closest
    ]
    return pairs_panel(made.images(closest), train.images(partners), captions, _kind(made.dataset))


def _versions() -> dict[str, str]:
    import platform

    import numpy
    import torch

    from plenish._version import __version__

    return {
        "plenish": __version__, "python": platform.python_version(), "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }  # fmt: skip
