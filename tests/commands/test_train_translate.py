"""`plenish train translate` and `plenish translate`: what is measured, written and refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli, settings
from plenish.commands.train_translate import train_translate
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.files import read_record
from plenish.recipes import load_recipe
from plenish.runs import Run
from plenish.training.translation_model import load_translator
from plenish.training.translation_run import plan

TINY = ["network.width=4", "network.max_width=8", "network.d_width=4", "network.d_layers=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset of discs on white, and a translation trained on it with its test part measured."""
    home = tmp_path_factory.mktemp("translate")
    rng, (rows, columns) = np.random.default_rng(0), np.indices((16, 16))
    pixels = np.full((60, 16, 16, 3), 255, np.uint8)
    for image in pixels:
        y, x, radius = rng.uniform((4, 4, 2), (12, 12, 5))
        image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.integers(0, 200, 3)
    parts = np.array(["train", "train", "train", "val", "test"])[np.arange(60) % 5]
    table = [{"label": None, "source": f"{i}.png", "part": parts[i]} for i in range(60)]
    writer = DatasetWriter(home / "data", name="discs", size=16, channels=3, labels=LabelSchema(), config={})
    with writer:
        writer.add(pixels, table)
    with settings.use(quiet=True, threads=1):
        train_translate(
            home / "data", home / "run", kimg=0.1, batch=8, test=True, domain="comic", options=TINY
        )
    return home


def test_the_recipe_makes_a_valid_configuration(stripes) -> None:
    recipe = load_recipe("sketch-small", "translation")
    made = plan(recipe.name, recipe.sections, stripes(size=64))
    assert (made.method.l1, made.method.lr, made.method.beta1) == (100, 2e-4, 0.5)
    assert made.network.patch == 34
    assert made.network.widths() == [32, 64, 128, 256]


def test_held_out_pictures_are_measured_beside_the_baselines(home: Path) -> None:
    data, run = Dataset.open(home / "data"), Run.open(home / "run")
    table = pd.read_parquet(home / "run" / "held_out.parquet")
    assert run.config["config"]["augment"]["policy"] == "comic"
    assert run.kind == "translation"
    parts = {part: data.part(part, purpose="report") for part in ("train", "val", "test")}
    assert table["id"].tolist() == parts["val"].ids + parts["test"].ids
    train, val = (parts[part].images().astype(float) for part in ("train", "val"))
    expected = np.abs(val - np.rint(train.mean(0))).mean((1, 2, 3)) / 255
    of_val = table[table["part"] == "val"]
    np.testing.assert_allclose(of_val["l1_mean"], expected, atol=1e-9)
    where = [parts["train"].ids.index(name) for name in of_val["nearest"]]
    expected = np.abs(val - train[where]).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(of_val["l1_nearest"], expected, atol=1e-9)
    rows = {row["part"]: row for row in run.summary()["held_out"]}
    assert rows["val"]["images"] == 12
    assert rows["val"]["l1"] == pytest.approx(run.status["best"]["val_l1"], abs=2e-3), "bfloat16 or float32"
    assert rows["test"]["l1"] == pytest.approx(table[table["part"] == "test"]["l1"].mean())
    assert rows["val"]["l1_low"] < rows["val"]["l1"] < rows["val"]["l1_high"]
    assert run.status["test_reads"] == 1
    assert "nearest sketch" in (home / "run" / "report.html").read_text()
    assert Image.open(home / "run" / "samples" / "held-out.png").width > 12 * 16


def test_the_same_command_reads_the_test_part_no_more(home: Path) -> None:
    reads = Dataset.open(home / "data").test_reads()
    with settings.use(quiet=True, threads=1):
        train_translate(
            home / "data", home / "run", kimg=0.1, batch=8, test=True, domain="comic", options=TINY
        )
    assert Dataset.open(home / "data").test_reads() == reads


def ask(home: Path, line: str) -> int:
    words = [word.replace("@", f"{home}/") for word in shlex.split(line)]
    return cli.run([*words, "--quiet", "--threads", "1"])


