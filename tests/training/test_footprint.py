from __future__ import annotations

import pytest
import torch

from plenish.errors import InputError
from plenish.networks.gan import FAMILIES, build, network_config
from plenish.training import footprint as footprints
from plenish.training.engine import Engine
from plenish.training.footprint import footprint, kept_bytes, refuse_too_large
from plenish.training.method import Adversarial, Method
from plenish.training.penalties import Penalty
from plenish.training.players import Players

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
    players = Players(*build(name, config), method, ENGINE)
    assert found.kept_each > 0
    assert found.kept + 16 * found.kept_each == pytest.approx(kept_bytes(players, 16), rel=0.05)


def test_penalties_and_pixels_take_memory() -> None:
    plain, penalty = Method(Adversarial(batch=4)), Method(Adversarial(batch=4), Penalty(r1=1))
    small = footprint("dcgan", _config(), plain, ENGINE).kept_each
    assert footprint("dcgan", _config(size=32), plain, ENGINE).kept_each == pytest.approx(4 * small, rel=0.4)
    assert footprint("dcgan", _config(), penalty, ENGINE).kept_each > 1.1 * small


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config, free = _config(), 2**28
    monkeypatch.setattr(footprints, "available_bytes", lambda: free)
    refuse_too_large("dcgan", config, Method(Adversarial(batch=16)), ENGINE)
    with pytest.raises(InputError, match=r"A batch of 100000 would take .* --batch (\d+) fits") as refusal:
        refuse_too_large("dcgan", config, Method(Adversarial(batch=100_000)), ENGINE)
    fits = int(str(refusal.value).split("--batch ")[1].split()[0])
    estimate = footprint("dcgan", config, Method(Adversarial(batch=4)), ENGINE)
    assert estimate.total(fits) <= free < estimate.total(2 * fits + 1)
    monkeypatch.setattr(footprints, "available_bytes", lambda: 2**20)
    with pytest.raises(InputError, match="smaller images or a smaller --width"):
        refuse_too_large("dcgan", config, Method(Adversarial(batch=1000)), ENGINE)


def test_draws_of_the_estimate_disturb_no_others() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    footprint("dcgan", _config(), Method(Adversarial(batch=4)), ENGINE)
    assert torch.equal(torch.rand(2), expected)


def test_the_memory_that_is_free_is_known_or_not_claimed() -> None:
    free = footprints.available_bytes()
    assert free is None or 0 <= free < 2**50
