"""Tables whose rows name several images."""

import pytest
from tests.datasets.test_meaning import imported, said, text, tree

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError

ROWS = "front,side,label,age\nf0.png,s0.png,a,40\nf1.png,,b,50\nf2.png,s2.png,a,60\n"


def sample(tmp_path, rows=ROWS):
    root = tree(tmp_path / "in", "f0.png", "f1.png", "f2.png", "s0.png", "s2.png")
    return root, text(tmp_path / "l.csv", rows)


def test_each_image_of_a_row_becomes_an_image_and_they_stay_together(tmp_path):
    root, labels = sample(tmp_path)
    _, table, about = imported(root, tmp_path, labels=labels, image_columns=("front", "side"), strict=True)
    found = table.set_index("source")[["label", "group", "image_column", "age"]].to_numpy().tolist()
    assert dict(zip(table["source"], found)) == {
        "f0.png": ["a", "1", "front", 40], "s0.png": ["a", "1", "side", 40],
        "f1.png": ["b", "2", "front", 50],
        "f2.png": ["a", "3", "front", 60], "s2.png": ["a", "3", "side", 60],
    }  # fmt: skip
    assert about["meaning"]["group"].startswith("rows of ")
    assert about["notes"][1] == "1 cell names no image."


def test_without_the_option_all_are_taken_and_doubted(tmp_path, capfd):
    root, labels = sample(tmp_path)
    code, told = said(capfd, root, tmp_path / "out", "--labels", labels, "--size", "16")
    assert code == 0
    assert "columns front, side all name images" in told
    assert Dataset.open(tmp_path / "out").manifest.count == 5
    assert said(capfd, root, tmp_path / "no", "--labels", labels, "--strict")[0] == 2


def test_one_column_is_taken_where_it_is_asked_for_and_the_other_told(tmp_path):
    root, labels = sample(tmp_path)
    data, table, about = imported(root, tmp_path, labels=labels, file_column="front")
    assert data.manifest.count == 3
    assert any("1 column names images too (side) and was not used" in text for text in about["warnings"])
    assert table["side"].fillna("none").tolist() == ["s0.png", "none", "s2.png"]
    usual = sample(tmp_path, ROWS.replace("front", "image"))[1]
    assert any(
        "--image-columns image side" in text for text in imported(root, tmp_path, labels=usual)[2]["warnings"]
    )


def test_a_column_of_patients_is_doubted_where_rows_are_the_groups(tmp_path):
    rows = "front,side,label,patient_id\nf0.png,s0.png,a,P1\nf1.png,,b,P1\nf2.png,s2.png,a,P2\n"
    root, labels = sample(tmp_path, rows)
    options = {"labels": labels, "image_columns": ("front", "side")}
    _, table, about = imported(root, tmp_path, **options)
    assert table["group"].tolist() == ["1", "2", "3", "1", "3"]
    assert any("--group-column patient_id" in text for text in about["warnings"])
    with pytest.raises(InputError, match="'patient_id' looks like a group"):
        imported(root, tmp_path, **options, strict=True)


def test_folders_said_to_be_groups_go_before_rows(tmp_path):
    root = tree(tmp_path / "in", "P1/f0.png", "P1/s0.png", "P1/f1.png", "P2/s1.png")
    rows = "front,side,label\nP1/f0.png,P1/s0.png,a\nP1/f1.png,P2/s1.png,b\n"
    labels = text(tmp_path / "l.csv", rows)
    _, table, _ = imported(root, tmp_path, labels=labels, image_columns=("front", "side"), folders=("group",))
    assert dict(zip(table["source"], table["group"])) == {
        "P1/f0.png": "P1", "P1/s0.png": "P1", "P1/f1.png": "P1", "P2/s1.png": "P2",
    }  # fmt: skip


def test_columns_that_are_made_may_not_be_there(tmp_path):
    root, labels = sample(tmp_path, "front,side,table_row,image_column\nf0.png,s0.png,1,x\n")
    with pytest.raises(InputError, match="has a column 'image_column'"):
        imported(root, tmp_path, labels=labels, image_columns=("front", "side"))


def test_groups_of_a_column_go_before_rows(tmp_path):
    rows = "front,side,label,patient\nf0.png,s0.png,a,P1\nf1.png,,b,P1\nf2.png,s2.png,a,P2\n"
    root, labels = sample(tmp_path, rows)
    _, table, _ = imported(
        root, tmp_path, labels=labels, image_columns=("front", "side"), group_column="patient"
    )
    assert table["group"].tolist() == ["P1", "P1", "P2", "P1", "P2"]
    assert table["table_row"].tolist() == [1, 2, 3, 1, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_columns": ("front", "top")}, "--image-columns 'top'"),
        ({"image_columns": ("front",), "file_column": "side"}, "give one of them"),
        ({"image_columns": ("front", "side"), "label_column": "side"}, "label-column 'side'"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(tmp_path, options, words):
    root, labels = sample(tmp_path)
    with pytest.raises(InputError, match=words):
        imported(root, tmp_path, labels=labels, **options)
    with pytest.raises(InputError, match=r"--image-columns.* give a table with --labels"):
        imported(root, tmp_path, image_columns=("front", "side"))


def test_names_that_are_no_files_here_are_no_images(tmp_path):
    root, labels = sample(tmp_path, "file,original,label\nf0.png,DSC1.png,a\nf1.png,DSC2.png,b\n")
    about = imported(root, tmp_path, labels=labels)[2]
    assert not any("images too" in text for text in about["warnings"])
