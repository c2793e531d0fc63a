"""What is said of generated images beside real ones is true of the batches that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.datasets.batches import Images, epoch_draw
from plenish.datasets.orders import SharedOrder
from plenish.metrics.beside import about_mixed


@pytest.mark.parametrize("share", [0.01, 0.04, 0.5, 0.7, 0.96, 0.99])
def test_few_generated_images_are_fewer_than_a_batch_shows(share: float) -> None:
    real, batch = 20, 10
    for made in range(1, 13):
        y = np.arange(real + made) % 2
        y[real] = 0
        order = SharedOrder(y, epoch_draw(0, 0), real=real, share=share, batch=batch)
        found = order(np.arange(50 * batch)).reshape(50, batch)
        shown = {int(count) for count in (found >= real).sum(1)}
        images = Images(lambda rows: rows, y, real=real)
        said = {caveat.code: caveat.values for caveat in about_mixed(images, ["a", "b"], share, batch)}
        few = {"few-generated": {"images": made, "wanted": shown.pop()}}
        assert not shown, "all batches have the same share"
        if few["few-generated"]["wanted"] > made:
            assert said["few-generated"] == few["few-generated"]
            assert all(len(set(one)) < batch for one in found.tolist()), "some come more than once"
        else:
            assert "few-generated" not in said
