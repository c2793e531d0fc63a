"""A trained autoencoder: its encodings and reconstructions of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint, load_module
from plenish.training.engine import Engine

AT_ONCE = 256
"""Images that are encoded at once."""


@dataclasses.dataclass(frozen=True)
class LoadedAutoencoder:
    """A trained autoencoder with its provenance.

    Attributes:
        network: in evaluation mode on the engine's device.
        run: the Run it comes from.
        checkpoint: the checkpoint's folder.
        weights_sha256: checksum of the weights.
        engine: device and precision; float32 unless asked otherwise, so that encodings keep their digits.
    """

    network: Autoencoder
    run: Run
    checkpoint: Path
    weights_sha256: str
    engine: Engine

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encodings of images uint8 N×H×W×C, float32 N×F; means, where they are distributions."""
        return self._each(images, None, lambda code: code.flatten(1))

    def reconstruct(
        self, images: NDArray[np.uint8], noise: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Images as the autoencoder gives them back, float32 N×H×W×C in [0, 1].

        Args:
            images: uint8 N×H×W×C.
            noise: added to them first, in units of [0, 1]; the same shape.
        """
        network = self.network

        def decoded(code: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = network.to_images(network.decode(code).float())
            return made.permute(0, 2, 3, 1) / 2 + 0.5

        return self._each(images, noise, decoded)

    def _each(
        self,
        images: NDArray[np.uint8],
        noise: NDArray[np.float32] | None,
        of: Callable[[torch.Tensor], torch.Tensor],
    ) -> NDArray[np.float32]:
        self.check(images.shape)
        parts = []
        with torch.inference_mode(), self.engine.autocast():
            for start in range(0, len(images), AT_ONCE):
                x = self.engine.to_images(images[start : start + AT_ONCE])
                if noise is not None:
                    more = torch.from_numpy(noise[start : start + AT_ONCE]).permute(0, 3, 1, 2)
                    x = x + 2 * more.to(x.device)
                code = self.network.encode(self.network.to_blocks(x)).mean
                parts.append(of(code).float().cpu().numpy())
        return np.ascontiguousarray(np.concatenate(parts))

    def check(self, shape: tuple[int, ...]) -> None:
        """InputError unless images N×H×W×C of this shape are what the autoencoder was trained on."""
        size, channels = self.network.config.size, self.network.config.channels
        if tuple(shape[1:]) != (size, size, channels):
            given = "×".join(map(str, shape[1:]))
            raise InputError(
                f"The autoencoder {self.run.path} takes images of {size}×{size}×{channels}, and these have "
                f"{given}; import them with --size {size}."
            )

    def provenance(self) -> dict[str, Any]:
        """What an array or a result records of the model."""
        return {
            "kind": "autoencoder", "run": str(self.run.path.resolve()), "run_id": self.run.id,
            "recipe": self.run.config["config"].get("recipe"), "checkpoint": self.checkpoint.name,
            "weights_sha256": self.weights_sha256, "precision": self.engine.precision,
            "data": dict(self.run.config["data"]),
        }  # fmt: skip


def load_autoencoder(run: Path | str, checkpoint: str = "best") -> LoadedAutoencoder:
    """Load a trained autoencoder.

    Args:
        run: an autoencoder Run.
        checkpoint: `best` on the val part, `last`, or a checkpoint's name.

    Raises:
        InputError: no such Run or checkpoint, or it is damaged.
    """
    opened = Run.open(run, "autoencoder")
    path = find_checkpoint(opened, checkpoint)
    network = Autoencoder(AutoencoderConfig.from_dict(opened.config["config"]["network"]))
    load_module(path, "autoencoder", network)
    engine = Engine.from_settings("float32")
    engine.to_module(network).eval().requires_grad_(False)
    sha256 = files.sha256_file(path / "autoencoder.safetensors")
    return LoadedAutoencoder(network, opened, path, sha256, engine)
