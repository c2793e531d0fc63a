"""The Runs and Datasets that the studio was started with; requests name them by id, never by path."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.runs import Run


def id_of(path: Path) -> str:
    """A short id of a folder."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]


def names_of_runs(paths: Mapping[str, Path]) -> dict[str, str]:
    """A name for each Run by id: that of its folder, with the folders above where others are called so too.

    Args:
        paths: folders by id, all different.
    """
    names: dict[str, str] = {}
    for key, path in paths.items():
        parts = path.resolve().parts[::-1]
        namesakes = [p.resolve().parts[::-1] for k, p in paths.items() if k != key and p.name == path.name]
        above = next(n for n in range(len(parts) + 1) if all(p[: n + 1] != parts[: n + 1] for p in namesakes))
        names[key] = f"{path.name} ({'/'.join(parts[above:0:-1])})" if above else path.name
    return names


class Catalogue:
    """What can be looked at.

    Attributes:
        datasets: opened Datasets by id, in the order given.
    """

    def __init__(
        self, runs: Sequence[Path] = (), data: Sequence[Path] = (), new_runs: Path | None = None
    ) -> None:
        """Open what was given on the command line.

        Args:
            runs: Runs, or folders of Runs.
            data: Datasets.
            new_runs: a folder of Runs that may be empty or missing.

        Raises:
            InputError: one of them is none.
        """
        self.datasets: dict[str, Dataset] = {id_of(path): Dataset.open(path) for path in data}
        self._given = [self._folder(path) for path in runs]
        self._new_runs = new_runs
        if not self.runs() and runs:
            raise InputError(f"There is no Run in {', '.join(map(str, runs))}; give Runs or folders of Runs.")

    @staticmethod
    def _folder(path: Path) -> Path:
        if not path.is_dir():
            raise InputError(f"{path} is not a folder; give Runs or folders of Runs.")
        if (path / "config.json").is_file():
            Run.open(path)
        return path

    def runs(self) -> dict[str, Path]:
        """The folders of the Runs there are now, by id."""
        found: dict[str, Path] = {}
        for folder in [*self._given, *([self._new_runs] if self._new_runs else [])]:
            for path in [folder] if (folder / "config.json").is_file() else sorted(folder.glob("*")):
                if (path / "config.json").is_file() and (path / "status.json").is_file():
                    found[id_of(path)] = path
        return found

    def run(self, key: str, among: Mapping[str, Path] | None = None) -> Run:
        """A Run by id.

        Args:
            key: the id.
            among: what `runs` returned, where several are asked for at once.

        Raises:
            InputError: there is none of that id, or it is damaged.
        """
        path = (self.runs() if among is None else among).get(key)
        if path is None:
            raise InputError("There is no such Run here (any longer).", code="missing")
        return Run.open(path)

    def dataset(self, key: str) -> Dataset:
        """A Dataset by id.

        Raises:
            InputError: there is none of that id.
        """
        if key not in self.datasets:
            raise InputError("There is no such Dataset here.", code="missing")
        return self.datasets[key]

    def real(self) -> dict[str, Dataset]:
        """The Datasets of real images."""
        return {key: data for key, data in self.datasets.items() if not data.is_synthetic}

    def synthetic(self) -> dict[str, Dataset]:
        """The Datasets of synthetic images."""
        return {key: data for key, data in self.datasets.items() if data.is_synthetic}
