"""`plenish release`: synthetic images as a folder to give away, or why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plenish import settings
from plenish.errors import CheckFailed
from plenish.invocation import command
from plenish.report.release import Refused, ReleaseConfig, Released
from plenish.terminal import json_text, write


@command("release --check")
def check_release(out: Path) -> dict[str, Any]:
    """Check that the files of a released folder are those that its provenance.json lists.

    Args:
        out: the released folder.

    Raises:
        InputError: it is no released folder, or its provenance.json was altered.
        CheckFailed: a file was altered, removed or added.
    """
    from plenish.report import releasing

    content, differ = releasing.check_release(out)
    facts = {
        "out": str(out), "files": len(content["files"]), "altered": differ.altered, "missing": differ.missing,
        "added": differ.added, "override": content["override"],
    }  # fmt: skip
    if differ:
        _print_first(facts)
        named = [
            f"{len(found)} {what} (such as {found[0]})"
            for what, found in (
                ("altered", differ.altered),
                ("missing", differ.missing),
                ("added", differ.added),
            )
            if found
        ]
        raise CheckFailed(f"{out} is not as it was released: {', '.join(named)}.")
    return facts


@command("release", renamed={"format": "as"}, instead={"--check": check_release})
def release(
    synthetic: Path, out: Path, *, real: Path | None = None, score: Path | None = None,
    how: ReleaseConfig = ReleaseConfig(),
) -> Released:  # fmt: skip
    """Make a folder of synthetic images that can be given away, unless they copy real ones.

    The images are searched for copies of the real ones they were made from, as 'plenish score' does; a
    reading of the test part is counted. Where copies are found, or the search cannot find any, nothing is
    made, a page shows the closest pairs, and the command ends with exit code 3.

    OUT has the images with their table, a data card (README.md, card.html), croissant.json and
    provenance.json with the SHA-256 of every file. Ids, groups and places of real images, file names and
    latents stay here. What the audit made lies beside it, in OUT-audit: it shows real images and is not to
    be shared. 'plenish release --check OUT' tells whether files were altered since.

    Args:
        synthetic: the synthetic Dataset.
        out: the folder to make; must not exist.
        real: the real Dataset; by default the one that the generator was trained on, if it is there.
        score: a folder made by 'plenish score' of exactly these images, in place of a new score.
        how: how to give them away.

    Raises:
        InputError: SYNTHETIC is a real Dataset, OUT exists, or score and Datasets do not fit each other.
        CheckFailed: copies were found, or cannot be found.
    """
    from plenish.report import releasing

    result = releasing.release_dataset(synthetic, out, how, real=real, score=score)
    if isinstance(result, Refused):
        _print_first(result.summary())
        look = f" Look at {result.page}." if result.page else ""
        raise CheckFailed(f"{synthetic} is not released: {' '.join(map(str, result.objections))}{look}")
    return result


def _print_first(facts: dict[str, Any]) -> None:
    """With --json, what a program reads although the command fails."""
    if settings.current().json:
        write(json_text(facts))
