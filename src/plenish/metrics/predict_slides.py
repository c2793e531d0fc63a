"""What trained classifiers say of whole slides: of every tile, of each slide, as maps of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.batches import Images
from plenish.errors import InputError
from plenish.metrics.calibration import confidences
from plenish.metrics.ensemble import Ensemble, fitted_ensemble, orientations_of
from plenish.metrics.predict_config import PredictConfig, SlideOptions
from plenish.metrics.predictions import said
from plenish.metrics.result_files import Result, write_result
from plenish.metrics.scored_tiles import ScoredTiles, draw_outlines, encoded, score_tiles
from plenish.metrics.scorers import Column, Scorer
from plenish.progress import say, warn
from plenish.slides.canvas import Canvas
from plenish.slides.given import slides_given
from plenish.slides.names import SlideEntry
from plenish.slides.normalise import restain_like
from plenish.slides.planning import plan_slide
from plenish.slides.reader import Slide, open_slide
from plenish.slides.tiling_config import TilingConfig
from plenish.slides.tissue import slide_tissue
from plenish.slides.trained_tiles import TrainedTiles, trained_tiles

Floats = NDArray[np.float64]
TABLE, TILES, MAPS, RECORDS = "predictions", "tiles", "heatmaps", "records"
_LEVEL = "--tile-level"
_REMEDY = f"give --assume-mpp, or classify the tiles of a {_LEVEL}"


@dataclasses.dataclass(frozen=True)
class SlideWork:
    """What is the same for all slides.

    Attributes:
        ensemble: the classifiers.
        scorer: their probabilities as columns of tiles.
        trained: what is known of the tiles that they were trained on.
        tiling: how slides are cut.
        config: how tiles are classified.
        slides: what is asked of slides.
    """

    ensemble: Ensemble
    scorer: Scorer
    trained: TrainedTiles
    tiling: TilingConfig
    config: PredictConfig
    slides: SlideOptions


def predict_slides(
    runs: Sequence[Path], slides: Sequence[Path], out: Path, config: PredictConfig, how: SlideOptions
) -> Result:
    """Classify slides, tile by tile.

    Tiles are cut as those of the training were, where there is tissue, and only a few batches of them are in
    memory at a time. A slide that cannot be used is left out and listed, unless it is the only one.

    Args:
        runs: Runs of classifiers that were trained on one split of one Dataset.
        slides: slides, folders of slides, or lists of them.
        out: folder to make: a table of slides, one of the tiles of each, a map of each class.
        config: how tiles are classified.
        how: how they are cut, and what is drawn.

    Returns:
        The folder and what is in its predictions.json.

    Raises:
        InputError: a Run holds no classifier, they do not fit each other or slides, the scale of their tiles
            is not known, no slide can be used, or OUT exists.
    """
    _refuse(config)
    files.refuse_existing(out)
    entries = slides_given(slides)
    ensemble = fitted_ensemble(runs, config)
    work = slide_work(ensemble, config, how)
    record = ensemble.record(config)
    asked = {"options": dataclasses.asdict(config) | dataclasses.asdict(how), "runs": record["runs"]}
    asked |= {"slides": [str(entry.path.resolve()) for entry in entries]}
    with files.atomic_dir(out, {"predict slides": asked}, resumable=True) as folder:
        found, rejected = _classified(entries, work, folder, out)
        content = record | _content(found, rejected, ensemble, slides[0], config)
        rows = pd.DataFrame([_row(one) for one in found])
        about = {key: content[key] for key in ("runs", "classes", "calibrated")}
        files.write_bytes(folder / content["table"], encoded(rows, config.table, about))
        for file in (folder / RECORDS).iterdir():
            file.unlink()
        (folder / RECORDS).rmdir()
        content = write_result(folder, "predictions", content)
    return Result(out, content)


def _refuse(config: PredictConfig) -> None:
    """Refuse options that are of images alone."""
    given = {"--part": config.part, "--split": config.split, "--explain": config.explain}
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    given |= {f"--{name}": getattr(config, name) != fields[name] for name in ("level", "resamples", "seed")}
    if wrong := [name for name, value in given.items() if value]:
        raise InputError(f"{wrong[0]} is not for slides; leave it out.")


def slide_work(ensemble: Ensemble, config: PredictConfig, how: SlideOptions) -> SlideWork:
    """How slides are cut and classified.

    Raises:
        InputError: a classifier takes other images than tiles of slides, or the scale of its tiles is not
            known.
    """
    first = ensemble.members[0]
    for member in ensemble.members:
        if member.model.columns.width:
            raise InputError(
                f"{member.run.path} needs the columns {', '.join(member.model.columns.names)} beside each "
                "image, and tiles of slides have none; give a classifier of images alone."
            )
        if member.model.channels != 3:
            raise InputError(
                f"{member.run.path} takes images of one channel, and tiles of slides have three."
            )
    trained = trained_tiles(first.run.config["data"])
    tiling = trained.config_like(first.model.size, how.overrides, _LEVEL)
    return SlideWork(ensemble, _scorer(ensemble, config), trained, tiling, config, how)


def _scorer(ensemble: Ensemble, config: PredictConfig) -> Scorer:
    """Plain and calibrated probabilities of tiles as columns, as in the table of predicted images."""
    first, names = ensemble.members[0], ensemble.members[0].model.names
    kinds = {"p": "probability of {}", "calibrated": "calibrated probability of {}"}
    columns = [
        Column(f"{prefix}_{name}", about.format(name), "share")
        for prefix, about in kinds.items() for name in names
    ]  # fmt: skip

    def score(images: NDArray[np.uint8]) -> dict[str, Floats]:
        given = Images(images.__getitem__, np.zeros(len(images), np.int64))
        plain, sure = ensemble.mix(
            [m.model.probabilities(given, symmetry=orientations_of(m, config)) for m in ensemble.members]
        )
        found = {f"p_{name}": plain[:, k] for k, name in enumerate(names)}
        return found | {f"calibrated_{name}": sure[:, k] for k, name in enumerate(names)}

    model = first.model
    shown = f"calibrated_{names[-1]}"
    return Scorer(model.size, model.channels, columns, shown, first.run.config["data"], [], score)


def _classified(
    entries: Sequence[SlideEntry], work: SlideWork, folder: Path, out: Path
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The record of each slide, and of each that cannot be used why; what is there is not made again."""
    for name in (TILES, MAPS, RECORDS):
        (folder / name).mkdir(exist_ok=True)
    found: list[dict[str, Any]] = []
    rejected: list[dict[str, str]] = []
    for number, entry in enumerate(entries, 1):
        kept = folder / RECORDS / f"{entry.name}.json"
        if kept.is_file():
            found.append({k: v for k, v in files.read_record(kept).items() if k != "checksum"})
            continue
        if len(entries) > 1:
            say(f"Slide {number} of {len(entries)}: {entry.name}")
        try:
            if entry.rejection is not None:
                raise InputError(f"{entry.path}: {entry.rejection}.")
            alone = len(entries) == 1
            picture = out.with_name(f"{out.name}.no-tissue.{entry.name}.png") if alone else None
            found.append(_slide(entry, work, folder, picture))
        except InputError as error:
            if len(entries) == 1:
                raise
            warn(f"{entry.name} is left out: {error}")
            rejected.append({"source": str(entry.path), "reason": str(error), "kind": error.code or "slide"})
            continue
        files.write_record(kept, found[-1])
    if not found:
        raise InputError(
            f"None of the {len(entries)} slides can be classified; of the first: {rejected[0]['reason']}"
        )
    return found, rejected


