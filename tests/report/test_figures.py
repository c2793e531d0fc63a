from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from plenish.report import chart_canvas, figures, pictures

SVG = "{http://www.w3.org/2000/svg}"


def test_thinning_keeps_extremes_and_the_mean() -> None:
    rng = np.random.default_rng(0)
    x, y = np.arange(1000.0), rng.normal(size=1000)
    mean_x, mean_y, low, high = figures.thin(x, y, points=50)
    assert len(mean_x) == 50
    assert low.min() == y.min()
    assert high.max() == y.max()
    assert mean_y.mean() == pytest.approx(y.mean())
    assert figures.thin([1.0, np.nan, 2.0], [np.nan, 1.0, 3.0])[1].tolist() == [3.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.84213, "0.842"),
        (1234.5, "1,234"),
        (-0.0221, "−0.0221"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        (3e-7, "3.00e−07"),
    ],
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert figures.number(value) == text


def test_shorten_keeps_both_ends() -> None:
    short = chart_canvas.shorten("adenocarcinoma of the sigmoid colon", 12)
    assert len(short) == 12
    assert short.startswith("adenoc")
    assert short.endswith("colon")
    assert chart_canvas.shorten("short", 12) == "short"


def test_charts_are_well_formed_themed_and_literal() -> None:
    rows = [
        {
            "label": "<b>$x$ & y",
            "value": 0.5,
            "low": 0.4,
            "high": 0.6,
            "points": [0.45, 0.55],
            "baseline": 0.7,
        },
        {"label": "no interval", "value": 0.3},
        {"label": "nothing", "value": None},
    ]
    chart = figures.intervals("score", rows, x_label="100 %_$")
    root = ET.fromstring(chart.svg)
    texts = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert "<b>$x$ & y" in texts
    assert "100 %_$" in texts
    assert not re.search(r"#010a0[0-9a-b]", chart.svg), "a sentinel colour was left in"
    assert "var(--synthetic, #d55e00)" in chart.svg
    assert "0.500 (0.400 to 0.600)" in chart.alt


def test_a_forest_plots_intervals_where_they_are() -> None:
    """The drawn interval is proportional to the data: [0, 1] and [0, 2] from the same start."""
    rows = [{"label": f"r{i}", "value": 1.0, "low": 0.0, "high": float(i)} for i in (1, 2)]
    svg = figures.intervals("t", rows).svg
    spans = [
        (float(a), float(b))
        for a, b in re.findall(
            r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n"[^>]*stroke: var\(--synthetic', svg
        )
    ]
    assert len(spans) == 2
    assert spans[0][0] == spans[1][0]
    assert spans[1][1] - spans[1][0] == pytest.approx(2 * (spans[0][1] - spans[0][0]), rel=1e-4)


def test_histogram_and_curves_of_little_or_nothing() -> None:
    figures.histogram("h", [0, 1, 2], {"a": [0, 0], "b": [1, 2]}, threshold=0.5)
    chart = figures.curves("c", {"one": ([1.0], [2.0]), "none": ([], [])})
    assert "one from 2.00 to 2.00" in chart.alt
    assert "none" not in chart.alt


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 3), (300, 3)])
def test_a_sheet_shows_each_image_in_its_place(size: int, channels: int) -> None:
    import base64
    import io

    from PIL import Image

    levels = np.array([0, 60, 120, 180, 240], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (5, size, size, channels)).copy()
    picture = pictures.sheet(images, "five", columns=3)
    with Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))) as opened:
        pixels = np.asarray(opened.convert("RGBA"))
    assert pixels.shape[:2] == (picture.height, picture.width)
    side = (picture.width + pictures.GAP) // 3
    centres = [pixels[(i // 3) * side + side // 2, (i % 3) * side + side // 2] for i in range(6)]
    assert [int(c[0]) for c in centres[:5]] == levels.tolist()
    assert [int(c[3]) for c in centres] == [255] * 5 + [0], "the missing sixth tile is transparent"


def test_large_pictures_are_kept_small() -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    assert len(pictures.address(Image.fromarray(noise), budget=200_000)) < 300_000


def test_choice_is_by_seed_and_picking_is_even() -> None:
    rows = np.arange(100)
    assert pictures.choose(rows, 9, 0).tolist() == pictures.choose(rows, 9, 0).tolist()
    assert pictures.choose(rows, 9, 0).tolist() != pictures.choose(rows, 9, 1).tolist()
    assert len(set(pictures.choose(rows, 9, 0).tolist())) == 9
    assert pictures.pick(11, 3) == [0, 5, 10]
    assert pictures.pick(2, 3) == [0, 1]


def test_shares_have_an_axis_in_percent_and_their_differences_one_in_points() -> None:
    rows = [{"label": "a", "value": 0.7, "low": 0.6, "high": 0.8}]
    assert ">70 %<" in figures.intervals("t", rows, shares=True, limits=(0.6, 0.8)).svg
    changes = [{"label": "a", "value": 0.0, "low": -0.1, "high": 0.1}]
    found = figures.intervals("t", changes, shares=True, zero=True).svg
    assert ">+10<" in found
    assert ">−10<" in found
