"""Tiles a second: reading with Plenish, OpenSlide and tiffslide, and whole tilings, with histolab's too.

    python benchmarks/tiling.py --tiffslide VENV/bin/python --histolab VENV/bin/python \
        --out benchmarks/results/tiling-cpu.json

The slide is a pyramidal JPEG TIFF that is made here (or --slide). Every reader runs in a process of its own,
with the interpreter that has it; one that cannot be imported is reported as such. Rounds take turns, so that
a slow minute hits all, and figures are medians over the rounds. Tiles per second of processor time (all
processes together) tell what quiet cores would do where others use the machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TILE = 256


def make_slide(path: Path, side: int) -> None:
    """Write a JPEG TIFF of 256 px tiles, 4:2:0, levels 1, 4 and 16: stained texture in a disc on glass."""
    import tifffile
    from imagecodecs import jpeg8_encode

    rng = np.random.default_rng(0)
    tiles = [_texture(rng) for _ in range(16)]
    glass = np.clip(243 + rng.normal(0, 1.5, (TILE, TILE, 3)), 0, 255).astype(np.uint8)
    columns = -(-side // TILE)

    def kind(row: int, column: int) -> int:
        inside = np.hypot(row - columns / 2, column - columns / 2) < 0.48 * columns
        return (row * 7 + column * 13) % 16 if inside else -1

    def encoded(factor: int) -> Any:
        edge = TILE // factor
        small = {
            key: tile.reshape(edge, factor, edge, factor, 3).mean((1, 3)).astype(np.uint8)
            for key, tile in [*enumerate(tiles), (-1, glass)]
        }
        known: dict[tuple[int, ...], bytes] = {}
        count = -(-side // factor // TILE)
        for row in range(count):
            for column in range(count):
                kinds = tuple(
                    kind(row * factor + i, column * factor + j) for i in range(factor) for j in range(factor)
                )
                if kinds not in known:
                    parts = [small[key] for key in kinds]
                    lines = [np.concatenate(parts[i : i + factor], 1) for i in range(0, factor**2, factor)]
                    known[kinds] = jpeg8_encode(
                        np.concatenate(lines),
                        level=80,
                        colorspace="rgb",
                        outcolorspace="ycbcr",
                        subsampling="420",
                    )
                yield known[kinds]

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in (1, 4, 16):
            file.write(
                encoded(factor), shape=(side // factor, side // factor, 3), dtype=np.uint8, tile=(TILE, TILE),
                compression="jpeg", photometric="ycbcr", subsampling=(2, 2), subfiletype=int(factor > 1),
                resolution=(20000 / factor, 20000 / factor), resolutionunit=3, metadata=None,
            )  # fmt: skip


def _texture(rng: np.random.Generator) -> np.ndarray:
    """A tile of smooth fields in two stains with grain, about as hard to pack as tissue at 20×."""
    field = np.zeros((TILE, TILE, 1))
    for scale in (4, 8, 16, 64):
        coarse = rng.normal(0, 1, (TILE // scale + 2, TILE // scale + 2, 1))
        field += np.kron(coarse, np.ones((scale, scale, 1)))[:TILE, :TILE] * scale**0.3
    share = 1 / (1 + np.exp(-field))
    colour = share * np.array([120, 60, 150]) + (1 - share) * np.array([225, 150, 195])
    return np.clip(colour + rng.normal(0, 6, (TILE, TILE, 1)), 0, 255).astype(np.uint8)


def places(side: int, count: int, offset: int) -> list[tuple[int, int]]:
    """Left upper corners of `count` tiles of the slide's middle, row by row."""
    wide = side // TILE
    first = wide // 2 - int(count**0.5) // 2
    edge = int(count**0.5)
    return [
        (x * TILE + offset, y * TILE + offset)
        for y in range(first, first + edge)
        for x in range(first, first + edge)
    ]


def openslide_reader(slide: Path) -> Callable[[int, int], Any]:
    import openslide

    handle = openslide.OpenSlide(slide)
    return lambda x, y: np.asarray(handle.read_region((x, y), 0, (TILE, TILE)).convert("RGB"))


def tiffslide_reader(slide: Path) -> Callable[[int, int], Any]:
    import tiffslide

    handle = tiffslide.TiffSlide(slide)
    return lambda x, y: handle.read_region((x, y), 0, (TILE, TILE), as_array=True)


def plenish_reader(slide: Path) -> Callable[[int, int], Any]:
    from plenish.slides.reader import open_slide

    handle = open_slide(slide)
    return lambda x, y: handle.read(0, x, y, TILE, TILE)


READERS = {"openslide": openslide_reader, "tiffslide": tiffslide_reader, "plenish": plenish_reader}


def read(name: str, slide: Path, side: int, count: int, offset: int) -> dict[str, Any]:
    """Read tiles one by one, after a few to warm up."""
    reader = READERS[name](slide)
    spots = places(side, count, offset)
    for spot in spots[:20]:
        reader(*spot)
    start, busy = time.perf_counter(), processor_seconds()
    for spot in spots:
        reader(*spot)
    seconds = time.perf_counter() - start
    return {"tiles": len(spots), "seconds": seconds, "processor_seconds": processor_seconds() - busy}


