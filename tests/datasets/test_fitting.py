"""How pictures become squares: places of crops, fills, bands cut off, detectors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish import cli
from plenish.commands.datasets import import_dataset, preview_import, refit_dataset
from plenish.datasets import detectors
from plenish.datasets import refit as module
from plenish.datasets.dataset import Dataset
from plenish.datasets.distortion import audit
from plenish.datasets.fitting import DISTORTION, Fitting, Place, corner, energy, saliency, square, trim
from plenish.datasets.images import Shape, fit_array
from plenish.errors import InputError
from plenish.metrics.prediction_images import shape_of


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def fitted(pixels: np.ndarray, size: int, fit: str, **how: object) -> np.ndarray:
    return fit_array(pixels, Shape(size, 3, fit, fitting=Fitting(**how))).pixels  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "tall", "wide"),
    [("centre", 4, 4), ("top", 0, 4), ("bottom", 8, 4), ("left", 4, 0), ("right", 4, 8)],
)
def test_a_crop_keeps_the_pixels_of_its_place(place: Place, tall: int, wide: int) -> None:
    pixels = picture(20, 12)
    np.testing.assert_array_equal(fitted(pixels, 12, "crop", crop_at=place), pixels[tall : tall + 12])
    turned = fitted(pixels.transpose(1, 0, 2), 12, "crop", crop_at=place)
    np.testing.assert_array_equal(turned, pixels[wide : wide + 12].transpose(1, 0, 2))


@pytest.mark.parametrize("place", ["energy", "saliency"])
@pytest.mark.parametrize("at", [2, 30, 58])
def test_a_crop_finds_the_one_thing_there_is(place: Place, at: int) -> None:
    pixels = np.full((32, 96, 3), 200, np.uint8)
    pixels[8:24, at : at + 24] = picture(16, 24)
    for turned in (pixels, pixels.transpose(1, 0, 2)):
        left = max(corner(Image.fromarray(turned), place))
        assert left <= at + 1
        assert left + 32 >= at + 23


@pytest.mark.parametrize("place", ["energy", "saliency"])
def test_where_nothing_stands_out_the_centre_is_kept(place: Place) -> None:
    assert corner(Image.new("RGB", (300, 100), (9, 9, 9)), place) == (100, 0)
    assert corner(Image.new("L", (50, 50)), place) == (0, 0)


def test_energy_is_the_magnitude_of_the_gradient() -> None:
    y, x = np.mgrid[:6, :8].astype(float)
    np.testing.assert_allclose(energy(3 * y + 4 * x)[1:-1, 1:-1], 5)
    assert not energy(np.ones((5, 5))).any()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_unlike_its_surroundings_is_salient(seed: int) -> None:
    y, x = np.meshgrid(np.fft.fftfreq(96), np.fft.fftfreq(96))
    falling = np.maximum(np.hypot(y, x), 1 / 96)  # Spectrum of natural pictures: amplitude ~ 1 / frequency.
    noise = np.random.default_rng(seed).normal(size=(96, 96))
    grey = np.fft.ifft2(np.fft.fft2(noise) / falling).real[:64, :64]  # Its opposite sides differ.
    grey = 128 + 30 * (grey - grey.mean()) / grey.std()
    y, x = np.mgrid[:64, :64]
    grey[20:28, 40:48] += 40 * (-1.0) ** (x + y)[20:28, 40:48]
    found = np.unravel_index(saliency(grey).argmax(), grey.shape)
    assert np.abs(np.array(found) - (24, 44)).max() <= 4
    assert not saliency(np.full((9, 9), 7.0)).any()


def test_fills_of_a_pad() -> None:
    pixels = picture(4, 12)
    assert (fitted(pixels, 12, "pad")[:4] == 255).all()
    assert (fitted(pixels, 12, "pad", pad_with="#102030")[[0, -1]] == [16, 32, 48]).all()
    edge = fitted(pixels, 12, "pad", pad_with="edge")
    np.testing.assert_array_equal(edge, np.pad(pixels, [(4, 4), (0, 0), (0, 0)], mode="edge"))
    reflected = fitted(pixels, 12, "pad", pad_with="reflect")
    np.testing.assert_array_equal(reflected, np.pad(pixels, [(4, 4), (0, 0), (0, 0)], mode="reflect"))
    thin = fitted(pixels[:1], 12, "pad", pad_with="reflect")
    np.testing.assert_array_equal(thin, np.broadcast_to(pixels[:1], (12, 12, 3)))
    grey = square(Image.new("L", (4, 2), 7), 4, "pad", Fitting(pad_with="black"))
    assert np.asarray(grey).tolist() == [[0] * 4, [7] * 4, [7] * 4, [0] * 4]


def test_bands_are_cut_off_also_within_bands() -> None:
    inner = picture(30, 40)
    framed = np.full((50, 40, 3), 0, np.uint8)
    framed[10:40] = inner
    assert trim(Image.fromarray(framed)).size == (40, 30)
    nested = np.full((50, 60, 3), (180, 20, 20), np.uint8)
    nested[:, 10:50] = framed
    np.testing.assert_array_equal(np.asarray(trim(Image.fromarray(nested))), inner)
    plain = Image.new("RGB", (30, 30), (5, 5, 5))
    assert trim(plain).size == plain.size, "nothing would be left"
    found = fit_array(framed, Shape(30, 3, "crop", fitting=Fitting(trim_bands=True)))
    assert found.trimmed
    np.testing.assert_array_equal(found.pixels, inner[:, 5:35])


def test_a_stretch_says_how_much() -> None:
    assert fit_array(picture(10, 25), Shape(8, 3, "stretch")).distortion == 2.5
    assert fit_array(picture(10, 25), Shape(8, 3, "crop")).distortion == 1


@pytest.mark.parametrize(
    ("fit", "how", "said"),
    [
        ("pad", {"crop_at": "top"}, "--crop-at"), ("crop", {"pad_with": "edge"}, "--pad-with"),
        ("pad", {"pad_with": "no colour"}, "'no colour'"), ("crop", {"undetected": "reject"}, "--detector"),
        ("crop", {"detector": "anime-fac"}, "anime-face"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(fit: str, how: dict[str, str], said: str, tmp_path: Path) -> None:
    Image.fromarray(picture(9, 9)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=said):
        import_dataset(tmp_path, tmp_path.with_name("out"), fit=fit, **how)


def test_anime_detectors_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imgutils", None)
    detectors.load.cache_clear()
    with pytest.raises(InputError, match=r"plenish\[anime\]"):
        detectors.load("anime-face")


def dark_things(pixels: np.ndarray) -> list[tuple[float, ...]]:
    """A detector of dark pixels; what fills the whole picture breaks it."""
    y, x = np.nonzero(pixels.max(axis=2) < 10)
    if not len(y):
        return []
    if len(y) == pixels.shape[0] * pixels.shape[1]:
        raise RuntimeError("all is dark")
    return [(0.0, 0.0, 3.0, 3.0, 0.1), (x.min(), y.min(), x.max() + 1.0, y.max() + 1.0, 0.9)]


@pytest.fixture
def dark(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a detector that a package registers."""
    entry = EntryPoint("dark", f"{__name__}:dark_things", detectors.GROUP)

    class Found(list[EntryPoint]):
        names = ("dark",)

    def registered(group: str, name: str = "dark") -> Found:
        return Found([entry] if (group, name) == (detectors.GROUP, "dark") else [])

    monkeypatch.setattr(detectors, "entry_points", registered)
    monkeypatch.setattr(EntryPoint, "load", lambda self: dark_things)
    detectors.load.cache_clear()
    yield "dark"
    detectors.load.cache_clear()


