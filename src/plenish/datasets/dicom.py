"""DICOM files: what their headers say, and their pixels as a screen would show them.

Stored values become real ones by the modality LUT or rescale, then grey levels by the VOI LUT or window of
the file (PS3.3 C.11.1 and C.11.2), MONOCHROME1 is inverted, and colours become RGB. Values may belong to a
frame (enhanced multi-frame objects) or to the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.formats import DICOM, is_dicom
from plenish.datasets.images import FULL_WINDOW, MAX_BYTES, Fitted, Shape, Window, fit_array
from plenish.datasets.images import has_grey_pixels as _has_grey_pixels
from plenish.datasets.rejections import Unreadable
from plenish.errors import first_line

if TYPE_CHECKING:
    from pydicom import Dataset

COLUMNS = (
    "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber", "Modality",
    "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality", "PatientOrientation", "ImageType",
    "PhotometricInterpretation", "BitsStored", "Rows", "Columns", "WindowCenter", "WindowWidth",
    "BurnedInAnnotation", "Manufacturer", "ManufacturerModelName", "KVP", "ExposureTime", "XRayTubeCurrent",
    "Exposure", "BodyPartThickness", "CompressionForce", "PixelSpacing", "ImagerPixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "ConvolutionKernel", "MagneticFieldStrength",
    "ScanningSequence", "SequenceVariant", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle",
)  # fmt: skip
"""Attributes that become columns: none names a person, a place or a date."""
_ASKED = (
    "PatientID", "NumberOfFrames", "SharedFunctionalGroupsSequence", "SOPClassUID", "SamplesPerPixel",
)  # fmt: skip
_WHOLE = ("IS", "US", "SS", "UL", "SL")
_REAL = ("DS", "FL", "FD")
_NO_PICTURES = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "REG", "RWV")
"""Modalities of objects that may hold pixels, and are no pictures."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PLUGINS = "python-gdcm pylibjpeg pylibjpeg-openjpeg"
_HEAD = 1024
"""First bytes of a file, in which its transfer syntax lies."""
_TINY = 1e-9
_TIE = 1e-6
"""Added before rounding, so that a tie is rounded up whichever way it was computed."""
_NARROW = 0.25
"""Part of a stated range that an image without a window must use, or it has less than 64 levels left."""


@dataclasses.dataclass(frozen=True)
class File:
    """A DICOM file in memory.

    Attributes:
        dataset: pydicom's.
        frames: how many pictures it holds.
    """

    dataset: Dataset
    frames: int


# Headers


def read_header(file: IO[bytes], more: Sequence[str] = ()) -> dict[str, Any] | None:
    """What a file's header says, by DICOM keyword, without the names of people, places and dates.

    Numbers are numbers, and several values are text with a backslash between them, as DICOM writes them.

    Args:
        file: the file, of which no more is read than its pixels follow; seekable.
        more: keywords beside `COLUMNS` and PatientID.

    Returns:
        `NumberOfFrames` and the values that are there; None for what is no picture or cannot be read.
    """
    keywords = [*COLUMNS, *more]
    try:
        with _silence():
            dataset = _parse(file, tags=[*keywords, *_ASKED])
            if _no_picture(dataset):
                return None
            found = {key: value for key in keywords if (value := _value(dataset, key)) is not None}
            found["NumberOfFrames"] = _frames(dataset)
            if (patient := str(dataset.get("PatientID") or "").strip()) != "":
                found["PatientID"] = patient
            return found
    except Exception:  # It will be rejected with its reason when its turn comes.
        return None


def _value(dataset: Dataset, keyword: str) -> Any:
    """A value as a number or text, from the file or what all its frames share."""
    from pydicom.datadict import dictionary_VM, dictionary_VR

    for place in (dataset, *_shared(dataset)):
        try:
            value = place.get(keyword)
            if value is None or value == "" or (isinstance(value, (list, tuple)) and not len(value)):
                continue
            if dictionary_VM(keyword) != "1" and not isinstance(value, str) and hasattr(value, "__iter__"):
                return "\\".join(map(str, value))
            kind = dictionary_VR(keyword)
            if dictionary_VM(keyword) != "1":
                return str(value)
            return int(value) if kind in _WHOLE else float(value) if kind in _REAL else str(value).strip()
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def _shared(dataset: Dataset) -> list[Dataset]:
    """The groups of attributes that all frames of an enhanced object share."""
    groups = dataset.get("SharedFunctionalGroupsSequence") or ()
    return [item[0] for group in groups for one in group if one.VR == "SQ" and (item := one.value)]


def _frames(dataset: Dataset) -> int:
    return max(1, int(dataset.get("NumberOfFrames") or 1))


