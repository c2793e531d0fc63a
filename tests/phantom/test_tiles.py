from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plenish.commands.datasets import make_phantom
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.phantom import layout as phantom_layout
from plenish.phantom.layout import tissue_of
from plenish.phantom.painting import paint
from plenish.phantom.patient import BEST_ACCURACY, FIELD_UM, Tissue, blob_distance, patient_of
from plenish.phantom.tiles import render_tile


@pytest.fixture(scope="module")
def tissues() -> list[Tissue]:
    patients = [patient_of(7, p) for p in range(50)]
    return [tissue_of(7, patient, p, t) for p, patient in enumerate(patients) for t in range(24)]


@pytest.mark.parametrize("count", [0, 1])
def test_a_tile_with_hardly_a_nucleus_is_painted(tissues: list[Tissue], count: int) -> None:
    tissue = tissues[0]
    few = phantom_layout._select(tissue.nuclei, np.arange(len(tissue.nuclei.xy)) < count)
    picture, measured = paint(replace(tissue, nuclei=few), patient_of(7, 0), 16, (7, 0, 0))
    assert picture.shape == (16, 16, 3)
    assert measured["cellularity"] <= 0.1 * count


def test_a_tile_depends_on_its_numbers_alone() -> None:
    first, truth = render_tile(3, 5, 2, 32)
    for other in [(3, 5, 3), (3, 6, 2), (4, 5, 2)]:
        assert (render_tile(*other, 32)[0] != first).any()
    again, truth_again = render_tile(3, 5, 2, 32)
    assert (again == first).all()
    assert truth_again == truth
    assert first.shape == (32, 32, 3)
    assert first.dtype == np.uint8


@pytest.mark.parametrize("size", [64, 48])
def test_a_larger_picture_shows_the_same_tissue_sharper(size: int) -> None:
    for tile in range(4):
        small, truth = render_tile(1, 2, tile, size)
        large, sharper = render_tile(1, 2, tile, 2 * size)
        reduced = large.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(small.ravel(), reduced.ravel())[0, 1] > 0.985
        assert np.abs(small.mean() - reduced.mean()) < 1.0
        exact = ("label", "group", "architecture", "atypia", "nuclei", "nuclear_area", "stain_hue_h")
        assert all(truth[key] == sharper[key] for key in exact)
        assert truth["lumen"] == pytest.approx(sharper["lumen"], abs=0.01)
        assert truth["cellularity"] == pytest.approx(sharper["cellularity"], abs=0.01)
        assert truth["mpp"] == pytest.approx(2 * sharper["mpp"])


def test_the_best_classifier_is_as_good_as_theory_says(tissues: list[Tissue]) -> None:
    right = np.mean([(t.atypia > 0.5) == bool(t.label) for t in tissues])
    # Five binomial standard errors of 1,200 tiles.
    assert right == pytest.approx(BEST_ACCURACY, abs=5 * (BEST_ACCURACY * (1 - BEST_ACCURACY) / 1200) ** 0.5)
    assert 0.9 < BEST_ACCURACY < 0.98


def test_tumour_has_larger_more_varied_nuclei_and_fewer_lumens(tissues: list[Tissue]) -> None:
    area, spread, lumens = ([[], []] for _ in range(3))
    for t in tissues:
        inside = t.nuclei.area[t.nuclei.inside]
        if len(inside) > 3:
            area[t.label].append(inside.mean())
            spread[t.label].append(inside.std() / inside.mean())
        lumens[t.label].append(bool(len(t.lumens.angle)))
    assert np.mean(area[1]) > 1.3 * np.mean(area[0])
    assert np.mean(spread[1]) > 1.2 * np.mean(spread[0])
    assert 0.1 < np.mean(lumens[1]) < np.mean(lumens[0]) < 0.7


def test_the_class_shows_through_the_atypia_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # Were the atypia the same for both classes, the other label would give the very same tissue.
    monkeypatch.setattr(phantom_layout, "ATYPIA_MEANS", (0.5, 0.5))
    for p in range(30):
        patient = patient_of(7, p)
        normal = tissue_of(7, replace(patient, tumour_share=0.0), p, 0)
        tumour = tissue_of(7, replace(patient, tumour_share=1.0), p, 0)
        assert (normal.label, tumour.label) == (0, 1)
        assert (normal.atypia, normal.architecture) == (tumour.atypia, tumour.architecture)
        assert (normal.nuclei.axes == tumour.nuclei.axes).all()
        pictures = [paint(tissue, patient, 16, (7, p, 0))[0] for tissue in (normal, tumour)]
        assert (pictures[0] == pictures[1]).all()


def test_no_nucleus_lies_in_a_lumen(tissues: list[Tissue]) -> None:
    checked = 0
    for t in tissues[:200]:
        if len(t.lumens.angle):
            assert blob_distance(t.lumens, t.nuclei.xy[:, 0], t.nuclei.xy[:, 1]).min() > 0
            checked += 1
    assert checked > 20


