"""`--recipe auto`: a recipe for the data and the machine at hand, by a few rules, with the reason for each.

The rules, in the order in which they are applied:

1. Family. On a CPU and up to 64 px `flow`, which comes nearest to real images in equal time there
   (measured at 32 and 64 px, docs/generators.md). Everywhere else, where flows were not measured,
   `stylegan2`, and on a GPU with 10,000 images or more `r3gan`. An option that is asked for and only the one
   or the others have decides first. All else starts from that family's shipped recipe.
2. Width. Feature maps halve as the side doubles, so that each resolution costs alike; twice as many on a GPU
   or a CPU with 8 threads or more. `flow`: the recipe's for the size.
3. Batch. 32 (64 on a GPU and for `flow`), half of that above 128 px, and at most a quarter of the images.
4. Gamma of R1. `stylegan2`: 0.0002·size²/batch (Karras et al. 2020, arXiv 2006.06676). `r3gan`:
   0.3·size²/batch, the rule of the recipe small-r3gan. `flow` has none.
5. Augmentation. DiffAugment (Zhao et al. 2020, arXiv 2006.10738): colour, translation and cutout below 5,000
   images, translation and cutout below 20,000, none above; `flow`: its own changes, with probability 0.1
   below 5,000 images. Symmetry and policy follow the domain.
6. Length. An upper limit; training ends earlier, after five checkpoints without a better KID on val, where
   checkpoints are scored. Learning rates that fall in the shipped recipe (`r3gan`) fall over all of it.
   Checkpoints of `flow` are no farther apart than 60 passes over the images: few images are soon memorised.

What is asked for by options holds instead, and the rules behind it follow: gamma is that of the batch used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plenish.domains import ASSUMED, Chosen
from plenish.recipes import AUTO, FLOW_SECTIONS, Recipe, load_recipe
from plenish.recipes import SECTIONS as GAN_SECTIONS
from plenish.training.schedules import closer
from plenish.wording import significant

if TYPE_CHECKING:
    from plenish.datasets.parts import Subset

SECTIONS = tuple(dict.fromkeys((*GAN_SECTIONS, *FLOW_SECTIONS)))
"""Of all families there are to choose from."""
MANY_THREADS, MANY_IMAGES, FLOW_SIZE = 8, 10_000, 64
STRONG_BELOW, MILD_BELOW = 5_000, 20_000
_BASE = {"stylegan2": "small-stylegan2", "r3gan": "small-r3gan"}
_LENGTH = {"flow": (2_000, 50), "stylegan2": (1_000, 50), "r3gan": (2_000, 100)}
"""At most so many kimg, and kimg from one checkpoint to the next; twice as many kimg on a strong machine."""
_OF_GANS = ("adversarial.", "penalty.", "growth.", "limits.", "augment.diffaugment", "augment.ada_")
_OF_FLOWS = ("training.", "augment.p")
FLOW_NETWORK = ("width", "max_width", "patch", "levels", "blocks", "attention", "dropout")
_OF_ALL = ("adversarial.batch", "adversarial.lr_g", "adversarial.lr_d")
"""What --batch and --lr set, whatever the family."""
_PATIENCE = 5
_FEW_OF_A_CLASS = 50
_FLOW_P = 0.1
_PASSES = 60


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
        domain: kind of images, and who says so.
        asked: what the user says of the configuration, by key, such as adversarial.batch.
        scored: whether checkpoints are scored on a val part.
        hours: length that is asked for, in hours of this machine; or None.
    """

    images: int
    size: int
    channels: int = 3
    labels: str = "none"
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    gpu: bool = False
    threads: int = 2
    domain: Chosen = ASSUMED
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scored: bool = True
    hours: float | None = None

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

    @property
    def of_a_gan(self) -> str | None:
        """An option that is asked for and only GANs have, or None."""
        others = [key for key in self.asked if key.startswith("network.")]
        found = [key for key in others if key.removeprefix("network.") not in FLOW_NETWORK]
        found += [key for key in self.asked if key.startswith(_OF_GANS) and key not in _OF_ALL]
        return next(iter(found), None)

    @property
    def of_a_flow(self) -> str | None:
        """The same of flows."""
        names = [key for key in self.asked if key.startswith(_OF_FLOWS[0]) or key == _OF_FLOWS[1]]
        return next(iter(names), None)


