"""Synthetic images: what a Dataset records of the generator that made them, and its words.

`plenish generate` records a Run, a checkpoint and the training data (`data`, by hashes). Images of another
program are imported with what the user states; `data` is then empty, because nothing of it can be checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish import files
from plenish.datasets.sources.listing import Listing
from plenish.errors import InputError

METHOD = "synthetic images are training data only"
"""How the split of a synthetic Dataset was made."""
_STATED = "name", "version", "training_set"


def stated_generator(text: str) -> dict[str, Any]:
    """What a user states of a generator: name, version and training set, separated by commas.

    What is left out is unknown and an empty string; further commas belong to the training set.
    """
    words = [files.printable(word.strip()) for word in text.split(",", 2)]
    return {**dict.fromkeys(_STATED, ""), **dict(zip(_STATED, words)), "data": {}}


def take_as_synthetic(listing: Listing, generator: str, *, stated: bool = True) -> None:
    """Make images that a folder holds those of a generator: without groups, and all of them training data.

    Args:
        listing: the source's images; changed in place.
        generator: what made them, as `stated_generator` takes it.
        stated: whether the user says that they are synthetic.

    Raises:
        InputError: only one of the two is given, or the source is an exported synthetic Dataset, which says
            what made it.
    """
    if not stated:
        raise InputError("--generator says what made synthetic images; give --synthetic too.")
    if generator_of(listing.about.get("extra", {})):
        raise InputError(
            "The source is an exported synthetic Dataset, which names its generator; leave out --synthetic."
        )
    record = stated_generator(generator)
    if not record["name"]:
        raise InputError(
            "--synthetic needs --generator 'name, version, training set', as far as they are known, or "
            "--generator unknown."
        )
    n = len(listing)
    if any(listing.groups or ()) or listing.parts or listing.splits:
        listing.notes.append(
            "Groups and splits of the source are not used: synthetic images have none and belong to train."
        )
    listing.groups, listing.parts, listing.splits = None, None, {"default": ["train"] * n}
    listing.ids = listing.ids or [f"s{i:07d}" for i in range(n)]
    listing.columns = {"origin": ["synthetic"] * n, "generator": [_name(record)] * n} | listing.columns
    listing.columns["origin"] = ["synthetic"] * n
    if listing.labels is not None:
        about = {"space": "labels", "names": list(listing.schema.names), "model": _name(record)}
        listing.arrays["y"] = listing.schema.encode(listing.labels), about
        listing.meaning["label"] = f"{listing.meaning.get('label', 'the source')}, as what was asked for"
    listing.about["extra"] = {**listing.about.get("extra", {}), "generator": record}
    listing.notes.append(f"The images are synthetic, made by {generator_words(record)}.")


def generator_of(extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the generator in `extra` of a manifest; empty for real images."""
    found = extra.get("generator")
    return found if isinstance(found, Mapping) else {}


def generator_words(record: Mapping[str, Any]) -> str:
    """A generator in words, with what it was trained on where Plenish did not train it.

    Args:
        record: as `generator_of` gives it.
    """
    if "name" not in record:
        facts = {key: record.get(key) for key in ("run", "checkpoint", "weights_sha256")}
        return ", ".join(f"{key} {value}" for key, value in facts.items() if value) or "an unknown generator"
    stated = record.get("training_set")
    trained = f"'{stated}', as was stated" if stated else "unknown images"
    return f"{_name(record)}, trained on {trained}"


def _name(record: Mapping[str, Any]) -> str:
    name = record["name"] if record["name"].casefold() != "unknown" else "an unknown generator"
    return f"{name} {record['version']}".strip()
