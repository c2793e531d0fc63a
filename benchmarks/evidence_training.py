"""Real trainings of planted truths on phantoms, for `benchmarks/evidence.py train`.

Each study has a phantom of its own: new patients, one class starved in train. Truths: `same` (the same images
twice over: never "helps" beyond chance), `shuffled` (images of new patients with permuted labels: never) and
`held back` (images of new patients of the starved class, given as synthetic: "helps"). The number of seeds is
the study's own advice for the gain that is to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files, settings
from plenish.commands.datasets import make_phantom
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.writer import DatasetWriter
from plenish.metrics.resampling import Ints, unit_codes
from plenish.study.config import StudyConfig
from plenish.study.experiment import run_study
from plenish.study.power import StudySize, typical_noise
from plenish.study.verdicts import find_row

SIZE, TILES = 32, 12
PATIENTS = {"train": 16, "val": 6, "test": 24, "new": 24}
STARVED, LEFT = 1, 6
"""The class that is starved in train, and how many of its images are left."""
AIM = 0.08
"""The gain that the study is designed to find; fixed before any was trained."""
MOST_SEEDS = 10
TRUTHS = {"same": "duplicate", "shuffled": "shuffled", "held back": "real+synthetic@20"}


def train(work: Path, studies: int, steps: int) -> list[dict[str, Any]]:
    """Run all studies that are missing in `work`, and say what each found."""
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(studies):
        folder = work / f"{number:02d}"
        real = _prepare(folder, number)
        for truth, arm in TRUTHS.items():
            rows.append({"study": number, "truth": truth, **_study(folder, real, truth, arm, number, steps)})
            files.write_json(work / "rows.json", rows)
    return rows


def seeds_advised(test: Subset) -> int:
    """The smallest number of seeds, 3 to 10, at which a study of this test part finds the gain aimed at."""
    noise = typical_noise(test.codes, unit_codes(list(test.groups), len(test)))
    size = StudySize(noise, 3, StudyConfig().level)
    return min(size.seeds_for(lambda size: size.gain() <= AIM) or MOST_SEEDS, MOST_SEEDS)


def _study(folder: Path, real: Path, truth: str, arm: str, number: int, steps: int) -> dict[str, Any]:
    seeds = seeds_advised(Dataset.open(real).part("test", purpose="study"))
    synthetic = {"same": None, "shuffled": folder / "both", "held back": folder / "starved"}[truth]
    config = StudyConfig(arms=("real", arm), seeds=seeds, steps=steps, seed=number)
    with settings.use(quiet=True):
        content = run_study(real, folder / truth.replace(" ", "-"), config, synthetic=synthetic).content
    difference = find_row(content["differences"], arm=arm)
    return {
        "seeds": seeds, "groups": content["test"]["groups"],
        "announced": content["power"]["planned"]["gain"], "observed": content["power"]["observed"]["gain"],
        **{key: difference[key] for key in ("mean", "low", "high")},
        "verdict": find_row(content["verdicts"], arm=arm)["verdict"], "seconds": content["seconds"],
    }  # fmt: skip


def _prepare(folder: Path, number: int) -> Path:
    """The real Dataset of a study, and two of new patients that say they are synthetic."""
    phantom, real = folder / "phantom", folder / "real"
    if not phantom.exists():
        folder.mkdir(exist_ok=True)
        make_phantom(phantom, patients=sum(PATIENTS.values()), tiles=TILES, size=SIZE, seed=1000 + number)
    data = Dataset.open(phantom)
    groups, codes = data.table["group"].to_numpy(), data.table["label"].map(data.labels.code).to_numpy()
    part = np.repeat(list(PATIENTS), list(PATIENTS.values()))[unit_codes(groups, len(groups))]
    scarce = np.flatnonzero((part == "train") & (codes == STARVED))
    kept = part != "new"
    kept[np.random.default_rng(number).permutation(scarce)[LEFT:]] = False
    if not real.exists():
        _write(real, data, np.flatnonzero(kept), part)
    new = np.flatnonzero(part == "new")
    for name, chosen in (("both", new), ("starved", new[codes[new] == STARVED])):
        if not (folder / name).exists():
            origin = Dataset.open(real).provenance("default") | {"part": "train"}
            _write(folder / name, data, chosen, None, generator={"run": "held back", "data": origin})
    return real


def _write(out: Path, data: Dataset, chosen: Ints, part: Any, **extra: Any) -> None:
    """A Dataset of some rows: real ones with their parts, or said to be synthetic."""
    labels, groups = data.table["label"].to_numpy(), data.table["group"].to_numpy()
    table = [
        {"label": labels[i], "origin": "synthetic"} if part is None
        else {"label": labels[i], "group": groups[i], "part": part[i]}
        for i in chosen
    ]  # fmt: skip
    with DatasetWriter(
        out, name=out.name, size=SIZE, channels=3, labels=data.labels, config={}, extra=extra
    ) as writer:
        writer.add(data.pixels.read(chosen), table)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Verdicts counted by truth."""
    lines = ["truth       studies  helps  hurts  equivalent  no evidence  mean difference"]
    for truth in TRUTHS:
        own = [row for row in rows if row["truth"] == truth]
        counts = [sum(row["verdict"] == word for row in own) for word in
                  ("helps", "hurts", "equivalent", "no evidence")]  # fmt: skip
        mean = 100 * float(np.mean([row["mean"] for row in own]))
        shown = " ".join(f"{count:{width}d}" for count, width in zip(counts, (6, 6, 11, 12)))
        lines.append(f"{truth:10s} {len(own):8d} {shown} {mean:+16.1f}")
    return "\n".join(lines)
