"""Statistics of what images hold beyond smooth areas: noise, sharpness, grids, at three scales.

Filters that leave little of a smooth image are applied, as in steganalysis (Fridrich & Kodovský, IEEE
Transactions on Information Forensics and Security 7 (2012), 868-882), and the size of what they leave is
taken. Generators leave traces there which pooled features of a network do not see.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SCALES, _LEAST_SIDE = 3, 8
_FLOOR = 1e-4
"""Added before the logarithm, for constant areas: 0.013 of a grey level."""


def residual_statistics(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logarithms of mean and root mean square of four residuals of each channel at up to three scales, N×F.

    Args:
        images: N×H×W×C, uint8; at least 8 pixels a side.
    """
    x = images.astype(np.float32) / 127.5 - 1.0
    found = []
    for _ in range(_SCALES):
        if min(x.shape[1:3]) < _LEAST_SIDE:
            break
        found += [values for residual in _residuals(x) for values in _sizes(residual)]
        height, width = (side // 2 * 2 for side in x.shape[1:3])
        x = x[:, :height, :width]
        x = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    return np.concatenate(found, axis=1)


def _residuals(x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Differences across and down, from the mean of four neighbours, and from a plane of eight."""
    middle = x[:, 1:-1, 1:-1]
    four = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    corners = x[:, :-2, :-2] + x[:, 2:, :-2] + x[:, :-2, 2:] + x[:, 2:, 2:]
    across, down = x[:, :, 1:] - x[:, :, :-1], x[:, 1:] - x[:, :-1]
    return [across, down, middle - four / 4, middle - four / 2 + corners / 4]


def _sizes(residual: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = np.abs(residual).mean((1, 2))
    square = np.sqrt((residual**2).mean((1, 2)))
    return np.log(mean + _FLOOR), np.log(square + _FLOOR)
