# ruff: noqa: PT012  # what a block leaves behind when it raises inside is the point here
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plenish import files
from plenish.errors import AlreadyMade, InputError


def test_whole_appears_only_when_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with files.atomic_dir(out, {"a": 1}) as partial:
        (partial / "x").write_text("1")
        assert not out.exists()
    assert sorted(p.name for p in out.iterdir()) == [".plenish.json", "x"]
    assert not partial.exists()


def test_what_the_same_command_has_made_is_told_from_another_folder(tmp_path: Path) -> None:
    for name in ("out", "other"):
        with files.atomic_dir(tmp_path / name, {"a": name}):
            pass
    (tmp_path / "mine").mkdir()
    with pytest.raises(AlreadyMade) as told, files.atomic_dir(tmp_path / "out", {"a": "out"}):
        pass
    assert told.value.exit_code == 0
    for name in ("other", "mine"):
        with pytest.raises(InputError, match="already exists"), files.atomic_dir(tmp_path / name, {"a": 3}):
            pass
        assert (tmp_path / name).exists()


def test_a_file_that_is_missing_of_what_was_made_is_named(tmp_path: Path) -> None:
    with files.atomic_dir(tmp_path / "out", {"a": 1}) as folder:
        (folder / "inner").mkdir()
        for name in ("table", "page", "inner/one", "inner/two"):
            (folder / name).write_text("1")
    for gone, told in (("inner/one", "1 file is"), ("page", "page is")):
        (tmp_path / "out" / gone).unlink()
        with pytest.raises(InputError, match=told), files.atomic_dir(tmp_path / "out", {"a": 1}):
            pass
        with pytest.raises(InputError, match="already exists"), files.atomic_dir(tmp_path / "out", {"a": 2}):
            pass
    assert (tmp_path / "out" / "table").exists()


