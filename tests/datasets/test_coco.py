"""COCO's JSON as labels of whole images."""

import json

import pytest
from tests.datasets.test_meaning import _tar, _zip, imported, said, text, tree

from plenish.errors import InputError


def coco(images, pairs, categories=("cat", "dog"), **more):
    """A COCO file: names of images, (image number, category number) of each annotation."""
    return json.dumps({
        "info": {}, "licenses": [],
        "images": [
            {"id": 100 + i, "file_name": name, "width": 16, "height": 16} for i, name in enumerate(images)
        ],
        "annotations": [
            {"id": k, "image_id": 100 + i, "category_id": c, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0,
             **more}
            for k, (i, c) in enumerate(pairs)
        ],
        "categories": [{"id": c, "name": name, "supercategory": "x"} for c, name in enumerate(categories, 1)],
    })  # fmt: skip


def test_images_of_one_category_have_it_as_class(tmp_path, capfd):
    root = tree(tmp_path / "in", "images/0.png", "images/1.png", "images/2.png")
    content = coco(["0.png", "1.png", "2.png"], [(0, 1), (0, 1), (1, 2), (2, 1)], ("cat", "dog", "cow"))
    text(root / "annotations/instances_default.json", content)
    data, table, about = imported(root, tmp_path, strict=True)
    assert (data.labels.kind, data.labels.names) == ("categorical", ("cat", "dog"))
    assert table["label"].tolist() == ["cat", "dog", "cat"]
    assert table["id_"].tolist() == [100, 101, 102]
    assert about["unused"] == {}
    assert about["meaning"]["label"].startswith("the categories of the annotations in ")
    assert about["notes"] == [
        "The categories of 4 annotations were taken as one class for each image; bbox was not used.",
        "No annotation is of the categories cow.",
    ]
    assert "bbox was not used" in said(capfd, root, tmp_path / "out", "--size", "16")[1]
    for packed in (_zip(root, tmp_path / "a.zip"), _tar(root, tmp_path / "a.tar.gz")):
        assert imported(packed, tmp_path)[1].equals(table)
    moved = tmp_path / "labels.json"
    (root / "annotations/instances_default.json").rename(moved)
    assert imported(root, tmp_path, labels=moved)[1].equals(table)


def test_images_of_several_categories_have_tags(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png", "2.png")
    text(root / "a.json", coco(["0.png", "1.png", "2.png"], [(0, 1), (0, 2), (1, 2)], segmentation=[[1]]))
    data, table, about = imported(root, tmp_path, strict=True)
    assert data.labels.kind == "multilabel"
    assert [list(tags) for tags in table["label"]] == [["cat", "dog"], ["dog"], []]
    assert "tags, since an image may have several; bbox and segmentation were not used" in about["notes"][0]
    with pytest.raises(InputError, match=r"gives 0\.png the categories cat, dog"):
        imported(root, tmp_path, label_kind="categorical")


def test_images_without_annotations_are_doubted(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png", "2.png")
    text(root / "a.json", coco(["0.png", "1.png", "2.png"], [(0, 1), (1, 2)]))
    data, table, about = imported(root, tmp_path)
    assert data.labels.kind == "multilabel"
    assert "1 image without an annotation" in about["warnings"][0]
    data, table, _ = imported(root, tmp_path, label_kind="categorical", missing="skip")
    assert table["label"].tolist() == ["cat", "dog"]
    with pytest.raises(InputError, match="1 row without a label"):
        imported(root, tmp_path, label_kind="categorical")


def test_files_of_parts_give_a_split(tmp_path):
    root = tree(tmp_path / "in", "train2017/0.png", "train2017/1.png", "val2017/2.png")
    text(root / "annotations/instances_train2017.json", coco(["0.png", "1.png"], [(0, 1), (1, 2)]))
    text(root / "annotations/instances_val2017.json", coco(["2.png"], [(0, 2)]))
    text(root / "annotations/person_keypoints_train2017.json", coco(["0.png"], [(0, 1)], ("person",)))
    text(root / "annotations/captions_train2017.json", '{"images": [], "annotations": []}')
    data, table, about = imported(root, tmp_path)
    assert table["label"].tolist() == ["cat", "dog", "dog"]
    assert data.split().part_of.tolist() == ["train", "train", "val"]
    assert about["unused"] == {".json": 2}
    same = tree(tmp_path / "roboflow", "train/x.png", "valid/x.png")
    text(same / "train/_annotations.coco.json", coco(["x.png"], [(0, 1)]))
    text(same / "valid/_annotations.coco.json", coco(["x.png"], [(0, 2)]))
    data, table, _ = imported(same, tmp_path)
    assert dict(zip(table["source"], table["label"])) == {"train/x.png": "cat", "valid/x.png": "dog"}
    assert data.split().part_of.tolist() == ["train", "val"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": [{"image_id": 100, "category_id": 9}]}, "unknown category 9"),
        ({"annotations": [{"image_id": 7, "category_id": 1}]}, "unknown image 7"),
        ({"annotations": [{"image_id": 100}]}, "is not COCO's"),
        ({"annotations": [[1]]}, "is not COCO's"),
        ({"images": []}, "unknown image 100"),
        ({"images": [{"id": 100, "file_name": "0.png"}] * 2}, "two images of one id"),
        ({"images": [{"id": 100, "file_name": "9.png"}]}, "does not hold"),
        ({"images": [{"id": 100, "file_name": "../9.png"}]}, "outside"),
        ({"categories": [{"id": [1], "name": "x"}]}, "is not COCO's"),
    ],
)
def test_damaged_files_are_refused_by_name(tmp_path, change, words):
    root = tree(tmp_path / "in", "0.png")
    text(root / "a.json", json.dumps(json.loads(coco(["0.png"], [(0, 1)])) | change))
    with pytest.raises(InputError, match=words):
        imported(root, tmp_path)


def test_two_files_about_the_same_images_are_refused(tmp_path):
    root = tree(tmp_path / "in", "0.png")
    text(root / "a.json", coco(["0.png"], [(0, 1)]))
    text(root / "b.json", coco(["0.png"], [(0, 2)]))
    with pytest.raises(InputError, match=r"both about 0\.png; name one"):
        imported(root, tmp_path)
    assert imported(root, tmp_path, labels=root / "b.json")[1]["label"].tolist() == ["dog"]


def test_names_that_only_resemble_files_are_told(tmp_path):
    root = tree(tmp_path / "in", "0000.png", "0001.png")
    text(root / "a.json", coco(["0.jpg", "1.jpg"], [(0, 1), (1, 2)]))
    _, table, about = imported(root, tmp_path)
    assert table["label"].tolist() == ["cat", "dog"]
    assert any("2 names were matched" in text and "'0.jpg'" in text for text in about["warnings"])


def test_categories_of_one_name_are_told(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png")
    text(root / "a.json", coco(["0.png", "1.png"], [(0, 1), (1, 2)], ("cat", "cat")))
    data, _, about = imported(root, tmp_path)
    assert data.labels.names == ("cat",)
    assert "called cat and were taken for one" in about["warnings"][0]
