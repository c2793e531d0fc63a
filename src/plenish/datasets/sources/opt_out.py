"""Images whose artists, or whoever else may say so, want them left out: a list honoured at import.

The list has one entry a line: an artist, or an image's id or file name. `artist:` or `id:` before it says
which; empty lines and what follows a # are passed over.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from plenish.datasets.rejections import Rejection
from plenish.datasets.sources.corpus import split_cell
from plenish.datasets.sources.listing import Listing
from plenish.errors import InputError
from plenish.files import printable
from plenish.wording import agree, plural

_ARTISTS = ("artist", "artists", "author", "authors", "creator", "uploader_artist", "tag_string_artist")
_SEVERAL = re.compile(r"[|;\n]")
"""What stands between the names of several artists in a text; commas may be within one."""
_IDS = ("id", "id_", "post_id", "image_id", "md5")
_TAGS = ("tags", "tag_string", "meta_tags")
"""What may name the artist of an image that has no artist of its own."""


def leave_out(found: Listing, path: Path) -> None:
    """Take the images that an opt-out list names out of a Listing, and keep how many there were.

    Names are compared whole; case, spaces for underscores and the way accents are written are no difference.
    Images without a known artist are also left out where one of their tags is an entry.

    Args:
        found: the Listing, changed in place; what is left out is in its `rejections`.
        path: the list.

    Raises:
        InputError: the list cannot be read, is empty, or names every image; or the source has no files.
    """
    if found.blocks is not None:
        raise InputError(
            f"--opt-out {path} goes with image files, and this source holds arrays; leave it out, and remove "
            "rows by 'plenish curate'."
        )
    artists, ids, content = _read(path)
    named = [
        "artist" if artists & _artists(found, i) else "id" if ids & _ids(found, i) else ""
        for i in range(len(found))
    ]
    met = set[str]()
    for i, kind in enumerate(named):
        if kind:
            met |= (artists & _artists(found, i)) | (ids & _ids(found, i))
            found.rejections.append(Rejection("opted-out", {"kind": kind}, printable(found.refs[i])))
    kept = [not kind for kind in named]
    if not any(kept):
        raise InputError(f"{path} names all {plural(len(found), 'image')}, so nothing is left to import.")
    entries = artists | ids
    counts = {kind: named.count(kind) for kind in ("artist", "id")}
    found.repeat(kept)
    found.about["extra"] = {
        **found.about.get("extra", {}),
        "opt_out": {
            "file": printable(path.name), "sha256": hashlib.sha256(content).hexdigest(),
            "entries": len(entries), "entries_met": len(met), "images": sum(counts.values()),
            "by_artist": counts["artist"], "by_id": counts["id"],
        },
    }  # fmt: skip
    found.caveats.append(
        f"{agree(sum(counts.values()), 'image', 'was', 'were')} left out by {path} "
        f"({counts['artist']:,} by artist, {counts['id']:,} by id); {len(met):,} of "
        f"{len(entries):,} entries fit an image."
    )
    if artists and not any(name in found.columns for name in _ARTISTS) and not _by_artist(found):
        found.caveats.append(
            "The source names no artists, so entries of the opt-out list could only be compared with ids, "
            "file names and tags."
        )


def _read(path: Path) -> tuple[set[str], set[str], bytes]:
    """The artists and ids of a list (an entry that does not say which is both), and its bytes."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"The opt-out list {path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise InputError(f"The opt-out list {path} is not UTF-8 text; save it as UTF-8.") from None
    artists, ids = set[str](), set[str]()
    for line in lines:
        entry = line.partition("#")[0].strip()
        kind, colon, rest = entry.partition(":")
        kind = kind.strip().lower()
        if colon and kind in ("artist", "id"):
            (artists if kind == "artist" else ids).add(_key(rest))
        elif entry:
            artists.add(_key(entry))
            ids.add(_key(entry))
    artists, ids = artists - {""}, ids - {""}
    if not artists and not ids:
        raise InputError(f"The opt-out list {path} has no entries; give an artist or an id a line.")
    return artists, ids, content


def _key(text: Any) -> str:
    return "_".join(unicodedata.normalize("NFKC", str(text)).casefold().split())


def _cells(found: Listing, names: Sequence[str], i: int) -> Iterator[str]:
    """What an image's cells say: the items of lists, of `tag_string…` the words, of other texts the whole."""
    for name in names:
        value = found.columns[name][i] if name in found.columns else None
        if isinstance(value, str) and name.startswith("tag_string"):
            yield from value.split()
        else:
            yield from _items(value)


def _items(value: Any) -> Iterable[str]:
    if isinstance(value, (list, tuple)):
        return map(str, value)
    return () if value is None else (str(value),)


def _by_artist(found: Listing) -> bool:
    return "artist" in found.meaning.get("group", "")


def _artists(found: Listing, i: int) -> set[str]:
    """The whole names of an image's artists; of one without any its tags."""
    texts = list(_cells(found, _ARTISTS, i))
    for what, values in (("group", found.groups), ("label", found.labels)):
        if values is not None and "artist" in found.meaning.get(what, ""):
            texts += _items(values[i])
    names = [name for text in texts for name in (text, *_SEVERAL.split(text))]
    if not any(names):
        names = [str(tag) for text in _cells(found, _TAGS, i) for tag in (text, *split_cell(text, None))]
    return {_key(name) for name in names}


def _ids(found: Listing, i: int) -> set[str]:
    ref = found.refs[i]
    path = PurePosixPath(ref)
    names = [ref, path.name, path.stem, *_cells(found, _IDS, i)]
    return {_key(name) for name in (names if found.ids is None else [*names, found.ids[i]])}
