"""What an import says in sentences: what it took for what, before the work, and warnings after it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from plenish import files, sizes
from plenish.datasets.dataset import Dataset
from plenish.datasets.fitting import DISTORTED
from plenish.datasets.images import FULL_WINDOW, Shape
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import PARTS
from plenish.datasets.sources.listing import Listing
from plenish.datasets.sources.unused import in_words
from plenish.wording import agree, plural

_SHOWN = 12
"""Classes named before an import."""


def account(listing: Listing, domain: str | None) -> list[str]:
    """What was taken for what, and what was not used; `domain` is the one that the user names."""
    texts = [f"Read as: {listing.kind}.", *listing.notes]
    if listing.labels is None:
        texts.append("The images have no labels.")
    else:
        several = listing.schema.kind == "multilabel"
        counts = Counter(itertools.chain.from_iterable(listing.labels) if several else ())
        counts |= Counter(listing.labels) if listing.schema.kind == "categorical" else Counter()
        names = [f"{name} ({counts[name]:,})" if counts else name for name in listing.schema.names]
        more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        texts.append(
            f"Labels ({listing.schema.kind}) come from {listing.meaning.get('label', 'the source')}: "
            f"{', '.join(names[:_SHOWN])}{more}."
        )
    if listing.groups is not None:
        count = len({group for group in listing.groups if group is not None})
        texts.append(
            f"Groups come from {listing.meaning.get('group', 'the source')}: {plural(count, 'group')}."
        )
    if listing.parts is not None:
        texts.append(_about_parts(listing.parts))
    if domain is None and (known := listing.about.get("extra", {}).get("domain")):
        texts.append(
            f"The domain {known} comes from {listing.meaning.get('domain', 'the source')} and is kept with "
            "the Dataset; --domain names another."
        )
    if listing.unused:
        texts.append(f"Not used: {in_words(listing.unused)}.")
    return texts


def size_warning(size: int) -> list[str]:
    """A warning if no convolutional generator can be trained on images of that size."""
    if sizes.base_and_stages(size) is not None:
        return []
    smaller, larger = sizes.nearest(size)
    return [
        f"A convolutional generator cannot make images of {size} pixels; the nearest sizes it can make are "
        f"{smaller} and {larger}, give one with --size if you want to train on these images."
    ]


def _about_parts(parts: Sequence[str]) -> str:
    """What a source's own split looks like, and what it lacks."""
    counts = Counter(parts)
    counted = [f"{counts[part]:,} {part}" for part in PARTS if counts[part]]
    text = f"The source's own split is kept as 'default': {', '.join(counted)}"
    lacking = [part for part in PARTS if not counts[part]]
    if lacking:
        text += (
            f"; it has no {' and no '.join(lacking)} part, 'plenish split --name other' makes a complete one"
        )
    return text + "."


def shared_pixels(dataset: Dataset) -> list[str]:
    """Warnings of the same pixels in several parts of a split, or under several classes."""
    texts = []
    for name in dataset.split_names():
        count = dataset.split(name).manifest.get("duplicates_across_parts", 0)
        if count:
            texts.append(
                f"The source's split '{name}' has {plural(count, 'image')} with the same "
                "pixels in several parts, so scores on it are too good; import with "
                "--no-keep-split and run 'plenish split' to have such images in one part."
            )
    if dataset.labels.kind == "categorical":
        labels = pd.Series(dataset.column("label")).groupby(dataset.column("sha256")).nunique()
        if count := int((labels > 1).sum()):
            texts.append(
                f"{agree(count, 'picture', 'is', 'are')} there under several classes with the same pixels; "
                "'plenish profile' shows which, correct the labels."
            )
    return texts


def warnings_of(
    rejected: Sequence[Rejection], kept: Sequence[bool], counts: Counter[str], listing: Listing, shape: Shape,
    out: Path,
) -> list[str]:  # fmt: skip
    """Warnings of a finished import.

    Args:
        rejected: files that could not be used.
        kept: which images of the listing were written.
        counts: what was counted of the images.
        listing: the source.
        shape: what images were made into.
        out: the Dataset's folder.
    """
    texts = []
    if rejected:
        texts.append(
            f"{len(rejected):,} of {plural(len(listing), 'file')} {'was' if len(rejected) == 1 else 'were'} "
            f"rejected, see {out / 'rejected.csv'}; the first was {rejected[0].source}: "
            f"{rejected[0]}."
        )
    if counts["upscaled"]:
        texts.append(
            f"{agree(counts['upscaled'], 'image', 'was', 'were')} smaller than {shape.size} pixels and "
            "enlarged; a smaller --size would invent nothing."
        )
    if counts["distorted"]:
        texts.append(
            f"{agree(counts['distorted'], 'image', 'was', 'were')} stretched by {DISTORTED:g} and more; "
            f"'plenish profile {out}' shows which, --fit crop and --fit pad keep their proportions."
        )
    if counts["trimmed"]:
        texts.append(f"Uniform bands were cut off {plural(counts['trimmed'], 'image')}.")
    if counts["undetected"]:
        texts.append(
            f"The detector {shape.fitting.detector} finds nothing in "
            f"{plural(counts['undetected'], 'image')}, of which the whole was taken ({shape.fit}); "
            "--undetected reject leaves such images out."
        )
    if counts["coloured"]:
        texts.append(f"{plural(counts['coloured'], 'coloured image')} became grey.")
    if shape.window == FULL_WINDOW and counts["dark"]:
        first, bits = listing.refs[counts["first dark"] - 1], counts["largest dark peak"].bit_length()
        texts.append(
            f"{agree(counts['dark'], '16-bit image', 'uses', 'use')} only values up to "
            f"{counts['largest dark peak']} of 65535 and became dark (the first is "
            f"{files.printable(first)}); if these are all there are, "
            f"import again with '--bits {bits}', or with '--window percentile' to stretch each image."
        )
    elif shape.window != FULL_WINDOW and not counts["16 bits"]:
        texts.append("No image has 16 bits, so --bits and --window changed nothing.")
    if counts["narrow"]:
        first = listing.refs[counts["first narrow"] - 1]
        texts.append(
            f"{agree(counts['narrow'], 'DICOM image', 'states', 'state')} no window and "
            f"{'uses' if counts['narrow'] == 1 else 'use'} less than a quarter of the range stated (the "
            f"first is {files.printable(first)}), so few grey levels are left; import again with '--window "
            "LOW HIGH', in values after rescaling such as Hounsfield units, or with '--window percentile'."
        )
    if listing.schema.kind == "categorical" and listing.labels is not None and rejected:
        left = set(itertools.compress(listing.labels, kept))
        texts += [
            f"No image of class '{name}' could be read." for name in listing.schema.names if name not in left
        ]
    return texts
