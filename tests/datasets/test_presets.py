"""Public data sets by name: small ones of their layout, with the right labels, groups, parts, columns."""

import json
import zipfile

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli
from plenish.commands.datasets import list_presets
from plenish.datasets.dataset import Dataset
from plenish.datasets.importing import import_dataset
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import SourceOptions
from plenish.datasets.sources.presets import presets
from plenish.errors import InputError

_NUMBER = iter(range(10**6))


def pictures(root, *names):
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(path)


def table(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def imported(source, tmp_path, preset, **options):
    out = tmp_path / f"out{next(_NUMBER)}"
    keep = options.pop("keep_split", True)
    reading = SourceOptions(preset=preset, **options)
    data = import_dataset(source, out, 16, reading=reading, keep_split=keep).dataset
    frame = pd.read_parquet(out / "samples.parquet")
    return data, frame.set_index("source"), data.manifest.extra["import"]


def ham10000(root, name="HAM10000_metadata.csv"):
    pictures(
        root, "HAM10000_images_part_1/ISIC_0024306.jpg", "HAM10000_images_part_1/ISIC_0024307.jpg",
        "HAM10000_images_part_2/ISIC_0029306.jpg",
    )  # fmt: skip
    table(
        root / name, "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset",
        "HAM_0000550,ISIC_0024306,nv,follow_up,45.0,male,trunk,vidir_molemax",
        "HAM_0003577,ISIC_0024307,nv,follow_up,50.0,male,lower extremity,vidir_molemax",
        "HAM_0000550,ISIC_0029306,mel,histo,45.0,male,trunk,rosendahl",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "HAM10000_metadata"])
def test_ham10000(tmp_path, name):
    ham10000(tmp_path / "in", name)
    table(tmp_path / "in/hmnist_28_28_RGB.csv", "pixel0000,label", "1,2")
    data, rows, about = imported(tmp_path / "in", tmp_path, "ham10000", strict=True)
    assert data.labels.names == ("mel", "nv")
    assert rows["label"].to_dict() == {
        "HAM10000_images_part_1/ISIC_0024306.jpg": "nv", "HAM10000_images_part_1/ISIC_0024307.jpg": "nv",
        "HAM10000_images_part_2/ISIC_0029306.jpg": "mel",
    }  # fmt: skip
    assert rows["group"].tolist() == ["HAM_0000550", "HAM_0003577", "HAM_0000550"]
    assert rows["dx_type"].tolist() == ["follow_up", "follow_up", "histo"]
    assert (about["preset"], about["unused"]) == ("ham10000", {})
    assert "lesion_id" in " ".join(about["warnings"])


def test_a_preset_reads_an_archive_and_a_table_elsewhere(tmp_path):
    ham10000(tmp_path / "in")
    first = imported(tmp_path / "in", tmp_path, "ham10000")[0]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "in").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path / "in"))
    packed = imported(tmp_path / "a.zip", tmp_path, "ham10000")[0]
    (tmp_path / "in/HAM10000_metadata.csv").rename(tmp_path / "else.csv")
    other = imported(tmp_path / "in", tmp_path, "ham10000", labels=tmp_path / "else.csv")[0]
    tables = [(data.path / "samples.parquet").read_bytes() for data in (first, packed, other)]
    assert tables[0] == tables[1] == tables[2]


def test_what_the_user_says_goes_before_the_preset(tmp_path):
    ham10000(tmp_path / "in")
    data, rows, _ = imported(
        tmp_path / "in", tmp_path, "ham10000", label_column="sex", group_column="localization"
    )
    assert data.labels.names == ("male",)
    assert sorted(set(rows["group"])) == ["lower extremity", "trunk"]
    assert set(rows["dx"]) == {"nv", "mel"}


