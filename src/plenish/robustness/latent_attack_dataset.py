"""`plenish attack-latent`: what is searched, judged, compared and written."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish import files, invocation
from plenish.datasets.show import png
from plenish.errors import CheckFailed
from plenish.latent.judges import Floats, Pixels, probabilities
from plenish.latent.points import Points
from plenish.latent.prior import prior_of
from plenish.latent.render import Row, amplified_difference, figure
from plenish.latent.sampling import draw_latents, keep_latents, synthetic_rows, synthetic_writer
from plenish.latent.space import AT_ONCE, LatentSpace
from plenish.metrics.extractor import resized
from plenish.metrics.origin import real_at
from plenish.metrics.statistics import wilson_interval
from plenish.progress import progress
from plenish.robustness.latent_attack import Region, random_latent_changes, search
from plenish.robustness.latent_attack_models import LatentAttackModels, open_models
from plenish.robustness.latent_attack_options import LatentAttackOptions
from plenish.robustness.losses import margin
from plenish.training.engine import Engine, stable_seed
from plenish.wording import plural, significant

RECORD, PICTURE = "latent_attack.json", "picture.png"
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class LatentAttack:
    """Adversarial images that were written.

    Attributes:
        path: the synthetic Dataset.
        facts: the record, `latent_attack.json`.
    """

    path: Path
    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form: the files, and how many images did what."""
        kept = ("searched", "written", "start", "random", "found", "median_distance", "judge_check")
        about = {key: self.facts[key] for key in kept if self.facts[key] is not None}
        return {"dataset": str(self.path), "picture": str(self.path / PICTURE)} | about

    def shown(self) -> dict[str, Any]:
        """The same for a terminal: a row for what was searched and each of what it is compared with."""
        rows = [
            {"images": name, **{key.replace("_", " "): f"{one['value']:.1%}" for key, one in side.items()}}
            for name, side in (
                ("as drawn", self.facts["start"]), ("random change", self.facts["random"]),
                ("found", self.facts["found"]),
            )
        ]  # fmt: skip
        head = {key: value for key, value in self.summary().items() if not isinstance(value, Mapping)}
        return head | {"results": rows}


