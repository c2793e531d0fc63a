"""`plenish edit counterfactual` of a whole slide: its deciding tiles are turned, and its answer followed."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish.datasets.show import png
from plenish.errors import CheckFailed, InputError, unknown
from plenish.latent import slide_answer
from plenish.latent.counterfactual import Counterfactuals, find_counterfactuals
from plenish.latent.counterfactual_edit import TABLE, CounterfactualEdit, Turned, features_of
from plenish.latent.counterfactual_options import CounterfactualOptions, SlideTurnOptions, ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.judges import mixed_facts, open_judges, probabilities
from plenish.latent.points import Floats as Singles
from plenish.latent.render import FilmOptions
from plenish.latent.slide_answer import Answer, Floats
from plenish.latent.slide_looked_at import LookedAt, look_at
from plenish.latent.space import LatentSpace
from plenish.latent.starting import Start, inverted
from plenish.metrics.caveats import Caveat, describe
from plenish.metrics.ensemble import Ensemble, fitted_ensemble
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.predict_slides import SlideWork, slide_work
from plenish.progress import say, warn
from plenish.slides.canvas import Canvas
from plenish.slides.given import slides_given
from plenish.slides.trained_tiles import trained_tiles
from plenish.wording import plural

CURVE, TILES = "slide-curve.csv", "tiles.csv"
CURVE_PICTURE, BEFORE, AFTER = "slide-curve.png", "heatmap-before.png", "heatmap-after.png"
_AT_ONCE = 16
"""Tiles that are inverted and turned before the slide is looked at again."""
_FRAME = (220, 0, 90)
_SAME_SCALE = 1.02


class SlideCounterfactualEdit(CounterfactualEdit):
    """A slide's tiles that were turned, and what that does to its answer."""

    def summary(self) -> dict[str, Any]:
        """The files, the slide's answer before and after, and what this cannot show."""
        slide, found = self.facts["result"]["slide"], super().summary()
        kept = ("slide", "answer", "answer_after", "turned_with", "turned_by_inversion_with", "mean")
        of_tiles = {"tiles": slide["tiles"], "tiles_tried": slide["tried"]}
        found["tiles_turned"] = found.pop("turned")
        left = {key: value for key, value in found.items() if key not in ("already", "asked")}
        return left | {key: slide[key] for key in kept} | of_tiles | {"limits": describe(slide["limits"])}


def slide_counterfactual(
    space: LatentSpace, slides: Sequence[Path], classifiers: Sequence[Path], out: Path,
    how: CounterfactualOptions, turn: SlideTurnOptions, which: PointOptions, inversion: ToInvert,
    shown: FilmOptions,
) -> SlideCounterfactualEdit:  # fmt: skip
    """Turn tiles of a slide, those that decide its answer first, and write what its answer does.

    Args:
        space: the generator, of tiles like those of the classifiers.
        slides: one slide.
        classifiers: Runs of classifiers of tiles; their calibrated mixture answers.
        out: the folder; must not exist.
        how: the class, the confidence, the search, and the judges.
        turn: how many tiles, and how the slide is cut.
        which: `label` alone: that of the tiles for their inversion.
        inversion: how tiles are inverted.
        shown: the film.

    Raises:
        InputError: an option is not for slides, a Run, class or judge does not fit, the slide is of the class
            already, or OUT exists.
        CheckFailed: the inversions of all tiles are of the class already.
    """
    _refuse(which, inversion)
    entries = slides_given(slides)
    if len(entries) != 1:
        raise InputError(f"These are {len(entries)} slides; turn one at a time.")
    config = PredictConfig()
    ensemble = fitted_ensemble(classifiers, config)
    work = slide_work(ensemble, config, turn)
    _check_size(space, work)
    judges = open_judges(how.judge or [], space.network.channels)
    picture = out.with_name(f"{out.name}.no-tissue.png")
    looked = look_at(
        entries[0], work, lambda mean: _aim(mean, ensemble, how.to), picture, most=turn.tiles,
        confidence=how.confidence,
    )  # fmt: skip
    answer = looked.answer
    names = looked.model.names
    if answer.turned:
        raise InputError(
            f"{entries[0].path} is already {names[answer.to]} by its mean of {answer.mean[answer.to]:.2f}; "
            "give another --to or another slide."
        )
    limits = _before(looked, space, how)
    say(f"{looked.entry.name} is {_word(answer, names)}; {plural(len(looked.chosen), 'tile')} of "
        f"{len(looked.sure)} are turned to {names[answer.to]}, those that decide most first.")  # fmt: skip
    for caveat in limits:
        warn(str(caveat))
    found, start = _turn(space, looked, dataclasses.replace(how, to=names[answer.to]), turn, which, inversion)
    after = _After.of(looked, found)
    if found.already.all():
        raise CheckFailed(
            f"The inversions of all {plural(len(found.to), 'tile')} are already {names[answer.to]}: this "
            "generator loses what the classifier goes by, and nothing is left to turn."
        )
    limits += _limits(looked, found, start, after)
    asked = np.flatnonzero(~found.already)
    facts = mixed_facts(ensemble)
    turned = Turned(found[asked], start[asked], looked.model, facts, judges, features_of(space))
    already = [found.before.names[i] for i in np.flatnonzero(found.already)]
    about = _record(looked, after, turn, limits, len(found.to))
    result = turned.result(how) | {"already": already, "slide": about}
    more = _files(looked, found, after)
    made = turned.write(out, space, result, shown, more)
    return SlideCounterfactualEdit(made.path, made.facts)


