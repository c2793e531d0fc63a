"""Danbooru's metadata: general tags and artists out of either of its two forms.

Dumps of the site have text (`tag_string_general`, `tag_string_artist`), the sets Danbooru2017 to 2021 lists
of objects with a category: 0 general, 1 artist, 3 copyright, 4 character, 5 meta.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from plenish.datasets.sources.columns import Row
from plenish.wording import plural

COLUMNS = ("general_tags", "artist")
"""What `complete` adds to each row."""
_KINDS = {"general": "0", "artist": "1"}
_RARE = 0.01


def complete(rows: list[Row]) -> list[str]:
    """Add general tags (those of one image in a hundred or more) and the artist to rows, in place.

    Args:
        rows: those with an image, not all that the site knows.

    Returns:
        Notes on what was left out.
    """
    general = [_tags(row, "general") for row in rows]
    counts = Counter(tag for tags in general for tag in tags)
    common = {tag for tag, count in counts.items() if count >= max(1, _RARE * len(rows))}
    several = 0
    for row, tags in zip(rows, general):
        artists = _tags(row, "artist")
        several += len(artists) > 1
        row["general_tags"] = [tag for tag in tags if tag in common]
        row["artist"] = " ".join(sorted(artists)) or None
        row["id"] = str(row.get("id"))
    notes = []
    if len(common) < len(counts):
        notes.append(
            f"{plural(len(counts) - len(common), 'tag')} of fewer than 1 in 100 images are no labels; the "
            "table's own columns keep them."
        )
    if several:
        notes.append(f"{plural(several, 'image')} with several artists form groups of their own.")
    return notes


def _tags(row: Row, kind: str) -> list[str]:
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
