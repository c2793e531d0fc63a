"""No training shows an image in an orientation that its domain forbids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from plenish import cli, settings
from plenish.commands.datasets import import_dataset
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.configuration import InputError
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.domains import DOMAINS, SYMMETRIES, choose_domain
from plenish.networks.classifier import SmallClassifier
from plenish.networks.flow import Flow
from plenish.networks.gan.contract import Discriminator
from plenish.policies import POLICIES, policy_of_names, restricted
from plenish.runs import Run
from plenish.study.config import StudyConfig
from plenish.study.experiment import run_study

SIZE = 32
VIEWS = {"none": {0}, "mirror": {0, 4}, "dihedral": set(range(8))}
EXPECTED = {
    "natural": "mirror", "histology": "dihedral", "dermoscopy": "dihedral", "radiology": "none",
    "fundus": "mirror", "industrial": "none", "comic": "mirror", "faces": "mirror", "text": "none",
}  # fmt: skip
"""Of the issue's domains, what may be done; turned-over images are worse than too few."""
MARKER = np.full((SIZE, SIZE), 40, np.uint8)
MARKER[7:25, 9:13] = MARKER[7:11, 9:22] = MARKER[14:17, 9:18] = 220  # The letter F: eight different views.


def _views() -> torch.Tensor:
    """The eight views of the marker, 8×(H·W), centred and of unit length; numbers 0 to 3 are turns."""
    image = torch.from_numpy(MARKER.astype(np.float32))
    views = torch.stack([torch.rot90(image if k < 4 else image.flip(1), k % 4) for k in range(8)])
    return _unit(views)


def _unit(images: torch.Tensor) -> torch.Tensor:
    flat = images.flatten(1)
    return nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


class Seen:
    """What networks were shown: which views of the marker, of the images that are one clearly."""

    def __init__(self) -> None:
        self.views: set[int] = set()
        self.shown = 0

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if not (module.training and isinstance(module, (SmallClassifier, Discriminator, Flow))):
            return
        likeness = self._likeness(inputs[0].detach().float().mean(1))
        best, order = likeness.sort(1, descending=True)
        clear = (best[:, 0] > 0.8) & (best[:, 0] - best[:, 1] > 0.2)  # Others are too warped to tell.
        self.shown += int(clear.sum())
        self.views |= set(order[clear, 0].tolist())

    def _likeness(self, images: torch.Tensor) -> torch.Tensor:
        """The largest correlation with each view over shifts, N×8; by Fourier transforms."""
        views, size = _views().view(8, SIZE, SIZE), images.shape[-2:]
        spectrum = torch.fft.rfft2(_unit(images).view(-1, *size))[:, None]
        product = spectrum * torch.fft.rfft2(views).conj()
        found: torch.Tensor = torch.fft.irfft2(product, s=size).flatten(2).amax(2)
        return found


@pytest.fixture
def seen() -> Iterator[Seen]:
    watcher = Seen()
    handle = nn.modules.module.register_module_forward_pre_hook(watcher)
    yield watcher
    handle.remove()


