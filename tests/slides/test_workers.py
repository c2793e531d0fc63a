from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from plenish.errors import InputError
from plenish.slides.planning import Plan, Wanted
from plenish.slides.settings import TilingSettings
from plenish.slides.workers import Job, Order, do_all


def _jobs(path: Path, folder: Path, order: Order) -> list[Job]:
    wanted = Wanted(str(path), "slide", None, None, str(folder / "none.png"))
    [(_, answer)] = do_all([Job(wanted, plan=str(folder / "plan.npz"))], order, 1)
    assert answer.error == ""
    plan = Plan.load(folder / "plan.npz")
    tiles = list(zip(plan.rows.tolist(), plan.columns.tolist()))
    return [Job(wanted, grid=plan.grid, tiles=tuple(tiles[i : i + 5])) for i in range(0, len(tiles), 5)]


@pytest.fixture
def order() -> Order:
    return Order(TilingSettings(size=64, level=0, min_tissue=0, max_pen=0.9))


def test_answers_come_in_order_and_do_not_depend_on_workers(make_slide, tmp_path: Path, order: Order) -> None:
    jobs = _jobs(make_slide(), tmp_path, order)
    alone, together = (list(do_all(jobs, order, workers)) for workers in (1, 3))
    assert [job for job, _ in together] == jobs
    for (_, one), (_, other) in zip(alone, together, strict=True):
        assert one.items == other.items
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_tile_that_brings_a_worker_down_is_found_and_rejected(
    make_slide, tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_slide()
    jobs = _jobs(path, tmp_path, order)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[2]
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nread = os.pread\n"
        f"os.pread = lambda file, n, at: os._exit(7) if at == {offset} else read(file, n, at)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (_, answer), (_, after) = do_all(jobs[:2], order, 2)
    assert [isinstance(item, str) for item in answer.items] == [False, False, True, False, False]
    assert "crashed a worker process (exit status 7)" in str(answer.items[2])
    assert len(answer.pixels) == 4
    assert len(after.pixels) == 5


def test_whatever_a_slide_makes_libraries_raise_is_an_answer_for_every_tile(
    make_slide, tmp_path: Path, order: Order, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = _jobs(make_slide(), tmp_path, order)
    # A row that is no number stands for anything that nobody has thought of.
    broken = dataclasses.replace(jobs[0], tiles=(*jobs[0].tiles[:2], (0, None)))  # type: ignore[arg-type]
    wrong = dataclasses.replace(jobs[0].wanted, mpp="half")  # type: ignore[arg-type]
    plan = Job(wrong, plan=str(tmp_path / "other.npz"))
    scaled = Order(TilingSettings(size=64, mpp=0.5))
    gone = dataclasses.replace(jobs[0], wanted=dataclasses.replace(jobs[0].wanted, path="gone.svs"))
    for workers in (1, 2):
        (_, answer), (_, lost) = do_all([broken, gone], order, workers)
        assert [isinstance(item, str) for item in answer.items] == [False, False, True]
        assert "TypeError" in str(answer.items[2])
        assert lost.items == ["is not there; give a slide's path"] * 5
        [(_, answer)] = do_all([plan], scaled, workers)
        assert answer.error.startswith(f"{wrong.path} cannot be used (")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_written_stops_all(make_slide, tmp_path: Path, order: Order, workers: int) -> None:
    jobs = _jobs(make_slide(), tmp_path, order)
    nowhere = Job(jobs[0].wanted, plan=str(tmp_path / "plan.npz" / "in-a-file.npz"))
    with pytest.raises(InputError, match="in-a-file"):
        list(do_all([nowhere], order, workers))


def _reading(pid: int) -> bool:
    """Whether a process has the slide open, and so is through with its start."""
    return any(str(fd.readlink()).endswith("slide.tif") for fd in Path(f"/proc/{pid}/fd").iterdir())


def test_a_worker_that_is_killed_is_replaced(make_slide, tmp_path: Path, order: Order) -> None:
    jobs = _jobs(make_slide(), tmp_path, order)
    answers = do_all(jobs * 3, order, 2)
    first = next(answers)
    threads = Path("/proc/self/task").glob("*/children")
    children = [int(pid) for listed in threads for pid in listed.read_text().split()]
    mine = [p for p in children if b"plenish.slides.workers" in Path(f"/proc/{p}/cmdline").read_bytes()]
    busy = [pid for pid in mine if _reading(pid)]  # The one that has answered, at least.
    assert busy
    os.kill(busy[0], signal.SIGKILL)
    rest = [first, *answers]
    assert [len(answer.pixels) for _, answer in rest] == [len(job.tiles) for job in jobs * 3]


def test_a_slide_that_is_gone_is_an_answer_not_a_crash(tmp_path: Path, order: Order) -> None:
    gone = Wanted(str(tmp_path / "gone.svs"), "gone", None, None, "")
    [(_, answer)] = do_all([Job(gone, plan=str(tmp_path / "p.npz"))], order, 2)
    assert "is not there" in answer.error


def test_settings_survive_the_way_to_a_worker() -> None:
    import json

    settings = TilingSettings(mpp=0.5, priority=("a",), holes=("b",), rename=(("x", "y"),))
    assert TilingSettings.from_dict(json.loads(json.dumps(dataclasses.asdict(settings)))) == settings
    bare = TilingSettings(level=1)
    assert TilingSettings.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare
