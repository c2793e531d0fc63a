"""The section on reader studies: whether people tell synthetic images from real ones."""

from __future__ import annotations

from plenish.metrics.reader_study import accuracy, answers_of, readings, readings_of_run
from plenish.metrics.statistics import Interval
from plenish.metrics.words import with_interval
from plenish.report.inputs import ReportInputs
from plenish.report.page import Notes, Section, Table


def readers(inputs: ReportInputs) -> Section | None:
    """One row a reading, with 95 % intervals; half the images are real, so that guessing is right in half."""
    found = readings(inputs.synthetic) if inputs.synthetic is not None else []
    found += readings_of_run(inputs.run.path) if inputs.run is not None else []
    if not found:
        return None
    rows: list[dict[str, str | float | None]] = []
    for content in found:
        answers = answers_of(content)
        rows.append(
            {
                "reader": str(content["reader"]), "date": str(content["created"])[:10],
                "images": len(answers),
                "right": _share(accuracy(answers)), "real taken for real": _share(accuracy(answers, "real")),
                "synthetic taken for synthetic": _share(accuracy(answers, "synthetic")),
            }
        )  # fmt: skip
    notes = []
    names = [str(content["reader"]) for content in found]
    if len(names) > len(set(names)):
        notes.append(
            "Somebody read several times, perhaps images seen before: such readings are not independent."
        )
    lead = (
        "People were shown real and synthetic images, half and half in random order, and said of each which "
        "it is. Guessing is right in half of them; intervals are Wilson's 95 % of each reading alone."
    )
    words = ["date", "right", "real taken for real", "synthetic taken for synthetic"]
    return Section(
        "readers",
        "Can people tell them from real images?",
        [Table(rows, words=words), Notes(notes)],
        lead=lead,
    )


def _share(found: Interval) -> str:
    return with_interval(found.value, found.low, found.high, ".2f")
