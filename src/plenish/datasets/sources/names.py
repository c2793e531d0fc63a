"""Which file a table's row names, also where the name differs in folder, case, accents, suffix or zeros."""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

from plenish.datasets.sources.listing import natural, shown
from plenish.errors import InputError, nearest
from plenish.files import printable
from plenish.wording import agree

Folders = Literal["named", "below", "known"]
_COMPARED = 5000
"""Files among which the nearest name is looked for, which takes long."""


def clean(value: Any) -> str:
    """A cell as a relative or absolute POSIX path."""
    return "" if value is None else str(value).strip().replace("\\", "/")


def resolve(
    names: Sequence[str], files: Sequence[str], source: Path, table: str, places: Sequence[str],
    folders: Folders = "named",
) -> tuple[list[str | None], list[str]]:  # fmt: skip
    """For each row the file it names, or None; and a doubt about names that only resemble their file's.

    A suffix that a name lacks is no difference.

    A name is a path relative to the source or to its table's folder. Where there is no such file, one is
    looked for whose path ends like the name or the other way round, then without regard to case and to how
    accents are written, then with `%20` and the like decoded, then also without suffix, then without leading
    zeros of a number. Of an absolute path on another machine the folders count
    only as long as several files, or several rows, have the name.

    Args:
        names: one a row, cleaned.
        files: relative paths of what there is.
        source: the folder or archive.
        table: what the table is called, for sentences.
        places: the folder of the table of each row, relative to the source.
        folders: which differences in folders are no doubt: none (`named`); that the files lie in further
            ones (`below`), as those of an annotation file do; or any (`known`), where the layout is known.

    Raises:
        InputError: a name leads outside the source, or may mean several files.
    """
    known = set(files)
    root = source.resolve().as_posix()
    search = _Search(files, names, table)
    refs: list[str | None] = []
    similar: list[tuple[str, str]] = []
    for name, place in zip(names, places):
        path = posixpath.normpath(name or ".")
        if name.startswith("/") and path.startswith(f"{root}/"):
            path = posixpath.relpath(path, root)
        in_place = posixpath.normpath(posixpath.join(place, path))
        if in_place.startswith("../"):
            raise InputError(f"{table} names '{name}', which lies outside {source}; name files inside it.")
        ref = in_place if in_place in known else path if path in known else None
        if ref is None and name:
            ref = search(path)
            if ref and not any(_is_same(form, ref, folders) for form in (in_place, path)):
                similar.append((name, ref))
        refs.append(ref)
    return refs, _doubt(similar, table)


def _is_same(name: str, ref: str, folders: Folders) -> bool:
    """Whether a name is a file's, but for a suffix it lacks and for folders that may differ."""
    for path in (ref, str(PurePosixPath(ref).with_suffix(""))):
        if name == path or (folders != "named" and path.endswith(f"/{name}")):
            return True
        if folders == "known" and name.endswith(f"/{path}"):
            return True
    return False


def _doubt(similar: Sequence[tuple[str, str]], table: str) -> list[str]:
    if not similar:
        return []
    name, ref = similar[0]
    return [
        f"{agree(len(similar), 'name', 'was', 'were')} matched with files of similar names, such as "
        f"'{printable(name)}' of {table} with {printable(ref)}."
    ]


def may_name(files: Sequence[str]) -> Callable[[str], bool]:
    """A quick test of whether a name can be that of one of the files; `resolve` says whether it is."""
    spellings = (_decoded, _numbered)
    known = [{posixpath.basename(spelling(path)) for path in files} for spelling in spellings]
    return lambda name: any(
        posixpath.basename(spelling(name)) in there for spelling, there in zip(spellings, known)
    )


def likeliest(name: str, files: Sequence[str]) -> str:
    """A clause with the file whose name is most similar, or nothing."""
    by_stem = {PurePosixPath(path).stem: path for path in files[:_COMPARED]}
    found = nearest(PurePosixPath(name).stem, list(by_stem))
    return f"; the most similar name is '{by_stem[found]}'" if found else ""


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _decoded(path: str) -> str:
    return _folded(unquote(path))


def _without_suffix(path: str) -> str:
    """The path folded, without its suffix; the last number of a UID, which names DICOM files, is none."""
    folded = PurePosixPath(_folded(path))
    return str(folded if folded.suffix[1:].isdecimal() else folded.with_suffix(""))


def _numbered(path: str) -> str:
    """As without suffix, a number without leading zeros: `0001.png` is 1."""
    folder, slash, stem = _without_suffix(path).rpartition("/")
    return folder + slash + (str(int(stem)) if stem.isdecimal() else stem)


_SPELLINGS = (str, _folded, _decoded, _without_suffix, _numbered)


class _Search:
    """Files by their names, in ever looser spelling."""

    def __init__(self, files: Sequence[str], names: Sequence[str], table: str) -> None:
        self._files, self._names, self._table = files, names, table
        self._found: dict[tuple[Callable[[str], str], int], dict[str, list[str]]] = {}
        self._rows: Counter[str] = Counter()
        self._folders = {_folded(posixpath.dirname(path)) for path in files}

    def __call__(self, name: str) -> str | None:
        for spelling in _SPELLINGS:
            spelled = spelling(name)
            there = self._ending(spelling, spelled.rpartition("/")[2])
            if len(there) == 1 and self._is_alone(name):
                return there[0]
            best = self._matching(spelling, spelled, name) if there else []
            if len(best) > 1:
                raise InputError(
                    f"{self._table} names '{name}', and there are {len(best)}: "
                    f"{shown(sorted(best, key=natural))}; name the folder and the suffix too."
                )
            if best:
                return best[0]
        return None

    def _matching(self, spelling: Callable[[str], str], spelled: str, name: str) -> list[str]:
        """Files whose paths end like the name, or the other way round; folders that are there count."""
        best = list(self._ending(spelling, spelled))
        if _folded(posixpath.dirname(name)) not in self._folders:
            for at in range(1, spelled.count("/") + 1):
                best += self._whole(spelling).get(spelled.split("/", at)[at], [])
        return best

    def _is_alone(self, name: str) -> bool:
        """Whether a name is an absolute path that ends in no other row's file name."""
        if not name.startswith("/") and name[1:2] != ":":
            return False
        if not self._rows:
            self._rows.update(map(posixpath.basename, self._names))
        return self._rows[posixpath.basename(name)] == 1

    def _ending(self, spelling: Callable[[str], str], name: str) -> list[str]:
        """Files whose last folders and name are these; an index for each number of folders is kept."""
        depth = name.count("/") + 1
        if (spelling, depth) not in self._found:
            index: dict[str, list[str]] = {}
            for path in self._files:
                pieces = spelling(path).rsplit("/", depth)
                if len(pieces) >= depth:
                    index.setdefault("/".join(pieces[-depth:]), []).append(path)
            self._found[spelling, depth] = index
        return self._found[spelling, depth].get(name, [])

    def _whole(self, spelling: Callable[[str], str]) -> dict[str, list[str]]:
        """Files by their whole paths."""
        if (spelling, 0) not in self._found:
            index: dict[str, list[str]] = {}
            for path in self._files:
                index.setdefault(spelling(path), []).append(path)
            self._found[spelling, 0] = index
        return self._found[spelling, 0]