def _slide(entry: SlideEntry, work: SlideWork, folder: Path, picture: Path | None) -> dict[str, Any]:
    """Classify a slide: its tiles' table and its maps are written, its record is returned."""
    with open_slide(entry.path) as slide:
        scored = scored_slide(slide, entry, work, picture)
        plan, restain = scored.plan, scored.restain
        maps = _maps(slide, scored, work, folder)
        remarks = scored.remarks(work.trained, work.trained.parts_of(entry.name))
    names = work.ensemble.members[0].model.names
    tiles = scored.table()
    known = tiles["left_out"].isna()
    plain, sure = (
        tiles.loc[known, [f"{prefix}_{name}" for name in names]].to_numpy() for prefix in ("p", "calibrated")
    )
    answers = pd.DataFrame(work.ensemble.answers(plain, sure), index=tiles.index[known])
    asked = [name for name in answers if name not in tiles]
    tiles = tiles.join(answers[asked])
    file = f"{TILES}/{entry.name}.{work.config.table}"
    runs = [str(member.run.path.resolve()) for member in work.ensemble.members]
    files.write_bytes(folder / file, encoded(tiles, work.config.table, {"slide": entry.name, "runs": runs}))
    return {
        "slide": entry.name, "source": str(entry.path.resolve()), "group": entry.group or entry.name,
        **in_all(answers, sure, work.ensemble), "left_out": len(scored.left_out), "mpp": plan.grid.mpp,
        "level": plan.grid.level, "tile_px": plan.grid.size, "table": file, "heatmaps": maps,
        "stain": restain.about if restain else None,
        "remarks": [dataclasses.asdict(remark) for remark in remarks],
    }  # fmt: skip


