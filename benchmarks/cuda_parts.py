"""The parts of `benchmarks/cuda.py`; each prints one JSON object.

python -m benchmarks.cuda_parts PART [--device cuda] [--tiny]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile

from benchmarks.baseline import flow_step, random_batch
from benchmarks.flow_step import our_step, plan
from benchmarks.gan_step import OurStep, method_of
from benchmarks.race import count_flops, timed
from plenish import settings
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.networks import lowpass
from plenish.networks.flow import Flow
from plenish.networks.gan import network_config
from plenish.recipes import load_recipe
from plenish.training import checkpoints
from plenish.training.engine import Engine
from plenish.training.gan.augment import Augment
from plenish.training.gan.penalties import Penalty

TESTED = ["training", "networks", "latent", "metrics", "study"]


def card(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Name of the device and its matrix rates, TFLOP/s."""
    n = 256 if tiny else 8192
    rates = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("tf32", torch.float32)):
        a, b = (torch.randn(n, n, device=engine.device, dtype=dtype) for _ in range(2))
        product = functools.partial(torch.matmul, a, b)
        seconds = statistics.median([timed(product, engine) for _ in range(10)][3:])
        rates[name] = round(2 * n**3 / seconds / 1e12, 3)
    return {**engine.describe(), "torch": torch.__version__, "matrix": n, "tflops": rates}


