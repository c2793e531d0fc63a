"""What can go wrong in a training, as data; `Failure.message` makes the words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

WORDS = {
    "weights-not-finite": "the weights of '{network}' are no longer finite numbers; lower --lr",
    "value-not-finite": "{name} is no longer a finite number; lower --lr",
}
"""The sentence of each failure code, filled in from its values."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """What went wrong.

    Attributes:
        code: which failure, a key of `WORDS`.
        since: kimg of the first log line that shows it; what was saved before that is still good.
        values: what its sentence needs.
    """

    code: str
    since: float
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def message(self) -> str:
        """One line: what happened, since when, and what to try."""
        return WORDS[self.code].format(since=self.since, **self.values)