def thing(place: tuple[int, int], side: int = 10) -> np.ndarray:
    """A light picture with a dark square."""
    pixels = np.full((60, 90, 3), 200, np.uint8)
    pixels[place[0] : place[0] + side, place[1] : place[1] + side] = 0
    return pixels


def test_what_a_detector_finds_is_cut_out_as_a_square(dark: str) -> None:
    assert detectors.names() == ["anime-face", "anime-head", "anime-person", "dark"]
    assert detectors.best_square(dark, thing((20, 40)), 0.5) == (35, 15, 55, 35)
    assert detectors.best_square(dark, thing((0, 80)), 0.5) == (70, 0, 90, 20), "moved into the picture"
    assert detectors.best_square(dark, thing((20, 40)), 4) == (15, 0, 75, 60), "no larger than the picture"
    assert detectors.best_square(dark, thing((0, 0), side=0), 0.5) is None
    out = fitted(thing((20, 40)), 20, "crop", detector=dark, detector_margin=0.5)
    np.testing.assert_array_equal(out, thing((20, 40))[15:35, 35:55])


def test_an_import_with_a_detector(dark: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, pixels in {"a": thing((20, 40)), "b": thing((0, 0), side=0), "c": thing((0, 0), 90)}.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    made = import_dataset(folder, tmp_path / "fit", 16, detector=dark, workers=1)
    assert made.rejected == 1, "the detector fails on c"
    assert made.dataset.manifest.extra["import"]["undetected"] == 1
    assert "fails" not in (tmp_path / "fit" / "rejected.csv").read_text()
    assert "all is dark" in (tmp_path / "fit" / "rejected.csv").read_text()
    strict = import_dataset(folder, tmp_path / "reject", 16, detector=dark, undetected="reject", workers=1)
    assert [Path(name).name for name in strict.dataset.column("source")] == ["a.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three shapes, one with black bands."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(picture(40, 40)).save(folder / "a.png")
    Image.fromarray(picture(40, 80)).save(folder / "b.png")
    banded = np.zeros((60, 60, 3), np.uint8)
    banded[15:45] = picture(30, 60)
    Image.fromarray(banded).save(folder / "c.png")
    return folder


def test_an_import_keeps_what_was_stretched_and_how_it_fitted(folder: Path, tmp_path: Path) -> None:
    made = import_dataset(folder, tmp_path / "out", 16, fit="stretch", trim_bands=True, workers=1).dataset
    assert made.column(DISTORTION) == [1.0, 2.0, 2.0]
    about = made.manifest.extra["import"]
    assert about["fitting"] == {"trim_bands": True}
    assert about["trimmed"] == 1
    found = audit(made.table, np.array([0, 1]))
    assert found is not None
    assert (found["median"], found["largest"], found["rows"]) == (2.0, 2.0, [1])
    assert sum(found["counts"]) == 3
    assert found["counts"][0] == 1
    plain = import_dataset(folder, tmp_path / "plain", 16, workers=1).dataset
    assert DISTORTION not in plain.table.columns
    assert "fitting" not in plain.manifest.extra["import"]
    assert audit(plain.table, np.arange(3)) is None

    class Model:
        size, channels, preparation = 16, 3, about

    assert shape_of(Model()) == Shape(16, 3, "stretch", fitting=Fitting(trim_bands=True))  # type: ignore[arg-type]


def test_a_preview_shows_every_fit(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "fits.png"
    assert cli.run(["import", "--preview", str(folder), str(figure), "--size", "16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"original", "crop", "pad: reflect", "stretch"} <= set(told["columns"])
    with Image.open(figure) as drawn:
        assert drawn.width == len(told["columns"]) * 134 + 6
    for wrong, name in ((figure, "exists"), (tmp_path / "fits.jpg", "PNG")):
        with pytest.raises(InputError, match=name):
            preview_import(folder, wrong)


def refit(data: Dataset, out: Path, **how: object) -> Dataset:
    return refit_dataset(data.path, out, **how).dataset


def test_a_dataset_is_fitted_again_with_its_splits(stripes: Callable[..., Dataset], tmp_path: Path) -> None:
    data = stripes()
    small = refit(data, tmp_path / "small", size=8, channels=1)
    assert (small.size, small.channels, len(small)) == (8, 1, len(data))
    for column in ("id", "label", "group", "source"):
        assert small.column(column) == data.column(column)
    assert small.split().part_of.tolist() == data.split().part_of.tolist()
    rows = np.arange(len(data))
    expected = [fit_array(image, Shape(8, 1, "crop")).pixels for image in data.pixels.read(rows)]
    np.testing.assert_array_equal(small.pixels.read(rows), expected)
    assert small.manifest.extra["fitted"]["from"] == data.manifest.pixels_hash
    assert data.test_reads() == 1, "the test part was read"


def test_a_dataset_loses_its_bands(stripes: Callable[..., Dataset], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    banded = np.zeros((32, 32, 3), np.uint8)
    banded[8:24] = picture(16, 32)
    Image.fromarray(banded).save(folder / "a.png")
    data = import_dataset(folder, tmp_path / "banded", 32, workers=1).dataset
    free = refit(data, tmp_path / "free", trim_bands=True, fit="stretch")
    assert free.column(DISTORTION) == [2.0]
    expected = Image.fromarray(banded[8:24]).resize((32, 32), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(free.pixels.read(np.array([0]))[0], np.asarray(expected))
    assert free.manifest.extra["import"]["fit"] == "stretch", "as later pictures are prepared"


def test_a_fit_that_changes_nothing_or_invents_colours_is_refused(
    stripes: Callable[..., Dataset], tmp_path: Path
) -> None:
    data = stripes(channels=1)
    for how, said in (({}, "Nothing would change"), ({"channels": 3}, "grey")):
        with pytest.raises(InputError, match=said):
            refit(data, tmp_path / "out", **how)
    assert not (tmp_path / "out").exists()


def test_a_fit_that_was_interrupted_counts_all_images_and_keeps_what_each_split_says(
    stripes: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stripes()
    data.add_split("other", ["train"] * len(data), {"method": "by hand"})
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 7)
    monkeypatch.setattr(module, "CHUNK", 7)
    real = module.decode_all

    def stopped(*words: object) -> Iterator[object]:
        yield from itertools.islice(real(*words), 2)
        raise KeyboardInterrupt

    larger = {"size": 2 * data.size, "workers": 1}
    with monkeypatch.context() as patch:
        patch.setattr(module, "decode_all", stopped)
        with pytest.raises(KeyboardInterrupt):
            refit(data, tmp_path / "out", **larger)
    made = refit_dataset(data.path, tmp_path / "out", **larger)
    assert made.counts == {"trimmed": 0, "upscaled": len(data)}
    assert made.dataset.manifest.extra["fitted"]["upscaled"] == len(data)
    for name in ("default", "other"):
        about, before = made.dataset.split(name).manifest, data.split(name)
        assert (about.get("method"), about["carried_from"]) == (before.manifest.get("method"), before.hash)
        assert made.dataset.split(name).part_of.tolist() == before.part_of.tolist()
