"""Phantom slides: pyramidal TIFFs with scale, ASAP annotations and the truth, for those without data.

A phantom, not tissue. A slide is painted tile by tile down the pyramid (a tile of a coarser level as soon as
its four finer ones are done), and the tiles wait, compressed, in a file on disk until their level is written,
so memory does not depend on the slide's size.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.phantom.slide_plan import Plan, Polygon, make_plan

if TYPE_CHECKING:
    from plenish.phantom.slide_texture import Painter
    from plenish.progress import Bar

TILE = 256
"""Side of the TIFF's tiles, pixels."""
_LEAST, _MOST = 512, 200_000
_MPP = (0.1, 4.0)
_SMALLEST_LEVEL = 1024
_FEWEST_LEVELS, _MOST_LEVELS = 3, 9
_VERSION = 1
_GROUPS = {"tumour": "#F4FA58", "exclusion": "#64FE2E"}


@dataclasses.dataclass(frozen=True)
class PhantomSlide:
    """One slide that was made.

    Attributes:
        name: its file is `<name>.tif`, its annotations `<name>.xml`.
        patient: whose it is.
        plan: what lies where.
        mpp: µm per pixel of level 0.
        levels: width and height of each level.
    """

    name: str
    patient: str
    plan: Plan
    mpp: float
    levels: tuple[tuple[int, int], ...]

    def truth(self) -> dict[str, Any]:
        """Polygons (vertices x, y in pixels of level 0) and areas (px² of level 0, mm²); JSON-able."""
        plan = self.plan
        return {
            "slide": self.name, "patient": self.patient, "width": plan.width, "height": plan.height,
            "mpp": self.mpp, "levels": [list(size) for size in self.levels],
            "tissue_area": plan.tissue_area, "tumour_area": plan.tumour_area,
            "tumour_mm2": plan.tumour_area * (self.mpp / 1000) ** 2,
            "tissue": [plan.tissue.tolist()],
            "tumours": [polygon.tolist() for polygon in plan.tumours],
            "holes": [polygon.tolist() for polygon in plan.holes],
            "ink": [polygon.tolist() for polygon in plan.ink],
            "blurred": [polygon.tolist() for polygon in plan.blurred],
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PhantomSlides:
    """What `plenish slides phantom` made.

    Attributes:
        out: the folder.
        slides: in order.
        difference: how far tumour differs from normal tissue.
    """

    out: Path
    slides: tuple[PhantomSlide, ...]
    difference: float

    def summary(self) -> dict[str, Any]:
        """The folder and a row a slide; JSON-able."""
        rows = [
            {
                "slide": one.name, "patient": one.patient, "size": f"{one.plan.width}×{one.plan.height}",
                "levels": len(one.levels), "mpp": one.mpp,
                "tissue": f"{100 * one.plan.tissue_area / (one.plan.width * one.plan.height):.1f} %",
                "tumour mm²": round(one.plan.tumour_area * (one.mpp / 1000) ** 2, 4),
            }
            for one in self.slides
        ]  # fmt: skip
        return {"folder": str(self.out), "difference": self.difference, "slides": rows}


def make_slides(
    out: Path,
    slides: int = 4,
    normal: int = 0,
    per_patient: int = 1,
    width: int = 4096,
    height: int = 4096,
    mpp: float = 0.5,
    difference: float = 1.0,
    artefacts: bool = False,
    quality: int = 90,
    seed: int = 0,
) -> PhantomSlides:
    """Make whole-slide images of procedural tissue with annotated tumours, and write down the truth.

    A phantom, not tissue: for trying Plenish out, for tests and for experiments whose answer is known. Each
    slide is a pyramidal tiled TIFF with its scale; slides with tumour have annotations in ASAP's XML (groups
    tumour and exclusion, a hole). truth.json holds all polygons and areas, slides.csv the patients. Started
    again after a kill, it keeps the slides that are done.

    Args:
        out: Folder to make; must not exist.
        slides: Number of slides, 1 to 9999.
        normal: How many of them, the last ones, have no tumour.
        per_patient: Slides of one patient, who has a stain and a camera of their own.
        width: Width of level 0 in pixels, 512 to 200000.
        height: Height of level 0 in pixels, 512 to 200000.
        mpp: µm per pixel of level 0, 0.1 to 4.
        difference: How far tumour differs from normal tissue, from 0 (not at all) to 1.
        artefacts: Plant a stroke of green ink and a place out of focus on each slide.
        quality: Quality of the JPEG compression, 1 to 100.
        seed: Seed; the same seed gives the same slides.

    Returns:
        The slides with their plans.

    Raises:
        InputError: a number is out of range, a library is missing, or `out` exists.
    """
    from plenish import files
    from plenish.progress import progress

    _check(slides, normal, per_patient, width, height, mpp, difference, quality, seed)
    _require_libraries()
    sizes = level_sizes(width, height)
    config = {
        "verb": "slides phantom", "version": _VERSION, "slides": slides, "normal": normal,
        "per_patient": per_patient, "width": width, "height": height, "mpp": mpp, "difference": difference,
        "artefacts": artefacts, "quality": quality, "seed": seed,
    }  # fmt: skip
    out = Path(out)
    # One slide is spooled while it is made; JPEG takes about half a byte a pixel, glass much less.
    files.require_space(out, width * height * (slides + 1) // 2)
    made: list[PhantomSlide] = []
    total = slides * _tiles(sizes[0])
    with (
        files.atomic_dir(out, config, resumable=True) as folder,
        progress("phantom slides", total, "tiles") as bar,
    ):
        for number in range(slides):
            one, painter = _prepare(
                number, slides - normal, per_patient, sizes, mpp, difference, artefacts, seed
            )
            path = folder / f"{one.name}.tif"
            if path.exists():  # By a run that was killed later.
                bar.advance(_tiles(sizes[0]))
            else:
                aside = path.with_name(path.name + ".partial")
                with files.reporting_disk(out):
                    write_slide(aside, painter, one, quality, bar)
                aside.replace(path)
            if one.plan.tumours:
                files.write_bytes(folder / f"{one.name}.xml", asap_xml(one.plan).encode())
            made.append(one)
        result = PhantomSlides(out, tuple(made), difference)
        files.write_json(
            folder / "truth.json", {"phantom": True, **config, "truth": [one.truth() for one in made]}
        )
        files.write_bytes(folder / "slides.csv", _table(made).encode())
    return result


def level_sizes(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Width and height of each level: halved until 1024 pixels or less, but three levels at least."""
    sizes = [(width, height)]
    while len(sizes) < _FEWEST_LEVELS or (max(sizes[-1]) > _SMALLEST_LEVEL and len(sizes) < _MOST_LEVELS):
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return tuple(sizes)


def asap_xml(plan: Plan) -> str:
    """The tumours and holes of a slide as ASAP writes them, coordinates in pixels of level 0."""
    drawn = [("tumour", polygon) for polygon in plan.tumours]
    drawn += [("exclusion", polygon) for polygon in plan.holes]
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, (group, polygon) in enumerate(drawn):
        lines.append(
            f'\t\t<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup={quoteattr(group)} '
            f'Color="{_GROUPS[group]}">'
        )
        lines += ["\t\t\t<Coordinates>", *_coordinates(polygon), "\t\t\t</Coordinates>", "\t\t</Annotation>"]
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group, colour in _GROUPS.items():
        lines.append(f'\t\t<Group Name="{group}" PartOfGroup="None" Color="{colour}"><Attributes/></Group>')
    return "\n".join([*lines, "\t</AnnotationGroups>", "</ASAP_Annotations>", ""])


def _coordinates(polygon: Polygon) -> list[str]:
    return [
        f'\t\t\t\t<Coordinate Order="{order}" X="{x:.2f}" Y="{y:.2f}"/>'
        for order, (x, y) in enumerate(polygon.tolist())
    ]


def write_slide(path: Path, painter: Painter, slide: PhantomSlide, quality: int, bar: Bar) -> None:
    """Paint a slide and write it as a pyramidal TIFF: JPEG tiles, one page a level, resolution tags.

    Args:
        path: the file to write.
        painter: paints its pixels.
        slide: sizes of the levels and scale.
        quality: of the JPEG compression.
        bar: told of every tile of level 0.
    """
    import tifffile

    with tempfile.TemporaryFile(dir=path.parent) as file:
        spool = _Spool(file, slide.levels, quality)
        last = len(slide.levels) - 1
        columns, rows = _grid(slide.levels[last])
        for row in range(rows):
            for column in range(columns):
                _descend(spool, painter, last, column, row, bar)
        large = slide.levels[0][0] * slide.levels[0][1] > 2**31
        with tifffile.TiffWriter(path, bigtiff=large) as tiff:
            for level, (width, height) in enumerate(slide.levels):
                per_cm = 10_000 / (slide.mpp * slide.levels[0][0] / width)
                tiff.write(
                    spool.tiles(level), shape=(height, width, 3), dtype=np.uint8, tile=(TILE, TILE),
                    photometric="ycbcr", subsampling=(2, 2), compression="jpeg", metadata=None,
                    software="Plenish phantom (no tissue, no patient)", subfiletype=int(level > 0),
                    resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                )  # fmt: skip


class _Spool:
    """Compressed tiles on disk, in the order they were made, and where each lies."""

    def __init__(self, file: IO[bytes], sizes: tuple[tuple[int, int], ...], quality: int) -> None:
        self._file, self._quality = file, quality
        self._where = [np.zeros((*_grid(size)[::-1], 2), np.int64) for size in sizes]
        self._sizes = sizes

    def holds(self, level: int, column: int, row: int) -> bool:
        """Whether a level has a tile there."""
        rows, columns = self._where[level].shape[:2]
        return column < columns and row < rows

    def add(self, level: int, column: int, row: int, pixels: NDArray[np.uint8]) -> None:
        """Compress a tile and keep it; what lies beyond the level's edge is left white."""
        import imagecodecs

        width, height = self._sizes[level]
        pixels[height - row * TILE :] = 255
        pixels[:, width - column * TILE :] = 255
        data = imagecodecs.jpeg8_encode(
            pixels, level=self._quality, colorspace="rgb", outcolorspace="ycbcr", subsampling="420"
        )
        self._where[level][row, column] = self._file.tell(), len(data)
        self._file.write(data)

    def tiles(self, level: int) -> Iterator[bytes]:
        """A level's tiles, row by row."""
        for start, length in self._where[level].reshape(-1, 2).tolist():
            self._file.seek(start)
            yield self._file.read(length)


def _descend(
    spool: _Spool, painter: Painter, level: int, column: int, row: int, bar: Bar
) -> NDArray[np.uint8]:
    """Make a tile and all that lie below it in the pyramid; returns its pixels."""
    if level == 0:
        pixels = painter.paint(column * TILE, row * TILE, TILE)
        bar.advance(1)
    else:
        fine = np.full((2 * TILE, 2 * TILE, 3), 255, np.uint8)
        for j in (0, 1):
            for i in (0, 1):
                child = 2 * column + i, 2 * row + j
                if spool.holds(level - 1, *child):
                    box = slice(j * TILE, (j + 1) * TILE), slice(i * TILE, (i + 1) * TILE)
                    fine[box] = _descend(spool, painter, level - 1, *child, bar)
        quads = fine.reshape(TILE, 2, TILE, 2, 3).sum(axis=(1, 3), dtype=np.uint16)
        pixels = ((quads + 2) // 4).astype(np.uint8)
    spool.add(level, column, row, pixels)
    return pixels


def _prepare(
    number: int, with_tumour: int, per_patient: int, sizes: tuple[tuple[int, int], ...], mpp: float,
    difference: float, artefacts: bool, seed: int,
) -> tuple[PhantomSlide, Painter]:  # fmt: skip
    from plenish.phantom.patient import patient_of
    from plenish.phantom.slide_texture import Painter

    rng = np.random.default_rng([seed, number, 0x5CA7])
    plan = make_plan(*sizes[0], tumour=number < with_tumour, artefacts=artefacts, rng=rng)
    patient = patient_of(seed, number // per_patient)
    name = f"phantom-{number:04d}"
    painter = Painter(plan, patient, mpp, difference, int(rng.integers(2**63)))
    return PhantomSlide(name, patient.name, plan, mpp, sizes), painter


def _table(slides: list[PhantomSlide]) -> str:
    lines = ["slide_id,case_id,sample_type"]
    for one in slides:
        kind = "Primary Tumor" if one.plan.tumours else "Solid Tissue Normal"
        lines.append(f"{one.name},{one.patient},{kind}")
    return "\n".join([*lines, ""])


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(size[0] / TILE), math.ceil(size[1] / TILE)


def _tiles(size: tuple[int, int]) -> int:
    return math.prod(_grid(size))


def _require_libraries() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("tifffile", "imagecodecs") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"Writing slides needs {' and '.join(missing)}; install what slides need with: "
            "pip install 'plenish[slides]'"
        )


def _check(
    slides: int, normal: int, per_patient: int, width: int, height: int, mpp: float, difference: float,
    quality: int, seed: int,
) -> None:  # fmt: skip
    bounds = {
        "slides": (slides, 1, 9999), "per-patient": (per_patient, 1, 9999),
        "normal": (normal, 0, slides), "width": (width, _LEAST, _MOST), "height": (height, _LEAST, _MOST),
        "mpp": (mpp, *_MPP), "difference": (difference, 0, 1), "quality": (quality, 1, 100),
    }  # fmt: skip
    for name, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise InputError(f"--{name} must be {least:g} to {most:g}, not {value:g}.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, not {seed}.")