def _refuse(which: PointOptions, inversion: ToInvert) -> None:
    """Refuse options that are of points or of images alone."""
    given = {f"--{name}": getattr(which, name) for name in ("seeds", "latents", "space", "data", "ids")}
    given |= {"--part": inversion.part, "--split": inversion.split, "--fit": inversion.fit}
    for name, value in given.items():
        if value:
            raise InputError(f"{name} is not for slides; leave it out.")


def _check_size(space: LatentSpace, work: SlideWork) -> None:
    network, model = space.network, work.ensemble.members[0].model
    if (network.size, network.channels) != (model.size, model.channels):
        raise InputError(
            f"{space.loaded.run.path} makes images of {network.size} px with {network.channels} channel(s), "
            f"and the classifier's tiles have {model.size} px and {model.channels}; give a generator of such "
            "tiles."
        )


def _aim(mean: Floats, ensemble: Ensemble, to: str | None) -> Answer:
    """The slide's answer, and the class that it is to become."""
    names = ensemble.members[0].model.names
    if to is not None and to not in names:
        raise unknown("class of the classifier in --to", to, names)
    if to is None and (ensemble.tags or len(names) != 2):
        raise InputError(
            f"Say which class to turn to with --to; the classifier knows {', '.join(names[:20])}."
        )
    code = names.index(to) if to is not None else int(1 - mean.argmax())
    return Answer(mean, code, ensemble.tags)


def _word(answer: Answer, names: Sequence[str]) -> str:
    """The slide's answer as a word; of tags whether it has the one asked for."""
    if answer.tags:
        return f"{names[answer.to]}" if answer.turned else f"not {names[answer.to]}"
    return names[int(answer.mean.argmax())]


def _turn(
    space: LatentSpace, looked: LookedAt, how: CounterfactualOptions, turn: SlideTurnOptions,
    which: PointOptions, inversion: ToInvert,
) -> tuple[Counterfactuals, Start]:  # fmt: skip
    """Invert and turn the chosen tiles in pieces, as far as is asked; those that were looked at."""
    labels = _labels(space, looked) if which.label is None else None
    about = {"slide": looked.entry.name, "source": str(looked.entry.path.resolve())}
    parts: list[tuple[Counterfactuals, Start]] = []
    for first in range(0, len(looked.chosen), _AT_ONCE):
        piece = slice(first, first + _AT_ONCE)
        y = None if labels is None else labels[piece]
        start = inverted(space, looked.pixels[piece], looked.names[piece], y, about, which, inversion)
        parts.append((find_counterfactuals(space, start.points, looked.model, how), start))
        found = Counterfactuals.joined([part for part, _ in parts])
        after = _After.of(looked, found)
        if turn.turn == "one-by-one" and after.at is not None:
            last = int(np.flatnonzero(found.turned)[after.at - 1]) + 1
            return found[np.arange(last)], Start.joined([one for _, one in parts])[np.arange(last)]
    return Counterfactuals.joined([part for part, _ in parts]), Start.joined([one for _, one in parts])


def _labels(space: LatentSpace, looked: LookedAt) -> Singles | None:
    """The classifier's answers for the chosen tiles as labels, where the generator knows the classes."""
    names, known = looked.model.names, space.labels.names
    if space.labels.kind != "categorical" or looked.answer.tags or not set(names) <= set(known):
        return None
    codes = [known.index(names[k]) for k in looked.sure[looked.chosen].argmax(1)]
    return np.eye(len(known), dtype=np.float32)[codes]


