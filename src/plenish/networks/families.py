"""The registry of generator families: configuration, network and Learner of each, by name.

A family is one record in the module that holds its networks. Those of Plenish are listed here; a package of
the user's own registers its record through the entry point group `plenish.families`. A module is imported
when its family is asked for, so a broken package disturbs no other family.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from plenish.configuration import build_config
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError, first_line, unknown

if TYPE_CHECKING:
    from plenish.networks.sampler import Sampler, SamplerConfig

GROUP = "plenish.families"
OF_THE_DATA = ("size", "channels", "labels")  # what follows from the training data and is no option
GANS = ("dcgan", "progan", "r3gan", "sagan", "stylegan2", "vanilla", "wgan-gp")
BUILT_IN = {
    name: EntryPoint(name, f"plenish.networks.gan.{name.replace('-', '_')}:FAMILY", GROUP) for name in GANS
} | {"flow": EntryPoint("flow", "plenish.networks.flow:FAMILY", GROUP)}


@dataclasses.dataclass(frozen=True)
class Family:
    """A generator, how it is configured and how it is trained.

    Attributes:
        config: configuration of its networks.
        sampler: the generator, built from a configuration alone.
        learner: `module:Class` of the Learner that trains it, imported when a training starts.
        weights: name under which the Learner's checkpoints hold the network to sample from.
    """

    config: type[SamplerConfig]
    sampler: type[Sampler]
    learner: str
    weights: str = "ema"


def family_names() -> list[str]:
    """Names of all families, those of other packages too; nothing is imported."""
    return sorted({*BUILT_IN, *entry_points(group=GROUP).names})


def family(name: str) -> Family:
    """A family by name.

    Raises:
        InputError: there is none of that name (the nearest is named), or its package cannot be loaded.
    """
    found = _load(_entry(name), name)
    if not isinstance(found, Family):
        raise InputError(
            f"The family '{name}' of the package {_package(name)} is no {__name__}.Family, {_FIX}."
        )
    return found


def load_learner(name: str) -> Any:
    """The Learner class that a family names; InputError where it cannot be imported."""
    return _load(EntryPoint(name, family(name).learner, GROUP), name)


_FIX = "so update or uninstall that package"


def _entry(name: str) -> EntryPoint:
    entry = BUILT_IN.get(name) or next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        raise unknown("generator family", name, family_names())
    return entry


def _package(name: str) -> str:
    entry = _entry(name)
    return entry.dist.name if entry.dist is not None else "plenish"


def _load(entry: EntryPoint, name: str) -> Any:
    """What an entry names; whatever goes wrong in another package is one sentence with its name."""
    try:
        return entry.load()
    except Exception as error:
        if name in BUILT_IN:
            raise
        raise InputError(
            f"The family '{name}' of the package {_package(name)} cannot be loaded "
            f"({type(error).__name__}: {first_line(error)}), {_FIX}."
        ) from error


def network_config(name: str, options: Mapping[str, Any]) -> Any:
    """The family's configuration, a SamplerConfig, from plain options.

    Raises:
        InputError: an option the family does not have, with the nearest one, or a value of another type.
    """
    config, labels = family(name).config, options.get("labels")
    known = [field.name for field in dataclasses.fields(config)]
    for option in options:
        if option not in known:
            raise unknown(f"{name} network option", option, [key for key in known if key not in OF_THE_DATA])
    schema = {"labels": LabelSchema.from_dict(labels)} if isinstance(labels, Mapping) else {}
    return build_config(config, {**options, **schema}, "network")


def build_sampler(name: str, options: Mapping[str, Any]) -> Sampler:
    """A new generator of a family from the plain options that a Run or an export keeps."""
    return family(name).sampler(network_config(name, options))