def test_isic_2018(tmp_path):
    root = tmp_path / "in"
    pictures(
        root, "ISIC2018_Task3_Training_Input/ISIC_0024306.jpg", "ISIC2018_Task3_Training_Input/ISIC_1.jpg"
    )
    truth = "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv"
    table(
        root / truth, "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", "ISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_1,1.0,0.0,0.0,0.0,0.0,0.0,0.0",
    )  # fmt: skip
    lesions = root / "ISIC2018_Task3_Training_LesionGroupings.csv"
    table(lesions, "image,lesion_id,diagnosis_confirm_type", "ISIC_0024306,HAM_1,histopathology")
    with pytest.raises(InputError, match=r"lacks 1 image of the labels \(ISIC_1\)"):
        imported(root, tmp_path, "isic2018")
    with lesions.open("a", encoding="utf-8") as file:
        file.write("ISIC_1,HAM_1,serial imaging showing no change\n")
    data, rows, _ = imported(root, tmp_path, "isic2018")
    assert data.labels.names == ("MEL", "NV")
    assert (rows["label"].tolist(), rows["group"].tolist()) == (["MEL", "NV"], ["HAM_1", "HAM_1"])
    lesions.unlink()
    with pytest.raises(InputError, match="LesionGroupings"):
        imported(root, tmp_path, "isic2018")


def test_isic_2019(tmp_path):
    root = tmp_path / "in"
    pictures(root, *(f"ISIC_2019_Training_Input/{n}.jpg" for n in ("ISIC_0", "ISIC_2_downsampled", "ISIC_5")))
    table(
        root / "ISIC_2019_Training_GroundTruth.csv", "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
        "ISIC_0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_2_downsampled,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_5,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
    )  # fmt: skip
    table(
        root / "ISIC_2019_Training_Metadata.csv", "image,age_approx,anatom_site_general,lesion_id,sex",
        "ISIC_5,30.0,upper extremity,MSK4_0011169,female", "ISIC_0,55.0,anterior torso,,female",
        "ISIC_2_downsampled,,anterior torso,MSK4_0011169,female",
    )  # fmt: skip
    data, rows, about = imported(root, tmp_path, "isic2019")
    assert data.labels.names == ("MEL", "NV", "SCC")
    assert rows["label"].tolist() == ["NV", "MEL", "SCC"]
    assert rows["group"].fillna("none").tolist() == ["none", "MSK4_0011169", "MSK4_0011169"]
    assert rows["age_approx"].fillna(-1).tolist() == [55, -1, 30]
    assert any("1 image has no group" in text for text in about["warnings"])
    header = (root / "ISIC_2019_Training_Metadata.csv").read_text().replace("lesion_id", "lesion")
    (root / "ISIC_2019_Training_Metadata.csv").write_text(header)
    with pytest.raises(InputError, match="'--preset isic2019' reads: lesion_id"):
        imported(root, tmp_path, "isic2019")


def test_isic_2020(tmp_path):
    root = tmp_path / "in"
    pictures(root, "train/ISIC_2637011.jpg", "train/ISIC_0015719.jpg")
    table(
        root / "train.csv",
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target",
        "ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0",
        "ISIC_0015719,IP_3075186,female,45.0,upper extremity,melanoma,malignant,1",
    )  # fmt: skip
    data, rows, _ = imported(root, tmp_path, "isic2020")
    assert data.labels.names == ("benign", "malignant")
    assert rows["group"].tolist() == ["IP_3075186", "IP_7279968"]
    assert rows["target"].tolist() == [1, 0]


BREAKHIS = "BreaKHis_v1/histology_slides/breast"


def test_breakhis(tmp_path):
    root = tmp_path / "in"
    pictures(
        root,
        f"{BREAKHIS}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
        f"{BREAKHIS}/benign/SOB/adenosis/SOB_B_A_14-22549AB/400X/SOB_B_A-14-22549AB-400-002.png",
        f"{BREAKHIS}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/100X/SOB_M_DC-14-13412-100-001.png",
        f"{BREAKHIS}/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/100X/SOB_M_LC-14-13412-100-003.png",
        f"{BREAKHIS}/malignant/SOB/papillary_carcinoma/SOB_M_PC_14-9146/200X/SOB_M_PC-14-9146-200-001.png",
    )  # fmt: skip
    table(root / f"{BREAKHIS}/README.txt", "x")
    data, rows, about = imported(root, tmp_path, "breakhis", strict=True)
    rows.index = rows.index.str.rpartition("/").get_level_values(2)
    found = rows[["label", "subtype", "group", "magnification"]].to_numpy().tolist()
    assert dict(zip(rows.index, found)) == {
        "SOB_B_A-14-22549AB-40-001.png": ["benign", "adenosis", "14-22549AB", 40],
        "SOB_B_A-14-22549AB-400-002.png": ["benign", "adenosis", "14-22549AB", 400],
        "SOB_M_DC-14-13412-100-001.png": ["malignant", "ductal_carcinoma", "14-13412", 100],
        "SOB_M_LC-14-13412-100-003.png": ["malignant", "lobular_carcinoma", "14-13412", 100],
        "SOB_M_PC-14-9146-200-001.png": ["malignant", "papillary_carcinoma", "14-9146", 200],
    }
    assert data.labels.names == ("benign", "malignant")
    assert about["meaning"]["group"] == "column 'patient' of the names of the files"
    by_subtype = imported(root, tmp_path, "breakhis", label_column="subtype")[0]
    assert by_subtype.labels.width == 4
    pictures(root, "other.png")
    about = imported(root, tmp_path, "breakhis")[2]
    assert any("1 image with other names left out (other.png)" in text for text in about["warnings"])


