"""What the user should know of a result: records of a code and its values, and the words for each code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plenish.wording import agree, plural

_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Remark:
    """Something the user should know.

    Attributes:
        code: a key of the table of words.
        values: what the words need, JSON-able.
        slide: the slide it is about, or an empty text.
    """

    code: str
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    slide: str = ""

    def __str__(self) -> str:
        """One or two sentences."""
        text = _WORDS[self.code](**self.values)
        return f"{self.slide}: {text}" if self.slide else text


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _unreadable_area(share: float, left_out: int) -> str:
    more = f", and {agree(left_out, 'tile', 'was', 'were')} left out whose tissue is not known there"
    return f"{share:.2%} of the slide cannot be decoded at any level{more if left_out else ''}."


def _unannotated(names: Sequence[str], folder: str, skipped: bool) -> str:
    return (
        f"{agree(len(names), 'slide', 'has', 'have')} no annotations in {folder} and "
        f"{'is' if len(names) == 1 else 'are'} {'skipped' if skipped else 'taken as background'}: "
        f"{some(names)}."
    )


def _unmatched(names: Sequence[str], folder: str) -> str:
    return f"{agree(len(names), 'file', 'belongs', 'belong')} to no slide in {folder}: {some(names)}."


_GROUP_SOURCES = {
    "table": "the table", "barcode": "a TCGA barcode", "name": "CAMELYON17's names",
    "slide": "only the slide's own name",
}  # fmt: skip


def _mixed_groups(names: Mapping[str, Sequence[str]]) -> str:
    found = "; ".join(f"{_GROUP_SOURCES[key]} for {len(of)} ({some(of)})" for key, of in names.items())
    return f"Groups (patients) are from different sources, so one patient may have two groups: {found}."


def _slides_rejected(count: int, total: int, first: str, reason: str) -> str:
    return (
        f"{count:,} of {plural(total, 'slide')} {'was' if count == 1 else 'were'} rejected, see "
        f"rejected.csv; the first was {first}: {reason}."
    )


def _unmeasured(names: Sequence[str], per: str) -> str:
    return (
        f"{agree(len(names), per, 'has', 'have')} too little stained tissue to measure and "
        f"{'was' if len(names) == 1 else 'were'} left unchanged: {some(names)}."
    )


def _rejected(count: int, why: str) -> str:
    return f"{agree(count, 'tile', 'was', 'were')} rejected {why}."


_WORDS: Mapping[str, Callable[..., str]] = {
    # slides and tables
    "rows-without-slide": lambda names: (
        f"{agree(len(names), 'row', 'names', 'name')} no slide that is there: {some(names)}."
    ),
    "slides-without-row": lambda names: (
        f"{agree(len(names), 'slide', 'has', 'have')} no row in the table: {some(names)}."
    ),
    "mixed-groups": _mixed_groups,
    "slides-rejected": _slides_rejected,
    "file-truncated": lambda tiles: (
        f"The file ends before {plural(tiles, 'tile')} of its levels; restore it from a copy."
    ),
    "unreadable-area": _unreadable_area,
    "unreadable-parts": lambda: "Parts of the slide cannot be decoded and are drawn white.",
    "no-tissue": lambda: "No tissue was found; lower --tissue-saturation if there is some.",
    "scale-unknown": lambda count: (
        f"{agree(count, 'slide', 'does', 'do')} not state the size of pixels; the column mpp is empty there."
    ),
    "scales-differ": lambda level, least, most: (
        f"Level {level} is {least:.3g} µm per pixel on one slide and {most:.3g} on another; with --mpp, "
        "all tiles have the same."
    ),
    # annotations
    "unannotated": _unannotated,
    "no-annotations": lambda path, name: f"{path} has no annotations of {name}, so none are drawn.",
    "unmatched-annotations": _unmatched,
    "shapes-ignored": lambda count, kind: f"{plural(count, kind)} left out; only areas count.",
    "outlines-repaired": lambda count: (
        f"{agree(count, 'outline', 'crosses', 'cross')} itself and was made valid."
    ),
    "annotations-off-slide": lambda percent: f"{percent:.2g} % of the annotated area lies off the slide.",
    "labels-overlap": lambda label, earlier, area: (
        f"'{label}' and '{earlier}' overlap ({area:,.0f} px²); it counts as '{earlier}', the first in the "
        "file: --priority changes that."
    ),
    # tiles
    "tiles-damaged": lambda count, source, reason: (
        f"{agree(count, 'tile', 'was', 'were')} rejected because the slide is damaged there; the first was "
        f"{source}: {reason}."
    ),
    "tiles-blurred": lambda count: _rejected(count, "for blur"),
    "tiles-inked": lambda count: _rejected(count, "for pen marks"),
    "label-without-tiles": lambda label: (
        f"No tile is covered far enough by '{label}' to have that label; lower --label-threshold or choose a "
        "smaller --size."
    ),
    "class-too-small": lambda label, found, wanted: (
        f"Of class '{label}' there were only {plural(found, 'tile')}, not {wanted:,}."
    ),
    "class-rejected": lambda label, found, wanted: (
        f"Of class '{label}' there are {plural(found, 'tile')}, not {wanted:,}, because others that were "
        "drawn are rejected; give a greater --per-class to replace them."
    ),
    # stain
    "stain-unmeasured": _unmeasured,
    "splits-dropped": lambda split: (
        f"Of the splits only '{split}' was kept, because the stain was fitted on its train part."
    ),
    "arrays-dropped": lambda: "Arrays were not kept: they describe the pixels as they were.",
    # heatmap
    "tiles-left-out": lambda count, reason: (
        f"{agree(count, 'tile', 'was', 'were')} left out; of the first: {reason}."
    ),
    "slide-trained-on": lambda count: (
        f"{agree(count, 'tile', 'was', 'were')} trained on that came from a slide of this name; if it is "
        "this one, these scores do not measure how well the Run does on others."
    ),
    "training-unknown": lambda reason: f"Whether this slide was trained on is not known: {reason}.",
    "stain-differs": lambda: (
        "The Run was trained on tiles of a normalised stain; these tiles have their own stain."
    ),
    "auroc-of-one-slide": lambda: (
        "The AUROC is of this slide's tiles alone and has no interval: they are not independent."
    ),
}  # fmt: skip
