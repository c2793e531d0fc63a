"""`plenish bench autoencoder`: the training step's speed against the plain way and the arithmetic limit.

As in `bench`: steps of the plain loop, ours and a matrix product take turns, the plain one in a process of
its own. Our step starts from the uint8 images a reader hands over, the plain one from float images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.commands.bench import BenchResult, count_flops, cpu_model, data_wait, peak_rss_mb, race
from plenish.errors import InputError
from plenish.progress import say

if TYPE_CHECKING:
    import torch

    from plenish.networks.autoencoder import AutoencoderConfig
    from plenish.training.engine import Engine
    from plenish.training.reconstruction import Method

PLAIN = "plenish.commands.bench_autoencoder:plain_from_job"


def bench_autoencoder(
    *, recipe: str = "autoencoder", size: int = 128, channels: int = 3, batch: int | None = None,
    rounds: int = 7, out: Path | None = None,
) -> BenchResult:  # fmt: skip
    """Measure an autoencoder's training step against the plain loop, in turn.

    Args:
        recipe: whose network and method: one for training, a queue (each variant) or a study.
        size: image size in pixels.
        channels: 1 or 3.
        batch: images a step, if not the recipe's.
        rounds: how often each is timed; medians are reported.
        out: also write the result to this JSON file.
    """
    if out is not None and out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if rounds < 1 or (batch is not None and batch < 1) or size < 2 or channels not in (1, 3):
        raise InputError("A benchmark needs at least 1 round, a batch of 1, and images of 1 or 3 channels.")
    import torch

    from plenish.training.engine import Engine

    engine = Engine.from_settings()
    rows = []
    for name, config, method in _asked(recipe, size, channels, batch):
        say(f"{name}: building the network and counting its arithmetic …")
        torch.manual_seed(0)
        row: dict[str, Any] = {"recipe": name, "size": size, "channels": channels, "batch": method.batch}
        row |= {"filters": list(config.filters), "latent_features": config.latent_features}
        row |= _race(config, method, engine, rounds)
        row["data_wait_share"] = data_wait(size, channels, method.batch, row["seconds_step"])
        rows.append(row | {"peak_rss_mb": peak_rss_mb()})
    result = BenchResult(rows, {**engine.describe(), "cpu": cpu_model(), "torch": torch.__version__})
    if out is not None:
        files.write_json(out, result.summary())
    return result


def _asked(
    recipe: str, size: int, channels: int, batch: int | None
) -> list[tuple[str, AutoencoderConfig, Method]]:
    """Name, network and method of each autoencoder a recipe describes."""
    from plenish.configuration import build_config
    from plenish.networks.autoencoder import AutoencoderConfig
    from plenish.recipes import VERBS, load_recipe
    from plenish.training.reconstruction import Method

    chosen = load_recipe(recipe)
    if chosen.kind == "generator" or "training" not in chosen.sections:
        raise InputError(
            f"The recipe {chosen.name} is for 'plenish {VERBS[chosen.kind]}', which trains no autoencoder."
        )
    found = []
    for name, own in (chosen.sections.get("variants") or {"": {}}).items():
        sections = {
            section: {**chosen.sections[section], **(own.get(section) or {})}
            for section in ("network", "training")
        }
        config = AutoencoderConfig.from_dict({**sections["network"], "size": size, "channels": channels})
        training = sections["training"] | ({"batch": batch} if batch else {})
        full = f"{chosen.name}: {name}" if name else chosen.name
        found.append((full, config, build_config(Method, training, "training")))
    return found


def _race(config: AutoencoderConfig, method: Method, engine: Engine, rounds: int) -> dict[str, Any]:
    import dataclasses

    from plenish.commands.baseline import in_its_own_process

    flops = count_flops(plain_step(config, method, engine.device))
    ours = our_step(config, method, engine)
    job = {"maker": PLAIN, "config": config.to_dict(), "method": dataclasses.asdict(method)}
    with in_its_own_process(job) as plain:
        return race(plain, ours, flops, method.batch, engine, rounds)


def our_step(config: AutoencoderConfig, method: Method, engine: Engine) -> Callable[[], None]:
    """A step as the loop takes it, from uint8 images on."""
    import torch

    from plenish.networks.autoencoder import Autoencoder
    from plenish.training.reconstruction import Learner

    learner = Learner(Autoencoder(config), method, engine)
    pixels = torch.randint(0, 256, (method.batch, config.size, config.size, config.channels)).byte()
    number = 0

    def step() -> None:
        nonlocal number
        learner.step(learner.blocks(pixels), (0, 0, number))
        number += 1

    return step


def plain_step(config: AutoencoderConfig, method: Method, device: torch.device) -> Callable[[], None]:
    """The step everybody writes first: contiguous float32, the library's operators, loss and default Adam."""
    import torch
    from torch.nn import functional as F

    from plenish.networks.autoencoder import Autoencoder, Latent
    from plenish.networks.reference_ops import reference_operators

    network = Autoencoder(config).to(device)
    optimiser = torch.optim.Adam(network.parameters(), method.lr, (method.beta1, method.beta2))
    x = torch.rand((method.batch, config.channels, config.size, config.size), device=device) * 2 - 1

    @reference_operators()
    def step() -> None:
        shown = x + 2 * method.denoise * torch.randn_like(x) if method.denoise else x
        latent: Latent = network.encode(network.to_blocks(shown))
        code = latent.draw(torch.randn_like(latent.mean)) if config.variational else latent.mean
        loss = F.mse_loss(network.to_images(network.decode(code)), x) / 4
        if config.variational:
            kl = latent.divergence().mean() / (config.channels * config.size**2)
            loss = 0.5 * loss.log() + method.beta * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def plain_from_job(job: Mapping[str, Any], engine: Engine) -> Callable[[], None]:
    """A plain step of the autoencoder that a job of `plain.in_its_own_process` describes."""
    from plenish.networks.autoencoder import AutoencoderConfig
    from plenish.training.reconstruction import Method

    return plain_step(AutoencoderConfig.from_dict(job["config"]), Method(**job["method"]), engine.device)
