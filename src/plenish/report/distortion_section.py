"""The section of a profile that says how much --fit stretch distorted the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.fitting import DISTORTED, DISTORTION
from plenish.report.figures import histogram
from plenish.report.page import Charts, Facts, Pictures, Section, cell
from plenish.report.pictures import sheet


def distortion_section(found: Mapping[str, Any], dataset: Dataset) -> Section:
    """Numbers, a histogram, and the most distorted images.

    Args:
        found: as `datasets.distortion.audit` gives it.
        dataset: the Dataset.
    """
    last = found["edges"][-1]
    edges = [*found["edges"], last + 0.1]
    words = f"longer / shorter side; the last bin is {last:g} and more"
    drawn = histogram("Distortion", edges, {"images": found["counts"]}, threshold=DISTORTED, x_label=words)
    far = sum(count for low, count in zip(found["edges"], found["counts"], strict=True) if low >= DISTORTED)
    facts = {
        "Median ratio": f"{found['median']:.3f}", "95th percentile": f"{found['p95']:.3f}",
        "Largest": f"{found['largest']:.3f}", f"Images from {DISTORTED:g}": far, "Column": DISTORTION,
    }  # fmt: skip
    blocks: list[Any] = [Facts({name: cell(value) for name, value in facts.items()}), Charts([drawn])]
    if found["rows"]:
        rows = np.array(found["rows"], np.int64)
        ratios = dataset.table[DISTORTION].to_numpy(float)[rows]
        caption = f"The most distorted, by falling ratio: {ratios[0]:.2f} to {ratios[-1]:.2f}"
        shown = sheet(dataset.pixels.read(rows), caption, columns=12, tile=72, caption=caption)
        blocks.append(Pictures([shown], wide=True))
    lead = "The images were stretched to squares; the ratio is the longer over the shorter side before."
    return Section("distortion", "Distortion", blocks, lead)
