from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
from benchmarks.gan_step import method_of

from plenish import cli, files, settings
from plenish.commands.train_generator import train_gan
from plenish.configuration import build_config
from plenish.domains import Chosen
from plenish.errors import InputError
from plenish.networks.families import OF_THE_DATA
from plenish.networks.flow import FlowConfig
from plenish.recipes import FLOW_SECTIONS, Recipe, auto, load_recipe
from plenish.recipes.auto import Facts, choose
from plenish.runs import Run
from plenish.training import flow

NATURAL = Chosen("natural", "assumed")
TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.mark.parametrize(
    ("facts", "family", "width", "batch", "r1", "diffaugment"),
    [
        (Facts(400, 64, asked={"penalty.path": 0}), "stylegan2", 32, 32, 0.0256, "color,translation,cutout"),
        (Facts(40, 32, asked={"network.z_dim": 9}), "stylegan2", 64, 8, 0.0256, "color,translation,cutout"),
        (Facts(8_000, 128), "stylegan2", 16, 32, 0.1024, "translation,cutout"),
        (Facts(8_000, 128, threads=16), "stylegan2", 32, 32, 0.1024, "translation,cutout"),
        (Facts(8_000, 256, gpu=True), "stylegan2", 16, 32, 0.4096, "translation,cutout"),
        (Facts(50_000, 64, gpu=True), "r3gan", 64, 64, 19.2, ""),
        (Facts(50_000, 256, gpu=True), "r3gan", 16, 32, 614.4, ""),
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


@pytest.mark.parametrize(
    ("facts", "width", "batch", "p"),
    [
        (Facts(3_000, 64), 32, 64, 0.1),
        (Facts(60_000, 28, 1, domain=Chosen("text", "asked")), 64, 64, 0.0),
        (Facts(40, 32), 64, 8, 0.1),
        (
            Facts(400, 48, asked={"adversarial.batch": 16, "adversarial.lr_g": 1, "augment.p": 0.5}),
            64,
            16,
            0.5,
        ),
        (Facts(400, 48, asked={"training.batch": 24, "network.width": 32}), 32, 24, 0.1),
    ],
)
def test_choices_of_a_flow(facts: Facts, width: int, batch: int, p: float) -> None:
    recipe = choose(facts)
    assert recipe.family == "flow"
    assert recipe.sections["network"]["width"] == width
    assert build_config(flow.FlowMethod, recipe.sections["training"], "training").batch == batch
    assert build_config(flow.FlowAugment, recipe.sections["augment"], "augment").p == p
    assert recipe.sections["schedule"]["patience"] > 0


def _batch(recipe: Recipe) -> int:
    return recipe.sections["training" if recipe.family == "flow" else "adversarial"]["batch"]


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
        of_fewer, of_more = (recipe.sections["augment"] for recipe in (fewer, choose(facts)))
        changes = [set(augment.get("diffaugment", "").split(",")) - {""} for augment in (of_more, of_fewer)]
        assert changes[0] <= changes[1] or fewer.family == "flow"
        assert of_more.get("p", 0) <= of_fewer.get("p", 0)
        assert _batch(fewer) <= _batch(choose(facts))
        assert 2 <= _batch(fewer) <= max(2, facts.images)


def test_larger_images_never_get_wider_networks_or_a_smaller_gamma() -> None:
    for facts in _every():
        larger = choose(dataclasses.replace(facts, size=2 * facts.size))
        recipe = choose(facts)
        if larger.family == recipe.family:
            assert larger.sections["network"]["width"] <= recipe.sections["network"]["width"]
            ours, theirs = (made.sections.get("penalty", {}).get("r1", 0) for made in (larger, recipe))
            assert ours >= theirs


@pytest.mark.parametrize(
    ("domain", "channels", "symmetry", "policy"),
    [
        ("natural", 3, "mirror", "natural"),
        ("natural", 1, "mirror", "natural"),
        ("radiology", 1, "none", "radiology"),
        ("fundus", 3, "mirror", "fundus"),
        ("industrial", 3, "none", "industrial"),
        ("histology", 3, "dihedral", "histology"),
        ("dermoscopy", 3, "dihedral", "dermoscopy"),
        ("comic", 3, "mirror", "comic"),
        ("faces", 3, "mirror", "faces"),
        ("text", 1, "none", "text"),
    ],
)
def test_domains(domain: str, channels: int, symmetry: str, policy: str) -> None:
    for size in (32, 128):  # A flow, a GAN.
        augment = choose(Facts(500, size, channels, domain=Chosen(domain, "asked"))).sections["augment"]
        assert (augment["symmetry"], augment["policy"]) == (symmetry, policy)


def test_reasons_name_what_was_decided_and_rare_classes() -> None:
    facts = Facts(900, 128, counts={"mole": 880, "melanoma": 20})
    reasons = " ".join(choose(facts).choice["reasons"])
    for said in (
        "stylegan2: flows were not measured beyond 64 px",
        "Width 16",
        "Batch 32",
        "gamma 0.1024",
        "DiffAugment",
        "melanoma has 20",
        "KID",
    ):
        assert said in reasons


def _reasons(facts: Facts, **asked: object) -> str:
    changes = {key.replace("__", "."): value for key, value in asked.items()}
    return " ".join(choose(dataclasses.replace(facts, asked=dict(facts.asked) | changes)).choice["reasons"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"adversarial__batch": 8}, ["Batch 8: as asked for.", "R1 gamma 0.1024: 0.0002·size²/batch"]),
        ({"adversarial__batch": 8, "penalty__r1": 3}, ["Batch 8: as asked", "R1 gamma 3: as asked for."]),
        ({"penalty__r1": "1e-2"}, ["Batch 32: the usual", "R1 gamma 0.01: as asked for."]),
        ({"penalty__r1": 0}, ["No R1: as asked for."]),
        ({"network__width": 12}, ["Width 12, up to 256: as asked for."]),
        ({"network__width": 512}, ["Width 512, up to 512: as asked for."]),
        ({"network__max_width": 16}, ["Width 16, up to 16: by the size"]),
        (
            {"augment__diffaugment": ""},
            ["No DiffAugment: as asked for. Domain natural, assumed: images are mirrored"],
        ),
        (
            {"augment__symmetry": "none"},
            ["fewer than 5,000.", "neither mirrored nor turned by right angles, as asked"],
        ),
        ({"schedule__kimg": 2.5}, ["At most 2.5 kimg; ends after 5 checkpoints, 0.625 kimg apart"]),
        ({"schedule__patience": 2, "schedule__checkpoint_kimg": 10}, ["after 2 checkpoints, 10 kimg apart"]),
        ({"schedule__patience": 0}, ["1,000 kimg: no checkpoint ends the training earlier, as asked for."]),
        ({"adversarial__batch": "eight"}, ["Batch 32: the usual"]),  # refused when the method is made
    ],
)
def test_what_is_asked_for_is_in_the_reasons(asked: dict[str, object], said: list[str]) -> None:
    reasons = _reasons(Facts(900, 64, asked={"network.z_dim": 64}), **asked)
    for words in said:
        assert words in reasons


