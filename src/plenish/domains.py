"""Kinds of images, and what may be done to an image of each: one table for GANs, flows, classifiers, studies.

What is done to a training image must leave it one that could have been taken. Whether a mirrored or turned
image could, depends on its kind and is said here once; `--domain` names it, and a Dataset may keep it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from plenish.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

Symmetry = Literal["none", "mirror", "dihedral"]
SYMMETRIES: tuple[Symmetry, ...] = ("none", "mirror", "dihedral")
"""Orientations in which an image may be shown, each including the one before: as it is; also mirrored
left-right; all eight flips and right-angle rotations."""
_SHOWN = {
    "none": "neither mirrored nor turned by right angles", "mirror": "mirrored left-right",
    "dihedral": "mirrored and turned by right angles",
}  # fmt: skip


class Domain(NamedTuple):
    """What may be done to images of one kind; 0 is never. Shifts suit them all.

    Attributes:
        symmetry: orientations in which they may be shown.
        rotation: largest small rotation in all, degrees; 0 where only right angles make sense or none does.
        zoom: scaling, as a share of ADA's range (log-normal, sd 0.2 octaves).
        stretch: change of the aspect ratio, as a share of ADA's range (the same).
        brightness: as a share of ADA's and DiffAugment's range; in classical augmentation at most 0.2.
        contrast: as brightness.
        hue: largest change of hue, degrees.
        saturation: as brightness.
        cutout: whether a square may be blanked before the discriminator sees an image.
        why: the reason, part of a sentence.
    """

    symmetry: Symmetry
    rotation: float
    zoom: float
    stretch: float
    brightness: float
    contrast: float
    hue: float
    saturation: float
    cutout: bool
    why: str


_TISSUE = Domain("dihedral", 0, 1, 0, 0.25, 0.25, 0, 0.25, True, "")
_UPRIGHT = Domain("mirror", 10, 1, 1, 0.5, 0.5, 0, 0.5, True, "")

DOMAINS: dict[str, Domain] = {
    "natural": _UPRIGHT._replace(
        brightness=1, contrast=1, hue=10, saturation=1,
        why="photographs keep their up and down, left and right are alike",
    ),
    "histology": _TISSUE._replace(why="tissue has no up, down, left or right; the stain has meaning"),
    "dermoscopy": _TISSUE._replace(why="a lesion has no up or down; the skin's colour has meaning"),
    "radiology": _UPRIGHT._replace(
        symmetry="none", rotation=5, zoom=0.5, stretch=0, saturation=0, cutout=False,
        why="the heart is on one side, and a mirrored or turned image is one that no scanner takes",
    ),
    "fundus": _UPRIGHT._replace(
        stretch=0, saturation=0.25,
        why="left and right eyes mirror each other; the retina's colour has meaning",
    ),
    "industrial": _UPRIGHT._replace(
        symmetry="none", rotation=5, zoom=0.5, stretch=0, saturation=0.25, cutout=False,
        why="a part lies before a fixed camera, and a part the wrong way round is a defect",
    ),
    "comic": _UPRIGHT._replace(hue=10, why="figures keep their up and down; ink colours have meaning"),
    "faces": _UPRIGHT._replace(why="faces keep their up and down; skin colour has meaning"),
    "text": _UPRIGHT._replace(
        symmetry="none", rotation=5, hue=10, cutout=False, why="mirrored or turned letters are others or none"
    ),
}  # fmt: skip
"""By name. Where a kind is mixed, the more cautious choice is taken: an option of its own allows more."""
DEFAULT = "natural"
Origin = Literal["asked", "kept", "generator", "assumed"]


class Chosen(NamedTuple):
    """The domain of a piece of work.

    Attributes:
        name: a name of `DOMAINS`.
        origin: `asked` by --domain, `kept` with the Dataset, that of the `generator`, or `assumed`.
    """

    name: str
    origin: Origin

    @property
    def domain(self) -> Domain:
        """What may be done."""
        return DOMAINS[self.name]

    def sentence(self, symmetry: str | None = None) -> str:
        """What is done to images, and how to say otherwise.

        Args:
            symmetry: what an option of its own asks for instead of the domain's.
        """
        source = {
            "asked": "",
            "kept": ", kept with the Dataset",
            "generator": ", as the generator was trained",
            "assumed": ", assumed",
        }[self.origin]
        shown = symmetry or self.domain.symmetry  # One that there is not is refused later.
        text = f"Domain {self.name}{source}: images are {_SHOWN.get(shown, shown)}"
        if symmetry is not None and symmetry != self.domain.symmetry:
            return f"{text}, as asked for."
        return f"{text} ({self.domain.why})" + (
            "." if self.origin == "asked" else "; --domain names another."
        )


ASSUMED = Chosen(DEFAULT, "assumed")


def check_domain(name: str) -> str:
    """The name, or InputError with the nearest one there is."""
    if name not in DOMAINS:
        raise unknown("--domain", name, DOMAINS)
    return name


def choose_domain(asked: str | None, kept: str | None, generator: str | None = None) -> Chosen:
    """The domain that is asked for, else the one kept with the Dataset, else a generator's, else `natural`.

    Raises:
        InputError: there is none of that name.
    """
    if asked is not None:
        return Chosen(check_domain(asked), "asked")
    if kept is not None:
        return Chosen(check_domain(kept), "kept")
    return Chosen(check_domain(generator), "generator") if generator is not None else ASSUMED


def kept_domain(extra: Mapping[str, Any]) -> dict[str, str]:
    """The domain among a Dataset's further facts, for a Dataset that is made of it; checked."""
    return {"domain": check_domain(extra["domain"])} if extra.get("domain") else {}
