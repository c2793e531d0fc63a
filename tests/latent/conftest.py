from __future__ import annotations

import numpy as np
import pytest

from plenish.datasets.dataset import Dataset


@pytest.fixture
def encoded(stripes) -> Dataset:
    """Stripes with encodings whose first number is the class and whose others are noise."""
    data = stripes()
    rng = np.random.default_rng(0)
    codes = np.arange(60) % 2
    array = np.column_stack([10.0 * codes, rng.normal(size=(60, 3))]).astype(np.float32)
    data.add_array("cae", array, {"space": "latent", "model": {"run": "r"}})
    return data