def test_rates_of_r3gan_fall_over_the_length_that_is_used() -> None:
    facts = Facts(50_000, 64, gpu=True)
    assert choose(facts).sections["adversarial"]["lr_fall_kimg"] == choose(facts).sections["schedule"]["kimg"]
    asked = dataclasses.replace(facts, asked={"schedule.kimg": 50.0})
    assert choose(asked).sections["adversarial"]["lr_fall_kimg"] == 50
    assert "lr_fall_kimg" not in choose(Facts(3_000, 128)).sections["adversarial"]


def test_both_gammas_of_r3gan_can_be_asked_for() -> None:
    facts = Facts(50_000, 64, gpu=True)
    assert "R1 and R2 gamma 19.2: 0.3·size²/batch" in _reasons(facts)
    assert "R1 gamma 1: as asked for; R2 gamma 19.2: 0.3·size²/batch" in _reasons(facts, penalty__r1=1)
    assert "R1 and R2 gamma 2: as asked for." in _reasons(facts, penalty__r1=2, penalty__r2=2)
    assert "R1 gamma 2: as asked for." in _reasons(Facts(3_000, 64), penalty__r1=2)
    assert "gamma" not in _reasons(Facts(3_000, 64))


def test_nothing_is_said_of_scores_where_there_are_none(stripes, tmp_path: Path) -> None:
    data = stripes()
    subset = data.part("train", purpose="train")
    assert auto.facts_of(subset, NATURAL, True, {"adversarial.batch": 8}).asked == {"adversarial.batch": 8}
    assert auto.facts_of(subset, NATURAL, True).scored
    assert not auto.facts_of(subset, NATURAL, True, {}, False).scored
    data.add_split("without", ["train"] * len(data), {})
    assert not auto.facts_of(data.part("train", "without", purpose="train"), NATURAL, True).scored
    recipe = choose(Facts(900, 64, scored=False))
    assert "patience" not in recipe.sections["schedule"]
    assert "2,000 kimg: no checkpoint is scored on val" in recipe.provenance
    assert "KID" not in recipe.provenance