def in_all(answers: pd.DataFrame, sure: Floats, ensemble: Ensemble) -> dict[str, Any]:
    """What the tiles of a slide say of the slide.

    Args:
        answers: of its N tiles, as `Ensemble.answers` has them.
        sure: calibrated probabilities N×K.
        ensemble: what classified them.

    Returns:
        `tiles`; by class `mean` (of the calibrated probabilities) and `share` (of all tiles, those that were
        answered with it); `predicted`, the class with the largest mean, of tags those with a mean of one half
        or more; `confidence`, that mean, of tags that of the least sure one; with abstention
        `abstained_share` of the tiles, and `abstained`: whether that is more than one half.
    """
    model = ensemble.members[0].model
    mean = sure.mean(axis=0)
    answered = answers["predicted"]
    found: dict[str, Any] = {"tiles": len(answers)}
    if "abstained" in answers:
        share = float(answers["abstained"].mean())
        found |= {"abstained_share": share, "abstained": share > 0.5}
        answered = answered[~answers["abstained"]]
    counts = answered.explode().value_counts()
    return found | {
        "predicted": said(model.names, mean[None], model.kind)[0],
        "confidence": float(confidences(mean[None], ensemble.tags)[0]),
        "mean": {name: float(mean[k]) for k, name in enumerate(model.names)},
        "share": {name: float(counts.get(name, 0) / len(answers)) for name in model.names},
    }  # fmt: skip


def scored_slide(slide: Slide, entry: SlideEntry, work: SlideWork, picture: Path | None) -> ScoredTiles:
    """Classify all tiles of a slide.

    Args:
        slide: the open slide.
        entry: its name, scale and annotations.
        work: how.
        picture: where to save a picture if it has no tissue; None for nowhere.

    Raises:
        InputError: the slide has no tissue, its scale is not known, or no tile can be read.
    """
    plan = plan_slide(slide, entry, work.tiling, picture, _REMEDY)
    stain = work.trained.stain
    restain = restain_like(stain, slide, plan) if work.slides.stain and stain else None
    return score_tiles(work.scorer, entry, plan, work.tiling, restain, work.slides.workers)


def _maps(slide: Slide, scored: ScoredTiles, work: SlideWork, folder: Path) -> dict[str, str]:
    """Draw the calibrated probability of each class over the slide; returns the files by class."""
    thumbnail = slide.thumbnail(work.slides.side)
    mask, _, coarse = slide_tissue(slide, work.tiling.tissue, scored.plan.facts["slide_mpp"])
    made = {}
    for k, name in enumerate(work.ensemble.members[0].model.names):
        column = next(one for one in work.scorer.columns if one.name == f"calibrated_{name}")
        canvas = Canvas(*thumbnail)
        bar = scored.draw(canvas, column)
        draw_outlines(canvas, mask, coarse)
        made[name] = f"{MAPS}/{scored.entry.name}-{k}.png"
        canvas.save(folder / made[name], [bar])
    return made


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    """A slide as a row of the table."""
    kept = ("slide", "source", "group", "tiles", "left_out", "predicted", "confidence")
    row = {key: one[key] for key in kept}
    row |= {key: one[key] for key in ("abstained", "abstained_share") if key in one}
    return row | {
        f"{prefix}_{name}": value for prefix in ("mean", "share") for name, value in one[prefix].items()
    }


def _content(
    found: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, str]], ensemble: Ensemble,
    source: Path, config: PredictConfig,
) -> dict[str, Any]:  # fmt: skip
    names = ensemble.members[0].model.names
    said_of = pd.Series([one["predicted"] for one in found], dtype=object).explode().value_counts()
    return {
        "given": {"path": str(source.resolve()), "kind": "slides", "name": source.name},
        "slides": list(found), "tiles": sum(one["tiles"] for one in found), "rejected": list(rejected),
        "table": f"{TABLE}.{config.table}",
        "predicted": {name: int(said_of.get(name, 0)) for name in names},
        "phantom": any(bool(member.run.status.get("phantom")) for member in ensemble.members),
    }  # fmt: skip
