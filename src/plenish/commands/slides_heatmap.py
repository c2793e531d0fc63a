"""`plenish slides heatmap`."""

from __future__ import annotations

from plenish.invocation import command
from plenish.metrics import tile_scores

draw_heatmap = command("slides heatmap", renamed={"limits": "range"})(tile_scores.draw_heatmap)
