"""The studio in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import csv
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plenish.datasets.dataset import Dataset
from plenish.metrics.reader_study import answers_of, readings

from .conftest import Served  # type: ignore[import-not-found]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
for module in ("playwright", "axe_playwright_python"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)
if CHROMIUM is None:
    pytest.skip("there is no chromium (apt-get install chromium)", allow_module_level=True)

TABS = {"en": ["Explore", "Blend", "Edit", "Data", "Runs", "Judge"],
        "es": ["Explorar", "Mezclar", "Editar", "Datos", "Runs", "Juzgar"]}  # fmt: skip


@pytest.fixture(scope="module")
def browser(served: Served) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Open a page; fail where it asks another server for something, or its script fails."""
    contexts, wrong = [], []

    def open_page(path: str = "/", language: str = "en", width: int = 1200, **how: Any) -> Any:
        viewport = {"width": width, "height": 900}
        context = browser.new_context(locale=language, viewport=viewport, reduced_motion="reduce", **how)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith((served.address, "data:", "blob:")) else wrong.append(r.url),
        )
        page.goto(served.address + path)
        page.get_by_role("tab").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def problems(page: Any) -> list[str]:
    """What axe-core finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:90]}" for v in found if v["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("language", "scheme"), [("en", "light"), pytest.param("es", "dark", marks=pytest.mark.slow)]
)
def test_every_page_is_there_and_accessible_at_a_phones_width(
    opened: Callable[..., Any], language: str, scheme: str
) -> None:
    page = opened("/", language, 390, color_scheme=scheme)
    assert page.evaluate("document.documentElement.lang") == language
    assert page.get_by_role("tab").all_inner_texts() == TABS[language]
    for tab in TABS[language]:
        page.get_by_role("tab", name=tab, exact=True).click()
        page.locator("h2:visible").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        if language == "en" or tab in ("Datos", "Juzgar"):
            assert problems(page) == []


@pytest.mark.slow
def test_the_language_is_switched_in_the_page_and_the_tab_stays(opened: Callable[..., Any]) -> None:
    page = opened("/?tab=judge")
    page.get_by_role("heading", name="Real or synthetic?").wait_for()
    page.get_by_role("link", name="Español").click()
    page.get_by_role("heading", name="¿Real o sintética?").wait_for()
    page.wait_for_function("document.documentElement.lang === 'es'")


@pytest.mark.slow
def test_data_are_browsed_and_marked_with_the_keyboard_alone(
    opened: Callable[..., Any], given: Path, tmp_path: Path
) -> None:
    page = opened("/?tab=data")
    first = page.locator("#data-shown .tile").first
    first.wait_for()
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    page.get_by_text("1 marked").wait_for()
    page.keyboard.press("Enter")
    page.locator(".sample img").wait_for()
    page.locator(".near .tile").first.wait_for()
    assert page.locator(".near .tile").count() == 12
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    page.get_by_text("2 marked").wait_for()
    assert problems(page) == []
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download as CSV").click()
    saved.value.save_as(tmp_path / "set.csv")
    ids = [row["id"] for row in csv.DictReader((tmp_path / "set.csv").open())]
    data = Dataset.open(given / "real")
    rows = [i for i, part in enumerate(data.split().part_of) if part != "test"]
    assert ids == [data.table["id"].iloc[rows[2]], data.table["id"].iloc[rows[3]]]


@pytest.mark.slow
def test_filters_and_pages_change_what_is_shown(opened: Callable[..., Any], given: Path) -> None:
    page = opened("/?tab=data")
    data = Dataset.open(given / "real")
    seen = data.split().part_of.to_numpy() != "test"
    page.get_by_text(f"{seen.sum()} images").wait_for()
    page.get_by_role("button", name="Next page").first.click()
    page.get_by_text("page 2 of 3").wait_for()
    reads = data.test_reads()
    page.get_by_label("Label", exact=True).click()
    page.get_by_role("option", name="tumour").click()
    page.get_by_text(f"{int((seen & (data.table['label'] == 'tumour')).sum())} images").wait_for()
    assert data.test_reads() == reads
    page.get_by_label("Beside", exact=True).click()
    page.get_by_role("option", name="synthetic").click()
    page.locator(".browser.two .grid-part").nth(1).wait_for()
    page.get_by_label("Part", exact=True).click()
    page.get_by_role("option", name="test").click()
    tests = ~seen & (data.table["label"] == "tumour")
    page.get_by_text(f"{int(tests.sum())} images").wait_for()
    assert data.test_reads() == reads + 1


def test_two_users_do_not_see_each_others_marks(opened: Callable[..., Any]) -> None:
    for _ in range(2):
        page = opened("/?tab=data")
        page.locator("#data-shown .tile").first.click(modifiers=["Shift"])
        page.get_by_text("1 marked").wait_for()


@pytest.mark.slow
def test_runs_show_curves_and_samples(opened: Callable[..., Any]) -> None:
    page = opened("/?tab=runs")
    page.get_by_role("button", name="gan", exact=True).click()
    page.get_by_text("Losses").wait_for()
    assert page.locator("#runs-shown svg").count() > 3
    assert (
        page.locator("figure.samples img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        > 0
    )
    assert problems(page) == []


@pytest.mark.slow
def test_a_reader_judges_with_the_keyboard_and_is_told_nothing(
    opened: Callable[..., Any], given: Path
) -> None:
    page = opened("/?tab=judge")
    page.get_by_label("Your name or a pseudonym").fill("ana")
    page.get_by_label("number input for Number of images").fill("10")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Start the test").focus()
    page.keyboard.press("Enter")
    shapes = set()
    for n in range(10):
        page.locator(f'.stage[data-n="{n}"] img').wait_for()
        stage = page.locator(".stage").inner_html().lower()
        shapes.add("".join(letter for letter in stage if letter in "<>/="))
        assert page.get_by_role("img", name=f"Image {n + 1} of 10").is_visible()
        page.keyboard.press("r")
    page.get_by_role("heading", name="The result of ana").wait_for()
    assert len(shapes) == 1
    (found,) = readings(Dataset.open(given / "synthetic"))
    answers = answers_of(found)
    assert [one.answer for one in answers] == ["real"] * 10
    assert found["accuracy"]["value"] == 0.5
