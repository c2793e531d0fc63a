"""`plenish slides heatmap` from slide and Run to picture and table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from plenish import cli, settings
from plenish.commands.slides import make_slides, normalise_stain, tile_slides
from plenish.commands.slides_heatmap import draw_heatmap
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.split import split_dataset
from plenish.errors import InputError
from plenish.runs import Run
from plenish.slides.remarks import Remark
from plenish.slides.trained_tiles import TrainedTiles

TINY: dict = {"filters": [4, 8], "latent_features": 4, "batch": 16, "epochs": 2}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides, their tiles and what was trained on these; no test changes any of it."""
    home = tmp_path_factory.mktemp("heatmap")
    with settings.use(quiet=True, threads=1):
        make_slides(home / "slides", slides=5, width=1024, height=768, seed=2)
        tile_slides(
            home / "slides", home / "tiles", size=32, mpp=1.0, annotations=home / "slides", workers=1,
            min_tissue=0.4,
        )  # fmt: skip
        split_dataset(home / "tiles")
        train_autoencoder(home / "tiles", home / "run", test=True, **TINY)
        train_classifier_run(home / "tiles", home / "classifier", steps=40, batch=32, balanced=True)
    return home


def slide_of(data: Path, part: str) -> str:
    """A slide whose tiles are all in that part."""
    table = pd.read_parquet(data / "samples.parquet")
    parts = pd.read_parquet(data / "splits" / "default.parquet").set_index("id")["part"]
    return str(table["slide"][(table["id"].map(parts) == part)].iloc[0])


def errors_of(data: Path, run: Path, slide: str) -> pd.DataFrame:
    """What the Run wrote of a slide's tiles, with their places."""
    places = pd.read_parquet(data / "samples.parquet").query("slide == @slide")
    return places.merge(pd.read_parquet(run / "errors.parquet")[["id", "mse", "ssim"]], on="id")


def test_every_tile_has_the_error_it_had_in_the_dataset(work: Path, tmp_path: Path) -> None:
    slide = slide_of(work / "tiles", "test")
    made = draw_heatmap(work / "slides" / f"{slide}.tif", tmp_path / "h.png", run=[work / "run"], workers=1)
    table = pd.read_parquet(tmp_path / "h.parquet")
    expected = errors_of(work / "tiles", work / "run", slide).sort_values(["row", "col"])
    assert len(expected) > 50
    for column in ("row", "col", "x", "y", "side", "mpp", "level", "tissue"):
        np.testing.assert_array_equal(table[column], expected[column])
    for column in ("mse", "ssim"):
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-4)
    assert made.facts["tiles"] == len(table)
    assert made.facts["in_parts"] == {"test": len(table)}
    assert made.remarks == []
    about = json.loads(pq.read_schema(tmp_path / "h.parquet").metadata[b"plenish"])
    assert about["models"][0]["run_id"] == Run.open(work / "run").id
    with Image.open(tmp_path / "h.png") as picture:
        assert picture.size[0] == 1024


