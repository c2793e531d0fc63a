"""Danbooru's metadata: general tags and artists out of either of its two forms.

Dumps of the site have text (`tag_string_general`, `tag_string_artist`), the sets Danbooru2017 to 2021 lists
of objects with a category: 0 general, 1 artist, 3 copyright, 4 character, 5 meta.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from plenish.datasets.sources.columns import Row
from plenish.wording import plural

COLUMNS = ("general_tags", "artist")
"""What `complete` adds to each row, beside the list `artists` where an image has several."""
_KINDS = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}
_RARE = 0.01


def complete(rows: list[Row]) -> list[str]:
    """Add general tags (those of one image in a hundred or more) and the artist to rows, in place.

    Args:
        rows: those with an image, not all that the site knows.

    Returns:
        Notes on what was left out.
    """
    general = [tags_of(row, "general") for row in rows]
    often, rare = common(general)
    by = [tags_of(row, "artist") for row in rows]
    several = sum(len(artists) > 1 for artists in by)
    for row, tags, artists in zip(rows, general, by):
        if several:
            row["artists"] = sorted(artists)
        row["general_tags"] = [tag for tag in tags if tag in often]
        row["artist"] = " ".join(sorted(artists)) or None
        row["id"] = str(row.get("id"))
    notes = of_rare(rare, "")
    if several:
        notes.append(f"{plural(several, 'image')} with several artists form groups of their own.")
    return notes


def common(lists: Sequence[Sequence[str]]) -> tuple[set[str], int]:
    """Tags of one image in a hundred or more, out of the tags of each, and how many others there are."""
    counts = Counter(tag for tags in lists for tag in tags)
    often = {tag for tag, count in counts.items() if count >= max(1, _RARE * len(lists))}
    return often, len(counts) - len(often)


def of_rare(count: int, column: str) -> list[str]:
    """A note of tags that are no labels, kept in `column`, or in the table's own ones."""
    if not count:
        return []
    keeps = f"column '{column}' keeps" if column else "the table's own columns keep"
    return [f"{plural(count, 'tag')} of fewer than 1 in 100 images are no labels; {keeps} them."]


def has_kinds(row: Row) -> bool:
    """Whether a row has tags as objects with a category."""
    tags = row.get("tags")
    return isinstance(tags, list) and bool(tags) and isinstance(tags[0], dict) and "category" in tags[0]


def tags_of(row: Row, kind: str) -> list[str]:
    """The tags of a row that are of a kind: general, artist, copyright, character or meta."""
    text = row.get(f"tag_string_{kind}")
    if text is None and kind == "general" and "tags" not in row:
        text = row.get("tag_string")
    if text is not None:
        return str(text).split()
    tags: Any = row.get("tags")
    return [
        str(tag["name"])
        for tag in (tags if isinstance(tags, list) else ())
        if isinstance(tag, dict) and "name" in tag and str(tag.get("category", "0")) == _KINDS[kind]
    ]