def pcam(root, parts=("train", "valid", "test"), meta=True, n=3):
    root.mkdir(exist_ok=True)
    pixels = {}
    for k, part in enumerate(parts):
        stem = f"camelyonpatch_level_2_split_{part}"
        x = np.random.default_rng(k).integers(0, 256, (n, 96, 96, 3), np.uint8)
        with h5py.File(root / f"{stem}_x.h5", "w") as file:
            file.create_dataset("x", data=x, chunks=(1, 96, 96, 3), compression="gzip")
        with h5py.File(root / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1)
        if meta:
            lines = [f"{i},{i},{2 * i},{i > 0},{i % 2 > 0},camelyon16_{part}_{i // 2}" for i in range(n)]
            table(root / f"{stem}_meta.csv", ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", *lines)
        pixels[part] = x
    return pixels


def test_pcam(tmp_path):
    pixels = pcam(tmp_path / "in")
    out = tmp_path / "out"
    data = import_dataset(tmp_path / "in", out, reading=SourceOptions(preset="pcam", strict=True)).dataset
    rows = pd.read_parquet(out / "samples.parquet")
    assert (data.size, data.labels.names) == (96, ("normal", "tumour"))
    np.testing.assert_array_equal(data.pixels.read(np.arange(9)), np.concatenate(list(pixels.values())))
    assert rows["label"].tolist() == ["normal", "tumour", "normal"] * 3
    assert rows["group"].tolist() == [
        f"camelyon16_{part}_{i}" for part in ("train", "valid", "test") for i in (0, 0, 1)
    ]
    assert data.split().part_of.tolist() == ["train"] * 3 + ["val"] * 3 + ["test"] * 3
    assert rows["coord_x"].tolist() == [0, 2, 4] * 3
    assert rows["tumor_patch"].tolist() == [False, True, True] * 3
    assert list(rows.columns.intersection(["", "index"])) == []
    one = tmp_path / "one"
    pcam(one, ("valid",))
    assert imported(one, tmp_path, "pcam")[0].split_names() == []


def test_pcam_without_tables_labels_or_sound_files(tmp_path):
    pcam(tmp_path / "a", ("train",), meta=False)
    _, rows, about = imported(tmp_path / "a", tmp_path, "pcam")
    assert rows["group"].isna().all()
    assert any("no groups" in text for text in about["warnings"])
    pcam(tmp_path / "b", ("train",))
    (tmp_path / "b/camelyonpatch_level_2_split_train_y.h5").unlink()
    with pytest.raises(InputError, match=r"lacks camelyonpatch_level_2_split_train_y\.h5"):
        imported(tmp_path / "b", tmp_path, "pcam")
    pcam(tmp_path / "c", ("train",))
    path = tmp_path / "c/camelyonpatch_level_2_split_train_x.h5"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"train_x\.h5 is no readable HDF5"):
        imported(tmp_path / "c", tmp_path, "pcam")
    path.rename(path.with_suffix(".h5.gz"))
    with pytest.raises(InputError, match="gunzip"):
        imported(tmp_path / "c", tmp_path, "pcam")
    pcam(tmp_path / "d", ("train",))
    with h5py.File(tmp_path / "d/camelyonpatch_level_2_split_train_x.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(tmp_path / "a/camelyonpatch_level_2_split_train_x.h5"), "x")
    with pytest.raises(InputError, match="no array 'x' of its own"):
        imported(tmp_path / "d", tmp_path, "pcam")
    pcam(tmp_path / "e", ("train",))
    meta = tmp_path / "e/camelyonpatch_level_2_split_train_meta.csv"
    meta.write_text("\n".join(meta.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match="2 rows for 3 images"):
        imported(tmp_path / "e", tmp_path, "pcam")


CHEXPERT = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,"
    "Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


@pytest.mark.parametrize("inside", [True, False])
def test_chexpert(tmp_path, inside):
    base = tmp_path / "in/CheXpert-v1.0-small"
    pictures(
        base, "train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study2/view1_frontal.jpg",
        "train/patient00002/study1/view2_lateral.jpg", "valid/patient64541/study1/view1_frontal.jpg",
    )  # fmt: skip
    head, small = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT}", "CheXpert-v1.0-small/"
    table(
        base / "train.csv", head,
        f"{small}train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"{small}train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,AP,,,-1.0,1.0,,-1.0,,,-1.0,,,,1.0,",
        f"{small}train/patient00002/study1/view2_lateral.jpg,Female,83,Lateral,,,,,,,,,,,,,,,",
    )  # fmt: skip
    table(
        base / "valid.csv", head,
        f"{small}valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,1.0"
        + ",0.0" * 10,
    )  # fmt: skip
    data, rows, about = imported(base if inside else tmp_path / "in", tmp_path, "chexpert")
    rows.index = rows.index.str.removeprefix(small)
    assert data.labels.kind == "multilabel"
    assert {name: sorted(tags) for name, tags in rows["label"].items()} == {
        "train/patient00001/study1/view1_frontal.jpg": ["No Finding", "Support Devices"],
        "train/patient00002/study1/view2_lateral.jpg": [],
        "train/patient00002/study2/view1_frontal.jpg": ["Fracture", "Lung Opacity"],
        "valid/patient64541/study1/view1_frontal.jpg": [
            "Cardiomegaly", "Enlarged Cardiomediastinum", "Lung Opacity",
        ],
    }  # fmt: skip
    assert rows["group"].tolist() == ["patient00001", "patient00002", "patient00002", "patient64541"]
    assert data.split().part_of.tolist() == ["train"] * 3 + ["val"]
    assert rows["Cardiomegaly"].fillna(9).tolist() == [9, 9, -1, 1]
    assert rows["study"].tolist() == ["study1", "study1", "study2", "study1"]
    assert "part of the preset" not in rows.columns
    assert about["meaning"]["split"].startswith("the preset's part")


def test_what_uncertain_findings_become_is_said(tmp_path, capfd):
    base = tmp_path / "in"
    pictures(base, "train/patient1/study1/view1_frontal.jpg")
    line = "train/patient1/study1/view1_frontal.jpg,1.0,-1.0,-1.0,1.0" + "," * 10
    table(base / "train.csv", f"Path,{CHEXPERT}", line)
    words = ["import", str(base), str(tmp_path / "out"), "--preset", "chexpert", "--size", "16"]
    assert cli.run(words) == 0
    told = " ".join(capfd.readouterr().err.split())
    assert "uncertain (-1: 2 cells) or not mentioned (10 cells) are no tags" in told
    table(base / "train.csv", f"Path,{CHEXPERT}", line.replace("-1.0", "maybe", 1))
    with pytest.raises(InputError, match="'maybe' in row 2"):
        imported(base, tmp_path, "chexpert")


def test_nih_chestxray14(tmp_path):
    root = tmp_path / "in"
    pictures(
        root, "images_001/images/00000001_000.png", "images_001/images/00000001_001.png",
        "images_002/images/00000002_000.png", "images_002/images/00000003_000.png",
    )  # fmt: skip
    table(
        root / "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],",
        "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,",
        "00000002_000.png,No Finding,0,2,081Y,M,PA,2500,2048,0.171,0.171,",
        "00000003_000.png,Hernia,0,3,081Y,F,PA,2582,2991,0.143,0.143,",
    )  # fmt: skip
    table(root / "BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", "a,b,1,2,3,4")
    data, rows, _ = imported(root, tmp_path, "nih-chestxray14")
    assert data.labels.names == ("Cardiomegaly", "Emphysema", "Hernia")
    assert [list(tags) for tags in rows["label"]] == [
        ["Cardiomegaly"], ["Cardiomegaly", "Emphysema"], [], ["Hernia"],
    ]  # fmt: skip
    assert rows["group"].tolist() == ["1", "1", "2", "3"]
    assert data.split_names() == []
    assert rows["Height]"].tolist() == [2749, 2729, 2048, 2991]
    assert "" not in rows.columns
    table(root / "train_val_list.txt", "00000001_000.png", "00000001_001.png", "00000002_000.png")
    table(root / "test_list.txt", "00000003_000.png")
    data, _, _ = imported(root, tmp_path, "nih-chestxray14")
    assert data.split().part_of.tolist() == ["train"] * 3 + ["test"]
    table(root / "train_val_list.txt", "00000001_000.png", "00000001_001.png")
    data, _, about = imported(root, tmp_path, "nih-chestxray14")
    assert data.manifest.count == 3
    assert any("1 image in no list of parts left out" in text for text in about["warnings"])


def brats(root, meta=True):
    data = root / "BraTS2020_training_data/content/data"
    data.mkdir(parents=True)
    lines = []
    for volume, number, tumour in ((1, 0, 0), (1, 50, 1), (10, 3, 0), (2, 7, 1)):
        image = np.random.default_rng(volume + number).normal(size=(32, 32, 4))
        mask = np.zeros((32, 32, 3), np.uint8)
        mask[5, 5, 1] = tumour
        with h5py.File(data / f"volume_{volume}_slice_{number}.h5", "w") as file:
            file["image"], file["mask"] = image, mask
        lines.append(f"/content/data/volume_{volume}_slice_{number}.h5,{tumour},{volume},{number}")
    if meta:
        table(data / "meta_data.csv", "slice_path,target,volume,slice", *lines)


@pytest.mark.parametrize("meta", [True, False])
def test_brats_slices(tmp_path, meta):
    brats(tmp_path / "in", meta)
    data, rows, about = imported(tmp_path / "in", tmp_path, "brats")
    assert data.channels == 1
    assert rows["label"].tolist() == ["no tumour", "tumour", "tumour", "no tumour"]
    assert rows["group"].tolist() == ["volume 1", "volume 1", "volume 2", "volume 10"]
    assert rows["slice"].tolist() == [0, 50, 7, 3]
    assert any("Channel 0 of 4" in text for text in about["warnings"])
    assert ("meta_data.csv" in about["meaning"]["label"]) == meta
    other = imported(tmp_path / "in", tmp_path, "brats", modality="3")[0]
    assert other.manifest.pixels_hash != data.manifest.pixels_hash
    with pytest.raises(InputError, match="0 to 3, not 'flair'"):
        imported(tmp_path / "in", tmp_path, "brats", modality="flair")


def test_brats_volumes(tmp_path):
    for case, masked in (("BraTS20_Training_001", True), ("BraTS20_Training_002", True)):
        folder = tmp_path / "in" / case
        folder.mkdir(parents=True)
        values = np.zeros((32, 32, 3), np.float32)
        values[8:24, 4:12, 1] = 100
        values[8:24, 4:12, 2] = 50
        mask = np.zeros((32, 32, 3), np.uint8)
        mask[10, 10, 1] = 4
        for kind in ("flair", "t1", "t1ce", "t2"):
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{case}_{kind}.nii.gz")
        if masked:
            nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / f"{case}_seg.nii")
    out = tmp_path / "full"
    data = import_dataset(tmp_path / "in", out, reading=SourceOptions(preset="brats", strict=True)).dataset
    rows = pd.read_parquet(out / "samples.parquet")
    assert (data.size, data.channels) == (32, 1)
    assert rows["label"].tolist() == ["no tumour", "tumour", "no tumour"] * 2
    assert rows["group"].tolist() == ["BraTS20_Training_001"] * 3 + ["BraTS20_Training_002"] * 3
    images = data.pixels.read(np.arange(3))[..., 0]
    assert images.max(axis=(1, 2)).tolist() == [0, 255, 128]  # One scale for the whole volume.
    # The first axis runs left to right, the second from back to front, which is up.
    assert np.argwhere(images[1])[0].tolist() == [20, 8]
    with pytest.raises(InputError, match="lack the modality adc; there are flair, t1, t1ce, t2"):
        imported(tmp_path / "in", tmp_path, "brats", modality="adc")
    whole = tmp_path / "in/BraTS20_Training_002/BraTS20_Training_002_t1.nii.gz"
    whole.write_bytes(whole.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"002_t1\.nii\.gz is (damaged|no readable NIfTI)"):
        imported(tmp_path / "in", tmp_path, "brats", modality="t1")
    (tmp_path / "in/BraTS20_Training_002/BraTS20_Training_002_seg.nii").unlink()
    data, _, about = imported(tmp_path / "in", tmp_path, "brats")
    assert data.labels.kind == "none"
    assert any("without a mask" in text for text in about["warnings"])