def tile_plenish(slide: Path, out: Path, workers: int, images: str | None) -> dict[str, Any]:
    """The whole verb: find the tissue, plan, read, filter, hash, write; counted is what was written."""
    from plenish import settings, tile_slides

    start = time.perf_counter()
    with settings.use(quiet=True):
        made = tile_slides(
            slide, out, level=0, min_sharpness=0.02, max_pen=0.9, workers=workers, images=images,  # type: ignore[arg-type]
        )  # fmt: skip
    seconds = time.perf_counter() - start
    row = made.slides[0]
    if row["rejected"]:
        raise RuntimeError(f"{row['rejected']} tiles were rejected, which are not to be counted")
    return {"tiles": row["tiles"], "seconds": seconds}


def tile_histolab(slide: Path, out: Path) -> dict[str, Any]:
    """GridTiler over the box of the largest tissue, which writes PNG files; it has one process."""
    from histolab.slide import Slide
    from histolab.tiler import GridTiler

    handle = Slide(slide, processed_path=out)
    tiler = GridTiler((TILE, TILE), level=0, check_tissue=False, suffix=".png")
    start = time.perf_counter()
    tiler.extract(handle, log_level="ERROR")
    seconds = time.perf_counter() - start
    return {"tiles": len(list(out.rglob("*.png"))), "seconds": seconds}


def child(arguments: list[str]) -> None:
    """What runs in a process of its own; prints one JSON line."""
    task, slide, rest = arguments[0], Path(arguments[1]), arguments[2:]
    busy = processor_seconds()
    try:
        if task == "read":
            found = read(rest[0], slide, int(rest[1]), int(rest[2]), int(rest[3]))
        elif task == "histolab":
            found = tile_histolab(slide, Path(rest[0]))
        else:
            found = tile_plenish(slide, Path(rest[0]), int(rest[1]), rest[2] if len(rest) > 2 else None)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    print(json.dumps({"processor_seconds": processor_seconds() - busy} | found))


def processor_seconds() -> float:
    """Processor time of this process and of the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def ask(python: str, *words: str) -> dict[str, Any]:
    """Run this file as a child with an interpreter."""
    done = subprocess.run(
        [python, __file__, "--child", *words], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no answer"])[-1]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def summed(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and best rate of a contestant, or why it could not run."""
    good = [one for one in rounds if "error" not in one]
    if not good:
        return {"not_run": rounds[0]["error"]}
    rates = [one["tiles"] / one["seconds"] for one in good]
    work = [one["tiles"] / one["processor_seconds"] for one in good]
    return {
        "tiles": good[0]["tiles"], "tiles_per_second": round(statistics.median(rates)),
        "best": round(max(rates)), "tiles_per_processor_second": round(statistics.median(work)),
        "all": [round(rate) for rate in rates],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=16384, help="of the slide that is made, pixels")
    parser.add_argument("--slide", type=Path, help="a slide to read instead")
    parser.add_argument("--tiles", type=int, default=900, help="tiles a round of reading")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tiffslide", default=sys.executable, help="interpreter that has tiffslide")
    parser.add_argument("--histolab", default=sys.executable, help="interpreter that has histolab")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        slide = options.slide or Path(place) / "slide.tif"
        if options.slide is None:
            make_slide(slide, options.side)
        report = race(slide, Path(place), options)
    text = json.dumps(report, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


def race(slide: Path, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All contestants in turn, round after round."""
    from plenish.slides.reader import open_slide

    with open_slide(slide) as opened:
        side = min(opened.width, opened.height)
    pythons = {"plenish": sys.executable, "openslide": sys.executable, "tiffslide": options.tiffslide}
    reads: dict[str, list[dict[str, Any]]] = {}
    tilings: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for grid, offset in (("aligned", 0), ("unaligned", 100)):
            for name, python in pythons.items():
                words = ("read", str(slide), name, str(side), str(options.tiles), str(offset))
                reads.setdefault(f"{name} {grid}", []).append(ask(python, *words))
        contests: dict[str, tuple[str, ...]] = {
            "plenish": (sys.executable, "tile", str(slide), "OUT", str(options.workers)),
            "plenish, one worker": (sys.executable, "tile", str(slide), "OUT", "1"),
        }
        if number < 1:  # Slow ones.
            contests["plenish, with PNG files"] = (*contests["plenish"], "png")
            contests["histolab GridTiler"] = (options.histolab, "histolab", str(slide), "OUT")
        for name, (python, *words) in contests.items():
            out = place / "out"
            tilings.setdefault(name, []).append(ask(python, *(w if w != "OUT" else str(out) for w in words)))
            shutil.rmtree(out, ignore_errors=True)
    found = {name: summed(rounds) for name, rounds in reads.items()}
    ours, theirs = found["plenish aligned"], found["openslide aligned"]
    return {
        "command": "python benchmarks/tiling.py " + " ".join(_shown(sys.argv[1:])),
        "machine": _machine(),
        "remark": "Others used the machine at the same time; rounds took turns, figures are medians. "
        "'load' is that at the end.",
        "load": round(os.getloadavg()[0], 2),
        "slide": {"width": side, "bytes": slide.stat().st_size, "tile": TILE},
        "read_one_process": found,
        "aligned_over_openslide": round(ours["tiles_per_second"] / theirs["tiles_per_second"], 2),
        "whole_tiling": {name: summed(rounds) for name, rounds in tilings.items()},
    }


def _shown(arguments: list[str]) -> list[str]:
    """The command without this machine's paths."""
    return [
        f"VENV/bin/{Path(word).name}" if word.startswith("/") and "bin/" in word else word
        for word in arguments
    ]


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    libraries = ("openslide-python", "openslide-bin", "tifffile", "imagecodecs", "numpy")
    return {
        "cpu": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        main()
