"""What a report is made from: Datasets, the Run and the two result files, and how they are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.errors import InputError

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset
    from plenish.runs import Run

Result = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Material:
    """The parts of a report; each may be absent.

    Attributes:
        data: the real Dataset.
        run: the generator's Run.
        synthetic: the synthetic Dataset.
        score: the content of score.json.
        study: the content of study.json.
        score_path: the folder score.json lies in (its pictures lie beside it).
        study_path: the folder study.json lies in.
        split: the split the report counts.
        title: the user's own title.
    """

    data: Dataset | None = None
    run: Run | None = None
    synthetic: Dataset | None = None
    score: Result | None = None
    study: Result | None = None
    score_path: Path | None = None
    study_path: Path | None = None
    split: str = "default"
    title: str = ""

    @property
    def generator(self) -> Mapping[str, Any]:
        """The synthetic Dataset's generator record, from itself or from a result file; empty when unknown."""
        if self.synthetic is not None and isinstance(self.synthetic.manifest.extra.get("generator"), Mapping):
            found: Mapping[str, Any] = self.synthetic.manifest.extra["generator"]
            return found
        for result in (self.score, self.study):
            record = ((result or {}).get("synthetic") or {}).get("generator")
            if isinstance(record, Mapping):
                return record
        return {}

    @property
    def others(self) -> str:
        """What stands beside the real images: `synthetic` ones, or, as a baseline, `other real` ones."""
        from plenish.report.words import others

        return others(self.score, self.study, opened=self.synthetic)

    @property
    def training(self) -> dict[str, Any]:
        """The Run's configuration with the schedule it ended with, which a prolonged Run has longer."""
        if self.run is None:
            return {}
        config = dict(self.run.config.get("config") or {})
        schedule = self.run.status.get("schedule")
        if isinstance(schedule, Mapping) and schedule:
            config["schedule"] = {**(config.get("schedule") or {}), **schedule}
        return config

    @property
    def is_phantom(self) -> bool:
        """Whether the images of the report are procedural phantoms instead of pictures of anything."""
        if self.data is not None and self.data.manifest.extra.get("phantom"):
            return True
        return any(((result or {}).get("real") or {}).get("phantom") for result in (self.score, self.study))

    @property
    def name(self) -> str:
        """The real Dataset's name, as far as it is known."""
        if self.data is not None:
            return self.data.name
        for result in (self.score, self.study):
            if result and (result.get("real") or {}).get("name"):
                return str(result["real"]["name"])
        if self.run is not None:
            return str((self.run.config.get("data") or {}).get("name") or self.run.path.name)
        return self.synthetic.name if self.synthetic is not None else ""


def load_result(path: Path, kind: str) -> tuple[Result, Path]:
    """Read score.json or study.json.

    Args:
        path: the folder made by the verb, or the JSON file itself.
        kind: "score" or "study".

    Returns:
        The content and the folder.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    file = path if path.suffix == ".json" else path / f"{kind}.json"
    if not file.is_file():
        raise InputError(f"{path} holds no {kind}.json; make it with 'plenish {kind} … {path}'.")
    content = files.read_json(file)
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise InputError(f"{file} is not the result of 'plenish {kind}'; give the folder that command made.")
    if content.get("schema") != 1:
        raise InputError(
            f"{file} has layout version {content.get('schema')!r}; make it again with this Plenish."
        )
    return content, file.parent


def gather(
    *, data: Path | None = None, run: Path | None = None, synthetic: Path | None = None,
    score: Path | None = None, study: Path | None = None, split: str = "default", title: str = "",
) -> Material:  # fmt: skip
    """Open what was given, and follow it to what was not.

    A result file names its Datasets and a synthetic Dataset names its Run. Those are opened too when they
    still lie there unchanged, so that one path is enough for a full report.

    Raises:
        InputError: something given cannot be opened, or the parts are about different Datasets.
    """
    from plenish.datasets.dataset import Dataset
    from plenish.runs import Run

    found = Material(split=split, title=title)
    if score is not None:
        content, folder = load_result(Path(score), "score")
        found = dataclasses.replace(found, score=content, score_path=folder)
    if study is not None:
        content, folder = load_result(Path(study), "study")
        found = dataclasses.replace(found, study=content, study_path=folder)
    results = [result for result in (found.score, found.study) if result]
    found = dataclasses.replace(
        found,
        data=Dataset.open(data) if data is not None else _follow(results, "real"),
        synthetic=Dataset.open(synthetic) if synthetic is not None else _follow(results, "synthetic"),
    )
    found = dataclasses.replace(found, run=Run.open(run) if run is not None else _follow_run(found.generator))
    if found.data is None and found.run is not None:
        found = dataclasses.replace(found, data=_open_same(found.run.config.get("data") or {}))
    _agree(found)
    return found


def _open_same(record: Mapping[str, Any]) -> Dataset | None:
    """The Dataset a record names, if it is still there with the same pixels."""
    from plenish.datasets.dataset import Dataset

    path = Path(str(record.get("path") or ""))
    if not record.get("path") or not (path / "dataset.json").is_file():
        return None
    try:
        dataset = Dataset.open(path)
    except InputError:
        return None
    return dataset if record.get("pixels_hash") in (None, dataset.manifest.pixels_hash) else None


def _follow(results: list[Result], side: str) -> Dataset | None:
    opened = (_open_same(result.get(side) or {}) for result in results)
    return next((dataset for dataset in opened if dataset is not None), None)


def _follow_run(generator: Mapping[str, Any]) -> Run | None:
    from plenish.runs import Run

    place = generator.get("path") or generator.get("run_path") or generator.get("run")
    if not isinstance(place, str) or not (Path(place) / "config.json").is_file():
        return None
    try:
        run = Run.open(place)
    except InputError:
        return None
    return run if generator.get("run_id") in (None, run.id) else None


def _agree(found: Material) -> None:
    """Refuse to put numbers of different Datasets on one page."""
    known: dict[str, Any] = {}
    if found.data is not None:
        known["the Dataset"] = found.data.manifest.pixels_hash
    if found.run is not None:
        known["the Run"] = (found.run.config.get("data") or {}).get("pixels_hash")
    for label, result in (("the score", found.score), ("the study", found.study)):
        if result:
            known[label] = (result.get("real") or {}).get("pixels_hash")
    stated = {label: value for label, value in known.items() if value}
    if len(set(stated.values())) > 1:
        first, *others = stated
        other = next(label for label in others if stated[label] != stated[first])
        raise InputError(
            f"{first.capitalize()} and {other} are about different real images (their pixels have different "
            "hashes); "
            "give parts that belong together."
        )
