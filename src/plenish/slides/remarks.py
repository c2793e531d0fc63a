"""What the user should know of a result: records of a code and its values, and the words for each code."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping
from typing import Any

from plenish.wording import agree

_NAMED = 5
_WORDS = {
    "rows-without-slide": "{names:row/names/name} no slide that is there: {names}.",
    "slides-without-row": "{names:slide/has/have} no row in the table: {names}.",
    "mixed-groups": (
        "Groups (patients) are from different sources (the table, a TCGA barcode, CAMELYON17's names, "
        "only the slide's own name), so one patient may have two groups: {names}."
    ),
    "slides-rejected": (
        "{count:slide/was/were} rejected of {total:,}, see rejected.csv; the first was {first}: {reason}."
    ),
    "file-truncated": "{tiles:tile/lies/lie} beyond the end of the file; restore it from a copy.",
    "unreadable-area": (
        "{share:.2%} of the slide cannot be decoded at any level; {left_out:tile/was/were} left out "
        "because the tissue there is not known."
    ),
    "unreadable-parts": "Parts of the slide cannot be decoded and are drawn white.",
    "no-tissue": "No tissue was found; lower --tissue-saturation if there is some.",
    "scale-unknown": "{count:slide/does/do} not state the size of pixels; the column mpp is empty there.",
    "scales-differ": (
        "Level {level} is {least:.3g} µm per pixel on one slide and {most:.3g} on another; with --mpp, "
        "all tiles have the same."
    ),
    "unannotated": "{names:slide/has/have} no annotations in {folder} ({treatment}): {names}.",
    "no-annotations": "{path} has no annotations of {name}, so none are drawn.",
    "unmatched-annotations": "{names:file/belongs/belong} to no slide in {folder}: {names}.",
    "shapes-ignored": "{count:{kind}/is/are} left out; only areas count.",
    "outlines-repaired": "{count:outline/crosses/cross} itself and was made valid.",
    "annotations-off-slide": "{percent:.2g} % of the annotated area lies off the slide.",
    "labels-overlap": (
        "'{label}' and '{earlier}' overlap ({area:,.0f} px²); it counts as '{earlier}', the first in the "
        "file: --priority changes that."
    ),
    "tiles-damaged": (
        "{count:tile/was/were} rejected because the slide is damaged there; the first was {source}: {reason}."
    ),
    "tiles-blurred": "{count:tile/was/were} rejected for blur.",
    "tiles-inked": "{count:tile/was/were} rejected for pen marks.",
    "label-without-tiles": (
        "No tile is covered far enough by '{label}' to have that label; lower --label-threshold or choose"
        " a smaller --size."
    ),
    "class-too-small": "Of class '{label}' there are only {found:,} tiles, not {wanted:,}.",
    "class-rejected": (
        "Of class '{label}' there are {found:,} tiles, not {wanted:,}, because others that were drawn are"
        " rejected; give a greater --per-class to replace them."
    ),
    "stain-unmeasured": (
        "{names:{per}/has/have} too little stained tissue to measure, left unchanged: {names}."
    ),
    "splits-dropped": (
        "Of the splits only '{split}' was kept, because the stain was fitted on its train part."
    ),
    "arrays-dropped": "Arrays were not kept: they describe the pixels as they were.",
    "tiles-left-out": "{count:tile/was/were} left out; of the first: {reason}.",
    "slide-trained-on": (
        "{count:tile/was/were} trained on that came from a slide of this name; if it is this one, these "
        "scores do not measure how well the Run does on others."
    ),
    "training-unknown": "Whether this slide was trained on is not known: {reason}.",
    "stain-differs": "The Run was trained on tiles of a normalised stain; these tiles have their own stain.",
    "auroc-of-one-slide": (
        "The AUROC is of this slide's tiles alone and has no interval: they are not independent."
    ),
}


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
        text = _Formatter().format(_WORDS[self.code], **self.values)
        return f"{self.slide}: {text}" if self.slide else text


class _Formatter(string.Formatter):
    """Counts with a noun and its verb ({count:tile/was/were}), and lists cut short."""

    def format_field(self, value: Any, spec: str) -> str:
        if "/" in spec:
            return agree(value if isinstance(value, int) else len(value), *spec.split("/"))
        if isinstance(value, Mapping):
            return "; ".join(f"{key} {len(of)} ({self.format_field(of, '')})" for key, of in value.items())
        if isinstance(value, (list, tuple)):
            more = len(value) - _NAMED
            return ", ".join(value[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")
        return str(super().format_field(value, spec))
