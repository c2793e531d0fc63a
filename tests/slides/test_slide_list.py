from __future__ import annotations

from pathlib import Path

import pytest

from plenish.errors import InputError
from plenish.slides.names import barcode, slide_name
from plenish.slides.slide_list import list_slides
from plenish.slides.tiling_config import TableOptions


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_a_folder_is_searched_for_slides_in_order(tmp_path: Path) -> None:
    _touch(tmp_path, "b.svs", "a.ndpi", "deep/c.tiff", "notes.txt", "a.xml", ".hidden.svs")
    assert [entry.name for entry in list_slides(tmp_path).entries] == ["a", "b", "c"]


def test_masks_in_the_annotations_folder_are_no_slides(tmp_path: Path) -> None:
    _touch(tmp_path, "a.tif", "masks/a_mask.tif")
    assert [e.name for e in list_slides(tmp_path, leave_out=tmp_path / "masks").entries] == ["a"]
    assert [e.name for e in list_slides(tmp_path, leave_out=tmp_path).entries] == ["a", "a_mask"]


def test_a_dicom_slide_is_a_folder_of_files(tmp_path: Path) -> None:
    _touch(tmp_path, "one/1.dcm", "one/2.dcm", "two/3.dcm")
    assert [entry.path.name for entry in list_slides(tmp_path).entries] == ["1.dcm", "3.dcm"]


def test_a_text_list_names_slides_and_keeps_those_that_are_missing(tmp_path: Path) -> None:
    _touch(tmp_path, "s/a.svs")
    (tmp_path / "list.txt").write_text("# ours\ns/a.svs\n\ns/gone.svs\n")
    there, gone = list_slides(tmp_path / "list.txt").entries
    assert (there.name, there.rejection) == ("a", None)
    assert gone.rejection is not None
    assert gone.rejection.code == "missing"


GDC = """case_id|sample_id|slide_id|disease_type|sample_type|percent_tumor_cells
TCGA-HZ-7926|TCGA-HZ-7926-01A|TCGA-HZ-7926-01A-01-TS1|Ductal|Primary Tumor|74.0
TCGA-2J-AABT|TCGA-2J-AABT-11A|TCGA-2J-AABT-11A-01-TSA|Ductal|Solid Tissue Normal|
"""


def test_a_gdc_table_names_slides_by_their_barcodes(tmp_path: Path) -> None:
    _touch(tmp_path, "x/TCGA-HZ-7926-01A-01-TS1.6ab3-ff.svs", "TCGA-2J-AABT-11A-01-TSA.svs")
    (tmp_path / "slides.csv").write_text(GDC)
    listed = list_slides(tmp_path / "slides.csv", TableOptions(label_column="sample_type"))
    tumour, normal = listed.entries
    assert tumour.path.name == "TCGA-HZ-7926-01A-01-TS1.6ab3-ff.svs"
    assert (tumour.name, tumour.group) == ("TCGA-HZ-7926-01A-01-TS1", "TCGA-HZ-7926")
    assert (tumour.case, tumour.sample) == ("TCGA-HZ-7926", "TCGA-HZ-7926-01A")
    assert (tumour.label, normal.label) == ("Primary Tumor", "Solid Tissue Normal")
    assert tumour.metadata["percent_tumor_cells"] == 74.0
    assert normal.metadata["percent_tumor_cells"] is None
    assert listed.columns["percent_tumor_cells"] == "number"
    assert "sample_type" not in listed.columns


@pytest.mark.parametrize("mark", "|,;\t")
def test_any_usual_mark_parts_the_columns(tmp_path: Path, mark: str) -> None:
    _touch(tmp_path, "a.svs")
    (tmp_path / "t.csv").write_text(f"slide{mark}age\na{mark}61\n")
    assert list_slides(tmp_path / "a.svs", TableOptions(tmp_path / "t.csv")).entries[0].metadata == {
        "age": 61.0
    }


def test_an_export_may_have_empty_lines_stray_quotes_and_columns_without_a_name(tmp_path: Path) -> None:
    _touch(tmp_path, "a.svs")
    (tmp_path / "t.csv").write_text('\r\n\n,slide,site,\n0,a,"Site" 3,x\n')
    [entry] = list_slides(tmp_path / "a.svs", TableOptions(tmp_path / "t.csv")).entries
    assert entry.metadata == {"site": "Site 3"}


def test_numbers_are_numbers_and_codes_stay_text(tmp_path: Path) -> None:
    _touch(tmp_path, "a.svs", "b.svs", "c.svs")
    (tmp_path / "t.csv").write_text(",slide,code,lot,age,size\n0,a,01_02,007,61,1e3\n1,b,1_0,8,,-.5\n")
    listed = list_slides(tmp_path, TableOptions(tmp_path / "t.csv"))
    assert listed.columns == {"code": "text", "lot": "text", "age": "integer", "size": "number"}
    assert [dict(entry.metadata) for entry in listed.entries] == [
        {"code": "01_02", "lot": "007", "age": 61, "size": 1000.0},
        {"code": "1_0", "lot": "8", "age": None, "size": -0.5},
        {"code": None, "lot": None, "age": None, "size": None},
    ]
    assert type(listed.entries[0].metadata["age"]) is int


