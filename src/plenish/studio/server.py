"""The studio's server: it starts, says where it is, and frees what it kept when it stops."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from plenish.errors import InputError
from plenish.studio.app import build_app
from plenish.studio.catalogue import Catalogue
from plenish.studio.config import StudioConfig
from plenish.studio.pages import Studio
from plenish.studio.runs import trainings_of
from plenish.studio.sessions import Sessions
from plenish.studio.toolkit import load_gradio
from plenish.terminal import note


def serve(runs: Sequence[Path], data: Sequence[Path], config: StudioConfig) -> None:
    """Serve the studio until it is interrupted.

    Args:
        runs: Runs, or folders of Runs.
        data: Datasets.
        config: where it listens and what it takes.

    Raises:
        InputError: Gradio is missing, something given cannot be opened, or the port is taken.
    """
    catalogue = Catalogue(runs, data, config.new_runs)
    gr = load_gradio()
    import uvicorn

    config.warn_if_open()
    with listening(config) as door:
        port = door.getsockname()[1]
        studio = Studio(config, catalogue, Sessions(config.session_mb))
        try:
            app = build_app(gr, studio, port)
            host = f"[{config.host}]" if ":" in config.host else config.host
            note(f"studio: http://{host}:{port}/ (Ctrl-C stops it)")
            settings = uvicorn.Config(
                app, log_level="error", server_header=False, timeout_graceful_shutdown=2, access_log=False
            )
            uvicorn.Server(settings).run(sockets=[door])
        finally:
            studio.sessions.close()
            for training in trainings_of(studio).close():
                note(
                    f"the training of {training.run} goes on; stop it with: kill -INT {training.process.pid}"
                )


@contextlib.contextmanager
def listening(config: StudioConfig) -> Iterator[socket.socket]:
    """A socket that takes connections at the host and port; they wait until they are answered.

    Raises:
        InputError: there is no such host, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        door = socket.socket(family, kind, protocol)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError as error:
        raise InputError(f"--host {config.host} is no address of this machine ({error}).") from None
    with door:
        try:
            door.bind(address)
            door.listen(128)
        except OSError as error:
            raise InputError(
                f"{config.host}:{config.port} cannot be listened on ({error.strerror}); give another --port, "
                "or --port 0 for a free one."
            ) from None
        yield door
