"""`plenish report`: one self-contained page of a Dataset, a Run, synthetic images, scores and a study."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, TypeVar

from plenish import files
from plenish.errors import InputError
from plenish.metrics.quality import kimg_of
from plenish.metrics.score import ScoreResult
from plenish.progress import warn
from plenish.report import (
    copies,
    likeness,
    readers,
    record,
    results,
    samples,
    sections,
    study_parts,
    training,
)
from plenish.report.headline import cards
from plenish.report.inputs import ReportInputs, gather
from plenish.report.page import render_page
from plenish.study.summaries import Study
from plenish.wording import images_shown, plural

Result = TypeVar("Result", ScoreResult, Study)

_NOT_PAGES = (".txt", ".md", ".pdf", ".json", ".csv", ".png", ".svg", ".zip", ".docx", ".ipynb")
_SECTIONS = (
    study_parts.generators, samples.samples, results.study, study_parts.doses, study_parts.elsewhere,
    study_parts.under_attack,
    copies.copies, likeness.told_apart, readers.readers, likeness.labels, results.scores,
    record.limits, sections.asked, sections.data_and_split, training.training,
    record.repeat, record.provenance, record.environment,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        path: the HTML file.
        sections: headings of its sections.
        verdict: the headline's answers, question → answer.
    """

    path: Path
    sections: tuple[str, ...]
    verdict: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "report": str(self.path), "bytes": self.path.stat().st_size, "sections": list(self.sections),
            **self.verdict,
        }  # fmt: skip


def write_report(
    out: Path, *, data: Path | None = None, run: Path | None = None, synthetic: Path | None = None,
    score: Path | None = None, study: Path | None = None, split: str = "default", title: str = "",
) -> Report:  # fmt: skip
    """Write one self-contained HTML report of everything that is known.

    A score or a study names the Datasets it was made from, and a synthetic Dataset its Run; these are found
    if they were not moved.

    Args:
        out: the HTML file to write (a name that ends in .html), or a folder to make that will hold
            report.html.
        data: the real Dataset.
        run: the generator's Run.
        synthetic: the synthetic Dataset.
        score: the folder made by 'plenish score'.
        study: the folder made by 'plenish study'.
        split: the split to count and to show images of.
        title: heading of the report; by default made from the Dataset's name.

    Returns:
        What was written and the answers on its first lines.

    Raises:
        InputError: nothing to report on was given, a part cannot be read, the parts do not belong together,
            or OUT exists.
    """
    given = {"data": data, "run": run, "synthetic": synthetic, "score": score, "study": study}
    if not any(given.values()):
        raise InputError("Nothing to report on; give --data, --run, --synthetic, --score or --study.")
    out = Path(out)
    if out.suffix.lower() in _NOT_PAGES:
        raise InputError(
            f"{out} is no HTML file; a report is one: give a name that ends in .html, or a folder."
        )
    inputs = gather(**given, split=split)
    if inputs.run is not None and inputs.run.kind == "classifier":
        raise InputError(
            f"{run} is a classifier's Run, and a report is of a generator's; a classifier's page is its "
            "report.html, which --test writes, and 'plenish predict' and 'plenish attack' write others."
        )
    if out.suffix.lower() in (".html", ".htm"):
        files.refuse_existing(out)
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        return _write(out, inputs, title)
    config = {"report": {key: str(value) for key, value in given.items()}, "split": split, "title": title}
    files.refuse_existing(out)  # What it would show may have changed since.
    with files.atomic_dir(out, config) as folder:
        report = _write(folder / "report.html", inputs, title)
    return dataclasses.replace(report, path=out / "report.html")


def write_own_report(folder: Path, kind: Literal["run", "score", "study"]) -> Path:
    """Write `report.html` of a Run, score or study into its own folder, over an older one."""
    given: dict[str, Any] = {kind: folder}
    return _write(folder / "report.html", gather(**given)).path


def with_report(result: Result, kind: Literal["score", "study"]) -> Result:
    """A result with its report written beside it; where a drawing library is missing, the result alone."""
    try:
        return dataclasses.replace(result, report=write_own_report(result.path, kind))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{result.path} lacks its report; 'plenish report' makes one") from None
    except ImportError as error:
        warn(f"the report could not be written ({error}); {result.path} has the result without it.")
        return result


def _write(path: Path, inputs: ReportInputs, title: str = "") -> Report:
    shown = [section for make in _SECTIONS if (section := make(inputs))]
    answers = cards(inputs)
    html = render_page(
        title or _title(inputs), _subtitle(inputs), shown, answers, phantom=inputs.is_phantom,
        stated_use=inputs.data.manifest.intended_use if inputs.data is not None else "",
    )  # fmt: skip
    files.write_text(path, html)
    return Report(path, tuple(s.title for s in shown), {card.question: card.answer for card in answers})


def _title(inputs: ReportInputs) -> str:
    if inputs.study is not None:
        return f"Synthetic images for {inputs.name}"
    if inputs.kind != "synthetic":
        return f"Real images compared with {inputs.name}: a baseline"
    if inputs.score is not None:
        what = "Synthetic images" if inputs.run is not None else "Scores of synthetic images"
        return f"{what} for {inputs.name}"
    return f"Training on {inputs.name}" if inputs.run is not None else inputs.name


def _subtitle(inputs: ReportInputs) -> str:
    facts = [plural(len(inputs.data), "real image")] if inputs.data is not None else []
    if inputs.synthetic is not None:
        facts.append(plural(len(inputs.synthetic), f"{inputs.kind} image"))
    if inputs.run is not None and (family := inputs.training.get("family")):
        kimg = kimg_of(inputs.checkpoint)
        facts.append(f"generator: {family}" + ("" if kimg is None else f", after {images_shown(kimg)}"))
    return " · ".join(facts)