@pytest.mark.parametrize("marker", [{}, {"files": None, "names": None}, {"files": 1}, {"names": ["table"]}])
def test_a_marker_may_lack_what_a_folder_held(marker: dict[str, object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with files.atomic_dir(out, {"a": 1}) as folder:
        (folder / "table").write_text("1")
    made = files.read_json(out / ".plenish.json")
    kept = {key: value for key, value in made.items() if key not in ("files", "names")}
    files.write_json(out / ".plenish.json", {**kept, **marker})
    with pytest.raises(AlreadyMade), files.atomic_dir(out, {"a": 1}):
        pass
    (out / "table").unlink()
    known = any(marker.values())
    with pytest.raises(InputError if known else AlreadyMade), files.atomic_dir(out, {"a": 1}):
        pass


def test_what_a_folder_holds_is_found_in_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def counted(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def counting(path: Any) -> Any:
            read.append(str(path))
            return look(path)

        return counting

    for look in ("scandir", "listdir"):
        monkeypatch.setattr(os, look, counted(getattr(os, look)))
    with files.atomic_dir(tmp_path / "out", {"a": 1}) as folder:
        (folder / "inner").mkdir()
        for name in ("b", "a", "inner/one"):
            (folder / name).touch()
        read.clear()
    assert read == [str(folder), str(folder / "inner")]
    made = files.read_json(tmp_path / "out" / ".plenish.json")
    assert (made["files"], made["names"]) == (3, ["a", "b"])


def test_killed_between_the_last_two_renamings(tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    with files.atomic_dir(tmp_path / "out", {"a": 1}, resumable=True) as folder:
        (folder / "x").write_text("1")
    (tmp_path / "out").rename(partial)
    with files.atomic_dir(tmp_path / "out", {"a": 1}, resumable=True) as folder:
        assert (folder / "x").exists()
    assert not partial.exists()


def test_an_output_with_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a\udcff"
    with pytest.raises(InputError, match=r"xff' is no name in UTF-8"), files.atomic_dir(out, {}):
        pass
    with pytest.raises(InputError, match="UTF-8"):
        files.create_folder(out, "a Run", {})
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    files.write_record(tmp_path / "a.json", {"path": "a\udcff"})
    assert files.read_record(tmp_path / "a.json") == {"path": "a\udcff"}


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), files.atomic_dir(tmp_path / "out", {}, resumable=True) as partial:
        (partial / "x").write_text("1")
        raise ValueError
    assert list(tmp_path.iterdir()) == []


def test_interrupt_keeps_a_resumable_partial_and_hands_it_over(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        files.atomic_dir(tmp_path / "out", {"a": 1}, resumable=True) as partial,
    ):
        (partial / "x").write_text("1")
        raise KeyboardInterrupt
    with files.atomic_dir(tmp_path / "out", {"a": 1}, resumable=True) as partial:
        assert (partial / "x").read_text() == "1"
    assert (tmp_path / "out" / "x").exists()


def test_partial_of_another_configuration_is_refused_and_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        files.atomic_dir(tmp_path / "out", {"a": 1}, resumable=True) as partial,
    ):
        (partial / "x").write_text("1")
        raise KeyboardInterrupt
    with (
        pytest.raises(InputError, match=r"out\.partial .*options"),
        files.atomic_dir(tmp_path / "out", {"a": 2}, resumable=True),
    ):
        pass
    assert (tmp_path / "out.partial").exists()


def test_a_stranger_in_the_way_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "precious").write_text("mine")
    for marker in (None, "[]"):
        if marker is not None:
            (tmp_path / "out.partial" / "partial.json").write_text(marker)
        with pytest.raises(InputError, match=r"out\.partial"), files.atomic_dir(tmp_path / "out", {}):
            pass
    assert (tmp_path / "out.partial" / "precious").read_text() == "mine"


def test_a_partial_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    for resumable in (False, True):
        with files.atomic_dir(tmp_path / "out", {}, resumable=resumable) as partial:
            (partial / "x").write_text("1")
            with (
                pytest.raises(InputError, match=r"out\.partial .*process"),
                files.atomic_dir(tmp_path / "out", {}, resumable=resumable),
            ):
                pass
            assert (partial / "x").exists()
        (tmp_path / "out").rename(tmp_path / f"done{resumable}")


def test_a_name_under_which_nothing_can_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "a" / "b", tmp_path / ("a" * 250)):
        with pytest.raises(InputError, match="choose a"):
            files.refuse_unwritable(out)
        with pytest.raises(InputError, match="choose a"):
            files.refuse_existing(out)
        with pytest.raises(InputError, match="choose a"):
            files.refuse_occupied(out, "a Run")
    for out in (tmp_path / "a" / "b", tmp_path / "file", tmp_path):
        files.refuse_unwritable(out)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("target", ["nowhere", "loop", "file"])
