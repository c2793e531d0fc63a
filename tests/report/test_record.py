"""How to repeat it: the commands that the parts recorded, in the order to run them."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from fabricate import Work, command, make_data, make_run

from plenish import files
from plenish.report.inputs import gather
from plenish.report.page import Code
from plenish.report.record import repeat


def lines_of(**parts: Path) -> list[str]:
    (code,) = repeat(gather(**parts)).blocks
    assert isinstance(code, Code)
    return list(code.lines)


def test_parts_are_repeated_in_order_from_the_folder_they_were_made_in(work: Work) -> None:
    lines = lines_of(score=work.score, study=work.study)
    assert [shlex.split(line)[:2] for line in lines] == [
        ["cd", "/work of/mine"], ["plenish", "score"], ["plenish", "study"],
    ]  # fmt: skip


def test_a_prolonged_run_is_repeated_by_both_commands(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", ("a", "b"))
    run = make_run(tmp_path / "run", data)
    assert not repeat(gather(run=run.path))  # Nothing is known of how it was made.
    first, second = command("train", "gan", "--kimg", "1"), command("train", "gan", "--kimg", "2")
    content = files.read_json(run.path / "config.json") | {"command": first}
    files.write_record(run.path / "config.json", content)
    run.update_status(commands=[dict(second, folder="/elsewhere"), first])
    assert lines_of(run=run.path) == [
        "cd '/work of/mine'", first["repeat"], "cd /elsewhere", second["repeat"],
    ]  # fmt: skip


def test_what_one_command_made_is_repeated_once(tmp_path: Path) -> None:
    """A Dataset, its split and a Run of one import, such as a study's own images."""
    data = make_data(tmp_path / "data", ("a", "b"))
    made = command("import", "source", "data")
    about = dataclasses.replace(data.manifest, command=made)
    files.write_record(data.path / "dataset.json", about.to_dict())
    split = data.path / "splits" / "default.json"
    files.write_record(split, files.read_json(split) | {"command": made})
    assert lines_of(data=data.path) == ["cd '/work of/mine'", made["repeat"]]


def test_the_checkpoint_of_generated_images_is_named(tmp_path: Path) -> None:
    """What is the best checkpoint now may be another one later."""
    extra = {"generator": {"checkpoint": "kimg-00040.000"}}
    data = make_data(tmp_path / "made", ("a", "b"), extra=extra)
    for words in ([], ["--checkpoint", "last"]):
        made = command("generate", "run", "made", "--seed", "1", *words)
        made["options"] = {"checkpoint": words[-1] if words else "best"}
        about = dataclasses.replace(data.manifest, command=made)
        files.write_record(data.path / "dataset.json", about.to_dict())
        assert lines_of(synthetic=data.path)[1:] == [
            "plenish generate run made --seed 1 --checkpoint kimg-00040.000"
        ]
