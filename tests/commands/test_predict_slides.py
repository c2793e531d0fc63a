"""`plenish predict` on whole slides: tiles as in training, answers for slides, maps, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from plenish import settings
from plenish.commands.predict import predict
from plenish.commands.slides import make_slides, tile_slides
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.split import split_dataset
from plenish.errors import InputError
from plenish.metrics import predict_slides
from plenish.metrics.calibration import calibrated

CLASSES = ("normal", "tumour")


@pytest.fixture(autouse=True)
def quietly() -> None:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides, their tiles and a classifier of these; no test changes any of it."""
    home = tmp_path_factory.mktemp("slides")
    with settings.use(quiet=True, threads=1, precision="float32"):
        make_slides(home / "slides", slides=4, width=896, height=704, seed=2)
        tile_slides(
            home / "slides", home / "tiles", size=32, mpp=1.0, annotations=home / "slides", workers=1,
            min_tissue=0.4,
        )  # fmt: skip
        split_dataset(home / "tiles")
        train_classifier_run(
            home / "tiles", home / "run", steps=30, batch=32, balanced=True, test=True, evaluations=1
        )
    return home


def _of(home: Path, part: str) -> str:
    """The name of a slide in a part."""
    split = pd.read_parquet(home / "tiles" / "splits" / "default.parquet").query("part == @part")
    table = pd.read_parquet(home / "tiles" / "samples.parquet").set_index("id")
    return str(table.loc[split["id"].iloc[0], "slide"])


def test_tiles_are_classified_as_in_training_and_put_together(home: Path, tmp_path: Path) -> None:
    name = _of(home, "test")
    path = home / "slides" / f"{name}.tif"
    made = predict(
        [home / "run", path], out=tmp_path / "out", coverage=0.8, report=True, workers=1, side=300
    ).content
    tiles = pd.read_csv(tmp_path / "out" / "tiles" / f"{name}.csv")
    samples = pd.read_parquet(home / "tiles" / "samples.parquet").query("slide == @name")
    kept = pd.read_parquet(home / "run" / "predictions.parquet").merge(samples, on="id")
    expected = kept.sort_values(["row", "col"])
    assert len(tiles) == len(expected) > 50
    for column in ("row", "col", "x", "y", "side", "mpp"):
        np.testing.assert_array_equal(tiles[column], expected[column])
    np.testing.assert_allclose(tiles["p_tumour"], expected["p_tumour"], rtol=1e-4, atol=1e-6)
    sure = calibrated(tiles[[f"p_{one}" for one in CLASSES]].to_numpy(), made["runs"][0]["temperature"])
    np.testing.assert_allclose(tiles[[f"calibrated_{one}" for one in CLASSES]], sure, atol=1e-9)
    one = made["slides"][0]
    np.testing.assert_allclose([one["mean"][name] for name in CLASSES], sure.mean(axis=0), atol=1e-9)
    assert one["predicted"] == CLASSES[int(sure.mean(axis=0).argmax())]
    left = sure.max(axis=1) < made["abstention"]["threshold"]
    assert one["abstained_share"] == pytest.approx(left.mean())
    for k, label in enumerate(CLASSES):
        assert one["share"][label] == pytest.approx((~left & (sure.argmax(axis=1) == k)).mean())
    assert sum(one["share"].values()) + one["abstained_share"] == pytest.approx(1)
    assert one["remarks"] == []
    row = pd.read_csv(tmp_path / "out" / "predictions.csv").iloc[0]
    assert row["mean_tumour"] == pytest.approx(one["mean"]["tumour"])
    # The surest tile of each class is yellower on the map of its class than on that of the other.
    for k, label in enumerate(CLASSES):
        best = tiles.loc[tiles[f"calibrated_{label}"].idxmax()]
        x, y = (int((best[axis] + best["side"] / 2) * 300 / 896) for axis in "xy")
        shown = []
        for map_of in (label, CLASSES[1 - k]):
            with Image.open(tmp_path / "out" / one["heatmaps"][map_of]) as picture:
                patch = np.asarray(picture.convert("RGB")).astype(int)[y - 3 : y + 3, x - 3 : x + 3]
            shown.append(float((patch[..., 1] - patch[..., 2]).mean()))
        assert shown[0] > shown[1] + 20
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "left to a person" in page
    assert f"{name}: tumour" in page


