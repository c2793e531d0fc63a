"""A classifier's Run that tells images of a generator apart, fitted in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from plenish.datasets.dataset import Dataset
from plenish.latent.space import LatentSpace
from plenish.networks.classifier import SmallClassifier
from plenish.runs import Run
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import CLASSIFIER, Classifier
from plenish.training.engine import Engine

N = 300


def make_classifier(out: Path, generator: Path, data: Dataset) -> Run:
    """A Run of the classes "left" and "right": whether the first number of an image's z is below 0.

    The features of a network with random weights are fitted to it by least squares.

    Args:
        out: the folder of the Run.
        generator: a generator's Run.
        data: whose hashes stand in its config.json.
    """
    space = LatentSpace(generator)
    points = space.draw(range(N), np.eye(2, dtype=np.float32)[np.arange(N) % 2])
    torch.manual_seed(0)
    size, channels = space.network.size, space.network.channels
    network = SmallClassifier(channels, size, 2)
    images = Engine.from_settings().to_images(space.images(points))
    mean, std = float(images.mean()), float(images.std())
    with torch.inference_mode():
        x = (images - mean) / std
        network.train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # The statistics are then those of these images.
        network.forward_features(x)
        network.eval()
        features = network.features(x).mean((2, 3)).double().numpy()
        target = np.sign(points.values[:, 0])
        centre = features.mean(0)
        fitted = np.linalg.lstsq(features - centre, target, rcond=1e-3)[0]
        weight = torch.from_numpy(np.stack([-fitted, fitted])).float() * 2
        network.head.weight.copy_(weight)
        network.head.bias.copy_(-weight @ torch.from_numpy(centre).float())
    run = Run.create(out, "classifier", {"recipe": "small"}, data=data.provenance("default"), seed=0)
    made = Classifier(
        network, ClassifierConfig(), ("left", "right"), channels, size, (mean,), (std,), "float32"
    )
    made.save(out / CLASSIFIER)
    run.update_status(state="complete")
    return run
