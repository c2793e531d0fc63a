"""Explore, Blend and Edit in a real browser."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .test_browser import browser, opened, problems  # type: ignore[import-not-found]  # noqa: F401

PICTURE = """place => {
  const image = document.querySelector(place);
  if (!image || !image.complete || !image.naturalWidth) return "";
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
}"""
"""What an image shows, as text; empty while it loads, when it would still be drawn as it was before."""


def _shown(page: Any, place: str) -> str:
    """What an image shows as soon as it is loaded, as text."""
    return str(page.wait_for_function(f"place => ({PICTURE})(place)", arg=place).json_value())


def _changes(page: Any, place: str, act: Callable[[], None]) -> str:
    """Do something and wait until an image shows something else.

    That its address changes is not enough: a slider has the same picture made twice, while it moves and when
    it is let go.
    """
    before = _shown(page, place)
    act()
    other = f"([place, before]) => {{ const now = ({PICTURE})(place); return now === before ? '' : now; }}"
    return str(page.wait_for_function(other, arg=[place, before]).json_value())


def _comes_to_show(page: Any, place: str, picture: str) -> None:
    """Wait until an image shows this."""
    page.wait_for_function(f"([place, wanted]) => ({PICTURE})(place) === wanted", arg=[place, picture])


@pytest.fixture
def explored(opened: Callable[..., Any]) -> Any:  # noqa: F811
    page = opened("/?tab=explore")
    page.locator("#page-explore .seeds .cell").nth(23).wait_for()
    page.locator("#page-explore .image-part img[data-shown]").wait_for()
    return page


IMAGE = "#page-explore .image-part img"
EDITED = "#page-edit .both figure:nth-child(2) img"


def test_a_drag_on_the_pad_moves_the_image_and_the_commands_follow(explored: Any) -> None:
    page = explored
    middle = _shown(page, IMAGE)
    box = page.locator(".pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag() -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.4 * box["width"], y - 0.3 * box["height"], steps=4)
        page.mouse.up()

    assert _changes(page, IMAGE, drag) != middle
    valued = page.locator(".pad").get_attribute("aria-valuetext")
    assert valued == "right 0.80, up 0.60"
    page.locator("#page-explore details summary").click()
    page.get_by_text("plenish edit arithmetic").wait_for()
    assert problems(page) == []


@pytest.mark.slow
def test_everything_of_explore_works_with_the_keyboard(explored: Any) -> None:
    page = explored
    page.locator(".pad").focus()
    middle = _shown(page, IMAGE)
    assert _changes(page, IMAGE, lambda: page.keyboard.press("Shift+ArrowLeft")) != middle
    page.keyboard.press("f")
    page.locator("#page-explore").get_by_role("button", name="Favourite 1", exact=True).wait_for()
    _changes(page, IMAGE, lambda: page.keyboard.press("Home"))
    assert _shown(page, IMAGE) == middle
    seed = page.get_by_role("button", name="Seed 7", exact=True)
    seed.focus()
    assert _changes(page, IMAGE, lambda: page.keyboard.press("Enter")) != middle
    page.get_by_role("slider", name="Class: across → down").focus()
    _changes(page, IMAGE, lambda: page.keyboard.press("End"))
    with page.expect_download() as saved:
        page.locator("#page-explore").get_by_role("button", name="Download all").press("Enter")
    with zipfile.ZipFile(saved.value.path()) as files:
        assert "favourite-1/commands.txt" in files.namelist()
        assert np.load(io.BytesIO(files.read("favourite-1/latent-of-the-image.npy"))).shape == (1, 2)


@pytest.mark.slow
def test_favourites_are_blended_and_belong_to_one_user(explored: Any, opened: Callable[..., Any]) -> None:  # noqa: F811
    page = explored
    keep = page.locator("#page-explore").get_by_role("button", name="Keep")
    keep.click()
    _changes(page, IMAGE, page.get_by_role("button", name="Seed 7", exact=True).click)
    keep.click()
    page.locator("#page-explore .basket .thumb").nth(1).wait_for()
    page.get_by_role("tab", name="Blend").click()
    blend = page.locator("#page-blend")
    blend.get_by_role("button", name="Favourite 1", exact=True).press("Enter")
    blend.get_by_role("button", name="Favourite 2", exact=True).drag_to(blend.locator(".slot").nth(1))
    blend.locator(".result[data-blended]").wait_for()
    assert blend.locator(".strip .cell").count() == 8
    assert problems(page) == []
    with page.expect_download() as saved:
        blend.get_by_role("button", name="Download", exact=True).click()
    with zipfile.ZipFile(saved.value.path()) as files:
        film = Image.open(io.BytesIO(files.read("film.webp")))
        assert film.n_frames > 1  # Frames that are the same are stored once.
    blend.get_by_label("Blend", exact=True).select_option("4")
    for _ in range(2):
        blend.get_by_role("button", name="Random image").click()
        page.wait_for_timeout(100)
    blend.locator('.result[data-blended="2"]').wait_for()
    assert blend.locator(".strip .cell").count() == 49
    other = opened("/?tab=blend")
    other.get_by_text("Nothing here yet").nth(1).wait_for()


def test_an_edit_is_undone_linked_and_downloaded(opened: Callable[..., Any], tmp_path: Path) -> None:  # noqa: F811
    page = opened("/?tab=edit")
    page.locator(f"{EDITED}[data-shown]").wait_for()
    edit = page.locator("#page-edit")
    start = _shown(page, EDITED)
    flipped = _changes(page, EDITED, edit.get_by_role("button", name="Flip the class").click)
    assert flipped != start
    edit.get_by_role("slider", name="SeFa 1").focus()
    moved = _changes(page, EDITED, lambda: page.keyboard.press("End"))
    assert moved != flipped
    edit.get_by_text("plenish edit concept").wait_for(state="attached")
    link = page.evaluate("location.href")
    assert "#edit=" in link
    _changes(page, EDITED, lambda: page.keyboard.press("Control+z"))
    assert _shown(page, EDITED) == flipped
    _changes(page, EDITED, edit.get_by_role("button", name="Redo").click)
    assert _shown(page, EDITED) == moved
    assert edit.locator(".history li").count() == 3
    assert problems(page) == []
    with page.expect_download() as saved:
        edit.get_by_role("button", name="Latent (.npy)").click()
    assert np.load(saved.value.path()).shape == (1, 2)
    other = opened("/" + link.split("/", 3)[3])
    other.locator(f"{EDITED}[data-shown]").wait_for()
    other.locator("#page-edit .history").get_by_text("From a link").wait_for()
    _comes_to_show(other, EDITED, moved)
    broken = opened("/?tab=edit#edit=bm9wZQ")
    broken.locator("#page-edit .problem").get_by_text("cannot be read").wait_for()


@pytest.mark.slow
def test_pictures_are_added_and_subtracted_in_spanish_with_an_upload(
    opened: Callable[..., Any], # noqa: F811
    tmp_path: Path,
) -> None:  # fmt: skip
    page = opened("/?tab=edit", "es")
    page.locator(f"{EDITED}[data-shown]").wait_for()
    edit = page.locator("#page-edit")
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    _changes(page, EDITED, lambda: edit.locator("input[type=file]").set_input_files(tmp_path / "photo.png"))
    edit.get_by_text("error cuadrático medio").wait_for()
    edit.get_by_role("button", name="Guardar").click()
    edit.locator(".basket .thumb").wait_for()
    for i, chosen in enumerate(("1", "now", "1")):
        edit.get_by_label(f"Imagen {i + 1}", exact=True).select_option(chosen)
    edit.get_by_role("button", name="Calcular").press("Enter")
    edit.locator(".history").get_by_text("Ecuación").wait_for()
    edit.locator(".basket .thumb").drag_to(edit.locator(".target").nth(1))
    assert edit.get_by_label("Imagen 2", exact=True).input_value() == "1"
    assert problems(page) == []


@pytest.mark.slow
def test_a_counterfactual_turns_the_classifier_and_can_be_undone(opened: Callable[..., Any]) -> None:  # noqa: F811
    page = opened("/?tab=edit")
    page.locator(f"{EDITED}[data-shown]").wait_for()
    edit = page.locator("#page-edit")
    edit.get_by_label("Seed", exact=True).fill("0")
    start = _changes(page, EDITED, edit.get_by_role("button", name="Use this seed").click)
    part = edit.get_by_role("region", name="Counterfactual")
    part.get_by_label("Turn to").select_option("right")
    part.get_by_role("button", name="What it says now").click()
    before = part.get_by_text("left 0.")
    before.wait_for()
    assert float(before.inner_text().rpartition(" ")[2]) < 0.5
    turned = _changes(page, EDITED, part.get_by_role("button", name="Find it").click)
    assert turned != start
    said = part.get_by_text("right: probability").inner_text()
    first, last = (float(word) for word in said.replace(",", "").split() if word[:2] == "0.")
    assert first < 0.5 < last
    edit.locator(".history").get_by_text("Counterfactual: right").wait_for()
    edit.get_by_text("plenish edit counterfactual").wait_for(state="attached")
    assert problems(page) == []
    _changes(page, EDITED, lambda: page.keyboard.press("Control+z"))
    assert _shown(page, EDITED) == start
    part.get_by_label("Turn to").select_option("left")
    part.get_by_role("button", name="Find it").click()
    part.get_by_text("It is left already").wait_for()
    assert edit.locator(".history li").count() == 3
