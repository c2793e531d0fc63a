"""Which discriminator a GAN is trained with: its family's own, or one made of a trained classifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.networks import gan as networks
from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
from plenish.networks.gan.from_classifier import ClassifierDiscriminator
from plenish.training.classifier_model import Classifier


@dataclasses.dataclass(frozen=True)
class DiscriminatorOptions:
    """Where the discriminator comes from.

    Attributes:
        from_classifier: Run of a classifier whose backbone it is made of; empty for the family's own network.
        freeze_kimg: thousands of images in which only the new output of such a backbone is trained.
    """

    from_classifier: str = ""
    freeze_kimg: float = option(0.0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "discriminator")
        if self.freeze_kimg and not self.from_classifier:
            raise InputError(
                "discriminator.freeze_kimg keeps the weights of a classifier, and none is given; give its "
                "Run with discriminator.from_classifier."
            )

    @property
    def run(self) -> Path | None:
        """The classifier's Run."""
        return Path(self.from_classifier) if self.from_classifier else None


def build_networks(
    family: str, config: NetworkConfig, options: DiscriminatorOptions
) -> tuple[Generator, Discriminator]:
    """The generator of a family, and the discriminator that is asked for.

    Raises:
        InputError: there is no such classifier, or it does not fit the images.
    """
    if options.run is None:
        return networks.build(family, config)
    return networks.family(family).sampler(config), _of_classifier(options, options.run, config)


def _of_classifier(options: DiscriminatorOptions, run: Path, config: NetworkConfig) -> Discriminator:
    model = Classifier.of_run(run)
    check_shape(model, run, config)
    # With columns beside the images the network is a body and a head on both.
    start = "body." if model.columns.width else ""
    weights = {name.removeprefix(start): value for name, value in model.network.state_dict().items()}
    return ClassifierDiscriminator(
        config, model.config.classifier, weights, model.mean, model.std, round(1000 * options.freeze_kimg)
    )


def check_shape(model: Classifier, run: Path, config: NetworkConfig) -> None:
    """Refuse a classifier of images of another size or other channels than the generator's."""
    if (model.size, model.channels) != (config.size, config.channels):
        raise InputError(
            f"The classifier in {run} takes images of {model.size}×{model.size}×{model.channels}, and these "
            f"have {config.size}×{config.size}×{config.channels}; train one on this Dataset."
        )
