"""What the licence of the real images says of images that were made from them, by its SPDX identifier.

Whether the images of a generator are derivatives of its training images is a question of law that differs
between countries. Nothing here answers it: a licence that may matter is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import ClassVar

from plenish.wording import Message

_NOT_STATED = ("", "unknown", "not stated", "none", "n/a", "other", "as the training data")
_OPEN = (
    "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "PDDL-1.0", "ODC-By-1.0", "ODbL-1.0",
    "CDLA-Permissive-1.0", "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "MIT", "Apache-2.0", "BSD-2-Clause",
    "BSD-3-Clause", "Unlicense",
)  # fmt: skip
_HUB = (
    "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "unlicense",
)  # fmt: skip
_SHARING = ("ODBL-1.0", "CDLA-SHARING-1.0")
_NAMING = (
    *_SHARING, "CDLA-PERMISSIVE-1.0", "CDLA-PERMISSIVE-2.0", "MIT", "APACHE-2.0", "BSD-2-CLAUSE",
    "BSD-3-CLAUSE",
)  # fmt: skip
"""Licences that ask to name the source or to keep a notice, although no word of theirs says so."""
_CONDITIONS: Mapping[str, tuple[str, ...]] = {
    "no-derivatives": ("ND", "NODERIVATIVES", "NODERIVS"),
    "non-commercial": ("NC", "NONCOMMERCIAL"),
    "share-alike": ("SA", "SHAREALIKE"),
    "attribution": ("BY", "ATTRIBUTION"),
}
"""What parts of a Creative Commons licence forbid or ask for."""


class LicenceRemark(Message):
    """Something about licences that whoever gives the images away, or takes them, should know."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "not-stated": "The licence of the real images is not known. Find out whether they, and images made "
        "from them, may be shared.",
        "not-known": "The licence of the real images, '{licence}', is none of the usual open ones. Read what "
        "it says of images made from them.",
        "no-derivatives": "The licence of the real images, {licence}, forbids sharing adapted material. "
        "Images that a generator learned from them may count as such: ask before sharing them.",
        "non-commercial": "The licence of the real images, {licence}, allows no commercial use. The same may "
        "hold for images made from them.",
        "share-alike": "The licence of the real images, {licence}, asks to share adapted material "
        "under the same licence.",
        "weaker": "The images are released under {released}, which does not keep the conditions of "
        "{licence}, the licence of the real images ({conditions}).",
    }  # fmt: skip


def conditions(licence: str) -> list[str]:
    """Conditions of a Creative Commons licence or one like it, by its identifier or its name.

    Returns:
        `no-derivatives`, `non-commercial`, `share-alike` and `attribution` (to name the source).
    """
    words = set(re.split(r"[^A-Z0-9.]+", licence.upper().replace("NON-COMMERCIAL", "NONCOMMERCIAL")))
    found = [code for code, marks in _CONDITIONS.items() if words & set(marks)]
    found += ["share-alike"] if _spdx(licence) in _SHARING else []
    return [*found, "attribution"] if _spdx(licence) in _NAMING else found


def remarks(training: str, released: str) -> list[LicenceRemark]:
    """What to know of the licences.

    Args:
        training: the licence of the real images, as their Dataset has it.
        released: the licence that the synthetic images are given away under.
    """
    if training.strip().casefold() in _NOT_STATED:
        return [LicenceRemark("not-stated")]
    found = conditions(training)
    said = [LicenceRemark(code, {"licence": training}) for code in found if code != "attribution"]
    if not found and _spdx(training) not in map(str.upper, _OPEN):
        said.append(LicenceRemark("not-known", {"licence": training}))
    kept = set(conditions(released))
    if not _is_same(training, released):
        kept -= {"share-alike"}
    if lost := [code for code in found if code not in kept]:
        values = {"licence": training, "released": released or "no stated licence", "conditions": lost}
        said.append(LicenceRemark("weaker", values))
    return said


def _is_same(training: str, released: str) -> bool:
    """Whether these are one licence, or the second is a later version of a Creative Commons one."""
    if _spdx(training) == _spdx(released):
        return True
    if {_spdx(training), _spdx(released)} & {*_SHARING}:
        return False
    versions = [re.findall(r"\d+\.\d+", licence) for licence in (training, released)]
    return all(versions) and versions[0] <= versions[1] and conditions(training) == conditions(released)


def hub_word(licence: str) -> str:
    """The word of the Hugging Face hub for a licence; empty where it has none."""
    word = _spdx(licence).lower()
    return word if word in _HUB else ""


def _spdx(licence: str) -> str:
    """An identifier in capitals with dashes: `CC BY 4.0` and `cc-by-4.0` are one."""
    return re.sub(r"[\s_-]+", "-", licence.strip()).upper()
