"""The page Edit of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("edit")
    ui.nothing(ui.words("edit.nothing"))


PAGE = Page("edit", build)
