from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from plenish import cli, files, settings
from plenish.commands.generate import generate
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.sampling import decode, load_generator, make_dataset
from plenish.networks.gan import build, network_config
from plenish.networks.gan.contract import Generator
from plenish.runs import Run

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.fixture(scope="module")
def trained(module_stripes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A Dataset and a generator of it, which no test changes."""
    data = module_stripes()
    with settings.use(quiet=True):
        run = train_gan(
            data.path, tmp_path_factory.mktemp("trained") / "run", recipe="dcgan", kimg=0.02, batch=10,
            validation=False, options=TINY,
        )  # fmt: skip
    return data.path, run


def test_a_synthetic_dataset_knows_where_it_comes_from(trained: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = trained
    made = generate(run.path, tmp_path / "made", 30, seed=5)
    assert made.is_synthetic
    assert len(made) == 30
    row = made.table.iloc[7]
    assert row["origin"] == "synthetic"
    assert row["group"] is None or np.isnan(row["group"])
    assert (row["generator"], row["seed"], row["latent_row"]) == (run.id, 5, 7)
    source = made.manifest.extra["generator"]
    assert source["data"]["split_hash"] == run.config["data"]["split_hash"]
    assert source["weights_sha256"] == load_generator(run.path).weights_sha256
    assert len(made.part("train", purpose="train")) == 30
    with pytest.raises(InputError, match="test"):
        made.part("test", purpose="score")
    described = files.read_json(made.path / "croissant.json")
    assert described["prov:wasDerivedFrom"][0]["@id"] == source["data"]["pixels_hash"]
    assert made.array("z").shape == (30, 8)
    assert (made.array("y") == made.y()).all()


def test_image_i_depends_on_seed_and_i_alone(trained: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = trained
    few = generate(run.path, tmp_path / "few", 70, label="class1", seed=1)
    many = generate(run.path, tmp_path / "many", 300, label="class1", seed=1)
    other = generate(run.path, tmp_path / "other", 70, label="class1", seed=2)
    assert (few.array("z") == many.array("z")[:70]).all()
    difference = few.pixels.read(np.arange(70)).astype(int) - many.pixels.read(np.arange(70))
    assert np.abs(difference).max() <= 1
    assert (few.array("z") != other.array("z")).any()


def test_labels_asked_for(trained: tuple[Path, Run], tmp_path: Path) -> None:
    data, run = trained
    assert set(generate(run.path, tmp_path / "a", 9, label="class1").table["label"]) == {"class1"}
    even = generate(run.path, tmp_path / "b", 10).table["label"].value_counts()
    assert even["class0"] == even["class1"] == 5
    like = generate(run.path, tmp_path / "c", like=data)
    train = like.table["label"].value_counts()
    assert len(like) == 36
    assert train["class0"] == 18


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"label": "clas1"}, "'class1'"),
        ({"n": 0}, "-n .*1.* 0"),
        ({"n": 10**13}, "-n .*10,000,000,.* 10,000,000,000,000"),
        ({"truncation": -1.0}, "--truncation .*-1"),
        ({"checkpoint": "kimg-9"}, "'kimg-9'"),
        ({"options": ["noise"]}, "'noise'"),
    ],
)
def test_refusals_leave_nothing(trained: tuple[Path, Run], tmp_path: Path, options: dict, value: str) -> None:
    with pytest.raises(InputError, match=value):
        generate(trained[1].path, tmp_path / "made", **options)
    assert not list(tmp_path.glob("made*"))


def test_a_run_trained_on_other_rows_is_refused(trained: tuple[Path, Run], tmp_path: Path) -> None:
    run = shutil.copytree(trained[1].path, tmp_path / "run")
    config = files.read_record(run / "config.json")
    config["data"]["part"] = "test"
    files.write_record(run / "config.json", config)
    with pytest.raises(InputError, match="test rows"):
        generate(run, tmp_path / "made", 5)


def test_truncation_zero_gives_the_mean_image(trained: tuple[Path, Run], tmp_path: Path) -> None:
    made = generate(trained[1].path, tmp_path / "made", 4, label="class0", truncation=0.0)
    images = made.pixels.read(np.arange(4))
    assert (images == images[0]).all()


def test_generating_needs_a_checkpoint(stripes, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "empty", "generator", {"recipe": "dcgan"})
    with pytest.raises(InputError, match=str(run.path)):
        load_generator(run.path)


@pytest.mark.parametrize("family", ["dcgan", "stylegan2"])
def test_an_image_depends_on_its_number_and_the_seed_alone(family: str) -> None:
    torch.manual_seed(0)
    options = {"size": 16, "width": 4, "max_width": 8, "z_dim": 8}
    network, _ = build(family, network_config(family, options))
    for name, parameter in network.named_parameters():
        if "strength" in name or "noise" in name:
            parameter.data.fill_(0.5)
    network.eval()
    z = np.random.default_rng(0).standard_normal((150, 8), np.float32)
    z[1:] = z[0]  # What then differs, noise has made.
    whole = decode(network, z, None, seed=3)
    apart = np.concatenate([decode(network, z[a:b], None, seed=3, first=a) for a, b in ((0, 70), (70, 150))])
    assert (whole == apart).all()
    noisy = family == "stylegan2"
    assert (whole[0] != whole[1]).any() == noisy
    assert (decode(network, z, None, seed=4) != whole).any() == noisy


@pytest.fixture
def styled(stripes, tmp_path: Path) -> Run:
    return train_gan(
        stripes().path, tmp_path / "run", recipe="small-stylegan2", kimg=0.02, batch=10, validation=False,
        options=[*TINY, "network.w_dim=12"],
    )  # fmt: skip


def test_given_latents_make_the_images(styled: Run, tmp_path: Path) -> None:
    drawn = generate(styled.path, tmp_path / "drawn", 6, label="class1", options=["noise=constant"])
    loaded, asked = load_generator(styled.path), {"label": "class1", "options": {"noise": "constant"}}
    z = drawn.array("z")[::-1].astype(np.float64)
    again = make_dataset(loaded, tmp_path / "again", latents=z, **asked)
    first = make_dataset(loaded, tmp_path / "first", 2, latents=drawn.array("z"), **asked)
    images = drawn.pixels.read(np.arange(6)).astype(int)
    assert np.abs(again.pixels.read(np.arange(6))[::-1] - images).max() <= 1
    assert np.abs(first.pixels.read(np.arange(2)) - images[:2]).max() <= 1
    assert (again.array("z")[::-1] == drawn.array("z")).all()
    assert len(again) == 6
    network = loaded.network
    assert isinstance(network, Generator)
    y = torch.from_numpy(drawn.array("y"))
    w = network.mapping(
        torch.from_numpy(drawn.array("z")).to(network.w_mean.device), y.to(network.w_mean.device)
    )
    for name, ws in (("one", w[:, 0]), ("layers", w)):
        made = make_dataset(loaded, tmp_path / name, latents=ws.cpu().numpy(), space="w", **asked)
        assert np.abs(made.pixels.read(np.arange(6)) - images).max() <= 1
        assert made.array("w").shape == ws.shape
        assert made.manifest.extra["generator"]["space"] == "w"


@pytest.mark.parametrize(
    ("latents", "more", "value"),
    [
        (np.zeros((3, 7)), {}, "N×8, not float64 3×7"),
        (np.zeros((3, 8, 1)), {}, "3×8×1"),
        (np.zeros(8), {}, "float64 8"),
        (np.array([["a"] * 8]), {}, "<U1"),
        (np.array([[0.0] * 8, [np.nan] * 8]), {}, "1 of 2 rows.* row 1"),
        (np.zeros((3, 8)), {"n": 4}, "-n 4 .* 3 "),
        (np.zeros((3, 7)), {"space": "w"}, r"w of N×8 or N×1×8"),
        (None, {"space": "w"}, "--latents"),
        (None, {"options": {"nois": "none"}}, "'noise'"),
        (None, {"options": {"truncation": "half"}}, "truncation"),
    ],
)
def test_latents_and_options_that_do_not_fit_are_refused(
    trained: tuple[Path, Run], tmp_path: Path, latents: np.ndarray | None, more: dict, value: str
) -> None:
    with pytest.raises(InputError, match=value):
        make_dataset(load_generator(trained[1].path), tmp_path / "made", latents=latents, **more)
    assert not list(tmp_path.glob("made*"))


def test_latents_from_the_command_line(
    trained: tuple[Path, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = str(trained[1].path), tmp_path / "z.npy"
    np.save(file, np.ones((3, 8), np.float32))
    assert cli.run(["generate", run, str(tmp_path / "made"), "--latents", str(file), "--quiet"]) == 0
    assert len(Dataset.open(tmp_path / "made")) == 3
    file.write_bytes(b"no array")
    capsys.readouterr()
    for path in (file, tmp_path / "missing.npy"):
        assert cli.run(["generate", run, str(tmp_path / "other"), "--latents", str(path)]) == 2
        assert str(path) in capsys.readouterr().err
