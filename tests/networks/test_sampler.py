"""One body of tests for the Sampler contract over every registered family, and for the registry itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.families import BUILT_IN, GROUP, build_sampler, family, family_names
from plenish.networks.sampler import Sampler
from plenish.training.generator import learner_class

CLASSES = LabelSchema("categorical", ("a", "b", "c"))


def _sampler(name: str, labels: LabelSchema = CLASSES) -> Sampler:
    """A small sampler of a family, with weights that start at zero made others."""
    known = set(family(name).config.__dataclass_fields__)
    tiny = {"width": 16 if name == "flow" else 8, "max_width": 16, "z_dim": 12}
    options = {key: value for key, value in tiny.items() if key in known}
    torch.manual_seed(0)
    made = build_sampler(name, {**options, "size": 16, "labels": labels})
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    return made.eval().requires_grad_(False)


def _draw(sampler: Sampler, n: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    rng = torch.Generator().manual_seed(1)
    width = sampler.labels.width
    return sampler.sample_prior(n, rng), torch.rand(n, width, generator=rng).softmax(1) if width else None


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of another package, as an example of those."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "toy_family")


families = pytest.mark.parametrize("name", [*BUILT_IN, "gaussian"])


@families
@pytest.mark.parametrize("labels", [CLASSES, LabelSchema()], ids=["labels", "none"])
def test_images_of_the_full_size_that_z_label_and_seed_decide(name: str, labels: LabelSchema) -> None:
    sampler = _sampler(name, labels)
    z, y = _draw(sampler, 3)
    assert z.shape == (3, *sampler.z_shape)
    state = torch.get_rng_state()
    first = sampler.sample(z, y, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == (3, sampler.channels, sampler.size, sampler.size)
    torch.rand(1)
    assert torch.equal(sampler.sample(z, y, seed=5), first)
    assert not torch.equal(sampler.sample(z.flip(0), y, seed=5), first)
    fixed = [sampler.sample(z, y, seed=seed, **sampler.deterministic_options) for seed in (5, 6)]
    assert torch.equal(*fixed)


@families
def test_the_prior_is_drawn_from_the_given_generator_alone(name: str) -> None:
    sampler = _sampler(name)
    again = [sampler.sample_prior(2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert sampler.stores_z == (math.prod(sampler.z_shape) < sampler.channels * sampler.size**2)


@families
def test_every_option_is_understood_and_others_are_not(name: str) -> None:
    sampler = _sampler(name)
    z, y = _draw(sampler, 2)
    whole = sampler.sample(z, y, seed=3, **sampler.sample_options)
    assert torch.equal(whole, sampler.sample(z, y, seed=3))
    with pytest.raises(TypeError, match="nonsense"):
        sampler.sample(z, y, nonsense=1)
    if sampler.labels.width:
        with pytest.raises(ValueError, match="made for 3"):
            sampler.sample(z, None)


@families
def test_a_family_is_rebuilt_from_plain_options(name: str) -> None:
    sampler = _sampler(name)
    again = build_sampler(name, sampler.config.to_dict())
    assert again.config == sampler.config
    again.load_state_dict(sampler.state_dict())
    z, y = _draw(sampler, 2)
    assert torch.equal(again.eval().sample(z, y, seed=1), sampler.sample(z, y, seed=1))
    assert learner_class(name).sections


def _register(folder: Path, package: str, entries: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a package with entry points visible, as an installer would."""
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(folder)


def test_a_broken_package_is_named_and_disturbs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_family.py").write_text("raise ImportError('needs a newer torch')\nA = 3\n")
    (tmp_path / "wrong_family.py").write_text("FAMILY = 3\n")
    entries = {"broken": "broken_family:A", "wrong": "wrong_family:FAMILY", "gone": "no_such_module:A"}
    _register(tmp_path, "my-broken-gans", entries, monkeypatch)
    assert {*entries, "dcgan"} <= set(family_names())
    for name, reason in (("broken", "newer torch"), ("wrong", "Family"), ("gone", "no_such_module")):
        with pytest.raises(InputError, match=rf"'{name}'.*my-broken-gans.*{reason}"):
            family(name)
    assert family("dcgan").weights == "ema"
    with pytest.raises(InputError, match="'broken'"):
        family("brokn")
