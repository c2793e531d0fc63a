from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from plenish import studio
from plenish.report.training import GROUPS, NETWORKS
from plenish.studio.curves import quantity
from plenish.studio.wordbook import LANGUAGES, Words, preferred_language, table


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_is_there_in_every_language_with_the_same_values() -> None:
    english = table("en")
    for language in LANGUAGES:
        other = table(language)
        assert other.keys() == english.keys()
        assert {key: names(text) for key, text in other.items()} == {k: names(t) for k, t in english.items()}


def test_every_text_that_a_page_asks_for_is_there() -> None:
    asked = set()
    for path in Path(studio.__path__[0]).glob("*.py"):
        asked |= set(re.findall(r'words\(f?"([\w.]+)"', path.read_text(encoding="utf-8")))
    assert len(asked) > 50
    assert asked - table("en").keys() == set()


def test_the_known_quantities_of_curves_have_words() -> None:
    texts = {text for group in GROUPS for text in (group.title, *group.labels.values())}
    texts |= {f"Gradients of the {name}" for name in NETWORKS.values()}
    english, spanish = Words("en"), Words("es")
    for text in texts:
        assert quantity(english, text) == text
        assert quantity(spanish, text) != text
    assert quantity(spanish, "Losses: generator") == "Pérdidas: generador"
    assert quantity(spanish, "first: first") == "primera: first"
    assert quantity(spanish, "my own") == "my own"


def test_no_text_is_markup() -> None:
    assert [
        key for language in LANGUAGES for key, text in table(language).items() if set("<>") & set(text)
    ] == []


def test_numbers_are_written_as_the_language_does() -> None:
    assert Words("en")("studio.images", n=12345) == "12,345 images"
    assert Words("es")("studio.images", n=12345) == "12\u202f345 imágenes"
    assert Words("es").number(0.25) == "0,25"
    assert Words("en").number(25000.0, 4) == "25,000"
    assert Words("es").number(25000.4, 4) == "25\u202f000"
    assert Words("en").number(9999.8, 4) == "10,000"
    assert Words("en").number(1234.5, 4) in ("1234", "1235")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("es-MX,es;q=0.9,en;q=0.8", "es"), ("en;q=0.5,es;q=0.9", "es"), ("fr-FR,fr", "en"), ("", "en"),
        ("de,es;q=0.1", "es"), ("es;q=x,en", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_browsers(header: str, language: str) -> None:
    assert preferred_language(header) == language
