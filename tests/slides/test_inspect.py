from __future__ import annotations

import json
from pathlib import Path

from plenish.cli import run

from .conftest import cut_off


def test_slides_are_shown_with_levels_and_scale(make_slide, capsys) -> None:
    assert run(["slides", "inspect", str(make_slide()), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["format"]) == (512, 384, "generic-tiff")
    assert [level["downsample"] for level in found["levels"]] == [1, 2, 4]
    assert [level["mpp"] for level in found["levels"]] == [0.5, 1, 2]
    assert found["levels"][0]["file_tile"] == "64×64"


def test_several_words_are_several_slides_and_those_that_are_none_are_named(
    make_slide, tmp_path: Path, capsys
) -> None:
    one, two = make_slide("one.tif"), make_slide("two.tif", mpp=None)
    (tmp_path / "junk.svs").write_bytes(b"junk")
    assert (
        run(["slides", "inspect", str(one), "--quiet", str(two), str(tmp_path / "junk.svs"), "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)["slides"]
    assert [row["slide"] for row in rows] == ["one", "two", "junk"]
    assert rows[1]["mpp"] is None
    assert "junk.svs" in rows[2]["problem"]


def test_a_slide_is_shown_once_and_one_that_is_cut_off_says_so(make_slide, capsys) -> None:
    one, two = make_slide("one.tif"), make_slide("two.tif")
    cut_off(one, 1)
    assert run(["slides", "inspect", str(one), str(two.parent), str(two), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["slides"]
    assert [row["slide"] for row in rows] == ["one", "two"]
    assert "1 tile " in rows[0]["damage"]
    assert "damage" not in rows[1]


def test_when_none_is_a_slide_the_exit_code_says_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "junk.svs").write_bytes(b"junk")
    assert run(["slides", "inspect", str(tmp_path / "junk.svs")]) == 2
    assert "junk.svs" in capsys.readouterr().err
    assert run(["slides", "inspect"]) == 2