def filters(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Largest relative error of the low-pass filters and their derivatives; their time beside convolutions'.

    The reference is the depthwise convolution in float64.
    """
    worst, seconds = 0.0, {}
    shape = (2, 8, 16, 16) if tiny else (16, 64, 256, 256)
    for layout in (torch.channels_last, torch.contiguous_format):
        for options in ((1, 1, 4.0), (2, 1, 1.0), (1, 2, 1.0)):
            for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
                x = torch.randn(2, 24, 20, 20, device=engine.device).to(dtype, memory_format=layout)
                error = _error(x, *options)
                if not error < allowed:
                    raise AssertionError(f"{layout}, {dtype}, {options}: relative error {error}")
                worst = max(worst, error)
        x = torch.randn(shape, device=engine.device).to(torch.bfloat16, memory_format=layout)
        for name, way in (("filter", lowpass.filtered), ("convolution", lowpass.by_convolution)):
            call = functools.partial(way, x, 1, 1, 4.0)
            times = [timed(call, engine) for _ in range(8)][3:]
            seconds[f"{name}, {str(layout).removeprefix('torch.')}, ms"] = 1000 * statistics.median(times)
    return {"worst_relative_error": worst, "shape": shape, **seconds}


def _error(x: torch.Tensor, padding: int, stride: int, gain: float) -> float:
    """Largest relative error of the filter and of its first and second derivatives."""
    found = _derivatives(lambda v: lowpass.halve(v) if stride == 2 else lowpass.smooth(v, padding, gain), x)
    expected = _derivatives(lambda v: lowpass.by_convolution(v, padding, stride, gain), x.double())
    pairs = zip(found, expected, strict=True)
    return max(float((ours.double() - theirs).norm() / theirs.norm()) for ours, theirs in pairs)


def _derivatives(operation: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().requires_grad_()
    out = operation(x)
    (first,) = torch.autograd.grad(0.5 * out.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(0.5 * first.square().sum(), x)
    return [out, first, second]


def dcgan(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Images/s of DCGAN at 64 px, batch 64, with and without CUDA graphs."""
    at = {"size": 16, "batch": 4, "width": 4, "max_width": 8} if tiny else {"size": 64, "batch": 64}
    found = {}
    for name, asked in (("graphs", "on"), ("no graphs", "off")):
        os.environ["PLENISH_CUDA_GRAPHS"] = asked
        step = _step(engine, "dcgan", at)
        rate = _rate(engine, step, at["batch"], *((2, 2) if tiny else (30, 200)))
        found[name] = rate | {"recorded": step.state.passes.recording}
    return {"images_per_s": found["graphs"]["images_per_s"], **found}


def stylegan2(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Seconds a kimg of StyleGAN2, 256 px, base 16384, batch 16, with lazy R1 and path length."""
    network = {"z_dim": 512, "w_dim": 512, "mapping_layers": 8, "width": 64, "max_width": 512}
    at = {"size": 256, "batch": 16, **network}
    if tiny:
        at |= {"size": 16, "batch": 4, "width": 4, "max_width": 8}
    step = _step(engine, "small-stylegan2", at, Penalty(r1=1.0, interval=16, path=2.0, path_interval=4))
    # Sixteen steps hold every penalty as often as it comes.
    return _rate(engine, step, at["batch"], *((1, 4) if tiny else (17, 48)))


def flow(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Images/s and TFLOP/s of the recipe flow-64 at 64 px, batch 64, and images/s of 20 Heun steps."""
    config, method = plan("flow-64", 16 if tiny else 64, 3, 2, 4 if tiny else 64)
    flops = count_flops(flow_step(config, method, engine.device))
    found = _rate(engine, our_step(config, method, engine), method.batch, *((2, 2) if tiny else (30, 100)))
    network = engine.to_module(Flow(config)).eval().requires_grad_(False)
    z = torch.randn(256, 3, config.size, config.size, device=engine.device)[: 4 if tiny else 256]
    y = torch.eye(2, device=engine.device)[torch.arange(len(z)) % 2]
    with engine.autocast():
        network.sample(z, y, steps=2)
        seconds = timed(lambda: network.sample(z, y), engine)
    return found | {
        "tflops": flops * found["images_per_s"] / method.batch / 1e12, "samples_per_s": len(z) / seconds,
    }  # fmt: skip


def _step(engine: Engine, recipe: str, at: dict[str, int], penalty: Penalty | None = None) -> OurStep:
    chosen = load_recipe(recipe)
    options = {"size": at["size"], "channels": 3, "labels": LabelSchema()}
    more = {name: value for name, value in at.items() if name not in ("size", "batch")}
    config = network_config(chosen.family, {**chosen.sections["network"], **more, **options})
    method = method_of(chosen.sections)
    rules = dataclasses.replace(method.adversarial, batch=at["batch"])
    method = dataclasses.replace(method, adversarial=rules, augment=Augment())
    if penalty is not None:
        method = dataclasses.replace(method, penalty=penalty)
    torch.manual_seed(0)
    return OurStep(chosen.family, config, method, engine, *random_batch(config, at["batch"], engine.device))


def _rate(engine: Engine, step: Callable[[], None], batch: int, warm_up: int, steps: int) -> dict[str, Any]:
    """Images/s over many steps, and the share of the time in which the GPU computes."""

    def several(number: int) -> None:
        for _ in range(number):
            step()

    several(warm_up)
    seconds = timed(lambda: several(steps), engine)
    images = steps * batch
    found = {
        "images_per_s": images / seconds, "seconds_kimg": 1000 * seconds / images,
        "milliseconds_step": 1000 * seconds / steps, "peak_memory_gib": None, "gpu_busy_share": None,
    }  # fmt: skip
    if engine.device.type == "cuda":
        found["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            several(min(steps, 16))
            engine.synchronize()
        busy = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
        # The profiler slows the host, not the kernels: their time over that of unobserved steps.
        found["gpu_busy_share"] = busy / (seconds / steps * min(steps, 16))
    return found


def resume(engine: Engine, tiny: bool) -> dict[str, Any]:
    """Whether a training that was killed and resumed ends with the weights of one that was not."""
    kimg, every = ("0.4", "0.1") if tiny else ("6", "1")
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        rng = np.random.default_rng(0)
        writer = DatasetWriter(data, name="noise", size=32, channels=3, labels=LabelSchema(), config={})
        with writer:
            pixels = rng.integers(0, 256, (256, 32, 32, 3), np.uint8)
            writer.add(pixels, [{"part": "train"} for _ in pixels])

        def command(name: str) -> list[str]:
            words = ["train", "generator", str(data), str(Path(place) / name), "--recipe", "dcgan", "--kimg"]
            words += [kimg, "--checkpoint-kimg", every, "--batch", "16", "--width", "8", "--no-validation"]
            return [
                sys.executable,
                "-m",
                "plenish",
                *words,
                "--device",
                str(engine.device),
                "--deterministic",
            ]

        def found(name: str) -> list[Path]:
            return checkpoints.list_checkpoints(Path(place) / name / "checkpoints")

        subprocess.run(command("whole"), check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(command("cut"), stdout=subprocess.DEVNULL)
        while process.poll() is None and not found("cut"):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        subprocess.run(command("cut"), check=True, stdout=subprocess.DEVNULL)
        differing = [
            f"{file.stem}.{name}"
            for file in sorted(found("whole")[-1].glob("*.safetensors"))
            for name, value in load_file(file).items()
            if not torch.equal(value, load_file(found("cut")[-1] / file.name)[name])
        ]
    if differing:
        raise AssertionError(f"{len(differing)} tensors differ, such as {differing[0]}")
    return {"killed": killed, "bit_exact": True, "kimg": float(kimg)}


def tests(engine: Engine, tiny: bool, processes: int) -> dict[str, Any]:
    """The tests of the rooms that compute, with this device; names of those that fail."""
    folders = ["tests/networks/test_lowpass.py"] if tiny else [f"tests/{name}" for name in TESTED]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", str(processes), "-p", "no:cacheprovider", "-rfE", *folders],
        env=os.environ | {"PLENISH_TEST_DEVICE": str(engine.device)}, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    failing = [re.split(r" - ", line)[0] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"summary": lines[-1] if lines else "", "failing": failing, "exit_code": done.returncode}


PARTS = {
    "card": card, "filters": filters, "dcgan": dcgan, "stylegan2": stylegan2, "flow": flow, "resume": resume,
}  # fmt: skip


def main() -> None:
    """Print the result of one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=[*PARTS, "tests"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--processes", type=int, default=12)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    with settings.use(device=options.device, quiet=True):
        engine = Engine.from_settings()
        if options.part == "tests":
            found = tests(engine, options.tiny, options.processes)
        else:
            found = PARTS[options.part](engine, options.tiny)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
