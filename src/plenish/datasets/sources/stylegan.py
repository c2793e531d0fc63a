"""StyleGAN's layout: `dataset.json` with a label for each image, in a zip archive or a folder."""

from __future__ import annotations

import json
import math
import posixpath
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import Listing, categorical, shown, vectors
from plenish.datasets.sources.names import likeliest
from plenish.errors import InputError
from plenish.wording import plural

NAME = "dataset.json"
ACCEPTED = Accepted(
    f"StyleGAN's {NAME}", frozenset({"dicom_columns"}), "give a table with --labels, which goes before it"
)


def find(container: Container) -> Listing | None:
    """The Listing of a container with StyleGAN's manifest, or None where there is none.

    Inside a folder, a `dataset.json` may be anything; at the top it is StyleGAN's or a mistake.

    Raises:
        InputError: the manifest is damaged, or lacks an image.
    """
    manifests = [name for name in container.others if PurePosixPath(name).name == NAME]
    manifest = min(manifests, key=len, default="")
    if not manifest or not container.pictures:
        return None
    content = container.read_json(manifest)
    if "/" in manifest and not (isinstance(content, dict) and "labels" in content):
        return None
    try:
        pairs = [(_path(file), label) for file, label in content["labels"] or ()]
        labels = dict(pairs)
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{container.name(manifest)} is not StyleGAN\'s: it needs "labels", a list of [file name, '
            "label], or null."
        ) from None
    # A label that is not a number differs from itself.
    differing = [name for name, label in pairs if labels[name] is not label and labels[name] != label]
    if differing:
        raise InputError(f"{container.name(manifest)} gives {differing[0]} two labels; correct it.")
    base = manifest.removesuffix(NAME)
    names = [name for name in container.pictures if name.startswith(base)]
    out = Listing(f"StyleGAN {container.kind}", names, root=container.root)
    outside = len(container.pictures) - len(names)
    if outside:
        out.doubts.append(f"{plural(outside, 'image')} outside the folder of {manifest} left out.")
    out.described_by = frozenset([manifest])
    if not labels:
        out.meaning["label"] = f"none: {manifest} gives none"
        return out
    lacking = [name for name in names if name.removeprefix(base) not in labels]
    if lacking:
        raise InputError(
            f"{container.name(manifest)} gives no label to {plural(len(lacking), 'image')} "
            f"({shown(lacking)}{likeliest(lacking[0].removeprefix(base), list(labels))}); complete it, or "
            'set its "labels" to null.'
        )
    extra = len(labels) - len(names)
    if extra > 0:
        out.doubts.append(f"{manifest} labels {plural(extra, 'image')} that the {container.kind} lacks.")
    known = [name.removeprefix(base) for name in names]
    out.schema, out.labels = _labels(known, [labels[name] for name in known], container.name(manifest))
    out.meaning["label"] = manifest
    return out


def _path(name: Any) -> str:
    return posixpath.normpath(str(name).replace("\\", "/"))


def _labels(files: list[str], values: list[Any], what: str) -> tuple[LabelSchema, list[Any]]:
    if all(isinstance(value, (int, str)) and not isinstance(value, bool) for value in values):
        names = [str(value) for value in values]
        return categorical(names), names
    for file, value in zip(files, values):
        if value is None or isinstance(value, (bool, float, dict)):
            raise InputError(
                f"{what} labels {file} with {json.dumps(value)}, which is no class; give every image a whole "
                'number, or a list of numbers, or set "labels" to null.'
            )
    width = len(values[0]) if isinstance(values[0], list) else 0
    if not width or not all(isinstance(value, list) and len(value) == width for value in values):
        raise InputError(f"{what} mixes kinds of labels; give every image a whole number, or a list each.")
    if not all(isinstance(x, (int, float)) and math.isfinite(x) for value in values for x in value):
        raise InputError(
            f"{what} has labels that are lists of other things than finite numbers; give every image a whole "
            "number, or a list of numbers."
        )
    return vectors([[float(x) for x in value] for value in values])
