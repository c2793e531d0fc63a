"""`plenish release`: what it gives away, what it keeps, and when it refuses."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.commands.giving_away import pictures, quick_audits, real_dataset, synthetic_dataset

from plenish import cli, files
from plenish.commands.datasets import import_dataset
from plenish.commands.release import check_release, release
from plenish.datasets.dataset import Dataset
from plenish.datasets.licences import conditions, hub_word, remarks
from plenish.errors import CheckFailed, InputError
from plenish.metrics.release_audit import found_in, lacking, public_copies
from plenish.metrics.result_files import read_result, write_result
from plenish.report.release import Refused, ReleaseConfig
from plenish.report.releasing import release_dataset


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, honest: Dataset) -> Path:
    with quick_audits():
        return release(honest.path, tmp_path_factory.mktemp("out") / "public", licence="CC-BY-4.0").path


pytestmark = pytest.mark.usefixtures("quick_audit")


def texts(folder: Path) -> str:
    """Everything that can be read in a folder: bytes of all files, and cells and metadata of tables."""
    found = [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    for path in folder.rglob("*.parquet"):
        table = pq.read_table(path)
        found += [table.to_pandas().to_csv(), str(table.schema.metadata)]
    return "\n".join(found) + "\n".join(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_release_has_images_card_and_hashes_of_every_file(released: Path, honest: Dataset) -> None:
    content = files.read_record(released / "provenance.json")
    on_disk = {p.relative_to(released).as_posix() for p in released.rglob("*") if p.is_file()}
    assert set(content["files"]) == on_disk - {"provenance.json", ".plenish.json"}
    assert {"README.md", "card.html", "croissant.json", "metadata.csv", "metadata.parquet"} <= on_disk
    for name, facts in content["files"].items():
        data = (released / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert content["override"] is None
    assert content["audit"]["objections"] == []
    assert content["audit"]["copies"]["finding"] == "none"
    assert content["training"]["licence"] == "CC-BY-NC-4.0"
    assert {one["code"] for one in content["licence_remarks"]} == {"non-commercial", "weaker"}
    table = pd.read_csv(released / "metadata.csv")
    assert len(table) == len(honest)
    assert set(table["label"]) == set(honest.labels.names)
    assert all((released / name).is_file() for name in table["file_name"])
    card = (released / "README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    assert "CC-BY-NC-4.0" in card
    assert json.loads((released / "croissant.json").read_text())["license"] == "CC-BY-4.0"
    assert check_release(released)["altered"] == []


def test_a_release_can_be_imported_again_with_the_same_pixels(
    released: Path, honest: Dataset, tmp_path: Path
) -> None:
    again = import_dataset(released, tmp_path / "again", workers=1).dataset
    assert again.column("sha256") == honest.column("sha256")
    assert again.is_synthetic


def test_nothing_that_leads_to_a_patient_goes_out(released: Path, clinic: Dataset, honest: Dataset) -> None:
    out = texts(released)
    private = {str(x) for name in ("id", "group", "source", "sha256") for x in clinic.column(name)}
    places = {str(clinic.path), str(honest.path), str(released.parent), str(Path.cwd()), "ward-7", "/clinic"}
    assert [text for text in private | places if text in out] == []
    assert "array.z" not in pq.read_schema(released / "metadata.parquet").names
    train = clinic.part("train", purpose="train")
    ours = {hashlib.sha256(image.tobytes()).hexdigest() for image in train.images()}
    assert not ours & set(pd.read_csv(released / "metadata.csv")["sha256"])


def test_copies_are_refused_with_a_page_and_an_override_is_told(
    copied: Dataset, clinic: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "public"
    assert cli.run(["release", str(copied.path), str(out), "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["released"] is False
    assert "10 images" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["public-audit"]
    page = (tmp_path / "public-audit" / "refused.html").read_text()
    assert "data:image/webp" in page
    assert clinic.part("train", purpose="train").ids[0] in page
    reads = clinic.test_reads()
    done = release(copied.path, out, override="a test of the gate")
    assert clinic.test_reads() == reads  # The score that is there was taken.
    assert done.summary()["override"] == "a test of the gate"
    content = files.read_record(out / "provenance.json")
    assert content["override"] == "a test of the gate"
    assert content["audit"]["objections"][0] == {"code": "identical", "values": {"images": 10}}
    for name in ("README.md", "card.html", "croissant.json"):
        assert "a test of the gate" in (out / name).read_text()
    private = {str(x) for name in ("id", "group") for x in clinic.column(name)}
    assert [text for text in private if text in texts(out)] == []


@pytest.mark.parametrize("change", ["altered", "missing", "added"])
def test_changed_files_are_named(change: str, released: Path, tmp_path: Path) -> None:
    path = released / "metadata.csv"
    data = path.read_bytes()
    if change == "altered":
        path.write_bytes(data[:-1] + b"x")
    elif change == "missing":
        path.unlink()
    else:
        path = released / "more.txt"
        path.write_text("more")
    try:
        with pytest.raises(CheckFailed, match=f"1 {change} .such as {path.name}."):
            check_release(released)
        assert cli.run(["release", "--check", str(released), "--quiet"]) == 3
    finally:
        (released / "more.txt").unlink(missing_ok=True)
        (released / "metadata.csv").write_bytes(data)
    assert cli.run(["release", str(released), "--check", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("how", "objection"),
    [
        ({"grouped": False}, {"code": "no-groups", "values": {}}),
        ({"sizes": (160, 40, 60)}, {"code": "few-val", "values": {"images": 40, "least": 50}}),
        ({"each": 40}, {"code": "few-val-groups", "values": {"groups": 2, "least": 3}}),
    ],
)
def test_an_audit_that_cannot_find_copies_is_no_permission(
    how: dict[str, Any], objection: dict[str, Any], tmp_path: Path
) -> None:
    data = real_dataset(tmp_path / "data", **how)
    made = synthetic_dataset(tmp_path / "made", data, *pictures(40, 60))
    found = release_dataset(made.path, tmp_path / "public", ReleaseConfig())
    assert isinstance(found, Refused)
    assert [dataclasses.asdict(one) for one in found.objections] == [objection]
    with pytest.raises(CheckFailed):
        release(made.path, tmp_path / "public")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "made"]


def test_without_real_images_nothing_is_said_of_copies(tmp_path: Path, clinic: Dataset) -> None:
    made = synthetic_dataset(tmp_path / "made", clinic, *pictures(20, 61), known=False)
    with pytest.raises(InputError, match="--real"):
        release(made.path, tmp_path / "public")
    done = release(made.path, tmp_path / "public", override="images of a toy", format="huggingface")
    content = files.read_record(tmp_path / "public" / "provenance.json")
    assert [one["code"] for one in content["audit"]["objections"]] == ["no-audit"]
    assert content["training"]["licence"] == ""
    assert content["audit"]["copies"] is None
    assert [one["code"] for one in done.content["licence_remarks"]] == ["not-stated"]
    assert (tmp_path / "public" / "data" / "train-00000-of-00001.parquet").is_file()


def test_real_images_of_another_training_are_refused_whatever_the_reason_given(
    honest: Dataset, tmp_path: Path
) -> None:
    other = real_dataset(tmp_path / "other", grouped=False, sizes=(30, 4, 30), licence="CC0-1.0")
    for how in ({}, {"override": "a reason"}):
        with pytest.raises(InputError) as caught:
            release(honest.path, tmp_path / "public", real=other.path, **how)  # type: ignore[arg-type]
        assert caught.value.code == "other-images"
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_where_copies_cannot_be_searched_for_an_override_says_so(clinic: Dataset, tmp_path: Path) -> None:
    data = real_dataset(tmp_path / "data", sizes=(40, 2, 30))
    made = synthetic_dataset(tmp_path / "made", data, *pictures(20, 63))
    done = release(made.path, tmp_path / "public", override="a toy")
    codes = [one["code"] for one in done.content["audit"]["objections"]]
    assert codes == ["few-val", "few-val-groups", "no-search"]
    assert str(data.path) not in texts(tmp_path / "public")


def test_limits_hold_for_the_images_that_the_search_was_calibrated_on() -> None:
    copies = {"n_holdout": 49, "n_groups": 2}
    score = {"copies": copies, "caveats": [], "real": {"groups_test": 6, "split": "default"}}
    assert [dataclasses.asdict(one) for one in lacking(score)] == [
        {"code": "few-val", "values": {"images": 49, "least": 50}},
        {"code": "few-val-groups", "values": {"groups": 2, "least": 3}},
    ]
    assert lacking(score | {"copies": {"n_holdout": 50, "n_groups": 3}}) == []


def test_images_that_point_at_one_group_are_refused_and_the_group_is_not_told() -> None:
    pointing = {
        "auroc": {"value": 0.9, "low": 0.8, "high": 1.0}, "auroc_train": None, "n": 100, "n_pointing": 30,
        "share": 0.3, "low": 0.2, "high": 0.4, "expected_share": 0.05, "expected_share_high": 0.1,
        "finding": "more", "most_pointed_at": {"group": "MUSTER-7", "images": 30},
    }  # fmt: skip
    copies = {"n_identical": 0, "finding": "none", "reidentification": pointing, "suspects": ["MUSTER-7"]}
    (objection,) = found_in({"copies": copies, "caveats": []})
    assert (objection.code, objection.values["n_pointing"]) == ("pointing", 30)
    assert str(objection)
    told = public_copies(copies)
    assert told["reidentification"]["auroc"] == pointing["auroc"]
    assert told["reidentification"]["share"] == 0.3
    assert "MUSTER" not in json.dumps(told)


def test_what_a_score_says_of_groups_goes_out_as_numbers_alone(
    released: Path, honest: Dataset, tmp_path: Path
) -> None:
    score, _ = read_result(released.with_name("public-audit"), "score")
    shutil.copytree(released.with_name("public-audit"), tmp_path / "score")
    score["copies"] |= {"finding": "unclear", "n_below": 3, "n_holdout": 49}
    score["copies"]["reidentification"] |= {
        "finding": "more", "most_pointed_at": {"group": "MUSTER-000", "images": 9},
    }  # fmt: skip
    score["caveats"] = [
        {"code": "few-held-out", "values": {"images": 80}},
        {"code": "few-held-out", "values": {"images": 80, "of": ["MUSTER-100"]}},
        {"code": "mixed-groups", "values": {"mixed": 1, "groups": 2}},
    ]
    write_result(tmp_path / "score", "score", score)
    refused = release_dataset(honest.path, tmp_path / "public", ReleaseConfig(), score=tmp_path / "score")
    assert isinstance(refused, Refused)
    assert [one.code for one in refused.objections] == ["unclear", "pointing", "few-val"]
    assert refused.objections[-1].values == {"images": 49, "least": 50}  # Val has 80.
    assert all(map(str, refused.objections))
    done = release(honest.path, tmp_path / "public", score=tmp_path / "score", override="a test")
    audit = done.content["audit"]
    assert audit["caveats"] == score["caveats"][:1]
    assert audit["copies"]["reidentification"]["finding"] == "more"
    assert "most_pointed_at" not in audit["copies"]["reidentification"]
    assert "MUSTER" not in texts(tmp_path / "public")


def test_what_does_not_fit_is_refused(
    clinic: Dataset, honest: Dataset, copied: Dataset, released: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        release(clinic.path, tmp_path / "public")
    assert caught.value.code == "real"
    score = released.with_name("public-audit")
    with pytest.raises(InputError) as caught:
        release(copied.path, tmp_path / "two", score=score)
    assert caught.value.code == "other-images"
    with pytest.raises(InputError) as caught:
        release(honest.path, tmp_path / "two", score=score, real=real_dataset(tmp_path / "x", each=5).path)
    assert caught.value.code == "other-real-images"
    with pytest.raises(InputError, match="already exists"):
        release(honest.path, tmp_path / "x", score=score)
    with pytest.raises(InputError, match=r"provenance\.json"):
        check_release(score)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]


def test_the_gate_knows_findings_that_are_not_made_yet() -> None:
    copies = {"n_identical": 0, "n": 100, "n_suspect": 1, "finding": "outlier"}
    assert [one.code for one in found_in({"copies": copies, "caveats": []})] == ["copies"]
    unknown = {"copies": copies | {"finding": "none", "unknown_origin": True}, "caveats": []}
    assert [one.code for one in found_in(unknown)] == ["unknown-origin"]
    caveats = [{"code": "near-held-out", "values": {"images": 2, "part": "val"}}]
    found = list(found_in({"copies": copies | {"finding": "none"}, "caveats": caveats}))
    assert [dataclasses.asdict(one) for one in found] == [
        {"code": "held-out", "values": {"images": 2, "part": "val"}}
    ]


@pytest.mark.parametrize(
    ("training", "released", "codes"),
    [
        ("", "CC-BY-4.0", ["not-stated"]),
        ("unknown", "", ["not-stated"]),
        ("CC0-1.0", "CC-BY-4.0", []),
        ("CC BY 4.0", "CC-BY-4.0", []),
        ("cc-by-nc-nd-4.0", "cc-by-nc-nd-4.0", ["no-derivatives", "non-commercial"]),
        ("CC-BY-SA-4.0", "CC-BY-4.0", ["share-alike", "weaker"]),
        ("CC-BY-4.0", "CC0-1.0", ["weaker"]),
        ("MIT", "CC0-1.0", ["weaker"]),
        ("ODbL-1.0", "ODbL-1.0", ["share-alike"]),
        ("CC-BY-SA-4.0", "ODbL-1.0", ["share-alike", "weaker"]),
        ("CC-BY-SA-3.0", "CC BY-SA 4.0", ["share-alike"]),
        ("CC-BY-SA-4.0", "CC-BY-SA-3.0", ["share-alike", "weaker"]),
        ("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", ["share-alike", "weaker"]),
        ("all rights reserved", "CC-BY-4.0", ["not-known"]),
        ("Standard licence of the hospital", "", ["not-known"]),
    ],
)
def test_what_a_licence_forbids_is_named(training: str, released: str, codes: list[str]) -> None:
    assert [one.code for one in remarks(training, released)] == codes
    assert all(str(one) for one in remarks(training, released))


def test_words_of_licences() -> None:
    assert conditions("Attribution-NonCommercial-NoDerivatives 4.0") == [
        "no-derivatives", "non-commercial", "attribution",
    ]  # fmt: skip
    assert (hub_word("CC BY-NC 4.0"), hub_word("mine")) == ("cc-by-nc-4.0", "")


def test_ids_of_other_programs_become_numbers(clinic: Dataset, tmp_path: Path) -> None:
    x, labels = pictures(20, 62)
    made = synthetic_dataset(
        tmp_path / "made",
        clinic,
        x,
        labels,
        known=False,
        age=list(range(20)),
        id=[f"MUSTER-{i}.png" for i in range(20)],
    )
    release(made.path, tmp_path / "public", override="a test")
    table = pd.read_csv(tmp_path / "public" / "metadata.csv")
    assert list(table["id"]) == [f"s{i:07d}" for i in range(20)]
    assert not {"age", "note"} & set(table.columns)
    assert "MUSTER" not in texts(tmp_path / "public")
    assert np.array_equal(Dataset.open(made.path).pixels.read(np.arange(20)), x)
