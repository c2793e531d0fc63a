"""Images moved away from the patients they show, as far as copies and re-identification are tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError
from plenish.latent import concepts
from plenish.latent.counterfactual_options import AnonymiseOptions
from plenish.latent.edits import Edit, write_edit
from plenish.latent.identity_audit import Found, IdentityAudit
from plenish.latent.judges import classifier_facts, open_classifier, probabilities
from plenish.latent.points import Points
from plenish.latent.prior import Prior, prior_of
from plenish.latent.render import Row, figure
from plenish.latent.space import LatentSpace
from plenish.latent.starting import Start
from plenish.progress import progress, warn
from plenish.training.classifier_model import Classifier
from plenish.training.engine import stable_seed
from plenish.wording import agree, plural, significant

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
TABLE = "images.csv"
_SHOWN = 12


class AnonymisedEdit(Edit):
    """Images that were moved and written."""

    def summary(self) -> dict[str, Any]:
        """The files, what was tested, and how many images passed."""
        result = self.facts["result"]
        found = {name: str(self.path / file) for name, file in self.facts["files"].items()}
        kept = ("given", "accepted", "left_out", "nearest_is_own", "median_change", "copy_score", "ratio")
        about = {"tested": ", ".join(result["audit"]["tested"])}
        return {"edit": str(self.path), **found, "table": str(self.path / TABLE), **about} | {
            key: result[key] for key in kept
        }


@dataclasses.dataclass(frozen=True)
class Moved:
    """Where N points were moved to.

    Attributes:
        points: the points; as they were where nothing was accepted.
        accepted: whether something was, N.
        level: how far on the way to a draw of the prior, from 0 to 1, N.
        refused: for each, how many of the points tried were refused by what: copy (the search for copies or
            re-identification), own (its own picture or patient is still nearest), class.
    """

    points: Points
    accepted: NDArray[np.bool_]
    level: Floats
    refused: Sequence[Mapping[str, int]]


def anonymise(
    space: LatentSpace, start: Start, against: Path, out: Path, how: AnonymiseOptions
) -> AnonymisedEdit:
    """Move images to the nearest point found that all tests accept, and write what was found.

    Args:
        space: the generator.
        start: the images, inverted; or generated ones, which are hidden themselves.
        against: a real Dataset, whose train part images must not resemble.
        out: the folder; must not exist.
        how: what is kept, and the search.

    Raises:
        InputError: Dataset, classifier or concept do not fit, or OUT exists.
        CheckFailed: none of the images could be moved so.
    """
    model = None if how.classifier is None else open_classifier(how.classifier, space.network.channels)
    kept = kept_directions(space, start.points, how.keep or [])
    inverted = space.images(start.points)
    given = inverted if start.originals is None else start.originals
    audit = IdentityAudit(Dataset.open(against), how.against_split, given)
    rows_given = np.arange(len(given))
    before, by_inversion = audit(given, rows_given), audit(inverted, rows_given)
    classes = None if model is None else probabilities(model, given).argmax(1)
    moved = move_away(space, start.points, audit, model, classes, kept, how)
    good = np.flatnonzero(moved.accepted)
    names = start.points.names
    left_out = [names[i] for i in np.flatnonzero(~moved.accepted)]
    tested = ", ".join(audit.about["tested"])
    if not len(good):
        raise CheckFailed(
            f"For none of {plural(len(names), 'image')} was a point found that passes the tests ({tested}) "
            f"with what is to be kept; of the points tried, {_why(moved.refused)}. Give more --ways, or keep "
            "less."
        )
    if left_out:
        why = _why([one for one, found in zip(moved.refused, moved.accepted) if not found])
        warn(f"{agree(len(left_out), 'image', 'was', 'were')} not accepted, and left out: "
             f"{', '.join(left_out[:8])}; of their points, {why}.")  # fmt: skip
    points = moved.points[good]
    last = space.images(points)
    after = audit(last, good)
    rows = _rows(start[good], given[good], last, audit, (before, after), good, moved, space)
    result = {
        "given": len(names), "accepted": len(good), "left_out": left_out,
        "refused": [{"name": name, **why} for name, why in zip(names, moved.refused)],
        "nearest_is_own": {"inverted": int(by_inversion.own.sum()), "moved": int(after.own.sum())},
        "median_change": _middle(row["change"] for row in rows),
        "copy_score": {"before": _middle(before.copy_score[good]), "after": _middle(after.copy_score)},
        "ratio": {"before": _middle(before.ratio[good]), "after": _middle(after.ratio)},
        "audit": audit.about, "kept_concepts": how.keep or [], "inverted": start.about,
        "classifier": None if how.classifier is None else classifier_facts(how.classifier), "images": rows,
    }  # fmt: skip
    table = pd.DataFrame(rows).to_csv(index=False, lineterminator="\r\n").encode()
    some = np.arange(min(_SHOWN, len(good)))
    shown = [
        Row("given", given[good][some], [f"score {x:.2f}" for x in before.copy_score[good][some]]),
        Row("moved", last[some], [f"score {x:.2f}" for x in after.copy_score[some]]),
        Row("nearest known", audit.pictures[after.neighbour[some]]),
    ]  # fmt: skip
    if start.originals is not None:
        shown.insert(1, Row("inversion", inverted[good][some]))
    made = write_edit(
        out, space, points.replaced(names=[f"{name} moved" for name in points.names]), figure(shown),
        result=result, more={TABLE: table},
    )  # fmt: skip
    return AnonymisedEdit(made.path, made.facts)


def check_before(space: LatentSpace, against: Path, how: AnonymiseOptions) -> None:
    """Refuse early what `anonymise` would only refuse after an inversion of minutes.

    Raises:
        InputError: the Dataset has images of another size or no train and val, or classifier or concept do
            not exist.
    """
    data, network = Dataset.open(against), space.network
    if (data.size, data.channels) != (network.size, network.channels):
        raise InputError(
            f"{data.path} has images of {data.size} px with {data.channels} channel(s), and the generator "
            f"makes {network.size} px with {network.channels}; give a Dataset of the generator's size."
        )
    for part in ("train", "val"):
        data.part(part, how.against_split, purpose="score")
    if how.classifier is not None:
        open_classifier(how.classifier, network.channels)
    for name in how.keep or []:
        concepts.load(space, name)


def kept_directions(space: LatentSpace, points: Points, names: Sequence[str]) -> Floats:
    """Orthonormal directions C×D of flat latents along which nothing is moved.

    Raises:
        InputError: no such concept, or one of another space than the points are of.
    """
    found, size = [], int(np.prod(points.values.shape[1:]))
    for name in names:
        concept = concepts.load(space, name)
        if concept.space != points.space:
            raise InputError(
                f"The concept '{name}' is one of {concept.space}, and these points are {points.space}; "
                "--keep takes concepts of the same."
            )
        found.append(np.tile(np.asarray(concept.vector, np.float64), size // len(concept.vector)))
    return concepts.basis_of(found, size)


def move_away(
    space: LatentSpace, points: Points, audit: IdentityAudit, model: Classifier | None,
    classes: NDArray[np.int64] | None, kept: Floats, how: AnonymiseOptions,
) -> Moved:  # fmt: skip
    """Move points towards draws of the prior, level by level, to the first that is accepted.

    Of several accepted at one level, the one whose features are nearest to the point's own image is taken.

    Args:
        space: the generator.
        points: N points.
        audit: what accepts images.
        model: what must say the same class; or None.
        classes: these, N; or None.
        kept: directions C×D along which nothing moves.
        how: the search.
    """
    prior = prior_of(space, points.space)
    values, level = points.values.copy(), np.zeros(len(points))
    accepted, refused = np.zeros(len(points), bool), list[Mapping[str, int]]()
    features = audit.extractor(space.images(points)).astype(np.float64)
    with progress("moving images", len(points), "images") as bar:
        for i in range(len(points)):
            ends, why = _draws(space, points, prior, how, i), {"copy": 0, "own": 0, "class": 0}
            for t in np.linspace(0, 1, how.levels + 1):
                tried = _towards(prior, points.values[i], ends[:1] if t == 0 else ends, float(t), kept)
                y = None if points.y is None else np.repeat(points.y[[i]], len(tried), 0)
                images = space.images(
                    Points(tried, points.space, y, tuple(f"{k}" for k in range(len(tried))))
                )
                judged = audit(images, np.full(len(images), i))
                good, other = judged.accepted, np.zeros(len(images), bool)
                if model is not None and classes is not None:
                    other = probabilities(model, images).argmax(1) != classes[i]
                    good = good & ~other
                for reason, found in (("copy", judged.copy), ("own", judged.own), ("class", other)):
                    why[reason] += int(found.sum())
                if good.any():
                    off = np.linalg.norm(audit.extractor(images) - features[i], axis=1)
                    best = int(np.where(good, off, np.inf).argmin())
                    values[i], level[i], accepted[i] = tried[best], t, True
                    break
            refused.append(why)
            bar.advance(1)
    return Moved(points.replaced(values), accepted, level, refused)


def _why(refused: Sequence[Mapping[str, int]]) -> str:
    """What refused the points that were tried, in words; several things may refuse one point."""
    words = {
        "copy": "like a known picture or patient", "own": "nearest to their own picture or patient",
        "class": "of another class",
    }  # fmt: skip
    totals = {reason: sum(one[reason] for one in refused) for reason in words}
    return ", ".join(f"{totals[key]:,} were {text}" for key, text in words.items() if totals[key]) or "none"


def _draws(
    space: LatentSpace, points: Points, prior: Prior, how: AnonymiseOptions, i: int
) -> NDArray[np.float32]:
    """Draws of the prior, standardised, ways×D."""
    rng = torch.Generator().manual_seed(stable_seed("anonymise", how.seed, i))
    z = space.network.sample_prior(how.ways, rng).numpy().astype(np.float32)
    if points.space == "w":
        y = None if points.y is None else points.y[[i]]
        z = space.to_w(space.given(z, "z", y)).values
    return prior.standardised(z)


def _towards(
    prior: Prior,
    value: NDArray[np.float32],
    ends: NDArray[np.float32],
    t: float,
    kept: Floats,
) -> NDArray[np.float32]:
    """Latents ways×… on the way to draws: along an arc where the prior has no bounds, else straight."""
    start = prior.standardised(value[None])
    if np.isfinite(prior.bound):
        there = (1 - t) * start + t * ends
    else:
        there = np.cos(t * np.pi / 2) * start + np.sin(t * np.pi / 2) * ends
    change = ((there - start) * prior.scale).astype(np.float64)
    change -= change @ kept.T @ kept
    return np.asarray(value + change.reshape(len(change), *value.shape), np.float32)


def _rows(
    start: Start, given: Pixels, last: Pixels, audit: IdentityAudit, found: tuple[Found, Found],
    good: NDArray[np.int64], moved: Moved, space: LatentSpace,
) -> list[dict[str, Any]]:  # fmt: skip
    before, after = found
    prior = prior_of(space, start.points.space)
    change = prior.standardised(moved.points.values[good]) - prior.standardised(start.points.values)
    own = np.linalg.norm(audit.extractor(given).astype(np.float64) - audit.extractor(last), axis=1)
    return [
        {
            "name": start.points.names[k], "level": float(moved.level[i]),
            "change": float(np.linalg.norm(change[k])), "features_from_given": float(own[k]),
            "in_train": bool(audit.is_train[i]), "copy_score_before": float(before.copy_score[i]),
            "copy_score_after": float(after.copy_score[k]), "ratio_before": float(before.ratio[i]),
            "ratio_after": float(after.ratio[k]), "nearest_is_own": bool(after.own[k]),
            **({} if start.error is None else {"inversion_mse": float(start.error[k])}),
        }
        for k, i in enumerate(good)
    ]  # fmt: skip


def _middle(values: Any) -> float | None:
    found = np.asarray(list(values), np.float64)
    found = found[np.isfinite(found)]
    return significant(float(np.median(found))) if len(found) else None