def tag(name, category):
    return {"id": "1", "name": name, "category": category}


def test_danbooru_of_lists(tmp_path):
    root = tmp_path / "in"
    pictures(root, "512px/0001/1.jpg", "512px/0002/2002.jpg", "512px/0003/3003.jpg")
    rows = [
        {"id": "1", "rating": "s", "tags": [tag("1girl", "0"), tag("solo", "0"), tag("ann", "1")]},
        {"id": "2002", "rating": "q", "tags": [tag("1girl", "0"), tag("x_(y)", "4"), tag("bob", "1")]},
        {"id": "3003", "rating": "s", "tags": [tag("scenery", "0")]},
        {"id": "4004", "rating": "s", "tags": [tag("not here", "0")]},
    ]
    for name, part in (("2020000000000000", rows[:2]), ("2020000000000001", rows[2:])):
        table(root / "metadata" / name, *map(json.dumps, part))
    data, found, about = imported(root, tmp_path, "danbooru")
    assert data.labels.kind == "multilabel"
    assert [sorted(tags) for tags in found["label"]] == [["1girl", "solo"], ["1girl"], ["scenery"]]
    assert found["group"].fillna("none").tolist() == ["ann", "bob", "none"]
    assert found["rating"].tolist() == ["s", "q", "s"]
    assert "1 row of images that are not here passed over." in about["notes"]