def make(path: Path, domain: str | None = None) -> Dataset:
    """A Dataset of markers in two classes that differ in brightness."""
    rng = np.random.default_rng(0)
    pixels = np.stack([MARKER // (1 + i % 2) for i in range(48)])[..., None].repeat(3, 3)
    pixels = pixels + rng.integers(0, 20, pixels.shape).astype(np.uint8)
    parts = ["train", "train", "val", "test"]
    rows = [{"label": "ab"[i % 2], "source": f"{i}", "part": parts[i // 2 % 4]} for i in range(48)]
    writer = DatasetWriter(
        path, name="markers", size=SIZE, channels=3, labels=LabelSchema("categorical", ("a", "b")), config={},
        extra={"domain": domain} if domain else {},
    )  # fmt: skip
    with writer:
        writer.add(pixels, rows)
    return writer.dataset


def test_the_domains_and_their_symmetries() -> None:
    assert {name: domain.symmetry for name, domain in DOMAINS.items()} == EXPECTED
    assert all(domain.why for domain in DOMAINS.values())


@pytest.mark.parametrize(
    ("how", "domain"),
    [
        *(("auto", domain) for domain in ("radiology", "faces", "histology")),  # One of each symmetry.
        *(("auto GAN", domain) for domain in ("faces", "histology")),
        ("dcgan-small", "radiology"),
    ],
)
def test_a_generator_sees_allowed_orientations_alone(
    how: str, domain: str, seen: Seen, tmp_path: Path
) -> None:
    options = {
        "auto": ["network.width=16", "network.max_width=16", "augment.p=0.5"],
        "auto GAN": ["network.width=4", "network.max_width=8", "network.z_dim=8", "augment.ada_p=0.5"],
        "dcgan-small": ["network.width=4", "augment.ada_p=0.5"],
    }[how]
    train_gan(
        make(tmp_path / "data", domain).path, tmp_path / "run", recipe=how.split()[0], kimg=0.3, batch=8,
        lr=1e-9, validation=False, options=options,  # Fakes stay unlike the marker.
    )  # fmt: skip
    allowed = VIEWS[DOMAINS[domain].symmetry]
    assert seen.views <= allowed
    assert len(seen.views) > len(allowed) // 2  # Of eight, one may be too warped to tell each time.
    assert seen.shown > 10
    assert Run.open(tmp_path / "run").config["config"]["domain"] == domain


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("kept", [False, True])
def test_a_classifier_sees_allowed_orientations_alone(
    domain: str, kept: bool, seen: Seen, tmp_path: Path
) -> None:
    data = make(tmp_path / "data", domain if kept else None)
    asked = {} if kept else {"domain": domain}
    train_classifier_run(data.path, tmp_path / "run", augmentation="classical", steps=12, batch=16, **asked)
    assert seen.views == VIEWS[DOMAINS[domain].symmetry]
    assert Run.open(tmp_path / "run").config["config"]["domain"] == domain


@pytest.mark.parametrize("domain", ["radiology", "histology", None])
def test_the_classical_arm_of_a_study_sees_allowed_orientations_alone(
    domain: str | None, seen: Seen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make(tmp_path / "data", domain)
    config = StudyConfig(arms=("real", "classical"), seeds=1, steps=20, batch=16, resamples=100)
    with settings.use(quiet=False):
        run_study(data.path, tmp_path / "study", config)
    assert seen.views == VIEWS[DOMAINS[domain or "natural"].symmetry]
    assert f"Domain {domain or 'natural'}, {'kept with the Dataset' if domain else 'assumed'}" in (
        capsys.readouterr().err
    )


def test_explicit_options_win(seen: Seen, tmp_path: Path) -> None:
    data = make(tmp_path / "data", "radiology")
    train_classifier_run(
        data.path, tmp_path / "classifier", augmentation="classical", symmetry="mirror", steps=12, batch=16
    )
    assert seen.views == {0, 4}
    seen.views.clear()
    run = train_gan(
        data.path, tmp_path / "run", kimg=0.1, batch=8, validation=False, recipe="auto",
        options=["network.width=16", "network.max_width=16", "augment.symmetry=dihedral"],
    )  # fmt: skip
    assert len(seen.views) > 4
    assert "turned by right angles, as asked for" in " ".join(run.config["config"]["auto"]["reasons"])
    seen.views.clear()
    train_classifier_run(
        data.path, tmp_path / "other", augmentation="classical", domain="faces", steps=12, batch=16
    )
    assert seen.views == {0, 4}


def test_a_domain_is_kept_at_import(tmp_path: Path) -> None:
    data = make(tmp_path / "data")
    assert data.domain is None
    assert cli.run(["export", str(data.path), str(tmp_path / "out"), "--as", "folder"]) == 0
    made = import_dataset(tmp_path / "out", tmp_path / "kept", domain="radiology").dataset
    assert made.domain == "radiology"
    assert made.summary()["domain"] == "radiology"
    assert cli.run(["export", str(made.path), str(tmp_path / "again"), "--as", "folder"]) == 0
    assert import_dataset(tmp_path / "again", tmp_path / "round").dataset.domain == "radiology"
    with pytest.raises(InputError, match="did you mean 'radiology'"):
        import_dataset(tmp_path / "out", tmp_path / "none", domain="radiologie")
    assert not (tmp_path / "none").exists()


def test_a_recipe_by_name_is_restricted_and_never_widened() -> None:
    for name, domain in DOMAINS.items():
        chosen = choose_domain(name, None)
        for symmetry in SYMMETRIES:
            got = restricted({"symmetry": symmetry, "diffaugment": "color,cutout", "ada_p": 0.1}, chosen)
            assert VIEWS[got["symmetry"]] == VIEWS[symmetry] & VIEWS[domain.symmetry]
            assert got["diffaugment"] == ("color,cutout" if domain.cutout else "color")
            assert (got["policy"], got["ada_p"]) == (name, 0.1)


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("own", POLICIES)
def test_a_policy_that_a_recipe_names_is_never_widened(own: str, domain: str) -> None:
    got = restricted({"policy": own, "ada_p": 0.5}, choose_domain(domain, None))["policy"]
    pairs = zip(policy_of_names(got), POLICIES[own], POLICIES[domain], strict=True)
    assert all(share == min(recipe, allowed) for share, recipe, allowed in pairs)


def test_a_policy_that_is_restricted_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(tmp_path / "data").path
    recipe = tmp_path / "letters.yaml"
    text = "family: vanilla\nabout: Letters.\nprovenance: Ours.\naugment: {policy: %s, ada_p: 0.5}\n"
    said = {}
    for policy, domain in (("text", "natural"), ("natural", "radiology"), ("histology", "natural")):
        recipe.write_text(text % policy)
        with settings.use(quiet=False):
            train_gan(
                data, tmp_path / policy, recipe=str(recipe), domain=domain, kimg=0.02, batch=8, width=4,
                validation=False,
            )  # fmt: skip
        used = Run.open(tmp_path / policy).config["config"]["augment"]["policy"]
        said[policy] = used, "policy" in capsys.readouterr().err
    assert said == {
        "text": ("text", False), "natural": ("radiology", True), "histology": ("histology,natural", True)
    }  # fmt: skip


def test_the_domain_of_a_generator_holds_where_nothing_else_says_one() -> None:
    assert choose_domain(None, None, "histology") == ("histology", "generator")
    assert choose_domain(None, "fundus", "histology") == ("fundus", "kept")
    assert choose_domain("comic", "fundus", "histology") == ("comic", "asked")
    assert "as the generator was trained" in choose_domain(None, None, "histology").sentence()
