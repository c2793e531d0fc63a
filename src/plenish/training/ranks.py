"""The processes of one training: they compute slices of the same batches and decide everything together.

The first one (rank 0) writes; what it alone computes, such as scores, is broadcast. Started by
torchrun or any launcher that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. All finish the step at work
when they are asked to stop.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import distributed

from plenish import settings
from plenish.errors import first_line
from plenish.networks.shared_batch import ProcessLost, reduce_
from plenish.progress import say
from plenish.runs import Run
from plenish.training.engine import Engine

T = TypeVar("T")
_PATIENCE = datetime.timedelta(hours=2)
"""Longest wait for another process, as while the first one scores a checkpoint."""
_ONE_REQUEST = 2.0
"""Seconds within which signals are one request: torchrun repeats those that the terminal sends to all."""


def join(engine: Engine) -> None:
    """Connect to the other processes; waits for all of them.

    Raises:
        ProcessLost: a process has ended.
    """
    if engine.world > 1 and not distributed.is_initialized():
        # Its functions take the group there is as a default argument: loaded later, as by the first
        # optimiser, they would keep it, and its threads would run on until the process aborts at its end.
        importlib.import_module("torch.distributed.nn")
        backend = "cpu:gloo,cuda:nccl" if engine.device.type == "cuda" else "gloo"
        try:
            distributed.init_process_group(backend, timeout=_PATIENCE)
        except RuntimeError as error:
            raise ProcessLost(first_line(error)) from error


@contextlib.contextmanager
def interrupted_when_lost(run: Run) -> Iterator[None]:
    """Stop like a Ctrl-C when another process of a Run's training ends.

    Raises:
        KeyboardInterrupt: a process has ended.
    """
    try:
        yield
    except ProcessLost as lost:
        run.update_status(state="interrupted", message=str(lost))
        raise KeyboardInterrupt("another process of this training has ended") from lost


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM ask the loop to stop after the current step; a second one stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    asked = -math.inf

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if stop.is_set() and (settings.process()[1] == 1 or time.monotonic() - asked > _ONE_REQUEST):
            raise KeyboardInterrupt
        asked = time.monotonic()
        stop.set()
        say("Stopping after this step; a checkpoint is being written.")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def leave(engine: Engine) -> None:
    """Disconnect; every process but the first one ends here; that one continues alone.

    Raises:
        SystemExit: this is not the first process.
    """
    if engine.world > 1:
        # A process that ends at once may close its connections while another still reads the last result.
        with contextlib.suppress(RuntimeError):
            distributed.barrier()
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()
        if engine.rank:
            raise SystemExit(0)
        os.environ["WORLD_SIZE"] = "1"


def from_main(engine: Engine, make: Callable[[], T]) -> T:
    """What the first process makes, in all of them; errors too.

    Raises:
        ProcessLost: a process has ended.
    """
    if engine.world == 1:
        return make()
    result: list[tuple[bool, T | Exception] | None] = [None]
    if engine.rank == 0:
        try:
            result[0] = True, make()
        except Exception as error:
            result[0] = False, error
    try:
        distributed.broadcast_object_list(result, src=0, device=torch.device("cpu"))
    except RuntimeError as error:
        raise ProcessLost(first_line(error)) from error
    assert result[0] is not None
    succeeded, made = result[0]
    if succeeded:
        return made  # type: ignore[return-value]
    assert isinstance(made, Exception)
    raise made


def any_of(engine: Engine, *flags: bool) -> list[bool]:
    """Which of these flags are set in at least one process."""
    if engine.world == 1:
        return list(flags)
    return [bool(flag) for flag in reduce_(torch.tensor(flags, dtype=torch.int32), distributed.ReduceOp.MAX)]


def mean_line(engine: Engine, line: Mapping[str, float]) -> dict[str, float]:
    """Means of logged values over the processes."""
    if engine.world == 1:
        return dict(line)
    means = reduce_(torch.tensor(list(line.values()), dtype=torch.float64)) / engine.world
    return dict(zip(line, means.tolist(), strict=True))
