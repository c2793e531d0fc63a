"""BraTS as slices: HDF5 files of one slice (`volume_1_slice_0.h5`), or NIfTI volumes cut into axial slices.

Values have no scale of their own, so each slice (HDF5) or volume (NIfTI) is stretched from its least to its
99.5th percentile of what is not background.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.archives import ERRORS
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.columns import parse_table
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.hdf5 import opened
from plenish.datasets.sources.listing import Listing, SourceOptions, categorical, natural, shown
from plenish.errors import InputError, first_line
from plenish.progress import progress
from plenish.wording import agree, plural

ACCEPTED = Accepted("BraTS, whose files say labels and patients,", frozenset({"modality"}))
_SLICE = re.compile(r"volume_(\d+)_slice_(\d+)\.(h5|hdf5)$")
_VOLUME = re.compile(r"(?P<case>.+?)[_-](?P<kind>flair|t1|t1ce|t2|seg|t1n|t1c|t2w|t2f)\.nii(\.gz)?$", re.I)
_TIME_POINT = re.compile(r"(?P<patient>BraTS-\w+-\d+)-(?P<time>\d+)$", re.I)
"""Names of BraTS 2023 on, which number the scans of a patient."""
_META = ("meta_data.csv", "BraTS20 Training Metadata.csv")
_CLASSES = ("no tumour", "tumour")
_BRIGHTEST = 99.5
_MODALITY = "flair"
_CHANNELS = 4


def find(container: Container, options: SourceOptions) -> Listing | None:
    """The Listing of all slices, with volumes as groups; None where there are none.

    Raises:
        InputError: they are damaged or packed, or the modality asked for is not there.
    """
    slices = [name for name in container.others if _SLICE.search(name)]
    volumes = [name for name in container.others if _VOLUME.search(PurePosixPath(name).name)]
    if not slices and not volumes:
        return None
    ACCEPTED.check(options)
    if container.kind != "folder":
        raise InputError(f"{container.path} is packed; unpack it and give the folder.")
    return _slices(container, slices, options) if slices else _volumes(container, volumes, options)


# Slices in HDF5


def _slices(container: Container, names: Sequence[str], options: SourceOptions) -> Listing:
    asked = options.modality or "0"
    if asked not in map(str, range(_CHANNELS)):
        raise InputError(f"--modality takes a channel of these files, 0 to {_CHANNELS - 1}, not '{asked}'.")
    channel = int(asked)
    names = sorted(names, key=natural)
    paths = [container.path / name for name in names]
    with opened(paths[0], "image") as (image,):
        first = tuple(image.shape)
    if len(first) != 3 or first[2] != _CHANNELS:
        raise InputError(f"{paths[0]} holds an image of shape {first} where H×W×4 is needed; fetch it again.")
    numbers = [match.groups() for name in names if (match := _SLICE.search(name))]
    tumour, described = _targets(container, names)
    if tumour is None:
        tumour = []
        with progress("reading masks", len(paths), "files") as bar:
            for path in paths:
                tumour.append(_has_mask(path))
                bar.advance(1)

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        for path in paths[start:]:
            with opened(path, "image") as (array,):
                if tuple(array.shape) != first:
                    raise InputError(f"{path} has another shape than {paths[0]}; import them one by one.")
                yield _stretched(np.asarray(array[:, :, channel], np.float64))[None, :, :, None]

    out = _listing(container, names, blocks, tumour, [f"volume {volume}" for volume, _, _ in numbers])
    out.kind = f"HDF5 slices, channel {channel}"  # A resumed import must have the same.
    out.size = first[0] if first[0] == first[1] else None
    out.columns["slice"] = [int(number) for _, number, _ in numbers]
    out.meaning["label"] = f"column 'target' of {described[0]}" if described else "the arrays mask"
    out.described_by = frozenset((*names, *described))
    out.caveats.append(
        f"Channel {channel} of {_CHANNELS} was taken; the files do not name their modalities (FLAIR, T1, "
        "T1ce and T2 in an order that is given differently), --modality 0 to 3 takes another."
    )
    return out


def _targets(container: Container, names: Sequence[str]) -> tuple[list[bool] | None, list[str]]:
    """Which slices show a tumour, by the table that says so, and that table; else None."""
    for table in container.others:
        if PurePosixPath(table).name not in _META:
            continue
        said = {}
        for row in parse_table(container.read(table), container.name(table)):
            path, target = str(row.get("slice_path")), str(row.get("target")).strip()
            if target in ("0", "1", "0.0", "1.0"):
                said[PurePosixPath(path.replace("\\", "/")).name] = target.startswith("1")
        found = [said.get(PurePosixPath(name).name) for name in names]
        if None not in found:
            return [bool(target) for target in found], [table]
    return None, []


def _has_mask(path: Path) -> bool:
    with opened(path, "mask") as (mask,):
        return bool(np.asarray(mask).any())


# Volumes in NIfTI


def _volumes(container: Container, names: Sequence[str], options: SourceOptions) -> Listing:
    asked = (options.modality or _MODALITY).lower()
    cases, recurring = _cases(names)
    same = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w"}
    taken = [kinds.get(asked) or kinds.get(same.get(asked, "")) for kinds in cases.values()]
    if None in taken:
        there = sorted({kind for kinds in cases.values() for kind in kinds} - {"seg"})
        raise InputError(
            f"{plural(taken.count(None), 'volume')} of {container.path} lack the modality {asked}; there are "
            f"{', '.join(there)}: choose with --modality."
        )
    paths = [container.path / str(name) for name in taken]
    shapes = [_load(path).shape for path in paths]
    if any(len(shape) != 3 for shape in shapes):
        raise InputError(f"{container.path} holds volumes that are not H×W×D; give BraTS' own.")
    segmented = ["seg" in kinds for kinds in cases.values()]
    tumour: list[bool] | None = None
    if all(segmented):
        tumour = []
        with progress("reading masks", len(cases), "volumes") as bar:
            for kinds, shape in zip(cases.values(), shapes):
                mask = _values(container.path / kinds["seg"]) > 0
                if mask.shape != shape:
                    raise InputError(f"{kinds['seg']} has another shape than its volume; fetch both again.")
                tumour += np.asarray(mask.any(axis=(0, 1))).tolist()
                bar.advance(1)
    refs = [f"{name}[{i}]" for name, shape in zip(taken, shapes) for i in range(shape[2])]
    starts = np.cumsum([0, *(shape[2] for shape in shapes)])

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        for path, begin, end in zip(paths, starts, starts[1:]):
            if start < end:
                values = _stretched(_values(path))
                turned = np.rot90(values, axes=(0, 1)).transpose(2, 0, 1)[max(0, start - begin) :]
                yield np.ascontiguousarray(turned)[..., None]

    counts = [shape[2] for shape in shapes]
    times = [_TIME_POINT.search(case) for case in cases]
    patients = [case[: found.end("patient")] if found else case for case, found in zip(cases, times)]
    out = _listing(container, refs, blocks, tumour, np.repeat(patients, counts).tolist())
    if any(times):
        points = [found["time"] if found else None for found in times]
        out.columns["timepoint"] = [point for point, count in zip(points, counts) for _ in range(count)]
    if recurring:
        out.doubts.append(
            f"{agree(len(recurring), 'name', 'is', 'are')} that of volumes in several folders "
            f"({shown(recurring)}), which "
            "were taken for different patients; rename them if they are the same."
        )
    out.kind = f"NIfTI volumes, {asked}"
    square = {shape[:2] for shape in shapes}
    out.size = shapes[0][0] if len(square) == 1 and shapes[0][0] == shapes[0][1] else None
    out.columns["slice"] = [i for shape in shapes for i in range(shape[2])]
    if tumour is not None:
        out.meaning["label"] = "the volumes seg"
    elif any(segmented):
        lacking = [case for case, kinds in cases.items() if "seg" not in kinds]
        out.doubts.append(
            f"{plural(len(lacking), 'volume')} without a mask (the first is {lacking[0]}), so the slices are "
            "unlabelled; import volumes with masks alone."
        )
    out.described_by = frozenset(names)
    return out


def _cases(names: Sequence[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The file of each kind by case, and the cases that recur in several folders, which go before them.

    Raises:
        InputError: a folder has two files of one kind of a case.
    """
    found = [
        (PurePosixPath(name).parent.as_posix(), match["case"], match["kind"].lower(), name)
        for name in sorted(names, key=natural)
        if (match := _VOLUME.search(PurePosixPath(name).name))
    ]
    several = Counter((case, kind) for _, case, kind, _ in found)
    recurring = {case for (case, _), count in several.items() if count > 1}
    cases: dict[str, dict[str, str]] = {}
    for folder, case, kind, name in found:
        kinds = cases.setdefault(f"{folder}/{case}" if case in recurring else case, {})
        if kind in kinds:
            raise InputError(f"{kinds[kind]} and {name} are the same volume; remove one of them.")
        kinds[kind] = name
    return cases, sorted(recurring, key=natural)


