"""What the headers of DICOM files say of a source's images: patients, columns, frames, burned-in text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plenish.datasets.decoding import read_headers
from plenish.datasets.dicom import COLUMNS
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.labels import read_labels
from plenish.datasets.sources.listing import CORE, Listing, SourceOptions, alike, natural, shown
from plenish.errors import InputError, unknown
from plenish.parallel import default_workers
from plenish.wording import agree, plural

FRAME = "frame"
"""The column of a picture's number in its file, from 1."""
_GROUP = "PatientID"
_PER_WORKER = 512
_BURNED_IN = "BurnedInAnnotation"
_SLIDE = "SM"
_OFTEN_WITH_TEXT = ("US", "IVUS", "ES", "XC", "GM", "OP", "SC", "OT", "XA", "RF")
"""Modalities whose pictures often have text in them: ultrasound, endoscopy, photographs, fluoroscopy, copies
of screens."""


@dataclasses.dataclass
class Headers:
    """The headers of a container's DICOM files.

    Attributes:
        found: by file; None for a file that is no picture or cannot be read.
        more: keywords that were asked for as columns.
        label: the keyword that the labels come from, or empty.
        group: the keyword that the groups come from.
    """

    found: dict[str, dict[str, Any] | None]
    more: tuple[str, ...] = ()
    label: str = ""
    group: str = _GROUP

    def without_names(self, options: SourceOptions) -> SourceOptions:
        """The options without names of DICOM attributes, which are kept here; for sources without a table."""
        if not self.found:
            return options
        there = {name for header in self.found.values() for name in header or ()}
        if options.group_column in there:
            self.group = options.group_column
            options = dataclasses.replace(options, group_column=None)
        if options.label_column in there:
            self.label = options.label_column
            options = dataclasses.replace(options, label_column=None)
        return options

    def fill(self, out: Listing) -> None:
        """Add groups, columns and frames to a Listing, with what the user should know."""
        headers = [self.found.get(ref) for ref in out.refs]
        if not any(headers):
            return
        known = [header or {} for header in headers]
        if out.groups is None:
            self._fill_groups(out, known)
        if self.label:
            out.schema, out.labels, doubts = read_labels(
                [header.get(self.label) for header in known], "auto", self.label, None
            )
            out.doubts += doubts
            out.meaning["label"] = f"the DICOM attribute {self.label}"
        for name in dict.fromkeys((*COLUMNS, *self.more)):
            cells = [header.get(name) for header in known]
            if any(cell is not None for cell in cells) and name not in (*CORE, *out.columns):
                out.columns[name] = cells
        _doubt_classes(out)
        _tell_content(out, known)
        if len(known) == len(out) and all(
            header and str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
            for header in headers
        ):
            out.channels = 1
        counts = [int(header.get("NumberOfFrames", 1)) for header in known]
        if max(counts) > 1:
            _repeat(out, counts)

    def _fill_groups(self, out: Listing, known: Sequence[dict[str, Any]]) -> None:
        groups = [None if (x := header.get(self.group)) is None else str(x) for header in known]
        names = sorted({group for group in groups if group}, key=natural)
        if not names:
            out.doubts.append(
                "No DICOM file states a PatientID, so a split cannot keep the images of a patient together; "
                "give a table with --labels and --group-column."
            )
            return
        out.groups = groups
        out.meaning["group"] = f"the DICOM attribute {self.group}"
        out.doubts += alike(names, "groups")
        studies = len({header.get("StudyInstanceUID") for header in known} - {None})
        if len(names) == 1 and studies > 1:
            out.doubts.append(
                f"All images have the {self.group} '{names[0]}', though they are of {studies:,} studies; if "
                "it was made anonymous, give '--group-column StudyInstanceUID' or a table with --labels."
            )
        if None in groups:
            out.doubts.append(
                f"{agree(groups.count(None), 'image', 'has', 'have')} no group, for want of a {self.group}."
            )


