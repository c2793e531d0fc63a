"""The picture of a race at equal time: FD and CAS over the minutes of training, from its result file.

    python -m benchmarks.equal_compute_picture RESULT.jsonl PICTURE.png

A line joins the means over seeds of one recipe without options of sampling; dots are its seeds; the grey line
is what real training images reach.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_SCORES = {"fd": "FD to val and test (log scale)", "cas": "balanced accuracy trained on samples"}


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Both curves of the rows of a result file."""
    real = next(row for row in rows if row.get("recipe") == "real images of train")
    runs = [row for row in rows if "seconds" in row and "sampler" not in row]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axis, (score, title) in zip(figure.subplots(1, 2), _SCORES.items()):
        for colour, recipe in enumerate(dict.fromkeys(row["recipe"] for row in runs)):
            found: dict[float, list[float]] = defaultdict(list)
            for row in runs:
                if row["recipe"] == recipe:
                    found[row["seconds"] / 60].append(row[score])
            minutes = sorted(found)
            axis.plot(minutes, [np.mean(found[m]) for m in minutes], color=f"C{colour}", label=recipe)
            for m in minutes:
                axis.plot([m] * len(found[m]), found[m], ".", color=f"C{colour}")
        axis.axhline(real[score], color="grey", linestyle="--", label="real training images")
        axis.set(xscale="log", yscale="log" if score == "fd" else "linear", xlabel="minutes", title=title)
        axis.set_xticks(minutes := sorted({row["seconds"] / 60 for row in runs}), [f"{m:g}" for m in minutes])
        axis.minorticks_off()
    ticks = [30, 40, 60, 100]
    figure.axes[0].set_yticks(ticks, [str(t) for t in ticks])
    figure.axes[0].legend(fontsize=8)
    return figure


def main() -> None:
    """Read a result file and write its picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("picture", type=Path)
    asked = parser.parse_args()
    lines = asked.result.read_text(encoding="utf-8").splitlines()
    draw([json.loads(line) for line in lines if line]).savefig(asked.picture, dpi=110)


if __name__ == "__main__":
    main()
