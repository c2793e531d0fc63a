"""An executor gives results in order, survives lost workers, and its workers say nothing of their own."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import plenish
from plenish import parallel, settings
from plenish.errors import InputError
from plenish.parallel import Halving, WorkerLost, default_workers, executor

JOBS = """
import contextlib, os, sys, time
import numpy as np
import plenish
from plenish.errors import InputError

if "SLOW_TO_START" in os.environ:
    time.sleep(float(os.environ["SLOW_TO_START"]))

@contextlib.contextmanager
def adding(offset):
    yield offset

@contextlib.contextmanager
def crashing():
    os._exit(3)
    yield

@contextlib.contextmanager
def refusing():
    raise InputError("no")
    yield

@contextlib.contextmanager
def without_file():
    raise FileNotFoundError(2, "missing", "archive.zip")
    yield

def square(offset, job):
    if job < 0:
        os._exit(7)
    print("a library's remark")
    return job * job + offset

def squares(offset, job):
    return [square(offset, value) for value in job]

def picture(offset, job):
    return {"pixels": job + np.uint8(1), "name": str(job.shape)}

def failing(offset, job):
    file = FileNotFoundError(2, "missing", "a.png")
    raise {0: InputError("sentence"), 1: KeyError("bug"), 2: Odd(1, b=2), 3: file, 4: EOFError("short")}[job]

class Odd(Exception):
    def __init__(self, a, *, b):
        super().__init__(a)

def modules(offset, job):
    return sorted({"torch", "pandas"} & set(sys.modules))

def group(offset, job):
    return os.getpid(), os.getpgid(0)
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "some_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(plenish.__file__).parents[1]}")
    monkeypatch.delitem(sys.modules, "some_jobs", raising=False)
    return importlib.import_module("some_jobs")


def lost(job: Any, exit_status: int) -> Any:
    return "lost", exit_status


def results(jobs: ModuleType, name: str, todo: Any, workers: int, ahead: int = 4) -> list[Any]:
    with executor(workers, jobs.adding, (0,)) as pool:
        return [
            result
            for _, result in pool.map_ordered(getattr(jobs, name), todo, ahead=ahead, reject=lost)
        ]  # fmt: skip


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(jobs: ModuleType, workers: int) -> None:
    with executor(workers, jobs.adding, (5,)) as pool:
        found = list(pool.map_ordered(jobs.square, range(50), ahead=4, reject=lost))
        again = list(pool.map_ordered(jobs.square, range(3), ahead=4, reject=lost))
    assert found == [(job, job * job + 5) for job in range(50)]
    assert again == found[:3]


@pytest.mark.parametrize(
    ("cores", "threads", "workers"), [(4, None, 4), (4, 3, 3), (2, 8, 2), (1, None, 1), (3, 1, 1)]
)
def test_without_a_number_there_is_a_worker_for_each_core_within_threads(
    jobs: ModuleType, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int | None, workers: int
) -> None:
    monkeypatch.setattr(parallel, "available_cores", lambda: cores)
    with settings.use(threads=threads), executor(None, jobs.adding, (0,)) as pool:
        assert pool.workers == default_workers() == workers
    with settings.use(threads=threads), executor(2, jobs.adding, (0,)) as pool:
        assert pool.workers == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_arrays_of_any_size_arrive_and_can_be_written_to(jobs: ModuleType, workers: int) -> None:
    arrays = [np.full((n, 1000, 7), n % 200, np.uint8) for n in (0, 1, 900, 2)]
    for array, result in zip(arrays, results(jobs, "picture", arrays, workers), strict=True):
        np.testing.assert_array_equal(result["pixels"], array + np.uint8(1))
        result["pixels"][...] = 0


def test_no_more_jobs_are_taken_than_allowed(jobs: ModuleType) -> None:
    taken: list[int] = []
    with executor(2, jobs.adding, (0,)) as pool:
        todo = (taken.append(n) or n for n in range(40))
        for job, _ in pool.map_ordered(jobs.square, todo, ahead=5, reject=lost):
            assert len(taken) <= job + 6


def test_a_lost_worker_costs_its_job(jobs: ModuleType) -> None:
    assert results(jobs, "square", [1, -1, 2, -1, 3], 2) == [1, ("lost", 7), 4, ("lost", 7), 9]


