"""The step that is written first, for comparison: contiguous float32, default Adam, PyTorch's own operators.

It trains the same networks with the same objective and penalties, in a process of its own: within one process
the two would share an allocator, and the larger blocks of the one change what the other pays for its memory.

    python -m benchmarks.baseline    (reads a job as one line of JSON, then takes a turn for every line)
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.race import count_flops, data_wait, peak_rss_mb, race, turn
from plenish import settings
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig, Latent
from plenish.networks.families import network_config
from plenish.networks.flow import Flow, FlowConfig
from plenish.networks.gan import build
from plenish.networks.gan.contract import Discriminator, Generator
from plenish.networks.reference_ops import reference_operators
from plenish.networks.sampler import SamplerConfig
from plenish.training.engine import Engine
from plenish.training.flow import FlowMethod
from plenish.training.gan.method import PARTS, Method
from plenish.training.gan.objectives import objective
from plenish.training.gan.penalties import gradient_penalty, gradient_squares
from plenish.training.reconstruction import Method as AutoencoderMethod


def gan_step(
    generator: Generator, discriminator: Discriminator, method: Method, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor | None], None]:
    """A GAN's step: the discriminator's updates, each on the same reals and new fakes, then the generator's.

    Penalties that are due at every step are taken; lazy ones, augmentation and noise are left out, here as in
    the step this one is compared with.
    """
    rules, penalty = method.adversarial, method.penalty
    g, d = generator.to(device), discriminator.to(device)
    betas = (rules.beta1, rules.beta2)
    opt_g = torch.optim.Adam(g.parameters(), rules.lr_g, betas)
    opt_d = torch.optim.Adam(d.parameters(), rules.lr_d, betas)
    losses, z_dim = objective(rules.objective), generator.config.z_dim
    at_once = penalty.interval == 1

    @reference_operators()
    def step(x: torch.Tensor, y: torch.Tensor | None) -> None:
        for _ in range(rules.d_steps):
            opt_d.zero_grad()
            fakes = g(torch.randn(len(x), z_dim, device=device), y)
            reals, shown = x.clone(), fakes.detach()
            reals.requires_grad_(at_once and penalty.r1 > 0)
            shown.requires_grad_(at_once and penalty.r2 > 0)
            real, fake = d(reals, y), d(shown, y)
            loss = losses.discriminator(real, fake, rules.smoothing) + penalty.drift * real.square().mean()
            if reals.requires_grad:
                loss = loss + 0.5 * penalty.r1 * gradient_squares(real, reals).mean()
            if shown.requires_grad:
                loss = loss + 0.5 * penalty.r2 * gradient_squares(fake, shown).mean()
            if at_once and penalty.gp:
                share = torch.rand(len(x), device=device)
                loss = loss + penalty.gp * gradient_penalty(d, x, shown, y, share)
            loss.backward()
            opt_d.step()
        opt_g.zero_grad()
        losses.generator(d(fakes, y), d(x, y) if losses.paired else None).backward()
        opt_g.step()

    return step


def random_batch(
    config: SamplerConfig, batch: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random images N×C×H×W in [-1, 1] and, for networks with labels, N×K one-hot classes in turn."""
    x = torch.rand((batch, config.channels, config.size, config.size), device=device) * 2 - 1
    if not config.labels.width:
        return x, None
    return x, torch.eye(config.labels.width, device=device)[torch.arange(batch) % config.labels.width]


def autoencoder_step(
    config: AutoencoderConfig, method: AutoencoderMethod, device: torch.device
) -> Callable[[], None]:
    """A step of an autoencoder from float images on, with the library's loss."""
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


def flow_step(config: FlowConfig, method: FlowMethod, device: torch.device) -> Callable[[], None]:
    """A step of flow matching from float images on, with logit-normal times and no augmentation."""
    network = Flow(config).to(device)
    optimiser = torch.optim.Adam(network.parameters(), method.lr, (0.9, method.beta2))
    x, y = random_batch(config, method.batch, device)

    @reference_operators()
    def step() -> None:
        z = torch.randn_like(x)
        t = torch.sigmoid(method.time_mean + method.time_std * torch.randn(len(x), device=device))
        at = z + t[:, None, None, None] * (x - z)
        labelled = torch.rand(len(x), device=device) >= method.unlabelled if y is not None else None
        loss = F.mse_loss(network(at, t, y, labelled=labelled), x - z)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


@contextlib.contextmanager
def baseline_process(job: Mapping[str, Any]) -> Iterator[Callable[[], float]]:
    """A baseline in a process of its own; each call of what is yielded times one turn of it, seconds a step.

    Args:
        job: JSON-able; `network` is `gan`, `flow` or `autoencoder`, the rest describes it (see `build_step`).

    Raises:
        RuntimeError: the process ended; its own message is on standard error.
    """
    asked = settings.current()
    job = {**job, "device": asked.device, "threads": asked.threads}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.baseline"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, bufsize=1, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def call(request: str) -> str:
        requests.write(request + "\n")
        if not (answer := answers.readline()):
            raise RuntimeError(f"the process of the baseline ended with exit code {process.wait(60)}")
        return answer

    try:
        call(json.dumps(job))
        yield lambda: float(call("step"))
    finally:
        requests.close()
        process.wait(timeout=60)


def against_baseline(
    job: Mapping[str, Any], ours: Callable[[], Any], images: int, engine: Engine, rounds: int
) -> dict[str, Any]:
    """What a result says of a training step: the race with a job's baseline, the wait for data, memory.

    Args:
        job: the baseline, as for `baseline_process`.
        ours: one step of ours.
        images: in one step.
        engine: device of both.
        rounds: how often each is timed.
    """
    job = json.loads(json.dumps(job))
    flops = count_flops(build_step(job, engine))
    with baseline_process(job) as baseline:
        row = race(baseline, ours, flops, images, engine, rounds)
    wait = data_wait(job["config"]["size"], job["config"]["channels"], images, row["seconds_step"])
    return {**row, "data_wait_share": wait, "peak_rss_mb": peak_rss_mb()}


def serve() -> None:
    """Body of that process: take turns when told to, and print how long a step took."""
    job = json.loads(sys.stdin.readline())
    with settings.use(device=job["device"], threads=job["threads"], precision="float32"):
        engine = Engine.from_settings()
    step = build_step(job, engine)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(turn(step, engine), flush=True)


def build_step(job: Mapping[str, Any], engine: Engine) -> Callable[[], None]:
    """The step that a job describes by `network`, `config`, `method`, and `family` of a generator."""
    if job["network"] == "autoencoder":
        method = AutoencoderMethod(**job["method"])
        return autoencoder_step(AutoencoderConfig.from_dict(job["config"]), method, engine.device)
    config = network_config(job["family"], job["config"])
    if job["network"] == "flow":
        return flow_step(config, FlowMethod(**job["method"]), engine.device)
    gan_method = Method(**{name: part(**job["method"][name]) for name, part in PARTS.items()})  # type: ignore[arg-type]
    x, y = random_batch(config, gan_method.adversarial.batch, engine.device)
    step = gan_step(*build(job["family"], config), gan_method, engine.device)
    return lambda: step(x, y)


if __name__ == "__main__":
    serve()
