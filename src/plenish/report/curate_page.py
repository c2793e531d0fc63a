"""The page `plenish curate` writes: the funnel, what each step dropped, and what it nearly dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.curation import Taken, funnel
from plenish.datasets.curation_steps import STEPS, Step
from plenish.datasets.dataset import Dataset
from plenish.metrics.curate import CurateConfig, Curated, funnel_rows, words_of
from plenish.metrics.curation import curate_dataset
from plenish.report.chart_canvas import SERIES, Chart, canvas, chart, colour, shorten
from plenish.report.page import Card, Charts, Pictures, Section, Table, Text, render_page
from plenish.report.pictures import Picture, sheet
from plenish.wording import plural

_COLUMNS, _TILE = 12, 72


def curate_with_page(
    data: Path, out: Path, config: CurateConfig, *, dry_run: bool = False, known: Mapping[str, Step] = STEPS
) -> Curated:
    """`metrics.curation.curate_dataset`, with curate.html in OUT."""

    def page(folder: Path, dataset: Dataset, taken: Sequence[Taken]) -> None:
        files.write_text(folder / "curate.html", curate_page(dataset, taken))

    return curate_dataset(data, out, config, dry_run=dry_run, known=known, beside=page)


def curate_page(dataset: Dataset, taken: Sequence[Taken]) -> str:
    """The HTML page.

    Args:
        dataset: the Dataset that was curated.
        taken: its steps.
    """
    steps = funnel(dataset, taken)
    rows, left = funnel_rows(steps), steps[-1]["after"]
    table = Table(rows, words=("used",))
    sections = [
        Section("funnel", "Funnel", [table, Charts([_bars(steps)], wide=True)]),
        *(_step(f"step-{i}", dataset, one) for i, one in enumerate(taken, start=1)),
    ]
    most = max(taken, key=lambda one: len(one.dropped))
    cards = [
        Card("How many are left?", f"{left:,} of {len(dataset):,}", f"After {plural(len(taken), 'step')}."),
        Card("Which step dropped most?", most.planned.name, f"{len(most.dropped):,} of {most.before:,}."),
    ]
    return render_page(
        f"Curation of {dataset.name}", f"{left:,} of {len(dataset):,} images are left", sections, cards,
        phantom=bool(dataset.manifest.extra.get("phantom")), stated_use=dataset.manifest.intended_use,
    )  # fmt: skip


def _bars(steps: Sequence[dict[str, Any]]) -> Chart:
    """Images left after each step."""
    left = [int(row["after"]) for row in steps]
    with canvas(8.2, 0.7 + 0.32 * len(steps)) as (figure, axes):
        places = np.arange(len(steps))
        axes.barh(places, left, height=0.62, color=colour(SERIES[0]))
        for place, count in zip(places, left):
            axes.annotate(f"{count:,}", (count, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(places, [shorten(str(row["step"]), 40) for row in steps])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1.12 * max(1, max(left))), xlabel="images left")
        axes.grid(axis="y", visible=False)
        shown = "; ".join(f"{row['step']} {row['after']:,}" for row in steps)
        return chart(figure, "Images left after each step", shown)


def _step(key: str, dataset: Dataset, one: Taken) -> Section:
    pictures = []
    if len(one.worst):
        shown, what = one.worst, "dropped"
        if one.in_place is not None:
            shown = np.stack([one.in_place, one.worst], axis=1).ravel()
            what = "in pairs: what stays, and what was dropped in its favour"
        pictures.append(_sheet(dataset, shown, f"{what}: {len(one.worst):,} of {len(one.dropped):,}"))
    if one.clusters:
        of = sorted(one.clusters, key=lambda row: (one.clusters or {})[row])[: 4 * _COLUMNS]
        pictures.append(_sheet(dataset, np.array(of, np.int64), "kept, one cluster after the other"))
    if len(one.nearest):
        pictures.append(_sheet(dataset, one.nearest, "kept, nearest to being dropped first"))
    used = words_of(one.parameters)
    lead = f"{len(one.dropped):,} of {one.before:,} dropped" + (f"; {used}" if used else "") + "."
    blocks = [Pictures(pictures, wide=True), Text("" if pictures else "Nothing to show.")]
    return Section(key, one.planned.words, blocks, lead)


def _sheet(dataset: Dataset, rows: NDArray[np.int64], caption: str) -> Picture:
    images = dataset.pixels.read(np.asarray(rows, np.int64))
    return sheet(images, caption, columns=_COLUMNS, tile=_TILE, caption=caption)
