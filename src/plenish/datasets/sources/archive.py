"""Zip archives: StyleGAN's (`dataset.json` and images) and plain ones of folders."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources import tree
from plenish.datasets.sources.listing import (
    Listing,
    categorical,
    natural,
    shown,
    vectors,
)  # fmt: skip
from plenish.errors import InputError
from plenish.wording import plural

_MANIFEST_BYTES = 512 * 2**20


def listing(source: Path) -> Listing:
    """List a zip archive's images.

    Raises:
        InputError: no zip, members that lead outside it, a broken `dataset.json`, or no images.
    """
    names = pictures(source)
    if not names:
        raise InputError(f"There are no images in {source}; give an archive of PNG or JPEG files.")
    manifests = [name for name in _members(source) if PurePosixPath(name).name == "dataset.json"]
    manifest = min(manifests, key=len, default="")
    content = _manifest(source, manifest) if manifest else None
    # Inside a folder, a dataset.json may be anything; at the top it is StyleGAN's or a mistake.
    if manifest and ("/" not in manifest or (isinstance(content, dict) and "labels" in content)):
        out = _stylegan(source, names, manifest, content)
    else:
        out = tree.arrange(names, place="zip archive")
    out.root = str(source)
    return out


def _members(source: Path) -> list[str]:
    """Names of an archive's files, all of which lie inside it."""
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(
            f"{source} is not a readable zip archive ({error}); fetch or pack it again."
        ) from None
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise InputError(
                f"{source} has a member with a path outside it ({info.filename!r}); do not use this archive."
            )
    if any(info.flag_bits & 1 for info in infos):
        raise InputError(f"{source} is encrypted; unpack it and give the folder.")
    return [info.filename for info in infos]


def pictures(source: Path) -> list[str]:
    """Names of the picture files in an archive, in natural order."""
    names = [name for name in _members(source) if tree.is_picture(PurePosixPath(name).name)]
    visible = [name for name in names if not any(tree.is_hidden(piece) for piece in name.split("/"))]
    return sorted(set(visible), key=natural)


def _manifest(source: Path, name: str) -> Any:
    """What a JSON file in an archive says; None if it is broken."""
    with zipfile.ZipFile(source) as archive:
        info = archive.getinfo(name)
        if info.file_size > _MANIFEST_BYTES:
            raise InputError(
                f"{name} in {source} unpacks to {info.file_size / 2**20:,.0f} MiB; pack the archive again."
            )
        try:
            return json.loads(archive.read(info))
        except (ValueError, RecursionError, zipfile.BadZipFile):
            return None


def _stylegan(source: Path, names: list[str], manifest: str, content: Any) -> Listing:
    try:
        labels = {str(file): label for file, label in content["labels"] or ()}
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{manifest} in {source} is not StyleGAN\'s: it needs "labels", a list of [file name, label], or '
            "null."
        ) from None
    base = manifest.removesuffix("dataset.json")
    names = [name for name in names if name.startswith(base)]
    out = Listing("StyleGAN zip", names)
    if not labels:
        return out
    lacking = [name for name in names if name.removeprefix(base) not in labels]
    if lacking:
        raise InputError(
            f"dataset.json in {source} gives no label to {plural(len(lacking), 'image')} ({shown(lacking)}); "
            'complete it, or set its "labels" to null.'
        )
    extra = len(labels) - len(names)
    if extra > 0:
        out.warnings.append(f"dataset.json labels {plural(extra, 'image')} the archive does not hold.")
    out.schema, out.labels = _labels([labels[name.removeprefix(base)] for name in names], source)
    return out


def _labels(values: list[Any], source: Path) -> tuple[LabelSchema, list[Any]]:
    if all(isinstance(value, (int, str)) and not isinstance(value, bool) for value in values):
        names = [str(value) for value in values]
        return categorical(names), names
    width = len(values[0]) if isinstance(values[0], list) else 0
    if not width or not all(isinstance(value, list) and len(value) == width for value in values):
        raise InputError(
            f"dataset.json in {source} mixes kinds of labels; give every image a whole number, or a "
            "list each."
        )
    if not all(isinstance(x, (int, float)) and math.isfinite(x) for value in values for x in value):
        raise InputError(
            f"dataset.json in {source} has labels that are lists of other things than finite numbers; give "
            "every image a whole number, or a list of numbers."
        )
    return vectors([[float(x) for x in value] for value in values])
