"""Plain worker processes: jobs go in and answers come out over pipes, in order and with bounded memory.

The workers are `python -m <module>` processes that read from their standard input and write to their
standard output, each message a JSON line and raw bytes. Unlike multiprocessing's, they do not run the
caller's main script again, so they start fast, never import torch, and need no `if __name__ == "__main__"`
around a user's call; and what crosses the pipe cannot run code.
"""

from __future__ import annotations

import abc
import collections
import concurrent.futures
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from plenish.errors import PlenishError

JobT = TypeVar("JobT")
AnswerT = TypeVar("AnswerT")

_READY = b"ready\n"


class WorkerLost(PlenishError):
    """A worker process ended without an answer."""


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew(abc.ABC, Generic[JobT, AnswerT]):
    """The worker processes, one for each thread of a pool."""

    def __init__(self, module: str) -> None:
        """No process is started yet.

        Args:
            module: run by each process; its `main` calls `serve_until_closed`.
        """
        self._module = module
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def welcome(self, tell: IO[bytes], hear: IO[bytes]) -> None:
        """Tell a process that has just started what all jobs have in common; nothing unless overridden.

        Args:
            tell: its standard input.
            hear: its standard output.
        """

    @abc.abstractmethod
    def ask(self, tell: IO[bytes], hear: IO[bytes], job: JobT) -> AnswerT:
        """Send a job and read its answer.

        Args:
            tell: the process's standard input.
            hear: its standard output.
            job: to be done.

        Raises:
            OSError, WorkerLost: the process ended.
        """

    @abc.abstractmethod
    def without_worker(self, job: JobT, code: int) -> AnswerT:
        """The answer to a job that brought its process down.

        Args:
            job: as it was asked; halves of it can be given to `work`.
            code: exit status of the process.
        """

    def _hire(self) -> tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]:
        """Start a process for this thread."""
        home = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        one = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._lock:
            if self._closed:
                raise WorkerLost("closed")
            process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | one,
                process_group=0,  # An interrupt from the keyboard is the parent's business.
            )
            self._all.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != _READY:
            raise WorkerLost("A worker process could not start; try '--workers 1'.")
        self.welcome(process.stdin, process.stdout)
        return process, process.stdin, process.stdout

    def work(self, job: JobT) -> AnswerT:
        """Have a job done by this thread's process, which is replaced when a job brings it down."""
        if not hasattr(self._mine, "worker"):
            self._mine.worker = self._hire()
        process, tell, hear = self._mine.worker
        try:
            return self.ask(tell, hear, job)
        except (OSError, WorkerLost):
            del self._mine.worker
            code = self._dismiss(process)
            if self._closed:
                raise
        return self.without_worker(job, code)

    def _dismiss(self, process: subprocess.Popen[bytes]) -> int:
        """End a process, whose exit status is returned, and give back its pipes."""
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return code

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()  # All at once, then one by one.
            for process in self._all:
                self._dismiss(process)


def in_order(
    jobs: Iterable[JobT], crew: Crew[JobT, AnswerT], workers: int, ahead: Callable[[JobT], int]
) -> Iterator[tuple[JobT, AnswerT]]:
    """Have jobs done by processes; the answers come in the order of the jobs.

    Args:
        jobs: made lazily.
        crew: asked by `workers` threads, and closed in the end.
        workers: processes.
        ahead: how many jobs may be handed out beyond the oldest unanswered one, seen from the newest.

    Raises:
        WorkerLost: a process could not start.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(crew.close)
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        waiting: collections.deque[tuple[JobT, concurrent.futures.Future[AnswerT]]] = collections.deque()
        for job in jobs:
            waiting.append((job, pool.submit(crew.work, job)))
            if len(waiting) > ahead(job):
                done, future = waiting.popleft()
                yield done, future.result()
                del future  # It holds its answer.
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


def read_array(pipe: IO[bytes], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Read an array of bytes of a shape that the other end announced.

    Raises:
        WorkerLost: the pipe ends before.
    """
    array = np.empty(tuple(shape), np.uint8)
    view = memoryview(array.reshape(-1))
    while len(view):
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise WorkerLost("a worker process ended in the middle of an answer")
        view = view[got:]
    return array


def read_line(pipe: IO[bytes]) -> bytes:
    """Read the line before an answer's bytes.

    Raises:
        WorkerLost: the pipe ends before.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise WorkerLost("a worker process ended without an answer")
    return line


def serve_until_closed(serve: Callable[[IO[bytes], IO[bytes]], None]) -> None:
    """What a worker process does: say that it is there, then serve until its input is closed, and end.

    Args:
        serve: reads jobs from the first pipe and writes answers to the second.
    """
    with contextlib.suppress(BrokenPipeError, WorkerLost):
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        serve(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # Nothing is left to clean, and a closed standard output would complain.
