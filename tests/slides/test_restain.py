"""Tiles of a slide get the stain of a normalised Dataset."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from plenish.errors import InputError
from plenish.slides.names import SlideEntry
from plenish.slides.normalise import restain_like
from plenish.slides.planning import plan_slide
from plenish.slides.reader import open_slide
from plenish.slides.stain import Macenko, fit, fit_macenko

from .conftest import tiling_config

TARGET = Macenko((0.6, 0.7, 0.39), (0.1, 0.95, 0.3), (1.2, 0.8))
OTHER = Macenko((0.55, 0.75, 0.37), (0.15, 0.93, 0.33), (0.7, 0.5))


def stained(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, (256, 320), p=(0.4, 0.4, 0.2))
    h = np.where(kind != 1, rng.uniform(0.2, 0.8, kind.shape), 0)
    e = np.where(kind != 0, rng.uniform(0.2, 0.6, kind.shape), 0)
    swallowed = h[..., None] * np.array(OTHER.haematoxylin) + e[..., None] * np.array(OTHER.eosin)
    pixels = np.full((320, 384, 3), 250, np.uint8)
    pixels[32:288, 32:352] = np.rint(255 * np.exp(-swallowed))
    return pixels


def facts(**more: object) -> dict:
    return {"method": "macenko", "per": "slide", "target": dataclasses.asdict(TARGET), "sources": {}} | more


def opened_plan(path: Path, min_tissue: float = 0.5):
    slide = open_slide(path)
    config = tiling_config(size=32, min_tissue=min_tissue)
    plan = plan_slide(slide, SlideEntry(path, slide.name), config, path.with_name("none.png"))
    return slide, plan


def tiles(slide, plan) -> np.ndarray:
    return np.stack([plan.grid.read(slide, int(r), int(c)) for r, c in zip(plan.rows, plan.columns)])


def test_an_unknown_slide_is_measured_and_comes_out_with_the_target(make_slide) -> None:
    slide, plan = opened_plan(make_slide(pixels=stained()))
    with slide:
        change = restain_like(facts(), slide, plan)
        assert change is not None
        before = tiles(slide, plan)
        kept = before.copy()
        after = fit_macenko(change(before))
    assert (before == kept).all()
    np.testing.assert_allclose(after.stains, TARGET.stains / norms(TARGET), atol=0.05)
    np.testing.assert_allclose(after.strengths, TARGET.strengths, rtol=0.1)


def norms(one: Macenko) -> np.ndarray:
    return np.linalg.norm(one.stains, axis=1, keepdims=True)


def test_a_slide_of_the_dataset_keeps_what_was_measured_then(make_slide) -> None:
    slide, plan = opened_plan(make_slide("TCGA-HZ-7926-01Z-00-DX1.ab12.tif", pixels=stained()))
    # Under the name that its tiles have, which is not the file's.
    known = facts(sources={"TCGA-HZ-7926-01Z-00-DX1": dataclasses.asdict(TARGET)})
    with slide:
        change = restain_like(known, slide, plan)
        assert change is not None
        before = tiles(slide, plan)[:4]
        # Its stains are said to be the target's already: nothing of what two stains explain changes.
        assert np.abs(change(before).astype(int) - before).mean() < 12
        measured = restain_like(facts(), slide, plan)
        assert measured is not None
        assert change.about.endswith("slide TCGA-HZ-7926-01Z-00-DX1")
        assert measured.about.endswith("measured on this slide")
        assert np.abs(measured(before).astype(int) - before).mean() > 20


def test_tile_by_tile_measures_each(make_slide) -> None:
    slide, plan = opened_plan(make_slide(pixels=stained()))
    with slide:
        change = restain_like(facts(per="tile"), slide, plan)
        assert change is not None
        assert change.source is None
        some = tiles(slide, plan)[:3]
    some[1] = 250  # Glass cannot be measured, and stays.
    done = change(some)
    assert (done[1] == 250).all()
    for i in (0, 2):
        np.testing.assert_allclose(fit(done[i], "macenko").strengths, TARGET.strengths, rtol=0.15)


def test_a_stain_left_as_it_was_is_left(make_slide) -> None:
    slide, plan = opened_plan(make_slide())
    with slide:
        assert restain_like({}, slide, plan) is None
        assert restain_like(facts(method="none"), slide, plan) is None


def test_what_cannot_be_measured_or_read_is_told(make_slide) -> None:
    flat = np.full((256, 256, 3), 250, np.uint8)
    flat[64:192, 64:192] = (180, 90, 160)
    slide, plan = opened_plan(make_slide(pixels=flat), min_tissue=0.0)
    with slide:
        with pytest.raises(InputError, match="--no-stain"):
            restain_like(facts(), slide, plan)
        with pytest.raises(InputError, match=r"dataset\.json"):
            restain_like({"method": "macenko"}, slide, plan)
