"""Comics as files: one page as PNG, all as PDF or as an archive for comic readers (CBZ)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from PIL import Image, PdfParser
from PIL.PngImagePlugin import PngInfo

from plenish import files
from plenish._version import __version__
from plenish.comics.layout import trim_box
from plenish.comics.script import Paper
from plenish.errors import InputError

FORMATS = (".png", ".pdf", ".cbz")
_MADE = f"Plenish {__version__}; pictures made by generators"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def check_out(out: Path, n_pages: int) -> None:
    """Refuse a file that the pages cannot be written to.

    Raises:
        InputError: it is of another kind, or a PNG for several pages.
    """
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out} must end in {', '.join(FORMATS)}.")
    if out.suffix.lower() == ".png" and n_pages > 1:
        raise InputError(
            f"A PNG holds one page, and the script has {n_pages}; give a .pdf or .cbz, or --only N."
        )


def write_comic(out: Path, pages: Sequence[Image.Image], paper: Paper, title: str) -> None:
    """Write pages, RGB, as the file's ending says.

    Raises:
        InputError: the disk is full or may not be written; nothing half-written stays.
    """
    with files.reporting_disk(out), files.atomic_file(out) as file:
        if out.suffix.lower() == ".png":
            _write_png(file, pages[0], paper, title)
        elif out.suffix.lower() == ".cbz":
            _write_cbz(file, pages, paper, title)
        else:
            file.write(_pdf(pages, paper, title))


def _write_png(file: IO[bytes], page: Image.Image, paper: Paper, title: str) -> None:
    info = PngInfo()
    info.add_itxt("Title", title)
    info.add_itxt("Software", _MADE)
    page.save(file, "PNG", dpi=(paper.dpi, paper.dpi), pnginfo=info)


def _write_cbz(file: IO[bytes], pages: Sequence[Image.Image], paper: Paper, title: str) -> None:
    about = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<ComicInfo><Title>{escape(title)}</Title>'
        f"<PageCount>{len(pages)}</PageCount><Notes>{escape(_MADE)}</Notes>"
        f"<Manga>{'No' if paper.reading == 'left-to-right' else 'YesAndRightToLeft'}</Manga></ComicInfo>\n"
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("ComicInfo.xml", _EPOCH), about)
        for i, page in enumerate(pages, 1):
            picture = io.BytesIO()
            page.save(picture, "PNG", dpi=(paper.dpi, paper.dpi))
            archive.writestr(zipfile.ZipInfo(f"page-{i:03d}.png", _EPOCH), picture.getvalue())


def _pdf(pages: Sequence[Image.Image], paper: Paper, title: str) -> bytes:
    """A PDF whose pages say where they are cut: what lies outside the TrimBox is bleed."""
    file = io.BytesIO()
    first, *others = pages
    first.save(
        file, "PDF", resolution=paper.dpi, save_all=True, append_images=others, title=title, producer=_MADE,
        quality=92,
    )  # fmt: skip
    trim, scale = trim_box(paper), 72 / paper.dpi
    height = first.height
    box = [trim.left * scale, (height - trim.bottom) * scale, trim.right * scale, (height - trim.top) * scale]
    file.seek(0)
    with PdfParser.PdfParser(f=file, mode="r+b") as pdf:
        entries = {
            reference: {key.name_as_str(): value for key, value in pdf.read_indirect(reference).items()}
            for reference in pdf.pages
        }
        pdf.start_writing()
        for reference, page in entries.items():
            pdf.write_obj(reference, **(page | {"TrimBox": box, "BleedBox": page["MediaBox"]}))
        pdf.write_xref_and_trailer()
    return file.getvalue()
