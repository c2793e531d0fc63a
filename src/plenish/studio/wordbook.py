"""The words of the studio, one table a language."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from plenish.studio.config import Language
from plenish.yaml_reader import read_yaml

LANGUAGES: dict[Language, str] = {"en": "English", "es": "Español"}
"""Each language by its code, named in itself."""
_FOLDER = Path(__file__).parent / "words"


@functools.cache
def table(language: Language) -> dict[str, str]:
    """Every text of the studio in one language, by dotted key."""
    content = read_yaml(_FOLDER / f"{language}.yaml", "words:")
    return {f"{page}.{key}": str(text) for page, texts in content.items() for key, text in texts.items()}


class Words:
    """The texts of one language: `words("data.title", n=3)`."""

    def __init__(self, language: Language) -> None:
        """Use a language that there is."""
        self.language = language
        self._table = table(language)

    def __call__(self, key: str, **values: Any) -> str:
        """The text of a key, with values put in; numbers are written as the language does."""
        text = self._table[key]
        return text.format(**{name: self._shown(value) for name, value in values.items()}) if values else text

    def section(self, name: str) -> dict[str, str]:
        """All texts of a section, by dotted key."""
        return {key: text for key, text in self._table.items() if key.startswith(f"{name}.")}

    def _shown(self, value: Any) -> Any:
        return (
            self.number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        )

    def number(self, value: float, digits: int = 3) -> str:
        """A count with separators, or a number with so many significant digits, no exponent if large."""
        is_long = 10**digits - 0.5 <= abs(value) < 1e15  # Format g has an exponent there.
        text = (
            f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if is_long else f"{value:.{digits}g}"
        )
        if self.language == "es":  # A thin blank between thousands and a comma before decimals (RAE).
            text = text.replace(",", "\u202f").replace(".", ",")
        return text


def preferred_language(accepted: str) -> Language:
    """The language of a browser's Accept-Language header that the studio speaks; English if it is none.

    Args:
        accepted: such as "es-MX,es;q=0.9,en;q=0.8".
    """
    found = []
    for place, entry in enumerate(accepted.split(",")):
        name, _, weight = entry.partition(";q=")
        try:
            found.append((-float(weight or 1), place, name.strip().lower().partition("-")[0]))
        except ValueError:
            continue
    for _, _, name in sorted(found):
        for language in LANGUAGES:
            if name == language:
                return language
    return "en"
