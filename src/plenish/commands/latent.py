"""Verbs on encodings; their options are those of the functions that do the work, which need no torch."""

from __future__ import annotations

from plenish.invocation import command
from plenish.latent.neighbours import find_nearest as _nearest
from plenish.latent.scatter import draw_encodings as _draw

draw_encodings = command("latents")(_draw)
find_nearest = command("nearest", positional=("out",))(_nearest)
