"""Which Run was made from which, and what was changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import cli
from plenish.lineage import lineage, lines
from plenish.runs import Run

ROWS = {"path": "/data", "name": "tiles", "pixels_hash": "p", "table_hash": "t", "split_hash": "s"}


def _run(path: Path, created: str, config: Mapping[str, Any], kind: Any = "generator", **more: Any) -> Run:
    """A Run whose birth is set, so that the order does not hang on the clock."""
    run = Run.create(path, kind, config, data=ROWS, **more)
    content = json.loads((path / "config.json").read_text())
    from plenish import files

    content.pop(files.CHECKSUM)
    files.write_record(path / "config.json", content | {"created": created})
    return Run.open(run.path)


def test_a_tree_of_runs(tmp_path: Path) -> None:
    first = _run(tmp_path / "a", "2026-01-01", {"recipe": "dcgan", "lr": 1, "width": 8})
    other = _run(tmp_path / "b", "2026-01-02", {"recipe": "dcgan", "lr": 2, "width": 8}, seed=3)
    start = {"run": str(first.path), "run_id": first.id, "stage": 64}
    again = _run(
        tmp_path / "c", "2026-01-03", {"recipe": "dcgan", "lr": 1, "width": 16, "from": start},
        parents=[{"run": str(first.path), "id": first.id, "kind": "generator"}],
    )  # fmt: skip
    made = tmp_path / "synthetic"
    made.mkdir()
    (made / "dataset.json").write_text(json.dumps({"extra": {"generator": {"run_id": again.id}}}))
    study = _run(
        tmp_path / "d", "2026-01-04", {"arms": []}, "study",
        parents=[{"path": str(made), "name": "more", "pixels_hash": "x"},
                 {"run": str(other.path), "id": other.id, "kind": "generator"}],
    )  # fmt: skip

    roots = lineage([study, other, again, first])

    assert [root.run.id for root in roots] == [first.id, other.id]
    assert roots[1].compared_with == "a"
    assert roots[1].changes == ["lr was 1 and is now 2", "seed was 0 and is now 3"]
    (child,) = roots[0].children
    assert (child.run.id, child.made_from, list(child.changes)) == (
        again.id, "stage 64", ["width was 8 and is now 16"],
    )  # fmt: skip
    (grandchild,) = child.children
    assert (grandchild.run.id, grandchild.made_from) == (study.id, "images of more")
    assert grandchild.also_from == [str(other.path)]
    text = "\n".join(lines(roots))
    assert f"└─ {again.path}  generator" in text
    assert f"   └─ {study.path}  study" in text


def test_copies_of_a_run_are_all_shown(tmp_path: Path) -> None:
    first = _run(tmp_path / "a", "2026-01-01", {"recipe": "dcgan"})
    child = _run(
        tmp_path / "b", "2026-01-02", {"recipe": "dcgan"},
        parents=[{"run": str(first.path), "id": first.id, "kind": "generator"}],
    )  # fmt: skip
    for name in "ab":
        shutil.copytree(tmp_path / name, tmp_path / f"copy-{name}")
    runs = [Run.open(tmp_path / name) for name in ("copy-b", "a", "copy-a", "b")]
    roots = lineage(runs)
    assert [root.run.path.name for root in roots] == ["a", "copy-a"]
    assert [node.run.path.name for node in roots[0].children] == ["b", "copy-b"]
    assert {node.run.id for node in roots[0].children} == {child.id}


def test_damaged_runs_are_named_and_the_others_shown(tmp_path: Path, capsys: Any) -> None:
    _run(tmp_path / "good", "2026-01-01", {"recipe": "dcgan"})
    _run(tmp_path / "bad", "2026-01-02", {"recipe": "dcgan"})
    (tmp_path / "bad" / "config.json").write_text("{")
    assert cli.run(["runs", "tree", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "good  generator" in out
    assert "not read: " in out
    assert cli.run(["runs", "tree", str(tmp_path / "nothing")]) == 2
