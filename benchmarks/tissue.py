"""Tissue found on mostly empty slides: recall by kind of fragment and precision, beside histolab and CLAM.

    pip install --target THERE --no-deps histolab opencv-python-headless
    python benchmarks/tissue.py --slides FOLDER --libraries THERE --out benchmarks/results/tissue.json

The slides are phantoms (`plenish slides phantom --content fragments`), made in FOLDER unless they are there:
30,000×20,000 pixels at 0.5 µm, for each seed one in JPEG of quality 90 and one in JPEG 2000 of 70, as many of
Aperio's files state. Seeds 0 to 2 were used to choose the defaults of Plenish; one default (the deviations of
glass) was changed after a first reading of seeds 10 to 14. Figures are of others. Areas are counted on a
raster of 4 µm. The truth of fat is its outline, with the fat that the cells hold.

histolab's mask is its `TissueMask` with default filters. CLAM's is made here from the published steps of its
segmentation: HSV saturation of the level nearest to 64 times smaller, median blur, threshold, closing, areas
of contours and holes in units of 512×512 pixels of level 0. Its defaults drop pieces below 100 such units, so
the preset for biopsies is run too, and the defaults without a least area.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

QUALITY = {"jpeg": 90, "jpeg2000": 70}
RASTER = 8
"""Pixels of level 0 that a pixel of the raster measures."""
Mask = NDArray[np.bool_]


def plenish_mask(path: Path) -> Mask:
    from plenish.slides.reader import open_slide
    from plenish.slides.tissue import TissueOptions, slide_tissue

    with open_slide(path) as slide:
        return slide_tissue(slide, TissueOptions(), slide.scale.mpp)[0]


def histolab_mask(path: Path) -> Mask:
    from histolab.masks import TissueMask
    from histolab.slide import Slide

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(TissueMask()(Slide(path, processed_path=tempfile.gettempdir())), bool)


def clam_mask(
    path: Path, sthresh: int, mthresh: int, close: int, a_t: float, a_h: float, most_holes: int
) -> Mask:
    """The steps of CLAM's segmentation with these parameters (its preset files name them alike)."""
    import cv2
    import openslide

    with openslide.OpenSlide(path) as slide:
        level = slide.get_best_level_for_downsample(64)
        rgb = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB"))
        unit = 512**2 / slide.level_downsamples[level] ** 2
    grey = cv2.medianBlur(np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]), mthresh)
    found = (grey > sthresh).astype(np.uint8) * 255
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((close, close), np.uint8))
    contours, tree = cv2.findContours(found, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros(found.shape, np.uint8)
    for number, contour in enumerate(contours):
        if tree[0][number][3] >= 0:
            continue
        inner = [hole for k, hole in enumerate(contours) if tree[0][k][3] == number]
        area = cv2.contourArea(contour) - sum(map(cv2.contourArea, inner))
        if area <= 0 or area <= a_t * unit:
            continue
        cv2.drawContours(mask, [contour], -1, 1, cv2.FILLED)
        inner = sorted(inner, key=cv2.contourArea, reverse=True)[:most_holes]
        cv2.drawContours(mask, [h for h in inner if cv2.contourArea(h) > a_h * unit], -1, 0, cv2.FILLED)
    return mask.astype(bool)


METHODS: dict[str, Callable[[Path], Mask]] = {
    "plenish": plenish_mask,
    "histolab": histolab_mask,
    "CLAM, defaults": lambda path: clam_mask(path, 8, 7, 4, 100, 16, 8),
    "CLAM, preset for biopsies": lambda path: clam_mask(path, 15, 11, 2, 1, 1, 2),
    "CLAM, defaults without a least area": lambda path: clam_mask(path, 8, 7, 4, 0, 16, 8),
}


def truth(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[tuple[str, str]]]:
    """A raster of kinds, 0 for glass, and for each number from 1 its role and kind; tissue lies on top."""
    features = json.loads(path.read_text())["features"]
    features.sort(key=lambda one: one["properties"]["metadata"]["role"] == "tissue")
    kinds: list[tuple[str, str]] = []
    image = Image.new("L", (size[0] // RASTER, size[1] // RASTER))
    draw = ImageDraw.Draw(image)
    for one in features:
        kind = (one["properties"]["metadata"]["role"], one["properties"]["classification"]["name"])
        if kind not in kinds:
            kinds.append(kind)
        points = (np.array(one["geometry"]["coordinates"][0]) / RASTER - 0.5).tolist()
        draw.polygon([tuple(point) for point in points], fill=kinds.index(kind) + 1)
    return np.asarray(image), kinds


def fitted(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask of the whole slide on the raster, by the nearest pixel."""
    across, down = size[0] / mask.shape[1], size[1] / mask.shape[0]
    columns, rows = (
        np.minimum(((np.arange(side // RASTER) + 0.5) * RASTER / step).astype(int), limit - 1)
        for side, step, limit in zip(size, (across, down), mask.shape[::-1])
    )
    return mask[rows[:, None], columns]


def measure(paths: list[Path]) -> dict[str, Any]:
    """Recall by kind, precision, mm² of what is not tissue by kind, and seconds, of each method."""
    import openslide

    report: dict[str, Any] = {}
    for name, method in METHODS.items():
        covered: dict[tuple[str, str], float] = defaultdict(float)
        present: dict[tuple[str, str], float] = defaultdict(float)
        lost: dict[str, int] = defaultdict(int)
        precisions, seconds = [], 0.0
        for path in paths:
            with openslide.OpenSlide(path) as slide:
                size, mpp = slide.dimensions, float(slide.properties["openslide.mpp-x"])
            start = time.process_time()
            found = method(path)
            seconds += time.process_time() - start
            mask = fitted(found, size)
            kinds, names = truth(path.with_suffix(".geojson"), size)
            mm2 = (RASTER * mpp / 1000) ** 2
            for number, kind in enumerate([("glass", "glass"), *names]):
                present[kind] += float((kinds == number).sum()) * mm2
                covered[kind] += float((mask & (kinds == number)).sum()) * mm2
            good = sum(
                float((mask & (kinds == k)).sum()) for k, kind in enumerate(names, 1) if "tissue" in kind
            )
            precisions.append(good / max(mask.sum(), 1))
            for one in json.loads(path.with_suffix(".geojson").read_text())["features"]:
                if one["properties"]["metadata"]["role"] == "tissue":
                    x, y = (np.array(one["geometry"]["coordinates"][0]) / RASTER).T.astype(int)
                    box = np.s_[y.min() : y.max() + 1, x.min() : x.max() + 1]
                    lost[one["properties"]["classification"]["name"]] += not mask[box].any()
        tissue = [kind for kind in present if kind[0] == "tissue"]
        hit, called = sum(covered[kind] for kind in tissue), sum(covered.values())
        report[name] = {
            "recall": {kind[1]: round(covered[kind] / present[kind], 4) for kind in sorted(tissue)},
            "fragments_lost": {kind: count for kind, count in sorted(lost.items()) if count},
            "precision": round(hit / called, 4) if called else None,
            "precision_least": round(min(precisions), 4),
            "mm2_not_tissue": {
                kind[1]: round(area, 4) for kind, area in sorted(covered.items()) if kind[0] != "tissue"
            },
            "processor_seconds_a_slide": round(seconds / len(paths), 2),
        }
    report["mm2_of_tissue"] = {kind[1]: round(present[kind], 4) for kind in sorted(tissue)}
    return report


def make(folder: Path, seed: int, compression: str) -> Path:
    """The slide of a seed, made unless it is there."""
    out = folder / f"{compression}-{seed}"
    if not out.exists():
        words = f"slides phantom {out} --slides 1 --content fragments --width 30000 --height 20000 --quiet"
        words += f" --json --seed {seed} --compression {compression} --quality {QUALITY[compression]}"
        subprocess.run(
            [sys.executable, "-m", "plenish", *words.split()], check=True, stdout=subprocess.DEVNULL
        )
    return out / "phantom-0000.tif"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slides", type=Path, required=True, help="folder of the slides, made where missing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22, 23, 24])
    parser.add_argument("--compressions", nargs="+", default=["jpeg", "jpeg2000"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--libraries", type=Path, help="folder with histolab and OpenCV")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.libraries:
        sys.path.append(str(options.libraries))
    for name in set(METHODS) - set(options.methods):
        del METHODS[name]
    by_compression = {
        compression: measure([make(options.slides, seed, compression) for seed in options.seeds])
        for compression in options.compressions
    }
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    shown = [word if not word.startswith("/") else Path(word).name.upper() for word in sys.argv[1:]]
    report = {
        "command": "python benchmarks/tissue.py " + " ".join(shown),
        "machine": {
            "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
            "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
        },
        "seeds": options.seeds,
    } | by_compression  # fmt: skip
    if options.libraries:
        names = ("histolab", "opencv-python-headless", "openslide-python", "scikit-image", "numpy")
        report["versions"] = {name: version(name) for name in names}
    text = json.dumps(report, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
