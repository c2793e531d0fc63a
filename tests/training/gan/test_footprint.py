from __future__ import annotations

import pytest
import torch
from benchmarks.gan_step import method_of

from plenish.errors import InputError
from plenish.networks.gan import FAMILIES, build, network_config
from plenish.recipes import load_recipe
from plenish.training.engine import Engine
from plenish.training.gan import footprint as footprints
from plenish.training.gan.footprint import footprint, heaviest, kept_bytes, refuse_too_large
from plenish.training.gan.growth import Growth
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState

ENGINE = Engine(torch.device("cpu"), "float32")


def _config(name: str = "dcgan", **options: object):
    return network_config(name, {"size": 16, "width": 8, "max_width": 16, "z_dim": 8, **options})


def test_fixed_parts_are_those_of_the_weights() -> None:
    config = _config()
    found = footprint("dcgan", config, Method(Adversarial(batch=4)), ENGINE)
    g, d = build("dcgan", config)
    of_g, of_d = (4 * sum(p.numel() for p in network.parameters()) for network in (g, d))
    assert found.gradients == of_g + of_d
    assert found.optimisers == 2 * (of_g + of_d)
    assert found.average == of_g


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_what_is_kept_grows_with_the_batch_as_estimated(name: str) -> None:
    config, method = _config(name), Method(Adversarial(batch=4), Penalty(r1=1))
    found = footprint(name, config, method, ENGINE)
    torch.manual_seed(0)
    state = GANState(*build(name, config), method, ENGINE)
    assert found.kept_each > 0
    assert found.kept + 16 * found.kept_each == pytest.approx(kept_bytes(state, 16), rel=0.05)


def test_penalties_and_pixels_take_memory() -> None:
    plain, penalty = Method(Adversarial(batch=4)), Method(Adversarial(batch=4), Penalty(r1=1))
    small = footprint("dcgan", _config(), plain, ENGINE).kept_each
    assert footprint("dcgan", _config(size=32), plain, ENGINE).kept_each == pytest.approx(4 * small, rel=0.4)
    assert footprint("dcgan", _config(), penalty, ENGINE).kept_each > 1.1 * small


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config, free = _config(), 2**28
    monkeypatch.setattr(footprints, "available_bytes", lambda _: free)
    refuse_too_large("dcgan", config, Method(Adversarial(batch=16)), ENGINE)
    with pytest.raises(InputError, match=r"100000 .* --batch \d+") as refusal:
        refuse_too_large("dcgan", config, Method(Adversarial(batch=100_000)), ENGINE)
    fits = int(str(refusal.value).split("--batch ")[1].split()[0])
    estimate = footprint("dcgan", config, Method(Adversarial(batch=4)), ENGINE)
    assert estimate.total(fits) <= free < estimate.total(2 * fits + 1)
    monkeypatch.setattr(footprints, "available_bytes", lambda _: 2**20)
    with pytest.raises(InputError, match="--width"):
        refuse_too_large("dcgan", config, Method(Adversarial(batch=1000)), ENGINE)


def _progan(size: int):
    return network_config("progan", {"size": size, "width": 4, "max_width": 8, "z_dim": 8})


@pytest.mark.parametrize(
    ("batches", "batch", "stage"),
    [("", 16, 3), ("64,64,16,4", 4, 3), ("64,64,32,4", 32, 2), ("256,4,2,2", 256, 0), ("4,8", 8, 3)],
)
def test_the_heaviest_stage_is_that_of_the_most_pixels(batches: str, batch: int, stage: int) -> None:
    growth = Growth(fade_kimg=1, stable_kimg=2, batches=batches)
    g, _ = build("progan", _progan(32))
    nimg, found = heaviest(Method(Adversarial(batch=16), growth=growth), g)
    at = growth.at(nimg, [4, 8, 16, 32], 16)
    assert (found, at.number, at.alpha, at.batch) == (batch, stage, 1.0, batch)


def test_celeba_is_measured_by_the_four_images_of_its_last_stage() -> None:
    recipe = load_recipe("celeba-progan")
    sections = {**recipe.sections["network"], "size": 1024, "width": 1, "max_width": 1, "z_dim": 8}
    g, _ = build("progan", network_config("progan", sections))
    method = method_of(recipe.sections)
    assert method.adversarial.batch == 16
    assert heaviest(method, g)[1] == 4


def test_a_small_batch_at_the_last_stage_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = _progan(32)
    small = Method(Adversarial(batch=4096), growth=Growth(fade_kimg=1, stable_kimg=1, batches="8,8,8,4"))
    free = footprint("progan", config, small, ENGINE).total(8)
    monkeypatch.setattr(footprints, "available_bytes", lambda _: free)
    refuse_too_large("progan", config, small, ENGINE)
    early = Method(small.adversarial, growth=Growth(fade_kimg=1, stable_kimg=1, batches="8,8,4096,4"))
    with pytest.raises(InputError, match=r"4096 .* --batch 8 "):
        refuse_too_large("progan", config, early, ENGINE)


def test_the_free_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 90)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert footprints.available_bytes(torch.device("cuda")) == 570


def test_draws_of_the_estimate_disturb_no_others() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    footprint("dcgan", _config(), Method(Adversarial(batch=4)), ENGINE)
    assert torch.equal(torch.rand(2), expected)


def test_the_memory_that_is_free_is_known_or_not_claimed() -> None:
    free = footprints.available_bytes()
    assert free is None or 0 <= free < 2**50
