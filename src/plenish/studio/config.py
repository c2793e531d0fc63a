"""Options of the studio."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Literal

from plenish.configuration import check_bounds, option, option_name
from plenish.errors import InputError
from plenish.progress import warn

Language = Literal["en", "es"]


@dataclasses.dataclass(frozen=True)
class StudioConfig:
    """Where the studio listens, who may use it, and what it takes.

    Attributes:
        host: the address to listen on; other machines reach the studio only at another than 127.0.0.1.
        port: the port to listen on; 0 takes a free one.
        auth: USER:PASSWORD that a browser must give; without it everyone who reaches the port may use the
            studio.
        language: en or es; by default the browser's.
        new_runs: a folder for the Runs of trainings started in the studio; without it none can be started.
        trainings: most trainings started in the studio that run at the same time.
        upload_mb: largest picture that is taken from a browser, MB.
        upload_megapixels: most pixels of such a picture, millions.
        session_mb: memory for the pictures of one user, MB; the oldest are dropped.
    """

    host: str = "127.0.0.1"
    port: int = option(7860, least=0, most=65535)
    auth: str | None = None
    language: Language | None = None
    new_runs: Path | None = None
    trainings: int = option(1, least=1)
    upload_mb: float = option(10.0, above=0.0, most=500.0)
    upload_megapixels: float = option(40.0, above=0.0, most=500.0)
    session_mb: float = option(64.0, least=8.0)

    def __post_init__(self) -> None:
        """Refuse a number outside its bounds, and an --auth without both parts.

        Raises:
            InputError: which, and what it must be.
        """
        for field in dataclasses.fields(self):
            check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)
        if self.auth is not None and (":" not in self.auth or "" in self.auth.split(":", 1)):
            raise InputError("--auth must be USER:PASSWORD, such as --auth ana:a-long-password.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def warn_if_open(self) -> None:
        """Say so where other machines reach the studio and nobody has to give a password."""
        if not self.is_loopback and self.auth is None:
            warn(
                f"everyone who reaches {self.host} can see these images and start trainings; "
                "give --auth USER:PASSWORD, or leave out --host."
            )
        elif not self.is_loopback:
            warn("the password and the images travel unencrypted; put a proxy with HTTPS before the studio.")
