"""Trainings started in the studio: processes of their own, which only who started them can stop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from plenish.errors import InputError
from plenish.terminal import clean

_LOG_BYTES = 20_000
_KEPT = 20


@dataclasses.dataclass
class Training:
    """One training that was started.

    Attributes:
        owner: who started it; secret.
        run: the folder of its Run.
        command: the words that repeat it.
        process: the process.
        log: what it wrote.
        begun: when it was started, seconds since 1970.
    """

    owner: str
    run: Path
    command: str
    process: subprocess.Popen[bytes]
    log: Path
    begun: float

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self.process.poll() is None

    def text(self) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            return clean(file.read().decode("utf-8", "replace"))
        return ""


class Trainings:
    """The trainings of one server.

    A training goes on when the page is closed or the studio stops: its Run is in the folder, and the same
    command resumes it.
    """

    def __init__(self, most: int) -> None:
        """Start without any.

        Args:
            most: how many may run at the same time.
        """
        self._most = most
        self._all: dict[str, Training] = {}
        self._lock = threading.Lock()

    def start(self, owner: str, words: Sequence[str], run: Path) -> str:
        """Start `plenish WORDS` in a process of its own; its id.

        Raises:
            InputError: as many as may are running, or it cannot be started.
        """
        with self._lock:
            if sum(one.is_running for one in self._all.values()) >= self._most:
                raise InputError(
                    "Another training runs at the moment; wait for it, stop it, or start the studio with "
                    "more --trainings."
                )
            self._forget()
            descriptor, log = tempfile.mkstemp(prefix="plenish-studio-", suffix=".log")
            command = [sys.executable, "-m", "plenish", *words]
            with open(descriptor, "wb") as file:  # noqa: PTH123
                try:
                    # A session of its own, so that Ctrl-C in the studio's terminal does not reach it.
                    process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )  # fmt: skip
                except OSError as error:
                    Path(log).unlink(missing_ok=True)
                    raise InputError(f"The training cannot be started ({error.strerror}).") from None
            key = secrets.token_urlsafe(9)
            repeat = shlex.join(["plenish", *words])
            self._all[key] = Training(owner, run, repeat, process, Path(log), time.time())
            return key

    def _forget(self) -> None:
        """Forget the oldest that ended."""
        ended = [key for key, one in self._all.items() if not one.is_running]
        for key in ended[: max(0, len(self._all) - _KEPT)]:
            self._all.pop(key).log.unlink(missing_ok=True)

    def of(self, owner: str) -> dict[str, Training]:
        """The trainings of one user by id, the newest first."""
        with self._lock:
            mine = {key: one for key, one in self._all.items() if secrets.compare_digest(one.owner, owner)}
        return dict(sorted(mine.items(), key=lambda pair: -pair[1].begun))

    def stop(self, owner: str, key: str) -> None:
        """Ask a training to stop, as Ctrl-C does: it writes a checkpoint first.

        Raises:
            InputError: this user has no such training.
        """
        training = self.of(owner).get(key)
        if training is None:
            raise InputError("There is no such training of yours.", code="missing")
        with contextlib.suppress(ProcessLookupError):
            training.process.send_signal(signal.SIGTERM)

    def close(self) -> list[Training]:
        """Forget all and remove their logs; those that still run, which go on."""
        with self._lock:
            every = list(self._all.values())
            self._all.clear()
        for one in every:
            one.log.unlink(missing_ok=True)
        return [one for one in every if one.is_running]
