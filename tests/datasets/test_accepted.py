"""Every option is followed by a kind of source or refused, never ignored."""

import dataclasses
import json
import struct

import h5py
import nibabel
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.datasets.test_coco import coco
from tests.datasets.test_meaning import _encoded, imported, text, tree

from plenish.configuration import option_name
from plenish.datasets.export import export_dataset
from plenish.datasets.importing import import_dataset
from plenish.datasets.sources import SourceOptions, recognise
from plenish.errors import InputError

COLUMNS = {
    "label_column", "label_columns", "group_column", "split_column", "split_map", "label_kind",
    "label_separator", "missing", "missing_words", "folders",
}  # fmt: skip
ALWAYS = {"class_names", "opt_out", "strict", "preset"}


def folders(root):
    return tree(root, "a/0.png", "b/1.png")


def described(root):
    tree(root, "0.png", "1.png")
    for i in range(2):
        text(root / f"{i}.json", json.dumps({"label": "ab"[i], "site": "ST"[i]}))
    return root


def annotated(root):
    tree(root, "0.png", "1.png")
    text(root / "a.json", coco(["0.png", "1.png"], [(0, 1), (1, 2)]))
    return root


def stylegan(root):
    tree(root, "0.png", "1.png")
    text(root / "dataset.json", json.dumps({"labels": [["0.png", 0], ["1.png", 1]]}))
    return root


def tabled(root):
    tree(root, "0.png", "1.png")
    text(root / "metadata.csv", "file_name,label,site\n0.png,a,S\n1.png,b,T\n")
    return root


def parquet(root):
    root.mkdir()
    cells = {"image": [_encoded(i) for i in range(2)], "label": ["a", "b"], "site": ["S", "T"]}
    pq.write_table(pa.table(cells), root / "d.parquet")
    return root


def exported(root):
    import_dataset(folders(root.parent / "first"), root.parent / "data", 16)
    export_dataset(root.parent / "data", root, "folder")
    return root


def arrays(root):
    np.savez(f"{root}.npz", images=np.zeros((2, 16, 16, 3), np.uint8), labels=np.arange(2))
    return root.with_name(root.name + ".npz")


def idx(root):
    root.mkdir()
    images = struct.pack(">HBB3I", 0, 8, 3, 2, 4, 4) + bytes(32)
    (root / "x-images-idx3-ubyte").write_bytes(images)
    (root / "x-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + bytes([0, 1]))
    return root


def breakhis(root):
    return tree(root, "SOB_B_A-14-22549AB-40-001.png", "SOB_M_DC-14-2523-40-001.png")


def ham10000(root):
    tree(root, "0.png", "1.png")
    text(root / "HAM10000_metadata.csv", "lesion_id,image_id,dx\nL0,0,a\nL1,1,b\n")
    return root


def pcam(root):
    root.mkdir()
    for key, shape in (("x", (2, 96, 96, 3)), ("y", (2, 1, 1, 1))):
        with h5py.File(root / f"camelyonpatch_level_2_split_train_{key}.h5", "w") as file:
            file[key] = np.zeros(shape, np.uint8)
    return root


def brats(root):
    root.mkdir()
    for kind in ("t2f", "seg"):
        image = nibabel.Nifti1Image(np.ones((8, 8, 2)), np.eye(4))
        nibabel.save(image, root / f"BraTS-GLI-00008-000-{kind}.nii.gz")
    return root


SOURCES = {
    folders: {"labels", "folders", "label_kind"},
    tabled: COLUMNS | {"labels", "file_column", "image_columns"},
    described: COLUMNS | {"labels"},
    annotated: COLUMNS - {"label_column", "label_columns", "label_separator"} | {"labels"},
    stylegan: {"labels"},
    parquet: COLUMNS,
    exported: {"labels"},
    arrays: set(),
    idx: {"labels"},
    breakhis: COLUMNS,
    ham10000: COLUMNS | {"labels", "file_column"},
    pcam: set(),
    brats: {"modality"},
}
PRESETS = (breakhis, ham10000, pcam, brats)
VALUES = {
    "file_column": "zz", "label_column": "zz", "label_columns": ("zz",), "group_column": "zz",
    "split_column": "zz", "split_map": ("1=train",), "label_kind": "multilabel", "label_separator": ";",
    "missing": "skip", "missing_words": ("?",), "folders": ("zz",), "dicom_columns": ("PatientSex",),
    "image_columns": ("zz",), "modality": "t2f",
}  # fmt: skip


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_an_option_is_followed_or_refused(tmp_path, make):
    source = make(tmp_path / "in")
    table = text(tmp_path / "t.csv", "file_name,label\n0.png,x\n")
    preset = make.__name__ if make in PRESETS else None
    values = VALUES | {"labels": table}
    assert {field.name for field in dataclasses.fields(SourceOptions)} == {*values} | ALWAYS
    for name, value in values.items():
        options = SourceOptions(preset=preset, **{name: value})
        if name == "split_map":
            options = dataclasses.replace(options, split_column="zz")
        (scratch := tmp_path / name).mkdir()
        try:
            recognise(source, options, scratch)
            told = ""
        except InputError as error:
            told = str(error)
        if name in SOURCES[make]:
            assert "takes no" not in told, name
        else:
            assert option_name(name) in told, name
    recognise(source, SourceOptions(preset=preset), tmp_path)


def test_columns_of_coco_are_groups_and_parts_and_no_labels(tmp_path):
    root = tree(tmp_path / "in", *(f"{i}.png" for i in range(4)))
    content = json.loads(coco([f"{i}.png" for i in range(4)], [(0, 1), (1, 2), (2, 1), (3, 2)]))
    for i, image in enumerate(content["images"]):
        image |= {"site": "AB"[i // 2], "fold": i // 2, "rating": i / 2}
    text(root / "a.json", json.dumps(content))
    _, table, _ = imported(
        root, tmp_path, group_column="site", split_column="fold", split_map=("0=train", "1=test"),
        class_names=("cat=Cat",),
    )  # fmt: skip
    assert table["label"].tolist() == ["Cat", "dog", "Cat", "dog"]
    assert table["group"].tolist() == ["A", "A", "B", "B"]
    with pytest.raises(InputError, match=r"COCO file.*takes no --label-column; leave it out"):
        imported(root, tmp_path, label_column="site")
    with pytest.raises(InputError, match="categories, not numbers"):
        imported(root, tmp_path, label_kind="continuous")


def test_several_options_are_named_in_one_sentence(tmp_path):
    source = exported(tmp_path / "in")
    with pytest.raises(InputError, match="takes no --label-column, --group-column and --split-column"):
        imported(source, tmp_path, label_column="site", group_column="patient", split_column="zzz")


def test_what_is_said_goes_before_a_preset_though_it_is_the_default(tmp_path):
    root = tree(tmp_path / "in", "0.jpg", "1.jpg")
    rows = [{"id": i, "tag_string_general": "x"} for i in range(3)]
    text(root / "posts.json", "\n".join(map(json.dumps, rows)))
    assert imported(root, tmp_path, preset="danbooru")[0].manifest.count == 2
    with pytest.raises(InputError, match="names 1 file of 3 that"):
        imported(root, tmp_path, preset="danbooru", missing="error")


def test_labels_of_a_table_go_before_a_manifest_and_an_export(tmp_path):
    table = text(tmp_path / "t.csv", "file_name,label,who\n0.png,x,P\n1.png,y,Q\n")
    _, found, _ = imported(stylegan(tmp_path / "in"), tmp_path, labels=table, group_column="who")
    assert (found["label"].tolist(), found["group"].tolist()) == (["x", "y"], ["P", "Q"])