@dataclasses.dataclass(frozen=True)
class _After:
    """A slide whose tiles were turned.

    Attributes:
        rows: the tiles that were turned, n, in order, among those that were scored.
        probabilities: of these tiles turned, and of their inversions, n×K each.
        means: of the slide after 0 to n tiles are turned, or replaced by their inversions, (n+1)×K each.
        at: with how many tiles turned the slide is of the class asked for; None where it never is.
        at_inverted: with how many tiles replaced by their inversions alone it is.
    """

    rows: NDArray[np.int64]
    probabilities: tuple[Floats, Floats]
    means: tuple[Floats, Floats]
    at: int | None
    at_inverted: int | None

    @classmethod
    def of(cls, looked: LookedAt, found: Counterfactuals) -> _After:
        """Replace the tiles that were turned; the others stay as they are."""
        rows = looked.chosen[np.flatnonzero(found.turned)]
        images = [made[found.turned] for made in found.images]
        each = [
            probabilities(looked.model, made) if len(rows) else np.zeros((0, looked.sure.shape[1]))
            for made in images
        ]
        inverted, turned = (slide_answer.means_after(looked.sure, rows, new) for new in each)
        to, tags = looked.answer.to, looked.answer.tags
        at, at_inverted = (slide_answer.first_turned(one, to, tags=tags) for one in (turned, inverted))
        return cls(rows, (each[1], each[0]), (turned, inverted), at, at_inverted)


def _before(looked: LookedAt, space: LatentSpace, how: CounterfactualOptions) -> list[Caveat]:
    """What can be told before the work begins."""
    answer, tags, name = looked.answer, looked.answer.tags, looked.model.names[looked.answer.to]
    least = slide_answer.least_tiles(looked.sure, answer.to, tags=tags)
    sure = slide_answer.least_tiles(looked.sure, answer.to, tags=tags, reached=how.confidence)
    found = []
    if least is not None and least > len(looked.chosen):
        values = {"tiles": len(looked.chosen), "least": least, "of": len(looked.sure), "name": name}
        found.append(Caveat("too-few-tiles", values))
    elif sure is None or sure > len(looked.chosen):
        values = {"tiles": len(looked.chosen), "name": name, "confidence": how.confidence, "least": sure}
        found.append(Caveat("perhaps-too-few-tiles", values))
    own = trained_tiles(space.loaded.run.config["data"])
    if saw := own.parts_of(looked.entry.name).get("train"):
        found.append(Caveat("generator-saw-slide", {"tiles": saw}))
    mpp = looked.scored.plan.grid.mpp
    if own.mpp is None or mpp is None:
        found.append(Caveat("generator-scale-unknown", {}))
    elif max(own.mpp, mpp) > _SAME_SCALE * min(own.mpp, mpp):
        found.append(Caveat("generator-other-scale", {"generator": own.mpp, "tiles": mpp}))
    if (own.stain.get("method", "none") != "none") != (looked.scored.restain is not None):
        found.append(Caveat("generator-other-stain", {}))
    return found


def _limits(looked: LookedAt, found: Counterfactuals, start: Start, after: _After) -> list[Caveat]:
    """What the result cannot show, with the figures that say how far."""
    pixels, name = looked.pixels[: len(found.to)], looked.model.names[looked.answer.to]
    flat = ((pixels - pixels.mean((1, 2), keepdims=True)) / 255.0) ** 2
    tiles = looked.sure[looked.chosen[: len(found.to)]]
    same = probabilities(looked.model, found.images[0]).argmax(1) == tiles.argmax(1)
    error = np.zeros(0) if start.error is None else start.error
    values = {
        "tiles": len(found.to), "mse": float(np.median(error)), "same": int(same.sum()),
        "flat_mse": float(np.median(flat.mean((1, 2, 3)))),
    }  # fmt: skip
    turned, alone = (float(means[-1, looked.answer.to] - means[0, looked.answer.to]) for means in after.means)
    limits = [
        Caveat("tiles-inverted", values),
        Caveat("inversions-move", {"name": name, "inverted": alone, "turned": turned}),
    ]
    if already := int(found.already.sum()):
        limits.append(Caveat("inversions-already", {"tiles": already, "name": name}))
    return [*limits, Caveat("tiles-alone", {}), Caveat("turned-not-caused", {})]


