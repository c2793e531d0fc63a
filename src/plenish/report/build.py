"""`plenish report`: one self-contained page of a Dataset, a Run, synthetic images, scores and a study."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.errors import InputError
from plenish.wording import plural

if TYPE_CHECKING:
    from plenish.report.blocks import Card, Section
    from plenish.report.inputs import Material


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
    by themselves while they lie where they lay.

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
            or OUT is there already.
    """
    from plenish.report.inputs import gather

    given = {"data": data, "run": run, "synthetic": synthetic, "score": score, "study": study}
    if not any(given.values()):
        raise InputError(
            "A report needs something to report on; give --data, --run, --synthetic, --score or --study."
        )
    out = Path(out)
    material = gather(**given, split=split, title=title)
    if out.suffix.lower() in (".html", ".htm"):
        if out.exists():
            raise InputError(f"{out} already exists; choose another name or remove it first.")
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        return _write(out, material)
    config = {"report": {key: str(value) for key, value in given.items()}, "split": split, "title": title}
    with files.atomic_dir(out, config) as folder:
        report = _write(folder / "report.html", material)
    return dataclasses.replace(report, path=out / "report.html")


def write_score_report(folder: Path) -> Path:
    """Write (or write anew) `report.html` beside the `score.json` in `folder`; returns its path."""
    from plenish.report.inputs import gather

    return _write(Path(folder) / "report.html", gather(score=Path(folder))).path


def write_study_report(folder: Path) -> Path:
    """Write (or write anew) `report.html` beside the `study.json` in `folder`; returns its path."""
    from plenish.report.inputs import gather

    return _write(Path(folder) / "report.html", gather(study=Path(folder))).path


def write_run_report(folder: Path) -> Path:
    """Write (or write anew) `report.html` in the Run `folder`; returns its path."""
    from plenish.report.inputs import gather

    return _write(Path(folder) / "report.html", gather(run=Path(folder))).path


def _write(path: Path, material: Material) -> Report:
    sections = sections_of(material)
    from plenish.report.words import cards

    answers = cards(material.score, material.study, material.others)
    html = render(material, sections, answers)
    files.write_bytes(path, html.encode())
    return Report(path, tuple(s.title for s in sections), {card.question: card.answer for card in answers})


def sections_of(material: Material) -> list[Section]:
    """The sections of a report in reading order; those with nothing to say are left out."""
    from plenish.report import record, results, sections, training

    makers = (
        sections.asked, sections.samples, results.study, results.scores, results.copies, record.limits,
        sections.data_and_split, training.training, record.repeat, record.provenance, record.environment,
    )  # fmt: skip
    return [section for maker in makers if (section := maker(material)) is not None]


def render(material: Material, sections: list[Section], answers: list[Card]) -> str:
    """The page of what was gathered."""
    from plenish.report.page import render_page

    return render_page(
        material.title or _title(material),
        _subtitle(material),
        sections,
        answers,
        phantom=material.is_phantom,
        stated_use=material.data.manifest.intended_use if material.data is not None else "",
    )


def _title(material: Material) -> str:
    if material.study is not None or (
        material.score is not None and material.run is not None and material.others == "synthetic"
    ):
        return f"Synthetic images for {material.name}"
    if material.others != "synthetic":
        return f"Real images compared with {material.name}: a baseline"
    if material.score is not None:
        return f"Scores of synthetic images for {material.name}"
    if material.run is not None:
        return f"Training on {material.name}"
    return material.name


def _subtitle(material: Material) -> str:
    facts = []
    if material.data is not None:
        facts.append(plural(len(material.data), "real image"))
    if material.synthetic is not None:
        facts.append(plural(len(material.synthetic), f"{material.others} image"))
    if material.run is not None:
        facts.append(f"Run {material.run.id[:8]}")
    return " · ".join(facts)