def _load(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise InputError(
            f"{path} is NIfTI, which takes nibabel; pip install 'plenish[nifti]' brings it."
        ) from None
    try:
        return nibabel.load(path)
    except Exception as error:  # Its own error types have no common base but this.
        raise InputError(
            f"{path} is no readable NIfTI volume ({first_line(error)}); fetch it again."
        ) from None


def _values(path: Path) -> NDArray[np.float64]:
    volume = _load(path)
    try:
        return np.asarray(volume.dataobj, np.float64)
    except ERRORS as error:
        raise InputError(f"{path} is damaged ({first_line(error)}); fetch it again.") from None


# Both


def _listing(
    container: Container, refs: Sequence[str], blocks: Any, tumour: Sequence[bool] | None, groups: list[str]
) -> Listing:
    out = Listing("", list(refs), blocks=blocks, channels=1)
    out.groups = groups
    out.meaning["group"] = "names of the files"
    if tumour is not None:
        out.labels = [_CLASSES[value] for value in tumour]
        out.schema = categorical(out.labels)
    return out


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values as 0 to 255; the background, which is the least or zero, is black."""
    values = np.nan_to_num(values)
    low = float(values.min())
    inside = values[values > low]
    if not inside.size:
        return np.zeros(values.shape, np.uint8)
    high = float(np.percentile(inside, _BRIGHTEST))
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    return np.rint(scaled).astype(np.uint8)
