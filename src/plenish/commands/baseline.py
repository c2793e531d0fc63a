"""The loop everybody writes first, for comparison: contiguous float32, default Adam, PyTorch's own operators.

It trains the same networks with the same objective and penalties, in a process of its own: within one process
the two would share an allocator, and the larger blocks of the one change what the other pays for its memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from plenish import settings

if TYPE_CHECKING:
    import torch

    from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
    from plenish.training.engine import Engine
    from plenish.training.gan.method import Method

STEPS_A_TURN = 3
"""The first step behind another process's turn finds cold caches; a training does not."""
_LONG_STEP = 2.0
"""Seconds from which one step a turn is enough: caches are cold for a small part of it only."""


def plain_step(
    generator: Generator, discriminator: Discriminator, method: Method, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor | None], None]:
    """One step: the discriminator's updates, each on the same reals and new fakes, then the generator's.

    Penalties that are due at every step are taken; lazy ones, augmentation and noise are left out, here as in
    the step this one is compared with.
    """
    import torch

    from plenish.networks.reference_ops import reference_operators
    from plenish.training.gan.objectives import objective
    from plenish.training.gan.penalties import gradient_penalty, gradient_squares

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


def batch_for(
    config: NetworkConfig, batch: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random images N×C×H×W in [-1, 1] and, for networks with labels, N×K one-hot classes in turn."""
    import torch

    x = torch.rand((batch, config.channels, config.size, config.size), device=device) * 2 - 1
    if not config.labels.width:
        return x, None
    return x, torch.eye(config.labels.width, device=device)[torch.arange(batch) % config.labels.width]


def timed(run: Callable[[], Any], engine: Engine) -> float:
    """Seconds of one call, the device's work included."""
    engine.synchronize()
    begun = time.perf_counter()
    run()
    engine.synchronize()
    return time.perf_counter() - begun


def turn(step: Callable[[], Any], engine: Engine) -> float:
    """Median seconds of a few steps in a row; of one, if it is a long one."""
    first = timed(step, engine)
    if first > _LONG_STEP:
        return first
    return statistics.median([first, *(timed(step, engine) for _ in range(STEPS_A_TURN - 1))])


def plain_process(
    family: str, config: NetworkConfig, method: Method
) -> contextlib.AbstractContextManager[Callable[[], float]]:
    """The plain loop of a GAN in a process of its own; what is yielded times one turn of it, seconds."""
    return in_its_own_process(
        {
            "maker": "plenish.commands.baseline:gan_step", "family": family, "config": config.to_dict(),
            "method": dataclasses.asdict(method),
        }
    )  # fmt: skip


@contextlib.contextmanager
def in_its_own_process(job: Mapping[str, Any]) -> Iterator[Callable[[], float]]:
    """A plain loop in a process of its own; each call of what is yielded times one turn of it, seconds.

    Args:
        job: JSON-able; `maker` names the function, `module:function`, that makes a step of it and an Engine.
    """
    asked = settings.current()
    job = {**job, "device": asked.device, "threads": asked.threads}
    process = subprocess.Popen(
        [sys.executable, "-c", "from plenish.commands.baseline import serve; serve()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    tell, hear = process.stdin, process.stdout

    def step() -> float:
        tell.write("step\n")
        return float(hear.readline())

    try:
        tell.write(json.dumps(job) + "\n")
        hear.readline()
        yield step
    finally:
        tell.close()
        process.wait(timeout=60)


def serve() -> None:
    """Body of that process: take plain steps when told to, and say how long each took."""
    from plenish.training.engine import Engine

    job = json.loads(sys.stdin.readline())
    with settings.use(device=job["device"], threads=job["threads"], precision="float32"):
        engine = Engine.from_settings()
    module, name = job["maker"].split(":")
    step = getattr(importlib.import_module(module), name)(job, engine)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(turn(step, engine), flush=True)


def gan_step(job: Mapping[str, Any], engine: Engine) -> Callable[[], None]:
    """A plain step of the GAN that a job describes."""
    from plenish.networks.gan import build, network_config
    from plenish.training.gan.method import PARTS, Method

    config = network_config(job["family"], job["config"])
    method = Method(**{name: part(**job["method"][name]) for name, part in PARTS.items()})  # type: ignore[arg-type]
    x, y = batch_for(config, method.adversarial.batch, engine.device)
    step = plain_step(*build(job["family"], config), method, engine.device)
    return lambda: step(x, y)


__all__ = ["batch_for", "in_its_own_process", "plain_process", "plain_step", "timed", "turn"]