def test_pixels_agree_with_the_truth_columns() -> None:
    # One patient, one stain: what is dark is nuclei, and a lumen's share shows as a share of glass.
    made = [render_tile(0, 1, t, 64) for t in range(60)]
    kept = [(p.astype(float), t) for p, t in made if t["architecture"] != "adipose"]
    glass = patient_of(0, 1).light.mean()
    dark = [np.mean(p[..., 0] < 0.55 * glass) for p, _ in kept]
    assert np.corrcoef(dark, [t["cellularity"] for _, t in kept])[0, 1] > 0.7
    tubules = [(p, t) for p, t in kept if t["lumen"] > 0.03]
    assert len(tubules) >= 5
    for picture, truth in tubules:
        assert truth["has_lumen"]
        assert np.mean(picture.min(axis=2) > 0.6 * glass) > 0.6 * truth["lumen"]


def test_a_stronger_stain_gives_a_darker_picture() -> None:
    density, strength = [], []
    for p in range(20):
        made = [render_tile(2, p, t, 16) for t in range(6)]
        green = np.mean([picture[..., 1].mean() for picture, _ in made])
        density.append(-np.log(green / 245))
        strength.append(made[0][1]["stain_strength_e"] + made[0][1]["stain_strength_h"])
    assert np.corrcoef(density, strength)[0, 1] > 0.6


def test_every_patient_with_three_tiles_has_both_classes() -> None:
    for p in range(300):
        patient = patient_of(11, p)
        assert {patient.label_of(t) for t in range(3)} == {0, 1}


def test_the_dataset_says_that_it_is_a_phantom(tmp_path: Path) -> None:
    data = make_phantom(tmp_path / "p", patients=3, tiles=4, size=24, seed=5)
    assert isinstance(data, Dataset)
    assert len(data) == 12
    assert data.manifest.extra["phantom"] is True
    assert data.manifest.licence == "CC0-1.0"
    assert "not tissue" in data.manifest.intended_use
    assert data.table.groupby("group")["label"].nunique().tolist() == [2, 2, 2]
    picture, truth = render_tile(5, 1, 2, 24)
    assert (data.pixels.read(np.array([6]))[0] == picture).all()
    row = data.table.iloc[6]
    assert {key: row[key] for key in truth} == pytest.approx(truth)
    assert (data.table["nuclei_density"] * (FIELD_UM / 1000) ** 2).tolist() == pytest.approx(
        data.table["nuclei"].tolist()
    )


def test_one_patient_with_one_tile_is_enough(tmp_path: Path) -> None:
    assert len(make_phantom(tmp_path / "p", patients=1, tiles=1, size=16)) == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 8}, "--size"), ({"size": 4096}, "--size"), ({"patients": 0}, "--patients"),
        ({"tiles": -1}, "--tiles"), ({"seed": -3}, "seed"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, int], word: str) -> None:
    with pytest.raises(InputError, match=word):
        make_phantom(tmp_path / "p", **options)
    assert not list(tmp_path.iterdir())


def test_columns_that_can_be_seen_tell_the_class_but_not_perfectly(tissues: list[Tissue]) -> None:
    from sklearn.linear_model import LogisticRegression

    def seen(t: Tissue) -> list[float]:
        area = t.nuclei.area[t.nuclei.inside]
        size = area.mean() if len(area) else 25.0
        return [size, area.std() if len(area) else 0.0, len(area), area.sum(), len(t.lumens.angle)]

    x, y = np.array([seen(t) for t in tissues]), np.array([t.label for t in tissues])
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    train = np.arange(len(y)) < 840  # the first 35 of 50 patients
    right = LogisticRegression().fit(x[train], y[train]).score(x[~train], y[~train])
    assert 0.75 < right < 0.98


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 64])
def test_a_small_network_neither_fails_nor_is_perfect(size: int) -> None:
    import torch
    from torch import nn

    made = [render_tile(0, p, t, size) for p in range(40) for t in range(30)]
    x = torch.from_numpy(np.stack([p for p, _ in made])).permute(0, 3, 1, 2).float() / 127.5 - 1
    y = torch.tensor([t["label"] == "tumour" for _, t in made]).long()
    held_out = torch.arange(1200) >= 840
    torch.manual_seed(0)

    def block(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, 16), *block(16, 32), *block(32, 64), *block(64, 64)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2))
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=20 * 26)
    for _ in range(20):
        for rows in torch.randperm(840)[: 26 * 32].view(26, 32):
            batch = x[rows].flip(3) if torch.rand(1) < 0.5 else x[rows]
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(batch), y[rows]).backward()
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        right = (net(x[held_out]).argmax(1) == y[held_out]).float().mean().item()
    assert 0.78 < right < 0.97
