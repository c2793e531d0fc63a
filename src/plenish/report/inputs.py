"""What a report is made from: Datasets, the Run and the two result files, and how they are found."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.quality import Quality, from_record, of_run
from plenish.metrics.result_files import read_result
from plenish.runs import Run


@dataclasses.dataclass(frozen=True)
class ReportInputs:
    """The parts of a report; each may be absent.

    Attributes:
        data: the real Dataset.
        run: the generator's Run.
        synthetic: the synthetic Dataset.
        score: the content of score.json.
        study: the content of study.json.
        score_path: the folder of score.json and its picture.
        split: the split the report counts.
    """

    data: Dataset | None = None
    run: Run | None = None
    synthetic: Dataset | None = None
    score: Mapping[str, Any] | None = None
    study: Mapping[str, Any] | None = None
    score_path: Path | None = None
    split: str = "default"

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The result files there are."""
        return [result for result in (self.score, self.study) if result is not None]

    @property
    def generator(self) -> Mapping[str, Any]:
        """The synthetic Dataset's generator record, from itself or from a result file; empty when unknown."""
        found = [self.synthetic.manifest.extra] if self.synthetic is not None else []
        found += [result["synthetic"] or {} for result in self.results]
        records = (record.get("generator") for record in found)
        return next((record for record in records if isinstance(record, Mapping)), {})

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that the images are from, else the Run's best."""
        if found := self.generator.get("checkpoint"):
            return str(found)
        return (self.run.status.get("best") or {}).get("checkpoint") if self.run is not None else None

    @property
    def quality(self) -> Quality | None:
        """How good the generator is: by the score, else by the Run at the images' checkpoint."""
        scored = from_record(self.score.get("quality")) if self.score is not None else None
        if scored is not None or self.run is None:
            return scored
        return of_run(self.run, self.checkpoint)

    @property
    def kind(self) -> str:
        """What is compared with the real images: `synthetic` ones, or, as a baseline, `other real` ones."""
        origins = [(result["synthetic"] or {}).get("origin") for result in self.results]
        real = "real" in origins or (self.synthetic is not None and not self.synthetic.is_synthetic)
        return "other real" if real else "synthetic"

    @property
    def training(self) -> dict[str, Any]:
        """The Run's configuration with the schedule it ended with, which a prolonged Run has longer."""
        if self.run is None:
            return {}
        config = dict(self.run.config["config"])
        if schedule := self.run.status.get("schedule"):
            config["schedule"] = {**(config.get("schedule") or {}), **schedule}
        return config

    @property
    def is_phantom(self) -> bool:
        """Whether the images of the report are procedural phantoms instead of pictures of anything."""
        if self.data is not None and self.data.manifest.extra.get("phantom"):
            return True
        return any(result["real"]["phantom"] for result in self.results)

    @property
    def name(self) -> str:
        """The real Dataset's name, as far as it is known."""
        if self.data is not None:
            return self.data.name
        for result in self.results:
            return str(result["real"]["name"])
        if self.run is not None:
            return str(self.run.config["data"].get("name") or self.run.path.name)
        return self.synthetic.name if self.synthetic is not None else ""


def gather(
    *, data: Path | None = None, run: Path | None = None, synthetic: Path | None = None,
    score: Path | None = None, study: Path | None = None, split: str = "default",
) -> ReportInputs:  # fmt: skip
    """Open what was given, and what that refers to.

    A result file names its Datasets and a synthetic Dataset names its Run. Those are opened too when they
    are still there unchanged, so that one path is enough for a full report.

    Raises:
        InputError: something given cannot be opened, or the parts are about different Datasets.
    """
    scored, folder = read_result(score, "score") if score is not None else (None, None)
    studied = read_result(study, "study")[0] if study is not None else None
    found = ReportInputs(score=scored, study=studied, score_path=folder, split=split)
    found = dataclasses.replace(
        found,
        data=Dataset.open(data) if data is not None else _first_open(found, "real"),
        synthetic=Dataset.open(synthetic) if synthetic is not None else _first_open(found, "synthetic"),
    )
    trained = Run.open(run) if run is not None else _generator_run(found.generator)
    real = found.data
    if real is None and trained is not None:
        real = _open_same(trained.config["data"])
    found = dataclasses.replace(found, data=real, run=trained)
    _check_same_data(found)
    return found


def _first_open(inputs: ReportInputs, side: str) -> Dataset | None:
    opened = (_open_same(result[side] or {}) for result in inputs.results)
    return next((dataset for dataset in opened if dataset is not None), None)


def _open_same(record: Mapping[str, Any]) -> Dataset | None:
    """The Dataset a record names, if it is still there with the same pixels."""
    if isinstance(path := record.get("path"), str):
        with contextlib.suppress(InputError):
            dataset = Dataset.open(Path(path))
            if record.get("pixels_hash") in (None, dataset.manifest.pixels_hash):
                return dataset
    return None


def _generator_run(generator: Mapping[str, Any]) -> Run | None:
    """The Run a generator record names, if it is still there."""
    if isinstance(path := generator.get("run"), str):
        with contextlib.suppress(InputError):
            run = Run.open(path)
            if generator.get("run_id") in (None, run.id):
                return run
    return None


def _check_same_data(inputs: ReportInputs) -> None:
    """Refuse to put numbers of different Datasets on one page."""
    hashes: dict[str, Any] = {
        "Dataset": inputs.data and inputs.data.manifest.pixels_hash,
        "Run": inputs.run and inputs.run.config["data"].get("pixels_hash"),
        **{result["kind"]: result["real"]["pixels_hash"] for result in inputs.results},
    }
    known = {part: value for part, value in hashes.items() if value}
    first = next(iter(known), "")
    for part, value in known.items():
        if value != known[first]:
            raise InputError(
                f"The {first} and the {part} are about different real images (their pixels' hashes "
                "differ); give parts that belong together."
            )
