"""A slide's answer turned through its tiles: what is written agrees with itself and with `predict`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from plenish import settings
from plenish.commands.counterfactual import counterfactual
from plenish.commands.predict import predict
from plenish.commands.slides import make_slides, tile_slides
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.errors import InputError
from plenish.latent.counterfactual_options import CounterfactualOptions, SlideTurnOptions, ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.render import FilmOptions
from plenish.latent.space import LatentSpace
from plenish.report.slide_counterfactual_page import turned_with_page
from plenish.training.engine import Engine

DIM = 24


class _Components(nn.Module):
    """A sampler of tiles that is linear in z: their mean, and their principal components."""

    labels, channels, z_shape, stores_z = LabelSchema(), 3, (DIM,), True
    prior_name = "N(0, 1)"

    def __init__(self, tiles: np.ndarray) -> None:
        super().__init__()
        self.size = tiles.shape[1]
        flat = tiles.astype(np.float32).transpose(0, 3, 1, 2).reshape(len(tiles), -1) / 127.5 - 1
        self.mean = torch.from_numpy(flat.mean(0))
        _, spread, ways = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
        scale = spread[:DIM, None] / np.sqrt(len(tiles))
        self.ways = torch.from_numpy((scale * ways[:DIM]).astype(np.float32))

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, DIM, generator=rng)

    def sample(self, z: Tensor, y: Tensor | None, *, seed: int = 0) -> Tensor:
        return (self.mean + z @ self.ways).view(-1, 3, self.size, self.size)


@pytest.fixture(autouse=True)
def quietly() -> None:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slides, their tiles and two classifiers of these; no test changes any of it."""
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
                home / "tiles", home / f"run{seed}", steps=25, batch=32, balanced=True, evaluations=1,
                seed=seed,
            )  # fmt: skip
    return home


@pytest.fixture
def space(home: Path) -> LatentSpace:
    tiles = Dataset.open(home / "tiles")
    made = object.__new__(LatentSpace)
    made.network = _Components(tiles.part("train", purpose="select").images())  # type: ignore[assignment]
    made.options, made.engine = {}, Engine.from_settings("float32")
    run = SimpleNamespace(path=home / "gan", config={"data": tiles.provenance("default")}, status={})
    facts = {"run": "gan", "checkpoint": "last", "data": {}}
    made.loaded = SimpleNamespace(run=run, provenance=lambda: facts)  # type: ignore[assignment]
    return made


def turn(space: LatentSpace, home: Path, slide: Path, runs: list[Path], out: Path, **asked: Any) -> Any:
    how = CounterfactualOptions(asked.pop("to"), asked.pop("confidence", 0.8), steps=10, starts=1)
    return turned_with_page(
        space, [slide], runs, out, how, SlideTurnOptions(workers=1, side=200, **asked), PointOptions(),
        ToInvert(inversion_steps=24, encoder=False), FilmOptions(frames=2),
    )  # fmt: skip


def answered(runs: list[Path], slide: Path, out: Path) -> tuple[dict[str, Any], str]:
    """What `predict` says of a slide, and the other class."""
    said = predict([*runs, slide], out=out, workers=1, side=200).content["slides"][0]
    return said, next(name for name in ("normal", "tumour") if name != said["predicted"])


def test_what_is_written_agrees_with_itself_and_with_predict(
    home: Path, space: LatentSpace, tmp_path: Path
) -> None:
    slide, out = home / "slides" / "phantom-0000.tif", tmp_path / "out"
    runs = [home / "run0", home / "run1"]
    said, to = answered(runs, slide, tmp_path / "said")
    made = turn(space, home, slide, runs, out, to=to, tiles=12, turn="together", confidence=0.6)
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
    tried, turned = tiles["tried"], tiles["turned"]
    assert tried.sum() == about["tried"] == 12
    assert tiles.loc[tried, f"{to}_before"].max() <= tiles.loc[~tried, f"{to}_before"].min()
    assert turned.sum() == about["turned"] == result["turned"] == pixels["turned"].sum() > 0
    assert curve[f"mean_{to}"].iloc[-1] == pytest.approx(tiles[f"{to}_after"].mean())
    assert (tiles.loc[~turned, f"{to}_before"] == tiles.loc[~turned, f"{to}_after"]).all()
    assert (tiles.loc[turned, f"{to}_after"] >= 0.6).all()
    assert len(result["already"]) + len(pixels) == 12
    assert len(np.load(out / "latents.npy")) == 2 * len(pixels)
    codes = {row["code"] for row in about["limits"]}
    assert {"tiles-inverted", "inversions-move", "tiles-alone"} <= codes
    in_train = Dataset.open(home / "tiles").part("train", purpose="select").groups == "phantom-0000"
    assert ("generator-saw-slide" in codes) == bool(np.any(in_train))
    assert "What this cannot show" in (out / "report.html").read_text(encoding="utf-8")
    for name in ("heatmap-before.png", "heatmap-after.png", "slide-curve.png", "picture.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 50
    assert made.summary()["tiles_turned"] == about["turned"]


def test_one_by_one_stops_where_the_answer_turns(home: Path, space: LatentSpace, tmp_path: Path) -> None:
    slide, runs = home / "slides" / "phantom-0001.tif", [home / "run0"]
    said, to = answered(runs, slide, tmp_path / "said")
    about = turn(space, home, slide, runs, tmp_path / "out", to=to, tiles=1000).facts["result"]["slide"]
    assert about["answer_after"] == to
    assert about["turned"] == about["turned_with"] == len(about["curve"]) - 1
    assert about["least_tiles"] <= about["turned"]
    assert [row["turned"] for row in about["curve"]] == [False] * about["turned"] + [True]
    with pytest.raises(InputError, match="already"):
        turn(space, home, slide, runs, tmp_path / "no", to=said["predicted"])
    with pytest.raises(InputError, match=f"'{to}'"):
        turn(space, home, slide, runs, tmp_path / "no", to=f"{to}s")
    space.network.size = 64
    with pytest.raises(InputError, match="64 px"):
        turn(space, home, slide, runs, tmp_path / "no", to=to)
    with pytest.raises(InputError, match="4 slides"):
        turn(space, home, home / "slides", runs, tmp_path / "no", to=to)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"which": PointOptions(ids=["a"])}, "--ids"), ({"inversion": ToInvert("test")}, "--part")],
)
def test_options_of_images_are_refused(home: Path, space: LatentSpace, options: Any, said: str) -> None:
    asked = {"which": PointOptions(), "inversion": ToInvert(), "shown": FilmOptions()} | options
    slide, out = home / "slides" / "phantom-0000.tif", home / "no"
    with pytest.raises(InputError, match=said):
        turned_with_page(
            space,
            [slide],
            [home / "run0"],
            out,
            how=CounterfactualOptions(),
            turn=SlideTurnOptions(),
            **asked,
        )
    assert not out.exists()


def test_options_of_slides_are_refused_without_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--tiles"):
        counterfactual(tmp_path / "gan", tmp_path / "no", classifier=[tmp_path / "run"], tiles=3)
