"""How a Dataset and a Run print themselves in a notebook: facts as a table, and a picture below."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any


def page(title: str, facts: Mapping[str, Any], picture: bytes | None = None) -> str:
    """HTML for `_repr_html_`.

    Args:
        title: what is shown.
        facts: by name; None and empty values are left out.
        picture: a PNG.
    """
    rows = "".join(
        f"<tr><th style='text-align:left'>{_text(name.replace('_', ' '))}</th>"
        f"<td style='text-align:left'>{_text(value)}</td></tr>"
        for name, value in facts.items() if value not in (None, "", [], {}, ())
    )  # fmt: skip
    image = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        image = f"<img style='max-width:100%' alt='images' src='data:image/png;base64,{data}'>"
    return f"<div><strong>{_text(title)}</strong><table>{rows}</table>{image}</div>"


def _text(value: Any) -> str:
    """A value as text of HTML: mappings and lists in one line, numbers with separators."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(key)} {_text(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:,.4g}"
    return html.escape(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