def test_a_table_of_slides_and_one_about_them_are_joined(tmp_path: Path) -> None:
    _touch(tmp_path, "s/a.svs", "s/b.svs", "s/c.svs")
    (tmp_path / "best.csv").write_text("rank,path,age\n1,s/b.svs,5\n2,s/a.svs,6\n")
    (tmp_path / "m.csv").write_text("slide_id|patient|age\na|P1|61\nb|P1|\nc|P2|63\n")
    listed = list_slides(tmp_path / "best.csv", TableOptions(tmp_path / "m.csv"))
    assert [(e.name, e.group, e.metadata["rank"], e.metadata["age"]) for e in listed.entries] == [
        ("b", "P1", 1, 5),
        ("a", "P1", 2, 61),
    ]
    assert all(entry.rejection is None for entry in listed.entries)
    (tmp_path / "other.csv").write_text("slide_id,patient\nz,P1\n")
    with pytest.raises(InputError, match="No row of"):
        list_slides(tmp_path / "best.csv", TableOptions(tmp_path / "other.csv"))


def test_mismatches_are_listed_in_both_directions(tmp_path: Path) -> None:
    _touch(tmp_path, "a.svs", "b.svs")
    (tmp_path / "t.csv").write_text("slide_id,patient\nb,P1\nc,P2\nd,P3\n")
    listed = list_slides(tmp_path, TableOptions(tmp_path / "t.csv"))
    assert listed.rows_without_slide == ("c", "d")
    assert listed.slides_without_row == ("a",)
    assert [entry.group for entry in listed.entries] == ["a", "P1"]


def test_groups_are_patients(tmp_path: Path) -> None:
    _touch(tmp_path, "TCGA-CR-7395-01A-01-TS1.svs", "patient_017_node_2.tif", "plain.svs")
    groups = {entry.name: entry.group for entry in list_slides(tmp_path).entries}
    assert groups == {
        "TCGA-CR-7395-01A-01-TS1": "TCGA-CR-7395", "patient_017_node_2": "patient_017", "plain": "plain",
    }  # fmt: skip
    (tmp_path / "t.csv").write_text("slide,centre\nplain,Lund\n")
    listed = list_slides(tmp_path, TableOptions(tmp_path / "t.csv", group_column="centre"))
    assert {e.name: e.group for e in listed.entries}["plain"] == "Lund"


def test_columns_that_tiles_have_already_get_another_name(tmp_path: Path) -> None:
    _touch(tmp_path, "a.svs")
    (tmp_path / "t.csv").write_text("slide,label,mpp,coverage_x\na,yes,0.31,2\n")
    entry = list_slides(tmp_path / "a.svs", TableOptions(tmp_path / "t.csv")).entries[0]
    assert entry.metadata == {"slide_label": "yes", "slide_coverage_x": 2.0}
    assert entry.mpp == 0.31


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", r"t\.csv has no rows"),
        ("age,sex\n1,f\n", "slide_id"),
        ("slide,age\na,1\na,2\n", r"t\.csv.* a;"),
        ("slide,age\na\n", "Row 2"),
        ("slide,age\na,1,2\n", "Row 2"),
        ("slide,age\n,1\n", "Line 2.*'slide'"),
        ("slide,mpp\na,-1\n", "mpp '-1'"),
        ("slide,mpp\na,0.2_5\n", "mpp '0.2_5'"),
        ("slide,age,age\na,1,2\n", "two columns named 'age'"),
        ("slide,label,slide_label\na,1,2\n", "both be called 'slide_label'"),
        (f"slide,age\na,{'1' * 200_000}\n", "field larger"),
        ("slide,age\nb,1\n", "No row of .* names a slide of .*'slide' has 'b'.* is called 'a'"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, table: str, words: str) -> None:
    _touch(tmp_path, "a.svs")
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(InputError, match=words):
        list_slides(tmp_path / "a.svs", TableOptions(tmp_path / "t.csv"))


def test_sources_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        list_slides(tmp_path / "none")
    with pytest.raises(InputError, match="no slides in"):
        list_slides(tmp_path)
    _touch(tmp_path, "one/a.svs", "two/a.tif")
    with pytest.raises(InputError, match="Two slides are called a"):
        list_slides(tmp_path)
    with pytest.raises(InputError, match="--label-column names a column of a table"):
        list_slides(tmp_path / "one", TableOptions(label_column="kind"))
    (tmp_path / "t.csv").write_text("slide,kind\na,x\n")
    with pytest.raises(InputError, match="did you mean 'kind'"):
        list_slides(tmp_path / "one", TableOptions(tmp_path / "t.csv", label_column="kinds"))
    _touch(tmp_path, "three/A.svs", "three/a.tif")
    with pytest.raises(InputError, match="capitals"):
        list_slides(tmp_path / "three")


def test_names_lose_suffixes_and_uuids_only() -> None:
    assert slide_name("a.b.svs") == "a.b"
    assert slide_name("CMU-1-Small-Region.svs") == "CMU-1-Small-Region"
    assert slide_name("TCGA-XX-AB12-01Z-00-DX1.0a-1b.svs") == "TCGA-XX-AB12-01Z-00-DX1"
    assert slide_name("TCGA-XX-AB12-01Z-00-DX1") == "TCGA-XX-AB12-01Z-00-DX1"
    assert barcode("TCGA-XX-AB12-01Z-00-DX1") == ("TCGA-XX-AB12", "TCGA-XX-AB12-01Z")
    assert barcode("patient_001") is None
