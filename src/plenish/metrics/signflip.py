"""A permutation test of a mean paired difference: every sign is as likely as its opposite under the null."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from plenish.metrics.resampling import WEIGHTS_AT_ONCE

_EXACT_SIGN_FLIPS = 14  # 2**14 patterns are enumerated; more are sampled


def sign_flip_test(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided sign-flip permutation p-value for a mean paired difference of zero.

    Up to 14 differences all 2**n patterns are enumerated and the p-value is exact; above, patterns are
    drawn and the observed one is counted. With n seeds it cannot fall below 2 / 2**n: five seeds reach
    0.0625 at best.

    Args:
        differences: n paired differences; symmetric about zero under the null.
        resamples: number of drawn patterns where they are not enumerated.
        seed: seed of the draws.

    Raises:
        ValueError: if there is no difference.
    """
    d = np.asarray(differences, dtype=np.float64).ravel()
    if d.size == 0:
        raise ValueError("sign_flip_test needs at least one difference")
    observed = abs(d.sum())
    slack = 1e-12 * max(1.0, float(np.abs(d).sum()))  # sums in another order may differ in the last bit
    if d.size <= _EXACT_SIGN_FLIPS:
        patterns = np.arange(2**d.size)[:, None] >> np.arange(d.size) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ d) >= observed - slack))
    rng = np.random.default_rng([seed, 0x51F])
    hits = sum(
        int(np.count_nonzero(np.abs((1 - 2 * rng.integers(0, 2, (size, d.size))) @ d) >= observed - slack))
        for size in _chunk_sizes(resamples, max(1, WEIGHTS_AT_ONCE // d.size))
    )
    return (hits + 1) / (resamples + 1)


def _chunk_sizes(total: int, chunk: int) -> Iterator[int]:
    for start in range(0, total, chunk):
        yield min(chunk, total - start)
