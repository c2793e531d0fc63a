"""Which image sizes a convolutional generator can make: base·2ᵏ with a base from 3 to 7."""

from __future__ import annotations

_MOST_STAGES = 8


def base_and_stages(size: int, least_stages: int = 2) -> tuple[int, int] | None:
    """Write an image size as base·2ᵏ with a base from 4 to 7 (3 where nothing else fits).

    Args:
        size: pixels.
        least_stages: the smallest k.

    Returns:
        The base and k, or None where the size is not of that form.
    """
    for base in (4, 5, 6, 7, 3):
        stages = (size // base).bit_length() - 1
        if size > 0 and stages >= least_stages and base << stages == size:
            return base, stages
    return None


def nearest(size: int, least_stages: int = 2) -> tuple[int, int]:
    """The two sizes of that form that are nearest to `size`, the smaller one first."""
    possible = sorted({base << k for base in range(3, 8) for k in range(least_stages, _MOST_STAGES + 1)})
    smaller, larger = sorted(sorted(possible, key=lambda p: abs(p - size))[:2])
    return smaller, larger


def at_least(size: int, least_stages: int = 2) -> int:
    """The smallest size of that form that is not below `size`."""
    possible = (base << k for base in range(3, 8) for k in range(least_stages, _MOST_STAGES + 1))
    return min(found for found in possible if found >= size)
