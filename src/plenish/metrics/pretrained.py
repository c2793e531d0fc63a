"""The pretrained networks papers score with: the FID Inception and DINOv2.

Weights come from `--weights FILE`, from the cache, or from the network on first use. No pickle is trusted:
files are safetensors, or read by torch's restricted loader.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish import files
from plenish.errors import InputError, first_line
from plenish.metrics.extractor import Extractor, resized
from plenish.networks.weights import read_with_digest
from plenish.progress import progress
from plenish.training.engine import Engine

INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d"  # leading digits, as published in the file's name
DINOV2 = "vit_small_patch14_dinov2.lvd142m"
_OTHER = "does not fit {}: it holds the weights of another network; give its own."
TIMEOUT_S = 20.0
"""Longest silence of a server, seconds."""


def download(url: str, sha256: str) -> Path:
    """A file from `$XDG_CACHE_HOME/plenish/weights` or the network, its digest checked either way.

    Args:
        url: http(s) address; its last part names the file.
        sha256: leading hexadecimal digits of the expected digest.

    Raises:
        InputError: no network, a refusal, or a file that is not the expected one.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "plenish" / "weights"
    path = folder / url.rsplit("/", 1)[-1]
    if path.exists() and files.sha256_file(path).startswith(sha256):
        return path
    fix = "give a local copy with --weights FILE or use --features domain"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            total, pieces = int(answer.headers.get("Content-Length") or 0), []
            with progress(f"downloading {path.name}", max(total, 1), "bytes") as bar:
                while piece := answer.read(1 << 20):
                    pieces.append(piece)
                    bar.advance(len(piece))
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url} could not be downloaded ({reason}); {fix}.") from None
    content = b"".join(pieces)
    if not hashlib.sha256(content).hexdigest().startswith(sha256):
        raise InputError(f"{url} did not send the expected file (its SHA-256 differs); {fix}.")
    with files.reporting_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)
    return path


def inception(weights: Path | None = None) -> Extractor:
    """The Inception network FID is defined on (2,048 pooled features), as ported by torch-fidelity.

    Only with the reference weights is it named `inception`, and only then is a score called FID.

    Args:
        weights: a file of them; by default from the cache or a download.

    Raises:
        InputError: torch-fidelity is not installed, or the weights cannot be had or do not fit.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise InputError(
            "--features inception needs torch-fidelity; install it with pip install 'plenish[inception]'."
        ) from None
    path = weights or download(INCEPTION_URL, INCEPTION_SHA256)
    state, digest = read_with_digest(path)
    with tempfile.TemporaryDirectory() as folder:
        # torch-fidelity unpickles its file, so it gets one that was written here.
        safe = Path(folder) / "state.pth"
        torch.save(state, safe)
        try:
            network = FeatureExtractorInceptionV3(
                "inception", ["2048"], feature_extractor_weights_path=str(safe)
            )
        except (RuntimeError, KeyError):
            raise InputError(f"{path} {_OTHER.format('the FID Inception')}") from None
    reference = digest.startswith(INCEPTION_SHA256)
    return _frozen(
        network,
        lambda x: network(x)[0].flatten(1),
        name="inception" if reference else "inception-other",
        version="2015-12-05",
        resizer="bilinear as TensorFlow 1, to 299×299",
        task="classifying ImageNet (1,008 outputs)",
        dim=2048,
        fitted_on="ImageNet (reference weights)" if reference else f"unknown (weights {path.name})",
        hash=digest,
    )


def dinov2(weights: Path | None = None) -> Extractor:
    """DINOv2 ViT-S/14 (Oquab et al. 2023) through timm: 384 features of the class token at 224×224.

    Args:
        weights: a file of them; by default timm finds or downloads them.

    Raises:
        InputError: the weights cannot be had or do not fit.
    """
    import timm
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    from torchvision.transforms.functional import normalize

    try:
        network = timm.create_model(DINOV2, pretrained=weights is None, num_classes=0, dynamic_img_size=True)
    except Exception as error:  # timm's and the hub's failures share no type
        raise InputError(
            f"{DINOV2} could not be downloaded ({first_line(error)[:120].strip(' .')}); "
            "give a local copy with --weights FILE or use --features domain."
        ) from None
    if weights is None:
        digest = _state_hash(network)
    else:
        state, digest = read_with_digest(weights)
        try:
            network.load_state_dict(state)
        except RuntimeError:
            raise InputError(f"{weights} {_OTHER.format(DINOV2)}") from None
    return _frozen(
        network,
        lambda x: network(normalize(resized(x / 255, 224), IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)),
        name="dinov2",
        version=DINOV2,
        resizer="bilinear, antialiased, to 224×224; ImageNet mean and standard deviation",
        task="self-distillation without labels (DINOv2)",
        dim=384,
        fitted_on=f"LVD-142M ({DINOV2})" if weights is None else f"unknown (weights {weights.name})",
        hash=digest,
    )


def _frozen(network: nn.Module, features: Callable[[Tensor], Tensor], **facts: Any) -> Extractor:
    """A network in float32: its features are compared across machines, so precision is fixed.

    Args:
        network: the network.
        features: images uint8 n×3×H×W → features by the network; grey images are repeated over the channels.
        facts: of the extractor.
    """
    engine = Engine.from_settings("float32")
    engine.to_module(network.eval().requires_grad_(False))

    def of_images(images: NDArray[np.uint8]) -> Tensor:
        colour = np.repeat(images, 3 // images.shape[3], axis=3)
        return features(torch.from_numpy(colour).to(engine.device).permute(0, 3, 1, 2))

    return Extractor(**facts, channels=(1, 3), batch=32, network=of_images)


def _state_hash(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
