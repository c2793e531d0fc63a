"""May synthetic images be given away? What speaks against it, from the search for copies in score.json.

The audit asks about copies and about images that point at one training group: whether the images are good or
help is told on the card, and is for whoever takes them to judge. A search that cannot find copies is an
objection as well, because finding none then means nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.compare import NoSearch, compare_datasets
from plenish.metrics.origin import check_pair, real_at
from plenish.metrics.result_files import read_result
from plenish.metrics.score import ScoreConfig
from plenish.metrics.words import describe_copies, describe_pointing
from plenish.wording import Message, agree, plural

LEAST_HELD, LEAST_GROUPS = 50, 3
"""Val images and val groups (patients, slides) below which the search for copies is not calibrated: with
fewer images not even a share of 2 % is seen, and two groups do not show how groups differ."""
_NO_GROUPS = "The real images have no groups (patients, lesions, slides), so nothing shows how close a new "


class Objection(Message):
    """Something that speaks against giving images away."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "identical": lambda images: (
            f"{agree(images, 'image', 'is', 'are')} practically identical to a training image."
        ),
        "close": lambda suspects, images: (
            f"{suspects:,} of {plural(images, 'image')} are closer to one training image than chance "
            "explains: some are copies of it, or of its group."
        ),
        "unclear": lambda found: describe_copies(found),
        "copies": "The search for copies found '{finding}', which this version of Plenish does not know.",
        "pointing": lambda **found: f"{describe_pointing(found)}.",
        "held-out": lambda images, part: (
            f"{agree(images, 'image', 'shows', 'show')} the picture of a real image of the {part} part."
        ),
        "unknown-origin": (
            "It is unknown which images the generator was trained on, so copies of those cannot be found."
        ),
        "no-search": "No search for copies can be made: {reason}.",
        "no-audit": "There is no search for copies: the real images are not at hand.",
        "no-groups": _NO_GROUPS + (
            "patient's images come by chance: import them with their groups ('plenish import "
            "--group-column') and split them."
        ),
        "no-val": (
            "The split '{split}' of the real images has no val part, on which the search for copies is "
            "calibrated: make one with 'plenish split', and train the generator on it."
        ),
        "few-val": lambda images, least: (
            f"The search for copies is calibrated on {plural(images, 'val image')} and at least {least} are "
            "needed: make a split with a larger val part, and train the generator on it."
        ),
        "few-val-groups": lambda groups, least: (
            f"The val images come from {plural(groups, 'group')} (patients, lesions, slides) and at least "
            f"{least} are needed, to see how groups differ: make a split with a larger val part, and train "
            "the generator on it."
        ),
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Audit:
    """What was found before images are given away.

    Attributes:
        objections: what speaks against it; empty where nothing does.
        score: score.json; None where there is none.
        folder: the folder of the score, which holds pictures of real images.
        real: the real Dataset; None where it is not at hand.
    """

    objections: list[Objection]
    score: Mapping[str, Any] | None = None
    folder: Path | None = None
    real: Dataset | None = None


def audit(
    synthetic: Dataset, place: Path, *, real: Path | None, score: Path | None, config: ScoreConfig,
    anyway: bool = False,
) -> Audit:  # fmt: skip
    """Score synthetic images, unless that was done, and say what speaks against giving them away.

    Args:
        synthetic: the images.
        place: folder for the score; one of these images that lies there is taken.
        real: the real Dataset; by default the one that the generator was trained on, if it is there.
        score: a folder made by `plenish score`, in place of a new one.
        config: how to score; its split is the generator's own.
        anyway: score also where the search for copies cannot be calibrated, as far as that is possible.

    Raises:
        InputError: the score is of other images, the two Datasets do not fit each other, or there is
            neither a real Dataset nor a score (and not `anyway`).
    """
    folder = score or (place if (place / "score.json").is_file() else None)
    content: Mapping[str, Any] | None = None if folder is None else read_result(folder, "score")[0]
    originals = _real_of(synthetic, real, content)
    if content is not None and folder is not None:
        _check_score(content, synthetic, originals, folder)
    if content is None and originals is None:
        if not anyway:
            raise InputError(
                f"The real images that {synthetic.path} was made from are not known here; give them with "
                "--real, or a score of these images with --score."
            )
        return Audit([Objection("no-audit")])
    split = config.split if content is None else content["real"]["split"]
    before = [] if originals is None else _uncalibrated(originals, split)
    unsearched: list[Objection] = []
    if content is None and originals is not None:
        if before and not anyway:
            check_pair(originals, synthetic, split)
            return Audit(before, real=originals)
        files.refuse_existing(place)
        try:
            content, folder = compare_datasets(originals.path, synthetic.path, place, config).content, place
        except NoSearch as error:
            if not anyway:
                raise
            unsearched = [Objection("no-search", {"reason": error.value})]
    found = [] if content is None else [*found_in(content), *lacking(content)]
    known = {one.code for one in found}
    lacks = [one for one in before if one.code not in known]
    return Audit([*found, *lacks, *unsearched], content, folder, originals)


