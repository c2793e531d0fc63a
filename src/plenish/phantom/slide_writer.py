"""Phantom slides: pyramidal TIFFs with scale, ASAP annotations and the truth.

A phantom, not tissue. A slide is painted tile by tile; each level is halved on its way into the TIFF, to a
temporary file that the next level is cut from, so memory holds one row of tiles.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.configuration import option
from plenish.errors import InputError
from plenish.phantom.fragment_layout import FragmentLayout, make_fragment_layout
from plenish.phantom.fragment_texture import FragmentPainter
from plenish.phantom.patient import patient_of
from plenish.phantom.slide_layout import SlideLayout, make_layout
from plenish.phantom.slide_texture import Painter
from plenish.progress import Bar, progress

TILE = 256
"""Side of the TIFF's tiles, pixels."""
_APERIO_BYTES = 200
"""Bytes of a JPEG 2000 tile per unit of quality."""
_SMALLEST_LEVEL = 1024
_FEWEST_LEVELS, _MOST_LEVELS = 3, 9
_VERSION = 1
_KINDS = ("Solid Tissue Normal", "Primary Tumor")
_GROUPS = {"tumour": "#F4FA58", "exclusion": "#64FE2E"}


@dataclasses.dataclass(frozen=True)
class PhantomSlide:
    """One slide that was made.

    Attributes:
        name: its file is `<name>.tif`, its annotations `<name>.xml`.
        patient: the patient it is of.
        layout: of tissue, tumours and artefacts.
        mpp: µm per pixel of level 0.
    """

    name: str
    patient: str
    layout: SlideLayout | FragmentLayout
    mpp: float

    @property
    def levels(self) -> list[tuple[int, int]]:
        """Width and height of each level."""
        return level_sizes(self.layout.width, self.layout.height)

    @property
    def tumour_mm2(self) -> float:
        """Area of the tumours without their holes."""
        return self.layout.tumour_area * (self.mpp / 1000) ** 2

    def truth(self) -> dict[str, Any]:
        """Polygons (vertices x, y in pixels of level 0) and areas (px² of level 0, mm²); JSON-able."""
        layout = self.layout
        return {
            "slide": self.name, "patient": self.patient, "width": layout.width, "height": layout.height,
            "mpp": self.mpp, "levels": [list(size) for size in self.levels],
            "tissue_area": layout.tissue_area, "tumour_area": layout.tumour_area,
            "tumour_mm2": self.tumour_mm2, **layout.polygons(),
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
                "tumour mm²": round(one.tumour_mm2, 4),
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
        content: section is one piece of tissue, with tumours; fragments is a mostly empty slide with small
            fragments of seven kinds (100 to 600 µm), pen strokes, air bubbles, dust and the coverslip's edge.
        compression: of the pixels.
        quality: of the compression, 1 to 100: for JPEG the usual one; for JPEG 2000 as in Aperio's files,
            200 bytes a tile for each unit (they state 70, or 30).
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
    content: Literal["section", "fragments"] = "section"
    compression: Literal["jpeg", "jpeg2000"] = "jpeg"
    quality: int = option(90, least=1, most=100)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.normal > self.slides:
            raise InputError(f"--normal must be at most --slides, {self.slides}, not {self.normal}.")


def make_slides(out: Path, options: SlideOptions) -> PhantomSlides:
    """Make whole-slide images of procedural tissue with annotated tumours and known truth.

    A phantom, not tissue: for trying Plenish, for tests and for experiments whose answer is known. Each slide
    is a pyramidal tiled TIFF with its scale; slides with tumour have annotations in ASAP's XML (groups tumour
    and exclusion, a hole); of fragments, all outlines are in QuPath's GeoJSON. truth.json has all polygons
    and areas, slides.csv the patients. When started again after an interruption, finished slides are kept.

    Args:
        out: folder to make; must not exist.
        options: the slides to make.

    Returns:
        The slides with their layouts.

    Raises:
        InputError: an option is impossible, a library is missing, or `out` exists.
    """
    _require_libraries()
    config = {"verb": "slides phantom", "version": _VERSION, **dataclasses.asdict(options)}
    # JPEG takes about half a byte a pixel, glass much less; halved levels of the present slide a byte.
    files.require_space(out, options.width * options.height * (options.slides + 2) // 2)
    made: list[PhantomSlide] = []
    tiles = math.ceil(options.width / TILE) * math.ceil(options.height / TILE)
    with (
        files.atomic_dir(out, config, resumable=True) as folder,
        progress("phantom slides", options.slides * tiles, "tiles") as bar,
    ):
        for number in range(options.slides):
            one, painter = _prepare(number, options)
            path = folder / f"{one.name}.tif"
            if path.exists():  # From before an interruption.
                bar.advance(tiles)
            else:
                aside = path.with_name(path.name + ".partial")
                with files.reporting_disk(out):
                    write_slide(aside, painter, one, options, bar)
                aside.replace(path)
            if isinstance(one.layout, SlideLayout) and one.layout.tumours:
                files.write_text(folder / f"{one.name}.xml", asap_xml(one.layout))
            if isinstance(one.layout, FragmentLayout):
                files.write_json(folder / f"{one.name}.geojson", one.layout.geojson())
            made.append(one)
        truth = {"phantom": True, **config, "truth": [one.truth() for one in made]}
        files.write_json(folder / "truth.json", truth)
        table = pd.DataFrame(
            [(one.name, one.patient, _KINDS[bool(one.layout.tumours)]) for one in made],
            columns=["slide_id", "case_id", "sample_type"],
        )
        files.write_text(folder / "slides.csv", table.to_csv(index=False, lineterminator="\n"))
    return PhantomSlides(out, tuple(made), options.difference)


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of each level: halved until 1024 pixels or less, but three levels at least."""
    last = _FEWEST_LEVELS - 1
    while max(width, height) >> last > _SMALLEST_LEVEL and last < _MOST_LEVELS - 1:
        last += 1
    return [(width >> level, height >> level) for level in range(last + 1)]


def asap_xml(layout: SlideLayout) -> str:
    """The tumours and holes of a slide as ASAP writes them, coordinates in pixels of level 0."""
    drawn = [("tumour", polygon) for polygon in layout.tumours]
    drawn += [("exclusion", polygon) for polygon in layout.holes]
    lines = ['<?xml version="1.0"?>', "<ASAP_Annotations>", "\t<Annotations>"]
    for number, (group, polygon) in enumerate(drawn):
        lines += [
            f'\t\t<Annotation Name="Annotation {number}" Type="Polygon" PartOfGroup="{group}" '
            f'Color="{_GROUPS[group]}">',
            "\t\t\t<Coordinates>",
        ]
        for order, (x, y) in enumerate(polygon.tolist()):
            lines.append(f'\t\t\t\t<Coordinate Order="{order}" X="{x:.2f}" Y="{y:.2f}"/>')
        lines += ["\t\t\t</Coordinates>", "\t\t</Annotation>"]
    lines += ["\t</Annotations>", "\t<AnnotationGroups>"]
    for group, colour in _GROUPS.items():
        lines.append(f'\t\t<Group Name="{group}" PartOfGroup="None" Color="{colour}"><Attributes/></Group>')
    return "\n".join([*lines, "\t</AnnotationGroups>", "</ASAP_Annotations>", ""])


def write_slide(
    path: Path, painter: Painter | FragmentPainter, slide: PhantomSlide, options: SlideOptions, bar: Bar
) -> None:
    """Paint a slide and write it as a pyramidal TIFF: compressed tiles, one page a level, resolution tags.

    JPEG 2000 is written as Aperio's scanners do, the only TIFF with it that OpenSlide reads.

    Args:
        path: the file to write.
        painter: paints its pixels.
        slide: sizes of the levels and scale.
        options: compression and quality.
        bar: counts the tiles of level 0.
    """
    import tifffile

    def painted(x: int, y: int) -> NDArray[np.uint8]:
        bar.advance(1)
        return painter.paint(x, y, TILE)

    cut, large = painted, slide.levels[0][0] * slide.levels[0][1] > 2**31
    encode = _encoder(options)
    with tifffile.TiffWriter(path, bigtiff=large) as tiff:
        for level, (width, height) in enumerate(slide.levels):
            per_cm = 10_000 / (slide.mpp * slide.levels[0][0] / width)
            with tempfile.TemporaryFile(dir=path.parent) as halved:
                tiff.write(
                    _encoded(width, height, cut, halved, encode), shape=(height, width, 3), dtype=np.uint8,
                    tile=(TILE, TILE), metadata=None, software="Plenish phantom (no tissue, no patient)",
                    subfiletype=int(level > 0), resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                    **_tags(options, slide),
                )  # fmt: skip
                halved.flush()
                cut = functools.partial(
                    _cut, np.memmap(halved, np.uint8, "r", shape=(height // 2, width // 2, 3))
                )


def _tags(options: SlideOptions, slide: PhantomSlide) -> dict[str, Any]:
    """What a level's tags say of its compression."""
    if options.compression == "jpeg":
        return {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
    width, height = slide.levels[0]
    about = f"Aperio Image Library, of a phantom by Plenish\r\n{width}x{height} J2K Q={options.quality}"
    about += f"|MPP = {slide.mpp:g}"
    return {"photometric": "rgb", "compression": "aperio_jp2000_rgb", "description": about}


def _encoder(options: SlideOptions) -> Callable[[NDArray[np.uint8]], bytes]:
    """The compression of a tile; tiles of bare glass repeat, so that the last ones are remembered."""
    import imagecodecs

    @functools.lru_cache(maxsize=128)
    def encoded(pixels: bytes) -> bytes:
        tile = np.frombuffer(pixels, np.uint8).reshape(TILE, TILE, 3)
        if options.compression == "jpeg2000":
            return _jpeg2000(tile, options.quality)
        return bytes(
            imagecodecs.jpeg8_encode(
                tile, level=options.quality, colorspace="rgb", outcolorspace="ycbcr", subsampling="420"
            )
        )

    return lambda pixels: encoded(pixels.tobytes())


def _jpeg2000(tile: NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG 2000 codestream of at most about 200·quality bytes for a tile of 256×256.

    Aperio's files spend so much on every tile, on glass too: where one states Q=70, its tiles have at most
    13,997 bytes, and those of bare glass 13,934 to 13,975. A given signal-to-noise ratio would leave 250 for
    glass, and a wrong colour.
    """
    file = io.BytesIO()
    Image.fromarray(tile).save(
        file, "JPEG2000", no_jp2=True, mct=1, irreversible=True, quality_mode="rates",
        quality_layers=[tile.nbytes / (_APERIO_BYTES * quality)],
    )  # fmt: skip
    return file.getvalue()


def _encoded(
    width: int, height: int, cut: Callable[[int, int], NDArray[np.uint8]], halved: IO[bytes],
    encode: Callable[[NDArray[np.uint8]], bytes],
) -> Iterator[bytes]:  # fmt: skip
    """Compressed tiles of a level, row by row and white beyond its edge; their means of 2×2 go to a file."""
    for y in range(0, height, TILE):
        tiles, means = [], []
        for x in range(0, width, TILE):
            pixels = cut(x, y)
            pixels[height - y :] = 255
            pixels[:, width - x :] = 255
            tiles.append(encode(pixels))
            quads = pixels.reshape(TILE // 2, 2, TILE // 2, 2, 3).sum(axis=(1, 3), dtype=np.uint16)
            means.append(((quads + 2) // 4).astype(np.uint8))
        halved.write(np.concatenate(means, axis=1)[: (height - y) // 2, : width // 2].tobytes())
        yield from tiles


def _cut(level: NDArray[np.uint8], x: int, y: int) -> NDArray[np.uint8]:
    inside = level[y : y + TILE, x : x + TILE]
    return np.pad(inside, [(0, TILE - inside.shape[0]), (0, TILE - inside.shape[1]), (0, 0)])


def _prepare(number: int, options: SlideOptions) -> tuple[PhantomSlide, Painter | FragmentPainter]:
    rng = np.random.default_rng([options.seed, number, 0x5CA7])
    patient = patient_of(options.seed, number // options.per_patient)
    size, name = (options.width, options.height), f"phantom-{number:04d}"
    if options.content == "fragments":
        fragments = make_fragment_layout(*size, options.mpp, rng)
        one = PhantomSlide(name, patient.name, fragments, options.mpp)
        return one, FragmentPainter(fragments, patient, options.mpp, int(rng.integers(2**63)))
    tumour = number < options.slides - options.normal
    layout = make_layout(*size, tumour=tumour, artefacts=options.artefacts, rng=rng)
    painter = Painter(layout, patient, options.mpp, options.difference, int(rng.integers(2**63)))
    return PhantomSlide(name, patient.name, layout, options.mpp), painter


def _require_libraries() -> None:
    missing = [name for name in ("tifffile", "imagecodecs") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"Writing slides needs {' and '.join(missing)}; install what slides need with: "
            "pip install 'plenish[slides]'"
        )
