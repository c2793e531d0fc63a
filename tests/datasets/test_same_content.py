"""The same tree, whatever packs it, with the same table, whatever writes it: one Dataset, byte for byte."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.datasets.test_meaning import _tar, _zip, picture, tree

from plenish.datasets.importing import import_dataset
from plenish.datasets.sources.listing import SourceOptions

PACKED = ("folder", "zip", "cbz", "tar", "tar.gz", "tar.bz2", "tar.xz")
WRITTEN = ("csv", "tsv", "tab", "semicolon.csv", "excel.csv", "jsonl", "json", "parquet")
FRAME = pd.DataFrame({
    "file": ["train/P1/é 0.png", "train/P1/10.png", "train/P2/2.png", "test/P3/3.png", "test/P4/4.png"],
    "label": [0, 1, 1, 0, 2], "patient": ["P1", "P1", "P2", None, "P4"],
    "part": ["train", "train", "train", "test", "test"], "age": [1.5, None, 3.0, 1e-7, 4.0],
    "n": [1, 2, 3, -4, 5], "left": [True, False, True, True, False],
    "note": ['ä,";', " b", "c|d", "e\nf", None],
    "code": ["007", "07", "7", "x", "0"],
})  # fmt: skip


def pack(root, kind, folder):
    if kind == "folder":
        return root
    out = folder / f"packed.{kind}"
    return _zip(root, out) if kind in ("zip", "cbz") else _tar(root, out)


def write(kind, folder):
    path = folder / f"table.{kind}"
    if kind == "parquet":
        FRAME.to_parquet(path)
    elif kind in ("json", "jsonl"):
        FRAME.to_json(path, orient="records", lines=kind == "jsonl", double_precision=15)
    else:
        sign = {"tsv": "\t", "tab": "\t"}.get(kind, ";" if "." in kind else ",")
        content = FRAME.to_csv(index=False, sep=sign)
        path.write_text(
            ("sep=;\n" if kind.startswith("excel") else "") + content, encoding="utf-8", newline=""
        )
    return path


def content(folder, *names):
    """Every file of a Dataset but that of its command, without what a source, its table and it are called."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "caches" not in path.parts and path.name != ".plenish.json"
    }
    for name in [name for name in files if name.endswith(".json")]:
        text = json.dumps(json.loads(files[name]), ensure_ascii=False)
        for word in (*names, folder.name):
            text = text.replace(str(word), "X")
        text = re.sub("folder|zip archive|tar archive", "container", text)
        files[name] = re.sub('"(checksum|created)": "[^"]*"', "", text)
    return files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("source") / "tree", *FRAME["file"])


def test_every_container_with_every_table_gives_one_dataset(root, tmp_path):
    options = {"group_column": "patient", "split_column": "part"}
    first = None
    sources = {kind: pack(root, kind, tmp_path) for kind in PACKED}
    tables = {kind: write(kind, tmp_path) for kind in WRITTEN}
    for packed, source in sources.items():
        for written, table in tables.items():
            out = tmp_path / f"{packed}-{written}"
            import_dataset(source, out, 16, reading=SourceOptions(labels=table, **options))
            found = content(out, source, table)
            first = found if first is None else first
            assert found.keys() == first.keys()
            differing = [name for name in found if found[name] != first[name]]
            assert not differing, (packed, written, differing, *(found[name] for name in differing))
    assert {"samples.parquet", "pixels/00000.npy", "splits/default.parquet", "dataset.json"} <= first.keys()
    rows = pd.read_parquet(out / "samples.parquet").set_index("source").loc[FRAME["file"]]
    assert rows["label"].tolist() == ["0", "1", "1", "0", "2"]
    assert rows["group"].fillna("none").tolist() == ["P1", "P1", "P2", "none", "P4"]
    assert rows["age"].fillna(-1).tolist() == [1.5, -1, 3.0, 1e-7, 4.0]
    assert rows["note"].fillna("none").tolist() == ['ä,";', " b", "c|d", "e\nf", "none"]
    assert rows["code"].tolist() == ["007", "07", "7", "x", "0"]
    assert (rows["n"].dtype, rows["left"].dtype) == (np.int64, bool)


@pytest.mark.parametrize("written", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_table_inside_gives_one_dataset_whatever_packs_it(tmp_path, written):
    root = tmp_path / "tree"
    frame = FRAME.rename(columns={"file": "file_name"})
    for seed, name in enumerate(frame["file_name"]):
        picture(root / name, seed)
    suffix = written.rpartition(".")[2]
    if suffix == "csv":
        frame.to_csv(root / written, index=False)
    elif suffix == "jsonl":
        frame.to_json(root / written, orient="records", lines=True, double_precision=15)
    else:
        frame.to_parquet(root / written)
    found = []
    for packed in PACKED:
        source, out = pack(root, packed, tmp_path), tmp_path / f"out-{packed}"
        import_dataset(source, out, 16, reading=SourceOptions(group_column="patient", split_column="part"))
        known = content(out, source)
        known["dataset.json"] = known["dataset.json"].replace(f"X/{written}", f"{written} in X")
        known = {name: x.replace(f"X/{written}", f"{written} in X") if isinstance(x, str) else x
                 for name, x in known.items()}  # fmt: skip
        found.append(known)
    assert all(known == found[0] for known in found)
