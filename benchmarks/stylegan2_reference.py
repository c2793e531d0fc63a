"""Our StyleGAN2 step against the networks of another implementation, in turns of one run on the CPU.

    python -m benchmarks.stylegan2_reference CHECKOUT [--rounds 3] [--out FILE]

CHECKOUT is a copy of NVlabs/stylegan2-ada-pytorch. It is imported, not copied, and its licence allows
non-commercial use only. Its networks run in float32, as they force on a CPU, in the usual loop; ours as
`plenish train gan` runs them. Both: 64 px, batch 16, channel base 16384, at most 512 maps, 8 mapping layers,
unconditional, without lazy penalties.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import softplus

from benchmarks.gan_step import OurStep
from benchmarks.race import count_flops, describe_machine, publish, race, turn
from plenish.networks.gan import network_config
from plenish.training.engine import Engine
from plenish.training.gan.method import Adversarial, Method

SIZE, BATCH, BASE, MOST = 64, 16, 16384, 512


def reference_step(checkout: Path) -> Any:
    """One step of the usual loop on the reference's networks."""
    sys.path.insert(0, str(checkout))
    from training.networks import Discriminator, Generator

    common = {"channel_base": BASE, "channel_max": MOST, "num_fp16_res": 0}
    g = Generator(512, 0, 512, SIZE, 3, mapping_kwargs={"num_layers": 8}, synthesis_kwargs=common)
    d = Discriminator(0, SIZE, 3, **common, epilogue_kwargs={"mbstd_group_size": 4})
    opt_g, opt_d = (torch.optim.Adam(n.parameters(), 0.0025, (0.0, 0.99)) for n in (g, d))
    x, c = torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1, torch.zeros(BATCH, 0)

    def step() -> None:
        opt_d.zero_grad()
        fakes = g(torch.randn(BATCH, 512), c)
        (softplus(-d(x, c)).mean() + softplus(d(fakes.detach(), c)).mean()).backward()
        opt_d.step()
        opt_g.zero_grad()
        softplus(-d(fakes, c)).mean().backward()
        opt_g.step()

    return step, sum(p.numel() for n in (g, d) for p in n.parameters())


def our_step(engine: Engine) -> OurStep:
    """The same networks' step, ours."""
    options = {
        "size": SIZE, "channels": 3, "z_dim": 512, "w_dim": 512, "mapping_layers": 8, "width": BASE // SIZE,
        "max_width": MOST,
    }  # fmt: skip
    rules = Adversarial(batch=BATCH, lr_g=0.0025, lr_d=0.0025, beta1=0.0, beta2=0.99)
    x = torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1
    return OurStep("stylegan2", network_config("stylegan2", options), Method(rules), engine, x, None)


def main() -> None:
    """Race, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    engine = Engine.from_settings()
    ours = our_step(engine)
    theirs, parameters = reference_step(asked.checkout)
    flops = count_flops(theirs)
    result = {
        "date": time.strftime("%Y-%m-%d"), **describe_machine(engine),
        "size": SIZE, "batch": BATCH, "parameters_reference": parameters,
        "parameters_ours": sum(p.numel() for n in (ours.state.g, ours.state.d) for p in n.parameters()),
        **race(lambda: turn(theirs, engine), ours, flops, BATCH, engine, asked.rounds),
    }  # fmt: skip
    publish(result, asked.out)


if __name__ == "__main__":
    main()
