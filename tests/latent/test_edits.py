"""Edits of the latent space through the command line and Python, on tiny generators."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish import cli, files, settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.edit import arithmetic, flip, grid, interpolate, mix, walk
from plenish.commands.generate import generate
from plenish.commands.invert import invert
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.latent import class_change, concept_verbs, concepts, equation_edits, path_edits, render
from plenish.latent.edits import Edit
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.mixing import layer_range
from plenish.latent.render import FilmOptions, Row, figure, film
from plenish.latent.space import LatentSpace

TINY = {"kimg": 0.02, "batch": 10, "validation": False}
STYLEGAN2 = [
    "network.width=4", "network.max_width=8", "network.z_dim=8", "network.w_dim=8"
]  # fmt: skip
DCGAN = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom, and tiny generators of two families that have seen 20 of its images."""
    home = tmp_path_factory.mktemp("home")
    with settings.use(quiet=True, threads=1):
        make_phantom(home / "data", patients=6, tiles=6, size=16)
        split_dataset(home / "data")
        train_gan(home / "data", home / "gan", recipe="dcgan", options=DCGAN, **TINY)
        train_gan(home / "data", home / "styled", recipe="small-stylegan2", options=STYLEGAN2, **TINY)
    return home


@pytest.fixture
def gan(home: Path) -> Path:
    """A conditional DCGAN of 16 px with a normal prior."""
    return home / "gan"


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as made:
        found = []
        for i in range(getattr(made, "n_frames", 1)):
            made.seek(i)
            found.append(np.asarray(made.convert("RGB")).astype(int))
        return found