@dataclasses.dataclass(frozen=True)
class Answers:
    """What classifier and judge say of N images.

    Attributes:
        images: uint8 N×H×W×C.
        classifier: probabilities N×K.
        judge: the same.
        codes: numbers of the classes asked for, N.
        wrong: whether the classifier gives another class, N; of images found, those that the search found.
    """

    images: Pixels
    classifier: Floats
    judge: Floats
    codes: NDArray[np.int64]
    wrong: NDArray[np.bool_]

    @property
    def agrees(self) -> NDArray[np.bool_]:
        """Whether the judge sees the class asked for, N."""
        return np.asarray(self.judge.argmax(1) == self.codes)

    def where(self, rows: NDArray[Any]) -> Answers:
        """Those of some of the images."""
        return Answers(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def shares(self) -> dict[str, dict[str, float]]:
        """How many the classifier gets wrong and the judge right, with 95 % intervals (Wilson)."""
        agrees = self.agrees
        sides = {"classifier_wrong": self.wrong, "judge_agrees": agrees, "both": self.wrong & agrees}
        found = {}
        for name, mask in sides.items():
            value, low, high = wilson_interval(int(mask.sum()), len(mask))
            found[name] = {"count": int(mask.sum()), "value": value, "low": low, "high": high}
        return found


def attack_latents(space: LatentSpace, classifier: Path, out: Path, how: LatentAttackOptions) -> LatentAttack:
    """Search, judge, compare with draws and random changes, and write a synthetic Dataset.

    Raises:
        InputError: see `open_models`; or there is no such class or space.
        CheckFailed: nothing was found that the judge accepts.
    """
    models = open_models(space, classifier, how)
    start = start_points(space, how)
    assert start.y is not None
    codes = start.y.argmax(1)
    end, iterations, distances, random = _searched(space, start, models, how)
    before, by_chance, after = (_answers(space, points, models) for points in (start, random, end))
    after = dataclasses.replace(after, wrong=after.wrong & (iterations >= 0))
    named = {"start": before, "random": by_chance, "found": after}
    kept = np.flatnonzero(after.wrong & (after.agrees | how.keep_all))
    record: dict[str, Any] = {
        "command": invocation.record(), "generator": space.loaded.provenance(), **models.about,
        "options": {key: str(v) if isinstance(v, Path) else v for key, v in dataclasses.asdict(how).items()},
        "searched": len(codes), "written": len(kept),
        **{key: side.shares() for key, side in named.items()},
        "by_class": [
            {"name": name, "searched": int((codes == k).sum())}
            | {key: side.where(codes == k).shares() for key, side in named.items()}
            for k, name in enumerate(space.labels.names) if (codes == k).any()
        ],
        "median_distance": _median(distances[kept]), "median_iterations": _median(iterations[kept]),
        "judge_check": _check(space, models),
    }  # fmt: skip
    if not len(kept):
        raise CheckFailed(_nothing_found(len(codes), int(after.wrong.sum()), how))
    columns = {
        "classifier": [space.labels.names[k] for k in after.classifier.argmax(1)],
        "confidence": after.classifier.max(1),
        "judge": [space.labels.names[k] for k in after.judge.argmax(1)],
        "agrees": after.agrees, "distance": distances, "iterations": iterations,
        "typical": prior_of(space, end.space).share_farther(end.values),
    }  # fmt: skip
    picture = _picture(space.labels.names, before, after, codes, kept, how.seed)
    _write(space, out, end, kept, after.images, columns, record, picture, how)
    return LatentAttack(out, record)


def _nothing_found(searched: int, wrong: int, how: LatentAttackOptions) -> str:
    if not wrong:
        lead = f" by {how.confidence:g}; give a smaller --confidence," if how.confidence else "; give"
        return (
            f"From {plural(searched, 'draw')} no image was reached that the classifier gets wrong{lead} more "
            "--images, a larger --distance or more --iterations."
        )
    return (
        f"Of {plural(searched, 'draw')}, {wrong} became images that the classifier gets wrong, and in none "
        "of these the judge sees the class asked for; give more --images, or another --distance."
    )


def start_points(space: LatentSpace, how: LatentAttackOptions) -> Points:
    """The draws to search from, with the classes in turn, or all of one.

    Raises:
        InputError: no such class, or the generator has no w.
    """
    names = space.labels.names
    codes = np.arange(how.images) % len(names)
    if how.label is not None:
        codes = np.full(how.images, space.labels.code(how.label))
    y = np.eye(len(names), dtype=np.float32)[codes]
    points = space.given(draw_latents(space.network, how.seed, 0, how.images), "z", y)
    return space.to_w(points) if how.space == "w" else points


def _searched(
    space: LatentSpace, start: Points, models: LatentAttackModels, how: LatentAttackOptions
) -> tuple[Points, NDArray[np.int64], Floats, Points]:
    """Where the searches end, after how many steps and how far off; and random changes as long."""
    prior, device = prior_of(space, start.space), space.engine.device
    scale = torch.from_numpy(prior.scale).to(device)
    ends, others, steps, lengths = (list[NDArray[Any]]() for _ in range(4))
    with progress("latent attack", len(start), "images") as bar:
        for first in range(0, len(start), AT_ONCE):
            piece = start[first : first + AT_ONCE]
            at = torch.from_numpy(prior.standardised(piece.values)).to(device)
            region = Region(at, how.distance, prior.radius, prior.bound)
            found = search(lead_of(space, piece, models, scale), region, how)
            chance = random_latent_changes(region, found.change.norm(dim=1), how.seed, first)
            # Where nothing was found, points are as they were.
            end = torch.where(found.iterations[:, None] >= 0, found.change, 0)
            for made, change in ((ends, end), (others, chance)):
                moved = (change.cpu().numpy() * prior.scale).reshape(piece.values.shape)
                made.append(piece.values + moved)
            steps.append(found.iterations.cpu().numpy())
            lengths.append(found.change.double().square().mean(1).sqrt().cpu().numpy())
            bar.advance(len(piece))
    moved_to, random = (start.replaced(np.concatenate(each)) for each in (ends, others))
    return moved_to, np.concatenate(steps), np.concatenate(lengths), random


def lead_of(
    space: LatentSpace, piece: Points, models: LatentAttackModels, scale: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """How far a wrong class is ahead at changes of some points, of images as they are written.

    With an auxiliary classifier it is that, or by how much the class asked for is ahead there, whichever is
    less.

    Args:
        space: the generator.
        piece: n points.
        models: the classifiers.
        scale: standard deviations of the prior, D.
    """
    assert piece.y is not None
    values, y = (torch.from_numpy(x).to(space.engine.device) for x in (piece.values, piece.y))
    asked = [space.labels.names[k] for k in piece.y.argmax(1)]
    judged = []
    for sign, model in ((1, models.victim), (-1, models.auxiliary)):
        if model is not None:
            own = torch.tensor([model.names.index(name) for name in asked], device=values.device)
            judged.append((sign, model.module().requires_grad_(False), model, own))

    def lead(change: Tensor, rows: Tensor) -> Tensor:
        moved = values[rows] + (change * scale).view(len(rows), *values.shape[1:])
        with space.engine.autocast():
            images = space.sample(moved, y[rows], piece.space).float()
        images = as_written(images)
        leads = []
        for sign, module, model, own in judged:
            with Engine.from_settings(model.precision).autocast():
                logits = module(resized(images, model.size)).float()
            leads.append(sign * margin(logits, own[rows]))
        return leads[0] if len(leads) == 1 else torch.minimum(*leads)

    return lead


def as_written(images: Tensor) -> Tensor:
    """Images in [-1, 1] rounded to whole grey levels; gradients pass as if they were not."""
    clipped = images.clamp(-1, 1)
    return clipped + (clipped.add(1).mul(127.5).round().div(127.5).sub(1) - clipped).detach()


def _answers(space: LatentSpace, points: Points, models: LatentAttackModels) -> Answers:
    """The images of points, as they are written, and what is said of them."""
    images, names = space.images(points), space.labels.names
    order = [models.victim.names.index(name) for name in names]
    said = probabilities(models.victim, images)[:, order]
    assert points.y is not None
    codes = points.y.argmax(1)
    return Answers(images, said, models.judge.measure(images), codes, said.argmax(1) != codes)


def _check(space: LatentSpace, models: LatentAttackModels) -> dict[str, Any] | None:
    """Accuracy of classifier and judge on the real val images; None where these are not there."""
    data = space.loaded.run.config["data"]
    real = real_at(data)
    if real is None or not len(real.split(str(data["split_name"])).rows("val")):
        return None
    val = real.part("val", str(data["split_name"]), purpose="select")
    images, names = val.images(), space.labels.names
    codes = np.array([names.index(label) for label in val.labels])
    order = [models.victim.names.index(name) for name in names]
    said = {
        "classifier": probabilities(models.victim, images)[:, order], "judge": models.judge.measure(images),
    }  # fmt: skip
    return {"images": len(val)} | {key: float((p.argmax(1) == codes).mean()) for key, p in said.items()}


def _write(
    space: LatentSpace, out: Path, end: Points, kept: NDArray[np.int64], images: Pixels,
    columns: Mapping[str, Sequence[Any]], record: Mapping[str, Any], picture: bytes, how: LatentAttackOptions,
) -> None:  # fmt: skip
    """Write the synthetic Dataset: images, columns, latents, labels; record and picture beside them."""
    loaded = space.loaded
    source = loaded.provenance() | space.options | {"seed": how.seed, "space": end.space}
    source["latents_sha256"] = hashlib.sha256(end.values.tobytes()).hexdigest()
    assert end.y is not None
    labels, numbers = space.labels.decode(end.y[kept]), kept.tolist()
    rows = synthetic_rows(loaded, labels, numbers, how.seed)
    for row, i in zip(rows, numbers, strict=True):
        row.update({name: values[i] for name, values in columns.items()})
    attacked = {key: record[key] for key in ("classifier", "judge", "auxiliary") if key in record}
    asked = {"verb": "attack-latent", "options": record["options"], **attacked}
    name = f"adversarial {loaded.run.config['data'].get('name', 'data')}"
    with synthetic_writer(loaded, out, name, source, asked, {"latent_attack": attacked}) as writer:
        writer.add(images[kept[writer.skip :]], rows[writer.skip :])
        keep_latents(writer, loaded, end.values[kept], end.y[kept], space=end.space, seed=how.seed)
        files.write_bytes(writer.partial / PICTURE, picture)
        files.write_record(writer.partial / RECORD, dict(record))
    loaded.run.note_use(loaded.checkpoint.name, out)


def _picture(
    names: Sequence[str], before: Answers, after: Answers, codes: NDArray[np.int64], kept: NDArray[np.int64],
    seed: int,
) -> bytes:  # fmt: skip
    """Some of the images written: as drawn, as found, and what changed."""
    rng = np.random.default_rng(stable_seed(seed, "latent attack picture"))
    some = np.sort(rng.permutation(kept)[:_SHOWN])
    difference, factor = amplified_difference(before.images[some], after.images[some])

    def said(side: Answers, who: str) -> list[str]:
        answers: Floats = getattr(side, who)[some]
        return [f"{who} {names[p.argmax()]} {p.max():.2f}" for p in answers]

    both = [f"{a} {b}" for a, b in zip(said(after, "classifier"), said(after, "judge"), strict=True)]
    rows = [
        Row("as drawn", before.images[some], [f"asked {names[k]}" for k in codes[some]]),
        Row("found", after.images[some], both), Row(f"difference\n× {factor:g}", difference),
    ]  # fmt: skip
    return png(figure(rows))


def _median(values: NDArray[Any]) -> float | None:
    return significant(float(np.median(values))) if len(values) else None
