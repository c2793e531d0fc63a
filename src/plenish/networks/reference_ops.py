"""PyTorch's own operators in place of ours, for comparison: same networks and results, another speed."""

from __future__ import annotations

import contextvars
from contextlib import AbstractContextManager

from plenish import settings

_REFERENCE: contextvars.ContextVar[bool] = contextvars.ContextVar("reference operators", default=False)


def uses_reference_operators() -> bool:
    """Whether layers are to use PyTorch's own convolutions, activations and dropout."""
    return _REFERENCE.get()


def reference_operators() -> AbstractContextManager[None]:
    """Within a `with` block, layers use PyTorch's own operators."""
    return settings.holding(_REFERENCE, True)