def test_danbooru_of_text(tmp_path):
    root = tmp_path / "in"
    pictures(root, "11.jpg", "12.png")
    rows = [
        {"id": 11, "rating": "g", "tag_string": "1girl ann solo", "tag_string_general": "1girl solo",
         "tag_string_artist": "ann"},
        {"id": 12, "rating": "e", "tag_string": "cat", "tag_string_general": "cat", "tag_string_artist": ""},
    ]  # fmt: skip
    table(root / "posts.json", *map(json.dumps, rows))
    _, found, _ = imported(root, tmp_path, "danbooru")
    assert [sorted(tags) for tags in found["label"]] == [["1girl", "solo"], ["cat"]]
    assert found["group"].fillna("none").tolist() == ["ann", "none"]
    assert found["tag_string"].tolist() == ["1girl ann solo", "cat"]


def test_rare_tags_are_no_labels_and_that_is_said(tmp_path):
    root = tmp_path / "in"
    pictures(root, *(f"{i}.jpg" for i in range(201)))
    rows = [{"id": i, "tag_string_general": f"common{' rare' if i == 7 else ''}"} for i in range(201)]
    table(root / "posts.jsonl", *map(json.dumps, rows))
    data, _, about = imported(root, tmp_path, "danbooru")
    assert data.labels.names == ("common",)
    assert about["notes"][0].startswith("1 tag of fewer than 1 in 100 images")