def test_pictures_are_those_of_the_network(home: Path) -> None:
    assert ask(home, "translate @run @data @out --sketch --part test") == 0
    test, model = Dataset.open(home / "data").part("test", purpose="report"), load_translator(home / "run")
    expected = model.translate(model.sketches(test.images()))
    found = [np.asarray(Image.open(home / "out" / "pictures" / f"{name}.png")) for name in test.ids]
    assert np.array_equal(np.stack(found), expected)
    record = read_record(home / "out" / "translation.json")
    assert record["model"]["checkpoint"] == model.checkpoint.name
    assert record["images"]["part"] == "test"
    assert Image.open(home / "out" / "picture.png").height > 3 * 96


def test_drawn_sketches_of_any_colour_and_size_make_pictures(home: Path) -> None:
    grey = np.full((16, 16), 255, np.uint8)
    grey[4:12, 5] = 0
    folder = home / "sketches"
    folder.mkdir()
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(grey).convert("RGB").save(folder / "coloured.png")
    Image.fromarray(grey).resize((64, 64), 0).save(folder / "large.png")
    Image.fromarray(np.where(grey == 0, 110, 230).astype(np.uint8)).save(home / "pencil.png")
    assert ask(home, "translate @run @sketches/grey.png @sketches/coloured.png @pencil.png @two") == 0
    made = [(home / "two" / "pictures" / f"{n}.png").read_bytes() for n in ("grey", "coloured", "pencil")]
    assert made[0] == made[1] == made[2]
    assert ask(home, "translate @run @sketches/large.png @none") == 2
    assert not (home / "none").exists()
    assert ask(home, "translate @run @sketches @fitted --fit") == 0
    fitted = sorted(path.name for path in (home / "fitted" / "pictures").iterdir())
    assert fitted == ["coloured.png", "grey.png", "large.png"]


def test_draws_of_a_sketch_depend_on_seed_and_name_alone(home: Path) -> None:
    ids = Dataset.open(home / "data").part("val", purpose="report").ids[:3]
    options = "--sketch --draws 2"
    assert ask(home, f"translate @run @data @all {options} --ids {' '.join(ids)}") == 0
    assert ask(home, f"translate @run @data @one {options} --ids {ids[2]}") == 0
    assert ask(home, f"translate @run @data @other {options} --ids {ids[2]} --seed 1") == 0

    def made(out: str, draw: int) -> bytes:
        return (home / out / "pictures" / f"{ids[2]}-{draw}.png").read_bytes()

    assert made("all", 1) == made("one", 1)
    assert made("all", 2) == made("one", 2)
    assert len({made("all", 1), made("all", 2), made("other", 1)}) == 3


def test_images_of_one_name_are_kept_apart(home: Path) -> None:
    for folder in ("a", "b"):
        (home / folder).mkdir()
        Image.new("L", (16, 16), 255).save(home / folder / "same.png")
    assert ask(home, "translate @run @a/same.png @b/same.png @same") == 0
    assert sorted(path.name for path in (home / "same" / "pictures").iterdir()) == [
        "0-same.png", "1-same.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("translate @run @x", "last OUT"),
        ("translate @data @data @x", "not a Plenish Run"),
        ("translate @run @data @x --sketch", "--part"),
        ("translate @run @nowhere.png @x", "does not exist"),
        ("translate @run @data @x --sketch --part test --draws 0", "--draws"),
        ("train translate @data @x --options sketch.widht_most=2", "width_most"),
        ("train translate @data @x --options sketch.width_most=0.2", "width_least"),
        ("train translate @data @x --recipe dcgan", "train generator"),
        ("train translate @data @x --batch 100", "36 images"),
        ("train translate @data @run --lr 0.1", "--lr"),
        ("train translate @data @x --options network.d_layers=4", "at most"),
    ],
)
def test_bad_input_gets_one_sentence(
    home: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, line) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1
    assert not (home / "x").exists()
