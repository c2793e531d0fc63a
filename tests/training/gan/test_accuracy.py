"""The discriminator's confusion matrix: from the accuracies logged, and as a picture."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.training.gan.accuracy import confusion, confusion_counts, confusion_picture


def test_confusion_comes_from_the_accuracies() -> None:
    shares = confusion({"kimg": 1.0, "d_accuracy_real": 0.9, "d_accuracy_fake": 0.75})
    assert shares == {
        "real_as_real": 0.9,
        "real_as_fake": pytest.approx(0.1),
        "fake_as_fake": 0.75,
        "fake_as_real": 0.25,
    }
    assert confusion({"kimg": 1.0, "variety": 0.3}) == {}
    assert confusion_counts(shares, 40).tolist() == [[36, 4], [10, 30]]


def test_the_picture_is_darker_where_there_are_more() -> None:
    picture = confusion_picture(np.array([[36, 4], [10, 30]]))
    assert picture.dtype == np.uint8
    height, width, channels = picture.shape
    assert channels == 3
    assert height < 400
    assert width < 400
    corners = [
        picture[60, 100].sum(),
        picture[60, 210].sum(),
        picture[170, 100].sum(),
        picture[170, 210].sum(),
    ]
    assert np.argsort(corners).tolist() == [0, 3, 2, 1]
    other = confusion_picture(np.array([[72, 8], [20, 60]]))
    assert (other != picture).any(), "counts are written, not only shares"
