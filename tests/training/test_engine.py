from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plenish import settings
from plenish.commands.train_generator import train_gan
from plenish.errors import InputError
from plenish.freed_memory import reuse_freed_memory
from plenish.training.engine import Engine, native_bfloat16, stable_seed, to_uint8

CPU = Engine(torch.device("cpu"), "float32")


def test_pixels_survive_the_way_to_the_network_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    images = CPU.to_images(pixels)
    assert images.shape == (1, 3, 16, 16)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.min() == -1
    assert images.max() == 1
    assert (to_uint8(images) == pixels).all()


def test_values_outside_are_clipped_and_others_rounded() -> None:
    images = torch.tensor([-3.0, 3.0, 0.0, 1 / 127.5])[:, None, None, None]
    assert to_uint8(images).ravel().tolist() == [0, 255, 128, 128]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_a_draw_depends_on_its_key_alone(key: list[int]) -> None:
    torch.rand(3)
    first = torch.rand(4, generator=CPU.generator(*key))
    torch.rand(5)
    assert torch.equal(first, torch.rand(4, generator=CPU.generator(*key)))
    assert not torch.equal(first, torch.rand(4, generator=CPU.generator(*key, "other")))


def test_seeds_are_the_same_on_every_machine() -> None:
    assert stable_seed(0, "weights") == 2934036865011653446
    assert 0 <= stable_seed("x") < 2**63


def test_unknown_devices_are_told() -> None:
    for name in ("cuda:99", "toaster"):
        with settings.use(device=name), pytest.raises(InputError, match=f"'{name}'.*--device"):
            Engine.from_settings()


def test_freed_memory_of_large_tensors_is_used_again_until_it_is_given_back() -> None:
    if not reuse_freed_memory():
        pytest.skip("the C library is not glibc")
    # In a process of its own, whose heap no other test has divided; a fault is a page taken from the system.
    code = (
        "import resource, torch; "
        "from plenish.freed_memory import return_freed_memory, reuse_freed_memory; "
        "assert reuse_freed_memory(); torch.set_num_threads(1); "
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt; "
        "step = lambda: torch.empty(2**26, dtype=torch.uint8).fill_(1); "
        "taken = []\n"
        "for _ in range(40): before = faults(); step(); taken.append(faults() - before)\n"
        "print(min(taken))\n"
        "held = lambda: int(open('/proc/self/statm').read().split()[1]); "
        "before = held(); assert return_freed_memory(); print(before - held())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pages = 2**26 // os.sysconf("SC_PAGE_SIZE")
    taken, given_back = map(int, done.stdout.split())
    assert taken < pages // 4
    assert given_back > pages // 2


def test_a_limit_of_the_instruction_set_hides_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert not native_bfloat16(torch.device("cpu"))
    assert Engine.from_settings().precision == "float32"


def test_precision_asked_for_wins() -> None:
    for precision in ("float32", "bfloat16"):
        with settings.use(precision=precision):
            assert Engine.from_settings().precision == precision
    assert Engine.from_settings("float32").precision == "float32"


def test_deterministic_is_set_and_recorded(stripes, tmp_path: Path) -> None:
    data, options = stripes(), ["network.width=4", "network.max_width=8", "network.z_dim=8"]
    asked = {"recipe": "dcgan", "batch": 10, "kimg": 0.02, "validation": False, "options": options}
    try:
        with settings.use(deterministic=True):
            assert Engine.from_settings().deterministic
            run = train_gan(data.path, tmp_path / "run", **asked)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert run.config["config"]["deterministic"] is True
    with pytest.raises(InputError, match="deterministic"):
        train_gan(data.path, tmp_path / "run", **(asked | {"kimg": 0.04}))
