"""DICOM files come out as a screen would show them, with patients as groups and without names."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from plenish.cli import run
from plenish.datasets import dicom, formats, images
from plenish.datasets.dataset import Dataset
from plenish.datasets.decoding import Source
from plenish.datasets.images import FULL_WINDOW, Shape, Window
from plenish.datasets.importing import import_dataset
from plenish.datasets.rejections import Unreadable
from plenish.datasets.sources import SourceOptions
from plenish.errors import InputError

pydicom = pytest.importorskip("pydicom")
from pydicom import uid  # noqa: E402
from pydicom.dataset import Dataset as Header  # noqa: E402
from pydicom.dataset import FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

CT = "1.2.840.10008.5.1.4.1.1.2"
SIDE = 16
PICTURE = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
NAMES = {"PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "InstitutionName": "St. Elsewhere"}


def header(stored, syntax=uid.ExplicitVRLittleEndian, bits=12, **values):
    """The Dataset of a grey picture (H×W, or N×H×W for several), or of colours (…×3)."""
    out = Header()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = syntax
    out.SOPClassUID, out.SOPInstanceUID = CT, uid.generate_uid()
    colours = stored.shape[-1] == 3 and stored.ndim > 2
    frames = stored.ndim - 2 - colours
    out.Rows, out.Columns = stored.shape[frames : frames + 2]
    if frames:
        out.NumberOfFrames = len(stored)
    out.SamplesPerPixel = 3 if colours else 1
    if colours:
        out.PlanarConfiguration = 0
    out.BitsAllocated = 8 * stored.dtype.itemsize
    out.BitsStored = min(bits, out.BitsAllocated)
    out.HighBit = out.BitsStored - 1
    out.PixelRepresentation = int(stored.dtype.kind == "i")
    out.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    out.PatientID = "p1"
    for name, value in (NAMES | values).items():
        setattr(out, name, value)
    out.PixelData = stored.tobytes()
    return out


def written(out):
    file = io.BytesIO()
    out.save_as(file, enforce_file_format=True)
    return file.getvalue()


def save(path, stored=PICTURE, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(header(stored, **values)))
    return path


def shown(out, window=FULL_WINDOW, frame=0, channels=1, size=SIDE):
    file = dicom.open_bytes(out if isinstance(out, bytes) else written(out))
    pixels = dicom.fit_frame(file, frame, Shape(size, channels, "crop", window)).pixels
    return pixels[..., 0] if channels == 1 else pixels


def levels(share):
    return np.floor(255 * np.clip(share, 0, 1) + 0.5 + 1e-6).astype(np.uint8)


@pytest.mark.parametrize(("centre", "width"), [(2000, 1500), (2048, 401), (900.5, 256), (1, 2)])
def test_inversion_and_the_sign_of_the_rescale_do_not_change_a_picture(centre, width):
    """The same picture as MONOCHROME1 or 2 with a slope of 1 or −1; x ↦ −x takes the window along."""
    turned = 4095 - PICTURE
    window = {"WindowCenter": centre, "WindowWidth": width}
    other = {"WindowCenter": 4096 - centre, "WindowWidth": width}
    falling = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    inverse = {"PhotometricInterpretation": "MONOCHROME1"}
    one = shown(header(PICTURE, **window))
    np.testing.assert_array_equal(one, levels((PICTURE - (centre - 0.5)) / (width - 1) + 0.5))
    np.testing.assert_array_equal(one, shown(header(turned, **window, **falling)))
    np.testing.assert_array_equal(one, shown(header(turned, **other, **inverse)))
    np.testing.assert_array_equal(one, shown(header(PICTURE, **other, **falling, **inverse)))
    for values in ({}, falling, inverse, falling | inverse):  # Without a window, over the range stated.
        light = ("RescaleSlope" in values) == ("PhotometricInterpretation" in values)
        whole = shown(header(PICTURE if light else turned, **values))
        np.testing.assert_array_equal(whole, levels(PICTURE / 4095))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.5, 10), (2.44140625, -3)])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_windows_agree_with_pydicom_to_the_grey_level(function, slope, intercept, kind):
    stored = PICTURE.astype(kind) - (2048 if kind is np.int16 else 0)
    out = header(
        stored, RescaleSlope=slope, RescaleIntercept=intercept, VOILUTFunction=function,
        WindowCenter=[300, 40], WindowWidth=[700, 80],
    )  # fmt: skip
    lowest = -2048 if kind is np.int16 else 0
    low, high = (x * slope + intercept for x in (lowest, lowest + 4095))
    reference = apply_voi_lut(apply_modality_lut(stored, out), out)
    np.testing.assert_array_equal(shown(out), levels((reference - low) / (high - low)))


def lut(first, entries, bits, name):
    item = Header()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(x) for x in entries])
    item.ModalityLUTType = "US"
    return {name: Sequence([item])}


def test_lookup_tables_agree_with_pydicom_to_the_grey_level():
    curve = np.rint(1023 * np.linspace(0, 1, 4096) ** 0.5).astype(int)
    out = header(PICTURE, **lut(0, curve, 10, "ModalityLUTSequence"))
    np.testing.assert_array_equal(shown(out), levels(curve[PICTURE] / 1023))
    table = lut(0, curve * 64, 16, "ModalityLUTSequence")
    out = header(PICTURE, **table)
    np.testing.assert_array_equal(shown(out), levels(apply_modality_lut(PICTURE, out) / 65535))
    voi = header(PICTURE, **lut(500, curve[:2000], 10, "VOILUTSequence"), RescaleSlope=1, RescaleIntercept=0)
    reference = curve[np.clip(PICTURE.astype(int) - 500, 0, 1999)]
    np.testing.assert_array_equal(shown(voi), levels(reference / 1023))
    np.testing.assert_array_equal(reference, apply_voi_lut(PICTURE, voi))
    both = header(PICTURE, **table, **lut(0, curve, 10, "VOILUTSequence"))
    reference = apply_voi_lut(apply_modality_lut(PICTURE, both), both)
    np.testing.assert_array_equal(shown(both), levels(reference / 1023))


def test_an_option_replaces_the_window_of_the_file():
    stored = (PICTURE.astype(np.int32) - 1000).astype(np.int16)
    out = header(stored, bits=16, RescaleSlope=2, RescaleIntercept=24, WindowCenter=40, WindowWidth=400)
    real = stored * 2.0 + 24
    np.testing.assert_array_equal(shown(out, Window(-160, 240)), levels((real + 160) / 400))
    low, high = np.percentile(real, (10, 90))
    np.testing.assert_array_equal(shown(out, Window(10, 90, True)), levels((real - low) / (high - low)))


def test_each_frame_has_its_own_window():
    frames = np.stack([PICTURE, PICTURE[::-1], PICTURE.T])
    groups = []
    for centre in (500, 1000, 3000):
        voi, item = Header(), Header()
        voi.WindowCenter, voi.WindowWidth = centre, 800
        item.FrameVOILUTSequence = Sequence([voi])
        groups.append(item)
    real, common = Header(), Header()
    real.RescaleSlope, real.RescaleIntercept = 1, -100
    common.PixelValueTransformationSequence = Sequence([real])
    out = header(
        frames, PerFrameFunctionalGroupsSequence=Sequence(groups),
        SharedFunctionalGroupsSequence=Sequence([common]),
    )  # fmt: skip
    for i, centre in enumerate((500, 1000, 3000)):
        expected = levels((frames[i] - 100.0 - centre + 0.5) / 799 + 0.5)
        np.testing.assert_array_equal(shown(out, frame=i), expected)


COLOURS = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_colours():
    np.testing.assert_array_equal(shown(header(COLOURS, bits=8), channels=3), COLOURS)
    planes = header(COLOURS, bits=8, PlanarConfiguration=1)
    planes.PixelData = COLOURS.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(shown(planes, channels=3), COLOURS)
    full = header(COLOURS, bits=8, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_array_equal(shown(full, channels=3), convert_color_space(COLOURS, "YBR_FULL", "RGB"))
    deep = header(COLOURS.astype(np.uint16) * 257, bits=16)
    np.testing.assert_array_equal(shown(deep, channels=3), COLOURS)


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(bits):
    colours = np.random.default_rng(2).integers(0, 256, (256, 3))
    out = header(PICTURE.astype(np.uint8), bits=8, PhotometricInterpretation="PALETTE COLOR")
    for i, name in enumerate(("Red", "Green", "Blue")):
        entries = colours[:, i].astype("u1") if bits == 8 else (colours[:, i] * 257).astype("<u2")
        setattr(out, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        setattr(out, f"{name}PaletteColorLookupTableData", entries.tobytes())
    expected = colours[PICTURE.astype(np.uint8)]
    np.testing.assert_array_equal(shown(out, channels=3), expected)
    assert apply_color_lut(PICTURE.astype(np.uint8), out).shape == expected.shape


SYNTAXES = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless,
    uid.JPEG2000Lossless,
)  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_lossless_transfer_syntaxes(syntax):
    picture = np.tile(PICTURE, (4, 4))
    out = header(picture.byteswap() if syntax is uid.ExplicitVRBigEndian else picture)
    if syntax.is_encapsulated:
        out.compress(syntax)
    out.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(shown(out, size=4 * SIDE), levels(picture / 4095))


def test_jpeg():
    smooth = np.linspace(0, 255, SIDE)[:, None].repeat(SIDE, 1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "JPEG", quality=100)
    out = header(smooth, uid.JPEGBaseline8Bit, bits=8)
    out.PixelData = encapsulate([file.getvalue()])
    assert np.abs(shown(out).astype(int) - smooth).max() <= 1


def test_a_syntax_without_a_decoder_is_named(monkeypatch):
    out = header(PICTURE, uid.MPEG2MPML)
    out.PixelData = encapsulate([b"\0" * 64])
    with pytest.raises(Unreadable) as caught:
        shown(out)
    assert caught.value.code == "dicom-codec"
    assert "MPEG2" in caught.value.values["syntax"]


def test_files_without_a_preamble():
    out = header(PICTURE, WindowCenter=2000, WindowWidth=1000)
    bare = written(out)
    bare = bare[144 + int.from_bytes(bare[140:144], "little") :]
    np.testing.assert_array_equal(shown(bare), shown(out))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-100], "damaged"),
        (lambda data: data[:600], "damaged"),
        (lambda data: data[:200], "dicom-object"),
        (lambda data: b"\0" * len(data), "zeros"),
        (lambda data: b"no DICOM at all, but a text of some length" * 9, "unknown-format"),
    ],
)
def test_broken_files_have_a_reason(change, code):
    with pytest.raises(Unreadable) as caught:
        shown(change(written(header(PICTURE))))
    assert caught.value.code == code


def test_mutated_files_are_read_or_have_a_reason():
    data = written(header(PICTURE, WindowCenter=2000, WindowWidth=1000))
    random, reasons = np.random.default_rng(3), set()
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(0, 900, random.integers(1, 6)):
            broken[place] = random.integers(256)
        for content in (bytes(broken), data[: random.integers(1, len(data))]):
            dicom.read_header(io.BytesIO(content))
            try:
                assert shown(content).shape == (SIDE, SIDE)
            except Unreadable as error:
                reasons.add(error.code)
    assert len(reasons) > 3


def test_objects_without_pictures_and_bombs():
    report = header(PICTURE, Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    del report.PixelData, report.Rows, report.Columns
    with pytest.raises(Unreadable, match="Basic Text SR"):
        shown(report)
    mask = header(PICTURE, Modality="SEG")
    with pytest.raises(Unreadable) as caught:
        shown(mask)
    assert caught.value.code == "dicom-object"
    with pytest.raises(Unreadable) as caught:
        dicom.fit_frame(dicom.open_bytes(written(header(PICTURE))), 0, Shape(8, 1, "crop", max_pixels=99))
    assert caught.value.code == "too-many-pixels"


# Through an import


def test_patients_are_groups_and_names_are_dropped(tmp_path):
    for i in range(6):
        save(
            tmp_path / "in" / ("sick" if i % 2 else "well") / f"{i}.dcm", np.roll(PICTURE, i),
            PatientID=f"p{i // 2}", Modality="CT", KVP="120", PixelSpacing=[0.5, 0.75],
            BodyPartExamined="CHEST", WindowCenter=2000, WindowWidth=1000, StudyInstanceUID=f"1.2.{i}",
        )  # fmt: skip
    out = import_dataset(tmp_path / "in", tmp_path / "out", SIDE).dataset
    table = out.table
    assert out.channels == 1
    assert sorted(zip(table["source"], table["label"], table["group"])) == sorted(
        (f"{'sick' if i % 2 else 'well'}/{i}.dcm", "sick" if i % 2 else "well", f"p{i // 2}")
        for i in range(6)
    )
    assert set(table["KVP"]) == {120.0}
    assert set(table["PixelSpacing"]) == {"0.5\\0.75"}
    assert set(table["BodyPartExamined"]) == {"CHEST"}
    assert set(table["StudyInstanceUID"]) == {f"1.2.{i}" for i in range(6)}
    everything = table.to_json() + json.dumps(out.manifest.extra)
    assert not any(value.split("^")[0] in everything for value in NAMES.values())
    asked = import_dataset(
        tmp_path / "in", tmp_path / "asked", SIDE, reading=SourceOptions(dicom_columns=("PatientBirthDate",))
    )
    assert set(asked.dataset.table["PatientBirthDate"]) == {"19700101"}
    pixels = out.pixels.read(np.arange(6))[..., 0]
    for i, source in enumerate(table["source"]):
        number = int(source.split("/")[1][0])
        expected = levels((np.roll(PICTURE, number) - 1999.5) / 999 + 0.5)
        np.testing.assert_array_equal(pixels[i], expected)


def test_folders_zips_and_files_without_a_suffix_are_the_same(tmp_path):
    for i, name in enumerate(("a/1.2.840.7", "a/IM0002", "b/3.DCM", "b/4.ima")):
        save(tmp_path / "in" / name, np.roll(PICTURE, i), PatientID=f"p{i}")
    (tmp_path / "in" / "README").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for file in sorted((tmp_path / "in").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "in"))
    folder, packed = (import_dataset(tmp_path / x, tmp_path / f"{x}-out", SIDE) for x in ("in", "in.zip"))
    assert len(folder.dataset) == 4
    assert folder.dataset.manifest.pixels_hash == packed.dataset.manifest.pixels_hash
    assert folder.dataset.manifest.table_hash == packed.dataset.manifest.table_hash
    assert folder.dataset.manifest.extra["import"]["unused"] == {"": 1}


def test_a_row_for_each_frame(tmp_path):
    frames = np.stack([np.roll(PICTURE, i) for i in range(70)])
    save(tmp_path / "in" / "a" / "many.dcm", frames, PatientID="p1")
    save(tmp_path / "in" / "b" / "one.dcm", PICTURE, PatientID="p2")
    save(tmp_path / "in" / "b" / "report.dcm", Modality="SR", PatientID="p2")
    made = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, workers=2)
    table = made.dataset.table
    assert made.rejected == 1
    assert list(table["frame"]) == [*range(1, 71), 1]
    assert list(table["group"]) == ["p1"] * 70 + ["p2"]
    assert list(table["source"]) == [f"a/many.dcm[{i}]" for i in range(1, 71)] + ["b/one.dcm"]
    pixels = made.dataset.pixels.read(np.arange(71))[..., 0]
    np.testing.assert_array_equal(pixels, levels(np.concatenate([frames, PICTURE[None]]) / 4095))


def test_a_table_names_files_by_their_uids(tmp_path):
    uids = ["1.2.840.1001", "1.2.840.1002"]
    for i, name in enumerate(uids):
        save(tmp_path / "in" / f"{name}.dcm", np.roll(PICTURE, i), PatientID=f"p{i}")
    table = tmp_path / "labels.csv"
    table.write_text("SOPInstanceUID,finding\n" + "".join(f"{x},{x[-1]}\n" for x in uids))
    reading = SourceOptions(labels=table, file_column="SOPInstanceUID", label_column="finding")
    out = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading).dataset
    assert list(zip(out.table["label"], out.table["group"])) == [("1", "p0"), ("2", "p1")]


def test_attributes_are_labels_and_groups_where_asked(tmp_path):
    for i in range(4):
        save(
            tmp_path / "in" / f"{i}.dcm", np.roll(PICTURE, i), PatientID="anonymous",
            StudyInstanceUID=f"1.2.{i // 2}", BodyPartExamined="HAND" if i < 2 else "FOOT", PatientSex="F",
        )  # fmt: skip
    plain = import_dataset(tmp_path / "in", tmp_path / "plain", SIDE)
    assert any("StudyInstanceUID" in text for text in plain.warnings)  # One patient of several studies.
    reading = SourceOptions(label_column="BodyPartExamined", group_column="StudyInstanceUID")
    out = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading).dataset
    assert list(out.table["label"]) == ["HAND", "HAND", "FOOT", "FOOT"]
    assert list(out.table["group"]) == ["1.2.0", "1.2.0", "1.2.1", "1.2.1"]
    with pytest.raises(InputError, match="PatientSex"):
        import_dataset(
            tmp_path / "in", tmp_path / "no", SIDE, reading=SourceOptions(dicom_columns=("PatientSx",))
        )


def test_an_attribute_that_does_not_exist_is_named_with_the_nearest(tmp_path):
    for i in range(2):
        save(tmp_path / "in" / f"{i}.dcm", np.roll(PICTURE, i), BodyPartExamined="CHEST")
    asked = SourceOptions(label_column="BodyPartExaminde")
    with pytest.raises(InputError, match="'BodyPartExaminde'; did you mean 'BodyPartExamined'"):
        import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=asked)
    assert not (tmp_path / "out").exists()


def labelled(tmp_path, *said, reading, **options):
    """What an import makes of files that state, or do not state, an attribute."""
    for i, values in enumerate(said):
        save(tmp_path / "in" / f"{i}.dcm", np.roll(PICTURE, i), PatientID=f"p{i}", **values)
    made = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading, **options)
    return made, made.dataset.table


def test_files_without_the_attribute_of_the_labels_are_no_class(tmp_path):
    parts = [{"BodyPartExamined": name} for name in ("CHEST", "HAND", "", "HAND", "NA")]
    refused = SourceOptions(label_column="BodyPartExamined")
    for reading in (refused, dataclasses.replace(refused, strict=True)):
        with pytest.raises(InputError, match=r"^2 images .*BodyPartExamined.*2\.dcm, 4\.dcm, which say NA"):
            labelled(tmp_path, *parts, reading=reading)
    assert not (tmp_path / "out").exists()
    made, table = labelled(tmp_path, *parts, reading=dataclasses.replace(refused, missing="skip"))
    assert made.dataset.labels.names == ("CHEST", "HAND")
    assert list(zip(table["source"], table["label"], table["group"])) == [
        ("0.dcm", "CHEST", "p0"), ("1.dcm", "HAND", "p1"), ("3.dcm", "HAND", "p3"),
    ]  # fmt: skip
    assert any(text.startswith("2 images without a label left out") for text in made.warnings)
    shutil.rmtree(tmp_path / "out")
    words = dataclasses.replace(refused, missing="skip", missing_words=("none",))
    assert list(labelled(tmp_path, *parts, reading=words)[1]["label"]) == ["CHEST", "HAND", "HAND", "NA"]


def test_other_files_and_unreadable_ones_have_no_label_either(tmp_path):
    Image.fromarray(COLOURS).save(save(tmp_path / "in" / "x.dcm").with_name("0.png"))
    save(tmp_path / "in" / "x.dcm", Modality="SR", BodyPartExamined="FOOT")
    parts = [{"BodyPartExamined": "FOOT"}] * 2
    reading = SourceOptions(label_column="BodyPartExamined")
    with pytest.raises(InputError, match=r"2 images .*0\.png, x\.dcm"):
        labelled(tmp_path, *parts, reading=reading)
    made, table = labelled(tmp_path, *parts, reading=dataclasses.replace(reading, missing="skip"))
    assert made.rejected == 0
    assert list(table["source"]) == ["0.dcm", "1.dcm"]
    assert list(table["label"]) == ["FOOT", "FOOT"]


@pytest.mark.parametrize(
    ("options", "kind", "names", "labels"),
    [
        ({}, "continuous", ("KVP",), [[80.5], [120.0], [80.5]]),
        ({"label_kind": "categorical"}, "categorical", ("80.5", "120.0"), ["80.5", "120.0", "80.5"]),
        ({"label_column": "ImageType"}, "categorical", None, ["A\\M1", "A\\M2", "A\\M1"]),
        ({"label_column": "ImageType", "label_separator": "\\"}, "multilabel", ("A", "M1", "M2"),
         [["A", "M1"], ["A", "M2"], ["A", "M1"]]),
    ],
)  # fmt: skip
def test_the_kind_and_the_separator_of_labels_are_the_users(tmp_path, options, kind, names, labels):
    said = [{"KVP": x, "ImageType": ["A", y]} for x, y in (("80.5", "M1"), ("120", "M2"), ("80.5", "M1"))]
    made, table = labelled(tmp_path, *said, reading=SourceOptions(**{"label_column": "KVP"} | options))
    assert made.dataset.labels.kind == kind
    assert names is None or made.dataset.labels.names == names
    assert [x if isinstance(x, str) else list(x) for x in table["label"]] == labels


def test_a_number_is_asked_for_where_folders_are_classes(tmp_path):
    for i, name in enumerate("aabb"):
        save(tmp_path / "in" / name / f"{i}.dcm", np.roll(PICTURE, i), KVP=str(80 + i))
    reading = SourceOptions(label_column="KVP", label_kind="continuous")
    out = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading).dataset
    assert [list(x) for x in out.table["label"]] == [[80], [81], [82], [83]]


def test_a_group_that_is_asked_for_goes_before_folders(tmp_path):
    for i in range(4):
        save(
            tmp_path / "in" / f"ward{i % 2}" / f"{i}.dcm", np.roll(PICTURE, i), PatientID="anonymous",
            StudyInstanceUID=f"1.2.{i // 2}",
        )  # fmt: skip
    folders = SourceOptions(folders=("group",))
    by_folder = import_dataset(tmp_path / "in", tmp_path / "a", SIDE, reading=folders).dataset
    assert sorted(by_folder.table["group"]) == ["ward0", "ward0", "ward1", "ward1"]
    for name, groups in (("StudyInstanceUID", {"1.2.0", "1.2.1"}), ("PatientID", {"anonymous"})):
        reading = dataclasses.replace(folders, group_column=name)
        made = import_dataset(tmp_path / "in", tmp_path / name, SIDE, reading=reading)
        assert set(made.dataset.table["group"]) == groups
        assert made.dataset.manifest.extra["import"]["meaning"]["group"] == f"the DICOM attribute {name}"
        assert any("--folders" in text and name in text for text in made.warnings)


def test_attributes_that_no_file_states_are_named(tmp_path):
    save(tmp_path / "in" / "1.dcm")
    for name, option in (("BodyPartExamined", "label"), ("PixelData", "group"), ("PatientSex", "group")):
        reading = SourceOptions(**{f"{option}_column": name})
        with pytest.raises(InputError, match=f"No DICOM file states {name}.*--{option}-column {name}"):
            import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading)
    with pytest.raises(InputError, match="Unknown DICOM attribute 'class'"):
        import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=SourceOptions(label_column="class"))
    reading = SourceOptions(dicom_columns=("PatientName", "PatientSex"))
    made = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading)
    assert [text for text in made.warnings if "PatientSex" in text and "PatientName" not in text]
    assert "PatientSex" not in made.dataset.table
    with pytest.raises(InputError) as caught:
        import_dataset(tmp_path / "in", tmp_path / "b", SIDE, reading=SourceOptions(dicom_columns=("Xyz",)))
    assert "Known: A" in str(caught.value)


def test_coco_has_patients_frames_and_columns(tmp_path):
    frames = np.stack([PICTURE, PICTURE.T])
    for i in range(2):
        values = {"StudyInstanceUID": f"1.2.{i}", "PatientSex": "F"}
        save(tmp_path / "in" / f"{i}.dcm", frames if i else PICTURE, PatientID="p1", **values)
    about = {
        "images": [{"id": i, "file_name": f"{i}.dcm"} for i in range(2)],
        "annotations": [{"id": i, "image_id": i, "category_id": i} for i in range(2)],
        "categories": [{"id": i, "name": "ab"[i]} for i in range(2)],
    }
    (tmp_path / "in" / "instances.json").write_text(json.dumps(about))
    reading = SourceOptions(dicom_columns=("PatientSex",))
    table = import_dataset(tmp_path / "in", tmp_path / "a", SIDE, reading=reading).dataset.table
    assert list(zip(table["source"], table["label"], table["group"])) == [
        ("0.dcm", "a", "p1"), ("1.dcm[1]", "b", "p1"), ("1.dcm[2]", "b", "p1"),
    ]  # fmt: skip
    assert set(table["PatientSex"]) == {"F"}
    reading = SourceOptions(group_column="StudyInstanceUID")
    made = import_dataset(tmp_path / "in", tmp_path / "b", SIDE, reading=reading).dataset
    assert list(made.table["group"]) == ["1.2.0", "1.2.1", "1.2.1"]
    np.testing.assert_array_equal(made.pixels.read([2])[0, ..., 0], levels(PICTURE.T / 4095))


def test_a_table_of_labels_says_the_groups_also_by_the_name_of_an_attribute(tmp_path):
    save(tmp_path / "in" / "0.dcm", PatientID="anonymous")
    save(tmp_path / "in" / "1.dcm", PICTURE.T, PatientID="anonymous")
    table = tmp_path / "labels.csv"
    table.write_text("file,label,PatientID\n0.dcm,a,p1\n1.dcm,b,p2\n")
    reading = SourceOptions(labels=table, group_column="PatientID")
    out = import_dataset(tmp_path / "in", tmp_path / "out", SIDE, reading=reading).dataset
    assert list(out.table["group"]) == ["p1", "p2"]


class Counted(io.BytesIO):
    """A file that counts the bytes read of it."""

    count = 0

    def read(self, size=-1):
        found = super().read(size)
        self.count += len(found)
        return found


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_headers_are_read_without_the_pixels(syntax):
    file = Counted(written(header(np.zeros((700, 700), np.uint16), syntax, Modality="CT")))
    assert dicom.read_header(file)["Modality"] == "CT"
    assert file.count < 10_000


def test_headers_of_folders_and_archives_do_not_need_the_pixels(tmp_path, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 4096, (700, 700)).astype(np.uint16)
    save(tmp_path / "in" / "a.dcm", picture)
    far = Sequence([header(np.zeros((200, 200), np.uint16), PatientID="another")])
    save(
        tmp_path / "in" / "b.dcm", picture, ReferencedImageSequence=far, PatientID="p2", BodyPartExamined="C"
    )
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.dcm", "b.dcm"):
            archive.write(tmp_path / "in" / name, name)
    for root in ("in", "in.zip"):
        with Source(str(tmp_path / root)) as source:
            headers = source.headers((["a.dcm", "b.dcm"], ()))
        assert [one["PatientID"] for one in headers] == ["p1", "p2"]
    with zipfile.ZipFile(tmp_path / "in.zip") as archive:
        at = archive.getinfo("a.dcm").header_offset + archive.getinfo("a.dcm").compress_size - 400_000
    damaged = bytearray((tmp_path / "in.zip").read_bytes())
    damaged[at : at + 300_000] = bytes(300_000)
    (tmp_path / "in.zip").write_bytes(damaged)
    monkeypatch.setattr(images, "read_file", None)
    for root in ("in", "in.zip"):
        with Source(str(tmp_path / root)) as source:
            assert source.headers((["a.dcm"], ()))[0]["PatientID"] == "p1"


@pytest.mark.parametrize(
    ("modalities", "domain"),
    [(("CT", "MR"), "radiology"), (("US", "SR"), "radiology"), (("CT", "OP"), None), (("SM",), None),
     (("DX", ""), None), (("CT", "png"), None)],
)  # fmt: skip
def test_the_domain_is_kept_where_all_modalities_are_of_it(tmp_path, modalities, domain, capfd):
    for i, name in enumerate(modalities):
        if name == "png":
            Image.fromarray(COLOURS).save(tmp_path / "in" / "1.png")
        else:
            save(tmp_path / "in" / f"{i}.dcm", np.roll(PICTURE, i), Modality=name)
    words = ["import", str(tmp_path / "in"), "--size", "16"]
    assert run([*words, str(tmp_path / "out")]) == 0
    assert Dataset.open(tmp_path / "out").domain == domain
    said = "The domain radiology comes from the DICOM attribute Modality"
    told = capfd.readouterr().err
    assert (said in told) == (domain is not None)
    assert "reading headers: 100 %" in told
    assert run([*words, str(tmp_path / "asked"), "--domain", "natural"]) == 0
    assert Dataset.open(tmp_path / "asked").domain == "natural"
    assert "The domain" not in capfd.readouterr().err


def test_burned_in_text_patients_as_classes_and_narrow_ranges_are_warned_of(tmp_path, capfd):
    for i in range(3):
        save(
            tmp_path / "in" / f"patient{i}" / "1.dcm", PICTURE // 16 + i, PatientID=f"p{i}",
            BurnedInAnnotation="YES" if i == 1 else "NO",
        )  # fmt: skip
    warnings = " ".join(import_dataset(tmp_path / "in", tmp_path / "out", SIDE).warnings)
    assert "patient1/1.dcm" in warnings
    assert "--folders ignore" in warnings
    assert "3 DICOM images" in warnings
    assert "--window percentile" in warnings
    save(tmp_path / "us" / "1.dcm", Modality="US")
    capfd.readouterr()
    assert run(["import", str(tmp_path / "us"), str(tmp_path / "us-out"), "--size", "16"]) == 0
    assert "1 of modality US" in capfd.readouterr().err


def test_the_command_line_takes_negative_windows(tmp_path):
    save(tmp_path / "in" / "1.dcm", RescaleSlope=1, RescaleIntercept=-1024)
    words = ["import", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "16", "--window", "-160", "240"]
    assert run(words) == 0
    pixels = Dataset.open(tmp_path / "out").pixels.read(np.arange(1))[0, ..., 0]
    np.testing.assert_array_equal(pixels, levels((PICTURE - 1024.0 + 160) / 400))


def test_without_pydicom_a_sentence_says_what_to_install(tmp_path, monkeypatch, capfd):
    save(tmp_path / "in" / "a" / "1.dcm")
    save(tmp_path / "in" / "b" / "2")
    monkeypatch.setattr(formats, "_is_installed", lambda module: module != "pydicom")
    assert run(["import", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "pip install 'plenish[dicom]'" in capfd.readouterr().err
    Image.fromarray(COLOURS).save(tmp_path / "in" / "a" / "1.png")
    assert run(["import", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    said = capfd.readouterr().err
    assert "2 DICOM files need" in said
    assert "plenish[dicom]" in said
