"""Phantom slides: pyramidal TIFFs with scale, ASAP annotations and the truth.

A phantom, not tissue. A slide is painted tile by tile through the pyramid (a tile of a coarser level as soon
as its four finer ones are done), and the compressed tiles are kept in a temporary file until their level is
written, so memory does not depend on the size of the slide.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.configuration import option
from plenish.errors import InputError
from plenish.phantom.patient import patient_of
from plenish.phantom.slide_layout import Polygon, SlideLayout, make_layout
from plenish.phantom.slide_texture import Painter
from plenish.progress import Bar, progress

TILE = 256
"""Side of the TIFF's tiles, pixels."""
_SMALLEST_LEVEL = 1024
_FEWEST_LEVELS, _MOST_LEVELS = 3, 9
_VERSION = 1
_GROUPS = {"tumour": "#F4FA58", "exclusion": "#64FE2E"}


@dataclasses.dataclass(frozen=True)
class PhantomSlide:
    """One slide that was made.

    Attributes:
        name: its file is `<name>.tif`, its annotations `<name>.xml`.
        patient: the patient it is of.
        layout: of tissue, tumours and artefacts.
        mpp: µm per pixel of level 0.
        levels: width and height of each level.
    """

    name: str
    patient: str
    layout: SlideLayout
    mpp: float
    levels: tuple[tuple[int, int], ...]

    def truth(self) -> dict[str, Any]:
        """Polygons (vertices x, y in pixels of level 0) and areas (px² of level 0, mm²); JSON-able."""
        layout = self.layout
        return {
            "slide": self.name, "patient": self.patient, "width": layout.width, "height": layout.height,
            "mpp": self.mpp, "levels": [list(size) for size in self.levels],
            "tissue_area": layout.tissue_area, "tumour_area": layout.tumour_area,
            "tumour_mm2": layout.tumour_area * (self.mpp / 1000) ** 2,
            "tissue": [layout.tissue.tolist()],
            "tumours": [polygon.tolist() for polygon in layout.tumours],
            "holes": [polygon.tolist() for polygon in layout.holes],
            "ink": [polygon.tolist() for polygon in layout.ink],
            "blurred": [polygon.tolist() for polygon in layout.blurred],
        }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PhantomSlides:
    """What `plenish slides phantom` made.

    Attributes:
        out: the folder.
        slides: in order.
        difference: how far tumour differs from normal tissue, 0 to 1.
    """

    out: Path
    slides: tuple[PhantomSlide, ...]
    difference: float

    def summary(self) -> dict[str, Any]:
        """The folder and a row a slide; JSON-able."""
        rows = [
            {
                "slide": one.name, "patient": one.patient, "size": f"{one.layout.width}×{one.layout.height}",
                "levels": len(one.levels), "mpp": one.mpp,
                "tissue": f"{100 * one.layout.tissue_area / (one.layout.width * one.layout.height):.1f} %",
                "tumour mm²": round(one.layout.tumour_area * (one.mpp / 1000) ** 2, 4),
            }
            for one in self.slides
        ]  # fmt: skip
        return {"folder": str(self.out), "difference": self.difference, "slides": rows}


@dataclasses.dataclass(frozen=True)
class SlideOptions:
    """The phantom slides to make.

    Attributes:
        slides: number of slides.
        normal: how many of them, the last ones, have no tumour.
        per_patient: slides of one patient, who has a stain and a camera of their own.
        width: width of level 0, pixels.
        height: height of level 0, pixels.
        mpp: µm per pixel of level 0.
        difference: how far tumour differs from normal tissue, from 0 (not at all) to 1.
        artefacts: add a stroke of green ink and an area out of focus to each slide.
        quality: of the JPEG compression.
        seed: the same seed gives the same slides.
    """

    slides: int = option(4, least=1, most=9999)
    normal: int = option(0, least=0)
    per_patient: int = option(1, least=1, most=9999)
    width: int = option(4096, least=512, most=200_000)
    height: int = option(4096, least=512, most=200_000)
    mpp: float = option(0.5, least=0.1, most=4)
    difference: float = option(1.0, least=0, most=1)
    artefacts: bool = False
    quality: int = option(90, least=1, most=100)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.normal > self.slides:
            raise InputError(f"--normal must be at most --slides, {self.slides}, not {self.normal}.")


