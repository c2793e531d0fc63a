"""Verbs on Datasets. Their options are those of the functions that do the work, which need no torch."""

from __future__ import annotations

from typing import Any

from plenish.datasets.export import export_dataset as _export
from plenish.datasets.fit_preview import preview_import as _preview
from plenish.datasets.importing import import_dataset as _import
from plenish.datasets.refit import refit_dataset as _refit
from plenish.datasets.sources.presets import presets as _presets
from plenish.datasets.split import split_dataset as _split
from plenish.invocation import command
from plenish.phantom.tiles import make_phantom as _phantom


@command("import --list-presets")
def list_presets() -> dict[str, Any]:
    """List the public data sets that --preset knows, and what each is recognised by."""
    rows = [{"name": p.name, "about": p.about, "looked for": p.sought} for p in _presets().values()]
    return {"presets": rows}


preview_import = command("import --preview")(_preview)
import_dataset = command("import", instead={"--list-presets": list_presets, "--preview": preview_import})(
    _import
)
refit_dataset = command("fit")(_refit)
export_dataset = command("export", renamed={"format": "as"})(_export)
split_dataset = command("split")(_split)
make_phantom = command("phantom")(_phantom)
