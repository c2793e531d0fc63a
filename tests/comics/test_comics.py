"""Comic pages: layout to the pixel, letters that fit, balloons that cover no faces, files that open."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from plenish import cli
from plenish.comics.cast import cut_out
from plenish.comics.layout import Box, page_size, place_panels, trim_box
from plenish.comics.lettering import Letters, in_lines, place_balloon
from plenish.comics.script import Lettering, Panel, Paper, Row, read_script
from plenish.commands.comic import make_comic
from plenish.commands.train_generator import train_generator
from plenish.datasets import detectors
from plenish.errors import InputError
from plenish.files import read_record
from plenish.yaml_reader import parse_yaml

SCRIPT = """
title: A <page> & more
page: {size: A6, dpi: 100, bleed: 3, margin: 6, gutter: 4}
characters:
  disc: {image: disc.png}
pages:
  - rows:
      - panels:
          - characters: [disc]
            caption: "In the morning."
            balloons: [{text: "Where is everybody gone?", by: disc}]
      - height: 2
        panels:
          - width: 2
            characters: [{name: disc, mirrored: true}]
            balloons: [{text: Away., kind: shout}, Ah.]
          - {background: "#cde6f5", balloons: [{text: "Hm…", kind: thought}]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A script with a figure: a red disc on white, with a white hole."""
    picture = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((12, 12, 52, 52), fill="red")
    draw.ellipse((28, 28, 36, 36), fill="white")
    picture.save(tmp_path / "disc.png")
    (tmp_path / "script.yaml").write_text(SCRIPT, encoding="utf-8")
    return tmp_path


def test_panels_share_a_page_to_the_pixel() -> None:
    paper = Paper(size="120x180", dpi=254, margin=10, gutter=5, bleed=3)  # 10 pixels a millimetre.
    assert page_size(paper) == (1260, 1860)
    assert trim_box(paper).corners == (30, 30, 1230, 1830)
    wide, narrow, below = Panel(width=3), Panel(width=1), Panel()
    rows = [Row(1, (wide, narrow)), Row(3, (below,))]
    boxes = {id(panel): box.corners for panel, box in place_panels(rows, paper)}
    # 1000 px across, 950 without the gutter; 1600 down, 1550 without it.
    assert boxes[id(wide)] == (130, 130, 130 + 712, 130 + 388)
    assert boxes[id(narrow)] == (130 + 712 + 50, 130, 1130, 130 + 388)
    assert boxes[id(below)] == (130, 130 + 388 + 50, 1130, 1730)

    manga = Paper(size="120x180", dpi=254, margin=10, gutter=5, bleed=3, reading="right-to-left")
    placed = place_panels(rows, manga)
    assert [id(panel) for panel, _ in placed] == [id(wide), id(narrow), id(below)], "the order of reading"
    assert placed[0][1].right == 1130


def test_words_are_broken_into_lines_that_fit() -> None:
    letters = Letters.of(Lettering(), Path())
    text = "one two three four five six seven"
    made = in_lines(text, letters, 20, 120)
    assert " ".join(made.lines) == text
    assert made.width <= 120 < letters.sized(20).getlength(text)
    long = in_lines("abcdefghijklmnopqrstuvwxyz", letters, 20, 60)
    assert "".join(long.lines) == "abcdefghijklmnopqrstuvwxyz"
    assert long.width <= 60
    balloon = place_balloon(
        "A friend?", "speech", letters, [24], (300, 300), taken=[], faces=[], figures=[], speaker=None,
        before=None, rightwards=True, where="here",
    )  # fmt: skip
    assert "".join(balloon.text.lines).replace(" ", "") == "Afriend?"
    assert all(line in "A friend?" and (line == "A" or line.endswith("?")) for line in balloon.text.lines)
    assert in_lines("W", letters, 20, 1).lines == ("W",)


@pytest.mark.parametrize("rightwards", [True, False])
def test_balloons_cover_neither_faces_nor_each_other_and_are_read_in_order(rightwards: bool) -> None:
    letters, panel = Letters.of(Lettering(), Path()), (600, 400)
    faces = [Box(80, 120, 220, 260), Box(380, 60, 520, 220)]
    taken: list[Box] = []
    for text, speaker in (("Good morning to you!", 0), ("And to you, too.", 1), ("Bye.", 0)):
        one = place_balloon(
            text, "speech", letters, [24, 20, 16], panel, taken=taken, faces=faces, figures=faces,
            speaker=faces[speaker], before=taken[-1] if taken else None, rightwards=rightwards, where="here",
        )  # fmt: skip
        assert not any(one.box.overlap(other) for other in (*faces, *taken))
        assert Box(0, 0, *panel).overlap(one.box) == one.box.width * one.box.height, "inside the panel"
        taken.append(one.box)
    first, second, _ = taken
    ahead = (second.left - first.left) * (1 if rightwards else -1)
    assert second.top >= first.bottom or ahead > 0


def test_a_figure_is_cut_out_and_keeps_its_own_white(folder: Path) -> None:
    alpha = np.asarray(cut_out(Image.open(folder / "disc.png").convert("RGBA")))[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[32, 16] == 255
    assert alpha[32, 32] == 255, "the hole is no part of the ground"
    bust = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(bust).rectangle((10, 24, 53, 63), fill="blue")
    ImageDraw.Draw(bust).point((5, 5), fill="yellow")
    alpha = np.asarray(cut_out(bust.convert("RGBA")))[..., 3]
    assert (alpha[60, 30], alpha[60, 2], alpha[5, 5]) == (255, 0, 0), "it may leave the picture; specks go"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).convert("RGBA")
    assert np.asarray(cut_out(noise))[..., 3].min() == 255, "there is no plain ground"


def test_a_page_as_png(folder: Path) -> None:
    summary = make_comic(folder / "script.yaml", folder / "page.png").summary()
    assert (summary["pages"], summary["panels"]) == (1, 3)
    with Image.open(folder / "page.png") as page:
        assert page.size == page_size(Paper(size="A6", dpi=100, bleed=3))
        assert page.info["Title"] == "A <page> & more"
        assert page.info["dpi"][0] == pytest.approx(100, abs=0.1)
        assert page.getpixel((2, 2)) == (255, 255, 255)
    panels = read_record(folder / "page.png.json")["pages"][0]["panels"]
    assert panels[0]["pictures"] == [{"name": "disc", "image": "disc.png"}]
    assert [text["kind"] for text in panels[1]["texts"]] == ["shout", "speech"]
    for panel in panels:
        for text in panel["texts"]:
            left, top, right, bottom = text["box"]
            assert 0 <= left < right <= panel["box"][2] - panel["box"][0]
            assert 0 <= top < bottom <= panel["box"][3] - panel["box"][1]
    with pytest.raises(InputError, match="already exists"):
        make_comic(folder / "script.yaml", folder / "page.png")


def test_a_comic_that_was_killed_leaves_no_comic_without_its_record(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, record = folder / "out.png", folder / "out.png.json"
    for name in ("write_comic", "files.write_record"):
        with monkeypatch.context() as patch:
            patch.setattr(f"plenish.comics.compose.{name}", _stop)
            with pytest.raises(KeyboardInterrupt):
                make_comic(folder / "script.yaml", out)
        assert not out.exists()
    assert record.exists()
    make_comic(folder / "script.yaml", out)
    assert read_record(record)["title"] == "A <page> & more"


def _stop(*words: object) -> None:
    raise KeyboardInterrupt


def test_a_file_that_is_no_record_is_not_replaced(folder: Path) -> None:
    (folder / "out.png.json").write_text('{"kind": "comic"}')
    with pytest.raises(InputError, match=r"out\.png\.json already exists"):
        make_comic(folder / "script.yaml", folder / "out.png")
    assert not (folder / "out.png").exists()
    assert (folder / "out.png.json").read_text() == '{"kind": "comic"}'


def test_a_page_of_too_many_pixels_is_refused(folder: Path) -> None:
    script = SCRIPT.replace("size: A6, dpi: 100", "size: 1000x1000, dpi: 1200")
    (folder / "script.yaml").write_text(script, encoding="utf-8")
    with pytest.raises(InputError, match="2,232 million pixels"):
        make_comic(folder / "script.yaml", folder / "out.png")


def test_several_pages_as_pdf_and_as_archive(folder: Path) -> None:
    content = SCRIPT + SCRIPT[SCRIPT.index("  - rows") :]
    (folder / "two.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="A PNG holds one page"):
        make_comic(folder / "two.yaml", folder / "two.png")
    make_comic(folder / "two.yaml", folder / "second.png", only=2)
    make_comic(folder / "two.yaml", folder / "two.pdf")
    make_comic(folder / "two.yaml", folder / "two.cbz")
    pdf = (folder / "two.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/TrimBox") == 2
    edge = 12 / 100 * 72  # 3 mm are 12 pixels.
    assert f"/TrimBox [ {edge:g} {edge:g}".encode() in pdf
    with zipfile.ZipFile(folder / "two.cbz") as archive:
        assert archive.namelist() == ["ComicInfo.xml", "page-001.png", "page-002.png"]
        assert b"<Title>A &lt;page&gt; &amp; more</Title>" in archive.read("ComicInfo.xml")
        page = np.asarray(Image.open(io.BytesIO(archive.read("page-002.png"))))
    np.testing.assert_array_equal(page, np.asarray(Image.open(folder / "second.png")))


def test_faces_that_a_detector_finds_stay_visible(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_the_middle(pixels: np.ndarray) -> list[tuple[float, ...]]:
        height, width = pixels.shape[:2]
        return [(0, 0.55 * height, width, height, 1.0)]

    monkeypatch.setattr(detectors, "load", lambda name: all_of_the_middle)
    (folder / "script.yaml").write_text(SCRIPT.replace("size: A6", "size: A5"), encoding="utf-8")
    make_comic(folder / "script.yaml", folder / "page.png", detector="fake")
    panels = read_record(folder / "page.png.json")["pages"][0]["panels"]
    boxes = [(Box(*text["box"]), Box(*panel["faces"][0])) for panel in panels for text in panel["texts"]]
    assert boxes
    assert not any(box.overlap(face) for box, face in boxes)


def test_a_character_keeps_its_latent(stripes: Any, tmp_path: Path) -> None:
    options = ["network.width=4", "network.max_width=8", "network.z_dim=8"]
    run = train_generator(stripes(size=16).path, tmp_path / "run", recipe="dcgan-small", kimg=0.01, batch=4,
                          validation=False, options=options)  # fmt: skip
    script = {
        "page": {"size": "A6", "dpi": 72},
        "characters": {"a": {"generator": "run", "label": "class1", "seed": 4}},
        "pages": [{"rows": [{"panels": [{"characters": ["a"]}, {"characters": ["a"]},
                                        {"characters": [{"name": "a", "label": "class0"}]}]}]}],
    }  # fmt: skip
    (tmp_path / "script.yaml").write_text(json.dumps(script))
    make_comic(tmp_path / "script.yaml", tmp_path / "page.png")
    panels = read_record(tmp_path / "page.png.json")["pages"][0]["panels"]
    page = np.asarray(Image.open(tmp_path / "page.png"))
    left, top, right, bottom = panels[0]["box"]
    width, height = right - left - 4, bottom - top - 4  # Without borders, and a pixel of rounding.
    first, second, third = (
        page[panel["box"][1] + 2 :, panel["box"][0] + 2 :][:height, :width].astype(int) for panel in panels
    )
    assert np.abs(first - second).mean() < 2.0
    assert third.shape == first.shape
    picture = panels[0]["pictures"][0]
    assert (picture["seed"], picture["label"]) == (4, "class1")
    assert picture["generator"]["run_id"] == run.id  # type: ignore[union-attr]
    assert panels[1]["pictures"][0] == picture
    assert panels[2]["pictures"][0] == picture | {"label": "class0"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "titel:", "did you mean 'title'"),
        ("size: A6", "size: A7", "page.size is one of A6"),
        ("dpi: 100", "dpi: 7", "page.dpi must be at least 36"),
        ("margin: 6", "margin: 60", "leaves no room"),
        ("characters: [disc]", "characters: [disk]", "did you mean 'disc'"),
        ("by: disc", "by: nobody", "Unknown character of this panel"),
        ("kind: shout", "kind: cry", "pages[0].rows[1].panels[0].balloons[0].kind"),
        ("text: Away.", "text: ' '", "balloons[0].text is empty"),
        ("height: 2", "height: -2", "pages[0].rows[1].height must be a number above 0"),
        ("mirrored: true", "concepts: {smile: 1}", "a picture file, which has neither concepts"),
        ('"#cde6f5"', "sky", "must be a colour"),
        ("image: disc.png", "image: gone.png", "gone.png cannot be used: the file does not exist"),
        ("image: disc.png", "generator: gone", "does not exist"),
        ("image: disc.png", "seed: 3", "needs either 'generator', a Run, or 'image'"),
        ("Where is everybody gone?", "word " * 400, "finds no room in its panel"),
        ("Hm…", "\u65e5\u672c", "has no \u65e5 \u672c; give lettering.font"),
        ("characters:\n", "lettering: {font: disc.png}\ncharacters:\n", "no TrueType or OpenType font"),
        ("pages:", "pages: []\nx:", "Unknown entry"),
    ],
)
def test_bad_scripts(folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    (folder / "bad.yaml").write_text(SCRIPT.replace(old, new, 1), encoding="utf-8")
    assert cli.run(["comic", str(folder / "bad.yaml"), str(folder / "page.png")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(folder.glob("page.png*"))


def test_other_bad_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = str(folder / "script.yaml")
    for words, said in (
        ([script, str(folder / "page.gif")], "must end in .png, .pdf, .cbz"),
        ([script, str(folder / "page.png"), "--only", "2"], "the script has 1 pages; the first is 1"),
        ([script, str(folder / "page.png"), "--detector", "none"], "Unknown detector"),
        ([str(folder / "gone.yaml"), str(folder / "page.png")], "cannot be read"),
    ):
        assert cli.run(["comic", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_script_is_read_with_its_defaults(folder: Path) -> None:
    script = read_script(folder / "script.yaml")
    assert script.page.reading == "left-to-right"
    assert script.pages[0][1].panels[0].balloons[1].text == "Ah."
    assert script.pages[0][0].height == 1.0
    assert script.folder == folder.resolve()


def test_the_script_of_the_documentation_is_yaml_with_the_texts_it_shows() -> None:
    page = (Path(__file__).parents[2] / "docs/comics.md").read_text(encoding="utf-8")
    script = parse_yaml(page.split("```yaml\n")[1].split("```")[0], "the example")
    texts = [
        balloon["text"]
        for row in script["pages"][0]["rows"]
        for panel in row["panels"]
        for balloon in panel.get("balloons", [])
    ]
    assert len(texts) == 4
    assert texts[0].endswith("?")
