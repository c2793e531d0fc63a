"""`--recipe auto`: a recipe for the data and the machine at hand, by a few rules, with the reason for each.

The rules, in the order in which they are applied:

1. Family. On a CPU with fewer than 8 threads and up to 64 px `dcgan`, the fastest; but `stylegan2` for
   fewer than 1,000 images, where augmentation and R1 matter more than speed. Everywhere else `stylegan2`,
   and on a GPU with 10,000 images or more `r3gan`. All else starts from that family's shipped recipe.
2. Width. Feature maps halve as the side doubles, so that each resolution costs alike (`dcgan`: the same at
   all sizes); twice as many on a GPU or a CPU with 8 threads or more.
3. Batch. 32 (64 on a GPU), half of that above 128 px, and at most a quarter of the images.
4. Gamma of R1. `stylegan2`: 0.0002·size²/batch (Karras et al. 2020, arXiv 2006.06676). `r3gan`:
   0.3·size²/batch, the rule of the recipe small-r3gan. `dcgan`: none.
5. Augmentation. DiffAugment (Zhao et al. 2020, arXiv 2006.10738): colour, translation and cutout below 5,000
   images, translation and cutout below 20,000, none above. Symmetry and policy follow the domain.
6. Length. An upper limit; training ends earlier, after five checkpoints without a better KID on val, where
   checkpoints are scored. Learning rates that fall in the shipped recipe (`r3gan`) fall over all of it.

What is asked for by options holds instead, and the rules behind it follow: gamma is that of the batch used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from plenish.errors import unknown
from plenish.recipes import AUTO, Recipe, load_recipe

if TYPE_CHECKING:
    from plenish.datasets.dataset import Subset

Domain = Literal["natural", "faces", "comic", "histology", "dermoscopy", "text"]
MANY_THREADS, FEW_IMAGES, MANY_IMAGES = 8, 1_000, 10_000
STRONG_BELOW, MILD_BELOW = 5_000, 20_000
_BASE = {"dcgan": "dcgan-small", "stylegan2": "small-stylegan2", "r3gan": "small-r3gan"}
_LENGTH = {"dcgan": (400, 20), "stylegan2": (1_000, 50), "r3gan": (2_000, 100)}
"""At most so many kimg, and kimg from one checkpoint to the next; twice as many kimg on a strong machine."""
_PATIENCE = 5
_FEW_OF_A_CLASS = 50


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        images: number of training images.
        size: their height and width, pixels.
        channels: 1 or 3.
        labels: kind of the labels: none, categorical, multilabel or continuous.
        counts: training images of each class, where there are classes.
        gpu: whether networks are computed on one.
        threads: CPU threads.
        domain: kind of images, as the user says.
        asked: what the user says of the configuration, by key, such as adversarial.batch.
        scored: whether checkpoints are scored on a val part.
    """

    images: int
    size: int
    channels: int = 3
    labels: str = "none"
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    gpu: bool = False
    threads: int = 2
    domain: Domain = "natural"
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scored: bool = True

    def number(self, key: str, least: float = 1) -> float | None:
        """A number that is asked for, or None; impossible ones are refused later, by what they are for."""
        value = self.asked.get(key)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                number = float(value)
                return number if least <= number < math.inf else None
        return None

    @property
    def strong(self) -> bool:
        """Whether the machine is fast enough for wide networks."""
        return self.gpu or self.threads >= MANY_THREADS


def choose(facts: Facts) -> Recipe:
    """A recipe for these facts; its `choice` holds the reasons, a sentence each.

    Raises:
        InputError: an unknown domain.
    """
    if facts.domain not in get_args(Domain):
        raise unknown("--domain", facts.domain, get_args(Domain))
    family, why_family = _family(facts)
    sections: dict[str, dict[str, Any]] = {
        name: dict(values) for name, values in load_recipe(_BASE[family]).sections.items()
    }
    reasons = [why_family]
    for rule in (_width, _batch, _gamma, _augmentation, _length):
        reasons.append(rule(facts, family, sections))
    reasons.extend(_remarks(facts))
    about = f"Chosen for {facts.images:,} images of {facts.size} px; {_BASE[family]} adapted."
    choice = {"domain": facts.domain, "about": about, "reasons": reasons, "sections": sections}
    return Recipe(AUTO, about, " ".join(reasons), family, sections, choice)


