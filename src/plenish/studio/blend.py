"""The page Blend of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("blend")
    ui.nothing(ui.words("blend.nothing"))


PAGE = Page("blend", build)
