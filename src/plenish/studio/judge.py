"""The page Judge of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("judge")
    ui.nothing(ui.words("judge.nothing"))


PAGE = Page("judge", build)
