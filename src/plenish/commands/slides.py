"""`plenish slides tile`, `inspect`, `overlay`, `normalise`, `select` and `phantom`."""

from __future__ import annotations

from plenish.invocation import command
from plenish.phantom import slide_writer
from plenish.slides import inspect, normalise, overlay, select, tiling

tile_slides = command("slides tile")(tiling.tile_slides)
inspect_slides = command("slides inspect")(inspect.inspect_slides)
draw_overlay = command("slides overlay")(overlay.draw_overlay)
normalise_stain = command("slides normalise")(normalise.normalise_stain)
select_slides = command("slides select")(select.select_slides)
make_slides = command("slides phantom")(slide_writer.make_slides)
