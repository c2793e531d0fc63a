"""A discriminator whose features are those of a trained classifier: its backbone with one output.

What tells classes of images apart also sees much of what is wrong with generated ones, and need not be learnt
anew from few images. The classifier's head is replaced by one linear output, and labels are judged by
projection on the features (Miyato and Koyama 2018), whatever the generator's family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from plenish.networks.classifier import Normalised, build_classifier
from plenish.networks.gan.contract import Discriminator, NetworkConfig


class ClassifierDiscriminator(Discriminator):
    """Normalisation and backbone of a classifier, a linear head and, where there are labels, a projection.

    The backbone stays in evaluation mode while it is trained: batch norms keep the classifier's statistics
    and nothing is dropped, so that a logit depends on its image alone, as gradient penalties take for
    granted.

    Attributes:
        freeze_images: images seen up to which only head and projection are trained.
    """

    def __init__(
        self, config: NetworkConfig, classifier: str, weights: Mapping[str, Tensor], mean: Sequence[float],
        std: Sequence[float], freeze_images: int = 0,
    ) -> None:  # fmt: skip
        """Build the backbone, and copy the classifier's weights.

        Args:
            config: of the generator.
            classifier: name of the classifier's network, as for `build_classifier`.
            weights: its state dict, whose head is left out.
            mean: per-channel mean by which its images are normalised, in [-1, 1].
            std: per-channel standard deviation.
            freeze_images: see the class.

        Raises:
            KeyError: the weights are of another network.
        """
        super().__init__(config)
        body = build_classifier(classifier, config.channels, config.size, 0)
        body.load_state_dict({name: weights[name] for name in body.state_dict()})
        self.body = Normalised(body, mean, std).eval()
        self.freeze_images = freeze_images
        self._frozen = freeze_images > 0
        with torch.no_grad():
            width = self.body(torch.zeros(1, config.channels, config.size, config.size)).shape[1]
        self.head = nn.Linear(width, 1)
        if config.labels.width:
            self.projection = nn.Linear(config.labels.width, width, bias=False)
        self.trainable(True)

    def train(self, mode: bool = True) -> ClassifierDiscriminator:
        """Set the mode of head and projection; the backbone stays in evaluation mode."""
        super().train(mode)
        self.body.eval()
        return self

    def trainable(self, on: bool) -> None:
        """Let the weights be trained, or not; those of the backbone only once it is no longer frozen."""
        super().trainable(on)
        self.body.requires_grad_(on and not self._frozen)

    def set_images_seen(self, nimg: int) -> None:
        """Freeze the backbone for the first images."""
        self._frozen = nimg < self.freeze_images
        self.trainable(True)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] → pooled features of the backbone, N×F."""
        found: Tensor = self.body(image)
        return found
