"""Where a classifier looks: Grad-CAM (Selvaraju et al., ICCV 2017)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plenish.datasets.batches import Images
from plenish.datasets.pixels import chunks
from plenish.errors import InputError
from plenish.networks.classifier_parts import WithColumns
from plenish.training.classifier_model import Classifier
from plenish.training.engine import Engine

_AT_ONCE = 32


def grad_cam(model: Classifier, images: Images, classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much each place of an image speaks for a class, on the last feature maps.

    The maps A_k are weighed by the mean gradient of the class's logit, α_k = mean over places of ∂logit/∂A_k,
    and what remains of Σ α_k A_k above 0 is enlarged to the image, bilinearly, in float32.

    Args:
        model: the classifier.
        images: N images, with the inputs that it takes.
        classes: N class or tag numbers.

    Returns:
        N×H×W, each map's largest value 1, or all 0 where nothing speaks for the class.

    Raises:
        InputError: the network has no feature maps.
    """
    module: Any = model.module()
    network = module.network
    engine = Engine.from_settings("float32")
    found = []
    for index in chunks(len(images.y), _AT_ONCE):
        x = (engine.to_images(images.read(index)) - module.mean) / module.std
        more = () if images.inputs is None else (torch.from_numpy(images.inputs[index]).to(x.device),)
        with torch.enable_grad():
            features, logits = _features_and_logits(network, x, more)
            own = torch.from_numpy(classes[index]).to(x.device)
            (gradient,) = torch.autograd.grad(logits.gather(1, own[:, None]).sum(), features)
        maps, slopes = (_as_maps(values, network) for values in (features.detach(), gradient))
        cam = (slopes.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True).relu()
        cam = functional.interpolate(cam, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        found.append((cam / cam.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)).double().cpu().numpy())
    return np.concatenate(found)


def _body(network: Any) -> Any:
    return network.body if isinstance(network, WithColumns) else network


def _features_and_logits(network: Any, x: Tensor, more: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The last features that places are told apart in, and the logits that follow from them.

    A transformer's head may read its class token alone, to which places speak last in its last block.
    """
    features = network.forward_features(x).detach().requires_grad_()
    if features.ndim == 4:
        return features, network.forward_head(features, *more).float()
    caught: list[Tensor] = []

    def catch(_: Any, __: Any, output: Tensor) -> Tensor:
        caught.append(output.detach().requires_grad_())
        return caught[0]

    blocks = getattr(_body(network), "blocks", None)
    if blocks is None:
        raise InputError("--explain: this network has no feature maps to show; leave the option out.")
    handle = blocks[-1].norm1.register_forward_hook(catch)
    try:
        logits = network(x, *more).float()
    finally:
        handle.remove()
    return caught[0], logits


def _as_maps(features: Tensor, network: Any) -> Tensor:
    """Feature maps N×K×h×w, of transformers their patches' tokens laid out as they lie in the image."""
    body = _body(network)
    if features.ndim == 4:
        return features if features.shape[1] == body.num_features else features.permute(0, 3, 1, 2)
    tokens = features[:, getattr(body, "num_prefix_tokens", 0) :] if features.ndim == 3 else features
    side = math.isqrt(tokens.shape[1])
    if tokens.ndim != 3 or side * side != tokens.shape[1]:
        raise InputError("--explain: this network has no feature maps to show; leave the option out.")
    maps: Tensor = tokens.transpose(1, 2).unflatten(2, (side, side))
    return maps
