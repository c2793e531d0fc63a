"""How slides are cut into tiles: frozen groups of options, each field an option of the verbs that take it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_type_hints

from plenish.configuration import option
from plenish.errors import InputError
from plenish.slides.tissue import TissueOptions

HOLES = ("exclusion", "exclude", "hole", "holes", "_2", "ignore*")
"""Usual names of holes: CAMELYON16 calls normal tissue in a tumour _2, QuPath
ends the names of what it leaves out with a star. Case does not matter."""
ImageFormat = Literal["jpeg", "png"]
LARGEST_TILE = 4096


@dataclasses.dataclass(frozen=True)
class GridOptions:
    """Size, scale and spacing of tiles.

    Attributes:
        size: height and width of a tile, pixels.
        mpp: µm per pixel of tiles; between two levels of a slide, the finer is averaged by area.
        level: or the level whose pixels are taken as they are, 0 the finest.
        stride: from one tile to the next, pixels of tiles; left out, tiles lie side by side.
        assume_mpp: µm per pixel of level 0 of slides that do not state it; without, they are rejected.
        tolerance: a level whose µm per pixel differ from --mpp by up to this share is taken as it is.
    """

    size: int = option(256, least=16, most=LARGEST_TILE)
    mpp: float | None = option(None, above=0)
    level: int | None = option(None, least=0, most=64)
    stride: int | None = option(None, least=1, most=64 * LARGEST_TILE)
    assume_mpp: float | None = option(None, above=0)
    tolerance: float = option(0.02, least=0, most=0.5)


@dataclasses.dataclass(frozen=True)
class LabelRules:
    """How labels in files of annotations become labels.

    Attributes:
        priority: annotation labels; where they overlap, the one named first counts.
        holes: annotation labels that are holes in the others, besides usual names such as Exclusion; none
            leaves those out.
        rename: annotation labels under new names, as old=new; several may get the same.
    """

    priority: list[str] = dataclasses.field(default_factory=list)
    holes: list[str] | None = None
    rename: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        both = set(self.priority) & set(self.holes or ())
        if both:
            raise InputError(f"'{min(both)}' cannot be a label of --priority and one of --holes; choose one.")
        for pair in self.rename:
            if not all(pair.partition("=")):
                raise InputError(f"--rename takes old=new, such as _0=tumour, not '{pair}'.")

    @property
    def renamed(self) -> dict[str, str]:
        """New label by the name in the file."""
        return {pair.partition("=")[0]: pair.partition("=")[2] for pair in self.rename}

    def label(self, name: str) -> str | None:
        """The label of a name in the file; None for a hole."""
        named = {hole.lower() for hole in self.holes or ()}
        usual = HOLES if self.holes is None or (named and "none" not in named) else ()
        holes = (*usual, *(named - {"none"}))
        label = self.renamed.get(name, name)
        return None if any(fnmatchcase(label.lower(), hole) for hole in holes) else label

    def ordered(self, labels: Iterable[str]) -> list[str]:
        """Labels without repetition, those with priority first, the others as they came."""
        rank = {label.lower(): i for i, label in enumerate(self.priority)}
        return sorted(dict.fromkeys(labels), key=lambda label: rank.get(label.lower(), len(rank)))

    def decides(self, *labels: str) -> bool:
        """Whether the priority decides between two labels."""
        return not {label.lower() for label in labels}.isdisjoint(map(str.lower, self.priority))


@dataclasses.dataclass(frozen=True)
class TileLabelOptions:
    """How annotations label tiles.

    Attributes:
        label_threshold: share of a tile that an annotation must cover to label it.
        background: the label of tiles that no annotation covers that far.
        ambiguous: keep or drop tiles that an annotation touches and does not cover far enough.
        unannotated: whether slides without annotations are background, or skipped.
    """

    label_threshold: float = option(0.5, above=0, most=1)
    background: str = "normal"
    ambiguous: Literal["keep", "drop"] = "keep"
    unannotated: Literal["background", "skip"] = "background"

    def __post_init__(self) -> None:
        if not self.background:
            raise InputError("--background must not be empty; it names the class of what is not annotated.")


@dataclasses.dataclass(frozen=True)
class FilterOptions:
    """Which tiles are rejected by their pixels.

    Attributes:
        min_sharpness: tiles less sharp than this are rejected as blurred; 0 keeps all, 0.1 rejects what a
            Gaussian of 2 pixels has blurred.
        max_pen: tiles with a greater share of ink are rejected; 1 keeps all.
    """

    min_sharpness: float = option(0.0, least=0, most=100)
    max_pen: float = option(1.0, least=0, most=1)


@dataclasses.dataclass(frozen=True)
class DrawOptions:
    """How many tiles are kept.

    Attributes:
        per_class: draw at most so many tiles of each class.
        per_slide: draw at most so many tiles of each class from each slide.
        seed: of the draw.
    """

    per_class: int | None = option(None, least=1)
    per_slide: int | None = option(None, least=1)
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """What a table says of the slides.

    Attributes:
        metadata: a table with a row a slide (slide_id, case_id, …; a column mpp counts before the slide's
            own); its columns are kept with every tile. Where the slides are a table too, both are joined.
        group_column: the table's column of patients, without which a slide is rejected; left out, patient or
            case_id, else the TCGA case, else the slide itself.
        label_column: the table's column that labels whole slides.
    """

    metadata: Path | None = None
    group_column: str | None = None
    label_column: str | None = None


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What is written besides the Dataset's pixels and rows, and what dataset.json says.

    Attributes:
        images: also write the tiles as jpeg or png to OUT/images/<slide>_<row>_<col>.
        quality: of JPEG files.
        name: what to call the Dataset; left out, OUT's own name.
        licence: the slides' licence.
        intended_use: what the tiles may be used for.
    """

    images: ImageFormat | None = None
    quality: int = option(90, least=1, most=100)
    name: str | None = None
    licence: str = ""
    intended_use: str = ""


@dataclasses.dataclass(frozen=True)
class TilingConfig:
    """Everything that decides a tile, besides the slides and their annotations.

    Attributes:
        grid: size, scale and spacing.
        tissue: where there is tissue, and how much is needed.
        rules: how labels in files of annotations become labels.
        labels: how these label tiles.
        filters: which tiles are rejected by their pixels.
    """

    grid: GridOptions
    tissue: TissueOptions = dataclasses.field(default_factory=TissueOptions)
    rules: LabelRules = dataclasses.field(default_factory=LabelRules)
    labels: TileLabelOptions = dataclasses.field(default_factory=TileLabelOptions)
    filters: FilterOptions = dataclasses.field(default_factory=FilterOptions)

    def __post_init__(self) -> None:
        if self.grid.mpp is None and self.grid.level is None:
            raise InputError(
                "Neither --mpp nor --level was given; give one: the µm per pixel of tiles, or the level "
                "whose pixels are taken as they are."
            )
        if self.grid.mpp is not None and self.grid.level is not None:
            raise InputError("Both --mpp and --level were given; leave one out.")

    def changed(self, **options: Any) -> TilingConfig:
        """Another configuration with some options changed, whatever group they are in."""
        groups = {}
        for group in dataclasses.fields(self):
            value = getattr(self, group.name)
            mine = {field.name for field in dataclasses.fields(value)} & options.keys()
            groups[group.name] = dataclasses.replace(value, **{name: options[name] for name in mine})
        return TilingConfig(**groups)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TilingConfig:
        """The inverse of `dataclasses.asdict`.

        Raises:
            KeyError, TypeError: it is of another version.
        """
        return cls(**{name: kind(**content[name]) for name, kind in get_type_hints(cls).items()})