def choose(facts: Facts) -> Recipe:
    """A recipe for these facts; its `choice` holds the reasons, a sentence each."""
    family, why_family = _family(facts)
    flow = "flow-small" if facts.size <= 48 else "flow-64" if facts.size <= 96 else "flow-128"
    base = _BASE.get(family, flow)
    sections: dict[str, dict[str, Any]] = {
        name: dict(values) for name, values in load_recipe(base).sections.items()
    }
    reasons = [why_family]
    for rule in (_width, _batch, _gamma, _augmentation, _length):
        if family != "flow" or rule is not _gamma:
            reasons.append(rule(facts, family, sections))
    reasons.extend(_remarks(facts))
    about = f"Chosen for {facts.images:,} images of {facts.size} px; {base} adapted."
    choice = {"about": about, "reasons": reasons, "sections": sections}
    return Recipe(AUTO, about, " ".join(reasons), family, sections, choice)


def _family(facts: Facts) -> tuple[str, str]:
    n = f"{facts.images:,} images"
    if facts.of_a_flow:
        return "flow", f"Family flow: {facts.of_a_flow}, which was asked for, is of flows."
    why = ""
    if facts.of_a_gan:
        why = f"{facts.of_a_gan}, which was asked for, is of GANs"
    elif not facts.gpu and facts.size <= FLOW_SIZE:
        return "flow", f"Family flow: nearest to real images in equal time, for {facts.size} px on a CPU."
    if facts.gpu and facts.images >= MANY_IMAGES:
        return "r3gan", f"Family r3gan: {why or f'a GPU and {n}, {MANY_IMAGES:,} or more'}."
    if facts.gpu:
        return "stylegan2", f"Family stylegan2: {why or f'a GPU and {n}, fewer than {MANY_IMAGES:,}'}."
    return "stylegan2", f"Family stylegan2: {why or f'flows were not measured beyond {FLOW_SIZE} px'}."


