from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish.cli import run
from plenish.commands.slides import normalise_stain
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.phantom.patient import patient_of
from plenish.slides import stain

PARTS = ("train", "train", "train", "val", "test", "test")


def tile(slide: int, number: int, size: int = 32) -> np.ndarray:
    """Tissue that is the same on every slide, in the slide's own stain."""
    who = patient_of(1, slide)
    rng = np.random.default_rng(number)
    kind = rng.choice(3, (size, size), p=(0.4, 0.4, 0.2))
    h = np.where(kind != 1, rng.uniform(0.4, 1.3, (size, size)), 0) * who.strength_h
    e = np.where(kind != 0, rng.uniform(0.3, 0.9, (size, size)), 0) * who.strength_e
    return np.rint(255 * np.exp(-(h[..., None] * who.haematoxylin + e[..., None] * who.eosin))).astype(
        np.uint8
    )


def make(
    path: Path, column: str | None = "slide", glass: tuple[int, ...] = (), slides: int = 6,
    last: tuple[str, ...] = (), power: float = 1.0,
) -> Dataset:  # fmt: skip
    """A Dataset of slides; of the `last` one the tiles' parts, and stain outside train to a power."""
    writer = DatasetWriter(
        path, name="tiles", size=32, channels=3, config={}, licence="CC0",
        extra={"mpp": 0.5, "rejected": 7, "warnings": ["old"], "slides": [{"slide": "s0", "tiles": 99}]},
        labels=LabelSchema("categorical", ("a", "b")),
    )  # fmt: skip
    with writer:
        for slide in range(slides):
            pixels = np.stack([tile(slide, number) for number in range(5)])
            if slide in glass:
                pixels[:] = 250
            parts = last if last and slide == slides - 1 else (PARTS[slide],) * 5
            if parts is last:
                out = np.array([part != "train" for part in parts])
                pixels[out] = np.rint(255 * (pixels[out] / 255) ** power)
            rows: list[dict[str, Any]] = [
                {
                    "id": f"{slide}-{number}", "label": "ab"[number % 2],
                    "group": f"p{slide}" + (f" {parts[number]}" if parts is last else ""),
                    "part": parts[number], "tissue": None if number == 3 else 0.5, "row": number,
                }
                for number in range(5)
            ]  # fmt: skip
            writer.add(pixels, [row | ({column: f"s{slide}"} if column else {}) for row in rows])
    return writer.dataset


def spread(dataset: Dataset) -> float:
    """How far the same tissue differs between slides: mean over pixels of the standard deviation."""
    pixels = dataset.pixels.read(np.arange(len(dataset))).reshape(6, 5, 32, 32, 3).astype(np.float64)
    return float(pixels.std(axis=0).mean())


@pytest.mark.parametrize(("method", "times"), [("macenko", 2.5), ("reinhard", 1.5)])
def test_slides_become_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, times: float
) -> None:
    monkeypatch.setattr("plenish.slides.normalise._NAMED", 2)  # Slides are all kept.
    data = make(tmp_path / "data")
    done = normalise_stain(tmp_path / "data", tmp_path / "out", method=method)
    assert spread(done.dataset) < spread(data) / times
    assert done.dataset.table.drop(columns="sha256").equals(data.table.drop(columns="sha256"))
    assert done.dataset.split("default").hash == data.split("default").hash
    about = done.dataset.manifest.extra
    assert about["mpp"] == 0.5
    assert not {"rejected", "warnings", "slides"} & set(about)  # They are of the tiling.
    assert about["stain"]["method"] == method
    assert about["stain"]["split_hash"] == data.split("default").hash
    assert set(about["stain"]["sources"]) == {f"s{k}" for k in range(6)}
    assert about["stain"]["sources_fitted"] == 3
    assert done.remarks == ()
    assert data.test_reads() == 1


def test_only_the_train_part_decides_the_target(tmp_path: Path) -> None:
    make(tmp_path / "data")
    found = normalise_stain(tmp_path / "data", tmp_path / "out").stain["target"]
    # The same train slides alone, with other slides in val and test.
    make(tmp_path / "fewer", slides=4)
    assert normalise_stain(tmp_path / "fewer", tmp_path / "out2").stain["target"] == found
    fits = [stain.fit_macenko(np.stack([tile(slide, k) for k in range(5)])) for slide in range(3)]
    expected = stain.average(fits)
    assert isinstance(expected, stain.Macenko)
    assert found["haematoxylin"] == pytest.approx(expected.haematoxylin, abs=0.02)