def test_rare_is_measured_over_the_images_that_are_here(tmp_path):
    root = tmp_path / "in"
    pictures(root, *(f"{i}.jpg" for i in range(20)))
    rows = [
        {
            "id": i,
            "tag_string_general": "1girl touhou" if i < 20 else "1girl",
            "tag_string_artist": "a b"[: 1 + 2 * (i > 4)],
        }
        for i in range(3000)
    ]
    table(root / "posts.json", *map(json.dumps, rows))
    data, found, about = imported(root, tmp_path, "danbooru")
    assert data.labels.names == ("1girl", "touhou")
    assert all(sorted(tags) == ["1girl", "touhou"] for tags in found["label"])
    assert about["notes"][-2:] == [
        "2,980 rows of images that are not here passed over.",
        "15 images with several artists form groups of their own.",
    ]
    with pytest.raises(InputError, match="names 2,980 files of 3,000 that"):
        imported(root, tmp_path, "danbooru", missing="error")


def test_tags_that_are_rare_on_the_site_are_labels_of_few_images(tmp_path):
    pictures(tmp_path / "in", *(f"{i}.jpg" for i in range(4)))
    rows = [{"id": i, "tag_string_general": "cat dog" if i < 4 else "sky"} for i in range(1000)]
    table(tmp_path / "in/posts.jsonl", *map(json.dumps, rows))
    assert imported(tmp_path / "in", tmp_path, "danbooru")[0].labels.names == ("cat", "dog")