def test_the_numbers_do_not_depend_on_workers_and_csv_holds_the_same(work: Path, tmp_path: Path) -> None:
    slide = work / "slides" / "phantom-0001.tif"
    for workers, kind in ((1, "parquet"), (2, "csv")):
        draw_heatmap(
            slide, tmp_path / f"{workers}.png", run=[work / "run"], workers=workers, table=kind, side=400
        )  # type: ignore[arg-type]
    one, two = pd.read_parquet(tmp_path / "1.parquet"), pd.read_csv(tmp_path / "2.csv")
    assert list(one.columns) == list(two.columns)
    np.testing.assert_allclose(one["mse"], two["mse"], rtol=1e-12)
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_a_gdc_name_is_found_among_annotations_and_trained_slides(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(TrainedTiles, "parts_of", lambda self, slide: asked.append(slide) or {"train": 3})
    slide = tmp_path / "TCGA-HZ-7926-01Z-00-DX1.ab12.tif"
    shutil.copy(work / "slides" / "phantom-0001.tif", slide)
    shutil.copy(work / "slides" / "phantom-0001.xml", slide.with_suffix(".xml"))
    made = draw_heatmap(
        slide, tmp_path / "h.png", run=[work / "classifier"], annotations=tmp_path, workers=1, side=400
    )
    assert asked == ["TCGA-HZ-7926-01Z-00-DX1"]
    assert Remark("slide-trained-on", {"count": 3}) in made.remarks
    assert [row["label"] for row in made.facts["auroc"]] == ["tumour"]


def _check_geojson(path: Path, table: pd.DataFrame) -> None:
    """Tiles have the class and the scores that the table has; annotations of that class have its colour."""
    found = json.loads(path.read_text(encoding="utf-8"))["features"]
    tiles = [one["properties"] for one in found if one["properties"]["objectType"] == "tile"]
    outlined = [one["properties"]["classification"] for one in found if one["properties"] not in tiles]
    assert [one["name"] for one in outlined] == ["Tissue", "tumour"]
    assert len(tiles) == len(table)
    by_corner = {
        (min(x for x, _ in ring), min(y for _, y in ring)): one["properties"]
        for one in found if one["properties"] in tiles
        for ring in [one["geometry"]["coordinates"][0]]
    }  # fmt: skip
    assert len(by_corner) == len(table)
    for row in table.itertuples():
        about = by_corner[row.x, row.y]
        assert about["measurements"]["p_tumour"] == row.p_tumour
        assert about["measurements"]["coverage_tumour"] == pytest.approx(row.coverage_tumour, abs=1e-6)
        named = "tumour" if row.p_tumour > row.p_normal else "normal"
        assert about["classification"]["name"] == named
        if named == "tumour":
            assert about["classification"] == outlined[1]


def test_a_classifier_finds_the_tumour_and_the_picture_shows_it(work: Path, tmp_path: Path) -> None:
    slide = slide_of(work / "tiles", "test")
    made = draw_heatmap(
        work / "slides" / f"{slide}.tif", tmp_path / "h.png", run=[work / "classifier"], workers=1,
        annotations=work / "slides", side=512, geojson=True,
    )  # fmt: skip
    table = pd.read_parquet(tmp_path / "h.parquet")
    _check_geojson(tmp_path / "h.geojson", table)
    np.testing.assert_allclose(table["p_normal"] + table["p_tumour"], 1)
    found = made.facts["auroc"][0]
    assert found["label"] == "tumour"
    assert found["tiles"] == (table["coverage_tumour"] >= 0.5).sum()
    positive = table["p_tumour"][table["coverage_tumour"] >= 0.5].to_numpy()
    others = table["p_tumour"][table["coverage_tumour"] < 0.5].to_numpy()
    pairs = (positive[:, None] > others).mean() + 0.5 * (positive[:, None] == others).mean()
    assert found["p_tumour"] == pytest.approx(pairs)
    assert found["p_tumour"] > 0.9
    assert found["p_normal"] == pytest.approx(1 - pairs)
    # The middle of the surest tile is yellower than that of the least sure one.
    with Image.open(tmp_path / "h.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    yellow = []
    for i in (table["p_tumour"].idxmax(), table["p_tumour"].idxmin()):
        x, y = ((table.loc[i, axis] + table.loc[i, "side"] / 2) / 2 for axis in "xy")
        patch = pixels[int(y) - 6 : int(y) + 6, int(x) - 6 : int(x) + 6]
        yellow.append(float((patch[..., 1] - patch[..., 2]).mean()))
    assert yellow[0] > yellow[1] + 20


def test_other_thresholds_strides_and_scores_are_taken(work: Path, tmp_path: Path) -> None:
    slide = work / "slides" / "phantom-0002.tif"
    made = draw_heatmap(
        slide, tmp_path / "h.jpg", run=[work / "run"], score="ssim", stride=16, min_tissue=0.9, side=300,
        annotations=work / "slides", label_threshold=0.9, limits=[0.0, 1.0], workers=1,
    )  # fmt: skip
    table = pd.read_parquet(tmp_path / "h.parquet")
    assert np.diff(np.unique(table["x"])).min() == 32  # 16 px of tiles, 32 of level 0.
    assert table["tissue"].min() >= 0.9
    assert made.facts["auroc"][0]["tiles"] == (table["coverage_tumour"] >= 0.9).sum()
    assert made.facts["shown"] == "ssim"


def test_a_slide_that_was_trained_on_is_told(work: Path, tmp_path: Path) -> None:
    slide = slide_of(work / "tiles", "train")
    made = draw_heatmap(work / "slides" / f"{slide}.tif", tmp_path / "h.png", run=[work / "run"], workers=1)
    assert [remark.code for remark in made.remarks] == ["slide-trained-on"]


def test_tiles_get_the_stain_the_run_was_trained_on(work: Path, tmp_path: Path) -> None:
    even = normalise_stain(work / "tiles", tmp_path / "even").dataset
    train_autoencoder(even.path, tmp_path / "run", test=True, **TINY)
    slide = slide_of(even.path, "test")
    expected = errors_of(even.path, tmp_path / "run", slide).sort_values(["row", "col"])["mse"]
    path = work / "slides" / f"{slide}.tif"
    made = draw_heatmap(path, tmp_path / "h.png", run=[tmp_path / "run"], workers=1)
    np.testing.assert_allclose(pd.read_parquet(tmp_path / "h.parquet")["mse"], expected, rtol=1e-4)
    assert made.facts["stain"] == f"macenko, as measured of the Dataset's slide {slide}"
    bare = draw_heatmap(path, tmp_path / "bare.png", run=[tmp_path / "run"], workers=1, stain=False)
    found = pd.read_parquet(tmp_path / "bare.parquet")["mse"]
    assert np.abs(found / expected.to_numpy() - 1).median() > 0.01
    assert [remark.code for remark in bare.remarks] == ["stain-differs"]


def test_places_that_cannot_be_decoded_are_left_out_and_listed(work: Path, tmp_path: Path) -> None:
    import tifffile

    whole = work / "slides" / "phantom-0000.tif"
    content = bytearray(whole.read_bytes())
    with tifffile.TiffFile(whole) as tiff:
        level = tiff.series[0].levels[1].pages[0]
        place = len(level.dataoffsets) // 2
        start, length = level.dataoffsets[place], level.databytecounts[place]
    content[start : start + length] = bytes(length)
    (tmp_path / "broken.tif").write_bytes(content)
    made = draw_heatmap(tmp_path / "broken.tif", tmp_path / "h.png", run=[work / "run"], workers=1)
    draw_heatmap(whole, tmp_path / "whole.png", run=[work / "run"], workers=1)
    broken, sound = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("h", "whole"))
    lost = broken["left_out"].notna()
    assert 0 < lost.sum() == made.facts["left_out"] < len(broken)
    assert broken["mse"].isna().equals(lost)
    both = broken[~lost].merge(sound, on=["row", "col"])
    np.testing.assert_allclose(both["mse_x"], both["mse_y"], rtol=1e-4)
    assert made.remarks[0].code == "tiles-left-out"
    assert "cannot be decoded" in made.remarks[0].values["reason"]


def test_a_run_on_images_that_are_no_tiles_needs_a_scale(work: Path, stripes, tmp_path: Path) -> None:
    train_autoencoder(stripes().path, tmp_path / "run", filters=[4], latent_features=2, batch=4, epochs=1)
    slide = work / "slides" / "phantom-0000.tif"
    with pytest.raises(InputError, match="give --mpp"):
        draw_heatmap(slide, tmp_path / "h.png", run=[tmp_path / "run"])
    assert not list(tmp_path.glob("h.*"))
    made = draw_heatmap(slide, tmp_path / "h.png", run=[tmp_path / "run"], level=2, workers=1)
    assert (made.facts["tile_px"], made.facts["level"]) == (16, 2)
    # The Dataset is there and knows no slides, so this one was not among them: nothing to remark.
    assert made.facts["in_parts"] is None


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"score": "sim"}, "did you mean 'ssim'"),
        ({"limits": [1.0, 0.0]}, "--range"),
        ({"limits": [1.0]}, "--range"),
        ({"side": 10}, "--side"),
        ({"workers": 0}, "--workers"),
        ({"mpp": 0.5, "level": 1}, "--mpp.*--level"),
        ({"mpp": 0.1}, "--mpp 0.1"),
        ({"min_tissue": 2.0}, "--min-tissue"),
        ({"annotations": Path("nowhere.xml")}, "nowhere.xml"),
        ({"run": [Path("nowhere")]}, "does not exist"),
        ({"run": None}, "Give --run"),
    ],
)
def test_bad_requests_leave_nothing(work: Path, tmp_path: Path, more: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        draw_heatmap(
            work / "slides" / "phantom-0000.tif",
            tmp_path / "out" / "h.png",
            **({"run": [work / "run"]} | more),
        )
    assert not (tmp_path / "out").exists()


def test_what_is_in_the_way_or_no_picture_is_refused(work: Path, tmp_path: Path) -> None:
    slide = work / "slides" / "phantom-0000.tif"
    with pytest.raises(InputError, match=r"must end in \.png"):
        draw_heatmap(slide, tmp_path / "h.tif", run=[work / "run"])
    (tmp_path / "h.parquet").write_bytes(b"mine")
    with pytest.raises(InputError, match="already exists"):
        draw_heatmap(slide, tmp_path / "h.png", run=[work / "run"])
    assert (tmp_path / "h.parquet").read_bytes() == b"mine"


def test_from_the_command_line(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide = str(work / "slides" / "phantom-0003.tif")
    words = ["slides", "heatmap", slide, str(tmp_path / "h.png"), "--run", str(work / "run")]
    words += ["--range", "0", "0.1", "--workers", "1", "--threads", "1", "--side", "300", "--quiet"]
    assert cli.run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shown"] == "mse"
    assert cli.run(words) == 2
    assert "already exists" in capsys.readouterr().err
