"""Worker processes on Ray: of one started here for the length of the work, or of a cluster.

A worker is an actor: it keeps its context between jobs, ends with the executor, and is not started again by
Ray. Jobs and results are pickled as for a worker process of this machine, so that they are the same objects.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from plenish.errors import InputError, first_line
from plenish.wording import plural
from plenish.worker_process import Worker, WorkerEnded, outcome

_STORE_BYTES = 256 * 2**20
"""Shared memory of a Ray started here; results of jobs pass through it."""
_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ANSWER_SECONDS = 5.0
_START_SECONDS = 120.0
"""Within which a worker must have begun; one that fits on no machine would wait without an end."""
_UNKNOWN_STATUS = 1
"""What stands for the exit status of a worker, which Ray does not tell."""


def is_installed() -> bool:
    """Whether Ray can be imported."""
    return importlib.util.find_spec("ray") is not None


def check_address(address: str) -> None:
    """Refuse an address HOST:PORT where nothing listens, for which Ray itself waits minutes.

    Raises:
        InputError: as above.
    """
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return  # A name, or a protocol, that Ray knows.
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from None


def _no_answer(address: str, error: Exception) -> InputError:
    if address == "local":
        return InputError(
            f"Ray did not start on this machine ({first_line(error).rstrip('.')}); leave out --on to use its "
            "processes, or try again when it is less busy."
        )
    return InputError(
        f"No Ray answers at '{address}' ({first_line(error).rstrip('.')}); start a cluster with 'ray start "
        "--head' and give its address, or give --on ray for one on this machine."
    )


@contextlib.contextmanager
def connected(address: str, workers: int, cores: int, *, gpu: bool) -> Iterator[Callable[[], Worker]]:
    """Be connected to Ray for the length of a block; what is given starts a worker.

    A connection that the caller has already is used, and left as it is.

    Args:
        address: of a cluster; empty for that of the variable RAY_ADDRESS, or, without one, a Ray of this
            machine that ends with the block.
        workers: how many will be started.
        cores: that each reserves.
        gpu: whether the workers share all GPUs.

    Raises:
        InputError: no cluster answers, or it is too small.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    with _environment_kept(), contextlib.ExitStack() as stack:
        import ray

        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            _connect(ray, address, workers * cores)
        there = ray.cluster_resources()
        found, gpus = int(there.get("CPU", 0)), float(there.get("GPU", 0))
        if found < workers * cores:
            raise InputError(
                f"Ray has {plural(found, 'core')}, and {plural(workers, 'worker')} of "
                f"{plural(cores, 'thread')} need {workers * cores}; give fewer --workers or --threads."
            )
        if gpu and not gpus:
            raise InputError("Ray has no GPU for its workers; give --device cpu, or a cluster with one.")
        variables = dict(_VARIABLES)
        if address == "local":  # Where Plenish runs from a folder that is not installed.
            source = str(Path(__file__).resolve().parents[1])
            variables["PYTHONPATH"] = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        actor = ray.remote(_Actor).options(
            num_cpus=cores, num_gpus=_share(gpus, workers) if gpu else 0, max_restarts=0,
            runtime_env={"env_vars": variables},
        )  # fmt: skip
        yield lambda: _RayWorker(ray, actor.remote())


def _share(gpus: float, workers: int) -> float:
    """The part of one GPU that each worker reserves, so that all fit: a share never lies across two."""
    return 1 / math.ceil(workers / max(1, int(gpus)))


def _connect(ray: Any, address: str, cores: int) -> None:
    asked: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        asked |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Else it reports its use to its makers.
    try:
        ray.init(**asked)
    except Exception as error:
        raise _no_answer(address, error) from None


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Leave the environment as it was, where Ray sets variables."""

    def of_ray() -> dict[str, str]:
        return {n: v for n, v in os.environ.items() if n.startswith("RAY_") or n == "PYTHONBREAKPOINT"}

    before = of_ray()
    try:
        yield
    finally:
        for name in of_ray():
            del os.environ[name]
        os.environ.update(before)


class _RayWorker:
    """An actor as a worker."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor, self._started = ray, actor, False

    def call(self, message: Any) -> Any:
        """Send the context's initialiser first, then jobs; see `Worker`."""
        method = self._actor.run if self._started else self._actor.start
        limit = None if self._started else _START_SECONDS
        self._started = True
        sent = pickle.dumps(message, 5)
        try:
            received = self._ray.get(method.remote(sent, str(Path.cwd())), timeout=limit)
        except self._ray.exceptions.GetTimeoutError:
            raise InputError(
                f"A worker on Ray did not begin within {_START_SECONDS:.0f} s: its threads and share of a "
                "GPU may fit on no single machine of the cluster, or others use it; give fewer --workers or "
                "--threads."
            ) from None
        except self._ray.exceptions.RayActorError:
            raise WorkerEnded from None
        result, error = pickle.loads(received)
        if error is not None:
            raise error
        return result

    def kill(self) -> None:
        """End the process, without waiting for its end."""
        with contextlib.suppress(Exception):  # It may be gone, and Ray with it.
            self._ray.kill(self._actor)

    def terminate(self) -> int:
        """End the process."""
        self.kill()
        return _UNKNOWN_STATUS


class _Actor:
    """What runs on Ray: a context, and jobs one after another."""

    def __init__(self) -> None:
        self._stack, self._context = contextlib.ExitStack(), None

    def start(self, message: bytes, folder: str) -> bytes:
        """Enter the context, in the folder that the command runs in, as paths may be relative."""
        self._context, error = outcome(self._enter, message, folder)
        return pickle.dumps((None, error), 5)

    def _enter(self, message: bytes, folder: str) -> Any:
        if not Path(folder).is_dir():
            raise InputError(
                f"The machine {os.uname().nodename} of the Ray cluster has no folder {folder}; work in one "
                "that all its machines share, with the data in it."
            )
        os.chdir(folder)
        initialise, initargs = pickle.loads(message)
        return self._stack.enter_context(initialise(*initargs))

    def run(self, message: bytes, _: str) -> bytes:
        """Run a job."""
        function, job = pickle.loads(message)
        return pickle.dumps(outcome(function, self._context, job), 5)