def _no_picture(dataset: Dataset) -> bool:
    return not dataset.get("Rows") or not dataset.get("Columns") or dataset.get("Modality") in _NO_PICTURES


# Files


def open_bytes(data: bytes) -> File:
    """Parse a file.

    Raises:
        Unreadable: pydicom is missing, or the file is damaged, no DICOM, or no picture.
    """
    if not DICOM.installed:
        raise Unreadable("extra", format=DICOM.name, command=DICOM.command)
    if not data.strip(b"\0"):
        raise Unreadable("zeros")
    try:
        with _silence():
            dataset = _parse(io.BytesIO(data))
            _refuse_others(dataset, is_dicom(data))
            return File(dataset, _frames(dataset))
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("memory") from None
    except Exception as error:  # pydicom meets hostile bytes here and raises what they lead it to.
        raise Unreadable("damaged", reason=first_line(error)) from None


def _refuse_others(dataset: Dataset, marked: bool) -> None:
    """Refuse what has no pixels that are a picture; `marked` is a file that says it is DICOM."""
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise Unreadable("float-pixels")
    if not marked and "SOPClassUID" not in dataset:
        raise Unreadable("unknown-format")
    if _no_picture(dataset):
        raise Unreadable("dicom-object", kind=_kind(dataset))
    if "PixelData" not in dataset:
        raise Unreadable("damaged", reason="the file ends before its pixels")


def _kind(dataset: Dataset) -> str:
    known = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return str(getattr(known, "name", None) or dataset.get("Modality") or "of an unknown kind")


def _parse(file: IO[bytes], tags: Sequence[str] | None = None) -> Dataset:
    """The file; with `tags` these attributes alone, and no pixels."""
    import pydicom

    head = file.read(_HEAD)
    file.seek(0)
    if is_dicom(head) and _DEFLATED.encode() in head:
        _refuse_bomb(file.read())
        file.seek(0)
    return pydicom.dcmread(
        file, force=True, stop_before_pixels=tags is not None, specific_tags=tags and [*tags]
    )  # fmt: skip