def test_lines_of_metadata_are_read_one_by_one(tmp_path, monkeypatch):
    pictures(tmp_path / "in", "7.jpg")
    table(tmp_path / "in/posts.json", *(json.dumps({"id": i, "tag_string": "x"}) for i in range(500)))
    monkeypatch.setattr(Container, "read", lambda self, name: pytest.fail(f"{name} was read as a whole"))
    assert len(imported(tmp_path / "in", tmp_path, "danbooru")[0]) == 1


def test_similar_names_and_lists_that_are_missing_are_told(tmp_path):
    root = tmp_path / "ham"
    pictures(root, *(f"{i}.jpg" for i in range(3)))
    table(root / "HAM10000_metadata.csv", "lesion_id,image_id,dx", "L0,0000,a", "L1,0001,b", "L2,0002,a")
    with pytest.raises(InputError, match="3 names were matched with files of similar names, such as '0000'"):
        imported(root, tmp_path, "ham10000", strict=True)
    root = tmp_path / "nih"
    pictures(root, *(f"images/{i:08d}_000.png" for i in range(4)))
    rows = [f"{i:08d}_000.png,{'Mass|Edema' if i % 2 else 'No Finding'},{i}" for i in range(4)]
    table(root / "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID", *rows)
    table(root / "test_list.txt", "00000000_000.png")
    data, _, about = imported(root, tmp_path, "nih-chestxray14")
    assert data.split_names() == []
    (doubt,) = [text for text in about["warnings"] if "train_val_list.txt" in text]
    assert "holds test_list.txt and not train_val_list.txt" in doubt
    table(root / "train_val_list.txt", *(f"{i:08d}_000.png" for i in range(1, 4)))
    data, _, _ = imported(root, tmp_path, "nih-chestxray14", strict=True)
    assert data.split().part_of.tolist() == ["test", "train", "train", "train"]


def test_of_several_tables_the_first_that_the_preset_names_is_taken(tmp_path):
    root = tmp_path / "in"
    pictures(root, "ISIC_1.jpg", "ISIC_2.jpg")
    for name, group in (("", "old"), ("_v2", "new")):
        rows = (f"ISIC_{i},{group}{i},benign" for i in (1, 2))
        table(
            root / f"ISIC_2020_Training_GroundTruth{name}.csv",
            "image_name,patient_id,benign_malignant",
            *rows,
        )
    assert imported(root, tmp_path, "isic2020")[1]["group"].tolist() == ["new1", "new2"]


def volumes(root, *names):
    """NIfTI volumes of two slices, the second with something in it; names of masks end with seg."""
    for seed, name in enumerate(names):
        values = np.zeros((24, 24, 2))
        values[5:10, 5:10, 1] = 1 + np.random.default_rng(seed).random((5, 5))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / name)


def test_scans_of_one_patient_at_several_times_are_one_group(tmp_path):
    cases = ("BraTS-GLI-00008-000", "BraTS-GLI-00008-001", "BraTS-GLI-00009-000")
    volumes(tmp_path / "in", *(f"{case}/{case}-{kind}.nii.gz" for case in cases for kind in ("t2f", "seg")))
    _, rows, _ = imported(tmp_path / "in", tmp_path, "brats", strict=True)
    assert rows["group"].tolist() == ["BraTS-GLI-00008"] * 4 + ["BraTS-GLI-00009"] * 2
    assert rows["timepoint"].tolist() == ["000", "000", "001", "001", "000", "000"]


