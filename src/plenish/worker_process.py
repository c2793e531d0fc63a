"""Worker processes of this machine, which run jobs that they are sent.

They are fresh interpreters that talk over pipes (pickle protocol 5, arrays out of band). Unlike
multiprocessing's, they do not run the caller's main script again, so they start fast, never import torch, and
need no `if __name__ == "__main__"` around a user's call. They were measured against those of loky and pebble
(docs/speed.md), take 13 to 17 % less processor time, and end when their parent is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from plenish.errors import PlenishError

_PIPE_BYTES = 2**20
_MAIN = "from plenish.worker_process import serve; serve()"


class WorkerEnded(Exception):
    """A worker process ended, seen at its pipes; apart from any OSError or EOFError that a job raises."""


class Worker(Protocol):
    """A worker process, wherever it is."""

    def call(self, message: Any) -> Any:
        """Send the context's initialiser and its arguments first, then functions with their jobs.

        Raises:
            WorkerEnded: the process ended.
            Exception: what the function raised.
        """

    def kill(self) -> None:
        """End the process, without waiting for its end."""

    def terminate(self) -> int:
        """End the process, give back what it held, and return its exit status."""


class WorkerProcess:
    """A worker process of this machine."""

    def __init__(self) -> None:
        source = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        variables = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
            process_group=0,  # An interrupt from the keyboard reaches the parent only.
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._pipes = self.process.stdin, self.process.stdout
        for pipe in self._pipes:  # A larger pipe takes fewer turns; where it is allowed.
            with contextlib.suppress(OSError, AttributeError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def call(self, message: Any) -> Any:
        """Send a job and wait for its result.

        Raises:
            WorkerEnded: the process ended.
            Exception: what the function raised.
        """
        try:
            _send(self._pipes[0], message)
            result, error = _receive(self._pipes[1])
        except (OSError, EOFError):
            raise WorkerEnded from None
        if error is not None:
            raise error
        return result

    def kill(self) -> None:
        """End the process, without waiting for its end."""
        self.process.kill()

    def terminate(self) -> int:
        """End the process, close its pipes and return its exit status."""
        self.process.kill()
        exit_status = self.process.wait()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.close()
        return exit_status


def serve() -> None:
    """What a worker process does: initialise, then run jobs until its input is closed."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What a library prints must not end up between results.
    with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
        initialise, initargs = _receive(source)
        context, error = outcome(lambda: stack.enter_context(initialise(*initargs)))
        _send(sink, (None, error))
        while True:
            function, job = _receive(source)
            answer = outcome(function, context, job)
            _send(sink, answer)
            del function, job, answer  # The next job needs the memory.
    os._exit(0)  # Nothing is left to clean, and a closed standard output would complain.


def outcome(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None]:
    """What a function returns, or what it raises, which can then be sent; one of them is None."""
    try:
        return function(*arguments), None
    except Exception as error:
        return None, _portable(error)


def _portable(error: Exception) -> Exception:
    """An error as it can be sent, with its traceback as a note where it is not for the user."""
    if not isinstance(error, PlenishError):
        error.add_note("In a worker process:\n" + traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _send(pipe: IO[bytes], message: object) -> None:
    buffers: list[pickle.PickleBuffer] = []
    parts = [memoryview(pickle.dumps(message, 5, buffer_callback=buffers.append))]
    parts += [buffer.raw() for buffer in buffers]
    pipe.write(struct.pack(f"<{len(parts) + 1}Q", len(parts), *map(len, parts)))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    (count,) = struct.unpack("<Q", _read(pipe, 8))
    sizes = struct.unpack(f"<{count}Q", _read(pipe, 8 * count))
    message, *buffers = [_read(pipe, size) for size in sizes]
    return pickle.loads(message, buffers=buffers)


def _read(pipe: IO[bytes], size: int) -> memoryview:
    data = memoryview(np.empty(size, np.uint8))
    if pipe.readinto(data) != size:  # type: ignore[attr-defined]
        raise EOFError
    return data