def _refuse_bomb(data: bytes) -> None:
    """Refuse a deflated file that is larger than any file may be; pydicom would unpack it whole."""
    length = int.from_bytes(data[140:144], "little") if data[132:136] == b"\2\0\0\0" else 0
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    piece = data[144 + length :]
    while piece and not unpacker.eof:
        size += len(unpacker.decompress(piece, 2**24))
        piece = unpacker.unconsumed_tail
        if size > MAX_BYTES:
            raise Unreadable("too-large", mib=size / 2**20, limit=MAX_BYTES // 2**20)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Leave out what pydicom warns of: files break the standard's small rules all the time."""
    log = logging.getLogger("pydicom")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    log.propagate = False
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


# Pixels


def fit_frame(file: File, frame: int, shape: Shape) -> Fitted:
    """A picture of a file, made to fit.

    `shape.window`, unless it is the full one, replaces the window of the file; its values are those after
    the modality LUT or rescale, such as Hounsfield units. It does not apply to colours.

    Args:
        file: as `open_bytes` gives it.
        frame: which picture, from 0.
        shape: what it becomes.

    Raises:
        Unreadable: damaged, too large, or compressed in a way that no installed package reads.
    """
    try:
        with _silence():
            pixels, used, grey = _pixels(file, frame, shape.window, shape.max_pixels)
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("memory") from None
    except Exception as error:  # As above; and decoders add their own.
        raise Unreadable("damaged", reason=first_line(error)) from None
    fitted = fit_array(pixels, shape)
    return dataclasses.replace(fitted, peak=65535 if grey else 0, narrow=used < _NARROW)


def is_grey(file: File, max_pixels: int) -> bool:
    """Whether the first picture has no colours."""
    if str(file.dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        return True
    with _silence():
        return _has_grey_pixels(_pixels(file, 0, FULL_WINDOW, max_pixels)[0])


def _pixels(file: File, frame: int, window: Window, max_pixels: int) -> tuple[NDArray[np.uint8], float, bool]:
    """H×W×C uint8, the part of its range that an image without a window uses, and whether it was grey."""
    dataset = file.dataset
    width, height = int(dataset.Columns), int(dataset.Rows)
    if width * height > max_pixels:
        raise Unreadable("too-many-pixels", width=width, height=height, limit=max_pixels)
    stored = _decoded(dataset, frame)
    kind = str(dataset.PhotometricInterpretation).strip()
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        share, used = _grey(stored, dataset, frame, window)
        levels = _levels(1 - share if kind == "MONOCHROME1" else share)
        return levels[:, :, None], used, True
    if kind == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colours = apply_color_lut(stored, dataset)
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
    elif kind == "RGB" or kind.startswith("YBR_"):  # pydicom has made RGB of them.
        colours, bits = stored, int(dataset.BitsStored)
    else:
        raise Unreadable("dicom-colours", kind=kind)
    if colours.ndim != 3:
        raise Unreadable("damaged", reason=f"{kind} with {int(dataset.SamplesPerPixel)} sample a pixel")
    colours = colours[:, :, :3]
    if colours.dtype == np.uint8 and bits == 8:
        return np.ascontiguousarray(colours), 1.0, False
    return _levels(np.clip(colours / (2.0**bits - 1), 0, 1)), 1.0, False


def _decoded(dataset: Dataset, frame: int) -> NDArray[Any]:
    """Stored values of a frame, colours as RGB."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None:  # A file without a header, as some old ones are.
        from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax if little else ExplicitVRBigEndian
    elif syntax.is_encapsulated:
        try:
            known = get_decoder(syntax).is_available
        except NotImplementedError:
            known = False
        if not known:
            raise Unreadable("dicom-codec", syntax=syntax.name, packages=_PLUGINS)
    stored: NDArray[Any] = pixel_array(dataset, index=frame)
    return stored


def _levels(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.floor(255 * share + (0.5 + _TIE)).astype(np.uint8)
    return levels


def _grey(
    stored: NDArray[Any], dataset: Dataset, frame: int, window: Window
) -> tuple[NDArray[np.float64], float]:
    """Values from 0 (darkest, before the inversion of MONOCHROME1) to 1, and the part of the range used."""
    values, low, high = _real(stored, dataset, _of_frame(dataset, frame, "PixelValueTransformationSequence"))
    voi = _of_frame(dataset, frame, "FrameVOILUTSequence")
    if window != FULL_WINDOW:
        low, high = window.limits(values)
    elif voi.get("VOILUTSequence"):
        values, high = _looked_up(values, voi.VOILUTSequence[0])
        return np.clip(values / high, 0, 1), 1.0
    elif (limits := _window_of(voi)) is not None:
        centre, width, function = limits
        if function == "SIGMOID":
            return 1 / (1 + np.exp(-4 * (values - centre) / width)), 1.0
        if function != "LINEAR_EXACT":  # LINEAR, which is half a value aside and one narrower.
            centre, width = centre - 0.5, max(width - 1, _TINY)
        low, high = centre - width / 2, centre + width / 2
    else:
        used = float(values.max() - values.min()) / max(high - low, _TINY)
        return np.clip((values - low) / max(high - low, _TINY), 0, 1), used
    return np.clip((values - low) / max(high - low, _TINY), 0, 1), 1.0


def _real(stored: NDArray[Any], dataset: Dataset, item: Dataset) -> tuple[NDArray[np.float64], float, float]:
    """Stored values after the modality LUT or rescale, and the least and most that they could be."""
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0) == 1
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    if item.get("ModalityLUTSequence"):
        values, high = _looked_up(stored, item.ModalityLUTSequence[0])
        return values, 0.0, high
    slope, intercept = (item.get(key) for key in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    if slope == 0:
        raise Unreadable("damaged", reason="its RescaleSlope is 0")
    ends = low * slope + intercept, high * slope + intercept
    return stored.astype(np.float64) * slope + intercept, min(ends), max(ends)


def _looked_up(values: NDArray[Any], item: Dataset) -> tuple[NDArray[np.float64], float]:
    """Entries of a lookup table for values (those beyond its ends have the last ones), and the most there is.

    pydicom's own reads tables of 8 and 16 bits alone.
    """
    count, first, bits = (int(x) for x in item.LUTDescriptor)
    count = count or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        table = np.frombuffer(data, np.dtype("<u2") if len(data) >= 2 * count else np.uint8)
    else:
        table = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, min(count, len(table)) - 1)
    return table[index].astype(np.float64), 2.0**bits - 1


def _window_of(voi: Dataset) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window, or None."""
    centre, width = (
        value[0] if hasattr(value, "__iter__") and not isinstance(value, str) and len(value) else value
        for value in (voi.get("WindowCenter"), voi.get("WindowWidth"))
    )
    try:
        found = float(centre), float(width), str(voi.get("VOILUTFunction") or "LINEAR")
    except (TypeError, ValueError):
        return None
    least = 1 if found[2] == "LINEAR" else _TINY
    return found if found[1] >= least and np.isfinite(found[:2]).all() else None


def _of_frame(dataset: Dataset, frame: int, sequence: str) -> Dataset:
    """What holds a frame's attributes: its own group, else the shared one, else the file."""
    for name, i in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(name) or ()
        if i < len(groups) and (found := groups[i].get(sequence)):
            item: Dataset = found[0]
            return item
    return dataset
