"""Gradio, which is an optional library, with its telemetry and sharing off; the replies that pages share."""

from __future__ import annotations

import os
import warnings
from typing import Any

from plenish.errors import InputError, first_line
from plenish.progress import warn
from plenish.studio.pages import Reply
from plenish.studio.wordbook import Words
from plenish.terminal import clean

_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False", "GRADIO_MCP_SERVER": "False",
    "GRADIO_RUN_HISTORY": "False", "GRADIO_SSR_MODE": "False", "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1",
}  # fmt: skip

_LONGEST = 200
"""Letters of a foreign message that stand in a line of the terminal."""


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


def blocks_class(gr: Any, words: Words) -> Any:
    """`gradio.Blocks` that refuses an event it cannot read in a sentence, with one line in the terminal.

    Such an event is none of our pages' but somebody's own request: it has too few values, or one that a menu
    lacks. Gradio itself would write a traceback of it. What goes wrong in our handlers is told in `pages`.

    Args:
        gr: the module gradio.
        words: the texts of the page.
    """

    class QuietBlocks(gr.Blocks):  # type: ignore[misc]
        async def process_api(self, *given: Any, **how: Any) -> Any:
            try:
                return await super().process_api(*given, **how)
            except Exception as error:
                if isinstance(error, gr.Error) and not error.print_exception:
                    raise
                said = clean(first_line(error))[:_LONGEST]
                warn(f"the studio refused an event: {type(error).__name__}: {said}")
                raise gr.Error(
                    words("studio.unreadable"), print_exception=False, title=words("studio.problem")
                ) from None

    return QuietBlocks


def markup(text: str) -> Reply:
    """A piece of HTML as the answer of an address."""
    return Reply(text.encode(), "text/html; charset=utf-8")