def test_a_folder_goes_on_where_it_was_and_names_what_it_leaves_out(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    train, test = (_of(home, part) for part in ("train", "test"))
    for name in (train, test):
        (folder / f"{name}.tif").symlink_to(home / "slides" / f"{name}.tif")
    (folder / "broken.svs").write_bytes(b"no slide")
    Image.new("RGB", (40, 40)).save(folder / "plain.tif")
    bare = np.full((320, 320, 3), 240, np.uint8)
    tifffile.imwrite(
        folder / "bare.tif", bare, tile=(256, 256), photometric="rgb", resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )  # fmt: skip
    score, calls = predict_slides.score_tiles, []

    def stopping(scorer, entry, *rest):
        calls.append(entry.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(scorer, entry, *rest)

    monkeypatch.setattr(predict_slides, "score_tiles", stopping)
    options = {"out": tmp_path / "out", "workers": 1, "side": 300, "table": "parquet"}
    with pytest.raises(KeyboardInterrupt):
        predict([home / "run", folder], **options)
    assert not (tmp_path / "out").exists()
    made = predict([home / "run", folder], **options)
    order = sorted((train, test))
    assert calls == [order[0], order[1], order[1]]
    assert [one["slide"] for one in made.content["slides"]] == order
    assert [Path(row["source"]).name for row in made.content["rejected"]] == ["bare.tif", "broken.svs"]
    assert not [path for path in tmp_path.iterdir() if "no-tissue" in path.name]
    with pytest.raises(InputError, match=r"out2\.no-tissue\.bare\.png"):  # By itself a picture shows why.
        predict([home / "run", folder / "bare.tif"], out=tmp_path / "out2", workers=1)
    assert (tmp_path / "out2.no-tissue.bare.png").is_file()
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".") == [
        "heatmaps", "predictions.json", "predictions.parquet", "tiles",
    ]  # fmt: skip
    remarks = {one["slide"]: [row["code"] for row in one["remarks"]] for one in made.content["slides"]}
    assert remarks == {train: ["slide-trained-on"], test: []}
    assert made.summary()["tiles"] == sum(one["tiles"] for one in made.content["slides"])


def test_options_of_measuring_are_refused(home: Path, tmp_path: Path) -> None:
    for option in ({"level": 0.9}, {"resamples": 200}, {"seed": 1}):
        with pytest.raises(InputError, match=f"--{next(iter(option))} is not for slides"):
            predict([home / "run", home / "slides"], out=tmp_path / "out", **option)


def test_a_run_on_images_that_are_no_tiles_needs_a_scale(home: Path, stripes, tmp_path: Path) -> None:
    train_classifier_run(stripes(n=80).path, tmp_path / "run", steps=4, batch=8, evaluations=1)
    slide = home / "slides" / "phantom-0000.tif"
    with pytest.raises(InputError, match=r"give --mpp.*--tile-level"):
        predict([tmp_path / "run", slide], out=tmp_path / "out")
    made = predict([tmp_path / "run", slide], out=tmp_path / "out", tile_level=2, workers=1, side=300)
    assert (made.content["slides"][0]["tile_px"], made.content["slides"][0]["level"]) == (16, 2)


def test_bad_requests_leave_nothing(home: Path, tmp_path: Path) -> None:
    slide = home / "slides" / "phantom-0000.tif"
    (tmp_path / "broken.svs").write_bytes(b"no slide")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.tif")
    for paths, options, named in (
        ([slide], {"explain": True}, "--explain"), ([slide], {"part": "test"}, "--part"),
        ([slide], {"mpp": 1.0, "tile_level": 0}, "--tile-level"), ([slide], {"mpp": 0.01}, "--mpp"),
        ([slide, tmp_path / "plain.tif"], {}, "plain.tif"), ([tmp_path / "broken.svs"], {}, "broken.svs"),
        ([slide], {"workers": 0}, "--workers"), ([tmp_path / "none.svs"], {}, "none.svs"),
        ([home / "tiles"], {"part": "test", "side": 300}, "--side"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=named):
            predict([home / "run", *paths], out=tmp_path / "out", **options)
        assert not list(tmp_path.glob("out*"))
