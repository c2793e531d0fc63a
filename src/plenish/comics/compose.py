"""From a script to a file: the composer of comic pages."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from plenish import files
from plenish.comics.cast import Cast
from plenish.comics.drawing import Drawer
from plenish.comics.lettering import Letters
from plenish.comics.options import ComicOptions
from plenish.comics.output import check_out, write_comic
from plenish.comics.script import read_script
from plenish.datasets import detectors
from plenish.errors import InputError
from plenish.progress import progress

_KIND = "comic"


@dataclasses.dataclass(frozen=True)
class Comic:
    """What was written.

    Attributes:
        out: the file.
        record: what every panel was made of; it is the JSON file beside it.
    """

    out: Path
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        pages = self.record["pages"]
        return {
            "comic": str(self.out), "pages": len(pages),
            "panels": sum(len(page["panels"]) for page in pages), "record": str(record_path(self.out)),
        }  # fmt: skip


def record_path(out: Path) -> Path:
    """The JSON file beside a comic."""
    return out.with_name(out.name + ".json")


def _check_record(path: Path) -> None:
    """Refuse to replace a file that is no record of a comic."""
    if path.exists() or path.is_symlink():
        with contextlib.suppress(InputError):
            if files.read_record(path).get("kind") == _KIND:
                return
        files.refuse_existing(path)


def compose(script_path: Path, out: Path, how: ComicOptions) -> Comic:
    """Draw the pages of a script and write them, with a record of what every picture was made of.

    Args:
        script_path: YAML; see docs/comics.md.
        out: a .png, .pdf or .cbz file; must not exist, nor its record but for one that a comic left.
        how: further options.

    Raises:
        InputError: the script, a generator, a picture, a font or OUT does not fit; nothing is written then.
    """
    script = read_script(script_path)
    numbers = list(range(len(script.pages)))
    if how.only is not None:
        if how.only > len(script.pages):
            raise InputError(f"--only {how.only}: the script has {len(script.pages)} pages; the first is 1.")
        numbers = [how.only - 1]
    check_out(out, len(numbers))
    _check_record(record_path(out))
    if how.detector is not None:
        detectors.load(how.detector)
    drawer = Drawer(
        script, Cast(script.characters, script.folder), Letters.of(script.lettering, script.folder),
        how.detector, how.pixelated,
    )  # fmt: skip
    pages, records = [], []
    with progress("drawing", len(numbers), "pages") as bar:
        for number in numbers:
            page, record = drawer.page(number)
            pages.append(page)
            records.append({"page": number + 1, **record})
            bar.advance(1)
    content = {
        "kind": _KIND, "title": script.title, "script_sha256": files.sha256_file(script_path),
        "paper": dataclasses.asdict(script.page), "detector": how.detector, "pages": records,
    }  # fmt: skip
    # The comic last: where it is, so is its record, whenever the command was killed.
    files.write_record(record_path(out), content)
    write_comic(out, pages, script.page, script.title)
    return Comic(out, content)
