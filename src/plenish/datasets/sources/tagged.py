"""A tagged corpus: images and JSON metadata about them, in whichever of the usual forms.

The metadata are an object a file beside its image, a JSON list, or JSON Lines (also Danbooru's dumps, whose
files have no suffix). Rows and images are joined by a file's name, or by an id or MD5 that the file is named
for. What does not fit (malformed lines, rows without an image, images without a row, links that lead
outside) is left out, counted and listed; one bad line of 300,000 stops nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from plenish.datasets.rejections import Rejection
from plenish.datasets.sources import danbooru, tree
from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.corpus import ARTISTS, LISTS, NOTHING, TAGS, Corpus, read_beside, read_tables
from plenish.datasets.sources.git import commit_of
from plenish.datasets.sources.listing import Listing, SourceOptions
from plenish.datasets.sources.table import list_rows
from plenish.errors import InputError
from plenish.files import printable
from plenish.wording import agree, plural

ACCEPTED = Accepted("A tagged corpus", COLUMNS | {"file_column"})
_LABELS = "common tags"
_GROUPS = "group of the artist"


def find(container: Container, options: SourceOptions) -> Listing | None:
    """The Listing of a tagged corpus; None where there is no image, or neither metadata nor folders.

    Raises:
        InputError: no row of the metadata has an image, or options do not fit.
    """
    if not container.pictures:
        return None
    ACCEPTED.check(options)
    outside = set(container.outside)
    pictures, others = (
        [name for name in names if name not in outside] for names in (container.pictures, container.others)
    )
    container = dataclasses.replace(container, others=others)
    corpus = Corpus(pictures, options)
    corpus.rejected += [Rejection("leads-outside", source=printable(name)) for name in container.outside]
    if not corpus.pictures:
        raise InputError(f"All images of {container.path} are links that lead outside it; copy the files.")
    read_beside(container, corpus)
    read_tables(container, corpus)
    if not corpus.used:
        out = _of_folders(container, corpus, options)
    else:
        if not any(corpus.rows):
            raise InputError(
                f"No row of {container.name(corpus.used[0])} names an image of {container.path}, neither by "
                "file name nor by id or MD5; give the folder of both, or name the column with --file-column."
            )
        out = _of_rows(container, corpus, options)
    out.rejections += corpus.rejected
    out.caveats += corpus.caveats()
    if commit := commit_of(container.path):
        out.about["extra"] = {**out.about.get("extra", {}), "git_commit": commit}
    return out


def _of_folders(container: Container, corpus: Corpus, options: SourceOptions) -> Listing:
    """Of a corpus without metadata, such as one with a folder for each character."""
    wanted = {"label_column": options.label_column, "group_column": options.group_column}
    for name, given in wanted.items():
        if given:
            raise InputError(
                f"{container.path} holds no JSON metadata that '--{name.replace('_', '-')} {given}' could "
                "name; leave it out, or give the folder that holds the metadata too."
            )
    options = dataclasses.replace(options, folders=options.folders or _folders(corpus.pictures))
    out = tree.listing(dataclasses.replace(container, pictures=corpus.pictures), options)
    out.notes.append("There are no JSON metadata, so there are no tags.")
    return out


def _of_rows(container: Container, corpus: Corpus, options: SourceOptions) -> Listing:
    lacking = [i for i, row in enumerate(corpus.rows) if row is None]
    if lacking and options.missing == "error":
        raise InputError(
            f"{agree(len(lacking), 'image', 'has', 'have')} no metadata (the first is "
            f"{corpus.pictures[lacking[0]]}); add them, or leave out '--missing error'."
        )
    for i in lacking:
        corpus.reject("no-metadata", corpus.pictures[i])
    pictures = [name for name, row in zip(corpus.pictures, corpus.rows) if row is not None]
    rows = [row for row in corpus.rows if row is not None]
    corpus.rows = []
    options = dataclasses.replace(
        options, missing=options.missing or "skip", folders=options.folders or _folders(pictures),
    ).completed()  # fmt: skip
    notes = []
    if options.label_column == TAGS:
        common, rare = danbooru.common([row[TAGS] for row in rows])
        for row in rows:
            row[_LABELS] = [tag for tag in row[TAGS] if tag in common]
        options = dataclasses.replace(options, label_column=_LABELS, label_kind="multilabel")
        notes += danbooru.of_rare(rare, TAGS)
    if any(ARTISTS in row for row in rows):
        for row in rows:
            row.setdefault(ARTISTS, [row["artist"]] if row["artist"] else NOTHING)
    by_artist = options.group_column is None and any(row["artist"] for row in rows)
    if by_artist:
        options = dataclasses.replace(options, group_column=_GROUPS)
        for row in rows:
            row[_GROUPS] = row["artist"]
    whole = dataclasses.replace(container, pictures=pictures)
    out = list_rows(whole, rows, pictures, "", options, "the metadata", usual=())
    for name in ("label", "group"):
        for made, shown in ((_LABELS, TAGS), (_GROUPS, "artist")):
            if f"'{made}'" in out.meaning.get(name, ""):
                out.meaning[name] = f"column '{shown}' of the metadata"
    out.doubts = [text for text in out.doubts if f"'{_GROUPS}'" not in text]
    out.kind = f"{container.kind} with JSON metadata"
    out.described_by = frozenset(corpus.used)
    out.notes += notes
    _describe(out, options)
    return out


def _folders(pictures: Sequence[str]) -> tuple[str, ...]:
    """Numbered folders, such as those of Danbooru's buckets, mean nothing; of others the names tell."""
    tops = {name.split("/")[-2] for name in pictures if "/" in name}
    return (tree.IGNORE,) if tops and all(top.isdecimal() for top in tops) else ()


def _describe(out: Listing, options: SourceOptions) -> None:
    """Types of the columns, and what the corpus says of tags, artists and licences."""
    for name in (*LISTS.values(), ARTISTS):
        if name in out.columns:
            if any(out.columns[name]):
                out.types[name] = pa.list_(pa.string())
            else:
                del out.columns[name]
    tags = Counter(tag for tags in out.columns.get(TAGS, ()) for tag in tags)
    without = sum(not tags for tags in out.columns.get(TAGS, ()))
    facts: dict[str, Any] = {"tags": len(tags), "untagged": without}
    out.notes.append(
        f"{plural(len(tags), 'distinct tag')}, {sum(tags.values()) / max(1, len(out)):.1f} an image; column "
        f"'{TAGS}' holds the list of each."
    )
    if without:
        out.notes.append(f"{agree(without, 'image', 'has', 'have')} no tag.")
    for name in ("artist", "licence"):
        values = out.columns.get(name)
        if values is None or not any(values):
            out.columns.pop(name, None)
            out.caveats.append(f"The metadata name no {name}.")
            continue
        out.types[name] = pa.string()
        counts = Counter(value for value in values if value)
        facts[f"{name}s"] = len(counts)
        if name == "licence":
            facts["licences"] = dict(counts.most_common(20))
            if len(counts) == 1 and all(values):
                out.about["licence"] = next(iter(counts))
    out.about["extra"] = {**out.about.get("extra", {}), "corpus": facts}
