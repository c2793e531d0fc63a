"""The page Runs of the studio."""

from __future__ import annotations

from plenish.studio.pages import Page, Ui


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("runs")
    ui.nothing(ui.words("runs.nothing"))


PAGE = Page("runs", build)
