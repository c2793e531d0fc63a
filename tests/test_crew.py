"""Worker processes give back what they took, and say nothing of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

import pytest

from plenish.crew import Crew, WorkerLost, in_order, read_line

WORKER = """
import os, sys, time
from plenish.crew import serve_until_closed

def serve(source, sink):
    for line in source:
        job = int(line)
        if job < 0:
            os._exit(7)
        sink.write(b"%d\\n" % (job * job))
        sink.flush()

time.sleep(float(os.environ.get("SLOW_TO_START", 0)))
serve_until_closed(serve)
"""


class Squares(Crew[int, int]):
    def ask(self, tell: IO[bytes], hear: IO[bytes], job: int) -> int:
        tell.write(b"%d\n" % job)
        tell.flush()
        return int(read_line(hear))

    def without_worker(self, job: int, code: int) -> int:
        return -code


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "squares.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "squares"


def _squared(module: str, jobs: range | list[int], workers: int) -> list[tuple[int, int]]:
    return list(in_order(jobs, Squares(module), workers, lambda _: workers))


def test_answers_come_in_the_order_of_the_jobs(module: str) -> None:
    assert _squared(module, range(50), 3) == [(job, job * job) for job in range(50)]


def test_more_workers_than_jobs_end_without_a_word(
    module: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # All but the first process are still starting when the last answer is there.
    monkeypatch.setenv("SLOW_TO_START", "0.3")
    assert _squared(module, [3], 8) == [(3, 9)]
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_a_lost_worker_gives_back_its_pipes(module: str) -> None:
    counts = []
    for _, answer in in_order([-1] * 20, Squares(module), 1, lambda _: 1):
        assert answer == -7
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert max(counts) < min(counts) + 20, "of 20 lost processes, and one that may be starting"


def test_a_process_that_cannot_start_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkerLost, match=r"could not start; try '--workers 1'"):
        _squared("broken", [1], 2)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups")
def test_an_interrupt_from_the_keyboard_does_not_reach_the_workers(module: str) -> None:
    crew = Squares(module)
    try:
        assert crew.work(5) == 25
        assert {os.getpgid(process.pid) for process in crew._all} == {process.pid for process in crew._all}
    finally:
        crew.close()
