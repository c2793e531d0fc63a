"""All text that a person reads on a terminal: without what that would take for commands, and never lost.

Names of classes, files and columns come from outside; an escape sequence in one could recolour, erase or
retitle the terminal. Characters that an encoding lacks are written as escapes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import Any, TextIO

# C0 but for tab and newline, delete, C1, and the marks that turn the direction of writing.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def clean(text: str) -> str:
    r"""Text whose control characters are escapes that can be read: `\x1b`."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_text(content: Any) -> str:
    """Indented JSON, in which JSON's own escapes stand for control characters and what the output lacks."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    if _encodable(text, sys.stdout) != text:
        text = json.dumps(content, indent=2, default=str)
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def write(text: str) -> None:
    """Write a result, cleaned where it needs to be, to standard output.

    Raises:
        BrokenPipeError: whoever read it has ended.
    """
    print(_encodable(text, sys.stdout), flush=True)


def note(text: str) -> None:
    """Write a remark or an error, cleaned, to standard error; without one it is lost, and that is all."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(_encodable(clean(text), sys.stderr), file=sys.stderr, flush=True)


def hang_up() -> None:
    """Let what is still to be written to standard output vanish, because nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encodable(text: str, stream: TextIO) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
