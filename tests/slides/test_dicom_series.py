"""A DICOM slide opens by its folder or any of its files, with its scale and patient."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish.cli import run
from plenish.datasets.dataset import Dataset
from plenish.datasets.importing import import_dataset
from plenish.errors import InputError
from plenish.slides.dicom_series import read_instance
from plenish.slides.reader import open_slide
from plenish.slides.slide_list import list_slides

pytest.importorskip("pydicom")
from pydicom import uid
from pydicom.dataset import Dataset as Header
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

TILE = 64
ROWS, COLUMNS = np.mgrid[:300, :420]
PIXELS = np.stack([COLUMNS // 2, ROWS // 2, (COLUMNS + ROWS) // 4], 2).astype(np.uint8)


def _tiles(pixels: np.ndarray) -> list[np.ndarray]:
    high, wide = (-(-side // TILE) * TILE for side in pixels.shape[:2])
    whole = np.full((high, wide, 3), 255, np.uint8)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return [whole[y : y + TILE, x : x + TILE] for y in range(0, high, TILE) for x in range(0, wide, TILE)]


def _jpeg(tile: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(tile).save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


def write_level(
    path: Path, level: int, *, jpeg: bool = True, series: str = "1.2.9", patient: str = "p1"
) -> None:
    """One file of a slide of 0.5 µm per pixel at level 0 (VL Whole Slide Microscopy, TILED_FULL)."""
    pixels = PIXELS[:: 2**level, :: 2**level]
    tiles = _tiles(pixels)
    out = Header()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit if jpeg else uid.ExplicitVRLittleEndian
    out.SOPClassUID, out.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.6", uid.generate_uid()
    out.StudyInstanceUID, out.SeriesInstanceUID, out.InstanceNumber = "1.2.8", series, level + 1
    out.Modality, out.PatientName, out.PatientID, out.FrameOfReferenceUID = "SM", "Doe^Jane", patient, "1.2.7"
    out.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED" if level else "NONE"]
    out.DimensionOrganizationType, out.TotalPixelMatrixFocalPlanes = "TILED_FULL", 1
    out.TotalPixelMatrixRows, out.TotalPixelMatrixColumns = pixels.shape[:2]
    out.Rows, out.Columns, out.NumberOfFrames = TILE, TILE, len(tiles)
    out.SamplesPerPixel, out.PlanarConfiguration, out.PixelRepresentation = 3, 0, 0
    out.BitsAllocated, out.BitsStored, out.HighBit = 8, 8, 7
    out.PhotometricInterpretation = "YBR_FULL_422" if jpeg else "RGB"
    measures, shared, optical = Header(), Header(), Header()
    measures.PixelSpacing = [0.0005 * 2**level] * 2  # mm
    shared.PixelMeasuresSequence = Sequence([measures])
    out.SharedFunctionalGroupsSequence = Sequence([shared])
    optical.OpticalPathIdentifier = "1"
    out.NumberOfOpticalPaths, out.OpticalPathSequence = 1, Sequence([optical])
    out.PixelData = encapsulate([_jpeg(t) for t in tiles]) if jpeg else b"".join(t.tobytes() for t in tiles)
    path.parent.mkdir(parents=True, exist_ok=True)
    out.save_as(path, enforce_file_format=True)


def make_slide(folder: Path, **options: object) -> Path:
    for level in range(3):
        write_level(folder / f"{level}.dcm", level, **options)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("jpeg", [True, False])
def test_a_folder_and_any_of_its_files_are_the_slide(tmp_path: Path, jpeg: bool) -> None:
    folder = make_slide(tmp_path / "case7", jpeg=jpeg)
    for path in (folder, folder / "0.dcm", folder / "2.dcm"):
        with open_slide(path) as slide:
            assert (slide.name, slide.vendor, slide.width, slide.height) == ("case7", "dicom", 420, 300)
            assert slide.scale.mpp == pytest.approx(0.5)
            assert [level.downsample for level in slide.levels] == [1.0, 2.0, 4.0]
            for level in range(3):
                wide, high = slide.levels[level].width, slide.levels[level].height
                read = slide.read(level, 0, 0, wide, high).astype(int)
                assert np.abs(read - PIXELS[:: 2**level, :: 2**level]).max() <= (16 if jpeg else 0)
            assert slide.thumbnail(105)[0].shape == (75, 105, 3)


def test_folders_of_slides_are_listed_with_their_patients(tmp_path: Path) -> None:
    for name, patient in (("a", "p1"), ("b", "p2"), ("c", "p1")):
        make_slide(tmp_path / name, series=f"1.2.{ord(name)}", patient=patient)
    entries = list_slides(tmp_path).entries
    assert [(e.name, e.group, e.group_from) for e in entries] == [
        ("a", "p1", "dicom"), ("b", "p2", "dicom"), ("c", "p1", "dicom"),
    ]  # fmt: skip
    assert read_instance(tmp_path / "b/1.dcm") == ("1.2.98", "p2")


def test_several_slides_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_level(tmp_path / "in" / "1.dcm", 0)
    write_level(tmp_path / "in" / "2.dcm", 0, series="1.2.10")
    for attempt in (list_slides, open_slide):
        with pytest.raises(InputError, match="2 series"):
            attempt(tmp_path / "in")


def test_inspect_and_tile(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_slide(tmp_path / "slides" / "case7")
    assert run(["slides", "inspect", str(folder)]) == 0
    assert "case7" in capfd.readouterr().out
    words = ["slides", "tile", str(tmp_path / "slides"), str(tmp_path / "out"), "--size", "64"]
    assert run([*words, "--mpp", "1", "--min-tissue", "0"]) == 0
    table = Dataset.open(tmp_path / "out").table
    assert set(table["slide"]) == {"case7"}
    assert set(table["group"]) == {"p1"}
    assert len(table) >= 6


def test_damaged_files_and_other_dicom_are_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = make_slide(tmp_path / "slide")
    data = (folder / "0.dcm").read_bytes()
    for i, content in enumerate((data[:300], b"x" * 500, b"")):
        path = tmp_path / f"broken{i}" / "0.dcm"
        path.parent.mkdir()
        path.write_bytes(content)
        with pytest.raises(InputError):
            open_slide(path)
    os.truncate(folder / "0.dcm", len(data) // 2)
    with open_slide(folder) as slide:
        assert slide.thumbnail(420)[0].shape == (300, 420, 3)  # What is lost is taken from coarser levels.
        assert slide.unreadable == []


def test_an_import_of_a_slide_doubts_it(tmp_path: Path) -> None:
    make_slide(tmp_path / "in" / "slide")
    assert any(
        "slides tile" in text for text in import_dataset(tmp_path / "in", tmp_path / "out", 16).warnings
    )
