"""Which options each kind of source accepts: the others are refused, so that none is ignored in silence."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from plenish.configuration import option_name
from plenish.datasets.sources.listing import SourceOptions
from plenish.errors import InputError

_EVERYWHERE = frozenset({"preset", "class_names", "opt_out", "strict"})
"""Options that `recognise` follows whatever the source is."""
COLUMNS = frozenset({
    "label_column", "label_columns", "group_column", "split_column", "split_map", "label_kind",
    "label_separator", "missing", "missing_words", "folders",
})  # fmt: skip
"""What sources accept whose images have rows with columns."""
_DEFAULTS = SourceOptions().completed()
_GO_WITH = {
    "modality": "'--preset brats'", "dicom_columns": "DICOM files", "labels": "a folder or archive of images",
    "folders": "a folder or archive of images",
}  # fmt: skip


class Accepted(NamedTuple):
    """The options that a kind of source accepts.

    Attributes:
        source: what it is, for a sentence that begins with it.
        options: names of fields of `SourceOptions`.
        instead: what to do where another is wanted, for the end of the sentence.
    """

    source: str
    options: frozenset[str] = frozenset()
    instead: str = ""

    def check(self, options: SourceOptions) -> None:
        """Refuse other options.

        Raises:
            InputError: one is given.
        """
        known = _EVERYWHERE | self.options
        given = [
            field.name
            for field in dataclasses.fields(options)
            if field.name not in known
            and getattr(options, field.name) not in (field.default, getattr(_DEFAULTS, field.name))
        ]
        if not given:
            return
        names = [
            f"{option_name(name)} (which goes with {_GO_WITH[name]})"
            if name in _GO_WITH
            else option_name(name)
            for name in given
        ]
        listed = " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])
        instead = f", or {self.instead}" if self.instead else ""
        raise InputError(
            f"{self.source} takes no {listed}; leave {'it' if len(given) == 1 else 'them'} out{instead}."
        )
