"""Numbers in sentences."""

from __future__ import annotations


def plural(n: int, noun: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}es" if noun.endswith("s") else f"{n:,} {noun}s"


def agree(n: int, noun: str, one: str, many: str) -> str:
    """A number, its noun and the verb that goes with it: `1 image was`, `2 images were`."""
    return f"{plural(n, noun)} {one if n == 1 else many}"


def times(n: int) -> str:
    """`never`, `once`, `twice`, `3 times`."""
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n:,} times")
