"""What a source holds beside the images that were listed: counted, and doubted where it may matter."""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath

from plenish.datasets.sources import beside, columns
from plenish.datasets.sources.container import Container, lacking
from plenish.datasets.sources.listing import Listing, shown
from plenish.wording import plural

_DESCRIBING = (".txt", ".json", ".xml")
"""Suffixes of files that may label images, or be a licence or a log."""
_HARMLESS = (
    "", ".md", ".rst", ".pdf", ".html", ".htm", ".log", ".yaml", ".yml", ".ini", ".cfg", ".toml", ".py",
    ".ipynb", ".sh", ".bib", ".doc", ".docx", ".db", ".lnk", ".url", ".md5", ".sha256", ".torrent",
    *_DESCRIBING, *columns.SUFFIXES,
)  # fmt: skip
"""Suffixes of files that are no pictures; what they may say of pictures is looked at one by one."""
_SEVERAL = 3
_TELLING = ("label", "class", "annot", "caption", "split", "train", "test", "metadata", "truth")


def tell_unused(found: Listing, container: Container) -> None:
    """Add to a Listing what its container holds that was not used, and the doubts that raises."""
    left = [name for name in container.others if name not in found.described_by]
    counts = Counter(map(_suffix, left))
    found.unused = dict(sorted(counts.items(), key=lambda x: (-x[1], x[0])))
    if container.repeated:
        found.doubts.append(
            f"{container.path} holds {plural(len(container.repeated), 'file')} more than once "
            f"({shown(container.repeated)}); the last of each was taken, as in unpacking."
        )
    if container.unreachable:
        found.doubts.append(
            f"{plural(len(container.unreachable), 'member')} of {container.path} left out "
            f"({shown(container.unreachable)}): links that lead outside it or to nothing, or sparse files; "
            "pack the files themselves (tar --dereference)."
        )
    strange = [name for name in left if _suffix(name) not in _HARMLESS or name in container.dicom]
    if strange:
        found.doubts.append(
            f"{plural(len(strange), 'file')} that Plenish does not read left out "
            f"({in_words(Counter(map(_suffix, strange)))}; the first is {strange[0]}); "
            f"{lacking(container) or 'convert them if they are images.'}"
        )
    many = {suffix for suffix in _DESCRIBING if counts[suffix] >= max(_SEVERAL, len(found) / 2)}
    telling = [name for name in left if _may_label(name) or _suffix(name) in many]
    if text := beside.doubt(container, found.described_by):
        found.doubts.append(text)
    elif telling:
        found.doubts.append(
            f"{plural(len(telling), 'file')} that may describe the images not used ({shown(telling)}); give "
            "a table with --labels."
        )


def in_words(counts: dict[str, int]) -> str:
    """Numbers of files by suffix, as `50 .heic, 2 without a suffix`."""
    return ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in counts.items())


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _may_label(name: str) -> bool:
    stem, suffix = PurePosixPath(name).stem.lower(), _suffix(name)
    return suffix in columns.SUFFIXES or (suffix in _DESCRIBING and any(word in stem for word in _TELLING))
