"""The rows of a tagged corpus: read out of JSON in any of its forms, each given to the image it is about."""

from __future__ import annotations

import json
import posixpath
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.rejections import Rejection
from plenish.datasets.sources import danbooru
from plenish.datasets.sources.beside import files_beside
from plenish.datasets.sources.columns import Row
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import SourceOptions
from plenish.datasets.sources.names import clean
from plenish.errors import first_line
from plenish.files import printable
from plenish.wording import agree, plural

TAGS = "tags"
LISTS = {"general": TAGS, "character": "characters", "copyright": "copyrights", "meta": "meta_tags"}
"""Columns of lists by Danbooru's kinds of tags; the fifth kind is `artist`."""
ARTISTS = "artists"
"""The column of lists that a corpus has beside `artist` where an image has several."""
_FILES = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image", "local_path",
    "file_url", "large_file_url",
)  # fmt: skip
_KEYS = ("id", "post_id", "image_id", "md5", "hash", "sha256")
"""Fields that a file may be named for."""
_ARTISTS = ("artist", "artists", "author", "creator", "uploader_artist")
_LICENCES = ("licence", "license", "rights")
_LINES, _JSON = (".jsonl", ".ndjson"), ".json"
_DUMP = re.compile(r"20\d{10,}(\.json)?")
_MOST_LISTED = 10_000
"""Rows without an image that rejected.csv names; a whole site's metadata have millions."""
NOTHING: list[str] = []
"""The one list of all rows without tags; it is never changed."""
_SHORT = 48
"""Characters of a text that is likely to come again, and is kept once."""


class Corpus:
    """Images, the row of each, and what did not fit.

    Attributes:
        pictures: relative paths of the images.
        rows: the row of each image, or None.
        used: files that rows came from.
        rejected: what is listed of that which did not fit.
        counts: how much there was of it, by the code of its Rejection.
    """

    def __init__(self, pictures: list[str], options: SourceOptions) -> None:
        self.pictures = pictures
        self.rows: list[Row | None] = [None] * len(pictures)
        self.used: list[str] = []
        self.rejected: list[Rejection] = []
        self.counts: Counter[str] = Counter()
        self._files = (options.file_column,) if options.file_column else _FILES
        self._keys = () if options.file_column else _KEYS
        self._separator = options.label_separator
        self._at: dict[str, int] = {name: i for i, name in enumerate(pictures)}
        self._named: dict[str, int] = {}
        for i, name in enumerate(pictures):
            base = posixpath.basename(name)
            for key in {base, base.rpartition(".")[0] or base}:
                self._named[key] = i if key not in self._named else -1
        self._folded: dict[str, int] = {}

    def reject(self, code: str, source: str, **values: Any) -> None:
        """Count what did not fit, and list it unless very many are listed."""
        self.counts[code] += 1
        if self.counts[code] <= _MOST_LISTED:
            self.rejected.append(Rejection(code, values, printable(source)))

    def add(self, row: Any, place: str, source: str) -> None:
        """Give a row to the image that it names; `place` is the folder of its file, `source` its own name."""
        if not isinstance(row, dict):
            self.reject("no-object", source)
            return
        try:
            i = self._image_of(row, place)
        except _Outside as error:
            self.reject("names-outside", source, name=str(error))
            return
        if i is None:
            self.reject("no-image", source, name=printable(str(self._called(row))))
        elif i < 0:
            self.reject("several-images", source, name=printable(str(self._called(row))))
        else:
            self.give(i, row, source)

    def give(self, i: int, row: Row, source: str) -> None:
        """Let an image have a row, unless it has one."""
        if self.rows[i] is not None:
            self.reject("named-twice", source, name=printable(self.pictures[i]))
            return
        self.rows[i] = _compact(row, self._separator)

    def is_row(self, row: Row) -> bool:
        """Whether an object names an image, be it here or not."""
        return bool(self._called(row) != "")

    def _called(self, row: Row) -> Any:
        return next((row[key] for key in (*self._files, *self._keys) if row.get(key) not in (None, "")), "")

    def _image_of(self, row: Row, place: str) -> int | None:
        """The number of the image that a row names; -1 for several, None for none."""
        for key in self._files:
            if not isinstance(value := row.get(key), str) or not value.strip():
                continue
            path = posixpath.normpath(clean(value))
            if path.startswith("../") or (path.startswith("/") and ".." in clean(value).split("/")):
                raise _Outside(printable(value))
            base = posixpath.basename(path)
            stem = base.rpartition(".")[0] or base
            for name in (posixpath.normpath(posixpath.join(place, path)), path):
                if name in self._at:
                    return self._at[name]
            for name in (base, stem):
                if name in self._named:
                    return self._named[name]
            if (found := self._similar(base)) is not None:
                return found
        for key in self._keys:
            value = row.get(key)
            if isinstance(value, (str, int)) and str(value) in self._named:
                return self._named[str(value)]
        return None

    def _similar(self, base: str) -> int | None:
        """The one image whose name differs only in case or in how accents are written."""
        if not self._folded:
            for i, name in enumerate(self.pictures):
                key = _folded(posixpath.basename(name))
                self._folded[key] = i if key not in self._folded else -1
        found = self._folded.get(_folded(base))
        if found is not None and found >= 0:
            self.counts["similar"] += 1
        return found

    def caveats(self) -> list[str]:
        """What did not fit, in sentences."""
        told = {
            "malformed": ("entry of the metadata", "entries of the metadata", "no readable JSON"),
            "no-object": ("entry of the metadata", "entries of the metadata", "no JSON objects"),
            "no-image": ("row", "rows", "about images that are not here"),
            "several-images": ("row", "rows", "fitting several images"),
            "named-twice": ("row", "rows", "about an image that has one already"),
            "names-outside": ("row", "rows", "naming files outside the corpus"),
            "no-metadata": ("image", "images", "without metadata"),
        }
        texts = [
            f"{n:,} {one if n == 1 else many} left out: {why}; see rejected.csv."
            for code, (one, many, why) in told.items()
            if (n := self.counts[code])
        ]
        if n := sum(rejection.code == "leads-outside" for rejection in self.rejected):
            texts.append(f"{plural(n, 'symbolic link')} left out: they lead outside the corpus.")
        if n := self.counts["similar"]:
            texts.append(
                f"{agree(n, 'image', 'was', 'were')} found by a name that differs only in case or in how "
                "accents are written."
            )
        return texts