def test_volumes_of_one_name_in_two_folders_are_both_taken(tmp_path):
    names = [f"site{x}/sub-001_{kind}.nii.gz" for x in "AB" for kind in ("flair", "seg")]
    volumes(tmp_path / "in", *names, "siteB/sub-002_flair.nii.gz", "siteB/sub-002_seg.nii.gz")
    _, rows, about = imported(tmp_path / "in", tmp_path, "brats")
    groups = ["siteA/sub-001", "siteB/sub-001", "sub-002"]
    assert rows["group"].tolist() == [group for group in groups for _ in range(2)]
    assert any(
        "1 name is that of volumes in several folders" in text and "sub-001" in text
        for text in about["warnings"]
    )
    volumes(tmp_path / "in", "siteA/sub-001_flair.nii")
    with pytest.raises(InputError, match="are the same volume"):
        imported(tmp_path / "in", tmp_path, "brats")


def test_a_wrong_folder_is_told_in_one_sentence_for_every_preset(tmp_path, capfd):
    pictures(tmp_path / "in", "a/0.png", "b/1.png")
    for name, preset in presets().items():
        if name == "tagged":  # A folder for each character is such a corpus.
            continue
        code = cli.run(["import", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", name])
        told = capfd.readouterr().err
        assert code == 2, name
        assert preset.sought in " ".join(told.split()), name
        assert not list(tmp_path.glob("out*"))
    assert cli.run(["import", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", "ham1000"]) == 2
    assert "did you mean 'ham10000'" in capfd.readouterr().err
    assert cli.run(["import", str(tmp_path / "in"), str(tmp_path / "out"), "--modality", "t1"]) == 2


def test_presets_are_listed(capfd):
    assert cli.run(["import", "--list-presets", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)["presets"]
    assert [row["name"] for row in listed] == list(presets())
    assert {
        "ham10000",
        "isic2019",
        "breakhis",
        "pcam",
        "chexpert",
        "nih-chestxray14",
        "brats",
        "danbooru",
    } <= {row["name"] for row in listed}
    words = {row["name"]: row["about"] for row in list_presets()["presets"]}
    assert words["ham10000"] == "HAM10000, dermoscopy, 7 diagnoses"
    assert all(words.values())


def test_fields_of_presets_are_options_there_are():
    for preset in presets().values():
        SourceOptions(**preset.options)
        assert preset.about and preset.sought and preset.warnings  # noqa: PT018
        assert all(isinstance(text, str) for text in preset.warnings)


def test_presets_keep_the_domain_unless_another_is_asked_for(tmp_path, capfd):
    assert {name: preset.domain for name, preset in presets().items()} == {
        "ham10000": "dermoscopy", "isic2018": "dermoscopy", "isic2019": "dermoscopy",
        "isic2020": "dermoscopy", "breakhis": "histology", "pcam": "histology", "chexpert": "radiology",
        "brats": "radiology", "nih-chestxray14": "radiology", "danbooru": "comic",
        "tagged": "",
    }  # fmt: skip
    ham10000(tmp_path / "in")
    words = ["import", str(tmp_path / "in"), "--size", "16", "--preset", "ham10000"]
    for more, domain, told in (([], "dermoscopy", True), (["--domain", "natural"], "natural", False)):
        out = tmp_path / domain
        assert cli.run([*words, str(out), *more]) == 0
        assert Dataset.open(out).domain == domain
        assert ("The domain dermoscopy comes from the preset ham10000" in capfd.readouterr().err) == told
    assert Dataset.open(tmp_path / "dermoscopy").manifest.extra["import"]["meaning"]["domain"]
    assert cli.run(["import", str(tmp_path / "in"), str(tmp_path / "bare"), "--size", "16"]) == 0
    assert Dataset.open(tmp_path / "bare").domain is None, "without the preset nothing is certain"


def test_reading_masks_shows_its_progress(tmp_path, capfd):
    brats(tmp_path / "in", meta=False)
    words = ["import", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "16", "--preset", "brats"]
    assert cli.run(words) == 0
    assert "reading masks: 100 %" in capfd.readouterr().err
