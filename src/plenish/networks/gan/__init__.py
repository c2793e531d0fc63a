"""GAN families: one file each, built from a configuration alone."""

from __future__ import annotations

from plenish.errors import InputError
from plenish.networks import families
from plenish.networks.families import network_config
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, NetworkConfig

FAMILIES = families.GANS


def family(name: str) -> GANFamily:
    """A GAN family by name.

    Raises:
        InputError: there is none of that name, or it is a family of another kind.
    """
    found = families.family(name)
    if not isinstance(found, GANFamily):
        raise InputError(f"The family {name} has no discriminator, so it is not trained as a GAN.")
    return found


def build(name: str, config: NetworkConfig) -> tuple[Generator, Discriminator]:
    """Build both networks of a family."""
    made = family(name)
    return made.sampler(config), made.discriminator(config)


__all__ = ["FAMILIES", "Discriminator", "Generator", "NetworkConfig", "build", "family", "network_config"]