class _Outside(Exception):
    """A name that leads outside the corpus."""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


# Reading


def read_beside(container: Container, corpus: Corpus) -> None:
    """Give images the objects of the files beside them."""
    others = {name for name in container.others if name.endswith(_JSON)}
    if not others:
        return
    found = [
        (i, file) for i, name in enumerate(corpus.pictures) for file in files_beside(name, others, (_JSON,))
    ]
    for (i, file), content in zip(found, container.read_all(file for _, file in found)):
        corpus.used.append(file)
        try:
            row = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            corpus.reject("malformed", file, reason=first_line(error))
            continue
        if isinstance(row, dict):
            corpus.give(i, row, file)
        else:
            corpus.reject("no-object", file)


def read_tables(container: Container, corpus: Corpus) -> None:
    """Give images the rows of JSON lists and JSON Lines."""
    beside = set(corpus.used)
    for name in container.others:
        suffix = PurePosixPath(name).suffix.lower()
        base = posixpath.basename(name)
        if name in beside or not (suffix in (*_LINES, _JSON) or _DUMP.fullmatch(base)):
            continue
        place = posixpath.dirname(name)
        before = len(corpus.rejected), sum(corpus.counts.values())
        rows = 0
        for source, row in _rows(container, name, corpus):
            rows += 1
            corpus.add(row, place, source)
        if rows or (len(corpus.rejected), sum(corpus.counts.values())) != before:
            corpus.used.append(name)


def _rows(container: Container, name: str, corpus: Corpus) -> Iterator[tuple[str, Any]]:
    """The rows of a file with what to call each; lines that are no JSON are rejected.

    A JSON object that is no row (a file of settings, say) is passed over.
    """
    lines = container.lines(name)
    first = next((line for line in lines if line.strip()), b"")
    if first.lstrip(b"\xef\xbb\xbf \t")[:1] == b"[" or not _is_object(first):
        content = container.read_json(name)
        if isinstance(content, list):
            yield from ((f"{name}[{i}]", row) for i, row in enumerate(content))
            return
        if PurePosixPath(name).suffix.lower() not in _LINES:
            if content is None:
                corpus.reject("malformed", name, reason="neither a JSON list nor JSON Lines")
            elif isinstance(content, dict) and corpus.is_row(content):
                yield name, content
            return
    elif PurePosixPath(name).suffix.lower() == _JSON and not corpus.is_row(json.loads(first)):
        return
    for number, line in enumerate(container.lines(name), 1):
        if not line.strip():
            continue
        try:
            yield f"{name}:{number}", json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            corpus.reject("malformed", f"{name}:{number}", reason=first_line(error))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


# Rows


def _compact(row: Row, separator: str | None) -> Row:
    """The columns of a row: lists of tags, artist and licence, and the others as they are."""
    out: Row = {}
    if any(isinstance(key, str) and key.startswith("tag_string") for key in row) or danbooru.has_kinds(row):
        for kind, column in LISTS.items():
            out[column] = _kept_once(danbooru.tags_of(row, kind))
        artists = danbooru.tags_of(row, "artist")
        if not any(out.values()) and (tags := row.get("tag_string")):
            out[TAGS] = _kept_once(str(tags).split())
    else:
        out[TAGS] = _kept_once(split_cell(row.get(TAGS, row.get("general_tags")), separator))
        artists = next((split_cell(row[key], "\n") for key in _ARTISTS if row.get(key)), [])
    names = sorted(sys.intern(str(artist)) for artist in artists)
    out["artist"] = sys.intern(" ".join(names)) or None
    if len(names) > 1:
        out[ARTISTS] = names
    licence = next((row[key] for key in _LICENCES if row.get(key)), None)
    out["licence"] = None if licence is None else sys.intern(str(licence))
    gone = {*_LICENCES, *_ARTISTS, TAGS, "general_tags", *LISTS.values()}
    for key, value in row.items():
        if key not in gone and not key.startswith("tag_string"):
            out[sys.intern(key)] = _plain(value)
    return out


def _kept_once(tags: Sequence[Any]) -> list[str]:
    """Tags without repeats, composed accents, in their order; each text is kept in memory once."""
    found = (unicodedata.normalize("NFC", text) for tag in tags if (text := printable(str(tag)).strip()))
    return [sys.intern(tag) for tag in dict.fromkeys(found)] or NOTHING


def split_cell(value: Any, separator: str | None) -> list[Any]:
    """The items of a cell: of a list, or of a text with a separator, by default | or else a comma."""
    if value is None:
        return []
    if isinstance(value, dict):  # One with its name, or names with numbers.
        return [value["name"]] if "name" in value else list(value)
    if isinstance(value, list):
        return [tag.get("name", "") if isinstance(tag, dict) else tag for tag in value if tag is not None]
    text = str(value)
    if separator is None:
        separator = next((sign for sign in ("|", ",") if sign in text), None)
    return text.split(separator)


def _plain(value: Any) -> Any:
    """A value as a cell: lists of texts and single values stay, other objects become JSON."""
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= _SHORT else value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(map(sys.intern, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