def test_a_lost_job_is_halved_until_only_its_fault_is_rejected(jobs: ModuleType) -> None:
    def halves(job: list[int]) -> list[list[int]]:
        return [job[: len(job) // 2], job[len(job) // 2 :]] if len(job) > 1 else []

    def join(results: Sequence[list[Any]]) -> list[Any]:
        return [value for result in results for value in result]

    def reject(job: list[int], exit_status: int) -> list[Any]:
        return [(job, exit_status)]

    with executor(2, jobs.adding, (1,)) as pool:
        found = pool.map_ordered(
            jobs.squares, [[1, 2, -1, 3, 4], [5], [-1]], ahead=2, reject=reject,
            halving=Halving(halves, join),
        )  # fmt: skip
        assert [result for _, result in found] == [[2, 5, ([-1], 7), 10, 17], [26], [([-1], 7)]]


def test_more_workers_than_jobs_end_in_silence(
    jobs: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # All but the first process are still starting when the last result is there.
    monkeypatch.setenv("SLOW_TO_START", "0.3")
    assert results(jobs, "square", [-1], 8) == [("lost", 7)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_a_lost_worker_gives_back_its_pipes(jobs: ModuleType) -> None:
    counts = []
    with executor(1 + 1, jobs.adding, (0,)) as pool:
        for _, result in pool.map_ordered(jobs.square, [-1] * 20, ahead=1, reject=lost):
            assert result == ("lost", 7)
            counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts) < min(counts) + 20, "of 20 lost processes, and one that may be starting"


def test_a_worker_that_cannot_start_is_told(jobs: ModuleType) -> None:
    with pytest.raises(WorkerLost, match="--workers"), executor(2, jobs.crashing) as pool:
        list(pool.map_ordered(jobs.square, [1], ahead=1, reject=lost))
    with pytest.raises(InputError), executor(2, jobs.refusing) as pool:
        list(pool.map_ordered(jobs.square, [1], ahead=1, reject=lost))


def test_what_a_job_raises_is_raised(jobs: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as caught:
        results(jobs, "failing", [0], 2)
    assert caught.value.args == ("sentence",)
    with pytest.raises(KeyError) as found:
        results(jobs, "failing", [1], 2)
    assert "in failing" in "".join(found.value.__notes__), "where in the worker it was raised"
    with pytest.raises(RuntimeError, match="Odd"):
        results(jobs, "failing", [2], 2)
    assert capfd.readouterr() == ("", "")


def test_an_error_of_a_file_in_a_job_is_no_lost_worker(jobs: ModuleType) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        results(jobs, "failing", [3], 2)
    assert missing.value.filename == "a.png"
    with pytest.raises(EOFError, match="short"):
        results(jobs, "failing", [4], 2)
    with pytest.raises(FileNotFoundError, match=r"archive\.zip"), executor(2, jobs.without_file) as pool:
        list(pool.map_ordered(jobs.square, [1], ahead=1, reject=lost))


def test_workers_import_nothing_large(jobs: ModuleType) -> None:
    assert results(jobs, "modules", [0, 1], 2) == [[], []]


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_an_interrupt_from_the_keyboard_does_not_reach_the_workers(jobs: ModuleType) -> None:
    for process, group in results(jobs, "group", [0, 1], 2):
        assert process == group != os.getpgid(0)


SCRIPT = """
import signal, sys, time
from plenish.parallel import executor
import some_jobs

signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background jobs ignore it.

def endless():
    while True:
        yield 1

with executor(2, some_jobs.adding, (0,)) as pool:
    for n, (_, found) in enumerate(pool.map_ordered(some_jobs.group, endless(), ahead=4, reject=None)):
        print(found[0], flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent_however_it_ends(jobs: ModuleType, tmp_path: Path, number: int) -> None:
    (tmp_path / "unguarded.py").write_text(SCRIPT)  # No `if __name__ == "__main__"` is needed.
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "unguarded.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(40)}
    parent.send_signal(number)
    _, told = parent.communicate(timeout=60)
    assert parent.returncode == -number
    assert told.count(b"Traceback") == (number == signal.SIGINT), "the parent's own"
    for _ in range(100):
        if not any(alive(pid) for pid in workers):
            break
        time.sleep(0.1)
    else:
        pytest.fail("workers outlive their parent")


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
