"""The encoder that gives an inversion its first guess: image → latents and label.

It is trained on images of the generator itself, whose latents are known, and kept in the Run's folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from plenish import files
from plenish.errors import InputError
from plenish.latent.coordinates import Coordinates
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.space import LatentSpace
from plenish.networks.weights import read_with_digest
from plenish.progress import plain_duration, progress, say, warn
from plenish.training.engine import stable_seed

FOLDER = "encoders"
BATCH = 64
_VERSION = 1


class InversionEncoder(nn.Module):
    """Convolutions with stride 2 down to 4 pixels, then two linear layers.

    Args:
        size: height and width of the images.
        channels: of the images.
        latents: P, how many numbers the latents are.
        labels: K, columns of y; 0 without labels.
    """

    def __init__(self, size: int, channels: int, latents: int, labels: int) -> None:
        super().__init__()
        self.latents = latents
        width, wider, layers = channels, 48, list[nn.Module]()
        while size > 4:
            layers += [nn.Conv2d(width, wider, 3, 2, 1), nn.GroupNorm(8, wider), nn.SiLU()]
            width, wider, size = wider, min(2 * wider, 192), -(-size // 2)
        layers += [nn.Flatten(), nn.Linear(width * size**2, 512), nn.SiLU(), nn.Linear(512, latents + labels)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images N×C×H×W in [-1, 1] → coordinates of latents N×P, and logits of labels N×K."""
        found: Tensor = self.layers(images).float()
        return found[:, : self.latents], found[:, self.latents :]


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A trained encoder.

    Attributes:
        network: it, in evaluation mode on the engine's device.
        facts: of its training: steps, images, seconds, errors on images that it has not seen.
    """

    network: InversionEncoder
    facts: dict[str, Any]

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images N×C×H×W in [-1, 1] → coordinates of latents N×P, and logits of labels N×K."""
        with torch.no_grad():
            coded, logits = self.network(images)
        return coded, logits


def has_encoder(space: LatentSpace, where: Coordinates, how: InversionOptions) -> bool:
    """Whether `get_encoder` finds a trained encoder in the Run's folder."""
    return (_place(space, where, how)[2] / "encoder.json").is_file()


def _place(space: LatentSpace, where: Coordinates, how: InversionOptions) -> tuple[str, str, Path]:
    """The kind of an encoder, z or w, its key, and its folder."""
    kind = "z" if where.space == "z" else "w"
    key = files.config_hash(
        {
            "what": "inversion-encoder", "version": _VERSION, "weights": space.loaded.weights_sha256,
            "space": kind, "steps": how.encoder_steps, "seed": how.seed, "options": space.options,
        }
    )  # fmt: skip
    return kind, key, space.loaded.run.path / FOLDER / f"{kind}-{key[:16]}"


def get_encoder(space: LatentSpace, where: Coordinates, how: InversionOptions) -> Encoder:
    """The encoder of a generator, from its Run's folder, or trained now and kept there.

    Args:
        space: the generator.
        where: coordinates of z or w; an encoder of w serves w+ as well, which is one style for all layers.
        how: length and seed of the training.
    """
    width = where.width if where.space == "z" else where.shape[-1]
    kind, key, folder = _place(space, where, how)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed(how.seed, "inversion-encoder"))
        network = InversionEncoder(space.network.size, space.network.channels, width, space.labels.width)
    facts = _read(folder, network, key)
    space.engine.to_module(network)
    if facts is None:
        facts = {"key": key, "space": kind, "generator": space.loaded.provenance()}
        facts |= _train(space, where, network, how)
        _keep(folder, network, facts)
    return Encoder(network.eval().requires_grad_(False), facts)


def _train(
    space: LatentSpace, where: Coordinates, network: InversionEncoder, how: InversionOptions
) -> dict[str, Any]:
    """Train on fresh images; returns what is to be said of it."""
    begun, steps, kind = time.monotonic(), how.encoder_steps, space.labels.kind
    say(f"training the encoder of {space.loaded.run.path} on its own images (once)")
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    with progress("encoder", steps * BATCH, "images") as bar:
        for step in range(steps):
            images, aim, y = _drawn(space, where, BATCH, (how.seed, "inversion-encoder", step))
            with space.engine.autocast():
                coded, logits = network(images)
            loss = functional.mse_loss(coded, aim)
            if y is not None:
                loss = loss + 0.1 * _label_loss(logits, y, kind)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(BATCH)
    images, aim, y = _drawn(space, where, 4 * BATCH, (how.seed, "inversion-encoder", "check"))
    network.eval()
    with torch.no_grad():
        coded, logits = network(images)
    seconds = time.monotonic() - begun
    spread = (aim - aim.mean(0)).square().mean()
    facts = {
        "steps": steps, "images": steps * BATCH, "seconds": round(seconds, 1),
        "explained": round(1 - float((coded - aim).square().mean() / spread), 4),
    }  # fmt: skip
    if y is not None and kind == "categorical":
        facts["accuracy"] = float((logits.argmax(1) == y.argmax(1)).float().mean())
    say(f"encoder trained in {plain_duration(seconds)}: {100 * facts['explained']:.0f} % of the variance")
    return facts


def _drawn(
    space: LatentSpace, where: Coordinates, n: int, key: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Fresh images n×C×H×W, the coordinates of their latents n×P, and their labels."""
    rng, device = torch.Generator().manual_seed(stable_seed(*key)), space.engine.device
    network, labels = space.network, space.labels
    z = network.sample_prior(n, rng).to(device)
    y = None
    if labels.kind == "categorical":
        y = torch.eye(labels.width)[torch.randint(labels.width, (n,), generator=rng)].to(device)
    elif labels.width:
        y = torch.rand(n, labels.width, generator=rng).to(device)
        y = y.round() if labels.kind == "multilabel" else y
    with torch.no_grad(), space.engine.autocast():
        latents = z if where.space == "z" else space.require_styles("--space w").mapping(z, y).float()
        images = space.sample(latents, y, where.of).float()
        aim = where.of_latents(latents)
    if where.space == "w+":  # Every layer has the same style, which is learnt once.
        aim = aim[:, : where.shape[-1]]
    return images, aim, y


def _label_loss(logits: Tensor, y: Tensor, kind: str) -> Tensor:
    if kind == "categorical":
        return functional.cross_entropy(logits, y)
    if kind == "multilabel":
        return functional.binary_cross_entropy_with_logits(logits, y)
    return functional.mse_loss(logits, y)


def _read(folder: Path, network: InversionEncoder, key: str) -> dict[str, Any] | None:
    """Load the weights that are kept; None where they are missing or damaged."""
    try:
        facts = files.read_record(folder / "encoder.json")
        state, digest = read_with_digest(folder / "encoder.safetensors")
        if facts["key"] != key or facts["sha256"] != digest:
            return None
        network.load_state_dict(state)
    except (InputError, KeyError, RuntimeError):
        return None
    return facts


def _keep(folder: Path, network: InversionEncoder, facts: dict[str, Any]) -> None:
    """Write the weights, each file at once; a Run that cannot be written keeps none, which is said."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with contextlib.suppress(InputError, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "encoder.safetensors", save(state))
        facts["sha256"] = files.sha256_file(folder / "encoder.safetensors")
        files.write_record(folder / "encoder.json", facts)
        return
    warn(f"{folder} cannot be written, so the encoder will be trained again next time.")
