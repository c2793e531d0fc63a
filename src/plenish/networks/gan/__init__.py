"""GAN families by name: one file each, built from a configuration alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from plenish.datasets.schema import LabelSchema
from plenish.errors import coerce_type, unknown
from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
from plenish.networks.gan.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from plenish.networks.gan.progan import ProGANConfig, ProGANDiscriminator, ProGANGenerator
from plenish.networks.gan.r3gan import R3GANConfig, R3GANDiscriminator, R3GANGenerator
from plenish.networks.gan.sagan import SAGANConfig, SAGANDiscriminator, SAGANGenerator
from plenish.networks.gan.stylegan2 import StyleGAN2Config, StyleGAN2Discriminator, StyleGAN2Generator
from plenish.networks.gan.vanilla import VanillaConfig, VanillaDiscriminator, VanillaGenerator
from plenish.networks.gan.wgan_gp import WGANGPConfig, WGANGPDiscriminator, WGANGPGenerator


class Family(NamedTuple):
    """A generator, its discriminator and the configuration both are built from."""

    config: type[NetworkConfig]
    generator: type[Generator]
    discriminator: type[Discriminator]


FAMILIES: dict[str, Family] = {
    "dcgan": Family(DCGANConfig, DCGANGenerator, DCGANDiscriminator),
    "progan": Family(ProGANConfig, ProGANGenerator, ProGANDiscriminator),
    "sagan": Family(SAGANConfig, SAGANGenerator, SAGANDiscriminator),
    "r3gan": Family(R3GANConfig, R3GANGenerator, R3GANDiscriminator),
    "stylegan2": Family(StyleGAN2Config, StyleGAN2Generator, StyleGAN2Discriminator),
    "vanilla": Family(VanillaConfig, VanillaGenerator, VanillaDiscriminator),
    "wgan-gp": Family(WGANGPConfig, WGANGPGenerator, WGANGPDiscriminator),
}


def family(name: str) -> Family:
    """A family by name; InputError with the nearest name when there is none."""
    if name not in FAMILIES:
        raise unknown("generator family", name, FAMILIES)
    return FAMILIES[name]


def network_config(name: str, options: Mapping[str, Any]) -> NetworkConfig:
    """The family's configuration from plain options.

    Raises:
        InputError: an option the family does not have, with the nearest one.
    """
    made = family(name).config
    known = [field.name for field in dataclasses.fields(made)]
    for option in options:
        if option not in known:
            of_the_data = ("size", "channels", "labels")
            raise unknown(f"{name} network option", option, [key for key in known if key not in of_the_data])
    values = dict(options)
    for field in dataclasses.fields(made):
        if field.name in values and field.default is not dataclasses.MISSING:
            values[field.name] = coerce_type(f"network.{field.name}", values[field.name], field.default)
    if isinstance(values.get("labels"), Mapping):
        values["labels"] = LabelSchema.from_dict(values["labels"])
    return made(**values)


def build(name: str, config: NetworkConfig) -> tuple[Generator, Discriminator]:
    """Build both networks of a family."""
    made = family(name)
    return made.generator(config), made.discriminator(config)


__all__ = [
    "FAMILIES",
    "Discriminator",
    "Family",
    "Generator",
    "InputError",
    "NetworkConfig",
    "build",
    "family",
    "network_config",
]
