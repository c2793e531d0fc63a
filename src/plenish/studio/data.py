"""The page Data of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("data")
    ui.nothing(ui.words("data.nothing"))


PAGE = Page("data", build)
