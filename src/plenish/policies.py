"""Which of ADA's and DiffAugment's changes suit which images, and what a domain leaves of a recipe's.

ADA (Karras et al. 2020, arXiv 2006.06676) turns and recolours everything, as its images had no up and down;
a policy says how much of each change is drawn. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from plenish.domains import DOMAINS, SYMMETRIES, Chosen, Domain
from plenish.errors import unknown


class Policy(NamedTuple):
    """Which changes suit a kind of image: of each, the share of its published range; 0 is never.

    Attributes:
        flip_x: left-right mirroring.
        flip_y: upside-down mirroring.
        rot90: rotation by right angles.
        translation: whole-pixel shifts (up to 1/8 of the side) and fractional ones (sd 1/8).
        scale: isotropic scaling, log-normal, sd 0.2 octaves.
        rotation: two rotations by any angle, each ±180°, before and after stretching; they add up.
        anisotropy: stretching, log-normal, sd 0.2 octaves.
        brightness: sd 0.2; in DiffAugment up to ±0.5.
        contrast: log-normal, sd 0.5 octaves; in DiffAugment up to ±50 %.
        luma_flip: light and dark change places.
        hue: rotation of the hue, ±180°.
        saturation: log-normal, sd 1 octave; in DiffAugment up to ±100 %.
    """

    flip_x: float = 1.0
    flip_y: float = 0.0
    rot90: float = 1.0
    translation: float = 1.0
    scale: float = 1.0
    rotation: float = 1.0
    anisotropy: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    luma_flip: float = 1.0
    hue: float = 1.0
    saturation: float = 1.0


def policy_of(domain: Domain) -> Policy:
    """The changes that a domain allows; light and dark never change places."""
    turned = float(domain.symmetry == "dihedral")
    return Policy(
        flip_x=float(domain.symmetry != "none"), flip_y=turned, rot90=turned, scale=domain.zoom,
        rotation=domain.rotation / 2 / 180,  # Of each of two.
        anisotropy=domain.stretch, brightness=domain.brightness, contrast=domain.contrast, luma_flip=0,
        hue=domain.hue / 180, saturation=domain.saturation,
    )  # fmt: skip


POLICIES: dict[str, Policy] = {name: policy_of(domain) for name, domain in DOMAINS.items()} | {
    "ada": Policy()
}
"""What the domains allow, by name, and `ada`: the ranges as published, which turn and recolour everything."""


def policy_of_names(names: str) -> Policy:
    """The least of each change that the policies of a comma list have.

    Raises:
        InputError: there is none of such a name.
    """
    found = []
    for name in _split(names) or [names]:
        if name not in POLICIES:
            raise unknown("augmentation policy", name, POLICIES)
        found.append(POLICIES[name])
    return Policy(*map(min, zip(*found, strict=True)))


def restricted(augment: Mapping[str, Any], chosen: Chosen) -> dict[str, Any]:
    """A recipe's section `augment` with no more than it and a domain allow; recipes of `auto` use all of it.

    Args:
        augment: the section: symmetry, policy, diffaugment and others. Where it names no policy, that is the
            domain's.
        chosen: the domain.

    Raises:
        InputError: there is no such policy.
    """
    domain, order = chosen.domain, list[str](SYMMETRIES)
    result = dict(augment) | {"policy": _narrower(str(augment.get("policy", chosen.name)), chosen.name)}
    asked = str(augment.get("symmetry", "none"))
    if asked in order and order.index(asked) > order.index(domain.symmetry):
        result["symmetry"] = domain.symmetry
    if augment.get("diffaugment") and not domain.cutout:
        names = _split(str(augment["diffaugment"]))
        result["diffaugment"] = ",".join(name for name in names if name != "cutout")
    return result


def _narrower(names: str, domain: str) -> str:
    """Names of what both a policy and a domain allow."""
    both = policy_of_names(f"{names},{domain}")
    for one in (names, domain):
        if policy_of_names(one) == both:
            return one
    return f"{names},{domain}"


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]
