"""`plenish studio`."""

from __future__ import annotations

from pathlib import Path

from plenish.invocation import command
from plenish.studio.config import StudioConfig
from plenish.studio.server import serve


@command("studio", positional=("runs",))
def studio(
    *, runs: list[Path] | None = None, data: list[Path] | None = None, how: StudioConfig = StudioConfig()
) -> None:
    """Explore generators and Datasets in a web browser, on this machine.

    Pages: Explore, Blend and Edit work in a generator's latent space; Data browses Datasets; Runs shows
    trainings; Judge tests whether a person tells synthetic images from real ones. Only this machine reaches
    the studio unless --host says otherwise. Needs Gradio: pip install 'plenish[studio]'.

    Args:
        runs: Runs, or folders of Runs.
        data: Datasets, real or synthetic.
        how: where it listens and what it takes.

    Raises:
        InputError: Gradio is missing, something given cannot be opened, or the port is taken.
    """
    serve(runs or [], data or [], how)