def read(container: Container, options: SourceOptions) -> Headers:
    """Read the headers of a container's DICOM files; none where it has none that can be read.

    Raises:
        InputError: `dicom_columns` names what is no attribute, or there are no DICOM files for it.
    """
    refs = [name for name in container.pictures if name in container.dicom]
    more = options.dicom_columns
    if more and not refs:
        raise InputError(
            f"--dicom-columns goes with DICOM files, and {container.path} has none; leave it out."
        )
    if more:
        from pydicom.datadict import keyword_dict

        for name in more:
            if name not in keyword_dict:
                raise unknown("DICOM attribute", name, sorted(keyword_dict))
    named = (options.group_column, options.label_column)
    asked = (*more, *(name for name in named if name and _is_keyword(name, refs)))
    workers = max(1, min(default_workers(), len(refs) // _PER_WORKER))
    found = read_headers(container.root, refs, tuple(dict.fromkeys(asked)), workers) if refs else ()
    return Headers(dict(zip(refs, found)), more)


def _is_keyword(name: str, refs: Sequence[str]) -> bool:
    if not refs:
        return False
    from pydicom.datadict import keyword_dict

    return name in keyword_dict and name != _GROUP


def _repeat(out: Listing, counts: Sequence[int]) -> None:
    """A row for each frame of the files that have several."""
    several = [count for count in counts if count > 1]
    out.repeat(counts)
    numbers = [(i, count) for count in counts for i in range(count)]
    out.frames = [i if count > 1 else None for i, count in numbers]
    out.refs = [f"{ref}[{i + 1}]" if count > 1 else ref for ref, (i, count) in zip(out.refs, numbers)]
    out.columns[FRAME] = [i + 1 for i, _ in numbers]
    out.notes.append(
        f"{agree(len(several), 'DICOM file', 'has', 'have')} several frames ({sum(several):,} together); "
        f"each is an image, numbered in column '{FRAME}'."
    )


def _doubt_classes(out: Listing) -> None:
    """A doubt where the folders taken for classes are the patients."""
    if out.meaning.get("label") != "names of folders" or out.groups is None or out.labels is None:
        return
    pairs = {(label, group) for label, group in zip(out.labels, out.groups) if group is not None}
    classes, groups = ({pair[i] for pair in pairs} for i in (0, 1))
    if len(pairs) == len(classes) == len(groups) > 1:
        out.doubts.append(
            f"Each folder taken for a class ({shown(sorted(classes, key=natural))}) holds one patient; if "
            "they are no classes, give '--folders ignore'."
        )


def _tell_content(out: Listing, known: Sequence[dict[str, Any]]) -> None:
    """What is said of text in the pictures, and whether they are tiles of slides."""
    said = [str(header.get(_BURNED_IN, "")).upper() for header in known]
    marked = [ref for ref, text in zip(out.refs, said) if text == "YES"]
    if marked:
        out.doubts.append(
            f"{agree(len(marked), 'DICOM file', 'says', 'say')} that text is burned into the picture "
            f"({shown(marked)}), which may name the patient and be learned; look at them and crop or remove "
            "them."
        )
    slides = sum(header.get("Modality") == _SLIDE for header in known)
    if slides:
        out.doubts.append(
            f"{agree(slides, 'DICOM file', 'is', 'are')} of a whole slide, whose frames are its tiles at all "
            "scales, glass too; 'plenish slides tile' chooses tissue and scale."
        )
    silent = Counter(
        header.get("Modality")
        for header, text in zip(known, said)
        if not text and header.get("Modality") in _OFTEN_WITH_TEXT
    )
    if silent:
        kinds = ", ".join(f"{count:,} of modality {name}" for name, count in sorted(silent.items()))
        out.notes.append(
            f"{plural(sum(silent.values()), 'DICOM file')} ({kinds}) do not say whether text is burned into "
            "the picture, as is usual there; look at some."
        )
