"""What the headers of DICOM files say of a source's images: patients, columns, frames, burned-in text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plenish.datasets.decoding import read_headers
from plenish.datasets.dicom import COLUMNS
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.labels import find_unlabelled, read_labels
from plenish.datasets.sources.listing import AS_FOUND, CORE, Listing, SourceOptions, alike, natural, shown
from plenish.errors import InputError, unknown
from plenish.parallel import default_workers
from plenish.progress import progress
from plenish.wording import agree, plural

FRAME = "frame"
"""The column of a picture's number in its file, from 1."""
_GROUP = "PatientID"
_PER_WORKER = 512
_BURNED_IN = "BurnedInAnnotation"
_COLOURS = "PhotometricInterpretation"
_SLIDE = "SM"
_RADIOLOGY = ("CR", "DX", "CT", "MR", "MG", "PT", "US", "XA", "RF", "NM")
"""Modalities whose pictures are surely of the domain radiology."""
_OFTEN_WITH_TEXT = ("US", "IVUS", "ES", "XC", "GM", "OP", "SC", "OT", "XA", "RF")
"""Modalities whose pictures often have text in them: ultrasound, endoscopy, photographs, fluoroscopy, copies
of screens."""


@dataclasses.dataclass
class Headers:
    """The headers of a container's DICOM files.

    Attributes:
        found: by file; None for a file that is no picture or cannot be read.
        options: what the user says.
        label: the keyword that the labels come from, or empty.
        group: the keyword that the groups were asked to come from, or empty.
    """

    found: dict[str, dict[str, Any] | None]
    options: SourceOptions
    label: str = ""
    group: str = ""

    def taking(self, options: SourceOptions, *, labels: bool = True) -> tuple[Headers, SourceOptions]:
        """Headers that fill in the attributes that options name, and options without these names.

        Args:
            options: of a source without a table.
            labels: whether the labels may come from an attribute.
        """
        there = {name for header in self.found.values() for name in header or ()}
        headers = self
        if options.group_column in there:
            headers = dataclasses.replace(headers, group=options.group_column)
            options = dataclasses.replace(options, group_column=None)
        if labels and options.label_column in there:
            headers = dataclasses.replace(headers, label=options.label_column)
            options = dataclasses.replace(
                options, label_column=None, label_kind=AS_FOUND.label_kind, label_separator=None
            )
        return headers, options

    def refuse_absent(self, options: SourceOptions) -> None:
        """Refuse attributes that no file states; for sources whose columns are those of DICOM alone.

        Raises:
            InputError: a column is named that is a DICOM attribute, or none where all files are DICOM.
        """
        for option, name in (("label", options.label_column), ("group", options.group_column)):
            if name and self.found and all(self.found.values()) and not _is_keyword(name, [*self.found]):
                raise unknown("DICOM attribute", name, _keywords())
            if name and _is_keyword(name, [*self.found]):
                raise InputError(
                    f"No DICOM file states {name} as text or a number, so '--{option}-column {name}' says "
                    "nothing; name another attribute, or give a table with --labels."
                )

    def fill(self, out: Listing) -> None:
        """Add labels, groups, columns and frames to a Listing, with what the user should know.

        Raises:
            InputError: images have no label, as `labels.find_unlabelled`.
        """
        if self.label:
            self._fill_labels(out)
        headers = [self.found.get(ref) for ref in out.refs]
        if not any(headers):
            return
        known = [header or {} for header in headers]
        if self.group or out.groups is None:
            self._fill_groups(out, known)
        for name in dict.fromkeys((*COLUMNS, *self.options.dicom_columns)):
            cells = [header.get(name) for header in known]
            if any(cell is not None for cell in cells) and name not in (*CORE, *out.columns):
                out.columns[name] = cells
        _doubt_classes(out)
        _tell_content(out, known)
        if all(header and str(header.get(_COLOURS)).startswith("MONOCHROME") for header in headers):
            out.channels = 1
        pictures = [
            (header or {}) for ref, header in zip(out.refs, headers) if header or ref not in self.found
        ]
        if all(header.get("Modality") in _RADIOLOGY for header in pictures):
            out.keep_domain("radiology", "the DICOM attribute Modality")
        absent = [name for name in self.options.dicom_columns if name not in out.columns]
        if absent:
            out.doubts.append(f"No DICOM file states {shown(absent, 9)}, so there is no such column.")
        counts = [int(header.get("NumberOfFrames", 1)) for header in known]
        if max(counts) > 1:
            _repeat(out, counts)

    def _fill_labels(self, out: Listing) -> None:
        """Take the labels from an attribute, and leave out images without it where that is allowed."""
        cells = [(self.found.get(ref) or {}).get(self.label) for ref in out.refs]
        lacking = find_unlabelled(
            cells, self.options,
            lambda rows: f"{agree(len(rows), 'image', 'has', 'have')} no label, because no {self.label} is "
            f"stated ({shown([out.refs[i] for i in rows])}",
        )  # fmt: skip
        if lacking:
            out.doubts.append(
                f"{plural(len(lacking), 'image')} without a label left out "
                f"({shown([out.refs[i] for i in sorted(lacking)])})."
            )
            out.repeat([i not in lacking for i in range(len(cells))])
        out.schema, out.labels, doubts = read_labels(
            [cell for i, cell in enumerate(cells) if i not in lacking],
            self.options.label_kind, self.label, self.options.label_separator, self.options.missing_words,
        )  # fmt: skip
        out.doubts += doubts
        out.meaning["label"] = f"the DICOM attribute {self.label}"
        if "class" in self.options.folders:
            out.doubts.append(
                f"The labels are those of {self.label}, not of the folders that --folders names."
            )

    def _fill_groups(self, out: Listing, known: Sequence[dict[str, Any]]) -> None:
        asked = self.group or _GROUP
        groups = [None if (x := header.get(asked)) is None else str(x) for header in known]
        names = sorted({group for group in groups if group}, key=natural)
        if not names:
            out.doubts.append(
                "No DICOM file states a PatientID, so a split cannot keep the images of a patient together; "
                "give a table with --labels and --group-column."
            )
            return
        out.groups = groups
        out.meaning["group"] = f"the DICOM attribute {asked}"
        if "group" in self.options.folders:
            out.doubts.append(f"The groups are those of {asked}, not of the folders that --folders names.")
        out.doubts += alike(names, "groups")
        studies = len({header.get("StudyInstanceUID") for header in known} - {None})
        if len(names) == 1 and studies > 1:
            out.doubts.append(
                f"All images have the {asked} '{names[0]}', though they are of {studies:,} studies; if "
                "it was made anonymous, give '--group-column StudyInstanceUID' or a table with --labels."
            )
        if None in groups:
            out.doubts.append(
                f"{agree(groups.count(None), 'image', 'has', 'have')} no group, because no {asked} is stated."
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
            if not name or name not in keyword_dict:
                raise unknown("DICOM attribute", name, _keywords())
    named = (options.group_column, options.label_column)
    asked = (*more, *(name for name in named if name and _is_keyword(name, refs)))
    workers = max(1, min(default_workers(), len(refs) // _PER_WORKER))
    found: dict[str, dict[str, Any] | None] = {}
    if refs:
        with progress("reading headers", len(refs), "files") as bar:
            headers = read_headers(container.root, refs, tuple(dict.fromkeys(asked)), workers)
            for ref, header in zip(refs, headers, strict=True):
                found[ref] = header
                bar.advance(1)
    return Headers(found, options)


def _keywords() -> list[str]:
    """The keywords of all attributes that DICOM defines."""
    from pydicom.datadict import keyword_dict

    return sorted(filter(None, keyword_dict))


def _is_keyword(name: str, refs: Sequence[str]) -> bool:
    if not refs:
        return False
    from pydicom.datadict import keyword_dict

    return name in keyword_dict


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
