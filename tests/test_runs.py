from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plenish import files, runs
from plenish.commands.runs import list_runs, prune_runs, remove_run, show_run
from plenish.errors import InputError
from plenish.files import sha256_file, write_record
from plenish.runs import Run

CONFIG = {"recipe": "dcgan", "schedule": {"kimg": 10.0, "keep": 3}, "network": {"width": 8}}


def test_reopened_with_the_same_configuration(tmp_path: Path) -> None:
    first = Run.create(tmp_path / "r", "generator", CONFIG, seed=4)
    again = Run.open_or_create(tmp_path / "r", "generator", CONFIG, seed=4)
    assert again.id == first.id
    assert again.seed == 4
    assert again.status["state"] == "new"


def test_it_prints_itself(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG, data={"name": "<i>tiles"})
    assert repr(run) == f"Run({str(tmp_path / 'r')!r}, generator, new)"
    run.update_status(kimg=2.5, best={"checkpoint": "kimg-00002.500"})
    assert "2.5 kimg" in repr(run)
    page = run._repr_html_()
    assert "kimg-00002.500" in page
    assert "&lt;i&gt;tiles" in page
    assert "<img" not in page
    (run.path / "samples").mkdir()
    for name in ("kimg-00001.000.png", "kimg-00002.500.png"):
        (run.path / "samples" / name).write_bytes(name.encode())
    assert base64.b64encode(b"kimg-00002.500.png").decode() in run._repr_html_(), "the last ones are shown"


def test_every_difference_is_listed_and_refused(tmp_path: Path) -> None:
    Run.create(tmp_path / "r", "generator", CONFIG, data={"pixels_hash": "a", "path": "here"})
    changed = {**CONFIG, "network": {"width": 16}}
    with pytest.raises(InputError, match=r"network\.width was 8 and is now 16.*seed was 0 and is now 1"):
        Run.open_or_create(
            tmp_path / "r", "generator", changed, data={"pixels_hash": "a", "path": "there"}, seed=1
        )
    with pytest.raises(InputError, match="other data, here"):
        Run.open_or_create(tmp_path / "r", "generator", CONFIG, data={"pixels_hash": "b", "path": "there"})


def test_length_may_change_and_the_path_of_the_data_too(tmp_path: Path) -> None:
    Run.create(tmp_path / "r", "generator", CONFIG, data={"pixels_hash": "a", "path": "here"})
    longer = {**CONFIG, "schedule": {"kimg": 20.0, "keep": 3}}
    run = Run.open_or_create(
        tmp_path / "r",
        "generator",
        longer,
        data={"pixels_hash": "a", "path": "there"},
        may_change=("schedule.kimg",),
    )
    assert run.config["config"]["schedule"]["kimg"] == 20
    assert Run.open(tmp_path / "r").config["config"]["schedule"]["kimg"] == 10


