"""What the user should know of a result: records of a code and its values, and the words for each code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from plenish.wording import Message

_WORDS = {
    "rows-without-slide": "{names:row/names/name} no slide that is there: {names}.",
    "slides-without-row": "{names:slide/has/have} no row in the table: {names}.",
    "mixed-groups": (
        "Groups (patients) are from different sources (the table, a TCGA barcode, CAMELYON17's names, "
        "DICOM's PatientID, only the slide's own name), so one patient may have two groups: {names}."
    ),
    "slides-rejected": (
        "{count:slide/was/were} rejected of {total:,}, see rejected.csv; the first was {first}: {reason}."
    ),
    "file-truncated": "{tiles:tile/lies/lie} beyond the end of the file; restore it from a copy.",
    "unreadable-area": (
        "{share:.2%} of the slide cannot be decoded at any level; tiles left out because the tissue there is "
        "not known: {left_out:,}."
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
    "slide-selected-by": (
        "{count:tile/was/were} used to select and calibrate that came from a slide of this name (part val); "
        "if it is this one, these scores do not measure how well the Run does on others."
    ),
    "training-unknown": "Whether this slide was trained on is not known: {reason}.",
    "stain-differs": "The Run was trained on tiles of a normalised stain; these tiles have their own stain.",
    "auroc-of-one-slide": (
        "The AUROC is of this slide's tiles alone and has no interval: they are not independent."
    ),
}


@dataclasses.dataclass(frozen=True)
class Remark(Message):
    """Something the user should know.

    Attributes:
        slide: the slide it is about, or an empty text.
    """

    slide: str = ""
    words: ClassVar[Mapping[str, str]] = _WORDS

    def __str__(self) -> str:
        """One or two sentences."""
        text = super().__str__()
        return f"{self.slide}: {text}" if self.slide else text


def of_slides(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The remarks in records of slides, each of `slide` and `remarks`, as sentences that name the slide."""
    return [str(Remark(**{**row, "slide": one["slide"]})) for one in records for row in one["remarks"]]
