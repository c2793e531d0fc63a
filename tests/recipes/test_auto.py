from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from plenish import cli, settings
from plenish.errors import InputError
from plenish.recipes import load_recipe
from plenish.recipes.auto import Facts, choose
from plenish.recipes.train import method_of, train_gan
from plenish.runs import Run

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.mark.parametrize(
    ("facts", "family", "width", "batch", "r1", "diffaugment"),
    [
        (Facts(3_000, 64), "dcgan", 32, 32, 0, "color,translation,cutout"),
        (Facts(60_000, 28, 1, domain="text"), "dcgan", 32, 32, 0, ""),
        (Facts(400, 64), "stylegan2", 32, 32, 0.0256, "color,translation,cutout"),
        (Facts(40, 32), "stylegan2", 64, 8, 0.0256, "color,translation,cutout"),
        (Facts(8_000, 128), "stylegan2", 16, 32, 0.1024, "translation,cutout"),
        (Facts(8_000, 64, threads=16), "stylegan2", 64, 32, 0.0256, "translation,cutout"),
        (Facts(8_000, 256, gpu=True), "stylegan2", 16, 32, 0.4096, "translation,cutout"),
        (Facts(50_000, 64, gpu=True), "r3gan", 64, 64, 0.2, ""),
        (Facts(50_000, 256, gpu=True), "r3gan", 16, 32, 12.8, ""),
    ],
)
def test_choices(facts: Facts, family: str, width: int, batch: int, r1: float, diffaugment: str) -> None:
    recipe = choose(facts)
    assert recipe.family == family
    assert recipe.sections["network"]["width"] == width
    method = method_of(recipe.sections)
    assert method.adversarial.batch == batch
    assert method.penalty.r1 == pytest.approx(r1)
    assert method.augment.diffaugment == diffaugment
    assert recipe.sections["schedule"]["patience"] > 0


def _every() -> list[Facts]:
    numbers = (2, 5, 30, 400, 999, 1_000, 4_999, 5_000, 19_999, 20_000, 100_000)
    machines = ({"threads": 2}, {"threads": 8}, {"gpu": True})
    return [
        Facts(n, size, **machine)
        for n, size, machine in itertools.product(numbers, (28, 48, 64, 80, 128, 256), machines)
    ]


def test_fewer_images_never_get_less_augmentation_or_a_larger_batch() -> None:
    for facts in _every():
        fewer = choose(dataclasses.replace(facts, images=max(2, facts.images // 2)))
        of_fewer, of_more = (method_of(recipe.sections) for recipe in (fewer, choose(facts)))
        assert set(of_more.augment.diffaugments) <= set(of_fewer.augment.diffaugments)
        assert of_fewer.adversarial.batch <= of_more.adversarial.batch
        assert 2 <= of_fewer.adversarial.batch <= max(2, facts.images)


def test_larger_images_never_get_wider_networks_or_a_smaller_gamma() -> None:
    for facts in _every():
        larger = choose(dataclasses.replace(facts, size=2 * facts.size))
        recipe = choose(facts)
        if larger.family == recipe.family:
            assert larger.sections["network"]["width"] <= recipe.sections["network"]["width"]
            assert larger.sections["penalty"].get("r1", 0) >= recipe.sections["penalty"].get("r1", 0)


@pytest.mark.parametrize(
    ("domain", "channels", "symmetry", "policy"),
    [
        ("natural", 3, "mirror", "natural"),
        ("natural", 1, "mirror", "grey"),
        ("histology", 3, "dihedral", "histology"),
        ("dermoscopy", 3, "dihedral", "dermoscopy"),
        ("comic", 3, "mirror", "comic"),
        ("faces", 3, "mirror", "faces"),
        ("text", 1, "none", "comic"),
    ],
)
def test_domains(domain: str, channels: int, symmetry: str, policy: str) -> None:
    augment = method_of(choose(Facts(500, 32, channels, domain=domain)).sections).augment  # type: ignore[arg-type]
    assert (augment.symmetry, augment.policy) == (symmetry, policy)


def test_reasons_name_what_was_decided_and_rare_classes() -> None:
    reasons = " ".join(choose(Facts(900, 64, counts={"mole": 880, "melanoma": 20})).choice["reasons"])
    for said in (
        "stylegan2",
        "Width 32",
        "Batch 32",
        "gamma 0.0256",
        "DiffAugment",
        "melanoma has 20",
        "KID",
    ):
        assert said in reasons
    with pytest.raises(InputError, match="did you mean 'histology'"):
        choose(Facts(900, 64, domain="histologie"))  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["dcgan", "stylegan2", "r3gan"])
@pytest.mark.parametrize("domain", ["natural", "histology", "text"])
def test_every_choice_trains(
    stripes, tmp_path: Path, family: str, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {
        "dcgan": Facts(3_000, 16, threads=1),
        "stylegan2": Facts(36, 16, threads=1),
        "r3gan": Facts(50_000, 16, gpu=True),
    }[family]
    monkeypatch.setattr(
        "plenish.recipes.auto.facts_of", lambda *_: dataclasses.replace(facts, domain=domain, batch=8)
    )
    tiny = [*TINY, *(["network.group_width=4"] if family == "r3gan" else [])]
    run = train_gan(
        stripes().path, tmp_path / "run", recipe="auto", domain=domain, kimg=0.016, batch=8, validation=False,
        options=tiny,
    )  # fmt: skip
    assert run.config["config"]["family"] == family
    assert run.status["state"] == "complete"


def test_a_run_keeps_its_choice(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = stripes()
    asked: dict = {"recipe": "auto", "domain": "histology", "validation": False, "options": TINY}
    with settings.use(quiet=False):
        run = train_gan(data.path, tmp_path / "run", kimg=0.1, **asked)
    said, kept = capsys.readouterr().err, run.config["config"]["auto"]
    assert kept["domain"] == "histology"
    assert kept["reasons"]
    assert all(reason in said for reason in kept["reasons"])
    # Another machine or another version would choose otherwise; the Run goes on with what it has.
    path = run.path / "config.json"
    content = json.loads(path.read_text())
    content["config"]["auto"]["sections"]["adversarial"]["ema_kimg"] = 7.0
    content["config"]["adversarial"]["ema_kimg"] = 7.0
    path.write_text(json.dumps(content))
    again = train_gan(data.path, run.path, kimg=0.2, **asked)
    assert again.status["kimg"] >= 0.2
    assert again.config["config"]["adversarial"]["ema_kimg"] == 7.0
    with pytest.raises(InputError, match="--domain was 'histology' and is now 'faces'"):
        train_gan(data.path, run.path, kimg=0.3, **(asked | {"domain": "faces"}))
    assert Run.open(run.path).status["state"] == "complete"


def test_reasons_are_printed_before_training(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "gan", str(stripes().path), str(tmp_path / "run"), "--recipe", "auto", "--kimg", "0.01"]
    assert cli.run([*words, "--no-validation", "--options", *TINY]) == 0
    said = capsys.readouterr().err
    assert "Family stylegan2: 36 images are fewer than 1,000" in said
    assert "Batch 8: at most a quarter of the images." in said


def test_auto_without_data_and_domain_without_auto_are_told(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--dry-run"):
        load_recipe("auto")
    with pytest.raises(InputError, match="--domain goes with --recipe auto"):
        train_gan(stripes().path, tmp_path / "run", domain="faces")