@pytest.mark.parametrize(("method", "perturb"), [("macenko", 0.0), ("reinhard", 0.2)])
def test_of_a_slide_in_several_parts_only_the_train_tiles_decide(
    tmp_path: Path, method: Any, perturb: float
) -> None:
    found = []
    for power in (1.0, 2.0):  # Tiles in val and test of the same slide get another stain.
        data, out = tmp_path / f"data{power}", tmp_path / f"out{power}"
        make(data, last=("train", "train", "val", "test", "test"), power=power)
        done = normalise_stain(data, out, method=method, perturb=perturb)
        assert done.stain["sources_fitted"] == 4
        train = done.dataset.split("default").rows("train")
        found.append((done.stain["target"], done.dataset.pixels.read(train[:15])))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize(("column", "per", "found"), [(None, "auto", "group"), (None, "tile", "tile")])
def test_a_stain_can_belong_to_a_group_or_a_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str | None, per: Any, found: str
) -> None:
    data = make(tmp_path / "data", column)
    monkeypatch.setattr("plenish.slides.normalise._NAMED", 4)
    done = normalise_stain(tmp_path / "data", tmp_path / "out", per=per)
    assert done.stain["per"] == found
    if found == "group":
        assert done.stain["sources_left_out"] == 2
        assert len(done.stain["sources"]) == 4
    assert spread(done.dataset) < spread(data) / 2
    with pytest.raises(InputError, match="--per"):
        normalise_stain(tmp_path / "data", tmp_path / "no", per="slide")


def test_what_cannot_be_measured_is_left_and_told(tmp_path: Path) -> None:
    data = make(tmp_path / "data", glass=(4,))
    done = normalise_stain(tmp_path / "data", tmp_path / "out")
    assert done.stain["unmeasured"] == ["s4"]
    assert done.remarks[0].code == "stain-unmeasured"
    rows = np.arange(20, 25)
    assert (done.dataset.pixels.read(rows) == data.pixels.read(rows)).all()


@pytest.mark.parametrize("method", ["none", "macenko", "reinhard"])
def test_variation_is_for_train_tiles_alone(tmp_path: Path, method: Any) -> None:
    make(tmp_path / "data")
    plain = make(tmp_path / "plain") if method == "none" else None
    if plain is None:
        plain = normalise_stain(tmp_path / "data", tmp_path / "still", method=method).dataset
    done = normalise_stain(tmp_path / "data", tmp_path / "out", method=method, perturb=0.3)
    rows = np.arange(30)
    changed = (done.dataset.pixels.read(rows) != plain.pixels.read(rows)).any(axis=(1, 2, 3))
    assert changed[:15].all()
    assert not changed[15:].any()
    again = normalise_stain(tmp_path / "data", tmp_path / "again", method=method, perturb=0.3)
    assert again.dataset.manifest.pixels_hash == done.dataset.manifest.pixels_hash
    other = normalise_stain(tmp_path / "data", tmp_path / "other", method=method, perturb=0.3, seed=1)
    assert other.dataset.manifest.pixels_hash != done.dataset.manifest.pixels_hash


def test_a_killed_run_ends_as_one_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "data")
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 8)
    whole = normalise_stain(tmp_path / "data", tmp_path / "whole", perturb=0.2)
    monkeypatch.setattr("plenish.slides.normalise._BATCH_BYTES", 3 * 32**2 * 4)
    add, seen = DatasetWriter.add, []

    def stop(self: DatasetWriter, pixels: Any, rows: Any) -> None:
        seen.append(len(rows))
        if sum(seen) > 20:
            raise KeyboardInterrupt
        add(self, pixels, rows)

    monkeypatch.setattr(DatasetWriter, "add", stop)
    with pytest.raises(KeyboardInterrupt):
        normalise_stain(tmp_path / "data", tmp_path / "out", perturb=0.2)
    monkeypatch.setattr(DatasetWriter, "add", add)
    again = normalise_stain(tmp_path / "data", tmp_path / "out", perturb=0.2)
    assert again.dataset.manifest.pixels_hash == whole.dataset.manifest.pixels_hash
    assert again.dataset.manifest.table_hash == whole.dataset.manifest.table_hash


def test_what_cannot_be_normalised_gets_one_sentence(
    tmp_path: Path, stripes: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data")
    stripes("grey", channels=1)
    stripes("unsplit", split=False)
    make(tmp_path / "glass", glass=(0, 1, 2))
    out = str(tmp_path / "out")
    for data, words, sentence in [
        ("data", ["--method", "none"], "Nothing would change"),
        ("data", ["--perturb", "2"], "--perturb"),
        ("data", ["--split", "other"], "Unknown split"),
        ("data", ["--method", "vahadane"], "one of"),
        ("grey", [], "need RGB"),
        ("unsplit", [], "no split yet"),
        ("glass", [], "no tile with stained tissue"),
    ]:
        assert run(["slides", "normalise", str(tmp_path / data), out, *words, "--quiet"]) == 2
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.partial").exists()
    assert run(["slides", "normalise", str(tmp_path / "data"), out, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stain"]["per"] == "slide"
    assert run(["slides", "normalise", out, str(tmp_path / "twice"), "--quiet"]) == 2
    assert "normalised already" in capsys.readouterr().err