def test_below_a_link_to_no_folder_nothing_is_made(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    link = tmp_path / "loop"
    link.symlink_to(target)
    for out in (link / "a", link / "a" / "b"):
        with pytest.raises(InputError, match=r"loop is .*choose a"):
            files.refuse_unwritable(out)
        with pytest.raises(InputError, match="choose a"), files.atomic_dir(out, {}):
            pass
        with pytest.raises(InputError, match="choose a"):
            files.create_folder(out, "a Run", {})
    for refused in (files.refuse_existing, lambda out: files.refuse_occupied(out, "a Run")):
        with pytest.raises(InputError, match="loop"):
            refused(link)
    with pytest.raises(InputError, match="loop already exists"):
        files.create_folder(link, "a Run", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_a_folder_behind_a_link_is_made_where_the_link_points(tmp_path: Path) -> None:
    for name in ("away", "empty"):
        (tmp_path / name).mkdir()
        (tmp_path / f"to {name}").symlink_to(name)
    files.create_folder(tmp_path / "to away" / "run", "a Run", {"a.json": {"b": 1}})
    files.create_folder(tmp_path / "to empty", "a Run", {"a.json": {"b": 1}})
    for made in ("away/run", "empty"):
        assert [path.name for path in (tmp_path / made).iterdir()] == ["a.json"]
    assert (tmp_path / "to empty").is_symlink()
    assert len(list(tmp_path.iterdir())) == 4


def test_places_by_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (Path(), tmp_path / "here"):
        files.refuse_unwritable(out)
        with pytest.raises(InputError, match="choose a folder in it"):
            files.create_folder(out, "a Run", {})
    Path("empty").mkdir()
    for made in (Path("a") / "b", Path("empty"), Path("..") / "c"):
        files.create_folder(made, "a Run", {"a.json": {"b": 1}})
        assert (made / "a.json").is_file()
    Path("nowhere").symlink_to("missing")
    with pytest.raises(InputError, match="nowhere is a broken symbolic link"):
        files.refuse_unwritable(Path("nowhere") / "x")


def test_a_parent_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    (shut / "empty").mkdir(parents=True)
    (tmp_path / "link").symlink_to(shut / "empty")
    shut.chmod(0o500)
    try:
        if os.access(shut, os.W_OK):
            pytest.skip("root writes everywhere")
        for out in (shut / "a", shut / "a" / "b"):
            with pytest.raises(InputError, match="takes no new files"):
                files.refuse_unwritable(out)
        for out in (shut / "empty", tmp_path / "link"):
            with pytest.raises(InputError, match="takes no new files"):
                files.refuse_occupied(out, "a Run")
    finally:
        shut.chmod(0o700)


def test_a_mount_point_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "volume")
    with pytest.raises(InputError, match="choose a folder in it"):
        files.refuse_occupied(tmp_path / "volume", "a Run")
    files.refuse_occupied(tmp_path / "volume" / "run", "a Run")


def test_what_a_killed_process_of_the_same_number_left_is_replaced(tmp_path: Path) -> None:
    unborn = tmp_path / f".run.{os.getpid()}.new"
    unborn.mkdir()
    (unborn / "left").touch()
    files.create_folder(tmp_path / "run", "a Run", {"a.json": {"b": 1}})
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "a.json"]


@pytest.mark.parametrize("taken", ["folder", "file"])
def test_a_name_that_was_taken_meanwhile_is_named(taken: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="out already exists"), files.atomic_dir(out, {}):
        if taken == "folder":
            (out / "mine").mkdir(parents=True)
        else:
            out.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_there_already_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there already exists"), files.reporting_disk(tmp_path / "out"):
        (tmp_path / "there").mkdir()
        (tmp_path / "there").mkdir()


def test_existing_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="out "), files.atomic_dir(tmp_path / "out", {}):
        pass


def test_full_disk_becomes_a_sentence_and_nothing_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"space .*out"), files.atomic_dir(tmp_path / "out", {}) as partial:
        (partial / "x").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"), files.atomic_dir(tmp_path / "file" / "out", {}):
        pass


@pytest.mark.parametrize(
    ("place", "obstacle"),
    [
        pytest.param(
            "/proc/x", "/proc", marks=pytest.mark.skipif(not Path("/proc/1").exists(), reason="no /proc")
        ),
        ("{}/file/out", "file is not a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_as_the_user_did(
    place: str, obstacle: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    out = Path(place.format(tmp_path))
    with pytest.raises(InputError) as refused, files.atomic_dir(out, {}):
        pass
    said = str(refused.value)
    assert said.startswith(f"{out} ")
    assert obstacle in said
    assert ".partial" not in said


def test_a_missing_source_is_not_taken_for_the_output(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"missing\.png"),
        files.atomic_dir(tmp_path / "out", {}),
    ):
        (tmp_path / "missing.png").read_bytes()


def test_require_space(tmp_path: Path) -> None:
    files.require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(InputError, match="953,674,316,422 MiB"):
        files.require_space(tmp_path, 10**18)


def test_write_json_makes_infinities_null(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert files.read_json(tmp_path / "x.json") == {"a": None, "b": [None, 1.5]}


def test_config_hash_ignores_order() -> None:
    assert files.config_hash({"a": 1, "b": 2}) == files.config_hash({"b": 2, "a": 1})
    assert files.config_hash({"a": 1}) != files.config_hash({"a": 2})