def _family(facts: Facts) -> tuple[str, str]:
    n = f"{facts.images:,} images"
    if facts.gpu and facts.images >= MANY_IMAGES:
        return "r3gan", f"Family r3gan: a GPU and {n}, {MANY_IMAGES:,} or more."
    if facts.gpu:
        return "stylegan2", f"Family stylegan2: a GPU and {n}, fewer than {MANY_IMAGES:,}."
    if facts.strong:
        return "stylegan2", f"Family stylegan2: a CPU with {facts.threads} threads is fast enough."
    if facts.size > 64:
        return "stylegan2", f"Family stylegan2: {facts.size} px are too many for a small dcgan."
    if facts.images < FEW_IMAGES:
        return "stylegan2", (
            f"Family stylegan2: {n} are fewer than {FEW_IMAGES:,}, where R1 and augmentation matter more "
            "than speed."
        )
    return "dcgan", f"Family dcgan: the fastest, for {facts.size} px on {facts.threads} CPU threads."


def _width(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    network = sections["network"]
    usual = int(network["width"])
    scale = (2 if facts.strong else 1) * (64 / facts.size if family != "dcgan" else 1)
    least = 16 if family == "r3gan" else 8
    width = _power(min(2 * usual * (2 if facts.strong else 1), max(least, usual * scale)))
    asked, most = facts.number("network.width"), facts.number("network.max_width")
    width = int(asked or min(width, most or width))
    network["width"] = width
    network["max_width"] = int(most or max(width, int(network["max_width"]) * (2 if facts.strong else 1)))
    if asked:
        return f"Width {width}, up to {network['max_width']}: as asked for."
    machine = "a machine fast enough for twice the usual" if facts.strong else "this small machine"
    return f"Width {width}, up to {network['max_width']}: by the size, on {machine}."


def _batch(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    most = (64 if facts.gpu else 32) // (2 if facts.size > 128 else 1)
    asked = facts.number("adversarial.batch", 2)
    batch = int(asked or max(2, _power(min(most, facts.images // 4))))
    sections["adversarial"]["batch"] = batch
    if asked:
        return f"Batch {batch}: as asked for."
    why = "at most a quarter of the images" if batch < most else "the usual one for this size and device"
    return f"Batch {batch}: {why}."


def _gamma(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    batch, penalty = sections["adversarial"]["batch"], sections["penalty"]
    gamma, why = {
        "stylegan2": (0.0002 * facts.size**2 / batch, "0.0002·size²/batch (Karras et al. 2020)"),
        "r3gan": (0.3 * facts.size**2 / batch, "0.3·size²/batch, as in small-r3gan"),
        "dcgan": (0.0, "batch norm and smoothing stabilise dcgan"),
    }[family]
    reasons: dict[tuple[float, str], list[str]] = {}
    for name in ("r1", "r2") if family == "r3gan" else ("r1",):
        asked = facts.number(f"penalty.{name}", 0)
        penalty[name] = float(f"{gamma:.4g}") if asked is None else asked
        reason = why if asked is None else "as asked for"
        reasons.setdefault((penalty[name], reason), []).append(name.upper())
    clauses = [
        (f"{' and '.join(names)} gamma {value:g}" if value else f"No {' or '.join(names)}") + f": {reason}"
        for (value, reason), names in reasons.items()
    ]
    return "; ".join(clauses) + "."


def _augmentation(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    turned = {"histology": "dihedral", "dermoscopy": "dihedral", "text": "none"}
    augment: dict[str, Any] = {"symmetry": turned.get(facts.domain, "mirror")}
    # Text is changed as little as comics are; DiffAugment mirrors nothing.
    policy = {"text": "comic"}.get(facts.domain, facts.domain)
    augment["policy"] = "grey" if policy == "natural" and facts.channels == 1 else policy
    n = f"{facts.images:,} images"
    asked = facts.asked.get("augment.diffaugment")
    if asked is not None:
        why = f"DiffAugment with {asked}: as asked for" if asked else "No DiffAugment: as asked for"
    elif facts.images < STRONG_BELOW:
        augment["diffaugment"] = "color,translation,cutout"
        why = f"DiffAugment with colour, translation and cutout: {n} are fewer than {STRONG_BELOW:,}"
    elif facts.images < MILD_BELOW:
        augment["diffaugment"] = "translation,cutout"
        why = f"DiffAugment with translation and cutout: {n} are fewer than {MILD_BELOW:,}"
    else:
        why = f"No DiffAugment: {n} are enough"
    sections["augment"] = augment
    kind = {"mirror": "mirrored", "dihedral": "turned and mirrored", "none": "left as they are"}
    if "augment.symmetry" in facts.asked:
        symmetry = facts.asked["augment.symmetry"]
        return f"{why}. Images are {kind.get(symmetry, symmetry)}, as asked for."
    shown = kind[augment["symmetry"]]
    return f"{why}. Images are {shown}, as suits the domain {facts.domain}; --domain names another."


def _length(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    kimg, interval = _LENGTH[family]
    kimg *= 2 if facts.strong else 1
    sections["schedule"] |= {"kimg": kimg, "checkpoint_kimg": interval}
    length = facts.number("schedule.kimg", 0) or kimg
    if sections["adversarial"].get("lr_fall_kimg"):
        sections["adversarial"]["lr_fall_kimg"] = length
    apart = facts.number("schedule.checkpoint_kimg", 0) or interval
    if not facts.scored:
        return f"{length:,g} kimg: no checkpoint is scored on val, so none ends the training earlier."
    sections["schedule"]["patience"] = _PATIENCE
    asked = facts.number("schedule.patience", 0)
    patience = _PATIENCE if asked is None else int(asked)
    if not patience:
        return f"{length:,g} kimg: no checkpoint ends the training earlier, as asked for."
    return (
        f"At most {length:,g} kimg; ends after {patience} checkpoints, {apart:g} kimg apart, without a "
        "better KID on val."
    )


def _remarks(facts: Facts) -> list[str]:
    rare = {name: n for name, n in facts.counts.items() if n < _FEW_OF_A_CLASS}
    if not rare:
        return []
    name, n = min(rare.items(), key=lambda item: item[1])
    return [
        f"The class {name} has {n} training images, and {len(rare)} of {len(facts.counts)} classes have "
        f"fewer than {_FEW_OF_A_CLASS}: expect near copies of those, and look at the copies audit."
    ]


def _power(number: float) -> int:
    """The largest power of two up to a number, at least 1."""
    return 1 << max(0, math.floor(math.log2(max(1, number))))


def facts_of(
    subset: Subset, domain: str | None, labelled: bool, changes: Mapping[str, Any] | None = None,
    validation: bool = True,
) -> Facts:  # fmt: skip
    """Facts of a Dataset's train part and of the device that the settings ask for.

    Args:
        subset: the train part.
        domain: kind of images, as the user says.
        labelled: whether the networks are given the labels.
        changes: what the user says of the configuration, by key, such as adversarial.batch.
        validation: whether checkpoints are to be scored; they can be only where there is a val part.
    """
    import torch

    from plenish.training.engine import Engine

    dataset = subset.dataset
    kind = dataset.labels.kind if labelled else "none"
    counts = {}
    if kind == "categorical":
        names = list(subset.labels)
        counts = {name: names.count(name) for name in dataset.labels.names}
    engine = Engine.from_settings()
    return Facts(
        len(subset), dataset.size, dataset.channels, kind, counts, engine.device.type != "cpu",
        torch.get_num_threads(), domain or "natural", dict(changes or {}),  # type: ignore[arg-type]
        validation and "val" in set(dataset.split(subset.split_name).part_of),
    )  # fmt: skip


def frozen(config: Mapping[str, Any], domain: str | None) -> Recipe | None:
    """The recipe that was chosen for a Run when it was made, from its configuration; None if none was.

    Args:
        config: the Run's resolved configuration.
        domain: what is asked for now; another one than before is then found to be another configuration.
    """
    kept = config.get("auto")
    if config.get("recipe") != AUTO or not kept:
        return None
    choice = {**kept, "domain": domain or "natural"}
    reasons = " ".join(kept["reasons"])
    return Recipe(AUTO, kept["about"], reasons, config["family"], kept["sections"], choice)