def make_slides(out: Path, options: SlideOptions) -> PhantomSlides:
    """Make whole-slide images of procedural tissue with annotated tumours and known truth.

    A phantom, not tissue: for trying Plenish, for tests and for experiments whose answer is known. Each slide
    is a pyramidal tiled TIFF with its scale; slides with tumour have annotations in ASAP's XML (groups tumour
    and exclusion, a hole). truth.json has all polygons and areas, slides.csv the patients. When started again
    after an interruption, finished slides are kept.

    Args:
        out: folder to make; must not exist.
        options: the slides to make.

    Returns:
        The slides with their layouts.

    Raises:
        InputError: an option is impossible, a library is missing, or `out` exists.
    """
    _require_libraries()
    sizes = level_sizes(options.width, options.height)
    config = {"verb": "slides phantom", "version": _VERSION, **dataclasses.asdict(options)}
    # One slide is spooled while it is made; JPEG takes about half a byte a pixel, glass much less.
    files.require_space(out, options.width * options.height * (options.slides + 1) // 2)
    made: list[PhantomSlide] = []
    total = options.slides * _tiles(sizes[0])
    with (
        files.atomic_dir(out, config, resumable=True) as folder,
        progress("phantom slides", total, "tiles") as bar,
    ):
        for number in range(options.slides):
            one, painter = _prepare(number, sizes, options)
            path = folder / f"{one.name}.tif"
            if path.exists():  # From before an interruption.
                bar.advance(_tiles(sizes[0]))
            else:
                aside = path.with_name(path.name + ".partial")
                with files.reporting_disk(out):
                    write_slide(aside, painter, one, options.quality, bar)
                aside.replace(path)
            if one.layout.tumours:
                files.write_bytes(folder / f"{one.name}.xml", asap_xml(one.layout).encode())
            made.append(one)
        truth = {"phantom": True, **config, "truth": [one.truth() for one in made]}
        files.write_json(folder / "truth.json", truth)
        files.write_bytes(folder / "slides.csv", _table(made).encode())
    return PhantomSlides(out, tuple(made), options.difference)


def level_sizes(width: int, height: int) -> tuple[tuple[int, int], ...]:
    """Width and height of each level: halved until 1024 pixels or less, but three levels at least."""
    sizes = [(width, height)]
    while len(sizes) < _FEWEST_LEVELS or (max(sizes[-1]) > _SMALLEST_LEVEL and len(sizes) < _MOST_LEVELS):
        sizes.append((max(1, sizes[-1][0] // 2), max(1, sizes[-1][1] // 2)))
    return tuple(sizes)


def asap_xml(layout: SlideLayout) -> str:
    """The tumours and holes of a slide as ASAP writes them, coordinates in pixels of level 0."""
    drawn = [("tumour", polygon) for polygon in layout.tumours]
    drawn += [("exclusion", polygon) for polygon in layout.holes]
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
        bar: counts the tiles of level 0.
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
        """Whether a level has such a tile."""
        rows, columns = self._where[level].shape[:2]
        return column < columns and row < rows

    def add(self, level: int, column: int, row: int, pixels: NDArray[np.uint8]) -> None:
        """Compress a tile and keep it; beyond the edge of the level it is white."""
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
    """Make a tile and all finer tiles that it covers; returns its pixels."""
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
    number: int, sizes: tuple[tuple[int, int], ...], options: SlideOptions
) -> tuple[PhantomSlide, Painter]:
    rng = np.random.default_rng([options.seed, number, 0x5CA7])
    tumour = number < options.slides - options.normal
    layout = make_layout(*sizes[0], tumour=tumour, artefacts=options.artefacts, rng=rng)
    patient = patient_of(options.seed, number // options.per_patient)
    painter = Painter(layout, patient, options.mpp, options.difference, int(rng.integers(2**63)))
    return PhantomSlide(f"phantom-{number:04d}", patient.name, layout, options.mpp, sizes), painter


def _table(slides: list[PhantomSlide]) -> str:
    lines = ["slide_id,case_id,sample_type"]
    for one in slides:
        kind = "Primary Tumor" if one.layout.tumours else "Solid Tissue Normal"
        lines.append(f"{one.name},{one.patient},{kind}")
    return "\n".join([*lines, ""])


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    return math.ceil(size[0] / TILE), math.ceil(size[1] / TILE)


def _tiles(size: tuple[int, int]) -> int:
    return math.prod(_grid(size))


def _require_libraries() -> None:
    missing = [name for name in ("tifffile", "imagecodecs") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"Writing slides needs {' and '.join(missing)}; install what slides need with: "
            "pip install 'plenish[slides]'"
        )