def _record(
    looked: LookedAt, after: _After, turn: SlideTurnOptions, limits: Sequence[Caveat], tried: int
) -> dict[str, Any]:
    """What the record says of the slide."""
    answer, names = looked.answer, looked.model.names
    means = [dict(zip(names, map(float, mean))) for mean in (after.means[0][0], after.means[0][-1])]
    tags = answer.tags
    last = dataclasses.replace(answer, mean=after.means[0][-1])
    plan = looked.scored.plan
    return {
        "slide": looked.entry.name, "source": str(looked.entry.path.resolve()), "to": names[answer.to],
        "answer": _word(answer, names), "answer_after": _word(last, names), "turned_with": after.at,
        "turned_by_inversion_with": after.at_inverted,
        "mean": {"before": means[0], "after": means[1]},
        "tiles": len(looked.sure), "left_out": len(looked.scored.left_out), "tried": tried,
        "turned": len(after.rows), "turn": turn.turn, "mpp": plan.grid.mpp, "level": plan.grid.level,
        "tile_px": plan.grid.size, "stain": looked.scored.restain.about if looked.scored.restain else None,
        "least_tiles": slide_answer.least_tiles(looked.sure, answer.to, tags=tags),
        "curve": slide_answer.curve_rows(*after.means, answer.to, tags=tags, names=names),
        "files": {"curve": CURVE_PICTURE, "before": BEFORE, "after": AFTER, "tiles": TILES, "rows": TABLE},
        "remarks": [dataclasses.asdict(one) for one in looked.remarks],
        "limits": [dataclasses.asdict(one) for one in limits],
    }  # fmt: skip


def _files(looked: LookedAt, found: Counterfactuals, after: _After) -> dict[str, bytes]:
    """Curve, heatmaps and table of tiles."""
    answer, names = looked.answer, looked.model.names
    tags, to = answer.tags, answer.to
    rows = slide_answer.curve_rows(*after.means, to, tags=tags, names=names)
    values = looked.sure[:, to].copy()
    values[after.rows] = after.probabilities[0][:, to]
    table = looked.tiles()
    for name, column in (("before", looked.sure[:, to]), ("after", values)):
        table[f"{names[to]}_{name}"] = column
    for name, which in (("tried", looked.chosen[: len(found.to)]), ("turned", after.rows)):
        table[name] = np.isin(np.arange(len(table)), which)
    already = looked.chosen[np.flatnonzero(found.already)]
    table["already_by_inversion"] = np.isin(np.arange(len(table)), already)
    return {
        CURVE: _csv(pd.DataFrame(rows)), TILES: _csv(table), CURVE_PICTURE: _chart(rows, answer, names),
        BEFORE: png(_map(looked, looked.sure[:, to], after.rows, "to be turned")),
        AFTER: png(_map(looked, values, after.rows, "turned")),
    }  # fmt: skip


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\r\n").encode()


def _map(looked: LookedAt, values: Floats, rows: NDArray[np.int64], title: str) -> Image.Image:
    """The probability of the class asked for over the slide, the turned tiles framed."""
    canvas = Canvas(*looked.thumbnail)
    bar = looked.draw(canvas, values)
    canvas.boxes(looked.boxes[rows], _FRAME, f"tiles {title}")
    return canvas.picture([bar])


def _chart(rows: Sequence[Mapping[str, Any]], answer: Answer, names: Sequence[str]) -> bytes:
    """The slide's mean probabilities over the number of tiles turned."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    x, to, other = [row["tiles"] for row in rows], names[answer.to], names[answer.other]
    axes.plot(
        x, [row[f"mean_{to}"] for row in rows], color="#0072b2", marker=".", label=f"{to}, tiles turned"
    )
    axes.plot(
        x, [row["inverted_only"] for row in rows], color="#0072b2", linestyle=":",
        label=f"{to}, the same tiles inverted alone",
    )  # fmt: skip
    if answer.tags:
        axes.axhline(0.5, color="#d55e00", linestyle="--", label="from here the slide has the tag")
    else:
        axes.plot(x, [row[f"mean_{other}"] for row in rows], color="#d55e00", label=f"{other}, tiles turned")
    at = next((row["tiles"] for row in rows if row["turned"]), None)
    if at is not None:
        axes.axvline(at, color="#555555", linewidth=0.8)
        axes.annotate(
            f" turned with {at} ", (at, 0.9), xycoords=("data", "axes fraction"), color="#555555",
            ha="right" if at > x[-1] / 2 else "left",
        )  # fmt: skip
    axes.set(xlabel="tiles turned", ylabel="mean probability of the slide")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