@pytest.mark.parametrize("family", ["flow", "stylegan2", "r3gan"])
@pytest.mark.parametrize("domain", ["natural", "histology", "text"])
def test_every_choice_trains(
    stripes, tmp_path: Path, family: str, domain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {
        "flow": Facts(3_000, 16, threads=1),
        "stylegan2": Facts(36, 16, threads=1, asked={"network.z_dim": 8}),
        "r3gan": Facts(50_000, 16, gpu=True),
    }[family]
    monkeypatch.setattr(
        "plenish.recipes.auto.facts_of",
        lambda *_: dataclasses.replace(
            facts, domain=Chosen(domain, "asked"), asked={**facts.asked, "adversarial.batch": 8}
        ),
    )
    more = {"r3gan": ["network.group_width=4"], "flow": ["network.width=16"]}
    tiny = more["flow"] if family == "flow" else [*TINY, *more.get(family, [])]
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
    assert "domain" not in kept  # It is kept once.
    assert run.config["config"]["domain"] == "histology"
    assert kept["reasons"]
    assert all(reason in said for reason in kept["reasons"])
    # Another machine or another version would choose otherwise; the Run goes on with what it has.
    path = run.path / "config.json"
    content = files.read_record(path)
    content["config"]["auto"]["sections"]["adversarial"]["ema_kimg"] = 7.0
    content["config"]["adversarial"]["ema_kimg"] = 7.0
    files.write_record(path, content)
    again = train_gan(data.path, run.path, kimg=0.2, **asked)
    assert again.status["kimg"] >= 0.2
    assert again.config["config"]["adversarial"]["ema_kimg"] == 7.0
    with pytest.raises(InputError, match="--domain was 'histology' and is now 'faces'") as refused:
        train_gan(data.path, run.path, kimg=0.3, **(asked | {"domain": "faces"}))
    assert str(refused.value).count("histology") == 1
    assert Run.open(run.path).status["state"] == "complete"


def test_reasons_are_printed_before_training(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "gan", str(stripes().path), str(tmp_path / "run"), "--recipe", "auto", "--kimg", "0.01"]
    assert cli.run([*words, "--no-validation", "--options", *TINY]) == 0
    said = capsys.readouterr().err
    assert "Family stylegan2: network.z_dim, which was asked for, is of GANs." in said
    assert "Batch 8: at most a quarter of the images." in said


def test_reasons_of_a_command_follow_its_options(stripes, tmp_path: Path) -> None:
    found = train_gan(
        stripes().path, tmp_path / "run", recipe="auto", width=4, validation=False, dry_run=True,
        options=["network.max_width=8", "network.z_dim=8", "adversarial.batch=4"],
    ).summary()  # fmt: skip
    reasons = " ".join(found["reasons"])
    assert found["batch"] == 4
    assert "Batch 4: as asked for." in reasons
    assert "Width 4, up to 8: as asked for." in reasons
    assert f"R1 gamma {0.0002 * 16**2 / 4:.4g}:" in reasons
    assert "no checkpoint is scored on val" in reasons


def test_auto_without_data_and_an_unknown_domain_are_told(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--dry-run"):
        load_recipe("auto")
    with pytest.raises(InputError, match="did you mean 'faces'"):
        train_gan(stripes().path, tmp_path / "run", domain="face")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("images", "kimg"), [(10, 1), (60, 4), (400, 24), (5_000, 50)])
def test_checkpoints_of_few_images_come_before_these_are_memorised(images: int, kimg: float) -> None:
    assert choose(Facts(images, 32)).sections["schedule"]["checkpoint_kimg"] == kimg


@pytest.mark.parametrize(
    ("facts", "asked", "family"),
    [
        (Facts(900, 32), {"network.group_width": 4}, "stylegan2"),
        (Facts(900, 32), {"network.patch": 4}, "flow"),
        (Facts(900, 128), {"augment.p": 0.3}, "flow"),
        (Facts(900, 256, gpu=True), {"training.shortcut_every": 4}, "flow"),
        (Facts(900, 36), {}, "flow"),
    ],
)
def test_an_option_that_only_one_kind_has_decides(
    facts: Facts, asked: dict[str, object], family: str
) -> None:
    recipe = choose(dataclasses.replace(facts, asked=asked))
    assert recipe.family == family
    assert not asked or next(iter(asked)) in recipe.choice["reasons"][0] or "nearest" in recipe.provenance


def test_what_is_known_of_flows_is_true() -> None:
    options = {field.name for field in dataclasses.fields(FlowConfig)} - set(OF_THE_DATA)
    assert options - {"augmented", "shortcuts"} == set(auto.FLOW_NETWORK)
    assert ("network", *flow.FlowLearner.sections, "schedule") == FLOW_SECTIONS
