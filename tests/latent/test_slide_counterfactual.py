"""A slide's answer turned through its tiles: what is written agrees with itself and with `predict`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import files, settings
from plenish.commands.counterfactual import counterfactual
from plenish.commands.predict import predict
from plenish.commands.score_edits import score_edits
from plenish.commands.slides import make_slides, tile_slides
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.datasets.split import split_dataset
from plenish.errors import InputError


@pytest.fixture(autouse=True)
def quietly() -> None:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides, two classifiers and a generator of their tiles; no test changes any of it."""
    home = tmp_path_factory.mktemp("slides")
    with settings.use(quiet=True, threads=1, precision="float32"):
        make_slides(home / "slides", slides=4, width=640, height=512, seed=2)
        tile_slides(
            home / "slides", home / "tiles", size=32, mpp=1.0, annotations=home / "slides", workers=1,
            min_tissue=0.4,
        )  # fmt: skip
        split_dataset(home / "tiles")
        for seed in (0, 1):
            train_classifier_run(
                home / "tiles",
                home / f"run{seed}",
                steps=25,
                batch=32,
                balanced=True,
                evaluations=1,
                seed=seed,
            )
        train_gan(home / "tiles", home / "gan", recipe="dcgan", kimg=0.1, batch=8, width=4, validation=False)
    return home


QUICK = {
    "inversion_steps": 16, "encoder": False, "frames": 2, "steps": 8, "starts": 1, "workers": 1, "side": 200,
}  # fmt: skip


def test_what_is_written_agrees_with_itself_and_with_predict(home: Path, tmp_path: Path) -> None:
    slide = sorted((home / "slides").glob("*.tif"))[0]
    runs = [home / "run0", home / "run1"]
    said = predict([*runs, slide], out=tmp_path / "said", workers=1, side=200).content["slides"][0]
    to = next(name for name in ("normal", "tumour") if name != said["predicted"])
    out = tmp_path / "out"
    made = counterfactual(
        home / "gan", out, images=[slide], classifier=runs, to=to, tiles=12, turn="together", confidence=0.55,
        **QUICK,
    )  # fmt: skip
    result = made.facts["result"]
    about, curve = result["slide"], pd.read_csv(out / "slide-curve.csv")
    assert about["answer"] == said["predicted"]
    assert about["mean"]["before"][to] == pytest.approx(said["mean"][to], abs=1e-5)
    tiles, pixels = pd.read_csv(out / "tiles.csv"), pd.read_csv(out / "changes.csv")
    theirs = pd.read_csv(tmp_path / "said" / "tiles" / f"{slide.stem}.csv")
    both = tiles.merge(theirs, on=["row", "col"])
    assert len(both) == len(theirs) == about["tiles"]
    np.testing.assert_allclose(both[f"{to}_before"], both[f"calibrated_{to}"], atol=1e-5)
    # The tiles that were tried are those of the least probability of the class asked for.
    tried = tiles["tried"]
    assert tried.sum() == about["tried"] == 12
    assert tiles.loc[tried, f"{to}_before"].max() <= tiles.loc[~tried, f"{to}_before"].min()
    assert tiles["turned"].sum() == about["turned"] == result["turned"] == pixels["turned"].sum() > 0
    assert curve[f"mean_{to}"].iloc[-1] == pytest.approx(tiles[f"{to}_after"].mean())
    assert (tiles.loc[~tiles["turned"], f"{to}_before"] == tiles.loc[~tiles["turned"], f"{to}_after"]).all()
    assert (tiles.loc[tiles["turned"], f"{to}_after"] >= 0.55).all()
    assert len(result["already"]) + len(pixels) == 12
    codes = {row["code"] for row in about["limits"]}
    assert {"tiles-inverted", "inversions-move", "tiles-alone", "generator-saw-slide"} <= codes
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What this cannot show" in page
    for name in ("heatmap-before.png", "heatmap-after.png", "slide-curve.png", "picture.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 50
    latents = np.load(out / "latents.npy")
    assert len(latents) == 2 * len(pixels)
    score_edits([out, tmp_path / "scores"], classifier=home / "run0", frames=2, cycle=False)


def test_one_by_one_stops_where_the_answer_turns(home: Path, tmp_path: Path) -> None:
    slide = sorted((home / "slides").glob("*.tif"))[1]
    dataset = Dataset.open(home / "tiles")
    known = predict([home / "run0", slide], out=tmp_path / "said", workers=1, side=200).content["slides"][0]
    to = next(name for name in ("normal", "tumour") if name != known["predicted"])
    how = QUICK | {"confidence": 0.9, "tiles": len(dataset)}
    made = counterfactual(
        home / "gan", tmp_path / "out", images=[slide], classifier=home / "run0", to=to, **how
    )
    about = made.facts["result"]["slide"]
    if about["turned_with"] is not None:
        assert about["answer_after"] == to
        assert about["turned"] == about["turned_with"] == len(about["curve"]) - 1
        assert not about["curve"][-2]["turned"]
    assert about["least_tiles"] <= len(dataset)
    with pytest.raises(InputError, match="already"):
        counterfactual(
            home / "gan", tmp_path / "no", images=[slide], classifier=home / "run0", to=known["predicted"],
            **QUICK,
        )  # fmt: skip
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "tumor"}, "'tumour'"),
        ({"ids": ["a"]}, "--ids"),
        ({"part": "test"}, "--part"),
        ({"seeds": [1]}, "--seeds"),
    ],
)
def test_what_does_not_fit_is_refused(home: Path, tmp_path: Path, options: dict, said: str) -> None:
    slide = sorted((home / "slides").glob("*.tif"))[0]
    with pytest.raises(InputError, match=said):
        counterfactual(
            home / "gan", tmp_path / "no", images=[slide], classifier=home / "run0", **(QUICK | options)
        )
    assert not (tmp_path / "no").exists()


def test_options_of_slides_and_several_slides_are_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--tiles"):
        counterfactual(home / "gan", tmp_path / "no", classifier=home / "run0", tiles=3)
    with pytest.raises(InputError, match="one at a time"):
        counterfactual(home / "gan", tmp_path / "no", images=[home / "slides"], classifier=home / "run0")
    assert files.read_json(home / "gan" / "config.json")["kind"] == "generator"