def found_in(score: Mapping[str, Any]) -> Iterable[Objection]:
    """What a score says against giving its images away."""
    copies, caveats = score["copies"], {one["code"]: one["values"] for one in score["caveats"]}
    if identical := copies["n_identical"]:
        yield Objection("identical", {"images": identical})
    if copies["finding"] == "close":
        yield Objection("close", {"suspects": copies["n_suspect"], "images": copies["n"]})
    elif copies["finding"] == "unclear":
        yield Objection("unclear", {"found": public_copies(copies)})
    elif copies["finding"] not in ("none", "identical"):
        yield Objection("copies", {"finding": copies["finding"]})
    pointing = copies.get("reidentification")
    if pointing is not None and pointing["finding"] != "none":
        names = ("n_pointing", "n", "share", "expected_share_high")
        yield Objection("pointing", {name: pointing[name] for name in names})
    for one in score["caveats"]:
        if one["code"] == "near-held-out":
            yield Objection("held-out", {"images": one["values"]["images"], "part": one["values"]["part"]})
    if "unknown-origin" in caveats or copies.get("unknown_origin"):
        yield Objection("unknown-origin")


def public_copies(copies: Mapping[str, Any]) -> dict[str, Any]:
    """The search for copies as anyone may know it: numbers and findings, no ids, groups or pictures."""
    numbers = _numbers(copies)
    if pointing := copies.get("reidentification"):
        numbers["reidentification"] = {
            **_numbers(pointing), "finding": pointing["finding"],
            **{name: pointing[name] and _numbers(pointing[name]) for name in ("auroc", "auroc_train")},
        }  # fmt: skip
        numbers["reidentification"].pop("most_pointed_at", None)  # A group of real images, or None.
    return {**numbers, "finding": copies["finding"]}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if isinstance(value, (int, float, type(None)))}


def lacking(score: Mapping[str, Any]) -> list[Objection]:
    """What the search for copies lacked, by what it was calibrated on: val without its twins in train."""
    if not score["real"]["groups_test"]:
        return [Objection("no-groups")]
    if any(one["code"] == "calibrated-on-test" for one in score["caveats"]):
        return [Objection("no-val", {"split": score["real"]["split"]})]
    return _few(score["copies"]["n_holdout"], score["copies"]["n_groups"])


def _uncalibrated(real: Dataset, split: str) -> list[Objection]:
    """What a search for copies would lack, before it is made."""
    frozen = real.split(split)
    groups = real.column("group")
    if all(group is None for group in groups):
        return [Objection("no-groups")]
    rows = frozen.rows("val")
    if not len(rows):
        return [Objection("no-val", {"split": split})]
    return _few(len(rows), len({groups[row] for row in rows} - {None}))


def _few(images: int, groups: int) -> list[Objection]:
    """Whether so many val images, of so many groups, are too few."""
    lacks = []
    if images < LEAST_HELD:
        lacks.append(Objection("few-val", {"images": images, "least": LEAST_HELD}))
    if groups < LEAST_GROUPS:
        lacks.append(Objection("few-val-groups", {"groups": groups, "least": LEAST_GROUPS}))
    return lacks


def _check_score(content: Mapping[str, Any], synthetic: Dataset, real: Dataset | None, folder: Path) -> None:
    """Refuse a score of other images, or against others."""
    if content["synthetic"]["pixels_hash"] != synthetic.manifest.pixels_hash:
        raise InputError(
            f"{folder} holds a score of other images ({content['synthetic']['name']}) than those of "
            f"{synthetic.path}; give the one made of these, or remove it to score them anew.",
            code="other-images",
        )
    if real is None:
        return
    hashes = real.manifest.pixels_hash, real.manifest.table_hash
    if (content["real"]["pixels_hash"], content["real"]["table_hash"]) != hashes:
        raise InputError(
            f"{folder} holds a score against other real images ({content['real']['name']}) than those of "
            f"{real.path}; give that Dataset as --real, or remove the score to make it anew.",
            code="other-real-images",
        )


def _real_of(synthetic: Dataset, real: Path | None, score: Mapping[str, Any] | None) -> Dataset | None:
    """The real Dataset: as given, or where the score or the generator had it, if it is still that one."""
    if real is not None:
        return Dataset.open(real)
    data = score["real"] if score is not None else generator_of(synthetic.manifest.extra).get("data") or {}
    return real_at(data)
