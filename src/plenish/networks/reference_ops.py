"""PyTorch's own operators in place of ours, for comparison: same networks and results, another speed."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_REFERENCE: contextvars.ContextVar[bool] = contextvars.ContextVar("reference operators", default=False)


def uses_reference_operators() -> bool:
    """Whether layers are to use PyTorch's own convolutions, activations and dropout."""
    return _REFERENCE.get()


@contextlib.contextmanager
def reference_operators() -> Iterator[None]:
    """Within the block, layers use PyTorch's own operators."""
    token = _REFERENCE.set(True)
    try:
        yield
    finally:
        _REFERENCE.reset(token)
