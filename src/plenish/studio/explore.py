"""The page Explore of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("explore")
    ui.nothing(ui.words("explore.nothing"))


PAGE = Page("explore", build)
