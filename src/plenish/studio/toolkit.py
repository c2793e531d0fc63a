"""Gradio, which is an optional library, with its telemetry and sharing off; the replies that pages share."""

from __future__ import annotations

import os
import warnings
from typing import Any

from plenish.errors import InputError
from plenish.studio.pages import Reply

_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False", "GRADIO_MCP_SERVER": "False",
    "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False", "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
}  # fmt: skip


def load_gradio() -> Any:
    """The module `gradio`, which asks no server for anything.

    Raises:
        InputError: it is not installed.
    """
    os.environ.update(_QUIET)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import gradio
            import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"The studio needs Gradio ({error}); install it with: pip install 'plenish[studio]'."
        ) from None
    return gradio


def markup(text: str) -> Reply:
    """A piece of HTML as the answer of an address."""
    return Reply(text.encode(), "text/html; charset=utf-8")
