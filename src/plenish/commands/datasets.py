"""Verbs on Datasets. Their options are those of the functions that do the work, which need no torch."""

from __future__ import annotations

from plenish.datasets.export import export_dataset as _export
from plenish.datasets.importing import import_dataset as _import
from plenish.datasets.split import split_dataset as _split
from plenish.invocation import command
from plenish.phantom.tiles import make_phantom as _phantom

import_dataset = command("import")(_import)
export_dataset = command("export", renamed={"format": "as"})(_export)
split_dataset = command("split")(_split)
make_phantom = command("phantom")(_phantom)
