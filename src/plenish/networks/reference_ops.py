"""PyTorch's own operators in place of ours, for comparison: same networks, same results, other speed."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_STOCK: contextvars.ContextVar[bool] = contextvars.ContextVar("stock operators", default=False)


def uses_reference_operators() -> bool:
    """Whether layers are to use PyTorch's own convolutions, activations and dropout."""
    return _STOCK.get()


@contextlib.contextmanager
def reference_operators() -> Iterator[None]:
    """Within the block, layers use PyTorch's own operators."""
    token = _STOCK.set(True)
    try:
        yield
    finally:
        _STOCK.reset(token)