def test_other_processes_do_not_wait_without_end_for_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(runs, "FIRST_PROCESS_SECONDS", 0.1)
    with pytest.raises(InputError, match=r"/r/config\.json within 0\.1 s"):
        Run.open_or_create(tmp_path / "r", "generator", CONFIG)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.doc").write_text("years of work")
    with pytest.raises(InputError, match=r"/r .*Plenish Run"):
        Run.create(tmp_path / "r", "generator", CONFIG)
    assert (tmp_path / "r" / "thesis.doc").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_every_process_of_a_job_refuses_a_folder_in_use(
    rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    path = tmp_path / "r"
    Run.check_place(path)
    (tmp_path / ".r.1.new").mkdir()  # What the first process makes on its way.
    path.mkdir()
    Run.check_place(path)
    (path / "thesis.doc").touch()
    with pytest.raises(InputError, match=r"/r .*Plenish Run"):
        Run.check_place(path)


def test_a_run_that_another_process_makes_meanwhile_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    look = files.refuse_occupied

    def look_late(folder: Path, what: str) -> None:
        monkeypatch.setattr(files, "refuse_occupied", look)
        Run.create(folder, "generator", CONFIG)
        look(folder, what)

    monkeypatch.setattr(files, "refuse_occupied", look_late)
    Run.check_place(tmp_path / "r")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_at_a_link_is_made_in_its_folder_or_refused_at_once(is_there: bool, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("folder")
    if not is_there:
        with pytest.raises(InputError, match="/link "):
            Run.check_place(link)
        return
    (tmp_path / "folder").mkdir()
    Run.check_place(link)
    made = Run.create(link, "generator", CONFIG)
    assert made.path == link
    assert link.is_symlink()
    assert Run.open(tmp_path / "folder").id == made.id
    Run.check_place(link)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    Run.create(tmp_path / "r", "study", {})
    with pytest.raises(InputError, match=r"study Run .* generator Run"):
        Run.open(tmp_path / "r", "generator")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    for layout in (1, runs.LAYOUT + 1):
        write_record(run.path / "config.json", {**run.config, "layout": layout})
        with pytest.raises(InputError, match=rf"\b{layout}\b.*\b{runs.LAYOUT}\b"):
            Run.open(run.path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    code = f"from plenish.runs import Run\nwith Run.open({str(run.path)!r}).lock(): pass"
    with run.lock():
        blocked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "being worked on by process" in blocked.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_is_renamed_at_work_says_so(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)

    def work() -> None:
        with run.lock():
            run.path.rename(tmp_path / "s")
            run.update_status(state="running")

    with pytest.raises(InputError, match="r was renamed or removed while it was worked on"):
        work()
    (tmp_path / "s").rename(run.path)
    with run.lock():
        run.update_status(state="running")


def test_logs_past_a_checkpoint_are_cut_back(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    for kimg in (1.0, 2.0, 3.0):
        run.log(kimg=kimg, loss=1 / kimg)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"kimg": 2.5, "lo')
    run.cut_metrics(2.0)
    assert run.metrics()["kimg"].tolist() == [1.0, 2.0]


def test_a_folder_of_another_program_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"/bert .*config\.json"):
        remove_run(tmp_path / "bert", yes=True)
    assert (tmp_path / "bert" / "config.json").exists()


def test_list_show_remove(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", "generator", CONFIG)
    Run.create(tmp_path / "deep" / "b", "study", {})
    (tmp_path / "config.json").write_text("{}")
    listed = list_runs(tmp_path).rows
    assert [row["kind"] for row in listed] == ["generator", "study"]
    assert show_run(tmp_path / "a").summary()["recipe"] == "dcgan"
    with pytest.raises(InputError, match="--yes"):
        remove_run(tmp_path / "a")
    remove_run(tmp_path / "a", yes=True)
    assert not (tmp_path / "a").exists()


def test_a_damaged_run_is_listed_as_such_and_hides_no_other(tmp_path: Path) -> None:
    Run.create(tmp_path / "a", "generator", CONFIG)
    hurt = Run.create(tmp_path / "b", "generator", CONFIG)
    Run.create(tmp_path / "c", "generator", CONFIG)
    for content in ("{", "[]", "[" * 100_000, (hurt.path / "config.json").read_text().replace("7", "8")):
        (hurt.path / "config.json").write_text(content)
        rows = {Path(row["run"]).name: row["state"] for row in list_runs(tmp_path).rows}
        assert rows["a"] == rows["c"] == "new"
        assert rows["b"].startswith("unreadable: ")
        assert prune_runs(tmp_path, yes=True)["skipped"]


def test_prune_keeps_newest_and_best(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    for i in range(5):
        folder = run.path / "checkpoints" / f"kimg-0000{i}.000"
        folder.mkdir(parents=True)
        (folder / "g.safetensors").write_bytes(b"x" * 100)
        write_record(folder / "manifest.json", {"g.safetensors": sha256_file(folder / "g.safetensors")})
    (folder / "g.safetensors").write_bytes(b"damaged")  # the newest does not count
    run.update_status(best={"checkpoint": "kimg-00001.000"})
    preview = prune_runs(tmp_path)
    assert [path.rpartition("/")[2] for path in preview["would_remove"]] == [
        "kimg-00000.000",
        "kimg-00002.000",
    ]
    assert len(list((run.path / "checkpoints").iterdir())) == 5
    (tmp_path / "made").mkdir()
    run.note_use("kimg-00002.000", tmp_path / "made")
    run.note_use("kimg-00000.000", tmp_path / "gone")
    with (run.path / "uses.jsonl").open("a") as file:
        file.write("[1]\nhalf a li")
    pruned = prune_runs(tmp_path, yes=True)
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == [
        "kimg-00001.000",
        "kimg-00002.000",
        "kimg-00003.000",
        "kimg-00004.000",
    ]
    assert pruned["freed_bytes"] == preview["would_free_bytes"] / 2
    with pytest.raises(InputError, match=r"--keep .*1.* 0"):
        prune_runs(tmp_path, keep=0)


def test_a_run_whose_process_was_killed_is_interrupted(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    code = (
        "import time\nfrom plenish.runs import Run\n"
        f"run = Run.open({str(run.path)!r})\nwith run.lock():\n"
        "    run.update_status(state='running')\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "held"
        assert list_runs(tmp_path).rows[0]["state"] == "running"
        worker.kill()
    assert list_runs(tmp_path).rows[0]["state"] == "interrupted"
    assert show_run(run.path).summary()["state"] == "interrupted"
    with run.lock():  # a look at the state takes nothing away
        assert run.state == "running"


def test_the_refusal_of_an_untrained_run_names_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "r"
    Run.create(path, "generator", CONFIG, data={"pixels_hash": "a", "path": "here"})
    changed = {**CONFIG, "network": {"width": 16}}
    for config, data in ((changed, "a"), (CONFIG, "b")):
        with pytest.raises(InputError, match=r"runs rm \S+/r --yes"):
            Run.open_or_create(path, "generator", config, data={"pixels_hash": data, "path": "here"})
    (path / "checkpoints" / "kimg-00000.100").mkdir(parents=True)
    write_record(path / "checkpoints" / "kimg-00000.100" / "manifest.json", {})
    with pytest.raises(InputError, match=r"network\.width") as refusal:
        Run.open_or_create(path, "generator", changed, data={"pixels_hash": "a", "path": "here"})
    assert "runs rm" not in str(refusal.value)


def test_energy_is_shown_as_measured_or_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLENISH_GRAMS_PER_KWH", raising=False)
    run = Run.create(tmp_path / "r", "generator", CONFIG)
    assert "energy" not in run.summary()
    run.update_status(energy_j=None, busy_s=1800.0)
    assert run.summary()["energy"] == "1.00 to 10.0 Wh (by the time that cores were busy; not measured)"
    assert run.summary()["co2"] == "0.0110 to 8.20 g"
    run.update_status(energy_j=7200.0)
    assert run.summary()["energy"] == "2.00 Wh (of the processor, measured)"
    monkeypatch.setenv("PLENISH_GRAMS_PER_KWH", "400")
    assert run.summary()["co2"] == "0.800 g"


def test_work_on_a_run_is_counted_on_top_of_earlier_work(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", "study", CONFIG)
    run.update_status(state="running")
    assert "busy_s" not in run.status, "only work under the lock counts"
    for least in (0.05, 0.1):
        with run.lock():
            end = time.process_time() + 0.06
            while time.process_time() < end:
                pass
            run.update_status(state="complete")
        assert run.status["busy_s"] >= least
    before = run.status["busy_s"]
    run.update_status(message="x")
    assert run.status["busy_s"] == before


def test_a_run_is_not_made_inside_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match=r"runs/one .*Dataset .*/data"):
        Run.create(tmp_path / "data" / "runs" / "one", "generator", {})
    assert not (tmp_path / "data" / "runs").exists()
