"""A function over many jobs, on worker processes: in order, and with bounded memory.

`executor` is the one place that decides where jobs run: in this process, in worker processes of this machine
(`worker_process.py`), or on Ray (`ray_worker.py`). All offer the same `map_ordered`.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import dataclasses
import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, cast

from plenish import ray_worker, settings
from plenish.errors import InputError, PlenishError, unknown
from plenish.worker_process import Worker, WorkerEnded, WorkerProcess

ContextT = TypeVar("ContextT")
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


@dataclasses.dataclass(frozen=True)
class Halving(Generic[JobT, ResultT]):
    """How a job whose process ended is divided, to find which part of it ends a process.

    Attributes:
        split: the parts of a job, in order; fewer than two where it cannot be divided.
        join: the result of a job from those of its parts.
    """

    split: Callable[[JobT], Sequence[JobT]]
    join: Callable[[Sequence[ResultT]], ResultT]


HERE, RAY = "here", "ray"
"""Where jobs run: on this machine, or on Ray."""
_END_SECONDS = 5.0


class WorkerLost(PlenishError):
    """A worker process ended without a result; `exit_status` is None where it could not start."""

    def __init__(self, message: str, exit_status: int | None = None) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """Worker processes where the user gave no number: one a core, within --threads."""
    return max(1, min(available_cores(), settings.current().threads or available_cores()))


def check_place(on: str) -> None:
    """Refuse a place where jobs cannot run.

    Args:
        on: `here`, `ray`, or `ray:ADDRESS`.

    Raises:
        InputError: another word, Ray is not installed, or nothing listens at the address.
    """
    place, colon, address = on.partition(":")
    if place not in (HERE, RAY) or (colon and (place != RAY or not address)):
        raise unknown("--on", on, [HERE, RAY, f"{RAY}:ADDRESS"])
    if place == RAY and not ray_worker.is_installed():
        raise InputError(
            f"--on {on} needs Ray; install it with pip install 'plenish[ray]', or leave out --on to use the "
            "processes of this machine."
        )
    ray_worker.check_address(address)


class Executor(abc.ABC, Generic[ContextT]):
    """Runs jobs; each worker keeps a context between its jobs (an open slide, an open archive).

    Attributes:
        workers: how many jobs run at once; with 1, when their result is asked for.
    """

    workers = 1

    @abc.abstractmethod
    def submit(self, function: Callable[[ContextT, JobT], ResultT], job: JobT) -> Callable[[], ResultT]:
        """Start a job; the function returned gives its result, or raises WorkerLost or the job's error."""

    def map_ordered(
        self,
        function: Callable[[ContextT, JobT], ResultT],
        jobs: Iterable[JobT],
        *,
        ahead: int,
        reject: Callable[[JobT, int], ResultT],
        halving: Halving[JobT, ResultT] | None = None,
    ) -> Iterator[tuple[JobT, ResultT]]:
        """Call a function with every job; the results come in the order of the jobs.

        Args:
            function: takes the worker's context and a job; of a module that a worker can import.
            jobs: made lazily.
            ahead: how many jobs may be started beyond the oldest one whose result was not taken yet.
            reject: makes the result of a job whose worker process ended, from the job and the exit status.
            halving: divides such a job first, until only the part that ends a process is rejected.

        Raises:
            WorkerLost: a process could not start.
            Exception: what the function raised.
        """
        started: collections.deque[tuple[JobT, Callable[[], ResultT]]] = collections.deque()
        remaining, most = iter(jobs), ahead + 1 if self.workers > 1 else 1

        def finish(job: JobT, result: Callable[[], ResultT]) -> ResultT:
            try:
                return result()
            except WorkerLost as lost:
                if lost.exit_status is None:
                    raise
                parts = halving.split(job) if halving else ()
                if halving is None or len(parts) < 2:
                    return reject(job, lost.exit_status)
                return halving.join([finish(part, self.submit(function, part)) for part in parts])

        while True:
            for job in itertools.islice(remaining, max(0, most - len(started))):
                started.append((job, self.submit(function, job)))
            if not started:
                return
            job, result = started.popleft()
            yield job, finish(job, result)
            del job, result  # Their memory is needed for the next ones.