def _width(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    network = sections["network"]
    usual = int(network["width"])
    if family == "flow":
        network["width"] = int(facts.number("network.width") or usual)
        network["max_width"] = max(network["width"], int(network["max_width"]))
        why = "by the size" if network["width"] == usual else "as asked for"
        return f"Width {network['width']}: {why}."
    scale = (2 if facts.strong else 1) * 64 / facts.size
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
    section = "training" if family == "flow" else "adversarial"
    most = (64 if facts.gpu or family == "flow" else 32) // (2 if facts.size > 128 else 1)
    asked = facts.number("adversarial.batch", 2) or facts.number(f"{section}.batch", 2)
    batch = int(asked or max(2, _power(min(most, facts.images // 4))))
    sections[section]["batch"] = batch
    if asked:
        return f"Batch {batch}: as asked for."
    why = "at most a quarter of the images" if batch < most else "the usual one for this size and device"
    return f"Batch {batch}: {why}."


def _gamma(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    batch, penalty = sections["adversarial"]["batch"], sections["penalty"]
    gamma, why = {
        "stylegan2": (0.0002 * facts.size**2 / batch, "0.0002·size²/batch (Karras et al. 2020)"),
        "r3gan": (0.3 * facts.size**2 / batch, "0.3·size²/batch, as in small-r3gan"),
    }[family]
    reasons: dict[tuple[float, str], list[str]] = {}
    for name in ("r1", "r2") if family == "r3gan" else ("r1",):
        asked = facts.number(f"penalty.{name}", 0)
        penalty[name] = significant(gamma, 4) if asked is None else asked
        reason = why if asked is None else "as asked for"
        reasons.setdefault((penalty[name], reason), []).append(name.upper())
    clauses = [
        (f"{' and '.join(names)} gamma {value:g}" if value else f"No {' or '.join(names)}") + f": {reason}"
        for (value, reason), names in reasons.items()
    ]
    return "; ".join(clauses) + "."


def _augmentation(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    domain = facts.domain.domain
    augment: dict[str, Any] = {"symmetry": domain.symmetry, "policy": facts.domain.name}
    cutout = domain.cutout
    n = f"{facts.images:,} images"
    asked = facts.asked.get("augment.diffaugment")
    if family == "flow":
        few = facts.images < STRONG_BELOW
        p = facts.number("augment.p", 0)
        augment["p"] = (_FLOW_P if few else 0.0) if p is None else p
        why = f"Further changes with probability {augment['p']:g}: "
        why += (
            "as asked for"
            if p is not None
            else f"{n} are {'fewer than' if few else 'not fewer than'} {STRONG_BELOW:,}"
        )
    elif asked is not None:
        why = f"DiffAugment with {asked}: as asked for" if asked else "No DiffAugment: as asked for"
    elif facts.images < STRONG_BELOW:
        augment["diffaugment"] = "color,translation" + ",cutout" * cutout
        names = "colour, translation and cutout" if cutout else "colour and translation"
        why = f"DiffAugment with {names}: {n} are fewer than {STRONG_BELOW:,}"
    elif facts.images < MILD_BELOW:
        augment["diffaugment"] = "translation" + ",cutout" * cutout
        why = f"DiffAugment with translation{' and cutout' * cutout}: {n} are fewer than {MILD_BELOW:,}"
    else:
        why = f"No DiffAugment: {n} are enough"
    sections["augment"] = augment
    return f"{why}. {facts.domain.sentence(facts.asked.get('augment.symmetry'))}"


def _length(facts: Facts, family: str, sections: dict[str, dict[str, Any]]) -> str:
    kimg, interval = _LENGTH[family]
    kimg *= 2 if facts.strong else 1
    if family == "flow":
        interval = min(interval, max(1, round(_PASSES * facts.images / 1000)))
    sections["schedule"] |= {"kimg": kimg, "checkpoint_kimg": interval}
    length = facts.number("schedule.kimg", 0) or kimg
    if sections.get("adversarial", {}).get("lr_fall_kimg"):
        sections["adversarial"]["lr_fall_kimg"] = length
    apart = facts.number("schedule.checkpoint_kimg", 0) or closer(interval, length)
    limit = f"{length:,g} kimg" if facts.hours is None else f"What this machine does in {facts.hours:g} h"
    distance = f"{apart:g} kimg apart, " if facts.hours is None else ""
    if not facts.scored:
        sections["schedule"].pop("patience", None)
        return f"{limit}: no checkpoint is scored on val, so none ends the training earlier."
    sections["schedule"]["patience"] = _PATIENCE
    asked = facts.number("schedule.patience", 0)
    patience = _PATIENCE if asked is None else int(asked)
    if not patience:
        return f"{limit}: no checkpoint ends the training earlier, as asked for."
    most = f"At most {limit}" if facts.hours is None else limit
    return f"{most}; ends after {patience} checkpoints, {distance}without a better KID on val."


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
    subset: Subset, domain: Chosen, labelled: bool, changes: Mapping[str, Any] | None = None,
    validation: bool = True, hours: float | None = None,
) -> Facts:  # fmt: skip
    """Facts of a Dataset's train part and of the device that the settings ask for.

    Args:
        subset: the train part.
        domain: kind of images, and who says so.
        labelled: whether the networks are given the labels.
        changes: what the user says of the configuration, by key, such as adversarial.batch.
        validation: whether checkpoints are to be scored; they can be only where there is a val part.
        hours: length that is asked for, in hours of this machine.
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
        torch.get_num_threads(), domain, dict(changes or {}),
        validation and "val" in set(dataset.split(subset.split_name).part_of), hours,
    )  # fmt: skip


def frozen(config: Mapping[str, Any]) -> Recipe | None:
    """The recipe that was chosen for a Run when it was made, from its configuration; None if none was.

    Args:
        config: the Run's resolved configuration.
    """
    kept = config.get("auto")
    if config.get("recipe") != AUTO or not kept:
        return None
    reasons = " ".join(kept["reasons"])
    return Recipe(AUTO, kept["about"], reasons, config["family"], kept["sections"], kept)