def test_an_interpolation_is_a_film_whose_ends_are_the_points(gan: Path, tmp_path: Path) -> None:
    edit = interpolate(gan, tmp_path / "film", seeds=[1, 2, 3], frames=5, film="png", csv=True)
    space = LatentSpace(gan)
    points = space.draw([1, 2, 3])
    z, y = np.load(tmp_path / "film" / "latents.npy"), np.load(tmp_path / "film" / "labels.npy")
    assert len(z) == 16  # 9 there, 7 back.
    assert (z[[0, 4, 8]] == points.values).all()
    assert (z[9:] == z[7:0:-1]).all()
    assert y[2].tolist() == [0.5, 0.5]
    made = frames(tmp_path / "film" / "film.png")
    assert len(made) == 16
    image = space.images(points[[1]])[0]
    assert np.abs(made[4][::16, ::16] - image).max() <= 1
    assert (made[9] == made[7]).all()
    csv = np.loadtxt(tmp_path / "film" / "latents.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(csv, z, rtol=1e-6)
    assert edit.facts["result"]["path"] == "slerp"
    # Latents of an edit come in again with their labels.
    again = interpolate(gan, tmp_path / "again", latents=tmp_path / "film" / "latents.npy", frames=2)
    assert (np.load(again.path / "latents.npy")[:16] == z).all()
    assert (np.load(again.path / "labels.npy")[:16] == y).all()


def test_a_closed_tour_with_held_labels_goes_there_in_one_class_and_back_in_the_other(
    gan: Path, tmp_path: Path
) -> None:
    interpolate(gan, tmp_path / "film", seeds=[1, 2], frames=7, loop="closed", labels="held")
    y = np.load(tmp_path / "film" / "labels.npy")
    assert y.argmax(1).tolist() == [0] * 6 + [1] * 6
    z = np.load(tmp_path / "film" / "latents.npy")
    np.testing.assert_allclose(z[7:], z[5:0:-1], atol=1e-5)


def test_a_grid_has_its_points_at_the_corners(gan: Path, tmp_path: Path) -> None:
    grid(gan, tmp_path / "grid", side=3, frames=4, label="tumour")
    z = np.load(tmp_path / "grid" / "latents.npy")
    assert (z[[0, 2, 6, 8]] == LatentSpace(gan).draw([0, 1, 2, 3]).values).all()
    with pytest.raises(InputError, match="needs 4 points, not 3"):
        grid(gan, tmp_path / "three", seeds=[1, 2, 3])


def test_a_walk_is_closed_and_depends_on_its_seed_alone(gan: Path, tmp_path: Path) -> None:
    one = np.load(walk(gan, tmp_path / "one", frames=9, seed=4).path / "latents.npy")
    same = np.load(walk(gan, tmp_path / "same", frames=9, seed=4, fps=5).path / "latents.npy")
    other = np.load(walk(gan, tmp_path / "other", frames=9, seed=5).path / "latents.npy")
    for ignored in ({"ids": ["s1"]}, {"space": "z"}, {"seeds": [1]}):
        with pytest.raises(InputError, match="--direction"):
            walk(gan, tmp_path / "no", **ignored)
    assert (one == same).all()
    assert (one != other).all()


def test_a_direction_is_added_from_the_least_to_the_most(gan: Path, tmp_path: Path) -> None:
    step = np.arange(8, dtype=np.float32)
    np.save(tmp_path / "step.npy", step)
    walk(
        gan, tmp_path / "out", direction=str(tmp_path / "step.npy"), strength=(-1, 2), seeds=[3, 4], frames=4
    )
    z = np.load(tmp_path / "out" / "latents.npy").reshape(4, 2, 8)
    start = LatentSpace(gan).draw([3, 4]).values
    np.testing.assert_allclose(z, start + np.array([-1, 0, 1, 2])[:, None, None] * step, rtol=1e-6)
    np.save(tmp_path / "wide.npy", np.zeros(9))
    np.save(tmp_path / "nan.npy", np.full(8, np.nan))
    for name, word in (("wide.npy", "9"), ("nan.npy", "not finite"), ("none.npy", "does not exist")):
        with pytest.raises(InputError, match=word):
            walk(gan, tmp_path / "bad", direction=str(tmp_path / name))
    assert not list(tmp_path.glob("bad*"))


def test_an_equation_of_seeds_rows_and_images_of_a_dataset(gan: Path, tmp_path: Path) -> None:
    made = generate(gan, tmp_path / "made", 6, seed=2)
    ids = list(made.table["id"])
    space = LatentSpace(gan)
    np.save(tmp_path / "some.npy", space.draw([7, 8, 9]).values)
    edit = arithmetic(
        gan, tmp_path / "sum", "a - b + 0.5*c", data=made.path,
        sets=["a=seeds:1,2-3@normal", f"b={tmp_path / 'some.npy'}:0-2", f"c=ids:{ids[1]},{ids[3]}"],
    )  # fmt: skip
    z = np.load(tmp_path / "sum" / "latents.npy")
    expected = space.draw([1, 2]).values - space.draw([7, 8]).values + 0.5 * made.array("z")[[1, 3]]
    np.testing.assert_allclose(z[:2], expected, rtol=1e-5, atol=1e-6)
    assert edit.facts["names"] == ["result 1", "result 2", "result of the means"]
    assert np.load(tmp_path / "sum" / "labels.npy").argmax(1).tolist() == [1, 1, 1]
    record = files.read_record(tmp_path / "sum" / "edit.json")
    assert record["result"]["factors"] == {"a": 1, "b": -1, "c": 0.5}
    assert "--set" in record["command"]["repeat"]


@pytest.mark.parametrize(
    ("equation", "sets", "word"),
    [
        ("a - lumen", ["a=seeds:1"], "lumen"),
        ("a", ["a=seeds:1@tumor"], "tumour"),
        ("a", ["a=seeds:x"], "seeds|x"),
        ("a", ["a=seeds:0-999999999"], "100,000 seeds"),
        ("a", ["seeds:1"], "NAME=POINTS"),
        ("a", ["a=ids:s1"], "--data"),
        ("a", ["a=seeds:1", "b=seeds:2"], "--set b"),
        ("a +", ["a=seeds:1"], "the end"),
    ],
)
def test_equations_that_cannot_be_computed_leave_nothing(
    gan: Path, tmp_path: Path, equation: str, sets: list[str], word: str
) -> None:
    with pytest.raises(InputError, match=word):
        arithmetic(gan, tmp_path / "sum", equation, sets=sets)
    assert not list(tmp_path.glob("sum*"))


def test_an_equation_takes_several_concepts_in_one_space(home: Path, tmp_path: Path) -> None:
    run = shutil.copytree(home / "styled", tmp_path / "run")
    rng = np.random.default_rng(0)
    for name, where in (("k", "z"), ("l", "z"), ("v", "w")):
        step = concepts.unit(rng.normal(size=8), "These")
        found = concepts.Concept(
            name, step, where, 2.0, (), {"generator": LatentSpace(run).loaded.provenance()}
        )
        concepts.keep(run, found)
    edit = arithmetic(run, tmp_path / "sum", "a + k - 3*l", sets=["a=seeds:1"])
    k, l = (concepts.read(run, name).vector for name in "kl")
    z = LatentSpace(run).draw([1]).values
    np.testing.assert_allclose(np.load(edit.path / "latents.npy"), z + 2 * k - 6 * l, rtol=1e-5, atol=1e-5)
    assert arithmetic(run, tmp_path / "w", "a + v", sets=["a=seeds:1"]).facts["space"] == "w"
    for equation, where in (("a + v", "z"), ("a + k", "w"), ("a + v + k", None)):
        with pytest.raises(InputError):
            arithmetic(run, tmp_path / "no", equation, sets=["a=seeds:1"], within=where)
    assert not (tmp_path / "no").exists()


def test_options_that_images_of_a_dataset_were_made_with_are_told(
    gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = generate(gan, tmp_path / "made", 2, truncation=0.5)
    for truncation, told in ((None, True), (0.5, False)):
        with settings.use(quiet=False):
            flip(gan, tmp_path / f"{told}", data=made.path, truncation=truncation, frames=2)
        assert ("truncation=0.5" in capsys.readouterr().err) == told


def test_latents_that_do_not_fit_are_refused(gan: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((2, 9), np.float32))
    np.save(tmp_path / "nan.npy", np.full((2, 8), np.nan))
    np.save(tmp_path / "huge.npy", np.full((2, 8), 1e39))  # Finite, but not in float32.
    for name in ("wide.npy", "nan.npy", "huge.npy"):
        with pytest.raises(InputError, match=f"^--set .*|{name}"):
            arithmetic(gan, tmp_path / "out", "a", sets=[f"a={tmp_path / name}"])
        words = ["edit", "interpolate", str(gan), str(tmp_path / "out"), "--latents", str(tmp_path / name)]
        assert cli.run(words) == 2
    assert not (tmp_path / "out").exists()


def test_a_flip_shows_both_classes_and_their_difference(
    gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", "flip", str(gan), str(tmp_path / "flip"), "--seeds", "1", "2", "--frames", "4"]
    assert cli.run([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["points"] == 4
    space = LatentSpace(gan)
    points = space.draw([1, 2])
    before, after = space.images(points), space.images(space.flip(points))
    change = np.abs(before.astype(float) - after).mean((1, 2, 3)) / 255
    kept = files.read_record(tmp_path / "flip" / "edit.json")["result"]
    assert kept["mean_change"] == pytest.approx(change.tolist(), abs=1e-3)
    names = space.labels.names
    assert said["classes"] == kept["classes"] == [
        {"from": names[k], "to": names[1 - k], "images": 1, "mean change": pytest.approx(change[k], rel=0.01)}
        for k in (0, 1)
    ]  # fmt: skip
    assert "mean_change" not in said
    flip(gan, tmp_path / "hard", seeds=[1, 2], frames=5, soft=False, film="png")
    # Frames that stay are one of an animated PNG.
    middle = frames(tmp_path / "hard" / "film.png")[2][::8, ::8]
    blend = (before.astype(float) + after) / 2
    assert np.abs(middle[:, :16] - blend[0]).max() <= 1.5
    assert (middle[:, 16:18] == 255).all()
    assert np.abs(middle[:, 18:] - blend[1]).max() <= 1.5


def test_an_unlabelled_generator_cannot_flip(stripes: Callable[..., object], tmp_path: Path) -> None:
    data = stripes("plain", classes=0).path
    run = train_gan(data, tmp_path / "plain-gan", recipe="dcgan", options=DCGAN, **TINY).path
    with pytest.raises(InputError, match="without"):
        flip(run, tmp_path / "flip")
    edit = interpolate(run, tmp_path / "film", frames=3)
    assert "labels" not in edit.facts["files"]


def test_latents_of_an_edit_of_tags_come_in_again_with_their_labels(
    tmp_path: Path,
) -> None:
    labels = LabelSchema("multilabel", ("a", "b"))
    with DatasetWriter(tmp_path / "data", name="d", size=16, channels=1, labels=labels, config={}) as writer:
        pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 1), np.uint8)
        rows = [{"label": ["a", "b"][: i % 3], "group": f"g{i}", "part": "train"} for i in range(24)]
        writer.add(pixels, rows)
    run = train_gan(tmp_path / "data", tmp_path / "run", recipe="dcgan", options=DCGAN, **TINY).path
    with pytest.raises(InputError, match="--label"):
        interpolate(run, tmp_path / "no")
    edit = interpolate(run, tmp_path / "one", label="a=0.5,b", frames=2)
    again = interpolate(run, tmp_path / "two", latents=edit.path / "latents.npy", frames=2)
    assert (np.load(again.path / "labels.npy") == [0.5, 1]).all()
    edit = arithmetic(run, tmp_path / "sum", "u - v", sets=["u=seeds:1,2", "v=seeds:3@b"], label="a")
    assert (np.load(edit.path / "labels.npy") == [1, 0]).all()
    how = InversionOptions(steps=8, starts=1, encoder=False)
    found = invert(run, tmp_path / "inverted", [tmp_path / "data"], part="train", how=how)
    assert (np.load(found.path / "labels.npy") == Dataset.open(tmp_path / "data").y()).all()


def test_style_mixing_takes_layers(home: Path, gan: Path, tmp_path: Path) -> None:
    mix(home / "styled", tmp_path / "mix", seeds=[1, 2], styles=[5, 6, 7], layers="0-1", label="normal")
    w = np.load(tmp_path / "mix" / "latents.npy")
    space = LatentSpace(home / "styled")
    y = space.label("normal")
    base, style = (space.to_w(space.draw(seeds, y)).values for seeds in ([1, 2], [5, 6, 7]))
    w = w.reshape(2, 3, *w.shape[1:])
    assert (w[:, :, :2] == style[None, :, :2]).all()
    assert (w[:, :, 2:] == base[:, None, 2:]).all()
    with pytest.raises(InputError, match="StyleGAN2"):
        mix(gan, tmp_path / "none")
    edit = interpolate(home / "styled", tmp_path / "w", within="w", frames=3)
    assert (edit.facts["space"], edit.facts["result"]["path"]) == ("w", "linear")


def test_layers_by_name_and_number() -> None:
    assert layer_range("coarse", 8) + layer_range("middle", 8) + layer_range("fine", 8) == list(range(8))
    assert layer_range("0,2,5-7", 8) == [0, 2, 5, 6, 7]
    for wrong in ("corse", "8", "3-1", "a-b", "", "-1"):
        with pytest.raises(InputError):
            layer_range(wrong, 8)


def test_of_many_points_picture_and_film_show_some_and_the_latents_are_all(
    gan: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (class_change, equation_edits, path_edits, concept_verbs):
        monkeypatch.setattr(module, "SHOWN", 3)
    for module in (class_change, path_edits, concept_verbs, render):
        monkeypatch.setattr(module, "FILMED", 2, raising=False)
    many, how = list(range(5)), {"frames": 2, "film": "png"}
    np.save(tmp_path / "step.npy", np.ones(8))
    width, gap = 16 * 6 + 6, 6  # Of an image of a picture.

    def picture(edit: Edit) -> tuple[int, int]:
        return Image.open(edit.path / "picture.png").size

    edit = flip(gan, tmp_path / "flip", seeds=many, **how)
    assert len(np.load(edit.path / "latents.npy")) == 10
    assert len(edit.facts["result"]["mean_change"]) == 5
    assert picture(edit)[0] < 4 * width + 150
    assert frames(edit.path / "film.png")[0].shape[1] == (2 * 16 + 2) * 8
    edit = walk(gan, tmp_path / "walk", direction=str(tmp_path / "step.npy"), seeds=many, **how)
    assert len(np.load(edit.path / "latents.npy")) == 10
    assert picture(edit)[1] < 4 * (width + 20)
    assert frames(edit.path / "film.png")[0].shape[1] == (2 * 16 + 2) * 8
    edit = arithmetic(gan, tmp_path / "sum", "a", sets=["a=seeds:0-4"])
    assert len(np.load(edit.path / "latents.npy")) == 6
    assert picture(edit)[0] < 5 * width + 100
    edit = mix(home / "styled", tmp_path / "mix", seeds=many, styles=[7])
    assert len(np.load(edit.path / "latents.npy")) == 5
    assert picture(edit)[1] < 5 * (width + 20) + gap
    edit = interpolate(gan, tmp_path / "tour", seeds=many, loop="open", **how)
    assert len(np.load(edit.path / "latents.npy")) == 5
    assert picture(edit)[1] < 4 * (width + 20)


def test_films_that_a_format_or_the_memory_cannot_hold_are_refused(gan: Path, tmp_path: Path) -> None:
    image = np.zeros((2, 16, 300, 3), np.uint8)
    with pytest.raises(InputError, match="16,383"):
        film(image, FilmOptions(film="webp", enlarge=64))
    assert film(image, FilmOptions(film="png", enlarge=64))
    with pytest.raises(InputError, match="--frames"):
        interpolate(gan, tmp_path / "long", frames=10_000, enlarge=64)
    with pytest.raises(InputError, match="at least 2"):
        LatentSpace(gan).interpolate(LatentSpace(gan).draw([0, 1]), 1)
    assert not list(tmp_path.glob("long*"))


def test_a_film_has_one_palette(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    (tmp_path / "film.gif").write_bytes(film(images, FilmOptions(fps=10, enlarge=2)))
    with Image.open(io.BytesIO((tmp_path / "film.gif").read_bytes())) as made:
        assert made.n_frames == 3
        assert made.info["duration"] == 100
    shown = frames(tmp_path / "film.gif")
    assert np.abs(shown[1][::2, ::2] - images[1]).max() < 64
    assert (shown[1][::2, ::2] == shown[1][1::2, 1::2]).all()


def test_captions_are_broken_into_lines_and_not_cut() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    made = [
        figure([Row("", image, [text])])
        for text in ("lumen +0.5", "lumen +0.5, nuclei +0.25", "lumen +0.5, nuclei -0.75")
    ]
    assert made[0].height < made[1].height == made[2].height
    assert made[0].width == made[1].width
    assert np.asarray(made[1]).tobytes() != np.asarray(made[2]).tobytes()
    endless = figure([Row("", image, ["many words " * 50])])
    assert endless.height < 2 * made[1].height


def test_latents_made_with_other_options_are_told(
    gan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", "flip", str(gan)]
    assert cli.run([*words, str(tmp_path / "one"), "--frames", "2", "--truncation", "0.5"]) == 0
    again = [
        *words,
        str(tmp_path / "two"),
        "--frames",
        "2",
        "--latents",
        str(tmp_path / "one" / "latents.npy"),
    ]
    capsys.readouterr()
    assert cli.run(again) == 0
    assert "truncation=0.5" in capsys.readouterr().err
    again[3] = str(tmp_path / "three")
    assert cli.run([*again, "--truncation", "0.5"]) == 0
    assert "truncation" not in capsys.readouterr().err