@contextlib.contextmanager
def executor(
    workers: int | None,
    initialise: Callable[..., AbstractContextManager[ContextT]],
    initargs: Sequence[Any] = (),
    *,
    on: str = HERE,
    cores: int = 1,
    gpu: bool = False,
) -> Iterator[Executor[ContextT]]:
    """Start an executor, whose workers end with the block.

    Args:
        workers: processes; 1 works in this one (on Ray, in one there), None takes one a core of this machine.
        initialise: makes a worker's context, entered when the worker starts.
        initargs: its arguments.
        on: `here`, or `ray` or `ray:ADDRESS` (`ray_worker.connected`).
        cores: on Ray: cores that each worker reserves.
        gpu: on Ray: whether the workers share its GPUs.

    Raises:
        InputError: Ray is not installed, or has no room for the workers.
    """
    check_place(on)
    workers = default_workers() if workers is None else workers
    if workers <= 1 and on == HERE:
        with initialise(*initargs) as context:
            yield _InProcess(context)
        return
    address = on.partition(":")[2]
    place: AbstractContextManager[Callable[[], Worker]] = (
        contextlib.nullcontext(WorkerProcess) if on == HERE
        else ray_worker.connected(address, workers, cores, gpu=gpu)
    )  # fmt: skip
    with place as start:
        pool: _WorkerPool[ContextT] = _WorkerPool(workers, (initialise, tuple(initargs)), start)
        try:
            yield pool
        finally:
            pool.terminate()


class _InProcess(Executor[ContextT]):
    def __init__(self, context: ContextT) -> None:
        self._context = context

    def submit(self, function: Callable[[ContextT, JobT], ResultT], job: JobT) -> Callable[[], ResultT]:
        return functools.partial(function, self._context, job)


class _WorkerPool(Executor[ContextT]):
    """A thread for each worker process, which waits for its results.

    Jobs and results pass through SimpleQueue, which an interrupt of the main thread cannot leave locked; a
    concurrent.futures.Future can be, and the thread that should set it then waits for ever.
    """

    def __init__(self, workers: int, context: tuple[Any, ...], start: Callable[[], Worker]) -> None:
        self.workers = workers
        self._context, self._start_one = context, start
        self._jobs: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._closed = False

    def submit(self, function: Callable[[ContextT, JobT], ResultT], job: JobT) -> Callable[[], ResultT]:
        if len(self._threads) < self.workers:
            self._threads.append(threading.Thread(target=self._run, daemon=True))
            self._threads[-1].start()
        outcome: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
        self._jobs.put((function, job, outcome))

        def result() -> ResultT:
            value, error = outcome.get()
            if error is not None:
                raise error
            return cast(ResultT, value)

        return result

    def _run(self) -> None:
        """What a thread does: give its worker one job after the other."""
        worker: Worker | None = None
        while (item := self._jobs.get()) is not None:
            *call, outcome = item
            try:
                worker = worker or self._start()
                outcome.put((worker.call(call), None))
            except WorkerEnded:
                exit_status, worker = worker.terminate() if worker else None, None
                outcome.put((None, WorkerLost("A worker process ended during a job.", exit_status)))
            except Exception as error:
                outcome.put((None, error))
            del item, call, outcome  # Their memory is needed for the next ones.

    def _start(self) -> Worker:
        with self._lock:
            if self._closed:
                raise WorkerEnded
            worker = self._start_one()
            self._workers.append(worker)
        try:
            worker.call(self._context)
        except WorkerEnded:
            raise WorkerLost("A worker process could not start; try '--workers 1'.") from None
        return worker

    def terminate(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()  # All at once, then one by one.
            for worker in self._workers:
                worker.terminate()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:  # Nothing may wait for a worker when its place is left.
            thread.join(_END_SECONDS)
